"""From what was published to the event that clients see.

Owns: the event object, which payload and which type each kind gives, its matching keys, and the view of a guest.   Not: the fields of the
kinds (events/kinds.py), matching (events/matching.py), frames around the body (delivery).
Rule 1: the body is encoded here, once; every subscriber of the full view is sent these bytes.
Rule 2: what the payload holds is a table below, one row a kind, in the order of spec/protocol.md §4.
Rule 3: only ids become keys. An application's own object may hold anything under these names; what is no id can match no filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder, Encoder

from signtusk_realtime.events.ids import is_id
from signtusk_realtime.events.instants import format_instant, format_milliseconds
from signtusk_realtime.events.kinds import (
    KINDS,
    DocumentUpdateEvent,
    JsonObject,
    NotificationEvent,
    OrganizationActivityEvent,
    Published,
    SignatureData,
    SignatureStatusEvent,
    SigningRequestEvent,
    SystemAnnouncementEvent,
    TeamUpdateEvent,
    UserPresenceEvent,
)
from signtusk_realtime.events.log import SYSTEM_LOG
from signtusk_realtime.events.subscriptions import EventType


class Event(Struct, rename="camel", frozen=True, kw_only=True):
    """What happened, as clients see it. `timestamp` is in the wire form (events/instants.py)."""

    id: str
    type: str
    payload: JsonObject
    user_id: str | UnsetType = UNSET
    organization_id: str
    timestamp: str
    metadata: JsonObject | UnsetType = UNSET


class Prepared(NamedTuple):
    """An event ready to be appended: where to, how it is found, and its bytes.

    `keys`: the event type, then `d:` documents, `s:` signing request, `m:` team, `u:` the event's user, `r:` recipient.
    """

    event_type: EventType
    organization_id: str
    keys: tuple[str, ...]
    body: bytes


class _Shape(NamedTuple):
    """How a kind becomes an event.

    `fields`: what its payload holds, as attribute and wire name; `instants`: the wire names of those that hold instants. `told_by`: the field whose value chooses among `types`, if there is a
    choice. `merged`: the publication's own `payload` is merged in.
    """

    fields: tuple[tuple[str, str], ...]
    instants: tuple[str, ...]
    told_by: str
    types: Mapping[str, EventType]
    merged: bool


_ALWAYS: Final = ""
_REWRITTEN: Final = frozenset({"signatureData", "expiresAt", "lastSeen", "startsAt", "endsAt"})


def _choice(
    published: type[Published], fields: str, *, told_by: str, types: Mapping[str, EventType], merged: bool = False
) -> _Shape:
    wire_names = dict(zip(published.__struct_fields__, published.__struct_encode_fields__, strict=True))
    held = tuple((name, wire_names[name]) for name in fields.split())
    return _Shape(held, tuple(name for _, name in held if name in _REWRITTEN), told_by, types, merged)


def _fixed(published: type[Published], fields: str, event_type: EventType, *, merged: bool = False) -> _Shape:
    return _choice(published, fields, told_by=_ALWAYS, types={_ALWAYS: event_type}, merged=merged)


_SHAPES: Final[Mapping[type[Published], _Shape]] = {
    DocumentUpdateEvent: _choice(
        DocumentUpdateEvent,
        "document_id type changes deletes base_version change_id client_id strategy authority user_id",
        told_by="type",
        types={
            "created": "document_created",
            "updated": "document_updated",
            "deleted": "document_deleted",
            "signed": "document_signed",
            "completed": "document_completed",
        },
    ),
    SignatureStatusEvent: _choice(
        SignatureStatusEvent,
        "signing_request_id document_id recipient_id status signature_data",
        told_by="status",
        types={
            "pending": "signing_request_updated",
            "signed": "signature_completed",
            "declined": "signature_declined",
            "expired": "signature_expired",
        },
    ),
    SigningRequestEvent: _choice(
        SigningRequestEvent,
        "signing_request_id document_id type recipients signing_order expires_at",
        told_by="type",
        types={"created": "signing_request_created", "updated": "signing_request_updated"},
    ),
    NotificationEvent: _fixed(
        NotificationEvent, "id title message type priority action_url expires_at", "notification"
    ),
    UserPresenceEvent: _fixed(UserPresenceEvent, "user_id status last_seen current_document metadata", "user_presence"),
    OrganizationActivityEvent: _fixed(OrganizationActivityEvent, "activity_type", "organization_activity", merged=True),
    TeamUpdateEvent: _fixed(TeamUpdateEvent, "team_id update_type", "team_update", merged=True),
    SystemAnnouncementEvent: _fixed(
        SystemAnnouncementEvent, "title message severity starts_at ends_at", "system_announcement"
    ),
}

EVENT_TYPES: Final[Mapping[str, tuple[EventType, ...]]] = {
    kind: tuple(_SHAPES[published].types.values()) for kind, published in KINDS.items()
}
"""The event types that each published kind can give."""
SERVICE_EVENT_TYPES: Final[tuple[EventType, ...]] = ("document_conflict", "document_conflict_resolved")
"""The event types that only the service itself emits."""
ALL_EVENT_TYPES: Final[frozenset[EventType]] = frozenset(SERVICE_EVENT_TYPES).union(*EVENT_TYPES.values())

_PAYLOAD_FACETS: Final = (
    ("d:", "documentId"),
    ("d:", "currentDocument"),
    ("s:", "signingRequestId"),
    ("m:", "teamId"),
)

_encode = Encoder().encode


def event_type_of(published: Published) -> EventType:
    """Say which type the event of this publication has."""
    shape = _SHAPES[type(published)]
    told: str = getattr(published, shape.told_by) if shape.told_by else _ALWAYS
    return shape.types[told]


def prepare(published: Published, *, event_id: str, received_at_ms: int, organization_id: str) -> Prepared:
    """Make the event of a publication that passed `check` (events/validation.py).

    `event_id`: the publication's own or one made for it. `received_at_ms`: when it came in, in milliseconds since 1970 UTC; it stands
    for an absent timestamp. `organization_id`: whose log it goes to; an announcement goes to the system log whatever it says.
    """
    shape = _SHAPES[type(published)]
    event_type = event_type_of(published)
    payload: dict[str, object] = {}
    for attribute, name in shape.fields:
        value: object = getattr(published, attribute)
        if value is not UNSET:
            payload[name] = value
    for name in shape.instants:
        if name in payload:
            payload[name] = _rewrite(payload[name])

    user_id: str | UnsetType = UNSET
    metadata = published.metadata
    match published:
        case SystemAnnouncementEvent():
            organization_id = SYSTEM_LOG
        case OrganizationActivityEvent() | TeamUpdateEvent():
            payload.update(published.payload)
            user_id = published.user_id
        case UserPresenceEvent():
            user_id = published.user_id
            metadata = UNSET
        case _:
            user_id = published.user_id

    timestamp = published.timestamp
    event = Event(
        id=event_id,
        type=event_type,
        payload=payload,
        user_id=user_id,
        organization_id=organization_id,
        timestamp=format_milliseconds(received_at_ms) if timestamp is UNSET else format_instant(timestamp),
        metadata=metadata,
    )
    return Prepared(event_type, organization_id, _keys(event_type, payload, user_id, shape.merged), _encode(event))


def compose(
    event_type: EventType,
    payload: JsonObject,
    *,
    event_id: str,
    user_id: str,
    organization_id: str,
    timestamp: str,
    metadata: JsonObject | UnsetType = UNSET,
) -> Prepared:
    """Make an event that the service itself emits. `payload` holds wire names and values; its documentId is an id."""
    event = Event(
        id=event_id,
        type=event_type,
        payload=payload,
        user_id=user_id,
        organization_id=organization_id,
        timestamp=timestamp,
        metadata=metadata,
    )
    keys = _keys(event_type, payload, user_id, merged=False)
    return Prepared(event_type, organization_id, keys, _encode(event))


def _rewrite(value: object) -> object:
    """Write the instants of a field of _REWRITTEN in the wire form: the encoder would write microseconds, and the publisher's zone."""
    if isinstance(value, datetime):
        return format_instant(value)
    if not isinstance(value, SignatureData) or value.signed_at is UNSET:
        return value
    written: dict[str, object] = {"signedAt": format_instant(value.signed_at)}
    if value.ip_address is not UNSET:
        written["ipAddress"] = value.ip_address
    if value.user_agent is not UNSET:
        written["userAgent"] = value.user_agent
    if value.location is not UNSET:
        written["location"] = value.location
    return written


