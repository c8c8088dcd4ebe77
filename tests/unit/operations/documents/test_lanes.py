"""Lanes: one after the other, bounded, and whoever gives up waiting harms nobody."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Epoch, LogName, Position
from signtusk_realtime.operations.documents import lanes as module
from signtusk_realtime.operations.documents.lanes import MOST_WAITING, Lanes
from signtusk_realtime.operations.documents.store import Loaded
from tests.support.clock import settle

LOG = LogName("org123")


def loaded(document_id: str, *, size: int) -> Loaded:
    """Give a document that was read, and takes so many bytes as it is stored."""
    return Loaded(document_id, Epoch("e"), None, 0, Position(Epoch("e"), 0, b""), size)


pytestmark = pytest.mark.virtual_clock


async def test_turns_are_taken_in_order_and_bounded() -> None:
    """200 wait behind one; one more is contention, another document is not concerned."""
    lanes, order = Lanes(), list[int]()
    go = asyncio.Event()

    async def take(number: int) -> None:
        async with lanes.turn(LOG, "d1"):
            await go.wait()
            order.append(number)

    tasks = []
    for number in range(MOST_WAITING + 1):
        tasks.append(asyncio.ensure_future(take(number)))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable) as full:
        async with lanes.turn(LOG, "d1"):
            pass
    assert full.value.code == "contention"
    async with lanes.turn(LOG, "d2"):
        pass
    go.set()
    await asyncio.gather(*tasks)
    assert order == list(range(MOST_WAITING + 1))
    async with lanes.turn(LOG, "d1"):
        pass


@pytest.mark.parametrize("cancelled", list(itertools.product((False, True), repeat=3)))
@pytest.mark.parametrize("when", ["before", "while", "after"])
async def test_who_gives_up_waiting_harms_nobody(cancelled: tuple[bool, ...], when: str) -> None:
    """Cancelled before, in the same moment as, or just after it is its turn: it ends as cancelled, and everybody else has his turn."""
    lanes, had = Lanes(), list[int]()

    async def take(number: int) -> None:
        async with lanes.turn(LOG, "d1"):
            had.append(number)

    turn = lanes.turn(LOG, "d1")
    await turn.__aenter__()
    tasks = [asyncio.ensure_future(take(number)) for number in range(3)]
    await settle()

    def cancel() -> None:
        for task, is_cancelled in zip(tasks, cancelled, strict=True):
            if is_cancelled:
                task.cancel()

    if when != "after":
        cancel()
    if when == "before":
        await settle()
    await turn.__aexit__(None, None, None)
    if when == "after":
        cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in results] == list(cancelled)
    assert had == [number for number, is_cancelled in enumerate(cancelled) if not is_cancelled]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1), lanes.turn(LOG, "d1"):
            had.append(9)
    assert had[-1] == 9


async def test_the_least_used_are_forgotten_and_none_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the number that is held the oldest idle ones go."""
    monkeypatch.setattr(module, "LANES", 3)
    lanes = Lanes()
    async with lanes.turn(LOG, "busy") as busy:
        for name in ("a", "b", "c", "d"):
            async with lanes.turn(LOG, name) as lane:
                lane.size = 0
        async with lanes.turn(LOG, "c") as c:
            pass
        async with lanes.turn(LOG, "busy2"):
            pass
    async with lanes.turn(LOG, "busy") as again, lanes.turn(LOG, "c") as same:
        assert (again, same) == (busy, c)


async def test_weight_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held in bytes is bounded as well."""
    monkeypatch.setattr(module, "KEPT_BYTES", 100)
    lanes = Lanes()
    async with lanes.turn(LOG, "a") as a:
        a.loaded = loaded("a", size=7)
    async with lanes.turn(LOG, "b") as b:
        b.loaded = loaded("b", size=7)
    async with lanes.turn(LOG, "b") as same, lanes.turn(LOG, "a") as other:
        assert same is b
        assert other is not a
