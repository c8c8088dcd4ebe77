"""I4: organizations are apart, and guests see what was granted, whatever anybody does with everything that the API offers.

Three organizations use the same ids for their people, documents, signing requests, teams and events. Whatever they write carries a canary that
says whose it is and who may see it; whatever anybody is sent, by any way, is searched for canaries, and each must be one that this person may see.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.support.estate import DOCUMENTS, ORGANIZATIONS, PEOPLE, Estate, Person

people = st.builds(Person, st.sampled_from(PEOPLE), st.sampled_from(ORGANIZATIONS))
members = st.builds(Person, st.sampled_from(("ann", "bob", "app")), st.sampled_from(ORGANIZATIONS))
operators = st.builds(Person, st.just("app"), st.sampled_from(ORGANIZATIONS))
documents = st.sampled_from(DOCUMENTS)
SUBSCRIPTIONS = (
    "document_updates",
    "notifications",
    "organization_activity",
    "user_presence",
    "team_updates",
    "system_announcements",
)
KINDS = (
    "document_update",
    "signature_status",
    "signing_request",
    "notification",
    "user_presence",
    "organization_activity",
    "team_update",
)


class Neighbours(RuleBasedStateMachine):
    """Everybody does anything; see tests/support/estate.py for what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.estate = Estate()

    @initialize(
        kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=4),
        wanted=st.sampled_from((set(SUBSCRIPTIONS), {"team_updates"})),
        is_stream=st.booleans(),
    )
    def begin(self, kinds: list[str], wanted: set[str], *, is_stream: bool) -> None:
        """There is something to be seen in each organization: events, one of a kind for some of those who then read it, and a conflict."""
        for kind in kinds:
            self.publish_everywhere(kind, (0, 1, 0, 0))
        # For bob, for ann's team, and, as gil is r0 of d0 and r2 of s2, for another r0 than gil.
        for kind, pick in (
            ("notification", (2, 2, 0, 4)),
            ("team_update", (0, 0, 0, 0)),
            ("signature_status", (1, 2, 0, 0)),
        ):
            self.publish_everywhere(kind, pick)
        self.come_back_everywhere(set(PEOPLE), wanted, is_stream=is_stream, nth=0)
        for user, base in (("ann", 0), ("ann", 1), ("app", 1)):
            self.edit_everywhere(user, base, "x")

    @rule(
        who=operators,
        kind=st.sampled_from(KINDS),
        pick=st.tuples(*[st.integers(0, 2)] * 4),
        event_id=st.sampled_from((None, None, "e1", "e2")),
    )
    def publish(self, who: Person, kind: str, pick: tuple[int, int, int, int], event_id: str | None) -> None:
        self.estate.run(self.estate.publish(who, kind, pick, event_id))

    @rule(kind=st.sampled_from(KINDS), pick=st.tuples(*[st.integers(0, 2)] * 4))
    def publish_everywhere(self, kind: str, pick: tuple[int, int, int, int]) -> None:
        """The same at the same offset in each organization, as far as it can be: what is found by too little is found of another."""
        for organization in ORGANIZATIONS:
            self.estate.run(self.estate.publish(Person("app", organization), kind, pick, None))

    @rule(who=operators, other=st.sampled_from(ORGANIZATIONS))
    def publish_elsewhere(self, who: Person, other: str) -> None:
        self.estate.run(self.estate.publish_elsewhere(who, other))

    @rule(
        who=people,
        wanted=st.sets(st.sampled_from(SUBSCRIPTIONS)),
        is_stream=st.booleans(),
        by_ticket=st.booleans(),
        document=st.none() | documents,
        cursor=st.none() | st.integers(0, 30),
    )
    def connect(self, who: Person, **asked: Any) -> None:
        self.estate.run(self.estate.connect(who, **asked))

    @rule(
        users=st.sets(st.sampled_from(PEOPLE), min_size=2, max_size=3),
        wanted=st.sets(st.sampled_from(SUBSCRIPTIONS), min_size=3),
        is_stream=st.booleans(),
        nth=st.integers(0, 5),
    )
    def come_back_everywhere(self, users: set[str], wanted: set[str], *, is_stream: bool, nth: int) -> None:
        """Some people, and their namesakes elsewhere, ask for the same and read on from the same place, all at once."""
        self.estate.run(self.estate.come_back_everywhere(users, wanted, nth, is_stream=is_stream))

    @rule(who=people, other=st.sampled_from(ORGANIZATIONS))
    def take_a_ticket_elsewhere(self, who: Person, other: str) -> None:
        self.estate.run(self.estate.take_a_ticket_elsewhere(who, other))

    @rule(who=people, cursor=st.none() | st.integers(0, 30), limit=st.sampled_from((1, 3, 100)))
    def read_history(self, who: Person, cursor: int | None, limit: int) -> None:
        self.estate.run(self.estate.read_history(who, cursor, limit))

    @rule(document=documents)
    def see_who_is_there(self, document: str) -> None:
        self.estate.run(self.estate.see_who_is_there(document))

    @rule(who=people, document=documents, base=st.integers(0, 4), over_http=st.booleans(), field=st.sampled_from("xy"))
    def edit(self, who: Person, document: str, **how: Any) -> None:
        self.estate.run(self.estate.edit(who, document, **how))

    @rule(user=st.sampled_from(("ann", "app", "gil")), base=st.integers(0, 4), field=st.sampled_from("xy"))
    def edit_everywhere(self, user: str, base: int, field: str) -> None:
        """The same edit of the same document in each organization."""
        for organization in ORGANIZATIONS:
            who = Person(user, organization)
            self.estate.run(self.estate.edit(who, "d0", base=base, over_http=True, field=field))
            self.estate.run(self.estate.read_document(who, "d0", ""))

    @rule(who=people, document=documents, status=st.sampled_from(("online", "busy", "offline")))
    def be_there(self, who: Person, document: str, status: str) -> None:
        self.estate.run(self.estate.be_there(who, document, status))

    @rule(who=people, document=documents, what=st.sampled_from(("", "/history", "/conflicts?status=all", "?version=1")))
    def read_document(self, who: Person, document: str, what: str) -> None:
        self.estate.run(self.estate.read_document(who, document, what))

    @rule(who=people, document=documents, resolution=st.sampled_from(("merge", "reject", "manual")))
    def resolve(self, who: Person, document: str, resolution: str) -> None:
        self.estate.run(self.estate.resolve(who, document, resolution))

    @rule(who=people, document=documents, to=st.sampled_from(("deleted", "completed")))
    def move(self, who: Person, document: str, to: str) -> None:
        self.estate.run(self.estate.move(who, document, to))

    @rule(who=people, user=st.sampled_from((None, *PEOPLE)))
    def list_connections(self, who: Person, user: str | None) -> None:
        self.estate.run(self.estate.list_connections(who, user))

    @rule(who=operators, user=st.sampled_from(PEOPLE))
    def close_connections(self, who: Person, user: str) -> None:
        self.estate.run(self.estate.close_connections(who, user))

    @rule(who=operators, pick=st.integers(0, 9))
    def revoke_a_connection(self, who: Person, pick: int) -> None:
        self.estate.run(self.estate.revoke_a_connection(who, pick))

    @rule(who=operators, user=st.sampled_from(PEOPLE))
    def revoke_a_user(self, who: Person, user: str) -> None:
        self.estate.run(self.estate.revoke_a_user(who, user))

    @rule(who=people, pick=st.integers(0, 9), over_http=st.booleans())
    def refresh(self, who: Person, pick: int, over_http: bool) -> None:
        self.estate.run(self.estate.refresh(who, pick, over_http=over_http))

    @rule(organization=st.sampled_from(ORGANIZATIONS), pick=st.integers(0, 9), over_http=st.booleans())
    def refresh_by_a_namesake(self, organization: str, pick: int, over_http: bool) -> None:
        self.estate.run(self.estate.refresh_by_a_namesake(organization, pick, over_http=over_http))

    @rule(who=people)
    def read_metrics(self, who: Person) -> None:
        self.estate.run(self.estate.read_metrics(who))

    @rule(who=people, body=st.sampled_from(('{"kind":', '{"kind":"notification","extra":1}', "[]", '"x"')))
    def err(self, who: Person, body: str) -> None:
        self.estate.run(self.estate.err(who, body))

    def teardown(self) -> None:
        self.estate.end()


@pytest.mark.timeout(900)
def test_nothing_crosses() -> None:
    """No canary is shown to anybody who may not see it, and in the end everybody has been shown all that he may see."""
    run_state_machine_as_test(
        Neighbours, settings=settings(max_examples=max(5, settings().max_examples // 4), stateful_step_count=40)
    )
