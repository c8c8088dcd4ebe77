"""The newest entries of followed logs, in memory, found by matching key.

Owns: what is kept per organization and when it is given up.   Not: older entries (engines), who reads them (catch_up.py).
Rule 1: a tail is gapless: it holds every entry from its first to the log's top, or nothing.
Rule 2: all tails of a node share one budget; the organization that was used longest ago gives up its oldest entries first.
Rule 3: finding what a selection matches costs what may match, not what the tail holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from signtusk_realtime.events.log import Entry, Epoch
from signtusk_realtime.events.matching import Clause
from signtusk_realtime.sessions.entitlement import Selection

ENTRY_OVERHEAD: Final = 600
"""Bytes an entry costs beside its body: the tuple, its keys and its places in the index (measured with tracemalloc on typical entries)."""
TRIM_AT: Final = 64
"""How many given-up places a list may carry before it is cut."""


class Offsets:
    """Offsets of one key's entries, oldest first; those given up stand at the front until enough of them are."""

    __slots__ = ("dropped", "offsets")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.dropped = 0

    def drop_oldest(self) -> bool:
        """Give up the oldest; say whether none is left."""
        self.dropped += 1
        if self.dropped == len(self.offsets):
            return True
        if self.dropped >= TRIM_AT and self.dropped * 2 >= len(self.offsets):
            del self.offsets[: self.dropped]
            self.dropped = 0
        return False

    def after(self, offset: int) -> int:
        """Give the index of the first offset above `offset`."""
        return bisect_right(self.offsets, offset, lo=self.dropped)


class Found(NamedTuple):
    """Entries that match, and how far the search got: everything up to and with `reached` was considered."""

    entries: list[Entry]
    reached: Entry | None


class Tail:
    """One log's newest entries."""

    __slots__ = ("_by_key", "_dropped", "_entries", "bytes", "epoch")

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self.bytes = 0
        self._entries: list[Entry] = []
        self._dropped = 0
        """How many at the front of `_entries` are given up."""
        self._by_key: dict[str, Offsets] = {}

    def __len__(self) -> int:
        return len(self._entries) - self._dropped

    @property
    def first(self) -> int:
        """The oldest offset held; only where there is one."""
        return self._entries[self._dropped].offset

    @property
    def last(self) -> Entry:
        """The newest entry; only where there is one."""
        return self._entries[-1]

    def append(self, entry: Entry) -> None:
        """Keep an entry. One that does not follow the last begins the tail anew; one that was read from the engine before is here."""
        held = self.at(entry.offset)
        if held is not None and held.tag == entry.tag:
            return
        if self._entries and entry.offset != self._entries[-1].offset + 1:
            self._entries.clear()
            self._by_key.clear()
            self._dropped = self.bytes = 0
        self._entries.append(entry)
        for key in entry.keys:
            offsets = self._by_key.get(key)
            if offsets is None:
                offsets = self._by_key[key] = Offsets()
            offsets.offsets.append(entry.offset)
        self.bytes += len(entry.body) + ENTRY_OVERHEAD

    def drop_oldest(self) -> None:
        """Give up the oldest entry."""
        entry = self._entries[self._dropped]
        self._dropped += 1
        self.bytes -= len(entry.body) + ENTRY_OVERHEAD
        for key in entry.keys:
            if self._by_key[key].drop_oldest():
                del self._by_key[key]
        if self._dropped >= TRIM_AT and self._dropped * 2 >= len(self._entries):
            del self._entries[: self._dropped]
            self._dropped = 0

    def holds_after(self, offset: int) -> bool:
        """Say whether every entry after `offset` is held."""
        return len(self) > 0 and self.first - 1 <= offset <= self.last.offset

    def at(self, offset: int) -> Entry | None:
        """Give the entry with this offset, if it is held."""
        if not len(self) or not self.first <= offset <= self.last.offset:
            return None
        return self._entries[self._dropped + offset - self.first]

    def everything(self) -> Sequence[Entry]:
        """Give all entries held, oldest first."""
        return self._entries[self._dropped :]

    def find(self, selection: Selection, after: int, max_bytes: int) -> Found:
        """Give the entries after `after` that a selection matches, oldest first, until their bodies exceed `max_bytes`.

        Only where `holds_after(after)`.
        """
        entries: list[Entry] = []
        size = 0
        for offset in self._candidates(selection, after):
            entry = self._entries[self._dropped + offset - self.first]
            if selection.matches(entry.keys):
                entries.append(entry)
                size += len(entry.body)
                if size >= max_bytes:
                    return Found(entries, entry)
        return Found(entries, self.last if self.last.offset > after else None)

    def _candidates(self, selection: Selection, after: int) -> Sequence[int]:
        found: list[Sequence[int]] = [self._narrowest(clause, after) for clause in selection.clauses]
        if selection.notifications_of is not None:
            found.append(self._offsets("u:" + selection.notifications_of, after))
        if len(found) == 1:
            return found[0]
        return sorted(set().union(*found))

    def _narrowest(self, clause: Clause, after: int) -> Sequence[int]:
        if clause.required:
            return min((self._offsets(key, after) for key in clause.required), key=len)
        of_types = [self._offsets(event_type, after) for event_type in clause.types]
        return sorted(offset for offsets in of_types for offset in offsets)

    def _offsets(self, key: str, after: int) -> Sequence[int]:
        offsets = self._by_key.get(key)
        return () if offsets is None else offsets.offsets[offsets.after(after) :]


