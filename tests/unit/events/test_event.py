"""From a publication to the event that clients see: every row of the table."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.events.event import ALL_EVENT_TYPES, EVENT_TYPES, guest_body, prepare
from signtusk_realtime.events.subscriptions import TYPES_OF
from tests.support.samples import sample, sample_event

RECEIVED_AT_MS = 1_795_373_362_123
RECEIVED_AT = "2026-11-22T18:49:22.123Z"
LATER = "2026-12-22T18:49:22.5+02:00"
LATER_ON_THE_WIRE = "2026-12-22T16:49:22.500Z"

EDIT: dict[str, object] = {
    "changes": {"title": "NDA v2", "/fields/1": [1, None]},
    "deletes": ["/recipients/r2"],
    "baseVersion": 41,
    "changeId": "01J",
    "clientId": "c-7f",
    "strategy": "merge",
    "authority": "record",
}
DOCUMENT = {"documentId": "doc123", "userId": "user123"}
SIGNING = {"signingRequestId": "sr123", "documentId": "doc123"}
DOCUMENT_KEYS = ["d:doc123", "u:user123"]
SIGNING_KEYS = ["d:doc123", "s:sr123", "u:user123"]
NO_EDIT = dict.fromkeys(EDIT)

# kind, what is changed in its sample, event type, payload, keys after the type
ROWS: list[tuple[str, dict[str, object], str, dict[str, object], list[str]]] = [
    (
        "document_update",
        {"type": "created", **EDIT},
        "document_created",
        {**DOCUMENT, "type": "created", **EDIT},
        DOCUMENT_KEYS,
    ),
    (
        "document_update",
        {"type": "updated", **EDIT},
        "document_updated",
        {**DOCUMENT, "type": "updated", **EDIT},
        DOCUMENT_KEYS,
    ),
    *(
        ("document_update", {**NO_EDIT, "type": told}, f"document_{told}", {**DOCUMENT, "type": told}, DOCUMENT_KEYS)
        for told in ("created", "updated", "deleted", "signed", "completed")
    ),
    *(
        (
            "signature_status",
            {"status": status, "signatureData": None},
            event_type,
            {**SIGNING, "recipientId": "rec123", "status": status},
            [*SIGNING_KEYS, "r:rec123"],
        )
        for status, event_type in (
            ("pending", "signing_request_updated"),
            ("signed", "signature_completed"),
            ("declined", "signature_declined"),
            ("expired", "signature_expired"),
        )
    ),
    (
        "signature_status",
        {
            "signatureData": {
                "signedAt": LATER,
                "ipAddress": "192.0.2.7",
                "userAgent": "M",
                "location": {"latitude": 1, "longitude": 2.5},
            }
        },
        "signature_completed",
        {
            **SIGNING,
            "recipientId": "rec123",
            "status": "signed",
            "signatureData": {
                "signedAt": LATER_ON_THE_WIRE,
                "ipAddress": "192.0.2.7",
                "userAgent": "M",
                "location": {"latitude": 1, "longitude": 2.5},
            },
        },
        [*SIGNING_KEYS, "r:rec123"],
    ),
    (
        "signature_status",
        {"signatureData": {"userAgent": "M"}},
        "signature_completed",
        {**SIGNING, "recipientId": "rec123", "status": "signed", "signatureData": {"userAgent": "M"}},
        [*SIGNING_KEYS, "r:rec123"],
    ),
    *(
        (
            "signing_request",
            {"type": told, "expiresAt": LATER},
            f"signing_request_{told}",
            {
                **SIGNING,
                "type": told,
                "recipients": [{"id": "rec123", "email": "ada@example.org"}],
                "signingOrder": "sequential",
                "expiresAt": LATER_ON_THE_WIRE,
            },
            SIGNING_KEYS,
        )
        for told in ("created", "updated")
    ),
    (
        "signing_request",
        {"recipients": None, "signingOrder": None, "expiresAt": None},
        "signing_request_created",
        {**SIGNING, "type": "created"},
        SIGNING_KEYS,
    ),
    *(
        (
            "notification",
            {"type": told, "priority": None, "actionUrl": None, "expiresAt": LATER},
            "notification",
            {
                "id": "ntf123",
                "title": "Signature requested",
                "message": "Ada asks you to sign NDA v2",
                "type": told,
                "priority": "medium",
                "expiresAt": LATER_ON_THE_WIRE,
            },
            ["u:user123"],
        )
        for told in ("info", "success", "warning", "error")
    ),
    (
        "notification",
        {"priority": "urgent", "actionUrl": "/x"},
        "notification",
        {
            "id": "ntf123",
            "title": "Signature requested",
            "message": "Ada asks you to sign NDA v2",
            "type": "info",
            "priority": "urgent",
            "actionUrl": "/x",
        },
        ["u:user123"],
    ),
    *(
        (
            "user_presence",
            {"status": status, "lastSeen": LATER},
            "user_presence",
            {
                "userId": "user123",
                "status": status,
                "lastSeen": LATER_ON_THE_WIRE,
                "currentDocument": "doc123",
                "metadata": {"page": 3},
            },
            DOCUMENT_KEYS,
        )
        for status in ("online", "offline", "away", "busy")
    ),
    (
        "user_presence",
        {"lastSeen": None, "currentDocument": None, "metadata": None},
        "user_presence",
        {"userId": "user123", "status": "online"},
        ["u:user123"],
    ),
    (
        "organization_activity",
        {},
        "organization_activity",
        {"activityType": "member_joined", "member": "user456"},
        ["u:user123"],
    ),
    (
        "organization_activity",
        {"userId": None, "payload": {"documentId": "d", "teamId": 7, "signingRequestId": "", "recipientId": " r"}},
        "organization_activity",
        {"activityType": "member_joined", "documentId": "d", "teamId": 7, "signingRequestId": "", "recipientId": " r"},
        ["d:d"],
    ),
    (
        "organization_activity",
        {
            "payload": {
                "documentId": "d",
                "currentDocument": "e",
                "teamId": "t",
                "signingRequestId": "s",
                "recipientId": "r",
                "userId": "other",
            }
        },
        "organization_activity",
        {
            "activityType": "member_joined",
            "documentId": "d",
            "currentDocument": "e",
            "teamId": "t",
            "signingRequestId": "s",
            "recipientId": "r",
            "userId": "other",
        },
        ["d:d", "d:e", "s:s", "m:t", "u:user123", "r:r"],
    ),
    (
        "team_update",
        {"payload": {"documentId": "d", "currentDocument": "d"}},
        "team_update",
        {"teamId": "team123", "updateType": "member_added", "documentId": "d", "currentDocument": "d"},
        ["d:d", "m:team123", "u:user123"],
    ),
    (
        "system_announcement",
        {"startsAt": LATER, "endsAt": None},
        "system_announcement",
        {
            "title": "Maintenance",
            "message": "Read-only for ten minutes",
            "severity": "warning",
            "startsAt": LATER_ON_THE_WIRE,
        },
        [],
    ),
]


@pytest.mark.parametrize("kind, changed, event_type, payload, keys", ROWS)
def test_each_publication_gives_its_event(
    kind: str, changed: dict[str, object], event_type: str, payload: dict[str, object], keys: list[str]
) -> None:
    """The event's type, its exact payload, its user and its keys, for each kind and each value that chooses a type."""
    made = prepare(
        sample_event(kind, **changed), event_id="evt_1", received_at_ms=RECEIVED_AT_MS, organization_id="org123"
    )
    organization = "*" if kind == "system_announcement" else "org123"
    expected: dict[str, object] = {"id": "evt_1", "type": event_type, "payload": payload}
    if "userId" in sample(kind, **changed):
        expected["userId"] = "user123"
    expected |= {"organizationId": organization, "timestamp": RECEIVED_AT}
    assert json.loads(made.body) == expected
    assert list(json.loads(made.body)) == list(expected)
    assert (made.event_type, made.organization_id, made.keys) == (event_type, organization, (event_type, *keys))


