"""What keeps logs over the lives of a server: opened, closed, killed, lost, put back from a backup.

Owns: the list of stores that tests/property/test_nothing_lost.py runs over (`STORES`).   Not: engines themselves, servers.
Rule 1: to run it over a further engine, add a maker here and nothing there.
Rule 2: what a kill leaves behind is what the operating system has of the files at that moment.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, Final, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

import pytest

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.redis import RedisEngine, ear, primary, servers
from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.link import Link
from signtusk_realtime.engines.redis.stored import Argument, Reply
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.engines.sqlite.backup import back_up
from signtusk_realtime.engines.sqlite.restore import restore
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Retention
from tests.support.clock import VirtualClockLoop
from tests.support.valkey import fresh_prefix, shared_cluster, shared_redis, shared_server

QUIET_TURNS: Final = 50
"""Turns of the loop in which nothing is asked, after which nothing will be until time passes."""

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Store(Protocol):
    """See the module. One engine at a time is open."""

    @property
    def keeps(self) -> bool:
        """Whether what was answered is there after the process has ended."""

    @property
    def backs_up(self) -> bool:
        """Whether it has a backup of its own, which begins new lives when it is put back."""

    @property
    def has_backup(self) -> bool:
        """Whether there is something to put back."""

    def open(self) -> Engine:
        """Give an engine over what is kept, not started yet."""

    async def tidy(self) -> None:
        """Let retention bite now."""

    def kill(self) -> None:
        """Keep what would be left if the process ended now. The engine, which is closed after this, changes nothing any more."""

    def lose(self) -> None:
        """Lose everything; the engine is closed."""

    def back_up(self) -> None:
        """Copy what is there."""

    def put_back(self) -> None:
        """Replace what is there by the copy; the engine is closed."""

    def dawdle(self, turns: int) -> None:
        """Let the engine's work take so many turns of the loop before it is done, and as many until that is known."""

    async def quiet(self) -> None:
        """Wait for what takes real time, so that the same steps lead to the same place again."""

    def remove(self) -> None:
        """Leave nothing behind; the engine is closed."""


