"""Many deadlines on one timer."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from signtusk_realtime.server.deadlines import MOST_A_TURN, Deadlines
from tests.support.clock import elapse

pytestmark = pytest.mark.virtual_clock


async def test_the_late_are_told_once_and_in_order() -> None:
    """Who is not taken out in time is told, at his time, once."""
    late: list[str] = []
    deadlines = Deadlines(10.0, late.append)
    deadlines.add("first")
    await elapse(4)
    deadlines.add("second")
    await elapse(5.9)
    assert late == []
    await elapse(0.2)
    assert late == ["first"]
    await elapse(20)
    assert late == ["first", "second"]
    assert len(deadlines) == 0


async def test_who_is_taken_out_is_not_told() -> None:
    """Taking out is final, also from within the telling of another."""
    late: list[str] = []

    def tell(one: str) -> None:
        late.append(one)
        deadlines.discard("beside")

    deadlines = Deadlines(1.0, tell)
    for one in ("out", "late", "beside"):
        deadlines.add(one)
    deadlines.discard("out")
    await elapse(2)
    assert late == ["late"]


async def test_adding_again_begins_anew_and_watching_does_not() -> None:
    """`add` replaces a deadline, `watch` keeps it."""
    late: list[str] = []
    deadlines = Deadlines(10.0, late.append)
    deadlines.add("added")
    deadlines.add("watched")
    await elapse(5)
    deadlines.add("added")
    deadlines.watch("watched")
    await elapse(6)
    assert late == ["watched"]
    await elapse(5)
    assert late == ["watched", "added"]


async def test_there_is_one_timer_at_most_and_none_after_close() -> None:
    """However many are watched, the loop holds one timer of ours; closed, none."""
    loop = asyncio.get_running_loop()
    before = _timers(loop)
    deadlines: Deadlines[int] = Deadlines(10.0, lambda one: None)
    for number in range(100):
        deadlines.add(number)
        deadlines.discard(number - 1)
    assert _timers(loop) == before + 1
    deadlines.close()
    assert _timers(loop) == before
    await elapse(20)


def _timers(loop: asyncio.AbstractEventLoop) -> int:
    return sum(not handle.cancelled() for handle in loop._scheduled)  # type: ignore[attr-defined]


async def test_many_that_are_late_at_once_are_told_some_a_turn() -> None:
    """However many are late together, somebody else is served after each `MOST_A_TURN` of them."""
    told: list[int] = []
    seen: list[int] = []

    def tell(one: int) -> None:
        told.append(one)
        if one == 0:
            asyncio.get_running_loop().call_soon(look)

    def look() -> None:
        seen.append(len(told))
        if len(told) < 3 * MOST_A_TURN:
            asyncio.get_running_loop().call_soon(look)

    deadlines = Deadlines(10.0, tell)
    for one in range(3 * MOST_A_TURN):
        deadlines.add(one)
    await elapse(11)
    assert told == list(range(3 * MOST_A_TURN))
    assert max(after - before for before, after in itertools.pairwise([0, *seen])) == MOST_A_TURN
