"""The seven subscription types and their filters, as the wire has them."""

from __future__ import annotations

import json

import msgspec
import pytest

from signtusk_realtime.events.event import ALL_EVENT_TYPES
from signtusk_realtime.events.subscriptions import SUBSCRIPTION_OF, TYPES_OF, Filters, Subscription


def read(value: object) -> Subscription:
    return msgspec.json.decode(json.dumps(value).encode(), type=Subscription)


def test_every_event_type_belongs_to_one_subscription_type() -> None:
    """The rule of the module: no event type is left out, none stands twice."""
    named = [event_type for types in TYPES_OF.values() for event_type in types]
    assert len(named) == len(set(named)) == len(SUBSCRIPTION_OF)
    assert set(named) == ALL_EVENT_TYPES


def test_all_filters_are_read() -> None:
    """Every filter of the protocol by its name, and back."""
    wire = {
        "type": "signing_updates",
        "filters": {
            "documentId": "d",
            "signingRequestId": "s",
            "teamId": "t",
            "userId": "u",
            "eventTypes": ["signature_completed"],
        },
    }
    assert read(wire) == Subscription(
        "signing_updates",
        Filters(
            document_id="d", signing_request_id="s", team_id="t", user_id="u", event_types=("signature_completed",)
        ),
    )
    assert json.loads(msgspec.json.encode(read(wire))) == wire
    assert read({"type": "notifications"}) == read({"type": "notifications", "filters": {}})


@pytest.mark.parametrize(
    "value",
    [
        {"filters": {}},
        {"type": "documents"},
        {"type": "document_updates", "filters": {"documentId": ""}},
        {"type": "document_updates", "filters": {"documentId": " d"}},
        {"type": "document_updates", "filters": {"documentId": None}},
        {"type": "document_updates", "filters": {"eventTypes": []}},
        {"type": "document_updates", "filters": {"eventTypes": ["nothing"]}},
        {"type": "document_updates", "filters": {"eventTypes": "document_updated"}},
        {"type": "document_updates", "filters": {"organizationId": "o"}},
        {"type": "document_updates", "filters": None},
        {"type": "document_updates", "documentId": "d"},
    ],
)
def test_empty_values_and_unknown_names_are_refused(value: object) -> None:
    """spec/protocol.md §5: a filter that says nothing or nobody knows is a mistake, not a wider subscription."""
    with pytest.raises(msgspec.ValidationError):
        read(value)
