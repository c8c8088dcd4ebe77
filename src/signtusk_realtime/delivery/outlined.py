"""Entries of which memory holds only the keys, read from the engine one by one or a few together.

Owns: from offsets to entries, and what was read for others who catch up on the same.   Not: which offsets are wanted (tail.py).
Rule: what is read costs what is wanted, not what lies between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import Entry, Epoch, LogName

NEAR: Final = 16
"""Entries that lie this close are read together: a question of its own costs as much as reading about so many."""
TYPICAL_BYTES: Final = 1024
KEPT_BYTES: Final = 8 << 20
"""Kept for others while anybody catches up: after a storm's first client the engine is not asked for what all want."""
KEPT_OVERHEAD: Final = 600


class Outlined:
    """See the module."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: OrderedDict[tuple[LogName, Epoch, int], Entry] = OrderedDict()
        self._kept_bytes = 0

    async def read(self, name: LogName, epoch: Epoch, wanted: Sequence[int], max_bytes: int) -> list[Entry]:
        """Give the entries with these offsets, oldest first, until their bodies exceed `max_bytes`.

        It ends before the first that is no longer there, or whose log is another one now. Raises: Unavailable.
        """
        entries: list[Entry] = []
        size = 0
        for at, offset in enumerate(wanted):
            if size >= max_bytes:
                break
            entry = self._kept.get((name, epoch, offset))
            if entry is None:
                entry = await self._ask(name, epoch, wanted, at)
            if entry is None:
                break
            entries.append(entry)
            size += len(entry.body)
        return entries

    def clear(self) -> None:
        """Let go of what was kept; what is still being read is not kept either."""
        self._kept = OrderedDict()
        self._kept_bytes = 0

    async def _ask(self, name: LogName, epoch: Epoch, wanted: Sequence[int], at: int) -> Entry | None:
        """Read an entry together with those that lie near, and keep what is wanted of them."""
        first = wanted[at]
        end = at + 1
        while end < len(wanted) and wanted[end] - wanted[end - 1] <= NEAR:
            end += 1
        span = wanted[end - 1] - first
        kept = self._kept
        page = await self._engine.read(name, first - 1, 1 + span * TYPICAL_BYTES)
        if page.top.epoch != epoch or not page.entries or page.entries[0].offset != first:
            return None
        for entry in page.entries:
            place = bisect_right(wanted, entry.offset) - 1
            if kept is self._kept and place >= at and wanted[place] == entry.offset:
                self._keep((name, epoch, entry.offset), entry)
        return page.entries[0]

    def _keep(self, key: tuple[LogName, Epoch, int], entry: Entry) -> None:
        if key in self._kept:
            return
        self._kept[key] = entry
        self._kept_bytes += len(entry.body) + KEPT_OVERHEAD
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.body) + KEPT_OVERHEAD
