"""Print events as lines of JSON.

Owns: from events to lines, the count, which subscriptions are meant.   Not: following (client/feed.py), options and exit codes (cli.py).
Rule: a line is out before the next event is asked for, so that a reader who is slow slows us, and nothing is held back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, get_args

from signtusk_realtime.client import Delivery, Feed
from signtusk_realtime.commands.terminal import Output
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.ids import check_id
from signtusk_realtime.events.subscriptions import NO_FILTERS, Filters, Subscription, SubscriptionType

_TYPES: Final[Mapping[str, SubscriptionType]] = {name: name for name in get_args(SubscriptionType)}
_OBEYED: Final = re.compile("[\x7f-\x9f\u2028\u2029]")
"""What JSON may hold as it is within strings, and elsewhere not at all."""
_OF_DOCUMENTS: Final = ("document_updates", "signing_updates")
"""Those whose events name a document."""


def subscriptions_of(types: str | None, document_id: str | None) -> tuple[Subscription, ...]:
    """Give the subscriptions that are meant: without types all but user_presence, or those about documents if one is named.

    Raises: InvalidInput.
    """
    filters = NO_FILTERS
    if document_id is not None:
        filters = Filters(document_id=check_id(document_id))
    if types is None:
        names = [name for name in _TYPES if name != "user_presence"] if document_id is None else list(_OF_DOCUMENTS)
    else:
        names = list(dict.fromkeys(name.strip() for name in types.split(",")))
    unknown = [name for name in names if name not in _TYPES]
    if unknown:
        raise InvalidInput(f"--types: unknown {', '.join(map(repr, unknown))}; known are {', '.join(_TYPES)}")
    return tuple(Subscription(_TYPES[name], filters) for name in names)


async def print_events(feed: Feed, output: Output, count: int | None) -> None:
    """Print events until there were `count`. Raises: BrokenPipeError, and what the feed raises."""
    if count == 0:
        return
    printed = 0
    async for delivery in feed:
        await output.write(line_of(delivery))
        printed += 1
        if printed == count:
            return


def line_of(delivery: Delivery) -> bytes:
    """Give the line of an event: `{"cursor":…,"event":…}`."""
    cursor, event = delivery
    # Strings in JSON hold no line break; white space between tokens may.
    text = event.text.replace(b"\n", b" ").replace(b"\r", b" ")
    if not text.isascii() or b"\x7f" in text:
        # A terminal obeys some of them; the others end a line for those who read it.
        text = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()).encode()
    return b'{"cursor":"' + cursor.encode("ascii") + b'","event":' + text + b"}\n"
