"""The engine's sink, and the only door through which anything reaches a connection.

Owns: connections of this node, live delivery, heartbeats.   Not: sockets (server), who may do what (sessions), commits (operations).
Rule 1: runs on one loop, synchronously; only `start`, `enter` and `close` wait.
Rule 2 (I0): what is written with a cursor is written after everything the cursor covers.
Rule 3: a connection that cannot take what it is given is left to the log until it can (catch_up.py), so that nothing unbounded waits for it (I3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from signtusk_realtime.delivery.announcer import Announcer
from signtusk_realtime.delivery.catch_up import CatchUp, reads_on_from_within
from signtusk_realtime.delivery.connection import UNTOLD, Connection
from signtusk_realtime.delivery.ephemeral import Ephemeral
from signtusk_realtime.delivery.floors import Floors
from signtusk_realtime.delivery.flush import Flusher
from signtusk_realtime.delivery.following import Following
from signtusk_realtime.delivery.formats import Chunk, Format
from signtusk_realtime.delivery.heartbeats import Heartbeats
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.outlet import Outlet
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.recovery import in_memory
from signtusk_realtime.delivery.tail import Tails
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import (
    CONTROL_LOG,
    ORIGIN_TAG,
    SYSTEM_LOG,
    EngineHealth,
    Entry,
    Epoch,
    LogName,
    Position,
)
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.cursor import Cursor
from signtusk_realtime.protocol.messages import Answer, RecoveryFailure, Resync, Subscribed, encode
from signtusk_realtime.sessions.session import Session

log = logging.getLogger(__name__)


class Hub:
    """See the module. The sink of one engine.

    `heartbeat_interval_s`, `pong_timeout_s`: how often peers are pinged, and how long after that they may be silent.
    `connection_timeout_s`: how long a peer may take none of what waits for it.
    `closed`: called once for each connection that ended, with the close code (None: the peer left).
    `controlled`, `control_lost`, `health_changed`: what is done with entries of the control log, where some were missed, with the engine's health.
    `counters`: where it counts; by default its own.
    `flusher`: when pending items are written; by default at the end of each turn of the loop.
    `replaying`: raises Unavailable while nobody may be shown what lies behind: what this node does not know could forbid it.
    `withholding`: says whether that holds for what happens now too; it then stays in the log until it may be replayed.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        heartbeat_interval_s: float = 30.0,
        pong_timeout_s: float = 10.0,
        connection_timeout_s: float = 300.0,
        tail_bytes: int = 64 << 20,
        closed: Callable[[Connection, CloseCode | None], None] = lambda connection, code: None,
        controlled: Callable[[Epoch, Sequence[Entry]], None] = lambda epoch, entries: None,
        control_lost: Callable[[], None] = lambda: None,
        health_changed: Callable[[EngineHealth], None] = lambda health: None,
        counters: Counters | None = None,
        flusher: Flusher | None = None,
        replaying: Callable[[], None] = lambda: None,
        withholding: Callable[[], bool] = lambda: False,
    ) -> None:
        self.counters = Counters() if counters is None else counters
        self.connections: dict[str, Connection] = {}
        self.divergences = 0
        """How often a log turned out to be another: what was found out about a cursor before may hold no more."""
        self.engine_health = EngineHealth("unavailable", "not started")
        self._engine = engine
        self._closed = closed
        self._controlled = controlled
        self._control_lost = control_lost
        self._withholding = withholding
        self._health_changed = health_changed
        self._tails = Tails(tail_bytes)
        self._floors = Floors(engine, self._tails)
        self._heartbeats = Heartbeats(
            interval_s=heartbeat_interval_s,
            grace_s=pong_timeout_s,
            stalled_s=connection_timeout_s,
            place_of=self.place_of,
            cursor_of=self.cursor_of,
            ended=lambda connection: self.end(connection, codes.CLOSE_HEARTBEAT_TIMEOUT),
        )
        self._system: Position | None = None
        self._following = Following(
            engine,
            system=lambda: self.system,
            forgotten=self._let_go,
            overfull=self._fall_behind,
            counters=self.counters,
        )
        self._catch_up = CatchUp(
            engine,
            self._tails,
            self._floors,
            joined=self._join,
            lost_track=self.resync,
            failed=lambda connection: self.end(connection, codes.CLOSE_INTERNAL),
            counters=self.counters,
            check=replaying,
        )
        self._given_flusher = flusher
        self.ephemeral = Ephemeral(self._following.organizations, self.counters)
        self.is_closed = False

    def _let_go(self, organization_id: str) -> None:
        self._tails.forget(organization_id)
        self._floors.forget(organization_id)

    # ---- its own life

    async def start(self) -> None:
        """Follow the reserved logs and begin heartbeats. The engine was started with this hub as its sink."""
        loop = asyncio.get_running_loop()
        self._flusher: Flusher = self._given_flusher or Flusher(loop.call_soon, loop.time)
        self._announcer = Announcer(self._flusher.wake, self._catch_up.moved)
        top = await self._engine.follow(SYSTEM_LOG)
        if self._system is None:
            self._system = top.position
        await self._engine.follow(CONTROL_LOG)
        self._heartbeats.start()

    async def close(self, code: CloseCode = codes.CLOSE_GOING_AWAY) -> None:
        """End every connection and everything that was begun. The engine is closed by its owner, after this."""
        self.is_closed = True
        for connection in list(self.connections.values()):
            self.end(connection, code)
        self._heartbeats.stop()
        await self._catch_up.close()
        await self._following.close()

    @property
    def system(self) -> Position:
        """How far the system log has been delivered to this node."""
        assert self._system is not None, "start() follows the system log before anything else happens"
        return self._system

    @property
    def pending(self) -> int:
        """How many events wait to be written, once it was started."""
        return self._flusher.pending

    @property
    def catching_up(self) -> int:
        """How many connections could be written more from the log right now."""
        return self._catch_up.waiting

    # ---- the sink

    def appended(self, log: LogName, epoch: Epoch, entries: Sequence[Entry]) -> None:
        """Take entries from the engine and offer each to those it concerns (hops 4 and 5 of ARCHITECTURE.md)."""
        organization = self._following.organizations.get(log)
        before = self._system if log == SYSTEM_LOG else None if organization is None else organization.position
        if before is not None and before.epoch != epoch and log != CONTROL_LOG:
            # The log was erased, and has begun anew.
            self.diverged(log, Position(epoch, entries[0].offset - 1, ORIGIN_TAG))
        if log == SYSTEM_LOG:
            if self._withholding():
                for each in self._following.organizations.values():
                    self._hold_back(each)
            for entry in entries:
                self._system = Position(epoch, entry.offset, entry.tag)
                self._announcer.announce(entry, self._system, list(self._following.organizations.values()))
                self._tails.extend(log, epoch, (entry,))
            self._flusher.wake(self._announcer)
            return
        if log == CONTROL_LOG:
            self._controlled(epoch, entries)
            return
        if organization is None:
            return
        if self._withholding():
            self._hold_back(organization)
        is_wanted = False
        for entry in entries:
            is_wanted |= organization.take(entry, Position(epoch, entry.offset, entry.tag))
        self._tails.extend(log, epoch, entries)
        self._catch_up.moved(organization)
        if is_wanted:
            self._flusher.wake(organization)

    def _hold_back(self, organization: Organization) -> None:
        """Leave everybody to the log, each at his place: catching up waits until it may be shown."""
        for connection in organization.members():
            place = organization.handed(connection)
            organization.drop(connection)
            self._fall_behind(connection, place)

    def diverged(self, log: LogName, common: Position) -> None:
        """Tell every connection that was shown more than is true: completeness can no longer be proven."""
        if log == CONTROL_LOG:
            self._control_lost()
            return
        self.divergences += 1
        self._let_go(log)
        self._catch_up.void()
        if log == SYSTEM_LOG:
            self._announcer.clear()
            self._system = common
            for organization in self._following.organizations.values():
                shown, organization.system = organization.system, common
                self._void(organization, SYSTEM_LOG, shown, common)
            return
        followed = self._following.organizations.get(log)
        if followed is not None and followed.position is not None:
            shown, followed.position = followed.position, common
            self._void(followed, log, shown, common)

    def _void(self, organization: Organization, log: LogName, shown: Position, common: Position) -> None:
        if shown == common:
            return
        begun = [c for c in self.connections_of(organization.organization_id) if c.has_begun]
        concerned = [c for c in begun if not reads_on_from_within(c, log, common)]
        # Ordering: all leave before the first joins again, so that what is pending goes with the audiences.
        for connection in concerned:
            organization.drop(connection)
            connection.is_behind = False
        for connection in concerned:
            self.resync(connection, "diverged")

    def signalled(self, log: LogName, body: bytes) -> None:
        self.ephemeral.signalled(log, body)

    def health(self, health: EngineHealth) -> None:
        self.engine_health = health
        self._health_changed(health)

    # ---- connections

    async def enter(self, organization_id: str) -> Organization:
        """Follow an organization for a connection about to be opened; give it to `open`, or to `forgo`. Raises: Unavailable."""
        return await self._following.hold(organization_id)

    def forgo(self, organization: Organization) -> None:
        """Give back what `enter` gave: the connection was not opened after all."""
        self._following.release(organization)

    def open(
        self,
        connection_id: str,
        session: Session,
        outlet: Outlet,
        form: Format,
        organization: Organization,
        connected_at: int,
    ) -> Connection:
        """Let a connection in. It is told nothing until `send` or `select`. In a closed hub it is ended at once."""
        connection = Connection(connection_id, session, outlet, form, organization, connected_at)
        self.connections[connection_id] = connection
        self._heartbeats.add(connection)
        self.counters.connected(connection.transport)
        if self.is_closed:
            self.end(connection, codes.CLOSE_GOING_AWAY)
        return connection

    def heard(self, connection: Connection) -> None:
        """Note that bytes came in: the peer lives."""
        self._heartbeats.heard(connection)

    def send(self, connection: Connection, answer: Answer, preamble: Chunk | None = None) -> None:
        """Tell one connection something that carries no cursor; `preamble` goes before it, in the same write."""
        message = connection.form.message(encode(answer))
        connection.write(connection.form.join([message] if preamble is None else [preamble, message]))

    def place_of(self, connection: Connection) -> Place:
        """Give how far a connection has got."""
        if connection.is_behind:
            assert connection.place is not None, "who is behind has a place"
            return connection.place
        return connection.organization.handed(connection)

    def cursor_of(self, connection: Connection) -> str:
        """Give the cursor that covers what a connection was handed; the next thing told to it may carry that."""
        # Kept, so that no later cursor goes back behind it: what the audience knows ends at the last event it was written.
        place = connection.place = self.place_of(connection)
        connection.told = place.offsets
        return connection.organization.cursor_at(place)

    def select(self, connection: Connection) -> None:
        """Let what a connection gets follow its session's selection, after what it has still to get by its old one.

        `cursor_of` tells from where that holds: one that is behind, or owed too much to be written at once, reads on from its own place.
        """
        organization = connection.organization
        if connection.is_behind:
            return
        audience = connection.audience
        if audience is not None and audience.owes(connection) and audience.is_too_much(connection):
            place = organization.handed(connection)
            organization.drop(connection)
            self._fall_behind(connection, place)
            return
        self._join(connection)

    def find_place(self, organization: Organization, cursor: Cursor) -> Place | RecoveryFailure | None:
        """Give the place that a cursor names, or why it cannot be continued, if memory tells; None if the engine must be asked.

        What retention took may still be in memory, so a tail tells only while its floor is known (`learn_floors`).
        """
        return in_memory(organization, cursor, self._tails, self._floors)

    async def learn_floors(self, organization: Organization) -> None:
        """Make known what retention took, so that `find_place` can tell. Raises: Unavailable."""
        await self._floors.learn(LogName(organization.organization_id))
        await self._floors.learn(SYSTEM_LOG)

    def resume(self, connection: Connection, place: Place) -> None:
        """Let a connection get what follows `place` and then live events, by its session's selection."""
        connection.told = place.offsets
        self.counters.resumes += 1
        connection.organization.drop(connection)
        self._fall_behind(connection, place)

    def resync(self, connection: Connection, reason: str) -> None:
        """Tell a connection to reload its state, and let it go on from the live place."""
        self.counters.resyncs += 1
        self._join(connection)
        answer = Resync(reason=reason, cursor=self.cursor_of(connection))
        connection.write(connection.form.join([connection.form.message(encode(answer), answer.cursor)]))

    def _join(self, connection: Connection) -> None:
        organization, selection = connection.organization, connection.session.selection
        if connection.is_paused:
            organization.drop(connection)
            self._fall_behind(connection, organization.here)
        elif selection.clauses or selection.notifications_of is not None:
            organization.select(connection, selection)
        else:
            organization.leave(connection)
        connection.told = UNTOLD

    def _fall_behind(self, connection: Connection, place: Place) -> None:
        connection.place = place
        connection.is_behind = True
        self.counters.catch_ups += 1
        self._catch_up.begin(connection)

    def subscribed(self, connection: Connection, answer: Subscribed) -> None:
        """Tell a connection that `select` was done, before any event by it."""
        form = connection.form
        connection.has_begun = True
        connection.write(form.join([form.message(encode(answer), answer.cursor)]))

    def settle(self, connection: Connection) -> bool:
        """Write what a connection is owed at once, if that is not too much; say whether it now has everything up to the live place."""
        audience = connection.audience
        if not connection.is_behind and audience is not None and audience.owes(connection):
            self.select(connection)
        return not connection.is_behind

    def end(self, connection: Connection, code: CloseCode, reason: str = "") -> None:
        """Close a connection from our side, after writing nothing more to it."""
        if connection.is_open:
            self._forget(connection)
            self.counters.closed(code.number)
            connection.outlet.close(code.number, reason or code.name)
            self._closed(connection, code)

    def lost(self, connection: Connection) -> None:
        """Note that the peer is gone."""
        if connection.is_open:
            self._forget(connection)
            self.counters.closed(None)
            self._closed(connection, None)

    def paused(self, connection: Connection) -> None:
        """Note that a connection's outlet is full: until it has drained, its events stay in the log."""
        if not connection.is_open or connection.is_paused:
            return
        connection.is_paused = True
        self._heartbeats.progress.watch(connection)
        if connection.audience is not None:
            place = connection.organization.handed(connection)
            connection.organization.drop(connection)
            self._fall_behind(connection, place)

    def drained(self, connection: Connection) -> None:
        """Note that a connection's outlet has room again: the peer lives, though its answers were not read meanwhile."""
        connection.is_paused = False
        self.heard(connection)
        if connection.is_open:
            self._catch_up.begin(connection)

    def connections_of(self, organization_id: str) -> Iterator[Connection]:
        """Give the open connections of an organization."""
        return (c for c in list(self.connections.values()) if c.organization.organization_id == organization_id)

    def _forget(self, connection: Connection) -> None:
        connection.is_open = False
        del self.connections[connection.connection_id]
        self.counters.disconnected(connection.transport, len(connection.session.subscriptions))
        self._heartbeats.remove(connection)
        self._catch_up.forget(connection)
        connection.organization.drop(connection)
        self._following.release(connection.organization)
