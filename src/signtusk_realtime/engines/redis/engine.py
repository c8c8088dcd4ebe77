"""The engine over Redis or Valkey: the port.

Owns: commits and reads as scripts, confirming what was read, what a node tells of its commits.   Not: connections (servers.py), delivery
(delivery.py), what lies where (keys.py, stored.py).
Rule 1: nothing is answered that could still vanish. A commit is answered when the replicas that count have it; what was read is, when this node
knows that they have it: it wrote it, or it has written after it and waited.
Rule 2: in a Cluster what failed is tried again, with whoever is the primary by then, for as long as a command may take.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from signtusk_realtime.engines.engine import Sink
from signtusk_realtime.engines.redis.address import read_address
from signtusk_realtime.engines.redis.comparing import Comparing
from signtusk_realtime.engines.redis.conditions import read_info, risks, version_fault
from signtusk_realtime.engines.redis.delivery import Delivery
from signtusk_realtime.engines.redis.keys import PARTITIONS, PREFIX, Keys, encoded, partition_of
from signtusk_realtime.engines.redis.link import Answer, NotDone
from signtusk_realtime.engines.redis.primary import Primary
from signtusk_realtime.engines.redis.scripts import COMMIT, FORGET, PAGE, RECORDS, TOUCH, Script
from signtusk_realtime.engines.redis.servers import Servers
from signtusk_realtime.engines.redis.stored import (
    Argument,
    Reply,
    State,
    commit_arguments,
    entries_of,
    query_arguments,
    read_answer,
    read_page,
    read_snapshot,
    unreadable,
    write_confirmed,
    write_signal,
)
from signtusk_realtime.engines.redis.upkeep import Upkeep
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.events.log import (
    SYSTEM_LOG,
    Commit,
    Committed,
    EngineHealth,
    Epoch,
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

_T = TypeVar("_T")

_DEADLINE_S: Final = 1.0
_UPKEEP_INTERVAL_S: Final = 6.0
_PAUSE_S: Final = 0.5
_CONFIRMED_KEPT: Final = 8192


class RedisEngine:
    """Keep logs and records in Redis or Valkey: one server, or a Cluster, which is found out by asking.

    `urls`: `redis[s]://[[user]:password@]host[:port][/database]`, of a Cluster some of its servers. `tls`: what `rediss://` proves them by.
    `wait_s`: how long `start` waits for servers that are not there yet. `allow_unsafe`: start though a crash of theirs would lose events.
    `min_replicas`: with fewer replicas a primary is not written to. `clock`: milliseconds; by default the time is the servers' own.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        prefix: str = PREFIX,
        retention: Retention = Retention(),
        tls: ssl.SSLContext | None = None,
        wait_s: float = 0.0,
        allow_unsafe: bool = False,
        min_replicas: int = 0,
        deadline_s: float = _DEADLINE_S,
        clock: Callable[[], int] | None = None,
        upkeep_interval_s: float = _UPKEEP_INTERVAL_S,
    ) -> None:
        self._addresses = [read_address(url) for url in urls]
        self._tls = tls
        self._keys = Keys(prefix)
        self._retention = retention
        self._wait_s = wait_s
        self._allow_unsafe = allow_unsafe
        self._min_replicas = min_replicas
        self._deadline_s = deadline_s
        self._clock: Callable[[], int | str] = clock or (lambda: "")
        self._upkeep_interval_s = upkeep_interval_s
        self._node = os.urandom(8)
        self._signals = 0
        self._delivery = Delivery(self._keys, self._node, self._page)
        self._servers: Servers
        self._comparing: Comparing
        self._upkeep: Upkeep
        self._sink: Sink
        self._is_running = False
        self._closing: asyncio.Task[None] | None = None
        self._accepted: set[asyncio.Future[None]] = set()
        self._confirmed: dict[LogName, tuple[Primary, Epoch, int]] = {}
        """What is known to be confirmed, by log: who had it, and the number of its writes."""
        self._untold: dict[LogName, tuple[Primary, Top]] = {}

    async def start(self, sink: Sink) -> None:
        self._sink = self._delivery.sink = sink
        if self._tls is None and any(address.is_tls for address in self._addresses):
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_s
        while True:
            servers = self._servers = self._delivery.servers = Servers(
                self._addresses,
                self._tls,
                deadline_s=self._deadline_s,
                least=self._min_replicas,
                heard=self._delivery.heard,
                came_back=self._came_back,
                health=self._tell_health,
            )
            self._comparing = Comparing(self._keys, self._delivery, servers)
            try:
                await servers.start()
                await self._check()
                break
            except BaseException as error:
                await self._comparing.close()
                await servers.close()
                if not isinstance(error, Unavailable) or loop.time() >= until:
                    raise
            await asyncio.sleep(_PAUSE_S)
        self._upkeep = Upkeep(self._keys, self._servers, self._retention, self._clock, self._upkeep_interval_s)
        self._is_running = True

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        self._check_running()
        keys, here = self._keys.log(log), self._keys.partition_of(log)
        retention = self._retention
        arguments: list[Argument] = [
            self._clock(),
            log,
            encoded(log),
            _fresh_epoch(),
            commit.epoch or "",
            "" if retention.count is None else retention.count,
            retention.max_bytes,
            *commit_arguments(commit),
        ]

        def attempt(primary: Primary) -> Answer:
            answer = primary.write(COMMIT, (*keys, *here), *arguments)
            # Ordering: it counts and is delivered once it is confirmed, whether or not who asked still waits.
            answer.add_done_callback(lambda done: self._has_committed(primary, log, commit, done))
            return answer

        with _Accepted(self._accepted):
            # By their ids events are known again; what only expects and puts would find itself in its way.
            reply = await self._insist(log, attempt, is_repeatable=bool(commit.events))
            answer, _ = read_answer(commit, reply)
            if isinstance(answer, Committed) and answer.placed:
                await self._delivery.settle(log, answer.top.position)
            return answer

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        self._check_running()
        return await self._page(log, after, max_bytes)

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        self._check_running()
        keys = self._keys.log(log)
        arguments = [self._clock(), *query_arguments(queries)]
        return await self._view(log, RECORDS, (keys.meta, keys.records, keys.order), arguments, read_snapshot)

    async def signal(self, log: LogName, body: bytes) -> None:
        self._check_running()
        self._delivery.signalled(log, body)
        self._signals += 1
        primary = self._servers.primary(partition_of(log))
        await primary.ask("SPUBLISH", self._keys.log(log).channel, write_signal(self._node, self._signals, body))

    async def follow(self, log: LogName) -> Top:
        self._check_running()
        return await self._delivery.follow(log)

    async def unfollow(self, log: LogName) -> None:
        self._check_running()
        self._delivery.unfollow(log)

    async def logs(self, after: LogName | None, limit: int) -> Sequence[LogName]:
        self._check_running()
        first = "-" if after is None else f"({after}"
        asked = []
        for partition in range(PARTITIONS):
            key = self._keys.partition(partition).logs
            asked.append(self._servers.primary(partition).ask("ZRANGE", key, first, "+", "BYLEX", "LIMIT", 0, limit))
        names: list[LogName] = []
        for reply in await asyncio.gather(*asked):
            if not isinstance(reply, list):
                raise unreadable(reply)
            names += [LogName(name.decode()) for name in reply if isinstance(name, bytes)]
        return sorted(names)[:limit]

    async def forget(self, log: LogName) -> None:
        self._check_running()
        keys, here = self._keys.log(log), self._keys.partition_of(log)
        with _Accepted(self._accepted):
            written = (*keys, here.logs, here.changed, here.due)
            # Repeated, it might erase what somebody began meanwhile.
            await self._insist(log, lambda primary: primary.write(FORGET, written, log), is_repeatable=False)
            self._confirmed.pop(log, None)
            await self._delivery.forgotten(log)

    async def upkeep(self) -> None:
        """Let retention and expiry bite now."""
        await self._upkeep.round()

    async def close(self) -> None:
        if self._is_running:
            self._is_running = False
            self._closing = asyncio.get_running_loop().create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._accepted:
            await asyncio.wait(self._accepted)
        await self._upkeep.close()
        await self._comparing.close()
        await self._delivery.close()
        self._tell_confirmed()
        await self._servers.close()

    def _check_running(self) -> None:
        if not self._is_running:
            raise Unavailable("the engine is not running")

    async def _check(self) -> None:
        found: list[str] = []
        for primary in self._servers.primaries:
            info = read_info(await primary.ask("INFO"))
            fault = version_fault(info)
            if fault is not None:
                raise ConfigurationError(f"{primary.address}: {fault}")
            found += [f"{primary.address}: {risk}" for risk in risks(info)]
        # A user who may not publish would find out in the middle of a script.
        await self._servers.primary(partition_of(SYSTEM_LOG)).ask("SPUBLISH", self._keys.log(SYSTEM_LOG).channel, "")
        if found and not self._allow_unsafe:
            raise ConfigurationError("; ".join(found) + " (redis_allow_unsafe starts nevertheless)")

    def _came_back(self, partitions: frozenset[int]) -> None:
        # Where there may be another server now, what the one before had confirmed proves nothing.
        self._confirmed.clear()
        self._comparing.look(partitions)

    def _tell_health(self, health: EngineHealth) -> None:
        self._sink.health(health)

    # ---- commits

    async def _insist(self, log: LogName, attempt: Callable[[Primary], Answer], *, is_repeatable: bool = True) -> Reply:
        """Do something until a server has done it, or has had its time. Raises: Unavailable.

        What is not repeatable is tried again only where a server says that it did nothing.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline_s
        while True:
            try:
                # Ordering: nothing is awaited before the first attempt, so that commits happen in the order in which they were made.
                return await asyncio.shield(attempt(self._servers.primary(partition_of(log))))
            except Unavailable as error:
                may_repeat = is_repeatable or isinstance(error, NotDone)
                if not may_repeat or not self._servers.is_cluster or loop.time() >= until:
                    raise
                await self._servers.look_again()

    def _has_committed(self, primary: Primary, log: LogName, commit: Commit, done: Answer) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        answer, state = read_answer(commit, done.result())
        if state is not None:
            self._note(primary, log, state)
        if isinstance(answer, Committed):
            entries = entries_of(commit, answer)
            if entries:
                self._delivery.committed(log, answer.top, entries)
                if primary.confirmations:
                    self._tell_later(primary, log, answer.top)

    def _tell_later(self, primary: Primary, log: LogName, top: Top) -> None:
        """Tell the other nodes how far a log is confirmed: once for all that was confirmed together."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell_confirmed)
        self._untold[log] = (primary, top)

    def _tell_confirmed(self) -> None:
        untold, self._untold = self._untold, {}
        for log, (primary, top) in untold.items():
            primary.tell(self._keys.log(log).channel, write_confirmed(top))

    # ---- reads

    async def _page(self, log: LogName, after: int, max_bytes: int, *, is_proof: bool = False) -> Page:
        keys = self._keys.log(log)
        return await self._view(log, PAGE, (keys.meta, keys.entries), [after, max_bytes], read_page, is_proof=is_proof)

    async def _view(
        self,
        log: LogName,
        script: Script,
        keys: tuple[str, ...],
        arguments: Sequence[Argument],
        understand: Callable[[Reply], tuple[_T, State] | None],
        *,
        is_proof: bool = False,
    ) -> _T:
        """Read, and answer once what was read is confirmed."""
        asked: list[Primary] = []

        def attempt(primary: Primary) -> Answer:
            asked.append(primary)
            return primary.run(script, keys, *arguments)

        while True:
            found = understand(await self._insist(log, attempt))
            if found is None:
                await self._make(log)
                continue
            view, state = found
            if not await self._confirm(asked[-1], log, state, is_proof=is_proof):
                continue
            return view

    async def _make(self, log: LogName) -> None:
        nothing = [self._clock(), log, encoded(log), _fresh_epoch(), "", "", 1, *commit_arguments(Commit())]
        keys = (*self._keys.log(log), *self._keys.partition_of(log))
        await self._insist(log, lambda primary: primary.write(COMMIT, keys, *nothing))

    async def _confirm(self, primary: Primary, log: LogName, state: State, *, is_proof: bool) -> bool:
        """Wait until what was read cannot vanish; say whether that life of the log is still there."""
        known = self._confirmed.get(log)
        if not is_proof and (
            primary.confirmations == 0
            or (known is not None and known[:2] == (primary, state.top.epoch) and known[2] >= state.writes)
        ):
            return True
        written = await primary.write(TOUCH, (self._keys.log(log).meta,), state.top.epoch)
        if written == 1:
            self._note(primary, log, state)
        return written == 1

    def _note(self, primary: Primary, log: LogName, state: State) -> None:
        known = self._confirmed.pop(log, None)
        writes = state.writes
        if known is not None and known[:2] == (primary, state.top.epoch):
            writes = max(writes, known[2])
        self._confirmed[log] = (primary, state.top.epoch, writes)
        if len(self._confirmed) > _CONFIRMED_KEPT:
            del self._confirmed[next(iter(self._confirmed))]


class _Accepted:
    """Something that `close` waits for."""

    def __init__(self, accepted: set[asyncio.Future[None]]) -> None:
        self._accepted = accepted
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> None:
        self._accepted.add(self._done)

    def __exit__(self, *raised: object) -> None:
        self._accepted.discard(self._done)
        self._done.set_result(None)


def _fresh_epoch() -> Epoch:
    return Epoch(os.urandom(8).hex())
