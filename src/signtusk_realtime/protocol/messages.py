"""The messages of spec/protocol.md §7: what a client may send and what the server answers, as types.

Owns: names and fields of every message; specification and client types are generated from here.   Not: framing (frames.py, stream.py),
what a message leads to (sessions, operations).
Rule 1: requests with unknown fields are refused.   Rule 2: an answer repeats the `requestId` of its request.
Rule 3: event messages are not encoded here but spliced from heads and bodies (delivery/formats.py); `EventMessage` states their form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from msgspec import UNSET, DecodeError, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.policy import Strategy
from signtusk_realtime.documents.states import State
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.kinds import JsonObject, Version
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.edits import EditBody, EditOutcome, EditStatus

RequestId = Annotated[str, Meta(max_length=64)]
CursorText = Annotated[str, Meta(max_length=1024)]
RecoveryFailure = Literal["expired", "epoch", "unknown"]
PresenceStatus = Literal["online", "offline", "away", "busy"]
SignalName = Literal["typing", "pointer", "focus"]


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


class Refresh(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="refresh"):
    """Brings a new token, of the same user and organization."""

    token: Annotated[str, Meta(min_length=1, max_length=8192)]


class Edit(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="edit"):
    """Asks for changes of a document; always answered by `edit_result`."""

    document_id: Id
    change_id: Id
    base_version: Version | UnsetType = UNSET
    epoch: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    changes: JsonObject | UnsetType = UNSET
    deletes: tuple[str, ...] | UnsetType = UNSET
    strategy: Strategy | UnsetType = UNSET
    client_id: Id | UnsetType = UNSET
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)] | UnsetType = UNSET
    base: JsonObject | UnsetType = UNSET
    if_version: Version | UnsetType = UNSET

    @property
    def body(self) -> EditBody:
        """The same as it is sent over HTTP."""
        return EditBody(**{name: getattr(self, name) for name in EditBody.__struct_fields__})


class Presence(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="presence"):
    """Says how the user of this connection is; the newest of a user's open connections counts."""

    status: PresenceStatus
    current_document: Id | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET


class Signal(Request, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="signal"):
    """Tells others who follow a document's updates what this user does there right now. Not answered, never stored, told at most once."""

    signal: SignalName
    document_id: Id
    data: JsonObject | UnsetType = UNSET


ClientMessage = Subscribe | Unsubscribe | Ping | Refresh | Edit | Presence | Signal


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


class Refreshed(Answer, frozen=True, kw_only=True, tag="refreshed"):
    """Answers `refresh`. Subscriptions that the new token does not cover have been ended by `unsubscribed` before."""

    expires_at: str | UnsetType = UNSET


class TokenExpiring(Answer, frozen=True, kw_only=True, tag="token_expiring"):
    """The connection will be closed when its token expires; a `refresh` before that keeps it."""

    expires_at: str


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


class EditResult(Answer, frozen=True, kw_only=True, tag="edit_result"):
    """Answers `edit`; the members are those of the HTTP call's answer."""

    change_id: str
    status: EditStatus
    version: int | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET
    conflicts: Sequence[ConflictRecord] | UnsetType = UNSET
    ops: Sequence[Op] | UnsetType = UNSET
    code: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    path: str | UnsetType = UNSET
    state: State | UnsetType = UNSET
    expected_seq: int | UnsetType = UNSET


class PresenceAccepted(Answer, frozen=True, kw_only=True, tag="presence_accepted"):
    """Answers `presence`."""


class PresenceChange(Struct, rename="camel", omit_defaults=True, frozen=True, kw_only=True):
    """How a user is now."""

    user_id: str
    status: PresenceStatus
    last_seen: str
    current_document: str | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET


class PresenceChanged(Answer, frozen=True, kw_only=True, tag="presence"):
    """Users who are otherwise than before, for subscriptions to `user_presence`. Without a cursor: never stored, told at most once.

    `truncated`: more changed than is told, or something was missed; `online` users are there, and the presence call says who.
    """

    users: tuple[PresenceChange, ...] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    online: int | UnsetType = UNSET


class Signalled(Answer, frozen=True, kw_only=True, tag="signal"):
    """Another user's signal, for subscriptions to that document's updates. Without a cursor: never stored, told at most once."""

    signal: SignalName
    document_id: str
    data: JsonObject | UnsetType = UNSET
    user_id: str


def edit_result(outcome: EditOutcome, request_id: str | UnsetType) -> EditResult:
    """Make the answer of an edit."""
    fields = {name: getattr(outcome, name) for name in EditOutcome.__struct_fields__}
    return EditResult(request_id=request_id, **fields)


class EventMessage(Struct, rename="camel", frozen=True, kw_only=True, tag_field="type", tag="event"):
    """One event, and the cursor that covers it and all before it."""

    cursor: str
    event: Raw


ServerMessage = (
    Connected
    | Subscribed
    | Unsubscribed
    | Pong
    | EditResult
    | PresenceAccepted
    | PresenceChanged
    | Signalled
    | Refreshed
    | TokenExpiring
    | CursorMessage
    | Resync
    | Reconnect
    | ErrorMessage
    | EventMessage
)

MESSAGE_VALUES: Final = 10_000
"""In one client message; larger edits go over HTTP, where they are read aside."""

encode: Final = json.encode
_client_message: Final[Decoder[ClientMessage]] = Decoder(ClientMessage)


class _Envelope(Struct, rename="camel"):
    request_id: RequestId | UnsetType = UNSET


_envelope: Final[Decoder[_Envelope]] = Decoder(_Envelope)


def decode(text: bytes, *, depth: int) -> ClientMessage:
    """Read one client message, nested at most `depth` deep, of at most MESSAGE_VALUES values.

    Raises: InvalidInput (invalid_json, too_deep, invalid_message, with a path where one field is to blame).
    """
    json.check_values(text, MESSAGE_VALUES, code="invalid_message")
    return json.decode(text, _client_message, depth=depth)


def request_id_of(text: bytes) -> str | UnsetType:
    """Find the `requestId` of a message that was refused, for the answer to repeat; UNSET if it has none that could be."""
    try:
        return _envelope.decode(text).request_id
    except (DecodeError, RecursionError, UnicodeDecodeError):
        return UNSET
