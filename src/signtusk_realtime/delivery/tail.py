"""The newest entries of followed logs, in memory, found by matching key.

Owns: what is kept per organization and when it is given up.   Not: older entries (engines), who reads them (catch_up.py).
Rule 1: a tail is gapless: it knows every entry from its first to the log's top, or nothing.
Rule 2: all tails of a node share one budget; the organization that was used longest ago gives up its oldest entries first.
Rule 3: finding what a selection matches costs what may match, not what the tail knows.
Rule 4: the body of an entry is given up before its keys and tag: of an entry that is outlined, one still knows who wants it, so that those who
resume are spared the reading of what they do not want, however much that is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from signtusk_realtime.events.log import Entry, Epoch
from signtusk_realtime.events.matching import Clause
from signtusk_realtime.sessions.entitlement import Selection

ENTRY_OVERHEAD: Final = 500
"""Bytes an entry costs beside its body: the tuple, its keys and its places in the index (measured with tracemalloc on typical entries)."""
OUTLINE_BYTES: Final = 350
"""Bytes an outlined entry costs, measured likewise."""
OUTLINE_PART: Final = 0.75
"""Of the budget, what outlined entries may take: to know who wants what saves more than a body does."""
TRIM_AT: Final = 64
"""How many given-up places a list may carry before it is cut."""
WINDOW: Final = 512
"""How many of a key's offsets are looked at before a page may be full: who is far behind reads many pages of the same."""
LOOKS: Final = 4096
"""How many entries are looked at in one go, whatever matches of them: meanwhile nobody else has a turn."""
_LEAST_WINDOW: Final = 16


