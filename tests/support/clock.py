"""An event loop whose clock jumps: an hour of heartbeats passes in a millisecond, and a deadlock is an error.

Owns: virtual time for tests on asyncio, waiting for threads under it.   Not: wall time (`time.time()`, an engine's own clock: hand those in).
Rule 1: time moves only when nothing is ready, and then exactly to the next timer.   Rule 2: nothing ready, no timer and nothing under way
outside raises `Deadlock`, with what every task waits for.
Rule 3: only the loop's own work is virtual. A peer in another process or thread does not share the clock, so that a timer may fire before its
bytes arrive; tests of real sockets run on the real clock.

How to use it: `run(coroutine)` for one test; for a whole module `pytestmark = pytest.mark.virtual_clock` (tests/conftest.py) and plain
`async def test_…`. Within, `await elapse(30)` lets time pass and `await settle()` lets everything happen that happens now.

Threads: give code that takes an executor an `InlineExecutor`, which does the work at once on the loop's thread. Where a real thread is the
point, `loop.run_in_executor` is known to the loop, and work started by other means is made known by `with loop.outside():` around its await;
until it is back the clock stands still and the loop waits for real.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Ts = TypeVarTuple("_Ts")

START_S = 1_000_000.0
"""What the clock shows at first: far from zero, so that code which takes the loop's time for a duration is caught."""
OUTSIDE_LIMIT_S = 30.0
"""How long, in real seconds, the loop waits for a thread before it calls that a deadlock too."""
_MOMENT_S = 1e-6


class Deadlock(Exception):
    """Every task waits and nothing can ever wake one."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._now = START_S
        self._outside = 0
        super().__init__(_JumpingSelector(self._idle))

    def time(self) -> float:
        """Give the virtual time in seconds."""
        return self._now

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Stop the clock while the block waits for something that another thread does."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Do as any loop does, with the clock standing still until the work is back."""
        future = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do as any loop does, with the clock standing still until the threads have ended."""
        with self.outside():
            await super().shutdown_default_executor()

    def _came_back(self, _: asyncio.Future[_T]) -> None:
        self._outside -= 1

    def _idle(self, timeout: float | None) -> float:
        """Decide what an idle loop does: move the clock (answering 0), or wait for a thread (answering for how long)."""
        if self._outside:
            return OUTSIDE_LIMIT_S
        if timeout is None:
            raise Deadlock(_describe("nothing is ready and no timer is set", self))
        self._now += timeout
        return 0.0


class _JumpingSelector(selectors.BaseSelector):
    """Polls the real selector, and asks `idle` when there was nothing to poll."""

    def __init__(self, idle: Callable[[float | None], float]) -> None:
        self._real = selectors.DefaultSelector()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        wait_s = self._idle(timeout)
        if wait_s == 0:
            return ready
        began = time.monotonic()
        ready = self._real.select(wait_s)
        if not ready and time.monotonic() - began >= wait_s:
            raise Deadlock(f"work outside the loop did not come back within {wait_s:g} real seconds")
        return ready

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class InlineExecutor(Executor):
    """Does what is submitted at once, on the caller's thread: an executor for code that must not leave the loop's thread in a test."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call `fn` now; its result or exception is in the future."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - an executor hands everything to who asked
            future.set_exception(error)
        return future


def run(coroutine: Coroutine[object, object, _T]) -> _T:
    """Run a coroutine on a virtual clock.

    Raises: Deadlock; AssertionError if it leaves tasks behind, which are cancelled.
    """
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        result = runner.run(coroutine)
        left = _tasks(runner.get_loop())
        if left:
            raise AssertionError(f"{len(left)} tasks were left behind: {'; '.join(left)}")
        return result


async def elapse(seconds: float) -> None:
    """Let virtual time pass; everything due by then happens before this returns."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualClockLoop):
        raise TypeError("elapse() and settle() belong to the virtual clock; on the real one wait for something")
    passed = loop.create_future()
    timer = loop.call_later(seconds + _MOMENT_S, passed.set_result, None)
    try:
        await passed
    finally:
        timer.cancel()


async def settle() -> None:
    """Let everything happen that can happen without time passing: the clock moves by a microsecond once nothing is ready."""
    await elapse(0)


def _describe(what: str, loop: asyncio.AbstractEventLoop) -> str:
    return f"{what}; waiting: {'; '.join(_tasks(loop)) or 'no task at all'}"


def _tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    return sorted(f"{task.get_name()} {_place(task)}" for task in asyncio.all_tasks(loop))


def _place(task: asyncio.Task[object]) -> str:
    """Say where a task stands: the coroutines it awaits in, outermost first, and the line of the innermost."""
    names, line = [], "(not started)"
    awaited: object = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            names.append(frame.f_code.co_qualname)
            line = f"at {frame.f_code.co_filename}:{frame.f_lineno}"
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return f"in {' > '.join(names)} {line}" if names else line