def test_the_rows_cover_every_type_that_can_be_published() -> None:
    """No event type of a kind is without a row above."""
    assert {(kind, event_type) for kind, _, event_type, _, _ in ROWS} == {
        (kind, event_type) for kind, types in EVENT_TYPES.items() for event_type in types
    }


def test_subscriptions_know_every_event_type() -> None:
    """What can be emitted and what can be subscribed to are the same types."""
    assert frozenset[str]().union(*TYPES_OF.values()) == ALL_EVENT_TYPES


def test_the_payload_keeps_the_order_of_the_contract() -> None:
    """Members stand in the protocol's order, whatever the publisher's."""
    published = sample_event("document_update", **dict(reversed(EDIT.items())))
    body = prepare(published, event_id="e", received_at_ms=0, organization_id="o").body
    assert list(json.loads(body)["payload"]) == ["documentId", "type", *EDIT, "userId"]


@pytest.mark.parametrize("kind", [kind for kind in EVENT_TYPES if kind != "user_presence"])
def test_timestamp_and_metadata_are_the_event_s(kind: str) -> None:
    """The publisher's timestamp is told in UTC with milliseconds, and metadata beside the payload, last."""
    published = sample_event(kind, timestamp=LATER, metadata={"source": "web"})
    body = json.loads(prepare(published, event_id="e", received_at_ms=0, organization_id="o").body)
    assert (body["timestamp"], body["metadata"]) == (LATER_ON_THE_WIRE, {"source": "web"})
    assert list(body)[-1] == "metadata"
    assert "metadata" not in body["payload"]