class Offsets:
    """Offsets of one key's entries, oldest first; those given up stand at the front until enough of them are."""

    __slots__ = ("dropped", "key", "offsets")

    def __init__(self, key: str) -> None:
        self.key = key
        """The one copy of it that all entries share."""
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
    """One log's newest entries: first those that are outlined, without time, id and body, then whole ones."""

    __slots__ = ("_by_key", "_dropped", "_entries", "bytes", "epoch", "outlined")

    def __init__(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self.bytes = 0
        self.outlined = 0
        """How many are outlined."""
        self._entries: list[Entry] = []
        self._dropped = 0
        """How many at the front of `_entries` are given up."""
        self._by_key: dict[str, Offsets] = {}

    def __len__(self) -> int:
        return len(self._entries) - self._dropped

    @property
    def first(self) -> int:
        """The oldest offset known; only where there is one."""
        return self._entries[self._dropped].offset

    @property
    def whole_from(self) -> int:
        """The oldest offset whose entry is whole; only where there is one."""
        return self.first + self.outlined

    @property
    def whole_bytes(self) -> int:
        """What the whole entries cost."""
        return self.bytes - self.outlined * OUTLINE_BYTES

    @property
    def last(self) -> Entry:
        """The newest entry; only where there is one."""
        return self._entries[-1]

    def append(self, entry: Entry) -> None:
        """Keep an entry. One that does not follow the last begins the tail anew; one that was read from the engine before is here."""
        offset, tag, at, event_id, own_keys, body = entry
        if self._entries and offset != self._entries[-1].offset + 1:
            held = self.at(offset)
            if held is not None and held.tag == tag:
                return
            self._entries.clear()
            self._by_key.clear()
            self._dropped = self.bytes = self.outlined = 0
        by_key = self._by_key
        keys: list[str] = []
        for key in own_keys:
            offsets = by_key.get(key)
            if offsets is None:
                offsets = by_key[key] = Offsets(key)
            offsets.offsets.append(offset)
            keys.append(offsets.key)
        self._entries.append(Entry(offset, tag, at, event_id, tuple(keys), body))
        self.bytes += len(body) + ENTRY_OVERHEAD

    def outline_oldest(self) -> None:
        """Give up all of the oldest whole entry but its keys and tag; only where there is one. A tail that is kept keeps its newest entry whole."""
        at = self._dropped + self.outlined
        entry = self._entries[at]
        self._entries[at] = Entry(entry.offset, entry.tag, 0, "", entry.keys, b"")
        self.outlined += 1
        self.bytes -= len(entry.body) + ENTRY_OVERHEAD - OUTLINE_BYTES

    def drop_oldest(self) -> None:
        """Give up the oldest entry altogether."""
        entry = self._entries[self._dropped]
        self._dropped += 1
        if self.outlined:
            self.outlined -= 1
            self.bytes -= OUTLINE_BYTES
        else:
            self.bytes -= len(entry.body) + ENTRY_OVERHEAD
        for key in entry.keys:
            if self._by_key[key].drop_oldest():
                del self._by_key[key]
        if self._dropped >= TRIM_AT and self._dropped * 2 >= len(self._entries):
            del self._entries[: self._dropped]
            self._dropped = 0

    def join(self, newer: Tail) -> bool:
        """Take over what another tail of the same log knows beyond this; False if the two do not meet."""
        if newer.first > self.last.offset + 1:
            return False
        if newer.whole_from > self.last.offset + 1:
            while self.outlined < len(self):
                self.outline_oldest()
        for offset in range(self.last.offset + 1, newer.last.offset + 1):
            self.append(newer._entries[newer._dropped + offset - newer.first])
            if offset < newer.whole_from:
                self.outline_oldest()
        return True

    def knows_after(self, offset: int) -> bool:
        """Say whether every entry after `offset` is known, if only by its keys."""
        return len(self) > 0 and self.first - 1 <= offset <= self.last.offset

    def at(self, offset: int) -> Entry | None:
        """Give the entry with this offset, if it is known; of one that is outlined, only offset, tag and keys are true."""
        if not len(self) or not self.first <= offset <= self.last.offset:
            return None
        return self._entries[self._dropped + offset - self.first]

    def find(self, selection: Selection, after: int, max_bytes: int) -> Found:
        """Give the whole entries after `after` that a selection matches, oldest first, until their bodies exceed `max_bytes` or LOOKS were
        looked at.

        Only where `knows_after(after)`, and after what `find_outlined` gives.
        """
        entries: list[Entry] = []
        size = 0
        looks = 0
        wants = selection.matcher()
        looked: int | None = max(after, self.whole_from - 1)
        while looked is not None:
            candidates, looked = self._candidates(selection, looked)
            for offset in candidates:
                entry = self._entries[self._dropped + offset - self.first]
                if wants(entry.keys):
                    entries.append(entry)
                    size += len(entry.body)
                    if size >= max_bytes:
                        return Found(entries, entry)
            looks += len(candidates)
            if looks >= LOOKS and looked is not None:
                return Found(entries, self.at(looked))
        return Found(entries, self.last if self.last.offset > after else None)

    def find_outlined(self, selection: Selection, after: int, most: int) -> tuple[list[int], int]:
        """Give the offsets of the outlined entries after `after` that a selection matches, oldest first, at most so many; and how far one
        looked: not to the last outlined one where LOOKS were looked at before.
        """
        found: list[int] = []
        whole_from = self.whole_from
        looks = 0
        wants = selection.matcher()
        looked: int | None = after
        while looked is not None and looked + 1 < whole_from:
            candidates, looked = self._candidates(selection, looked)
            for offset in candidates:
                if offset >= whole_from:
                    return found, whole_from - 1
                if wants(self._entries[self._dropped + offset - self.first].keys):
                    found.append(offset)
                    if len(found) == most:
                        return found, offset
            looks += len(candidates)
            if looks >= LOOKS and looked is not None:
                return found, min(looked, whole_from - 1)
        return found, max(after, whole_from - 1)

    def _candidates(self, selection: Selection, after: int) -> tuple[Sequence[int], int | None]:
        """Give offsets after `after`, oldest first, that may match, and how far one looked; None for all."""
        keys = {key for clause in selection.clauses for key in self._narrowest(clause)}
        if selection.notifications_of is not None:
            keys.add("u:" + selection.notifications_of)
        rows = [(offsets.offsets, offsets.after(after)) for key in keys if (offsets := self._by_key.get(key))]
        window = min(WINDOW, max(_LEAST_WINDOW, LOOKS // max(1, len(rows))))
        parts = [offsets[begin : begin + window] for offsets, begin in rows]
        cut = [part[-1] for part, (offsets, begin) in zip(parts, rows, strict=True) if begin + window < len(offsets)]
        looked = min(cut, default=None)
        if len(parts) == 1:
            return parts[0], looked
        joined = sorted(set().union(*parts))
        return joined if looked is None else joined[: bisect_right(joined, looked)], looked

    def _narrowest(self, clause: Clause) -> Iterable[str]:
        """Give the keys by which everything is found that a clause matches: of those it requires, the one that the fewest entries have."""
        return (min(clause.required, key=self._count_of),) if clause.required else clause.types

    def _count_of(self, key: str) -> int:
        offsets = self._by_key.get(key)
        return 0 if offsets is None else len(offsets.offsets) - offsets.dropped


class Tails:
    """All tails of a node, within one budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._tails: OrderedDict[str, Tail] = OrderedDict()
        self.bytes = 0
        self._outlined = 0

    def extend(self, log: str, epoch: Epoch, entries: Iterable[Entry]) -> None:
        """Keep entries of a followed log."""
        tail = self._tails.get(log)
        if tail is None or tail.epoch != epoch:
            self.forget(log)
            tail = self._tails[log] = Tail(epoch)
        before, outlined = tail.bytes, tail.outlined
        for entry in entries:
            tail.append(entry)
        self._count(tail.bytes - before, tail.outlined - outlined)
        self._keep_budget()

    def fill(self, log: str, filling: Tail, after: int) -> bool:
        """Put what was read from the engine (all after `after`) before what is known; say whether the tail now knows all after `after`.

        It does not if the two do not meet, or the budget does not suffice.
        """
        tail = self._tails.get(log)
        if not len(filling) or (tail is not None and tail.epoch != filling.epoch):
            return False
        if tail is not None and not filling.join(tail):
            return False
        self.forget(log)
        self._tails[log] = filling
        self._count(filling.bytes, filling.outlined)
        self._keep_budget()
        return len(filling) > 0 and filling.knows_after(after)

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
            self._count(-tail.bytes, -tail.outlined)

    def trim(self, log: str, floor_offset: int) -> None:
        """Give up what retention has taken out of a log: everything up to its floor."""
        tail = self._tails.get(log)
        if tail is None:
            return
        while len(tail) and tail.first <= floor_offset:
            self._drop_oldest(log, tail)

    def _keep_budget(self) -> None:
        while self.bytes > self.budget_bytes:
            log, tail = next(iter(self._tails.items()))
            has_room = (self._outlined + 1) * OUTLINE_BYTES <= OUTLINE_PART * self.budget_bytes
            if has_room and len(tail) > tail.outlined + 1:
                before = tail.bytes
                tail.outline_oldest()
                self._count(tail.bytes - before, 1)
            else:
                self._drop_oldest(log, tail)

    def _drop_oldest(self, log: str, tail: Tail) -> None:
        before, outlined = tail.bytes, tail.outlined
        tail.drop_oldest()
        self._count(tail.bytes - before, tail.outlined - outlined)
        if not len(tail):
            del self._tails[log]

    def _count(self, more_bytes: int, more_outlined: int) -> None:
        self.bytes += more_bytes
        self._outlined += more_outlined
