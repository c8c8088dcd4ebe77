"""What a client asks to be told: the seven subscription types and their filters.

Owns: their names, their wire form, which event types belong to which.   Not: who may have them (sessions/entitlement.py), matching
(events/matching.py).
Rule: every event type belongs to exactly one subscription type; tests/unit/events holds us to it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from signtusk_realtime.events.ids import Id

SubscriptionType = Literal[
    "document_updates",
    "signing_updates",
    "notifications",
    "organization_activity",
    "user_presence",
    "team_updates",
    "system_announcements",
]
EventType = Literal[
    "document_created",
    "document_updated",
    "document_deleted",
    "document_signed",
    "document_completed",
    "document_conflict",
    "document_conflict_resolved",
    "signing_request_created",
    "signing_request_updated",
    "signature_completed",
    "signature_declined",
    "signature_expired",
    "notification",
    "organization_activity",
    "user_presence",
    "team_update",
    "system_announcement",
]

TYPES_OF: Final[dict[SubscriptionType, frozenset[EventType]]] = {
    "document_updates": frozenset(
        {
            "document_created",
            "document_updated",
            "document_deleted",
            "document_signed",
            "document_completed",
            "document_conflict",
            "document_conflict_resolved",
        }
    ),
    "signing_updates": frozenset(
        {
            "signing_request_created",
            "signing_request_updated",
            "signature_completed",
            "signature_declined",
            "signature_expired",
        }
    ),
    "notifications": frozenset({"notification"}),
    "organization_activity": frozenset({"organization_activity"}),
    "user_presence": frozenset({"user_presence"}),
    "team_updates": frozenset({"team_update"}),
    "system_announcements": frozenset({"system_announcement"}),
}
SUBSCRIPTION_OF: Final[dict[str, SubscriptionType]] = {
    event_type: subscription_type for subscription_type, types in TYPES_OF.items() for event_type in types
}


class Filters(Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Conditions of a subscription; all that are given must hold. An event without the field does not match."""

    document_id: Id | UnsetType = UNSET
    signing_request_id: Id | UnsetType = UNSET
    team_id: Id | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET
    event_types: Annotated[tuple[EventType, ...], Meta(min_length=1, max_length=17)] | UnsetType = UNSET


NO_FILTERS: Final = Filters()


class Subscription(Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """One thing a client wants to be told: `{"type": T, "filters": {…}}`."""

    type: SubscriptionType
    filters: Filters = NO_FILTERS