def test_the_metadata_of_a_presence_is_payload() -> None:
    """A presence has no metadata beside its payload."""
    body = json.loads(prepare(sample_event("user_presence"), event_id="e", received_at_ms=0, organization_id="o").body)
    assert body["payload"]["metadata"] == {"page": 3}
    assert "metadata" not in body


def body_of(**changed: object) -> bytes:
    published = sample_event("signature_status", **changed)
    return prepare(published, event_id="e", received_at_ms=RECEIVED_AT_MS, organization_id="o").body


def test_a_guest_sees_when_was_signed_and_not_from_where() -> None:
    """SignatureData is cut to signedAt; the rest of the event is the same, in the same order."""
    full = body_of(metadata={"n": 1.50})
    cut = guest_body(full)
    expected = json.loads(full)
    expected["payload"]["signatureData"] = {"signedAt": "2026-11-22T18:49:22.123Z"}
    assert json.loads(cut) == expected
    assert list(json.loads(cut)) == list(expected)
    assert guest_body(cut) == cut


def test_a_guest_sees_no_signature_data_without_signed_at() -> None:
    """Without signedAt nothing of it is left."""
    cut = guest_body(body_of(signatureData={"ipAddress": "192.0.2.7"}))
    assert "signatureData" not in json.loads(cut)["payload"]


def test_what_has_nothing_to_cut_is_the_same_bytes() -> None:
    """No second copy of a body that is the same for guests, also where the words stand elsewhere."""
    for body in (
        body_of(signatureData=None),
        body_of(signatureData=None, metadata={"signatureData": {"ipAddress": "x"}}),
        body_of(signatureData=None, metadata={"note": '"signatureData":{"ipAddress":"x"}'}),
    ):
        assert guest_body(body) is body


def test_a_guest_sees_no_other_shape_of_signature_data() -> None:
    """An application's own object may hold anything under that name; a guest gets none of it."""
    for value in ("drawn", ["192.0.2.7"], 7, None):
        published = sample_event("organization_activity", payload={"signatureData": value})
        body = prepare(published, event_id="e", received_at_ms=0, organization_id="o").body
        assert json.loads(guest_body(body))["payload"] == {"activityType": "member_joined"}
