"""Things to do later: in order, on one timer, not all in one turn, and none after the end."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.operations.presence.agenda import ACTS_A_TURN, Agenda
from tests.support.clock import elapse, settle

pytestmark = pytest.mark.virtual_clock


async def test_acts_come_in_the_order_of_their_times() -> None:
    """The earliest first, whenever it was noted; of one moment in the order of noting; also what an act notes."""
    agenda = Agenda()
    done: list[str] = []
    agenda.after(2, lambda: done.append("b"))
    agenda.after(2, lambda: done.append("c"))
    agenda.after(1, lambda: (done.append("a"), agenda.after(3, lambda: done.append("d"))))  # type: ignore[arg-type, return-value]  # two at once
    await elapse(1.5)
    assert done == ["a"]
    await elapse(1)
    assert done == ["a", "b", "c"]
    await elapse(2)
    assert done == ["a", "b", "c", "d"]


async def test_others_get_their_turn() -> None:
    """Thousands that are due at once are done in slices; an act that fails keeps none of the others."""
    agenda = Agenda()
    done: list[int] = []
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(done) < 10 * ACTS_A_TURN:
            asyncio.get_running_loop().call_soon(turn)

    for number in range(10 * ACTS_A_TURN):
        agenda.after(1, lambda number=number: done.append(number))  # type: ignore[misc]  # bound where it is made
    asyncio.get_running_loop().call_later(1, turn)
    await elapse(1)
    await settle()
    assert done == list(range(10 * ACTS_A_TURN))
    assert turns >= 10


async def test_nothing_is_done_after_the_end() -> None:
    """What is planned is forgotten, and nothing more is taken."""
    agenda = Agenda()
    done: list[str] = []
    agenda.after(1, lambda: done.append("before"))
    agenda.close()
    agenda.after(1, lambda: done.append("after"))
    await elapse(5)
    assert done == []
