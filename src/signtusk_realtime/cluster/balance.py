"""Which node a client is sent to.

Owns: the three strategies, as functions of what is known of the nodes.   Not: knowing it (registry.py), what the client is told
(operations/negotiate.py).
Rule 1: no clock, no chance, no state: equal arguments, equal answers, in whatever order the nodes are given.
Rule 2: only nodes with room are chosen; with none there is no answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal, assert_never

from signtusk_realtime.cluster.nodes import Node

Strategy = Literal["round_robin", "least_connections", "sticky_session"]


NOBODY: Final[Mapping[str, int]] = MappingProxyType({})


def choose(
    strategy: Strategy, nodes: Iterable[Node], *, turn: int, user: str, sent: Mapping[str, int] = NOBODY
) -> Node | None:
    """Choose by a strategy. `turn`: how often was chosen before. `user`: whom `sticky_session` sends to the same node as long as that lives.

    `sent`: how many clients were sent to a node since it said how many it has.
    """
    candidates = sorted((node for node in nodes if node.has_room), key=lambda node: node.node_id)
    if not candidates:
        return None
    match strategy:
        case "round_robin":
            return round_robin(candidates, turn)
        case "least_connections":
            return least_connections(candidates, sent)
        case "sticky_session":
            return sticky_session(candidates, user)
    assert_never(strategy)


def round_robin(candidates: list[Node], turn: int) -> Node:
    """Choose one after the other."""
    return candidates[turn % len(candidates)]


def least_connections(candidates: list[Node], sent: Mapping[str, int] = NOBODY) -> Node:
    """Choose the one with the fewest connections, with those that are on their way there; of several the first."""
    return min(candidates, key=lambda node: node.connections + sent.get(node.node_id, 0))


def sticky_session(candidates: list[Node], user: str) -> Node:
    """Choose by rendezvous hashing (Thaler and Ravishankar, 1998): a node that comes or goes moves its own users only."""
    return max(candidates, key=lambda node: (_weight(node.node_id, user), node.node_id))


def _weight(node_id: str, user: str) -> bytes:
    return hashlib.blake2b(f"{len(node_id)}:{node_id}{user}".encode(), digest_size=8).digest()
