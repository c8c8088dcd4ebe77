"""The newest entries of followed logs, in memory.

Owns: what is kept per organization and when it is given up.   Not: older entries (engines), who reads them (catch-up).
Rule 1: a tail is gapless: it holds every entry from its first to the log's top, or nothing.
Rule 2: all tails of a node share one budget; the organization that was used longest ago gives up its oldest entries first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from signtusk_realtime.events.log import Entry, Epoch

ENTRY_OVERHEAD: Final = 400
"""Bytes an entry costs beside its body: the tuple, its keys and its place (measured with sys.getsizeof on typical entries)."""


class Tail:
    """One log's newest entries."""

    __slots__ = ("_entries", "bytes", "epoch")

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self.bytes = 0
        self._entries: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, entry: Entry) -> int:
        """Keep an entry; give what it costs, in bytes. One that does not follow the last begins the tail anew."""
        if self._entries and entry.offset != self._entries[-1].offset + 1:
            self._entries.clear()
            self.bytes = 0
        self._entries.append(entry)
        size = len(entry.body) + ENTRY_OVERHEAD
        self.bytes += size
        return size

    def drop_oldest(self) -> int:
        """Give up the oldest entry; give what that frees, in bytes."""
        size = len(self._entries.popleft().body) + ENTRY_OVERHEAD
        self.bytes -= size
        return size

    def since(self, offset: int) -> Sequence[Entry] | None:
        """Give the entries after `offset`, or None if some of them are not held."""
        if not self._entries or offset < self._entries[0].offset - 1 or offset > self._entries[-1].offset:
            return None
        # From the end: who resumes is near the top as a rule, and a deque is walked from the nearer side only if told so.
        newest_first = list(islice(reversed(self._entries), self._entries[-1].offset - offset))
        newest_first.reverse()
        return newest_first


class Tails:
    """All tails of a node, within one budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self.bytes = 0

    def append(self, organization_id: str, epoch: Epoch, entry: Entry) -> None:
        """Keep an entry of a followed log."""
        tail = self._tails.get(organization_id)
        if tail is None or tail.epoch != epoch:
            self.forget(organization_id)
            tail = self._tails[organization_id] = Tail(epoch)
        before = tail.bytes
        tail.append(entry)
        self.bytes += tail.bytes - before
        while self.bytes > self._budget_bytes:
            self._shrink()

    def of(self, organization_id: str) -> Tail | None:
        """Give an organization's tail and note that it was used."""
        tail = self._tails.get(organization_id)
        if tail is not None:
            self._tails.move_to_end(organization_id)
        return tail

    def forget(self, organization_id: str) -> None:
        """Give up an organization's tail: its log is no longer followed, or diverged."""
        tail = self._tails.pop(organization_id, None)
        if tail is not None:
            self.bytes -= tail.bytes

    def _shrink(self) -> None:
        organization_id, tail = next(iter(self._tails.items()))
        self.bytes -= tail.drop_oldest()
        if not len(tail):
            del self._tails[organization_id]
