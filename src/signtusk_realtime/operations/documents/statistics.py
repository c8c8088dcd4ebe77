"""What is undecided, of all organizations together.

Owns: the sum, telling other nodes what this one counted, and how old what they counted may be.
Not: one organization's record, which every commit keeps true (commits.py).
Rule 1: what this node commits counts at once; what others commit, when they tell it: at most once, and after PACE_S at most.
Rule 2: so nothing is asked while nothing happens, however many organizations there are. What was not heard, for a node was cut off, is found by
reading all organizations' records again, PAGE of them a second, every SWEEP_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import DecodeError

from signtusk_realtime.delivery.ephemeral import Ephemeral, between_nodes
from signtusk_realtime.errors import RealtimeError, Unavailable
from signtusk_realtime.events.log import ABSENT, CONTROL_LOG, LogName
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.operations.documents.store import DocumentStore

PACE_S: Final = 1.0
SWEEP_S: Final = 600.0
PAGE: Final = 100
LISTED: Final = 100_000
"""Names asked for at once: an engine may have to look in all of its partitions for the first of them."""
PAGE_PAUSE_S: Final = 1.0

log = logging.getLogger(__name__)


class _Counted(NamedTuple):
    """The figures of an organization, and the version of the record that has them."""

    figures: Statistics
    version: int


class _Telling(msgspec.Struct, tag="conflicts", tag_field="kind", frozen=True):
    """What one node counted, by organization."""

    counted: dict[str, _Counted]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Telling).decode


def _of(telling: _Telling) -> Iterator[tuple[LogName, _Counted]]:
    """Give what was to be told, by organization."""
    return ((LogName(name), counted) for name, counted in telling.counted.items())


class ConflictStatistics:
    """See the module. `ephemeral`: hears what other nodes tell. Begun by `start`, ended by `close`."""

    def __init__(self, store: DocumentStore, ephemeral: Ephemeral) -> None:
        self._store = store
        self._known: dict[LogName, _Counted] = {}
        """Of organizations that ever had something to decide."""
        self._untold: dict[LogName, _Counted] = {}
        self._telling: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        store.counted = self._counted
        ephemeral.heard_by_all = self._heard

    @property
    def total(self) -> Statistics:
        """The figures of all organizations."""
        figures = [known.figures for known in self._known.values()]
        return Statistics(
            sum(each.active_conflicts for each in figures),
            sum(each.pending_changes for each in figures),
            sum(each.documents_with_conflicts for each in figures),
        )

    async def start(self) -> None:
        """Read every organization's figures, and go on doing so now and then. Raises: Unavailable."""
        await self._sweep(pause_s=0.0)
        self._sweeping = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Read and tell no more."""
        tasks = [task for task in (self._sweeping, self._telling) if task is not None]
        self._sweeping = self._telling = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what is told

    def _counted(self, organization: LogName, figures: Statistics, version: int) -> None:
        self._known[organization] = self._untold[organization] = _Counted(figures, version)
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        try:
            while self._untold:
                names = list(self._untold)[:PAGE]
                told = _Telling({name: self._untold.pop(name) for name in names})
                try:
                    await self._store.engine.signal(CONTROL_LOG, between_nodes(_encode(told)))
                except RealtimeError:
                    # The engine is away: told when it is back, unless it has changed by then.
                    self._untold = dict(_of(told)) | self._untold
                await asyncio.sleep(PACE_S)
        finally:
            self._telling = None

    def _heard(self, body: bytes) -> None:
        try:
            told = _decode(body)
        except DecodeError:
            return  # of a newer version
        for name, counted in _of(told):
            known = self._known.get(name)
            if known is None or known.version < counted.version:
                self._known[name] = counted

    # ---- what is read

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._sweep(pause_s=PAGE_PAUSE_S)
            except Unavailable:
                continue  # the engine's health says so
            except Exception:
                log.exception("reading conflict statistics failed")

    async def _sweep(self, *, pause_s: float) -> None:
        after: LogName | None = None
        unseen = set(self._known)
        while names := await self._store.engine.logs(after, LISTED):
            for first in range(0, len(names), PAGE):
                await self._read(names[first : first + PAGE])
                unseen.difference_update(names[first : first + PAGE])
                await asyncio.sleep(pause_s)
            after = names[-1]
        for name in unseen:
            self._known.pop(name, None)

    async def _read(self, names: Sequence[LogName]) -> None:
        for name in names:
            before = self._known.get(name)
            read = _Counted(*await self._store.statistics(name))
            if self._known.get(name) is not before:
                continue  # it was told meanwhile, and that is newer
            # Whatever its version: a log that was lost begins again with a low one.
            self._known.pop(name, None)
            if read.version != ABSENT:
                self._known[name] = read
