"""How many tickets one user gets, and what is remembered for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import pytest

from signtusk_realtime.errors import LimitExceeded
from signtusk_realtime.operations.tickets import BURST, PER_SECOND, Tickets
from tests.support.delivery import Node, member, started_node

pytestmark = pytest.mark.virtual_clock


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with started_node() as one:
        yield one


class Window:
    """Makes tickets at a time that is told."""

    def __init__(self, node: Node) -> None:
        self.now = 1000.0
        numbers = count()
        self.tickets = Tickets(
            node.engine,
            now_ms=lambda: int(self.now * 1000),
            monotonic_s=lambda: self.now,
            new_secret=lambda: f"{next(numbers):022}",
        )

    async def made(self, user: str, most: int) -> int:
        for number in range(most):
            try:
                await self.tickets.issue(member(user))
            except LimitExceeded:
                return number
        return most


async def test_a_user_gets_so_many_tickets(node: Node) -> None:
    """Some at once, then so many a second; others are not concerned."""
    window = Window(node)
    assert await window.made("ada", BURST + 10) == BURST
    with pytest.raises(LimitExceeded) as refusal:
        await window.tickets.issue(member("ada"))
    assert (refusal.value.code, refusal.value.retry_after_s) == ("rate_limited", 1)
    assert await window.made("bob", 10) == 10
    window.now += 1
    assert await window.made("ada", BURST) == PER_SECOND


async def test_only_those_who_asked_lately_are_remembered(node: Node) -> None:
    """Who has not asked for a while is as somebody who never did, and costs nothing."""
    window = Window(node)
    for number in range(200):
        await window.made(f"user{number}", 1)
        window.now += 0.001
    assert len(window.tickets._full_at) < 50
    assert await window.made("ada", BURST + 1) == BURST
    window.now += BURST / PER_SECOND + 0.001
    assert await window.made("bob", 1) == 1
    assert list(window.tickets._full_at) == [("org123", "bob")]


async def test_who_asked_first_and_again_keeps_nobody_else_remembered(node: Node) -> None:
    """Those are forgotten first whose rate is whole again first, however long others go on."""
    window = Window(node)
    await window.made("ada", 10)
    await window.made("bob", 10)
    await window.made("ada", 10)
    window.now += 12 / PER_SECOND
    await window.made("eve", 1)
    assert [user for _, user in window.tickets._full_at] == ["ada", "eve"]