class Tails:
    """All tails of a node, within one budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self.bytes = 0

    def append(self, log: str, epoch: Epoch, entry: Entry) -> None:
        """Keep an entry of a followed log."""
        tail = self._tails.get(log)
        if tail is None or tail.epoch != epoch:
            self.forget(log)
            tail = self._tails[log] = Tail(epoch)
        before = tail.bytes
        tail.append(entry)
        self.bytes += tail.bytes - before
        self._keep_budget()

    def fill(self, log: str, epoch: Epoch, entries: Sequence[Entry], after: int) -> bool:
        """Put entries read from the engine (all after `after`) before what is held; say whether the tail now holds all after `after`.

        It does not if they do not meet what is held, or the budget does not suffice.
        """
        tail = self._tails.get(log)
        if not entries or (tail is not None and tail.epoch != epoch):
            return False
        newer: list[Entry] = []
        if tail is not None and len(tail):
            if tail.first > entries[-1].offset + 1:
                return False
            newer = [entry for entry in tail.everything() if entry.offset > entries[-1].offset]
        self.forget(log)
        filled = self._tails[log] = Tail(epoch)
        for entry in (*entries, *newer):
            filled.append(entry)
        self.bytes += filled.bytes
        self._keep_budget()
        return len(filled) > 0 and filled.holds_after(after)

    def of(self, log: str) -> Tail | None:
        """Give a log's tail and note that it was used."""
        tail = self._tails.get(log)
        if tail is not None:
            self._tails.move_to_end(log)
        return tail

    def forget(self, log: str) -> None:
        """Give up a log's tail: it is no longer followed, or diverged."""
        tail = self._tails.pop(log, None)
        if tail is not None:
            self.bytes -= tail.bytes

    def trim(self, log: str, floor_offset: int) -> None:
        """Give up what retention has taken out of a log: everything up to its floor."""
        tail = self._tails.get(log)
        if tail is None:
            return
        before = tail.bytes
        while len(tail) and tail.first <= floor_offset:
            tail.drop_oldest()
        self.bytes -= before - tail.bytes
        if not len(tail):
            del self._tails[log]

    def _keep_budget(self) -> None:
        while self.bytes > self.budget_bytes:
            log, tail = next(iter(self._tails.items()))
            before = tail.bytes
            tail.drop_oldest()
            self.bytes -= before - tail.bytes
            if not len(tail):
                del self._tails[log]
