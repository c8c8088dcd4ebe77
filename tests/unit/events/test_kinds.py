"""The fields of each kind: what is taken, and where a wrong one is said to lie."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from signtusk_realtime.events.kinds import KINDS, NotificationEvent, Published
from tests.support.samples import sample, sample_event

DECODER = msgspec.json.Decoder(Published)

REQUIRED = {
    "document_update": ["documentId", "type", "userId"],
    "signature_status": ["signingRequestId", "documentId", "recipientId", "status", "userId"],
    "signing_request": ["signingRequestId", "documentId", "type", "userId"],
    "notification": ["id", "title", "message", "type", "userId"],
    "user_presence": ["userId", "status"],
    "organization_activity": ["activityType", "payload"],
    "team_update": ["teamId", "updateType", "payload"],
    "system_announcement": ["title", "message", "severity"],
}
OPTIONAL = {
    "document_update": [
        "changes",
        "deletes",
        "baseVersion",
        "changeId",
        "clientId",
        "strategy",
        "authority",
        "organizationId",
    ],
    "signature_status": ["signatureData", "organizationId"],
    "signing_request": ["recipients", "signingOrder", "expiresAt", "organizationId"],
    "notification": ["priority", "actionUrl", "expiresAt", "organizationId"],
    "user_presence": ["lastSeen", "currentDocument", "organizationId"],
    "organization_activity": ["userId", "organizationId"],
    "team_update": ["userId", "organizationId"],
    "system_announcement": ["startsAt", "endsAt", "organizationId"],
}
COMMON = ["id", "timestamp", "metadata"]


def decode(value: object) -> Published:
    return DECODER.decode(msgspec.json.encode(value))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_fields_of_the_contract(kind: str) -> None:
    """Required, optional and common fields, and no other."""
    fields = msgspec.structs.fields(KINDS[kind])
    required = {field.encode_name for field in fields if field.required}
    assert required == set(REQUIRED[kind])
    assert {field.encode_name for field in fields} == set(REQUIRED[kind]) | set(OPTIONAL[kind]) | set(COMMON)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_decodes_to_its_type(kind: str) -> None:
    """`kind` tells the type."""
    assert type(decode(sample(kind))) is KINDS[kind]


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in REQUIRED.items() for name in names])
def test_a_missing_field_is_named(kind: str, name: str) -> None:
    """Without a required field the event is refused by that field's name."""
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
        decode(sample(kind, **{name: None}))


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_named(kind: str) -> None:
    """A field that the kind does not have is refused by its name, one of another kind included."""
    with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
        decode(sample(kind, colour="red"))


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in OPTIONAL.items() for name in [*names, *COMMON]])
def test_null_is_no_way_to_leave_a_field_out(kind: str, name: str) -> None:
    """An optional field is absent or has a value."""
    with pytest.raises(msgspec.ValidationError, match=rf"at `\$\.{name}`"):
        decode({**sample(kind), name: None})


BAD_VALUES = [
    ("document_update", "type", "renamed"),
    ("document_update", "documentId", " doc123"),
    ("document_update", "documentId", 7),
    ("document_update", "userId", ""),
    ("document_update", "organizationId", "x" * 129),
    ("document_update", "id", "a\nb"),
    ("document_update", "changes", ["title"]),
    ("document_update", "deletes", "title"),
    ("document_update", "baseVersion", -1),
    ("document_update", "baseVersion", 2**53),
    ("document_update", "baseVersion", 1.5),
    ("document_update", "strategy", "theirs"),
    ("document_update", "authority", "publisher"),
    ("document_update", "timestamp", "2026-11-22T18:49:22.123"),
    ("document_update", "timestamp", 1_795_373_362_123),
    ("document_update", "timestamp", "yesterday"),
    ("document_update", "metadata", "text"),
    ("signature_status", "status", "completed"),
    ("signature_status", "signatureData", "drawn"),
    ("signing_request", "type", "deleted"),
    ("signing_request", "recipients", {"id": "rec123"}),
    ("signing_request", "expiresAt", "2026-12-22"),
    ("notification", "priority", "highest"),
    ("notification", "type", "alert"),
    ("notification", "expiresAt", "2026-12-22T00:00:00"),
    ("user_presence", "status", "idle"),
    ("user_presence", "lastSeen", "2026-11-22T18:49:22"),
    ("user_presence", "currentDocument", ""),
    ("organization_activity", "payload", []),
    ("organization_activity", "activityType", ""),
    ("team_update", "updateType", "x" * 129),
    ("system_announcement", "severity", "error"),
    ("system_announcement", "organizationId", "org123"),
    ("system_announcement", "startsAt", "2026-11-22T18:49"),
]


@pytest.mark.parametrize("kind, name, value", BAD_VALUES)
def test_a_wrong_value_is_placed(kind: str, name: str, value: object) -> None:
    """A value outside the field's type or range is refused with the field's path."""
    with pytest.raises(msgspec.ValidationError, match=rf"at `\$\.{name}`$"):
        decode(sample(kind, **{name: value}))


@pytest.mark.parametrize(
    "data, place",
    [
        ({"signedAt": "2026-11-22T18:49:22"}, "signatureData.signedAt"),
        ({"location": {"latitude": 90.1, "longitude": 0}}, "signatureData.location.latitude"),
        ({"location": {"latitude": 0, "longitude": -180.1}}, "signatureData.location.longitude"),
        ({"location": {"latitude": 0}}, "signatureData.location"),
        ({"ipAddress": 7}, "signatureData.ipAddress"),
        ({"image": "…"}, "signatureData"),
    ],
)
def test_signature_data_is_checked_within(data: object, place: str) -> None:
    """Nested fields are held to their types too, and placed."""
    with pytest.raises(msgspec.ValidationError) as caught:
        decode(sample("signature_status", signatureData=data))
    assert str(caught.value).endswith(f"at `$.{place}`")


def test_recipients_are_objects_or_texts() -> None:
    """A recipient is an object of the application's or a text; the list is bounded."""
    decode(sample("signing_request", recipients=["ada@example.org", {"id": "r2", "order": 2}]))
    with pytest.raises(msgspec.ValidationError, match=r"recipients\[1\]"):
        decode(sample("signing_request", recipients=["ada@example.org", 7]))
    with pytest.raises(msgspec.ValidationError, match="recipients"):
        decode(sample("signing_request", recipients=["a"] * 1001))


@pytest.mark.parametrize("order", ["parallel", 2, True, ["r1", "r2"], {"r1": 1}])
def test_the_signing_order_is_the_application_s(order: object) -> None:
    """Any JSON value but null says an order."""
    decode(sample("signing_request", signingOrder=order))


@pytest.mark.parametrize("value", [{"kind": "document_updated"}, {"kind": 7}, {"documentId": "d"}, [], None, "x"])
def test_an_unknown_kind_is_refused(value: object) -> None:
    """Only the eight kinds are published."""
    with pytest.raises(msgspec.ValidationError):
        decode(value)


def test_python_constructs_with_its_own_names() -> None:
    """Snake case in Python, camel case on the wire, the default priority filled in."""
    event = NotificationEvent(
        id="n1",
        title="T",
        message="M",
        type="info",
        user_id="u1",
        action_url="/x",
        expires_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert msgspec.to_builtins(event) == {
        "kind": "notification",
        "id": "n1",
        "title": "T",
        "message": "M",
        "type": "info",
        "userId": "u1",
        "priority": "medium",
        "actionUrl": "/x",
        "expiresAt": "2026-12-01T00:00:00Z",
    }
    assert sample_event("notification").user_id == "user123"
