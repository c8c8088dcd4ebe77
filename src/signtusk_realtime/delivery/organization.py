"""One organization's live side on this node: where its logs stand, and who wants what of them.

Owns: the live position, audiences, the index, personal keys.   Not: entries (tail.py, engines), sockets, timing (flush.py).
Rule 1: the position moves only here, entry by entry, in the same step in which the entry is offered to the audiences (I0).
Rule 2: every connection of an organization is in at most one audience, so one order holds for all it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from signtusk_realtime.delivery.audience import Audience, AudienceKey
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.index import Index
from signtusk_realtime.delivery.item import Item
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.log import Entry, Position
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.protocol.cursor import CursorWriter, encode
from signtusk_realtime.sessions.entitlement import Selection

if TYPE_CHECKING:
    from signtusk_realtime.delivery.people import Person


class Organization:
    """See the module. `position` is None until its log is followed."""

    __slots__ = (
        "_audiences",
        "_counters",
        "_here",
        "_index",
        "_overfull",
        "_queued",
        "_readers",
        "_writer",
        "attendance",
        "holders",
        "is_awake",
        "organization_id",
        "people",
        "position",
        "system",
    )

    def __init__(
        self,
        organization_id: str,
        system: Position,
        overfull: Callable[[Connection, Place], None],
        counters: Counters | None = None,
    ) -> None:
        self.organization_id = organization_id
        self.position: Position | None = None
        self.system = system
        """How far announcements have been offered here; the node's system position may be ahead while they are paced."""
        self.holders = 0
        """Connections, and connections about to be."""
        self.is_awake = False
        """Whether the flusher knows of it."""
        self.people: Connection | dict[str, Connection | Person] | None = None
        """Who is connected to this node (people.py)."""
        self.attendance = 0
        """The number under which other nodes were told of them last; 0: never, or that there are none."""
        self._overfull = overfull
        """Told of connections whose share was too much for one write, after they were taken out."""
        self._counters = Counters() if counters is None else counters
        self._here: Place | None = None
        self._audiences: Audience | dict[AudienceKey, Audience] | None = None
        """As a rule there is one or none: a dictionary is made for the second."""
        self._index = Index()
        self._readers: dict[str, list[Connection]] | None = None
        """By user: the connections that want that user's notifications."""
        self._queued: list[Audience] | None = None
        self._writer: CursorWriter | None = None
        """Kept only where events come: an organization at rest costs less without."""

    @property
    def live(self) -> Position:
        assert self.position is not None, "the log is followed before anybody is let in"
        return self.position

    @property
    def here(self) -> Place:
        """The live place: that of every live connection that has been written everything pending."""
        here = self._here
        if here is None or here.organization is not self.position or here.system is not self.system:
            here = self._here = Place(self.live, self.system)
        return here

    def cursor_at(self, place: Place) -> str:
        """Write a place as a cursor of this organization."""
        return encode(self.organization_id, place.organization, place.system)

    def handed(self, connection: Connection) -> Place:
        """Give how far a live connection has got."""
        audience = connection.audience
        if audience is None or not audience.owes(connection):
            return self.here
        return audience.handed(connection)

    def begin(self, top: Position) -> None:
        """Take what `follow` answered; entries that came in meanwhile have moved the position on already."""
        here = self.position
        if here is None or here.epoch != top.epoch or here.offset < top.offset:
            self.position = top

    def take(self, entry: Entry, position: Position) -> bool:
        """Move on by one entry of the organization's log and offer it; say whether anybody wants it."""
        self.position = position
        return self._offer(entry)

    def take_announcement(self, entry: Entry, position: Position) -> bool:
        """Move on by one entry of the system log and offer it; say whether anybody wants it."""
        self.system = position
        return self._offer(entry)

    def _offer(self, entry: Entry) -> bool:
        item: Item | None = None
        for audience in self._index.find(entry.keys):
            item = item or self._item(entry)
            if audience.offer(item):
                self._queue(audience)
        if self._readers is not None and entry.keys[0] == "notification":
            for reader in self._readers_of(entry.keys):
                item = item or self._item(entry)
                assert reader.audience is not None, "a reader is in an audience, if only one without clauses"
                reader.audience.offer_to(reader, item)
                self._queue(reader.audience)
        return item is not None

    def wanting(self, keys: Sequence[str]) -> Iterator[Audience]:
        """Give the audiences that an event with these matching keys concerns, notifications apart; one may come up more than once."""
        return self._index.find(keys)

    def _item(self, entry: Entry) -> Item:
        if self._writer is None:
            self._writer = CursorWriter(self.organization_id, self.system)
        if self._writer.system is not self.system:
            self._writer.move_system(self.system)
        self._counters.events += 1
        accepted_at = self._counters.accepted.get(entry.event_id)
        return Item(entry, self._writer.text(self.position), self.here, accepted_at)

    def _queue(self, audience: Audience) -> None:
        if not audience.is_queued:
            audience.is_queued = True
            if self._queued is None:
                self._queued = [audience]
            else:
                self._queued.append(audience)

    def _readers_of(self, keys: tuple[str, ...]) -> list[Connection]:
        assert self._readers is not None
        return next((self._readers.get(key[2:], []) for key in keys[1:] if key[0] == "u"), [])

    def select(self, connection: Connection, selection: Selection) -> None:
        """Put a connection into the audience of this selection, after writing what it still has to get by its old one."""
        self.leave(connection)
        audience = self._audience_of(selection, connection)
        audience.join(connection, self.here)
        if selection.notifications_of is not None:
            if self._readers is None:
                self._readers = {}
            self._readers.setdefault(selection.notifications_of, []).append(connection)

    def _audience_of(self, selection: Selection, connection: Connection) -> Audience:
        key = (selection.clauses, selection.view, connection.form.name)
        known = self._audiences
        if isinstance(known, dict):
            audience = known.get(key)
        else:
            audience = known if known is not None and known.key == key else None
        if audience is None:
            audience = Audience(selection.clauses, selection.view, connection.form, self.here, self._counters)
            self._index.add(audience)
            if isinstance(known, dict):
                known[key] = audience
            else:
                self._audiences = audience if known is None else {known.key: known, key: audience}
        return audience

    def members(self) -> list[Connection]:
        """Give everybody whom events are delivered to live."""
        audiences = self._audiences
        if isinstance(audiences, dict):
            return [connection for audience in audiences.values() for connection in audience.members]
        return [] if audiences is None else list(audiences.members)

    def leave(self, connection: Connection) -> None:
        """Take a connection out of live delivery, after writing what it still has to get."""
        if connection.audience is not None:
            connection.audience.settle(connection)
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Take a connection out without writing: it is closed."""
        audience = connection.audience
        if audience is None:
            return
        audience.drop(connection)
        user_id = connection.session.identity.user_id
        if self._readers is not None and connection in self._readers.get(user_id, ()):
            self._readers[user_id].remove(connection)
            if not self._readers[user_id]:
                del self._readers[user_id]
        if not audience.members:
            self._index.remove(audience)
            if isinstance(self._audiences, dict):
                del self._audiences[audience.key]
            else:
                self._audiences = None

    @property
    def pending(self) -> int:
        """How many events wait to be written, counted once per audience."""
        return sum(audience.waiting for audience in self._queued or ())

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write what is pending; say whether all was written before `deadline`."""
        queued = self._queued or []
        for place, audience in enumerate(queued):
            is_done = (not place or clock() < deadline) and audience.flush(clock, deadline)
            if audience.overfull is not None:
                overfull, audience.overfull = audience.overfull, None
                for connection, got in overfull:
                    self.drop(connection)
                    self._overfull(connection, got)
            if not is_done:
                self._queued = queued[place:]
                return False
            audience.is_queued = False
        self._queued = None
        return True
