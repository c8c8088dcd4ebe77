"""Connections of one organization that see the same bytes, and what waits to be written to them.

Owns: members, pending items, and who missed the beginning of them.   Not: when to flush (flush.py), who belongs here (organization.py).
Rule 1: members get what is pending in its order, each item once, and nothing from before they joined (I2).
Rule 2: per event there is one append, whatever the number of members; per turn there is one join and one write per member.
Rule 3: `settle` writes one member's share now; after it, what is told to that member directly stands at its right place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import Chunk, Format
from signtusk_realtime.delivery.item import Item
from signtusk_realtime.events.matching import Clause
from signtusk_realtime.sessions.entitlement import View, sees_whole

AudienceKey = tuple[tuple[Clause, ...], View, str]
WRITES_PER_LOOK: Final = 32
"""Members written to between two looks at the clock."""


class Share:
    """What one member gets of the pending items, where that differs from the others: from `start` on, with items of its own between."""

    __slots__ = ("own", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.own: list[tuple[int, Item]] = []
        """Pairs (place among the pending items, item), in order."""


class Audience:
    """See the module. `clauses`, `view` and `form` are equal for all members; their notifications are spliced in."""

    __slots__ = ("_rest", "_shares", "clauses", "form", "is_queued", "last_offsets", "members", "pending", "view")

    def __init__(self, clauses: tuple[Clause, ...], view: View, form: Format) -> None:
        self.clauses = clauses
        self.view = view
        self.form = form
        self.members: list[Connection] = []
        self.pending: list[Item] = []
        self.last_offsets = 0
        """How far the cursor of the last item flushed went: the sum of both offsets."""
        self._shares: dict[Connection, Share] | None = None
        self._rest: list[tuple[Connection, bytes | list[str]]] | None = None
        """What a flush that ran out of time has still to write, last first."""
        self.is_queued = False
        """Whether its organization knows that there is something to flush."""

    def offer(self, item: Item) -> bool:
        """Take an event that a clause matches; say whether it is new here (several keys may find one audience)."""
        if self.pending and self.pending[-1] is item:
            return False
        self.pending.append(item)
        return True

    def offer_to(self, member: Connection, item: Item) -> None:
        """Take an event that is for this member alone, at its place among the others."""
        self._share(member).own.append((len(self.pending), item))

    def join(self, member: Connection) -> None:
        """Let a connection in. It gets nothing of what is already pending."""
        member.audience = self
        member.seat = len(self.members)
        self.members.append(member)
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
        member.audience = None
        if self._shares is not None:
            self._shares.pop(member, None)
        if self._rest is not None:
            self._rest = [pair for pair in self._rest if pair[0] is not member]

    def settle(self, member: Connection) -> None:
        """Write one member's share of everything pending now."""
        if self._rest is not None:
            for place, (waiting, data) in enumerate(self._rest):
                if waiting is member:
                    del self._rest[place]
                    member.write(data)
                    break
        if self.pending or (self._shares is not None and member in self._shares):
            share = self._share(member)
            chunks = self._chunks(member, self.pending, share)
            share.start = len(self.pending)
            share.own = []
            if chunks:
                member.write(self.form.join(chunks))

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write what is pending to all members; say whether all was written before `deadline` (by `clock`, seconds).

        Called again, it goes on where it stopped before it takes up what came in meanwhile.
        """
        if self._rest is not None and not self._flush_rest(clock, deadline):
            return False
        if not self.pending and not self._shares:
            return True
        shares, self._shares = self._shares, None
        pending, self.pending = self.pending, []
        data: bytes | list[str] | None = None
        if pending:
            data = self.form.join([item.chunk(self.form, self._whole(item)) for item in pending])
            self.last_offsets = pending[-1].offsets
        if shares is None and data is not None:
            return self._write_all(data, clock, deadline)
        self._rest = self._shared_out(pending, data, shares or {})
        return self._flush_rest(clock, deadline)

    def _write_all(self, data: bytes | list[str], clock: Callable[[], float], deadline: float) -> bool:
        # The hot loop: nothing per connection but the write. Outlets do not call back (outlet.py), so members cannot change under it.
        members = self.members
        for start in range(0, len(members), WRITES_PER_LOOK):
            for member in members[start : start + WRITES_PER_LOOK]:
                member.write(data)
            if clock() >= deadline and start + WRITES_PER_LOOK < len(members):
                self._rest = [(member, data) for member in reversed(members[start + WRITES_PER_LOOK :])]
                return False
        return True

    def _flush_rest(self, clock: Callable[[], float], deadline: float) -> bool:
        rest = self._rest
        assert rest is not None
        while rest:
            for member, data in reversed(rest[-WRITES_PER_LOOK:]):
                member.write(data)
            del rest[-WRITES_PER_LOOK:]
            if clock() >= deadline and rest:
                return False
        self._rest = None
        return True

    def _shared_out(
        self, pending: list[Item], data: bytes | list[str] | None, shares: dict[Connection, Share]
    ) -> list[tuple[Connection, bytes | list[str]]]:
        rest: list[tuple[Connection, bytes | list[str]]] = []
        # Nothing shared is pending: only those with items of their own are looked at.
        for member in reversed(self.members) if data is not None else shares:
            share = shares.get(member)
            if share is None:
                assert data is not None
                rest.append((member, data))
                continue
            chunks = self._chunks(member, pending, share)
            if chunks:
                rest.append((member, self.form.join(chunks)))
        return rest

    def _chunks(self, member: Connection, pending: list[Item], share: Share) -> list[Chunk]:
        items: list[Item] = []
        place = share.start
        for at, own in share.own:
            items += pending[place:at]
            items.append(own)
            place = at
        items += pending[place:]
        if items:
            member.told = items[-1].offsets
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
