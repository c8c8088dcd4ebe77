"""Valid publications: one of each kind as the wire has it, and Hypothesis strategies for arbitrary ones.

Owns: what every suite may publish without thinking.   Not: what is refused (tests/unit/events/test_validation.py).
Rule: everything from here passes decoding and `check`; samples are made anew at each call, so a test may change its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st
from msgspec import UNSET, convert

from signtusk_realtime.events.ids import RESERVED_ORGANIZATIONS, is_id
from signtusk_realtime.events.kinds import (
    DocumentUpdateEvent,
    JsonObject,
    Location,
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

ORGANIZATION = "org123"
USER = "user123"

_SAMPLES: dict[str, dict[str, object]] = {
    "document_update": {
        "documentId": "doc123",
        "type": "updated",
        "changes": {"title": "NDA v2"},
        "userId": USER,
    },
    "signature_status": {
        "signingRequestId": "sr123",
        "documentId": "doc123",
        "recipientId": "rec123",
        "status": "signed",
        "signatureData": {
            "signedAt": "2026-11-22T18:49:22.123Z",
            "ipAddress": "192.0.2.7",
            "userAgent": "Mozilla/5.0",
            "location": {"latitude": 52.52, "longitude": 13.405},
        },
        "userId": USER,
    },
    "signing_request": {
        "signingRequestId": "sr123",
        "documentId": "doc123",
        "type": "created",
        "recipients": [{"id": "rec123", "email": "ada@example.org"}],
        "signingOrder": "sequential",
        "expiresAt": "2026-12-22T18:49:22.000Z",
        "userId": USER,
    },
    "notification": {
        "id": "ntf123",
        "title": "Signature requested",
        "message": "Ada asks you to sign NDA v2",
        "type": "info",
        "priority": "high",
        "userId": USER,
        "actionUrl": "https://app.example.org/documents/doc123",
    },
    "user_presence": {
        "userId": USER,
        "status": "online",
        "lastSeen": "2026-11-22T18:49:22.123Z",
        "currentDocument": "doc123",
        "metadata": {"page": 3},
    },
    "organization_activity": {"activityType": "member_joined", "payload": {"member": "user456"}, "userId": USER},
    "team_update": {
        "teamId": "team123",
        "updateType": "member_added",
        "payload": {"member": "user456"},
        "userId": USER,
    },
    "system_announcement": {
        "title": "Maintenance",
        "message": "Read-only for ten minutes",
        "severity": "warning",
        "startsAt": "2026-11-23T02:00:00.000Z",
        "endsAt": "2026-11-23T02:10:00.000Z",
    },
}
KINDS = tuple(_SAMPLES)


def sample(kind: str, **changed: object) -> dict[str, object]:
    """Give a valid publication of this kind as a JSON object, with these members set; None takes one away."""
    members = {"kind": kind, **_copy(_SAMPLES[kind]), **changed}
    return {name: value for name, value in members.items() if value is not None}


def sample_event(kind: str, **changed: object) -> Published:
    """Give the same as the typed event."""
    event: Published = convert(sample(kind, **changed), Published)
    return event


def _copy(value: dict[str, object]) -> dict[str, object]:
    return {name: _copy(item) if isinstance(item, dict) else item for name, item in value.items()}


def ids() -> st.SearchStrategy[str]:
    """Ids: mostly a few short ones, so that events and filters meet; sometimes any that the rule allows."""
    anything = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=128).filter(is_id)
    return st.one_of(st.sampled_from(["a", "b", "c", "doc123", "user123"]), anything)


def organization_ids() -> st.SearchStrategy[str]:
    """Ids that an organization may have."""
    return ids().filter(lambda value: value not in RESERVED_ORGANIZATIONS)


def texts() -> st.SearchStrategy[str]:
    """Any text that UTF-8 can carry, control characters included."""
    return st.text(st.characters(codec="utf-8"), max_size=40)


def json_values() -> st.SearchStrategy[object]:
    """Any JSON value of moderate size. Integers are those that survive a round trip exactly."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        texts(),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts(), inner, max_size=4)),
        max_leaves=8,
    )


def json_objects(*, without: tuple[str, ...] = ()) -> st.SearchStrategy[JsonObject]:
    """JSON objects whose names are now and then those of the protocol, `without` these."""
    names = st.one_of(st.sampled_from(["documentId", "signingRequestId", "teamId", "userId", "signatureData"]), texts())
    values = st.one_of(ids(), json_values())
    return st.dictionaries(names.filter(lambda name: name not in without), values, max_size=5)


def instants() -> st.SearchStrategy[datetime]:
    """Instants with a zone, in any year that stays within 1 to 9999 in UTC."""
    zones = st.one_of(
        st.just(UTC), st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
    )
    return st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001


