"""Strategies by which clients are spread over nodes, for any nodes and users."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.cluster.balance import choose
from signtusk_realtime.cluster.nodes import Node

node_ids = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=8)
users = st.lists(st.text(max_size=8), min_size=1, max_size=50, unique=True)


def _nodes(ids: set[str]) -> list[Node]:
    return [Node(node_id=node_id, capacity=1) for node_id in ids]


def _homes(ids: set[str], names: list[str]) -> dict[str, str]:
    chosen = {name: choose("sticky_session", _nodes(ids), turn=0, user=name) for name in names}
    return {name: node.node_id for name, node in chosen.items() if node is not None}


@given(node_ids, st.integers(0, 1000), st.integers(1, 5))
def test_round_robin_is_even(ids: set[str], first: int, rounds: int) -> None:
    """In any run of whole rounds each node is chosen equally often."""
    turns = range(first, first + rounds * len(ids))
    chosen = Counter(choose("round_robin", _nodes(ids), turn=turn, user="") for turn in turns)
    assert {node.node_id for node in chosen if node is not None} == ids
    assert set(chosen.values()) == {rounds}


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 1000))
def test_least_connections_is_least(counts: list[int], turn: int) -> None:
    """The chosen node has no more connections than any other with room; none is chosen exactly when all are full."""
    nodes = [Node(node_id=str(i), connections=count, capacity=10) for i, count in enumerate(counts)]
    chosen = choose("least_connections", nodes, turn=turn, user="")
    if chosen is None:
        assert min(counts) >= 10
    else:
        assert chosen.connections == min(counts)


@given(node_ids, users, st.text(min_size=1, max_size=8))
def test_sticky_moves_nobody_needlessly(ids: set[str], names: list[str], newcomer: str) -> None:
    """A node that joins takes users from others to itself only; so one that leaves moves its own users only."""
    before, after = (
        _homes(ids - {newcomer} or {"first"}, names),
        _homes((ids - {newcomer} or {"first"}) | {newcomer}, names),
    )
    assert all(after[name] in (before[name], newcomer) for name in names)


def test_sticky_spreads() -> None:
    """Many users are spread about evenly over few nodes."""
    homes = Counter(_homes({"a", "b", "c", "d"}, [f"user{i}" for i in range(4000)]).values())
    assert all(900 < count < 1100 for count in homes.values()), homes
