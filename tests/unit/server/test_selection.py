"""What a query selects."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.subscriptions import TYPES_OF, Filters, Subscription
from signtusk_realtime.server.selection import Asked, parse_selection
from signtusk_realtime.sessions.identity import Grant, Identity

MEMBER = Identity(user_id="u", organization_id="o")


def parse(**query: str) -> Asked:
    return parse_selection(query, depth=8, max_subscriptions=3)


def test_nothing_asked_is_everything_but_presence() -> None:
    """Without a selection an event stream gets all types but user_presence; history gets that too."""
    asked = parse()
    assert asked.is_everything
    assert {s.type for s in asked.of(MEMBER, presence=False)} == TYPES_OF.keys() - {"user_presence"}
    assert {s.type for s in asked.of(MEMBER, presence=True)} == TYPES_OF.keys()


def test_a_guest_gets_what_was_granted() -> None:
    """Everything is everything that the identity may have."""
    guest = Identity(user_id="g", organization_id="o", grants=(Grant(actions=("subscribe",), document_id="d"),))
    types = {s.type for s in parse().of(guest, presence=True)}
    assert types == {"document_updates", "signing_updates"}


def test_types_share_the_filters() -> None:
    """Each type named becomes a subscription with all filters of the query; a name given twice counts once."""
    asked = parse(
        types="document_updates,signing_updates,document_updates", documentId="d", eventTypes="document_signed"
    )
    filters = Filters(document_id="d", event_types=("document_signed",))
    assert asked.of(MEMBER, presence=False) == (
        Subscription("document_updates", filters),
        Subscription("signing_updates", filters),
    )


def test_filters_alone_narrow_everything() -> None:
    """A filter without types narrows every type there is."""
    asked = parse(teamId="t")
    assert not asked.is_everything
    assert {s.filters for s in asked.of(MEMBER, presence=False)} == {Filters(team_id="t")}


def test_subscriptions_are_taken_as_they_are() -> None:
    """The JSON list is that of a subscribe message; the userId filter can be written there only."""
    wanted = [{"type": "user_presence", "filters": {"userId": "x"}}]
    asked = parse(subscriptions=json.dumps(wanted))
    assert asked.of(MEMBER, presence=False) == (Subscription("user_presence", Filters(user_id="x")),)


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"types": ""}, ("types",)),
        ({"types": "document_updates,"}, ("types",)),
        ({"types": "documents"}, ("types",)),
        ({"documentId": ""}, ("documentId",)),
        ({"signingRequestId": "x" * 129}, ("signingRequestId",)),
        ({"teamId": " t"}, ("teamId",)),
        ({"eventTypes": "document_updates"}, ("eventTypes",)),
        ({"subscriptions": "[]"}, ("subscriptions",)),
        ({"subscriptions": "{"}, ("subscriptions",)),
        ({"subscriptions": "[" * 1000}, ("subscriptions",)),
        ({"subscriptions": '[{"type":"notifications"},{"type":"x"}]'}, ("subscriptions", "1", "type")),
        ({"subscriptions": '[{"type":"notifications","filters":{"a":1}}]'}, ("subscriptions", "0", "filters", "a")),
        ({"subscriptions": json.dumps([{"type": "notifications"}] * 4)}, ("subscriptions",)),
        ({"subscriptions": '[{"type":"notifications"}]', "types": "notifications"}, ("subscriptions",)),
        ({"subscriptions": '[{"type":"notifications"}]', "teamId": "t"}, ("subscriptions",)),
    ],
)
def test_what_is_not_a_selection_is_refused(query: dict[str, str], path: tuple[str, ...]) -> None:
    """Empty and unknown values, both forms at once and too many are refused, with the parameter's name."""
    with pytest.raises(InvalidInput) as refusal:
        parse(**query)
    assert refusal.value.code == "invalid_parameter"
    assert refusal.value.path == path


@pytest.mark.parametrize(("name", "known"), [("types", "document_updates"), ("eventTypes", "document_created")])
def test_what_is_unknown_is_told_with_what_is_known(name: str, known: str) -> None:
    """The faulty one of a list is named, shortened."""
    for value in ("", "x", "y" * 1000):
        with pytest.raises(InvalidInput) as refusal:
            parse(**{name: value})
        assert refusal.value.message.startswith(f"unknown value {value[:64]!r}; known are {known}, ")


def test_what_a_stranger_sends_is_counted_before_it_is_read() -> None:
    """The query of an event stream is read before it is known who asks."""
    with pytest.raises(InvalidInput, match="more than 150 values") as refused:
        parse(subscriptions="[" + "{}," * 20_000 + "{}]")
    assert refused.value.code == "invalid_parameter"