def optional(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """Values of the strategy, or absence."""
    return st.one_of(st.just(UNSET), strategy)


def _builds(published: type[Published], **fields: st.SearchStrategy[object]) -> st.SearchStrategy[Published]:
    common: dict[str, st.SearchStrategy[object]] = {
        "id": optional(ids()),
        "timestamp": optional(instants()),
        "metadata": optional(json_objects()),
        "organization_id": optional(organization_ids()),
    }
    return st.builds(published, **{**common, **fields})


def _document_updates() -> st.SearchStrategy[Published]:
    common = {
        "document_id": ids(),
        "user_id": ids(),
        "base_version": optional(st.integers(0, 2**53 - 1)),
        "change_id": optional(ids()),
        "client_id": optional(ids()),
        "strategy": optional(st.sampled_from(["merge", "overwrite", "reject", "manual"])),
        "authority": optional(st.just("record")),
    }
    edits = {"changes": optional(json_objects()), "deletes": optional(st.lists(texts(), max_size=3))}
    return st.one_of(
        _builds(DocumentUpdateEvent, type=st.sampled_from(["created", "updated"]), **common, **edits),
        _builds(DocumentUpdateEvent, type=st.sampled_from(["deleted", "signed", "completed"]), **common),
    )


def _signature_data() -> st.SearchStrategy[SignatureData]:
    return st.builds(
        SignatureData,
        signed_at=optional(instants()),
        ip_address=optional(texts()),
        user_agent=optional(texts()),
        location=optional(st.builds(Location, latitude=st.floats(-90, 90), longitude=st.floats(-180, 180))),
    )


def _signature_statuses() -> st.SearchStrategy[Published]:
    return _builds(
        SignatureStatusEvent,
        signing_request_id=ids(),
        document_id=ids(),
        recipient_id=ids(),
        status=st.sampled_from(["pending", "signed", "declined", "expired"]),
        user_id=ids(),
        signature_data=optional(_signature_data()),
    )


def _signing_requests() -> st.SearchStrategy[Published]:
    return _builds(
        SigningRequestEvent,
        signing_request_id=ids(),
        document_id=ids(),
        type=st.sampled_from(["created", "updated"]),
        user_id=ids(),
        recipients=optional(st.lists(st.one_of(texts(), json_objects()), max_size=3)),
        signing_order=optional(json_values().filter(lambda value: value is not None)),
        expires_at=optional(instants()),
    )


def _notifications() -> st.SearchStrategy[Published]:
    return _builds(
        NotificationEvent,
        id=ids(),
        title=texts(),
        message=texts(),
        type=st.sampled_from(["info", "success", "warning", "error"]),
        user_id=ids(),
        priority=st.sampled_from(["low", "medium", "high", "urgent"]),
        action_url=optional(texts()),
        expires_at=optional(instants()),
    )


def _user_presences() -> st.SearchStrategy[Published]:
    return _builds(
        UserPresenceEvent,
        user_id=ids(),
        status=st.sampled_from(["online", "offline", "away", "busy"]),
        last_seen=optional(instants()),
        current_document=optional(ids()),
    )


def _labels() -> st.SearchStrategy[str]:
    return st.one_of(st.just("member_added"), texts().filter(bool))


def _organization_activities() -> st.SearchStrategy[Published]:
    return _builds(
        OrganizationActivityEvent,
        activity_type=_labels(),
        payload=json_objects(without=("activityType",)),
        user_id=optional(ids()),
    )


def _team_updates() -> st.SearchStrategy[Published]:
    return _builds(
        TeamUpdateEvent,
        team_id=ids(),
        update_type=_labels(),
        payload=json_objects(without=("teamId", "updateType")),
        user_id=optional(ids()),
    )


def _system_announcements() -> st.SearchStrategy[Published]:
    return _builds(
        SystemAnnouncementEvent,
        title=texts(),
        message=texts(),
        severity=st.sampled_from(["info", "warning", "critical"]),
        organization_id=optional(st.just("*")),
        starts_at=optional(instants()),
        ends_at=optional(instants()),
    )


_STRATEGIES: dict[str, Callable[[], st.SearchStrategy[Published]]] = {
    "document_update": _document_updates,
    "signature_status": _signature_statuses,
    "signing_request": _signing_requests,
    "notification": _notifications,
    "user_presence": _user_presences,
    "organization_activity": _organization_activities,
    "team_update": _team_updates,
    "system_announcement": _system_announcements,
}


def published_events(*kinds: str) -> st.SearchStrategy[Published]:
    """Arbitrary valid publications of these kinds, or of any."""
    return st.one_of(*(_STRATEGIES[kind]() for kind in kinds or KINDS))
