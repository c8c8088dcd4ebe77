"""Connections of one organization that see the same bytes, and what waits to be written to them.

Owns: members, pending items, and who missed the beginning of them.   Not: when to flush (flush.py), who belongs here (organization.py).
Rule 1: members get what is pending in its order, each item once, and nothing from before they joined (I2).
Rule 2: per event there is one append, whatever the number of members; per turn there is one join and one write per member.
Rule 3: `settle` writes one member's share now; after it, what is told to that member directly stands at its right place.
Rule 4: while a flush is under way, the members in the first `_left` seats have still to be written what is common to all; whoever is written
or leaves gives such a seat to another of them, so that what is left needs no list of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import Chunk, Format
from signtusk_realtime.delivery.item import Item
from signtusk_realtime.delivery.outlet import PatientOutlet
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.matching import Clause
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.sessions.entitlement import View, sees_whole

AudienceKey = tuple[tuple[Clause, ...], View, str]
WRITES_PER_LOOK: Final = 32
"""Members written to between two looks at the clock."""
PIECE_BYTES: Final = 64 << 10
"""Written to one member at once, but for a single larger event: what an outlet may hold beyond its bound (I3)."""
SHARE_BYTES: Final = 256 << 10
"""What one member may get apart from the others at once; beyond it the member is left to the log."""


_NONE_PENDING: Final[list[Item]] = []
"""Stands for nothing pending, in every audience at rest: an empty list each would cost 56 bytes. Never appended to."""


class Share:
    """What one member gets of the pending items, where that differs from the others: from `start` on, with items of its own between."""

    __slots__ = ("own", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.own: list[tuple[int, Item]] = []
        """Pairs (place among the pending items, item), in order."""

    def cut(self, taken: int) -> Share:
        """Keep what concerns the first `taken` pending items; give what concerns the others."""
        later = Share(max(self.start - taken, 0))
        later.own = [(at - taken, item) for at, item in self.own if at > taken]
        self.start = min(self.start, taken)
        self.own = [(at, item) for at, item in self.own if at <= taken]
        return later


class Unwritten(NamedTuple):
    """What a member has still to be written apart from the others; `place` if it then has got elsewhere than they.

    `counted`: the items in it, if the member's outlet counts them.
    """

    member: Connection
    data: bytes | list[str]
    place: Place | None
    counted: list[Item] | None = None

    def write(self) -> None:
        if self.counted is None:
            self.member.write(self.data)
        else:
            _write_events(self.member, self.data, self.counted)
        if self.place is not None:
            self.member.place = self.place


class Audience:
    """See the module. `clauses`, `view` and `form` are equal for all members; their notifications are spliced in."""

    __slots__ = (
        "_apart",
        "_before",
        "_common",
        "_counters",
        "_data",
        "_flushed",
        "_left",
        "_patient",
        "_rest",
        "_shares",
        "clauses",
        "form",
        "is_queued",
        "members",
        "overfull",
        "pending",
        "view",
    )

    def __init__(
        self,
        clauses: tuple[Clause, ...],
        view: View,
        form: Format,
        here: Place,
        counters: Counters | None = None,
    ) -> None:
        self.clauses = clauses
        self.view = view
        self.form = form
        self.members: list[Connection] = []
        self.pending: list[Item] = _NONE_PENDING
        self._flushed = here
        """The place of the last item that was flushed, or is being flushed."""
        self._before = here
        """The same before the flush that is under way."""
        self.overfull: list[tuple[Connection, Place]] | None = None
        """Members whose share was too much for one write, and how far each had got: whoever flushes takes them out."""
        self._shares: dict[Connection, Share] | None = None
        self._patient = 0
        """Members whose outlets count what they hand over."""
        self._left = 0
        """Members that a flush has still to write `_data` to: those in the first seats."""
        self._data: bytes | list[str] = b""
        self._common: list[Item] = _NONE_PENDING
        """The items in `_data`."""
        self._rest: list[Unwritten] | None = None
        """What it has still to write to single members, last first."""
        self._counters = Counters() if counters is None else counters
        self._apart: list[Item] = _NONE_PENDING
        """The items in that; counted when the last of them has been written."""
        self.is_queued = False
        """Whether its organization knows that there is something to flush."""

    @property
    def key(self) -> AudienceKey:
        """What members have in common."""
        return self.clauses, self.view, self.form.name

    @property
    def told(self) -> int:
        """How far the cursors went that all members saw, as the sum of both offsets; those who wait for a flush excepted."""
        return self._before.offsets if self._left or self._rest is not None else self._flushed.offsets

    @property
    def waiting(self) -> int:
        """How many items wait to be written, whatever the number of members."""
        own = sum(len(share.own) for share in self._shares.values()) if self._shares is not None else 0
        return len(self.pending) + own + len(self._common) + len(self._apart)

    def offer(self, item: Item) -> bool:
        """Take an event that a clause matches; say whether it is new here (several keys may find one audience)."""
        if self.pending and self.pending[-1] is item:
            return False
        if self.pending is _NONE_PENDING:
            self.pending = [item]
        else:
            self.pending.append(item)
        return True

    def offer_to(self, member: Connection, item: Item) -> None:
        """Take an event that is for this member alone, at its place among the others."""
        self._share(member).own.append((len(self.pending), item))

    def join(self, member: Connection, here: Place) -> None:
        """Let a connection in that has got as far as `here`, the live place. It gets nothing of what is already pending."""
        member.audience = self
        member.place = here
        member.seat = len(self.members)
        self.members.append(member)
        self._patient += _is_patient(member)
        if self.pending:
            self._share(member).start = len(self.pending)

    def leave(self, member: Connection) -> None:
        """Let a connection go, after writing its share of what is pending."""
        self.settle(member)
        self.drop(member)

    def drop(self, member: Connection) -> None:
        """Let a connection go without writing: it is closed."""
        if member.seat < self._left:
            self._excuse(member)
        last = self.members.pop()
        if last is not member:
            self.members[member.seat] = last
            last.seat = member.seat
        self._patient -= _is_patient(member)
        member.audience = None
        if self._shares is not None:
            self._shares.pop(member, None)
        if self._rest is not None:
            self._rest = [unwritten for unwritten in self._rest if unwritten.member is not member]

    def owes(self, member: Connection) -> bool:
        """Say whether anything is still to be written to a member."""
        if self._is_unwritten(member):
            return True
        share = self._shares.get(member) if self._shares is not None else None
        if share is None:
            return bool(self.pending)
        return bool(share.own) or share.start < len(self.pending)

    def handed(self, member: Connection) -> Place:
        """Give how far a member has got that is owed something."""
        flushed = self._before if self._is_unwritten(member) else self._flushed
        own = member.place
        return own if own is not None and own.offsets > flushed.offsets else flushed

    def is_too_much(self, member: Connection) -> bool:
        """Say whether what a member is owed is more than one write should hold."""
        share = self._share(member)
        return sum(len(item.entry.body) for item in self._items(self.pending, share)) > SHARE_BYTES

    def settle(self, member: Connection) -> None:
        """Write one member's share of everything pending now."""
        if member.seat < self._left:
            self._excuse(member)
            member.write(self._data)
            self._counters.written(self._common, 1)
        elif self._rest is not None:
            for place, unwritten in enumerate(self._rest):
                if unwritten.member is member:
                    del self._rest[place]
                    unwritten.write()
                    break
        if self.pending or (self._shares is not None and member in self._shares):
            share = self._share(member)
            items = self._items(self.pending, share)
            share.start = len(self.pending)
            share.own = []
            if items:
                joined = self.form.join(self._chunks(items))
                if _is_patient(member):
                    _write_events(member, joined, items)
                else:
                    member.write(joined)
                    self._counters.written(items, 1)
                member.place = items[-1].place

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write what is pending to all members; say whether all was written before `deadline` (by `clock`, seconds).

        Called again, it goes on where it stopped before it takes up what came in meanwhile.
        """
        if not self._go_on(clock, deadline):
            return False
        if not self.pending and not self._shares:
            return True
        pending, chunks, shares = self._take_piece()
        self._before = self._flushed
        if pending:
            self._data, self._common = self.form.join(chunks), pending
            self._flushed = pending[-1].place
            self._left = len(self.members)
        self._set_apart(pending, shares or {})
        return self._go_on(clock, deadline) and not self.pending and not self._shares

    def _take_piece(self) -> tuple[list[Item], list[Chunk], dict[Connection, Share] | None]:
        """Take from what is pending, and from the shares of it, what fits one write."""
        pending, shares = self.pending, self._shares
        chunks: list[Chunk] = []
        size = 0
        for item in pending:
            chunk = item.chunk(self.form, self._whole(item))
            size += len(chunk)
            if chunks and size > PIECE_BYTES:
                break
            chunks.append(chunk)
        taken = len(chunks)
        self.pending = pending[taken:] if taken < len(pending) else _NONE_PENDING
        self._shares = None
        if self.pending and shares is not None:
            self._shares = {member: share.cut(taken) for member, share in shares.items()}
        return pending[:taken] if self.pending else pending, chunks, shares

    def _go_on(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write what a flush has left; say whether all was written before `deadline`."""
        if self._rest is not None and not self._write_rest(self._rest, clock, deadline):
            return False
        if self._left and not self._write_data(clock, deadline):
            return False
        self._rest = None
        self._data, self._common = b"", _NONE_PENDING
        return True

    def _write_data(self, clock: Callable[[], float], deadline: float) -> bool:
        # The hot loop: nothing per connection but the write. Outlets do not call back (outlet.py), so members cannot change under it.
        members, data, before = self.members, self._data, self._left
        left = before
        while True:
            start = left - WRITES_PER_LOOK if left > WRITES_PER_LOOK else 0
            for member in members[start:left]:
                member.write(data)
            left = start
            if not left or clock() >= deadline:
                self._left = left
                self._counters.written(self._common, before - left)
                return not left

    def _write_rest(self, rest: list[Unwritten], clock: Callable[[], float], deadline: float) -> bool:
        while rest:
            for unwritten in reversed(rest[-WRITES_PER_LOOK:]):
                unwritten.write()
            del rest[-WRITES_PER_LOOK:]
            if clock() >= deadline and (rest or self._left):
                return False
        self._counters.written(self._apart, 1)
        self._apart = _NONE_PENDING
        return True

    def _set_apart(self, pending: list[Item], shares: dict[Connection, Share]) -> None:
        """Take out of those who get what is common to all who get something else, or are counted otherwise."""
        rest: list[Unwritten] = []
        apart: list[Item] = []
        for member, share in shares.items():
            if member.seat < self._left:
                self._excuse(member)
            items = self._items(pending, share)
            if sum(len(item.entry.body) for item in items) > SHARE_BYTES + PIECE_BYTES:
                before = self._before
                own = member.place
                place = own if own is not None and own.offsets > before.offsets else before
                self.overfull = [*(self.overfull or ()), (member, place)]
            elif items:
                joined = self.form.join(self._chunks(items))
                if self._patient and _is_patient(member):
                    rest.append(Unwritten(member, joined, items[-1].place, items))
                else:
                    apart += items
                    rest.append(Unwritten(member, joined, items[-1].place))
        if self._patient:
            for member in [member for member in self.members[: self._left] if _is_patient(member)]:
                self._excuse(member)
                rest.append(Unwritten(member, self._data, None, pending))
        self._apart, self._rest = (apart, rest) if rest else (_NONE_PENDING, None)

    def _excuse(self, member: Connection) -> None:
        """Let a member that has still to be written what is common change seats with the last such, and be none of them any more."""
        self._left -= 1
        last = self.members[self._left]
        self.members[member.seat], last.seat = last, member.seat
        self.members[self._left], member.seat = member, self._left

    def _is_unwritten(self, member: Connection) -> bool:
        """Say whether a flush that is under way has still to write to a member."""
        if member.seat < self._left:
            return True
        return self._rest is not None and any(unwritten.member is member for unwritten in self._rest)

    def _items(self, pending: list[Item], share: Share) -> list[Item]:
        items: list[Item] = []
        place = share.start
        for at, own in share.own:
            items += pending[place:at]
            items.append(own)
            place = at
        items += pending[place:]
        return items

    def _chunks(self, items: list[Item]) -> list[Chunk]:
        return [item.chunk(self.form, self._whole(item)) for item in items]

    def _share(self, member: Connection) -> Share:
        if self._shares is None:
            self._shares = {}
        share = self._shares.get(member)
        if share is None:
            share = self._shares[member] = Share(0)
        return share

    def _whole(self, item: Item) -> bool:
        return self.view is None or sees_whole(self.view, item.entry.keys)


def _write_events(member: Connection, joined: bytes | list[str], items: Sequence[Item]) -> None:
    outlet = member.outlet
    assert isinstance(outlet, PatientOutlet)
    outlet.write_events(joined, [item.accepted_at for item in items])


def _is_patient(member: Connection) -> bool:
    return isinstance(member.outlet, PatientOutlet)
