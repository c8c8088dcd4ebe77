"""Which node a client is sent to: each strategy by examples."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signtusk_realtime.cluster.balance import Strategy, choose
from signtusk_realtime.cluster.nodes import Node

A, B, C = (Node(node_id=name, url=f"http://{name}", capacity=10) for name in "abc")


def test_round_robin_takes_turns() -> None:
    """Each node gets every third client, whatever the order in which the nodes are known."""
    chosen = [
        choose("round_robin", nodes, turn=turn, user="u") for turn, nodes in enumerate([[A, B, C], [C, B, A]] * 3)
    ]
    assert chosen == [A, B, C, A, B, C]


def test_least_connections_takes_the_emptiest() -> None:
    """The node with the fewest connections gets the client."""
    nodes = [replace(A, connections=5), replace(B, connections=3), replace(C, connections=4)]
    chosen = choose("least_connections", nodes, turn=0, user="u")
    assert chosen is not None
    assert chosen.node_id == "b"


@pytest.mark.parametrize("strategy", ["round_robin", "least_connections", "sticky_session"])
@pytest.mark.parametrize("fault", [{"connections": 10}, {"is_draining": True}, {"status": "unavailable"}])
def test_only_nodes_with_room_are_chosen(strategy: Strategy, fault: dict[str, object]) -> None:
    """Nobody is sent to a node that is full, leaves or has lost its engine; if all are so, to none."""
    bad = [replace(node, **fault) for node in (A, C)]
    assert {choose(strategy, [*bad, B], turn=turn, user=str(turn)) for turn in range(20)} == {B}
    assert choose(strategy, bad, turn=0, user="u") is None
