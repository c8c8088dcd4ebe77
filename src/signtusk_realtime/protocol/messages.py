"""The messages of spec/protocol.md §7: what a client may send and what the server answers, as types.

Owns: names and fields of every message; specification and client types are generated from here.   Not: framing (frames.py, stream.py),
what a message leads to (sessions, operations).
Rule 1: requests with unknown fields are refused.   Rule 2: an answer repeats the `requestId` of its request.
Rule 3: event messages are not encoded here but spliced from heads and bodies (delivery/formats.py); `EventMessage` states their form.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import json

RequestId = Annotated[str, Meta(max_length=64)]
CursorText = Annotated[str, Meta(max_length=1024)]
RecoveryFailure = Literal["expired", "epoch", "unknown"]


class Request(
    Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True, tag_field="type"
):
    """What a client sends."""

    request_id: RequestId | UnsetType = UNSET


class Subscribe(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="subscribe"):
    """Asks for one subscription (`subscription`) or several (`subscriptions`, all or none); a cursor only in a connection's first."""

    subscription: Subscription | UnsetType = UNSET
    subscriptions: tuple[Subscription, ...] | UnsetType = UNSET
    cursor: CursorText | UnsetType = UNSET


class Unsubscribe(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="unsubscribe"):
    """Ends one subscription."""

    subscription_id: Annotated[str, Meta(min_length=1, max_length=128)]


class Ping(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ping"):
    """Asks for a pong; `timestamp` may be any JSON value."""

    timestamp: Raw | UnsetType = UNSET


ClientMessage = Subscribe | Unsubscribe | Ping


class Answer(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True, tag_field="type"):
    """What the server sends of its own or in answer."""

    request_id: str | UnsetType = UNSET


class ServerFeatures(Struct, rename="camel", frozen=True):
    """What this server can do beyond the base protocol, by name."""

    features: tuple[str, ...]


class Connected(Answer, frozen=True, kw_only=True, tag="connected"):
    """First message of every connection. Carries no cursor: nothing was promised yet."""

    connection_id: str
    timestamp: str
    user_id: str
    organization_id: str
    expires_at: str | UnsetType = UNSET
    heartbeat_interval: int
    server: ServerFeatures


class Subscribed(Answer, frozen=True, kw_only=True, tag="subscribed"):
    """Answers `subscribe`, before any event of it. `recovered` stands here exactly when a cursor was sent."""

    subscription_id: str | UnsetType = UNSET
    subscription: Subscription | UnsetType = UNSET
    subscription_ids: tuple[str, ...] | UnsetType = UNSET
    subscriptions: tuple[Subscription, ...] | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    reason: RecoveryFailure | UnsetType = UNSET
    cursor: str


class Unsubscribed(Answer, frozen=True, kw_only=True, tag="unsubscribed"):
    """Answers `unsubscribe`, or tells that the server ended a subscription (then with a reason)."""

    subscription_id: str
    reason: str | UnsetType = UNSET


class Pong(Answer, frozen=True, kw_only=True, tag="pong"):
    """Answers `ping`. Has a cursor once the connection is subscribed."""

    timestamp: str
    cursor: str | UnsetType = UNSET


class CursorMessage(Answer, frozen=True, kw_only=True, tag="cursor"):
    """Moves a quiet client's resume point."""

    cursor: str


class Resync(Answer, frozen=True, kw_only=True, tag="resync"):
    """Completeness can no longer be proven: the client reloads its state and goes on from this cursor."""

    reason: str
    cursor: str


class Reconnect(Answer, frozen=True, kw_only=True, tag="reconnect"):
    """Announces a planned close: come back after `afterMs`, at `url` if given."""

    reason: str
    after_ms: int
    url: str | UnsetType = UNSET


class ErrorMessage(Answer, frozen=True, kw_only=True, tag="error"):
    """A request was refused; the connection lives on."""

    code: str
    message: str
    path: str | UnsetType = UNSET


class EventMessage(Struct, rename="camel", frozen=True, kw_only=True, tag_field="type", tag="event"):
    """One event, and the cursor that covers it and all before it."""

    cursor: str
    event: Raw


ServerMessage = (
    Connected | Subscribed | Unsubscribed | Pong | CursorMessage | Resync | Reconnect | ErrorMessage | EventMessage
)

encode: Final = json.encode
_client_message: Final[Decoder[ClientMessage]] = Decoder(ClientMessage)


class _Envelope(Struct, rename="camel"):
    request_id: RequestId | UnsetType = UNSET


_envelope: Final[Decoder[_Envelope]] = Decoder(_Envelope)


def decode(text: bytes, *, depth: int) -> ClientMessage:
    """Read one client message, nested at most `depth` deep. Raises: InvalidInput (invalid_json, too_deep, invalid_message with a path)."""
    return json.decode(text, _client_message, depth=depth)


def request_id_of(text: bytes) -> str | UnsetType:
    """Find the `requestId` of a message that was refused, for the answer to repeat; UNSET if it has none that could be."""
    try:
        return _envelope.decode(text).request_id
    except (DecodeError, RecursionError, UnicodeDecodeError):
        return UNSET
