"""A session's rules of asking, over random conversations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol.messages import Subscribe
from signtusk_realtime.sessions.entitlement import NOTHING, compile_selection
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support import delivery

LIMIT = 4
REQUESTS = st.builds(
    Subscribe,
    subscription=st.one_of(st.just(UNSET), delivery.subscriptions()),
    subscriptions=st.one_of(st.just(UNSET), st.lists(delivery.subscriptions(), max_size=3).map(tuple)),
    cursor=st.one_of(st.just(UNSET), st.just(UNSET), st.just("latest")),
)
STEPS = st.lists(st.one_of(REQUESTS, REQUESTS, st.integers(0, LIMIT)), max_size=10)


def allowed(request: Subscribe, present: int, is_first: bool) -> bool:
    """Say whether spec/protocol.md §7.1 lets this be asked: one of two forms, not empty, a cursor first, not too many."""
    if (request.subscription is UNSET) == (request.subscriptions is UNSET):
        return False
    count = len(request.subscriptions) if request.subscriptions is not UNSET else 1
    return 0 < count <= LIMIT - present and (request.cursor is UNSET or is_first)


@given(delivery.identities(), STEPS)
def test_a_session_holds_what_was_accepted_and_nothing_else(identity: Identity, steps: list[Subscribe | int]) -> None:
    """All of a request is taken in or nothing is; the selection is always that of what is present, whatever the order."""
    session = Session(identity, SessionLimits(subscriptions=LIMIT))
    model: dict[str, Subscription] = {}
    given_ids = 0
    for step in steps:
        before = session.subscriptions, session.selection, session.has_subscribed
        refused: RealtimeError | None = None
        may = isinstance(step, Subscribe) and allowed(step, len(model), not session.has_subscribed)
        try:
            if isinstance(step, int):
                session.remove(f"sub_{step}")
            else:
                wanted = session.wanted(step)
                ids = [f"sub_{given_ids + n}" for n in range(len(wanted))]
                session.add(ids, wanted, session.preview(wanted))
        except RealtimeError as error:
            refused = error
        if refused is not None:
            assert (session.subscriptions, session.selection, session.has_subscribed) == before
        if isinstance(step, int):
            assert (refused is None) == (f"sub_{step}" in model)
            model.pop(f"sub_{step}", None)
        elif refused is None:
            assert may
            given_ids += len(ids)
            model.update(zip(ids, wanted, strict=True))
        elif may:
            assert refused.code == "forbidden"
            assert refused.path is not None
            assert delivery.is_outside(identity, wanted[int(refused.path[0])])
        assert session.subscriptions == tuple(model.items())
        if session.has_subscribed:
            assert session.selection == compile_selection(model.values(), identity)
        else:
            assert session.selection == NOTHING
