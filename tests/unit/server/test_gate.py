"""Letting in at a bounded rate: order, bounds in number and time, a trickle while many read the log, and the end."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.errors import LimitExceeded
from signtusk_realtime.server import gate as rules
from signtusk_realtime.server.gate import (
    MANY_CATCHING_UP,
    MOST_UNDER_WAY,
    MOST_WAITING,
    PER_S,
    PER_TURN,
    RETRY_AFTER_S,
    SLOW_S,
    WAIT_S,
    Gate,
)
from tests.support.clock import elapse, settle

pytestmark = pytest.mark.virtual_clock


class Door:
    """A gate, and those who come to it."""

    def __init__(self) -> None:
        self.catching_up = 0
        self.gate = Gate(lambda: self.catching_up)
        self.entered: list[int] = []
        self.refused: list[LimitExceeded] = []
        self.most_in_a_turn = 0
        self._turn_of_last = -1
        self._in_this_turn = 0
        self.turn = 0

    def come(self, count: int, stays: asyncio.Event | None = None) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._one(number, stays)) for number in range(count)]

    async def _one(self, number: int, stays: asyncio.Event | None) -> None:
        try:
            async with self.gate:
                self.entered.append(number)
                self._in_this_turn = self._in_this_turn + 1 if self.turn == self._turn_of_last else 1
                self._turn_of_last = self.turn
                self.most_in_a_turn = max(self.most_in_a_turn, self._in_this_turn)
                if stays is not None:
                    await stays.wait()
        except LimitExceeded as error:
            self.refused.append(error)

    def count_turns(self) -> None:
        self.turn += 1
        if len(self.entered) < 1000:
            asyncio.get_running_loop().call_soon(self.count_turns)


async def test_a_storm_enters_in_order_and_a_few_in_a_turn() -> None:
    """A thousand who come at once are all let in, in their order, the loop's other work between them; then nothing is left."""
    door = Door()
    door.count_turns()
    await asyncio.gather(*door.come(1000))
    assert door.entered == list(range(1000))
    assert door.most_in_a_turn <= PER_TURN
    await settle()
    assert door.gate.waiting == 0
    assert door.gate._under_way == 0


async def test_long_turns_let_more_in() -> None:
    """Where something else holds the loop up, those who wait are not starved: the next turn takes more of them."""
    door = Door()
    door.count_turns()
    tasks = door.come(1000)
    while not door.gate.waiting:
        await asyncio.sleep(0)
    door.gate._turned_at -= 0.05
    await asyncio.gather(*tasks)
    assert door.most_in_a_turn == PER_TURN + 0.05 * PER_S
    assert door.entered == list(range(1000))


async def test_few_are_under_way() -> None:
    """While admissions take their time, no more than so many are under way."""
    door, stays = Door(), asyncio.Event()
    tasks = door.come(MOST_UNDER_WAY * 3, stays)
    await elapse(1)
    assert len(door.entered) == MOST_UNDER_WAY
    stays.set()
    await asyncio.gather(*tasks)
    assert len(door.entered) == MOST_UNDER_WAY * 3


async def test_too_many_are_sent_away_at_once_each_for_another_time() -> None:
    """Behind a full queue the answer is overloaded, and not everybody is told the same second."""
    door, stays = Door(), asyncio.Event()
    tasks = door.come(MOST_UNDER_WAY, stays)
    await settle()
    tasks += door.come(MOST_WAITING + 100)
    await settle()
    assert len(door.refused) == 100
    assert {error.code for error in door.refused} == {"overloaded"}
    seconds = {error.retry_after_s for error in door.refused}
    assert len(seconds) > 1
    assert seconds <= set(range(RETRY_AFTER_S[0], RETRY_AFTER_S[1] + 1))
    stays.set()
    await asyncio.gather(*tasks)
    assert len(door.entered) == MOST_UNDER_WAY + MOST_WAITING


