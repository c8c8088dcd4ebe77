"""The rules between fields, and events made in Python."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, cast

import pytest

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.kinds import (
    KINDS,
    DocumentUpdateEvent,
    Location,
    NotificationEvent,
    OrganizationActivityEvent,
    SignatureData,
    SignatureStatusEvent,
    SigningRequestEvent,
)
from signtusk_realtime.events.validation import check, validate
from tests.support.samples import sample_event


@pytest.mark.parametrize("kind", KINDS)
def test_valid_samples_pass(kind: str) -> None:
    """Every sample passes, as decoded and as made in Python."""
    check(sample_event(kind))
    assert validate(sample_event(kind)) == sample_event(kind)


BROKEN = [
    ("document_update", {"type": "deleted"}, ("changes",)),
    ("document_update", {"type": "signed"}, ("changes",)),
    ("document_update", {"type": "completed", "changes": None, "deletes": []}, ("deletes",)),
    ("organization_activity", {"payload": {"activityType": "x"}}, ("payload", "activityType")),
    ("team_update", {"payload": {"teamId": "x"}}, ("payload", "teamId")),
    ("team_update", {"payload": {"updateType": None}}, ("payload", "updateType")),
    ("document_update", {"organizationId": "*"}, ("organizationId",)),
    ("team_update", {"organizationId": "~"}, ("organizationId",)),
    ("notification", {"expiresAt": "0001-01-01T00:00:00+01:00"}, ("expiresAt",)),
    ("signing_request", {"expiresAt": "9999-12-31T23:59:59-01:00"}, ("expiresAt",)),
    ("user_presence", {"lastSeen": "0001-01-01T00:00:00+01:00"}, ("lastSeen",)),
    ("document_update", {"timestamp": "0001-01-01T00:00:00+01:00"}, ("timestamp",)),
    ("system_announcement", {"startsAt": "0001-01-01T00:00:00+01:00"}, ("startsAt",)),
    ("system_announcement", {"endsAt": "0001-01-01T00:00:00+01:00"}, ("endsAt",)),
    (
        "signature_status",
        {"signatureData": {"signedAt": "0001-01-01T00:00:00+01:00"}},
        ("signatureData", "signedAt"),
    ),
]


@pytest.mark.parametrize("kind, changed, path", BROKEN)
def test_a_broken_rule_is_placed(kind: str, changed: dict[str, object], path: tuple[str, ...]) -> None:
    """Each rule between fields refuses with `invalid_event` and the path of the field that breaks it."""
    with pytest.raises(InvalidInput) as caught:
        check(sample_event(kind, **changed))
    assert (caught.value.code, caught.value.path) == ("invalid_event", path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "system_announcement"])
def test_the_organization_is_required_where_credentials_name_none(kind: str) -> None:
    """A service names the organization per event; whose token names it may leave it out."""
    check(sample_event(kind))
    check(sample_event(kind, organizationId="org123"), organization_required=True)
    with pytest.raises(InvalidInput) as caught:
        check(sample_event(kind), organization_required=True)
    assert caught.value.path == ("organizationId",)


def test_an_announcement_needs_no_organization() -> None:
    """An announcement goes to everybody: it names `*` or nothing."""
    check(sample_event("system_announcement"), organization_required=True)
    check(sample_event("system_announcement", organizationId="*"), organization_required=True)


def test_merged_payloads_may_hold_other_names_of_the_contract() -> None:
    """Only what would hide the event's own names is refused: an activity may tell of a document, a team or a user."""
    check(sample_event("organization_activity", payload={"teamId": "t", "documentId": "d", "userId": "u", "id": 1}))


MADE_IN_PYTHON = [
    (
        DocumentUpdateEvent(document_id="d", type="renamed", user_id="u"),  # type: ignore[arg-type]
        ("type",),
        "renamed",
    ),
    (DocumentUpdateEvent(document_id=" d", type="created", user_id="u"), ("documentId",), "1 to 128 characters"),
    (
        DocumentUpdateEvent(document_id="d", type="deleted", user_id="u", changes={}),
        ("changes",),
        "created or updated",
    ),
    (
        DocumentUpdateEvent(document_id="d", type="created", user_id="u", timestamp=datetime(2026, 1, 1)),  # noqa: DTZ001
        ("timestamp",),
        "timezone",
    ),
    (
        DocumentUpdateEvent(document_id="d", type="updated", user_id="u", changes={"a": [float("nan")]}),
        ("changes", "a", "0"),
        "NaN",
    ),
    (
        DocumentUpdateEvent(document_id="d", type="updated", user_id="u", changes={"a": object()}),
        (),
        "cannot be written as JSON",
    ),
    (
        DocumentUpdateEvent(document_id="d", type="updated", user_id="u", changes={"a": "\ud800"}),
        (),
        "surrogate",
    ),
    (
        SignatureStatusEvent(
            signing_request_id="s",
            document_id="d",
            recipient_id="r",
            status="signed",
            user_id="u",
            signature_data=SignatureData(location=Location(latitude=91, longitude=0)),
        ),
        ("signatureData", "location", "latitude"),
        "<= 90",
    ),
    (
        SigningRequestEvent(
            signing_request_id="s",
            document_id="d",
            type="created",
            user_id="u",
            recipients=["a", 7],  # type: ignore[list-item]
        ),
        ("recipients", "1"),
        "Expected",
    ),
    (
        SignatureStatusEvent(
            signing_request_id="s",
            document_id="d",
            recipient_id="r",
            status="signed",
            user_id="u",
            signature_data={"image": "…"},  # type: ignore[arg-type]
        ),
        ("signatureData", "image"),
        "unknown field",
    ),
    (
        NotificationEvent(id="", title="", message="", type="info", user_id="u"),
        ("id",),
        "length >= 1",
    ),
]


@pytest.mark.parametrize("event, path, words", MADE_IN_PYTHON)
def test_what_is_made_in_python_is_checked(event: DocumentUpdateEvent, path: tuple[str, ...], words: str) -> None:
    """`validate` finds what constructing does not: types, ranges, rules, and what JSON cannot say; paths in the wire's names."""
    with pytest.raises(InvalidInput) as caught:
        validate(event)
    assert (caught.value.code, caught.value.path) == ("invalid_event", path)
    assert words in caught.value.message


def test_bottomless_values_are_refused() -> None:
    """A value that holds itself is an error, not a crash."""
    bottomless: dict[str, object] = {}
    bottomless["self"] = bottomless
    with pytest.raises(InvalidInput, match="nested deeper") as caught:
        validate(OrganizationActivityEvent(activity_type="x", payload=bottomless))
    assert caught.value.path == ("payload",)


def test_validate_returns_what_would_have_been_decoded() -> None:
    """Tuples become lists, and nothing of the caller's is shared with what is published."""
    changes: dict[str, object] = {"tags": ("a", "b")}
    made = validate(
        DocumentUpdateEvent(
            document_id="d", type="updated", user_id="u", changes=changes, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
        )
    )
    assert isinstance(made, DocumentUpdateEvent)
    changes["tags"] = None
    assert made.changes == {"tags": ["a", "b"]}


def test_an_unknown_value_is_told_with_the_known_ones() -> None:
    """Also where the event was made in Python."""
    event = DocumentUpdateEvent(document_id="d", user_id="u", organization_id="o", type=cast("Literal['created']", "x"))
    with pytest.raises(InvalidInput) as caught:
        validate(event)
    assert caught.value.path == ("type",)
    assert caught.value.message == "unknown value 'x'; known are completed, created, deleted, signed, updated"
