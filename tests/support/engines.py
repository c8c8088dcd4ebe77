"""What tests of engines share: a sink that remembers, a clock that is told, drafts, and a database that fails on demand.

Owns: the list of engines that the contract suite runs over (`ENGINES`).   Not: the suite (tests/contract).
Rule: to run the suite over a further engine, add a maker here and nothing there.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.engines.sqlite.schema import Connect
from signtusk_realtime.events.log import (
    Commit,
    Committed,
    Draft,
    EngineHealth,
    Entry,
    Epoch,
    LogName,
    Page,
    Position,
    Retention,
)
from tests.support.valkey import fresh_prefix, shared_cluster, shared_redis, shared_server

LOG: Final = LogName("org123")
OTHER: Final = LogName("org456")
START_MS: Final = 1_800_000_000_000


class ManualClock:
    """Milliseconds that pass when a test says so."""

    def __init__(self, now: int = START_MS) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


@dataclass
class Appended:
    log: LogName
    epoch: Epoch
    entries: Sequence[Entry]


@dataclass
class RecordingSink:
    """Remembers what it was told, in order, and checks as it goes that each log's entries are gapless and come once."""

    told: list[Appended] = field(default_factory=list)
    signals: list[tuple[LogName, bytes]] = field(default_factory=list)
    healths: list[EngineHealth] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    divergences: list[tuple[LogName, Position]] = field(default_factory=list)
    on_appended: Callable[[], None] | None = None
    _last: dict[tuple[LogName, Epoch], int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def appended(self, log: LogName, epoch: Epoch, entries: Sequence[Entry]) -> None:
        for entry in entries:
            last = self._last.get((log, epoch))
            if last is not None and entry.offset != last + 1:
                self.gaps.append(f"{log} {epoch}: {entry.offset} after {last}")
            self._last[log, epoch] = entry.offset
        self.told.append(Appended(log, epoch, entries))
        self._changed.set()
        if self.on_appended is not None:
            self.on_appended()

    def diverged(self, log: LogName, common: Position) -> None:
        self.divergences.append((log, common))
        self._last[log, common.epoch] = common.offset
        self._changed.set()

    def signalled(self, log: LogName, body: bytes) -> None:
        self.signals.append((log, body))
        self._changed.set()

    def health(self, health: EngineHealth) -> None:
        self.healths.append(health)
        self._changed.set()

    def entries(self, log: LogName = LOG) -> list[Entry]:
        """Give everything that was delivered of a log."""
        return [entry for appended in self.told if appended.log == log for entry in appended.entries]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so, which something that this sink is told makes so."""
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def until_health(self, status: str) -> EngineHealth:
        """Wait until the engine's last word on its health is this one."""
        await self.until(lambda: bool(self.healths) and self.healths[-1].status == status)
        return self.healths[-1]


@dataclass
class World:
    """A running engine with all that surrounds it."""

    engine: Engine
    sink: RecordingSink
    clock: ManualClock
    upkeep: Callable[[], object]

    async def tidy(self) -> None:
        """Let retention and expiry bite now; an engine that does so by itself whenever it looks has nothing to do."""
        result = self.upkeep()
        if asyncio.iscoroutine(result):
            await result


class MakeWorld(Protocol):
    """A maker of one engine for the suite; `folder` is the test's own."""

    def __call__(self, folder: Path, retention: Retention) -> World: ...


def _memory(folder: Path, retention: Retention) -> World:
    clock = ManualClock()
    return World(MemoryEngine(retention=retention, clock=clock), RecordingSink(), clock, lambda: None)


def _sqlite_memory(folder: Path, retention: Retention) -> World:
    clock = ManualClock()
    engine = SqliteEngine(":memory:", retention=retention, clock=clock)
    return World(engine, RecordingSink(), clock, engine.upkeep)


def _sqlite_file(folder: Path, retention: Retention) -> World:
    clock = ManualClock()
    engine = SqliteEngine(str(folder / "realtime.db"), retention=retention, clock=clock, ballast_bytes=4096)
    return World(engine, RecordingSink(), clock, engine.upkeep)


def _redis(urls: Sequence[str], retention: Retention) -> World:
    clock = ManualClock()
    engine = RedisEngine(urls, prefix=fresh_prefix(), retention=retention, clock=clock)
    return World(engine, RecordingSink(), clock, engine.upkeep)


def _with_redis(makers: dict[str, MakeWorld]) -> dict[str, MakeWorld]:
    """Add Redis itself where it is installed, as Debian's redis-server is."""
    binary = shutil.which("redis-server")
    if binary is not None:
        makers["redis"] = lambda folder, retention: _redis([shared_redis(binary).url], retention)
    return makers


def _together(urls: Sequence[str], count: int) -> list[World]:
    prefix, clock = fresh_prefix(), ManualClock()
    engines = [RedisEngine(urls, prefix=prefix, clock=clock) for _ in range(count)]
    return [World(engine, RecordingSink(), clock, engine.upkeep) for engine in engines]


def _valkey(folder: Path, retention: Retention) -> World:
    return _redis([shared_server().url], retention)


def _valkey_cluster(folder: Path, retention: Retention) -> World:
    return _redis(shared_cluster().urls, retention)


ENGINES: Final = _with_redis(
    {
        "memory": _memory,
        "sqlite-memory": _sqlite_memory,
        "sqlite-file": _sqlite_file,
        "valkey": _valkey,
        "valkey-cluster": _valkey_cluster,
    }
)


def _with_shared_redis(makers: dict[str, Callable[[int], list[World]]]) -> dict[str, Callable[[int], list[World]]]:
    binary = shutil.which("redis-server")
    if binary is not None:
        makers["redis"] = lambda count: _together([shared_redis(binary).url], count)
    return makers


SHARED: Final = _with_shared_redis(
    {
        "valkey": lambda count: _together([shared_server().url], count),
        "valkey-cluster": lambda count: _together(shared_cluster().urls, count),
    }
)
"""Engines that several nodes may have over the same logs: makers of that many."""


def draft(event_id: str, body: bytes = b"{}", keys: tuple[str, ...] = ("document:doc123",)) -> Draft:
    """Make a draft whose digest follows from its body."""
    return Draft(event_id, hashlib.sha256(body).digest(), keys, body)


def events(*event_ids: str) -> Commit:
    """Make a commit of plain events."""
    return Commit([draft(event_id) for event_id in event_ids])


async def publish(engine: Engine, *event_ids: str, log: LogName = LOG) -> Committed:
    """Commit plain events, which must succeed."""
    answer = await engine.commit(log, events(*event_ids))
    assert isinstance(answer, Committed), answer
    return answer


async def read_all(engine: Engine, log: LogName = LOG, after: int = 0, max_bytes: int = 1 << 20) -> list[Entry]:
    """Read a log to its top, page by page."""
    entries: list[Entry] = []
    while True:
        page: Page = await engine.read(log, after, max_bytes)
        if not page.entries:
            return entries
        entries += page.entries
        after = page.entries[-1].offset


Failure = Literal["before", "after"]


class Faults:
    """Decides which statements of a database fail: `before` they do anything, or `after` they have done it."""

    def __init__(self) -> None:
        self.plan: Callable[[str], Failure | None] = lambda statement: None

    def connect(self, path: str, **options: object) -> sqlite3.Connection:
        """Open a connection that asks the plan before each statement."""
        faults = self

        class FailingConnection(sqlite3.Connection):
            def execute(self, statement: str, *args: object) -> sqlite3.Cursor:
                failure = faults.plan(statement)
                if failure == "before":
                    raise sqlite3.OperationalError("disk I/O error")
                cursor: sqlite3.Cursor = super().execute(statement, *args)  # type: ignore[arg-type]  # passed on as it came
                if failure == "after":
                    raise sqlite3.OperationalError("disk I/O error")
                return cursor

        connect: Connect = sqlite3.connect
        return connect(path, factory=FailingConnection, **options)
