"""What an application publishes: one type per `kind`, with the fields of the original interfaces.

Owns: names, types and ranges of the fields, as the wire and Python know them.   Not: rules between fields (events/validation.py), the
event that clients see (events/event.py).
Rule 1: these types are the only place where the fields are written; documentation and schemas are generated from them.
Rule 2: an absent field is UNSET and stays absent; null is not a way to leave a field out.
Rule 3: decoding checks every field, constructing in Python checks none: `validate` (events/validation.py) does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.instants import Instant

JsonObject = Mapping[str, object]
"""An object whose content is the application's; its size and depth are bounded where it comes in."""

Label = Annotated[str, Meta(min_length=1, max_length=128)]
Version = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""At most what a JavaScript number holds exactly."""


class Location(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where a signature was given, in degrees."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class SignatureData(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How a signature was given. Guests see `signedAt` alone."""

    signed_at: Instant | UnsetType = UNSET
    ip_address: str | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET
    location: Location | UnsetType = UNSET


class _Published(Struct, rename="camel", tag_field="kind", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What every kind takes beside its own fields.

    `id`: the event's, made by the server if absent; repeating it publishes once. `timestamp`: when it happened, the time of receipt if
    absent; it never decides order. `metadata`: the event's, not part of the payload.
    """

    id: Id | UnsetType = UNSET
    timestamp: Instant | UnsetType = UNSET
    metadata: JsonObject | UnsetType = UNSET


class DocumentUpdateEvent(_Published, tag="document_update", rename="camel", frozen=True, kw_only=True):
    """Something happened to a document. `changes` and `deletes` go with `created` and `updated` only."""

    document_id: Id
    type: Literal["created", "updated", "deleted", "signed", "completed"]
    user_id: Id
    organization_id: Id | UnsetType = UNSET
    changes: JsonObject | UnsetType = UNSET
    deletes: Sequence[str] | UnsetType = UNSET
    base_version: Version | UnsetType = UNSET
    change_id: Id | UnsetType = UNSET
    client_id: Id | UnsetType = UNSET
    strategy: Literal["merge", "overwrite", "reject", "manual"] | UnsetType = UNSET
    authority: Literal["record"] | UnsetType = UNSET


class SignatureStatusEvent(_Published, tag="signature_status", rename="camel", frozen=True, kw_only=True):
    """A recipient's signature moved on."""

    signing_request_id: Id
    document_id: Id
    recipient_id: Id
    status: Literal["pending", "signed", "declined", "expired"]
    user_id: Id
    organization_id: Id | UnsetType = UNSET
    signature_data: SignatureData | UnsetType = UNSET


class SigningRequestEvent(_Published, tag="signing_request", rename="camel", frozen=True, kw_only=True):
    """A signing request was made or changed. What describes a recipient, and the order, is the application's."""

    signing_request_id: Id
    document_id: Id
    type: Literal["created", "updated"]
    user_id: Id
    organization_id: Id | UnsetType = UNSET
    recipients: Annotated[Sequence[JsonObject | str], Meta(max_length=1000)] | UnsetType = UNSET
    signing_order: Sequence[object] | JsonObject | str | bool | int | float | UnsetType = UNSET
    expires_at: Instant | UnsetType = UNSET


class NotificationEvent(_Published, tag="notification", rename="camel", frozen=True, kw_only=True):
    """A message to one user, `user_id`. Its id is required and is part of the payload."""

    id: Id
    title: str
    message: str
    type: Literal["info", "success", "warning", "error"]
    user_id: Id
    organization_id: Id | UnsetType = UNSET
    priority: Literal["low", "medium", "high", "urgent"] = "medium"
    action_url: str | UnsetType = UNSET
    expires_at: Instant | UnsetType = UNSET


class UserPresenceEvent(_Published, tag="user_presence", rename="camel", frozen=True, kw_only=True):
    """Where a user is, as the application saw it. Its metadata is part of the payload."""

    user_id: Id
    status: Literal["online", "offline", "away", "busy"]
    organization_id: Id | UnsetType = UNSET
    last_seen: Instant | UnsetType = UNSET
    current_document: Id | UnsetType = UNSET


class OrganizationActivityEvent(_Published, tag="organization_activity", rename="camel", frozen=True, kw_only=True):
    """Something happened in an organization; `payload` is merged into the event's, beside `activityType`."""

    activity_type: Label
    payload: JsonObject
    organization_id: Id | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET


class TeamUpdateEvent(_Published, tag="team_update", rename="camel", frozen=True, kw_only=True):
    """Something happened to a team; `payload` is merged into the event's, beside `teamId` and `updateType`."""

    team_id: Id
    update_type: Label
    payload: JsonObject
    organization_id: Id | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET


class SystemAnnouncementEvent(_Published, tag="system_announcement", rename="camel", frozen=True, kw_only=True):
    """A message to everybody in every organization."""

    title: str
    message: str
    severity: Literal["info", "warning", "critical"]
    organization_id: Literal["*"] | UnsetType = UNSET
    starts_at: Instant | UnsetType = UNSET
    ends_at: Instant | UnsetType = UNSET


Published = (
    DocumentUpdateEvent
    | SignatureStatusEvent
    | SigningRequestEvent
    | NotificationEvent
    | UserPresenceEvent
    | OrganizationActivityEvent
    | TeamUpdateEvent
    | SystemAnnouncementEvent
)
"""Any of them, told apart by `kind`."""

KINDS: Final[Mapping[str, type[Published]]] = {
    "document_update": DocumentUpdateEvent,
    "signature_status": SignatureStatusEvent,
    "signing_request": SigningRequestEvent,
    "notification": NotificationEvent,
    "user_presence": UserPresenceEvent,
    "organization_activity": OrganizationActivityEvent,
    "team_update": TeamUpdateEvent,
    "system_announcement": SystemAnnouncementEvent,
}
