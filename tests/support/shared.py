"""One memory that several nodes share, each through an engine of its own that can be cut off from it.

Owns: delivery to every node that follows a log.   Not: durability, and failures that lose something (tests/faults has real servers for those).
Rule: what a node misses while it is cut off comes in its order once it is back, as an engine that fills gaps brings it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from signtusk_realtime.engines.engine import Sink
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import (
    Commit,
    Committed,
    Entry,
    Epoch,
    Exact,
    LogName,
    Range,
    Reused,
    Snapshot,
    Stale,
)
from tests.support.server import now_ms


class SharedMemory:
    """What is shared. `engine` gives one node's way to it."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._first = NodeEngine(self, clock)
        self.nodes: list[NodeEngine] = []

    def engine(self) -> NodeEngine:
        engine = NodeEngine(self, self._clock)
        engine.share(self._first)
        self.nodes.append(engine)
        return engine


class NodeEngine(MemoryEngine):
    """See the module. `cut_off` and `mend` are a network that parts and heals."""

    def __init__(self, memory: SharedMemory, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._memory = memory
        self._is_cut_off = False
        self.is_deaf = False
        """Whether it is told nothing of other nodes' commits and messages, though it reaches them."""
        self.stuck: dict[LogName, asyncio.Future[None]] = {}
        """What signals wait for, by log: one server of several that answers late, or not at all."""
        self.asked = Counter[LogName]()
        """How often records were read, by log."""
        self.listed = 0
        """How often logs were listed."""
        self._missed: list[tuple[LogName, Epoch, Sequence[Entry]]] = []

    def share(self, other: NodeEngine) -> None:
        self._logs = other._logs

    def cut_off(self) -> None:
        self._is_cut_off = True

    def mend(self) -> None:
        self._is_cut_off = self.is_deaf = False
        missed, self._missed = self._missed, []
        for log, epoch, entries in missed:
            self._running().appended(log, epoch, entries)

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        place = self._log_of(log, self._clock())
        before = place.offset
        outcome = await super().commit(log, commit)
        entries = [entry for entry in place.entries if entry.offset > before]
        for node in self._memory.nodes:
            if entries and node is not self:
                node.hear(log, place.epoch, entries)
        return outcome

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        self.asked[log] += 1
        return await super().records(log, queries)

    async def logs(self, after: LogName | None, limit: int) -> Sequence[LogName]:
        self.listed += 1
        return await super().logs(after, limit)

    async def signal(self, log: LogName, body: bytes) -> None:
        if (answer := self.stuck.get(log)) is not None:
            await answer
        await super().signal(log, body)
        for node in self._memory.nodes:
            if node is not self and not node._is_cut_off and not node.is_deaf and log in node._followed:
                node._tell(node._running().signalled, log, body)

    def hear(self, log: LogName, epoch: Epoch, entries: Sequence[Entry]) -> None:
        if self._is_cut_off or self.is_deaf:
            self._missed.append((log, epoch, entries))
        elif log in self._followed and self._sink is not None:
            self._tell(self._sink.appended, log, epoch, entries)

    def _running(self) -> Sink:
        if self._is_cut_off:
            raise Unavailable("the network is down")
        return super()._running()