def _keys(
    event_type: EventType, payload: Mapping[str, object], user_id: str | UnsetType, merged: bool
) -> tuple[str, ...]:
    """Give the matching keys, in their fixed order, each once. `merged`: the payload holds what nobody checked."""
    keys: list[str] = [event_type]
    for prefix, name in _PAYLOAD_FACETS:
        value = payload.get(name)
        if isinstance(value, str) and (not merged or is_id(value)):
            key = prefix + value
            if key not in keys:
                keys.append(key)
    if user_id is not UNSET:
        keys.append("u:" + user_id)
    recipient = payload.get("recipientId")
    if isinstance(recipient, str) and (not merged or is_id(recipient)):
        keys.append("r:" + recipient)
    return tuple(keys)


class _Stored(Struct, rename="camel"):
    """An event's body, opened one level deep; everything else stays the bytes it was."""

    id: Raw
    type: Raw
    payload: dict[str, Raw]
    user_id: Raw | UnsetType = UNSET
    organization_id: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET


class _Signed(Struct, rename="camel"):
    signed_at: Raw | UnsetType = UNSET


_SIGNATURE_DATA: Final = b'"signatureData":'
"""Bodies are compact, and a quote within a text is escaped: these bytes are a member's name, wherever they stand."""
_OPEN: Final = ord("{")
_decode_stored = Decoder(_Stored).decode
_decode_signed = Decoder(_Signed).decode


def guest_body(body: bytes) -> bytes:
    """Give the body that a guest sees of a stored or live event: `signatureData` cut to `signedAt`, all else as it was.

    Not for the guest who is the event's own recipient: he gets the full body. The same bytes come back where there is nothing to cut.
    """
    if _SIGNATURE_DATA not in body:
        return body
    event = _decode_stored(body)
    data = event.payload.get("signatureData")
    if data is None:
        return body
    signed = _decode_signed(data) if bytes(data)[0] == _OPEN else _Signed()
    if signed.signed_at is UNSET:
        del event.payload["signatureData"]
    else:
        event.payload["signatureData"] = Raw(_encode(signed))
    return _encode(event)
