"""What grants allow, case by case; tests/property/test_matching.py holds the same in general."""

from __future__ import annotations

import pytest

from signtusk_realtime.errors import Forbidden
from signtusk_realtime.events.matching import Clause
from signtusk_realtime.events.subscriptions import TYPES_OF, Subscription
from signtusk_realtime.sessions.entitlement import (
    FULL,
    NOTHING,
    _without_covered,
    compile_selection,
    default_subscriptions,
    may_subscribe,
    sees_whole,
)
from signtusk_realtime.sessions.identity import ANY_ORGANIZATION, Grant, Identity
from tests.support.delivery import grant, guest, member, subscription

ALL = tuple(Subscription(name) for name in TYPES_OF)


def allowed(identity: Identity) -> set[str]:
    return {s.type for s in ALL if may_subscribe(s, identity)}


@pytest.mark.parametrize(
    ("own", "types"),
    [
        (grant(document_id="d1"), {"document_updates", "signing_updates"}),
        (grant(signing_request_id="s1"), {"signing_updates"}),
        (grant(document_id="d1", signing_request_id="s1"), {"signing_updates"}),
        (grant(document_id="d1", types=("document_updates",)), {"document_updates"}),
        (grant(document_id="d1", types=("notifications",)), {"notifications"}),
        (grant(types=("notifications",)), {"notifications"}),
        (grant(types=("document_updates", "organization_activity", "user_presence", "system_announcements")), set()),
        (grant(recipient_id="r1"), set()),
        (Grant(actions=("edit", "resolve"), document_id="d1"), set()),
    ],
)
def test_what_a_grant_opens(own: Grant, types: set[str]) -> None:
    """A document's or a signing request's events, notifications if named; no presence, activity, announcements; edit is not subscribe."""
    assert allowed(guest(own)) == types


def test_without_grants_all_is_open_and_with_none_nothing() -> None:
    """No `grants` at all is a member; an empty list is a guest who may see nothing."""
    assert allowed(member()) == set(TYPES_OF)
    assert allowed(guest()) == set()
    assert default_subscriptions(guest()) == ()
    assert guest().is_guest
    assert not member().is_guest
    assert Identity(user_id="s", organization_id=ANY_ORGANIZATION).is_service


@pytest.mark.parametrize(
    "asked",
    [
        subscription("document_updates", document_id="d2"),
        subscription("signing_updates", document_id="d2"),
        subscription("signing_updates", document_id="d2", event_types=("signature_completed",)),
        Subscription("user_presence"),
        Subscription("team_updates"),
    ],
)
def test_wholly_outside_is_forbidden(asked: Subscription) -> None:
    """A guest who names another document is told, and not left waiting."""
    with pytest.raises(Forbidden) as refused:
        compile_selection([subscription("document_updates", document_id="d1"), asked], guest(grant(document_id="d1")))
    assert refused.value.path == ("1",)


def test_a_filter_narrows_within_the_grants() -> None:
    """A guest of two documents who asks for one gets one; who asks for all gets two."""
    identity = guest(grant(document_id="d1"), grant(document_id="d2"))
    one = compile_selection([subscription("document_updates", document_id="d1")], identity)
    both = compile_selection([Subscription("document_updates")], identity)
    assert [one.matches(("document_updated", d)) for d in ("d:d1", "d:d2", "d:d3")] == [True, False, False]
    assert [both.matches(("document_updated", d)) for d in ("d:d1", "d:d2", "d:d3")] == [True, True, False]


def test_the_view_belongs_to_the_grants_own_recipient() -> None:
    """A recipient id shows its own signature only where its grant reaches: another document may number its recipients alike."""
    identity = guest(
        grant(document_id="d1", recipient_id="1"),
        grant(document_id="d2", recipient_id="2"),
        grant(document_id="d3", recipient_id="3", types=("document_updates",)),
        Grant(actions=("edit",), document_id="d4", recipient_id="4"),
    )
    view = compile_selection([Subscription("signing_updates")], identity).view
    seen = {
        (d, r): sees_whole(view, ("signature_completed", "d:d" + d, "s:s", "u:u", "r:" + r))
        for d in "1234"
        for r in "1234"
    }
    assert {pair for pair, whole in seen.items() if whole} == {("1", "1"), ("2", "2")}
    assert sees_whole(FULL, ("signature_completed",))


