"""One followed log: what was delivered, what was heard, what may be delivered next.

Owns: order, gaps, doubt.   Not: reading the log, telling the sink (delivery.py).
Rule 1: no I/O, no clock.   Rule 2: an entry is given out once, after the one before it, when the tags chain from there to a confirmed place.
Rule 3: what does not fit is never skipped: `is_behind` stays true until a page of the log itself was taken.
Why tags: after a loss offsets are given anew, so that an entry that was only heard of may bear the offset of another that is confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from signtusk_realtime.engines.redis.keys import partition_of
from signtusk_realtime.engines.redis.stored import Hint
from signtusk_realtime.events.log import (
    ORIGIN_TAG,
    TAG_BYTES,
    Entry,
    Epoch,
    LogName,
    Page,
    Position,
    Top,
    chain,
)

_AHEAD: Final = 1024
_EARLY: Final = 1024
_REMEMBERED: Final = 256
_NOWHERE: Final = Position(Epoch(""), 0, ORIGIN_TAG)


class Followed:
    """See the module. `begin` once, then `hear`, `take` and `take_page`; what is heard before it begins is kept until then."""

    __slots__ = (
        "_ahead",
        "_beyond",
        "_confirmed",
        "_early",
        "_has_begun",
        "_known_to",
        "_tags",
        "is_doubtful",
        "name",
        "partition",
        "position",
    )

    def __init__(self, name: LogName) -> None:
        self.name = name
        self.partition = partition_of(name)
        self.position = _NOWHERE
        """What was delivered."""
        self.is_doubtful = False
        self._has_begun = False
        self._confirmed = (0, ORIGIN_TAG)
        self._known_to = 0
        self._ahead: dict[int, Entry] = {}
        self._beyond: set[int] = set()
        """What had been heard of beyond the log's top when it was read last."""
        self._tags = bytearray()
        self._early: list[Hint] = []

    def begin(self, position: Position) -> None:
        """Stand at a place: all after it is delivered."""
        self.position = position
        self._has_begun, self.is_doubtful = True, False
        self._confirmed = (position.offset, position.tag)
        self._known_to = position.offset
        self._ahead.clear()
        self._tags = bytearray(position.tag)
        early, self._early = self._early, []
        for hint in early:
            self.hear(hint)

    def doubt(self, epoch: Epoch) -> None:
        """Take note that this life of the log may have ended."""
        if self.position.epoch == epoch:
            self.is_doubtful = True

    @property
    def is_behind(self) -> bool:
        """Whether there is more than was delivered, or what was delivered is in doubt."""
        return self.is_doubtful or self._known_to > self.position.offset

    @property
    def is_late(self) -> bool:
        """Whether what is missing is confirmed already."""
        return self.is_doubtful or self._confirmed[0] > self.position.offset

    def hear(self, hint: Hint) -> None:
        """Note what somebody says of the log."""
        here = self.position
        if not self._has_begun:
            if len(self._early) < _EARLY:
                self._early.append(hint)
            else:
                # The oldest are those that the top, which is being read, is the likeliest to hold; a gap is found when it has been.
                self._early[:-1] = self._early[1:]
                self._early[-1] = hint
            return
        if hint.epoch != here.epoch:
            self.is_doubtful = True
            return
        self._known_to = max(self._known_to, hint.offset)
        for entry in hint.entries:
            # What is beyond the bound is read from the log when its turn has come.
            if here.offset < entry.offset <= here.offset + _AHEAD:
                self._ahead[entry.offset] = entry
        if hint.is_confirmed:
            if hint.offset > self._confirmed[0]:
                self._confirmed = (hint.offset, hint.tag)
            elif self._tag_at(hint.offset) not in {hint.tag, None}:
                self.is_doubtful = True

    def take(self) -> list[Entry]:
        """Give what may be delivered now; it counts as delivered."""
        offset, tag = self._confirmed
        if self.is_doubtful or offset <= self.position.offset:
            return []
        run: list[Entry] = []
        before = self.position.tag
        for place in range(self.position.offset + 1, offset + 1):
            entry = self._ahead.get(place)
            if entry is None:
                return []
            if chain(before, entry.event_id) != entry.tag:
                self._ahead.clear()
                return []
            run.append(entry)
            before = entry.tag
        if before != tag:
            # What was heard of is of another history than what was confirmed.
            self._ahead.clear()
            return []
        self._move(run)
        return run

    def take_page(self, page: Page) -> list[Entry]:
        """Give what a confirmed page of the log adds. Where it contradicts what was delivered, the log is doubtful and nothing is given."""
        here, top = self.position, page.top
        contradicts = (
            top.epoch != here.epoch
            or top.offset < here.offset
            or top.floor_offset > here.offset
            or (top.offset == here.offset and top.tag != here.tag)
        )
        run: list[Entry] = []
        before = here.tag
        for entry in page.entries:
            if entry.offset > here.offset and not contradicts:
                contradicts = entry.offset != here.offset + len(run) + 1 or chain(before, entry.event_id) != entry.tag
                run.append(entry)
                before = entry.tag
        if contradicts:
            self.is_doubtful = True
            return []
        self.is_doubtful = False
        self._move(run)
        beyond = {offset for offset in self._ahead if offset > top.offset}
        for orphan in beyond & self._beyond:
            # Read twice, and still not there: who wrote it is gone before it was confirmed, or it will be told again once it is.
            del self._ahead[orphan]
        self._beyond = beyond
        self._known_to = max(top.offset, max(self._ahead, default=0))
        return run

    def common(self, top: Top, entries: Sequence[Entry]) -> Position:
        """Find the newest place up to which what was delivered is in the log too: `entries` are those from `first_remembered` on."""
        if top.epoch == self.position.epoch:
            for entry in reversed(entries):
                if self._tag_at(entry.offset) == entry.tag:
                    return Position(top.epoch, entry.offset, entry.tag)
        return top.floor

    @property
    def first_remembered(self) -> int:
        """The oldest offset whose tag is still remembered."""
        return self.position.offset - len(self._tags) // TAG_BYTES + 1

    def _tag_at(self, offset: int) -> bytes | None:
        at = (offset - self.first_remembered) * TAG_BYTES
        return bytes(self._tags[at : at + TAG_BYTES]) if 0 <= at < len(self._tags) else None

    def _move(self, run: Sequence[Entry]) -> None:
        for entry in run:
            self._ahead.pop(entry.offset, None)
            self._tags += entry.tag
        if run:
            self.position = Position(self.position.epoch, run[-1].offset, run[-1].tag)
            if self._confirmed[0] < run[-1].offset:
                self._confirmed = (run[-1].offset, run[-1].tag)
        if len(self._tags) > 2 * _REMEMBERED * TAG_BYTES:
            del self._tags[: -_REMEMBERED * TAG_BYTES]
