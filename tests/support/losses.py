"""Publishing through one node and following on two while servers are lost, and judging what came of it.

Owns: the load, the judgement, and how long nothing was heard.   Not: what is done to the servers (tests/faults).
Rule: a publication is repeated with its id until it is answered, as publishers are told to do.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Self

from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.redis.keys import partition_of, slot_of
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import EngineHealth, Entry, Epoch, LogName
from tests.support.engines import RecordingSink, publish, read_all
from tests.support.valkey import Valkey

LOGS: Final = tuple(LogName(f"org{number}") for number in range(12))
"""Enough to lie on every shard of three."""
AGAIN_S: Final = 0.05
WITHIN_S: Final = 30.0
AFTER_PROMOTION_S: Final = 0.5
"""Within so long after a replica was promoted something should be heard again."""


class TimedSink(RecordingSink):
    """Remembers also when each log was given something."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[LogName, list[float]] = {}
        self.tops: dict[LogName, int] = {}
        """How far each log was given: what is asked at every entry must not take longer the more there are."""

    def appended(self, log: LogName, epoch: Epoch, entries: Sequence[Entry]) -> None:
        self.times.setdefault(log, []).append(asyncio.get_running_loop().time())
        self.tops[log] = entries[-1].offset
        super().appended(log, epoch, entries)

    def silence_s(self, log: LogName, since: float) -> float:
        """Give the longest time in which a log was given nothing."""
        times = [since, *(time for time in self.times[log] if time > since)]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def heard_after_s(self, log: LogName, since: float) -> float:
        """Give the time after which a log was given something again."""
        return next(time for time in self.times[log] if time > since) - since


class Silences:
    """How long an organization heard nothing, by what was done; told as lines."""

    def __init__(self) -> None:
        self._silent: dict[str, list[float]] = {}
        self._promoted: dict[str, list[float]] = {}

    def note(self, what: str, silent_s: Sequence[float], promoted_s: Sequence[float] = ()) -> None:
        """Note what each listener measured, in all and since a replica was promoted."""
        self._silent.setdefault(what, []).extend(silent_s)
        self._promoted.setdefault(what, []).extend(promoted_s)

    def lines(self) -> Iterator[str]:
        """Give a line for each."""
        for what, found in self._silent.items():
            line = f"{what}: silent for {_spread(found)}"
            if promoted := self._promoted[what]:
                in_time = sum(seconds <= AFTER_PROMOTION_S for seconds in promoted)
                line += (
                    f"; after promotion {_spread(promoted)}, {in_time} of {len(promoted)} within {AFTER_PROMOTION_S} s"
                )
            yield line


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (longest of {len(seconds)})"


async def is_promoted(server: Valkey) -> bool:
    """Say whether a server that was a replica is a primary."""
    role = await asyncio.to_thread(server.call, "ROLE")
    return isinstance(role, list) and role[0] == b"master"


class Load:
    """Two nodes, of which one publishes to every log without end. Use as a context; leaving it stops, judges and closes.

    `deadline_s`: of the nodes' commands; more than a busy machine takes where nothing may be refused.
    """

    def __init__(
        self, urls: Sequence[str], prefix: str = "rt1", logs: Sequence[LogName] = LOGS, deadline_s: float = 1.0
    ) -> None:
        self.logs = logs
        self.engines = [RedisEngine(urls, prefix=prefix, deadline_s=deadline_s) for _ in range(2)]
        self.sinks = [TimedSink(), TimedSink()]
        self.answered: dict[LogName, list[tuple[str, int]]] = {log: [] for log in logs}
        self.refused = 0
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        for engine, sink in zip(self.engines, self.sinks, strict=True):
            await engine.start(sink)
            for log in self.logs:
                await engine.follow(log)
        self._tasks = [asyncio.get_running_loop().create_task(self._publish(log)) for log in self.logs]
        await self.progress()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self._is_over = True
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if kind is None:
                await self._judge()
        finally:
            for engine in self.engines:
                await engine.close()

    async def progress(self, events: int = 20, *, logs: Sequence[LogName] | None = None) -> None:
        """Wait until so many more events of every log, or of these, were answered, and shown by both nodes."""
        due = {log: len(self.answered[log]) + events for log in (self.logs if logs is None else logs)}
        await self.wait(lambda: all(len(self.answered[log]) >= count for log, count in due.items()))
        tops = {log: self.answered[log][-1][1] for log in due}
        for sink in self.sinks:
            await _shown(sink, tops)

    async def wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(WITHIN_S):
            await self.sinks[0].until(is_so)

    def silences_s(self, log: LogName, since: float, promoted: float) -> tuple[list[float], list[float]]:
        """Give for how long each node heard nothing of a log since a moment, and since a replica was promoted."""
        return (
            [sink.silence_s(log, since) for sink in self.sinks],
            [sink.heard_after_s(log, promoted) for sink in self.sinks],
        )

    async def until_health(self, status: str) -> EngineHealth:
        """Wait until both nodes say so of themselves."""
        async with asyncio.timeout(WITHIN_S):
            return [await sink.until_health(status) for sink in self.sinks][-1]

    async def _publish(self, log: LogName) -> None:
        number = 0
        while not self._is_over:
            number += 1
            event_id = f"{log}-{number}"
            while True:
                try:
                    answer = await publish(self.engines[0], event_id, log=log)
                except Unavailable:
                    self.refused += 1
                    await asyncio.sleep(AGAIN_S)
                else:
                    self.answered[log].append((event_id, answer.placed[0].offset))
                    break
            await asyncio.sleep(0.002)

    async def _judge(self) -> None:
        """Nothing that was answered is lost, nothing was shown that is in no log, nothing twice, out of order or left out."""
        for log in self.logs:
            entries = await read_all(self.engines[1], log)
            by_offset = {entry.offset: entry.event_id for entry in entries}
            assert [by_offset.get(offset) for _, offset in self.answered[log]] == [
                event_id for event_id, _ in self.answered[log]
            ]
            assert len({entry.event_id for entry in entries}) == len(entries)
            for sink in self.sinks:
                await _shown(sink, {log: entries[-1].offset})
                assert sink.entries(log) == entries
        for sink in self.sinks:
            assert (sink.gaps, sink.divergences) == ([], [])


async def _shown(sink: TimedSink, tops: Mapping[LogName, int]) -> None:
    async with asyncio.timeout(WITHIN_S):
        await sink.until(lambda: all(sink.tops.get(log, 0) >= top for log, top in tops.items()))


def slot(log: LogName) -> int:
    """Give the slot in which a log lies."""
    return slot_of(partition_of(log))
