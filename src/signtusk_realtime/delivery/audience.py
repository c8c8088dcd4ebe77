"""Connections of one organization that see the same bytes, and what waits to be written to them.

Owns: members, pending items, and who missed the beginning of them.   Not: when to flush (flush.py), who belongs here (organization.py).
Rule 1: members get what is pending in its order, each item once, and nothing from before they joined (I2).
Rule 2: per event there is one append, whatever the number of members; per turn there is one join and one write per member.
Rule 3: `settle` writes one member's share now; after it, what is told to that member directly stands at its right place.
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
    """What a member has still to be written; `place` if it then has got elsewhere than the others.

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
        "_before",
        "_counters",
        "_flushed",
        "_patient",
        "_rest",
        "_shares",
        "_uncounted",
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
        self._rest: list[Unwritten] | None = None
        """What a flush that ran out of time has still to write, last first."""
        self._counters = Counters() if counters is None else counters
        self._uncounted: tuple[tuple[list[Item], int], ...] = ()
        """Of that: items, and to how many members they go; counted when the last of them has been written."""
        self.is_queued = False
        """Whether its organization knows that there is something to flush."""

    @property
    def key(self) -> AudienceKey:
        """What members have in common."""
        return self.clauses, self.view, self.form.name

    @property
    def told(self) -> int:
        """How far the cursors went that all members saw, as the sum of both offsets; those who wait for a flush excepted."""
        return self._flushed.offsets if self._rest is None else self._before.offsets

    @property
    def waiting(self) -> int:
        """How many items wait to be written, whatever the number of members."""
        own = sum(len(share.own) for share in self._shares.values()) if self._shares is not None else 0
        return len(self.pending) + own + sum(len(items) for items, _ in self._uncounted)

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
        if self._rest is not None and any(unwritten.member is member for unwritten in self._rest):
            return True
        share = self._shares.get(member) if self._shares is not None else None
        if share is None:
            return bool(self.pending)
        return bool(share.own) or share.start < len(self.pending)

    def handed(self, member: Connection) -> Place:
        """Give how far a member has got that is owed something."""
        flushed = self._flushed
        if self._rest is not None and any(unwritten.member is member for unwritten in self._rest):
            flushed = self._before
        own = member.place
        return own if own is not None and own.offsets > flushed.offsets else flushed

    def is_too_much(self, member: Connection) -> bool:
        """Say whether what a member is owed is more than one write should hold."""
        share = self._share(member)
        return sum(len(item.entry.body) for item in self._items(self.pending, share)) > SHARE_BYTES

    def settle(self, member: Connection) -> None:
        """Write one member's share of everything pending now."""
        if self._rest is not None:
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
        if self._rest is not None and not self._flush_rest(clock, deadline):
            return False
        if not self.pending and not self._shares:
            return True
        pending, chunks, shares = self._take_piece()
        data: bytes | list[str] | None = None
        self._before = self._flushed
        if pending:
            data = self.form.join(chunks)
            self._flushed = pending[-1].place
        if shares is None and data is not None and not self._patient:
            return self._write_all(pending, data, clock, deadline) and not self.pending
        self._rest = self._shared_out(pending, data, shares or {})
        return self._flush_rest(clock, deadline) and not self.pending and not self._shares

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

    def _write_all(
        self, pending: list[Item], data: bytes | list[str], clock: Callable[[], float], deadline: float
    ) -> bool:
        # The hot loop: nothing per connection but the write. Outlets do not call back (outlet.py), so members cannot change under it.
        members = self.members
        for start in range(0, len(members), WRITES_PER_LOOK):
            for member in members[start : start + WRITES_PER_LOOK]:
                member.write(data)
            if clock() >= deadline and start + WRITES_PER_LOOK < len(members):
                self._rest = [Unwritten(member, data, None) for member in reversed(members[start + WRITES_PER_LOOK :])]
                self._counters.written(pending, start + WRITES_PER_LOOK)
                self._uncounted = ((pending, len(self._rest)),)
                return False
        self._counters.written(pending, len(members))
        return True

    def _flush_rest(self, clock: Callable[[], float], deadline: float) -> bool:
        rest = self._rest
        assert rest is not None
        while rest:
            for unwritten in reversed(rest[-WRITES_PER_LOOK:]):
                unwritten.write()
            del rest[-WRITES_PER_LOOK:]
            if clock() >= deadline and rest:
                return False
        self._rest = None
        for items, members in self._uncounted:
            self._counters.written(items, members)
        self._uncounted = ()
        return True

    def _shared_out(
        self, pending: list[Item], data: bytes | list[str] | None, shares: dict[Connection, Share]
    ) -> list[Unwritten]:
        rest: list[Unwritten] = []
        apart: list[Item] = []
        in_common = 0
        # Nothing shared is pending: only those with items of their own are looked at.
        for member in reversed(self.members) if data is not None else shares:
            share = shares.get(member)
            if share is None:
                assert data is not None
                is_patient = bool(self._patient) and _is_patient(member)
                in_common += not is_patient
                rest.append(Unwritten(member, data, None, pending if is_patient else None))
                continue
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
        self._uncounted = ((pending, in_common), (apart, 1))
        return rest

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
