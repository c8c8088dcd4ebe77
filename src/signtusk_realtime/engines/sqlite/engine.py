"""The embedded engine as the loop sees it: a queue, groups, and what each group has to tell.

Owns: grouping, order of delivery and answers, the life of threads, files and the timer.   Not: SQL (store.py, reader.py, upkeep.py).
Rule 1: one group is in flight; what is asked meanwhile goes into the next, so one fsync serves all of them.
Rule 2: one call to the loop per group: first the sink, in log order, then the answers.
Rule 3: what changes a log or who follows it goes through the queue, so `follow` has one place among the commits.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Literal, ParamSpec, TypeVar

from signtusk_realtime.engines.engine import Sink
from signtusk_realtime.engines.sqlite.files import BALLAST_BYTES, Ballast, Lock, true_path
from signtusk_realtime.engines.sqlite.layout import LogState
from signtusk_realtime.engines.sqlite.reader import Reader
from signtusk_realtime.engines.sqlite.schema import Connect, open_database, open_reader
from signtusk_realtime.engines.sqlite.store import Store
from signtusk_realtime.engines.sqlite.upkeep import Upkeep
from signtusk_realtime.engines.sqlite.writer import Request, Step, Writer
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.events.log import (
    Commit,
    Committed,
    EngineHealth,
    Exact,
    LogName,
    Page,
    Range,
    Retention,
    Reused,
    Snapshot,
    Stale,
    Top,
)

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

_GROUP_EVENTS: Final = 1024
_GROUP_BYTES: Final = 4 << 20
_UPKEEP_INTERVAL_S: Final = 5.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Chore:
    """Something that has the writer's thread for itself between two groups."""

    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], bool], future: asyncio.Future[bool]) -> None:
        self.work = work
        self.future = future


