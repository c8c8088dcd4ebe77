"""The virtual clock: what it promises to the tests that stand on it."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.support import clock
from tests.support.clock import START_S, Deadlock, InlineExecutor, VirtualClockLoop, elapse, run, settle

pytestmark = pytest.mark.virtual_clock


async def test_an_hour_passes_at_once() -> None:
    """Time jumps to the next timer instead of being waited for."""
    began = time.monotonic()
    await asyncio.sleep(3600)  # real_time: not at all, that is the point
    assert asyncio.get_running_loop().time() == pytest.approx(START_S + 3600)
    assert time.monotonic() - began < 5


async def test_timers_fire_in_order_each_at_its_time() -> None:
    """A timer fires at exactly its moment, whatever the order in which timers were set."""
    loop = asyncio.get_running_loop()
    fired: list[tuple[str, float]] = []
    for delay in (3.0, 1.0, 2.5):
        loop.call_later(delay, lambda delay=delay: fired.append((str(delay), loop.time() - START_S)))
    began = loop.time() - START_S
    await elapse(3)
    assert fired == [(str(delay), pytest.approx(began + delay)) for delay in (1.0, 2.5, 3.0)]


async def test_time_stands_while_anything_is_ready() -> None:
    """Work that is ready is done before the clock moves, however long the chain."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == now


async def test_settle_waits_for_whole_chains_and_no_timers() -> None:
    """`settle` returns after everything that was to happen now, and before what is due later."""
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def hop(left: int) -> None:
        if left:
            loop.call_soon(hop, left - 1)
        else:
            seen.append("now")

    hop(50)
    later = loop.call_later(0.001, seen.append, "later")
    await settle()
    assert seen == ["now"]
    later.cancel()


async def test_elapse_runs_what_is_due_at_that_very_moment() -> None:
    """What is due at the end of the time that elapsed has happened."""
    seen: list[str] = []
    asyncio.get_running_loop().call_later(5, seen.append, "due")
    await elapse(5)
    assert seen == ["due"]


async def test_bytes_between_two_ends_of_one_loop_cost_no_time() -> None:
    """A connection within the loop works under the virtual clock."""
    echoed = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        echoed.set()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    assert await reader.read() == b"hello"
    await echoed.wait()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_the_clock_stands_while_an_executor_works() -> None:
    """A timer does not fire while a thread that the loop knows of is at work."""
    loop = asyncio.get_running_loop()
    release, fired = threading.Event(), []
    timer = loop.call_later(1, fired.append, True)
    work = loop.run_in_executor(None, release.wait, 10)
    threading.Timer(0.05, release.set).start()
    assert await work
    assert fired == []
    timer.cancel()


async def test_the_clock_stands_for_a_thread_of_ones_own() -> None:
    """Within `outside()` the loop waits for a thread it did not start."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    came, fired = loop.create_future(), []
    timer = loop.call_later(1, fired.append, True)
    threading.Timer(0.05, loop.call_soon_threadsafe, (came.set_result, "back")).start()
    with loop.outside():
        assert await came == "back"
    assert fired == []
    timer.cancel()


def test_a_deadlock_says_who_waits_where() -> None:
    """Nothing ready and no timer is an error that names the waiting tasks and places."""

    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.gather(asyncio.create_task(wait_for_ever(), name="the stuck one"))

    with pytest.raises(Deadlock, match=r"the stuck one in .*wait_for_ever at .*test_clock\.py:\d+"):
        run(main())


def test_a_thread_that_never_comes_back_is_a_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for real ends too."""
    monkeypatch.setattr(clock, "OUTSIDE_LIMIT_S", 0.05)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        with loop.outside():
            await loop.create_future()

    with pytest.raises(Deadlock, match=r"did not come back within 0\.05"):
        run(main())


def test_run_gives_the_result_and_refuses_leftovers() -> None:
    """`run` answers what the coroutine returns, and fails it if a task is left."""

    async def answer() -> int:
        await elapse(60)
        return 42

    async def careless() -> None:
        asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="forgotten")

    assert run(answer()) == 42
    with pytest.raises(AssertionError, match="1 tasks were left behind: forgotten"):
        run(careless())


def test_elapse_refuses_the_real_clock() -> None:
    """Nobody waits in real time by mistake."""
    with pytest.raises(TypeError, match="virtual clock"):
        asyncio.run(elapse(1))


def test_the_inline_executor_works_at_once_on_this_thread() -> None:
    """The work is done when `submit` returns; an exception is in the future."""
    executor = InlineExecutor()
    assert executor.submit(threading.get_ident).result(timeout=0) == threading.get_ident()
    failed = executor.submit(int, "x")
    assert isinstance(failed.exception(timeout=0), ValueError)