def test_notifications_are_ones_own_whatever_the_filter_says() -> None:
    """Notifications are kept apart from the clauses, so that people who ask for the same share an audience."""
    mine, others = ("notification", "u:ada"), ("notification", "u:bob")
    for asked in (Subscription("notifications"), subscription("notifications", user_id="ada")):
        selection = compile_selection([asked], member("ada"))
        assert selection.clauses == ()
        assert selection.matches(mine)
        assert not selection.matches(others)
    for asked in (
        subscription("notifications", user_id="bob"),
        subscription("notifications", document_id="d1"),
        subscription("notifications", event_types=("document_updated",)),
    ):
        assert compile_selection([asked], member("ada")) == NOTHING


def test_teams_are_ones_own() -> None:
    """Team updates come of one's own teams only; without teams, or for another's, nothing does."""
    identity = member("ada", "org123", "t1", "t2")
    asked = Subscription("team_updates")
    selection = compile_selection([asked], identity)
    assert [selection.matches(("team_update", m)) for m in ("m:t1", "m:t2", "m:t3")] == [True, True, False]
    assert compile_selection([asked], member("ada")) == NOTHING
    assert compile_selection([subscription("team_updates", team_id="t3")], identity) == NOTHING


def test_what_another_covers_is_dropped() -> None:
    """A narrower wish beside a wider one changes nothing, so both are one audience."""
    wide = Subscription("document_updates")
    narrow = subscription("document_updates", document_id="d1", event_types=("document_signed",))
    assert compile_selection([narrow, wide], member()) == compile_selection([wide], member())
    assert len(compile_selection([narrow, subscription("document_updates", user_id="u1")], member()).clauses) == 2


def test_many_wishes_under_many_grants_are_compiled_in_proportion() -> None:
    """A hundred subscriptions under a hundred grants are ten thousand clauses; none is compared with all the others."""

    class Counted(frozenset[str]):
        compared = 0

        def __le__(self, other: object) -> bool:
            Counted.compared += 1
            return super().__le__(other)  # type: ignore[operator]  # both are sets

        def __lt__(self, other: object) -> bool:
            Counted.compared += 1
            return super().__lt__(other)  # type: ignore[operator]  # both are sets

    types = Counted({"document_updated"})
    clauses = tuple(
        Clause(None, types, (f"d:{document}", f"u:{user}")) for document in range(100) for user in range(100)
    )
    covered = Clause("document_updates", TYPES_OF["document_updates"], ("d:7",))
    kept = _without_covered((*clauses, covered))
    assert len(kept) == 10_000 - 100 + 1
    assert Counted.compared <= 4 * len(clauses)


@pytest.mark.parametrize("own_notifications", [False, True])
def test_what_is_asked_of_many_events_is_what_is_asked_of_one(own_notifications: bool) -> None:
    """However many clauses there are, of whatever shapes."""
    wishes = [subscription("document_updates", document_id=f"d{n}") for n in range(6)]
    wishes += [subscription("signing_updates", document_id="d7", event_types=("signature_completed",))]
    wishes += [Subscription("notifications")] if own_notifications else []
    selection = compile_selection(wishes, member("ada"))
    events = [
        ("document_updated", "d:d5", "u:ada"),
        ("document_updated", "d:d6", "u:ada"),
        ("signature_completed", "d:d7", "s:s1", "u:ben"),
        ("signature_declined", "d:d7", "s:s1", "u:ben"),
        ("notification", "u:ada"),
        ("notification", "u:ben"),
    ]
    said = [selection.matcher()(keys) for keys in events]
    assert said == [selection.matches(keys) for keys in events]
    assert said == [True, False, True, False, own_notifications, False]
