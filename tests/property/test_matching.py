"""Properties of matching: clauses, index keys, the index, and compiled subscriptions against the protocol's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.delivery.audience import Audience
from signtusk_realtime.delivery.formats import FRAMES
from signtusk_realtime.delivery.index import Index
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.events.event import ALL_EVENT_TYPES, guest_body
from signtusk_realtime.events.log import ORIGIN_TAG, Draft, Epoch, Position
from signtusk_realtime.events.matching import FACETS, Clause, clause, index_keys
from signtusk_realtime.events.subscriptions import SUBSCRIPTION_OF, TYPES_OF, Subscription
from signtusk_realtime.sessions.entitlement import (
    FULL,
    compile_selection,
    default_subscriptions,
    may_subscribe,
    sees_whole,
)
from signtusk_realtime.sessions.identity import Identity
from tests.support import delivery
from tests.support.samples import ids, published_events

HERE = Place(Position(Epoch("0" * 16), 0, ORIGIN_TAG), Position(Epoch("0" * 16), 0, ORIGIN_TAG))


def drafts() -> st.SearchStrategy[Draft]:
    return published_events().map(lambda published: delivery.drafted(published, "evt_1", "org123"))


def service_events() -> st.SearchStrategy[tuple[str, ...]]:
    """Keys of the events that only the service emits, which no publication gives."""
    few = st.sampled_from(delivery.SHORT)
    return st.tuples(
        st.sampled_from(["document_conflict", "document_conflict_resolved"]), few.map(lambda value: "d:" + value)
    )


def event_keys() -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(drafts().map(lambda draft: draft.keys), service_events())


@st.composite
def clauses(draw: st.DrawFn) -> Clause:
    """Clauses of every type and shape, also of those that no identity gets."""
    name = draw(st.sampled_from(sorted(TYPES_OF)))
    family = TYPES_OF[name]
    types = draw(st.one_of(st.just(family), st.frozensets(st.sampled_from(sorted(family)), min_size=1)))
    few = st.one_of(st.sampled_from(delivery.SHORT), ids())
    required = [facet + ":" + draw(few) for facet in FACETS if draw(st.booleans())]
    made = clause(name, types, draw(st.permutations(required)))
    assert made is not None
    return made


@given(clauses(), event_keys(), st.integers(0, 2**16 - 1))
def test_index_keys_find_a_clause_exactly_if_it_matches(wanted: Clause, keys: tuple[str, ...], others: int) -> None:
    """Rule 1 of events/matching.py, whatever other shapes are in use."""
    shapes = others | 1 << wanted.shape()
    assert wanted.matches(keys) == bool(set(index_keys(keys, shapes)) & set(wanted.index_keys()))


@given(
    st.lists(st.lists(clauses(), min_size=1, max_size=4), max_size=8),
    st.data(),
    st.lists(event_keys(), min_size=1, max_size=6),
)
def test_the_index_finds_what_asking_everybody_would(
    wishes: list[list[Clause]], data: st.DataObject, events: list[tuple[str, ...]]
) -> None:
    """`Index.find` gives the audiences of which some clause matches, also after others were taken out; empty, it holds nothing."""
    index = Index()
    audiences = [Audience(tuple(dict.fromkeys(wish)), FULL, FRAMES, HERE) for wish in wishes]
    for audience in audiences:
        index.add(audience)
    for removed in [audience for audience in audiences if data.draw(st.booleans())]:
        index.remove(removed)
        audiences.remove(removed)
    for keys in events:
        asked = {audience for audience in audiences if any(c.matches(keys) for c in audience.clauses)}
        assert set(index.find(keys)) == asked
    for audience in audiences:
        index.remove(audience)
    assert index._found_by == {}


@given(delivery.identities(), st.lists(delivery.subscriptions(), max_size=4), st.lists(drafts(), max_size=8))
def test_a_compiled_selection_gives_what_the_contract_says(
    identity: Identity, asked: list[Subscription], events: list[Draft]
) -> None:
    """Compiled with grants, subscriptions match the events that spec/protocol.md §5 and the grants say, and show as much of them."""
    if any(delivery.is_outside(identity, s) for s in asked):
        with pytest.raises(Forbidden) as refused:
            compile_selection(asked, identity)
        first = next(i for i, s in enumerate(asked) if delivery.is_outside(identity, s))
        assert refused.value.path == (str(first),)
        return
    selection = compile_selection(asked, identity)
    for draft in events:
        event = json.loads(draft.body)
        wanted = any(delivery.gets(identity, s, event) for s in asked)
        assert selection.matches(draft.keys) == wanted
        assert selection.matcher()(draft.keys) == wanted
        if wanted:
            shown = draft.body if sees_whole(selection.view, draft.keys) else guest_body(draft.body)
            assert json.loads(shown) == delivery.as_seen(identity, event)


@given(delivery.identities(), st.lists(delivery.subscriptions(), max_size=4), st.data())
def test_equal_wishes_share_an_audience(identity: Identity, asked: list[Subscription], data: st.DataObject) -> None:
    """The order and repetition of subscriptions do not change what they are compiled to."""
    asked = [s for s in asked if may_subscribe(s, identity)]
    shuffled = data.draw(st.permutations(asked))
    assert compile_selection(asked, identity) == compile_selection([*shuffled, *asked], identity)


@given(delivery.identities())
def test_the_default_selection_is_all_that_one_may_have_but_presence(identity: Identity) -> None:
    """An event stream without a selection gets every subscription type that the identity may have, but for user_presence."""
    types = [s.type for s in default_subscriptions(identity)]
    every = [Subscription(name) for name in TYPES_OF if name != "user_presence"]
    assert types == [s.type for s in every if not delivery.is_outside(identity, s)]


def test_the_oracle_knows_every_event_type() -> None:
    """The naive reading of the protocol and the table of events/subscriptions.py name the same types."""
    assert {name: set(types) for name, types in TYPES_OF.items()} == delivery.EVENTS_OF
    assert set(SUBSCRIPTION_OF) == ALL_EVENT_TYPES
