"""An event on its way to the service: its text with an id, so that sending it again publishes it once.

Owns: the id, and to which log it belongs.   Not: whether it is a good event (the service says).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder
from uuid_utils import uuid7

from signtusk_realtime.errors import InvalidInput

ANNOUNCEMENTS: Final = "*"


class Outgoing(NamedTuple):
    """`organization` is as the event names it, `*` for an announcement, None where it names none: the publisher's own."""

    text: bytes
    organization: str | None


class _Head(Struct, rename="camel"):
    id: Raw | UnsetType = UNSET
    kind: Raw | UnsetType = UNSET
    organization_id: Raw | UnsetType = UNSET


_head: Final[Decoder[_Head]] = Decoder(_Head)
_text: Final[Decoder[str]] = Decoder(str)


def outgoing(text: bytes) -> Outgoing:
    """Take an event as JSON, and give it an id if it has none.

    A notification has its id by its maker alone, since there it means the notification too.
    Raises: InvalidInput (invalid_json, invalid_message if it is JSON but no object).
    """
    try:
        text.decode()
        head = _head.decode(text)
    except ValidationError:
        raise InvalidInput("not a JSON object") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8: {error.reason}", code="invalid_json") from None
    except RecursionError:
        raise InvalidInput("the JSON nests too deep", code="invalid_json") from None
    except DecodeError as error:
        raise InvalidInput(f"not JSON: {error}", code="invalid_json") from None
    kind, organization = _plain(head.kind), _plain(head.organization_id)
    if head.id is UNSET and kind != "notification":
        rest = text.lstrip()[1:].lstrip()
        comma = b"" if rest.startswith(b"}") else b","
        text = b'{"id":"evt_' + uuid7().hex.encode("ascii") + b'"' + comma + rest
    return Outgoing(text, ANNOUNCEMENTS if kind == "system_announcement" else organization)


def _plain(value: Raw | UnsetType) -> str | None:
    if value is UNSET:
        return None
    try:
        return _text.decode(value)
    except DecodeError:
        return None  # of another type, which the service will say