class SqliteEngine:
    """Keep logs and records in one SQLite file, or in memory if `path` is `:memory:`.

    `executor` runs the database's calls, one at a time and in order; without one the engine makes a thread for writing and one for reading.
    `durability`: `full` answers after an fsync; `normal` survives the end of the process, not of the machine.
    """

    def __init__(
        self,
        path: str,
        *,
        durability: Literal["full", "normal"] = "full",
        retention: Retention = Retention(),
        clock: Callable[[], int] = _wall_ms,
        executor: Executor | None = None,
        connect: Connect = sqlite3.connect,
        upkeep_interval_s: float = _UPKEEP_INTERVAL_S,
        ballast_bytes: int = BALLAST_BYTES,
    ) -> None:
        self._path = None if path == ":memory:" else true_path(Path(path))
        self._durability = durability
        self._retention = retention
        self._clock = clock
        self._connect = connect
        self._upkeep_interval_s = upkeep_interval_s
        self._ballast_bytes = ballast_bytes
        self._injected = executor
        self._executors: list[ThreadPoolExecutor] = []
        self._writing: Executor
        self._reading: Executor
        self._writer: Writer
        self._reader: Reader
        self._upkeep: Upkeep
        self._lock: Lock | None = None
        self._sink: Sink
        self._loop: asyncio.AbstractEventLoop
        self._queue: deque[Request | _Chore] = deque()
        self._is_busy = False
        self._is_running = False
        self._launching: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._followed: set[LogName] = set()
        self._health = EngineHealth("ok")

    async def start(self, sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self._writing = self._injected or self._thread("signtusk-writer")
        # In memory there is one connection. Why not SQLite's shared cache: its readers are refused while a table is written.
        self._reading = self._writing if self._injected or self._path is None else self._thread("signtusk-reader")
        try:
            await self._loop.run_in_executor(self._writing, self._open)
        except BaseException as error:
            self._let_go()
            if isinstance(error, sqlite3.Error | OSError):
                raise Unavailable(f"cannot open the database: {error}") from error
            raise
        self._is_running = True
        self._tick()

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        answer = await self._ask(log, commit)
        assert answer is not None
        return answer

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        while True:
            page = await self._read(self._reader.page, log, after, max_bytes)
            if page is not None:
                return page
            await self._ask(log, Commit())

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        while True:
            snapshot = await self._read(self._reader.records, log, queries)
            if snapshot is not None:
                return snapshot
            await self._ask(log, Commit())

    async def signal(self, log: LogName, body: bytes) -> None:
        self._require_running()
        if log in self._followed:
            self._tell(self._sink.signalled, log, body)

    async def follow(self, log: LogName) -> Top:
        answer = await self._ask(log, Commit(), follows=True)
        assert isinstance(answer, Committed)
        return answer.top

    async def unfollow(self, log: LogName) -> None:
        await self._ask(log, None, follows=False)

    async def logs(self, after: LogName | None, limit: int) -> Sequence[LogName]:
        return await self._read(self._reader.logs, after, limit)

    async def forget(self, log: LogName) -> None:
        self._require_running()

        def take_away() -> bool:
            self._upkeep.forget(log)
            return True

        await self._do(take_away)
        await self.upkeep()

    async def upkeep(self) -> None:
        """Apply retention, expiry and erasure now, to the end. The timer does the same every few seconds."""
        self._require_running()
        while await self._do(self._upkeep.step):
            self._require_running()

    async def close(self) -> None:
        if self._is_running:
            self._is_running = False
            self._closing = self._loop.create_task(self._shut_down())
        if self._closing is not None:
            # A caller that gives up must not leave the engine half closed.
            await asyncio.shield(self._closing)

    # What follows runs on the loop.

    async def _shut_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_busy or self._queue:
            self._drained = self._loop.create_future()
            await self._drained
        try:
            await self._loop.run_in_executor(self._reading, self._reader.connection.close)
            await self._loop.run_in_executor(self._writing, self._writer.store.connection.close)
        finally:
            self._let_go()
            self._followed.clear()

    def _require_running(self) -> None:
        if not self._is_running:
            raise Unavailable("the engine is not running")

    async def _ask(
        self, log: LogName, commit: Commit | None, *, follows: bool | None = None
    ) -> Committed | Stale | Reused | None:
        self._require_running()
        request = Request(log, commit, follows, self._loop.create_future())
        self._put(request)
        return await request.future

    async def _do(self, work: Callable[[], bool]) -> bool:
        chore = _Chore(work, self._loop.create_future())
        self._put(chore)
        return await chore.future

    async def _read(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        self._require_running()
        return await self._loop.run_in_executor(self._reading, partial(work, *args, **kwargs))

    def _put(self, item: Request | _Chore) -> None:
        self._queue.append(item)
        if not self._is_busy and self._launching is None:
            # At the end of this turn of the loop, so that all that is asked in it shares a group.
            self._launching = self._loop.call_soon(self._launch)

    def _launch(self) -> None:
        self._launching = None
        if self._is_busy:
            return
        if not self._queue:
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
            return
        self._is_busy = True
        first = self._queue[0]
        if isinstance(first, _Chore):
            self._queue.popleft()
            self._writing.submit(self._run_chore, first)
        else:
            self._writing.submit(self._run_group, self._take_group())

    def _take_group(self) -> list[Request]:
        group: list[Request] = []
        events = size = 0
        while self._queue and events < _GROUP_EVENTS and size < _GROUP_BYTES and len(group) < _GROUP_EVENTS:
            request = self._queue[0]
            if isinstance(request, _Chore):
                break
            self._queue.popleft()
            group.append(request)
            if request.commit is not None:
                events += len(request.commit.events)
                size += sum([len(draft.body) for draft in request.commit.events])
                size += sum([len(record.value) for record in request.commit.put])
        return group

    def _group_done(self, steps: Sequence[Step], health: EngineHealth) -> None:
        # The next group starts before this one is told: the disk works while the loop delivers. Its own
        # end reaches the loop by a later call, so the order holds.
        self._is_busy = False
        self._launch()
        self._deliver(steps)
        self._set_health(health)
        for step in steps:
            request = step.request
            if request is None or request.future.done():
                continue
            if step.error is not None:
                request.future.set_exception(step.error)
            else:
                request.future.set_result(step.answer)

    def _chore_done(
        self, chore: _Chore, steps: Sequence[Step], health: EngineHealth, has_more: bool, error: Exception | None
    ) -> None:
        self._is_busy = False
        self._deliver(steps)
        self._set_health(health)
        if not chore.future.done():
            if error is not None:
                chore.future.set_exception(error)
            else:
                chore.future.set_result(has_more)
        self._launch()

    def _deliver(self, steps: Sequence[Step]) -> None:
        followed, appended = self._followed, self._sink.appended
        for request, delivery, _, error in steps:
            if delivery is not None and delivery.log in followed:
                self._tell(appended, delivery.log, delivery.epoch, delivery.entries)
            if request is not None and request.follows is not None and error is None:
                if request.follows:
                    followed.add(request.log)
                else:
                    followed.discard(request.log)

    def _set_health(self, health: EngineHealth) -> None:
        if health != self._health:
            self._health = health
            self._tell(self._sink.health, health)

    def _tell(self, method: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - the sink is other people's code; the port says it goes on
            _log.exception("sink raised")

    def _tick(self) -> None:
        self._timer = None
        if self._is_running:
            chore = _Chore(self._upkeep.step, self._loop.create_future())
            chore.future.add_done_callback(self._ticked)
            self._put(chore)

    def _ticked(self, done: asyncio.Future[bool]) -> None:
        if done.cancelled() or not self._is_running:
            return
        error = done.exception()
        if error is not None:
            _log.warning("upkeep failed", extra={"error": str(error)})
        elif done.result():
            self._tick()
            return
        self._timer = self._loop.call_later(self._upkeep_interval_s, self._tick)

    def _thread(self, name: str) -> ThreadPoolExecutor:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._executors.append(executor)
        return executor

    def _let_go(self) -> None:
        for executor in self._executors:
            executor.shutdown()
        self._executors.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # What follows runs on the writer's thread.

    def _open(self) -> None:
        if self._path is not None:
            if not self._path.parent.is_dir():
                raise ConfigurationError(f"the folder of the database {self._path} does not exist")
            self._lock = Lock(self._path)
        ballast = Ballast(self._path, self._ballast_bytes)
        connection = open_database(self._path, self._durability, self._connect)
        try:
            store = Store(connection, self._watch)
            self._writer = Writer(store, ballast, self._clock)
            self._upkeep = Upkeep(self._writer, ballast, self._retention, self._clock)
            self._upkeep.find_large()
            self._reader = Reader(
                connection if self._path is None else open_reader(self._path, self._connect), self._clock
            )
        except BaseException:
            connection.close()
            raise
        ballast.hold()

    def _watch(self, state: LogState) -> None:
        self._upkeep.watch(state)

    def _run_group(self, group: Sequence[Request]) -> None:
        steps = self._writer.run(group)
        self._loop.call_soon_threadsafe(self._group_done, steps, self._writer.health)

    def _run_chore(self, chore: _Chore) -> None:
        steps: list[Step] = []
        has_more = False
        failure: Exception | None = None
        try:
            steps = self._writer.owed()
            has_more = chore.work()
        except Exception as error:  # noqa: BLE001 - border: the chore is answered, whatever it is
            failure = error if isinstance(error, Unavailable) else Unavailable(f"the database failed: {error}")
        self._loop.call_soon_threadsafe(self._chore_done, chore, steps, self._writer.health, has_more, failure)
