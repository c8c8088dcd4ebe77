"""What a request for an event stream asks for: found well-formed, and allowed to who asks.

Owns: reading head and query, for every kind of server (stream.py, asgi_peers.py).   Not: the selection's form (selection.py), the response.
Rule: whatever is wrong is said before the stream starts.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.authorize import Authorize
from signtusk_realtime.operations.tickets import stream_id
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.server.request import (
    CONNECT_PARAMETERS,
    credentials_of,
    header_values,
    invalid_parameter,
    parse_query,
    single_header,
)
from signtusk_realtime.server.selection import SELECTION_PARAMETERS, Asked, parse_selection
from signtusk_realtime.sessions.entitlement import compile_selection
from signtusk_realtime.sessions.identity import Identity

PARAMETERS: Final = SELECTION_PARAMETERS | CONNECT_PARAMETERS | {"lastEventId"}
MAX_CURSOR_LENGTH: Final = 1024
_ACCEPTABLE: Final = frozenset({b"text/event-stream", b"text/*", b"*/*"})
_ZERO: Final = re.compile(rb"0(?:\.0*)?")


class Wanted(Struct, frozen=True):
    """What a request asks for, read and found well-formed."""

    query: dict[str, str]
    asked: Asked
    cursor: str | None

    @property
    def connection_id(self) -> str | None:
        """The name of the stream, where it comes with a ticket and may have been open before."""
        ticket = self.query.get("ticket")
        return None if ticket is None else stream_id(ticket)

    def credentials(self, headers: Headers) -> Credentials:
        """Gather who asks. Raises: as `credentials_of`."""
        selection = sorted((name, value) for name, value in self.query.items() if name in SELECTION_PARAMETERS)
        return credentials_of("connect", headers, self.query, selection=repr(selection), cursor=self.cursor)


def read_wanted(headers: Headers, query: bytes, *, depth: int, max_subscriptions: int) -> Wanted:
    """Read what is asked for. Raises: InvalidInput (not_acceptable, invalid_parameter, invalid_request)."""
    if not _accepts_stream(headers):
        raise InvalidInput("this path produces text/event-stream", code="not_acceptable")
    found = parse_query(query, PARAMETERS)
    asked = parse_selection(found, depth=depth, max_subscriptions=max_subscriptions)
    return Wanted(found, asked, _cursor(headers, found))


def entitled(asked: Asked, identity: Identity) -> tuple[Subscription, ...]:
    """Give what is asked for if the identity may have it. Raises: Forbidden."""
    if identity.is_service:
        raise Forbidden("a service opens no connection")
    subscriptions = asked.of(identity, presence=False)
    if not subscriptions:
        raise Forbidden("this identity may subscribe to nothing")
    try:
        compile_selection(subscriptions, identity)
    except Forbidden as error:
        raise Forbidden(error.message) from None
    return subscriptions


async def allowed(
    asked: Asked, subscriptions: tuple[Subscription, ...], identity: Identity, authorize: Authorize
) -> tuple[Subscription, ...]:
    """Give those of what the identity may have that the application allows: all that was chosen, or what is allowed of all.

    Raises: Forbidden.
    """
    if asked.subscriptions is not None or asked.types is not None:
        await authorize.check(identity, subscriptions)
        return subscriptions
    found = await authorize.allowed(identity, subscriptions)
    if not found:
        raise Forbidden("the application allows none of the subscriptions")
    return found


def _cursor(headers: Headers, query: dict[str, str]) -> str | None:
    """Give where to resume. An empty value is none: that is what a reset resume point looks like."""
    header = single_header(headers, b"last-event-id")
    cursor = header.decode("utf-8", "replace") if header else query.get("lastEventId", "")
    if len(cursor) > MAX_CURSOR_LENGTH:
        message = f"the cursor has {len(cursor)} characters; at most {MAX_CURSOR_LENGTH} are allowed"
        if header:
            raise InvalidInput(f"Last-Event-ID: {message}", code="invalid_request")
        raise invalid_parameter("lastEventId", message)
    return cursor or None


def _accepts_stream(headers: Headers) -> bool:
    """Say whether `Accept` allows what we produce; without one everything is allowed (RFC 9110 §12.5.1)."""
    accepts = header_values(headers, b"accept")
    if not accepts:
        return True
    for part in b",".join(accepts).split(b","):
        media_type, _, parameters = part.partition(b";")
        if media_type.strip(b" \t").lower() in _ACCEPTABLE and not _is_refused(parameters):
            return True
    return False


def _is_refused(parameters: bytes) -> bool:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip(b" \t").lower() == b"q":
            return _ZERO.fullmatch(value.strip(b" \t")) is not None
    return False