async def test_waiting_is_bounded_in_time() -> None:
    """Who is not let in before his client would give up is told so; those behind him keep their order."""
    door, stays = Door(), asyncio.Event()
    tasks = door.come(MOST_UNDER_WAY + 1, stays)
    await elapse(WAIT_S - 1)
    late = door.come(1)
    await elapse(2)
    assert len(door.refused) == 1
    stays.set()
    await asyncio.gather(*tasks, *late)
    assert len(door.entered) == MOST_UNDER_WAY + 1


async def test_many_catching_up_slow_down_but_never_shut_out() -> None:
    """One is let in now and then while the log is busy; when it is not, all go on at once."""
    door = Door()
    door.catching_up = MANY_CATCHING_UP
    tasks = door.come(500)
    await elapse(SLOW_S * 100)
    assert 90 <= len(door.entered) <= 101
    assert not door.refused
    door.catching_up = 0
    await elapse(SLOW_S * 2)
    assert len(door.entered) == 500
    await asyncio.gather(*tasks)


async def test_places_of_those_who_gave_up_are_not_lost() -> None:
    """Cancelled while waiting, or in the moment of being let in: the next one gets the place."""
    door, stays = Door(), asyncio.Event()
    inside = door.come(MOST_UNDER_WAY, stays)
    waiting = door.come(3)
    await settle()
    turn = door.gate._queue[1]
    waiting[0].cancel()
    stays.set()
    while not turn.done():
        await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.gather(*inside, *waiting, return_exceptions=True)
    await settle()
    assert len(door.entered) == MOST_UNDER_WAY + 1
    assert door.gate._under_way == 0


async def test_who_waits_for_others_keeps_nobody_out() -> None:
    """He stands aside meanwhile: as many as may be under way, and more, come in; then he comes in again, counted as before."""
    gate = Gate(lambda: 0)
    answered = asyncio.Event()
    entered: list[str] = []

    async def waiting() -> None:
        async with gate:
            async with gate.aside():
                await answered.wait()
            entered.append("waited")

    async def other() -> None:
        async with gate:
            entered.append("other")

    asides = [asyncio.create_task(waiting()) for _ in range(MOST_UNDER_WAY * 3)]
    await elapse(1)
    others = [asyncio.create_task(other()) for _ in range(100)]
    await asyncio.gather(*others)
    assert entered == ["other"] * 100
    answered.set()
    await asyncio.gather(*asides)
    assert entered.count("waited") == MOST_UNDER_WAY * 3
    await settle()
    assert gate._under_way == 0


async def test_whatever_ends_aside_is_counted_once() -> None:
    """Refused or gone while he stood aside, or turned away when he came back: the gate counts nobody twice and forgets nobody."""
    gate = Gate(lambda: 0)
    never = asyncio.Event()

    async def one(fails: bool) -> None:
        async with gate, gate.aside():
            if fails:
                raise LimitExceeded("no")
            await never.wait()

    failing = [asyncio.create_task(one(True)) for _ in range(10)]
    leaving = [asyncio.create_task(one(False)) for _ in range(10)]
    closed = [asyncio.create_task(one(False)) for _ in range(10)]
    await settle()
    for task in leaving:
        task.cancel()
    await asyncio.gather(*failing, *leaving, return_exceptions=True)
    gate.close()
    never.set()
    found = await asyncio.gather(*closed, return_exceptions=True)
    assert all(isinstance(error, LimitExceeded) for error in found)
    assert gate._under_way == 0


async def test_closing_refuses_who_waits_and_who_comes() -> None:
    """A server that stops lets nobody in."""
    door, stays = Door(), asyncio.Event()
    tasks = door.come(MOST_UNDER_WAY + 2, stays)
    await settle()
    door.gate.close()
    tasks += door.come(1)
    await settle()
    assert len(door.refused) == 3
    assert all("stopping" in error.message for error in door.refused)
    stays.set()
    await asyncio.gather(*tasks)
    assert door.gate._next is None


def test_waiting_ends_before_clients_give_up() -> None:
    """The answer comes within the ten seconds that clients commonly wait."""
    assert rules.WAIT_S < 10