class DawdlingExecutor(Executor):
    """A thread that is none: what is submitted is done on the loop, one after the other, at once or some turns later."""

    def __init__(self) -> None:
        self.turns = 0
        self._waiting: deque[Callable[[], Callable[[], None]]] = deque()
        self._is_busy = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Do `fn` when its turn has come."""
        future: Future[_T] = Future()

        def work() -> Callable[[], None]:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - an executor hands everything to who asked
                failure = error
                return lambda: future.set_exception(failure)
            return lambda: future.set_result(result)

        future.set_running_or_notify_cancel()
        if not self.turns and not self._is_busy:
            work()()
            return future
        self._waiting.append(work)
        if not self._is_busy:
            self._is_busy = True
            self._after(self._next)
        return future

    def _next(self) -> None:
        tell = self._waiting.popleft()()
        self._after(lambda: self._told(tell))

    def _told(self, tell: Callable[[], None]) -> None:
        tell()
        if self._waiting:
            self._after(self._next)
        else:
            self._is_busy = False

    def _after(self, act: Callable[[], None], turns: int | None = None) -> None:
        left = self.turns if turns is None else turns
        loop = asyncio.get_running_loop()
        if left:
            loop.call_soon(lambda: self._after(act, left - 1))
        else:
            loop.call_soon(act)


class SqliteStore:
    """The embedded engine over a file or, without one, in memory."""

    def __init__(self, retention: Retention, clock: Callable[[], int], *, in_file: bool) -> None:
        self.keeps = self.backs_up = in_file
        self._retention = retention
        self._clock = clock
        self._folder = Path(tempfile.mkdtemp())
        self._lives = 0
        self._executor = DawdlingExecutor()
        self._path = self._new_path()
        self._engine: SqliteEngine

    @property
    def has_backup(self) -> bool:
        return self._backup.exists()

    def open(self) -> Engine:
        self._engine = SqliteEngine(
            str(self._path) if self.keeps else ":memory:",
            durability="normal",
            retention=self._retention,
            clock=self._clock,
            executor=self._executor,
            ballast_bytes=0,
        )
        return self._engine

    async def tidy(self) -> None:
        await self._engine.upkeep()

    def kill(self) -> None:
        left, self._path = self._path, self._new_path()
        for suffix in ("", "-wal"):
            part = left.with_name(left.name + suffix)
            if part.exists():
                shutil.copyfile(part, self._path.with_name(self._path.name + suffix))

    def lose(self) -> None:
        self._path = self._new_path()

    def back_up(self) -> None:
        if self.keeps:
            back_up(self._path, self._backup, may_replace=True)

    def put_back(self) -> None:
        restore(self._path, self._backup)

    def dawdle(self, turns: int) -> None:
        self._executor.turns = turns

    async def quiet(self) -> None:
        """Nothing here takes real time."""

    def remove(self) -> None:
        shutil.rmtree(self._folder)

    @property
    def _backup(self) -> Path:
        return self._folder / "backup.db"

    def _new_path(self) -> Path:
        self._lives += 1
        return self._folder / f"realtime-{self._lives}.db"


def _sqlite_file(retention: Retention, clock: Callable[[], int]) -> Store:
    return SqliteStore(retention, clock, in_file=True)


def _sqlite_memory(retention: Retention, clock: Callable[[], int]) -> Store:
    return SqliteStore(retention, clock, in_file=False)


class _WatchedLink(Link):
    """A link to a real server under the virtual clock, which stands still while an answer is awaited."""

    def __init__(self, store: ServedStore, **options: Any) -> None:
        super().__init__(**options)
        store.links.add(self)
        self._store = store

    async def open(self, address: Address, tls: ssl.SSLContext | None) -> None:
        if self._store.is_dead:
            raise Unavailable("the process has ended")
        with _virtual().outside():
            await super().open(address, tls)

    def _send(self, command: tuple[Argument, ...], fence: bytes | None) -> asyncio.Future[Reply]:
        answer = super()._send(command, fence)
        self._store.asked.append(answer)
        outside = _virtual().outside()
        outside.__enter__()
        answer.add_done_callback(lambda _: outside.__exit__(None, None, None))
        return answer


def _virtual() -> VirtualClockLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    return loop


class ServedStore:
    """The engine over real servers that the tests share, under a prefix of its own."""

    keeps = True
    backs_up = has_backup = False

    def __init__(self, urls: Sequence[str], retention: Retention, clock: Callable[[], int]) -> None:
        self._urls = urls
        self.links: WeakSet[_WatchedLink] = WeakSet()
        self.asked: list[asyncio.Future[Reply]] = []
        self.is_dead = False
        self._retention = retention
        self._clock = clock
        self._prefix = fresh_prefix()
        self._engine: RedisEngine
        self._patch = pytest.MonkeyPatch()
        for module in (ear, primary, servers):
            self._patch.setattr(module, "Link", partial(_WatchedLink, self))

    def open(self) -> Engine:
        self.is_dead = False
        self._engine = RedisEngine(self._urls, prefix=self._prefix, retention=self._retention, clock=self._clock)
        return self._engine

    async def tidy(self) -> None:
        await self._engine.upkeep()

    def kill(self) -> None:
        self.is_dead = True
        for link in list(self.links):
            link.abort("the process has ended")

    def lose(self) -> None:
        self._prefix = fresh_prefix()

    def back_up(self) -> None:
        """What Redis keeps is backed up by its own means."""

    def put_back(self) -> None:
        raise NotImplementedError("it has no backup")

    def dawdle(self, turns: int) -> None:
        """It takes the time it takes."""

    async def quiet(self) -> None:
        idle = 0
        while idle < QUIET_TURNS:
            waiting = [answer for answer in self.asked if not answer.done()]
            idle = 0 if waiting else idle + 1
            await asyncio.wait(waiting) if waiting else await asyncio.sleep(0)
        self.asked.clear()

    def remove(self) -> None:
        self._patch.undo()


def _valkey(retention: Retention, clock: Callable[[], int]) -> Store:
    return ServedStore([shared_server().url], retention, clock)


def _valkey_cluster(retention: Retention, clock: Callable[[], int]) -> Store:
    return ServedStore(shared_cluster().urls, retention, clock)


def _with_redis(makers: dict[str, MakeStore]) -> dict[str, MakeStore]:
    """Add Redis itself where it is installed."""
    binary = shutil.which("redis-server")
    if binary is not None:
        makers["Redis"] = lambda retention, clock: ServedStore([shared_redis(binary).url], retention, clock)
    return makers


MakeStore = Callable[[Retention, Callable[[], int]], Store]
SERVED: Final = frozenset({"Valkey", "ValkeyCluster", "Redis"})
"""Those over which every step is a round trip."""
STORES: Final = _with_redis(
    {
        "SqliteFile": _sqlite_file,
        "SqliteMemory": _sqlite_memory,
        "Valkey": _valkey,
        "ValkeyCluster": _valkey_cluster,
    }
)
