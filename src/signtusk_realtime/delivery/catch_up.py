"""Bring connections that are behind up to the live place: after a resume, and after an outlet that was full.

Owns: reading a connection's entries from the tail or the engine, from its own place, until it can join live delivery.
Not: live delivery (organization.py), whether a cursor can be continued at all (recovery.py), sockets.
Rule 1 (I0): a place moves only past what was written to its connection or is not for it.
Rule 2 (I2): the last step, from the log to the audience, is one step of the loop: nothing is lost or doubled between the two.
Rule 3: a few connections at a time, in pages, with a turn of the loop after each: live work goes first.
Rule 4: what is read beyond the live place is not looked at: it has not been delivered to this node, or not to this organization, yet.
Rule 5: nobody joins a history that is not the one he was shown: a place that this node had not come to is looked up when it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.encoded import Encoded, Page
from signtusk_realtime.delivery.floors import Floors
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.outlet import PatientOutlet
from signtusk_realtime.delivery.outlined import Outlined
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.recovery import continued
from signtusk_realtime.delivery.tail import OUTLINE_BYTES, OUTLINE_PART, Tail, Tails
from signtusk_realtime.delivery.withheld import Withheld
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import SYSTEM_LOG, Entry, Epoch, LogName, Position, Top
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.protocol.cursor import Cursor
from signtusk_realtime.sessions.entitlement import sees_whole

AT_A_TIME: Final = 4
PAGE_BYTES: Final = 64 << 10
"""Written to one connection between two turns of the loop, but for a single larger event."""
READ_BYTES: Final = 256 << 10
"""Read from the engine at once."""
FILL_BYTES: Final = 8 << 20
"""Of what is read to fill a cold tail at most this much is kept whole; of the rest memory keeps who wants it."""
KEPT_S: Final = 1.0
"""How long what was encoded is kept after the last has caught up: those who come back in a storm do so one by one."""
OUTLINED_AT_A_TIME: Final = 64
"""How many entries that memory knows by their keys alone are read between two turns of the loop."""
RETRY_S: Final = 1.0
log = logging.getLogger(__name__)


class CatchUp:
    """See the module. `joined` puts a connection into live delivery, `lost_track` tells it to reload (reason).

    `failed` ends a connection for which reading on failed by an error of ours. `check` raises while nothing may be replayed (Unavailable).
    """

    def __init__(
        self,
        engine: Engine,
        tails: Tails,
        floors: Floors,
        *,
        joined: Callable[[Connection], None],
        lost_track: Callable[[Connection, str], None],
        failed: Callable[[Connection], None],
        counters: Counters,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._withheld = Withheld(check, self.begin)
        self._engine = engine
        self._tails = tails
        self._floors = floors
        self._joined = joined
        self._lost_track = lost_track
        self._failed = failed
        self._counters = counters
        self._waiting: deque[Connection] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work = 0
        """Workers that have not found the queue empty yet."""
        self._retries: set[asyncio.TimerHandle] = set()
        self._fills: dict[LogName, asyncio.Future[None]] = {}
        self._letting_go: asyncio.TimerHandle | None = None
        self._unfillable: set[LogName] = set()
        """Logs whose tail could not be filled, while anybody catches up."""
        self._outlined = Outlined(engine)
        self._encoded = Encoded()
        self._ahead: dict[Organization, dict[Connection, None]] = {}
        """Those who have seen elsewhere what is on its way to this node."""
        self._unproven: set[Connection] = set()
        """Those of them whose place has still to be found in what came."""
        self._voids = 0

    @property
    def waiting(self) -> int:
        """How many connections wait to be read for; those whose outlet is full are none of them."""
        return len(self._waiting)

    def begin(self, connection: Connection) -> None:
        """Read on for a connection that is behind. Cheap to call again."""
        if connection.is_catching_up or connection.is_paused or not connection.is_behind:
            return
        connection.is_catching_up = True
        self._waiting.append(connection)
        if self._at_work < AT_A_TIME:
            self._at_work += 1
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def moved(self, organization: Organization) -> None:
        """Note that more of a log has come to an organization. Cheap: nobody waits for that as a rule."""
        if self._ahead:
            for connection in self._ahead.pop(organization, ()):
                self.begin(connection)

    def forget(self, connection: Connection) -> None:
        """Read on for it no more: it is closed."""
        self._unproven.discard(connection)
        self._withheld.forget(connection)
        waiting = self._ahead.get(connection.organization) if self._ahead else None
        if waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._ahead[connection.organization]

    async def close(self) -> None:
        """Stop reading; every connection has been closed."""
        self._waiting.clear()
        self._ahead.clear()
        self._withheld.stop()
        for timer in self._retries:
            timer.cancel()
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._letting_go is not None:
            self._letting_go.cancel()
        self._let_go()

    async def _work(self) -> None:
        while self._waiting:
            connection = self._waiting.popleft()
            try:
                goes_on = await self._bring_on(connection)
            except RealtimeError as error:
                goes_on = False
                log.warning("catching up waits for the log", extra={"reason": error.message})
                self._retry(connection, RETRY_S)
            except Exception:
                goes_on = False
                log.exception("catching up failed", extra={"connection": connection.connection_id})
                self._failed(connection)
            if goes_on:
                # Behind all others: who is far behind does not keep those waiting who miss one event.
                self._waiting.append(connection)
            else:
                connection.is_catching_up = False
            await asyncio.sleep(0)
        self._at_work -= 1
        if not self._at_work and self._letting_go is None:
            self._letting_go = asyncio.get_running_loop().call_later(KEPT_S, self._let_go)

    def _let_go(self) -> None:
        """Give up what was kept for others, if nobody catches up."""
        self._letting_go = None
        if not self._at_work:
            self._encoded.clear()
            self._unfillable.clear()
            self._outlined.clear()

    def void(self) -> None:
        """Let go of everything that was read before, or is being read: a log turned out to be another than it was."""
        self._voids += 1
        self._encoded.clear()
        self._outlined.clear()

    def _retry(self, connection: Connection, after_s: float) -> None:
        def again() -> None:
            self._retries.discard(timer)
            if connection.is_open:
                self.begin(connection)

        timer = asyncio.get_running_loop().call_later(after_s, again)
        self._retries.add(timer)

    async def _bring_on(self, connection: Connection) -> bool:
        """Write one page, and join where that was the last; say whether there is more to do for it now."""
        if not _is_wanting(connection) or not self._withheld.is_free(connection):
            return False
        organization, place = connection.organization, connection.place
        assert place is not None, "who is behind has a place"
        here = organization.here
        if connection in self._unproven and not _is_ahead(place, here) and not await self._prove(connection, place):
            return False
        if place.system.offset < here.system.offset:
            await self._advance(connection, place, SYSTEM_LOG, place.system)
        elif place.organization.offset < here.organization.offset:
            await self._advance(connection, place, LogName(organization.organization_id), place.organization)
        # Rule 2: nothing is awaited between this look and the joining.
        if not _is_wanting(connection):
            return False
        here, place = organization.here, connection.place
        assert place is not None, "who is behind has a place"
        if place.system.offset < here.system.offset or place.organization.offset < here.organization.offset:
            return True
        if place.offsets > here.offsets:
            # The client got this far elsewhere, and this node has still to hear of it: `moved` goes on.
            self._ahead.setdefault(organization, {})[connection] = None
            self._unproven.add(connection)
        else:
            connection.is_behind = False
            self._joined(connection)
        return False

    async def _prove(self, connection: Connection, place: Place) -> bool:
        """Find out whether the place that somebody brought from elsewhere is in the log that came; if not, he is told."""
        found = await continued(
            self._engine, connection.organization.organization_id, Cursor(place.organization, place.system)
        )
        if _is_elsewhere(connection, place):
            return False
        self._unproven.discard(connection)
        if isinstance(found, str):
            self._lose_track(connection, found)
            return False
        return True

    async def _advance(self, connection: Connection, place: Place, name: LogName, position: Position) -> None:
        """Write one page of one log and move on. Where the tail does not reach back, the page comes from the engine."""
        await self._floors.learn(name)
        if _is_elsewhere(connection, place):
            return
        tail = self._tails.of(name)
        live = _live(connection, name)
        if tail is not None and _serves(tail, position, live):
            selection, form = connection.session.selection, connection.form
            key = (connection.organization.organization_id, name, place, live, selection, form.name)
            page = self._encoded.page(key)
            if page is not None:
                self._hand_over(connection, page)
                return
            wanted, looked = tail.find_outlined(selection, position.offset, OUTLINED_AT_A_TIME)
            if wanted and wanted[0] <= live.offset:
                wanted = [offset for offset in wanted if offset <= live.offset]
                looked_up = await self._outlined.read(name, position.epoch, wanted, PAGE_BYTES)
                # Who subscribed, unsubscribed or was renewed meanwhile wants, or may see, something else: the next round decides anew.
                if _is_elsewhere(connection, place) or connection.session.selection is not selection:
                    return
                if looked_up:
                    self._hand_over(connection, self._page(connection, place, name, looked_up, looked_up[-1]))
                    return
                # Retention took it meanwhile, or the log is another: the engine's own answer tells which.
                await self._read_page(connection, place, name, position)
                return
            if looked + 1 < tail.whole_from:
                # Nothing of many: others have their turn before one looks on.
                entries, reached = list[Entry](), tail.at(looked)
            else:
                entries, reached = tail.find(selection, position.offset, PAGE_BYTES)
            if reached is not None and reached.offset > live.offset:
                # Announcements are offered to organizations one by one; this one has not come to all that the node knows.
                entries = [entry for entry in entries if entry.offset <= live.offset]
                reached = tail.at(live.offset)
            page = self._page(connection, place, name, entries, reached)
            self._encoded.keep(key, page)
            self._hand_over(connection, page)
            return
        if self._may_fill(name, _live(connection, name).offset - position.offset) and await self._fill(name, position):
            return
        await self._read_page(connection, place, name, position)

    async def _read_page(self, connection: Connection, place: Place, name: LogName, position: Position) -> None:
        page = await self._engine.read(name, position.offset, READ_BYTES)
        if _is_elsewhere(connection, place):
            return
        if page.top.epoch != position.epoch or page.top.offset <= position.offset:
            self._lose_track(connection, "epoch")
        elif page.top.floor_offset > position.offset:
            self._lose_track(connection, "expired")
        else:
            live = _live(connection, name)
            entries = [entry for entry in page.entries if entry.offset <= live.offset]
            wants = connection.session.selection.matcher()
            matching = [entry for entry in entries if wants(entry.keys)]
            reached = entries[-1] if entries else None
            self._hand_over(connection, self._page(connection, place, name, matching, reached))

    def _lose_track(self, connection: Connection, reason: str) -> None:
        connection.is_behind = False
        self._unproven.discard(connection)
        self._lost_track(connection, reason)

    async def _fill(self, name: LogName, position: Position) -> bool:
        """Fill a cold tail back to `position`, once for all who wait for it; say whether to look again."""
        under_way = self._fills.get(name)
        if under_way is not None:
            await asyncio.shield(under_way)
            return True
        done = self._fills[name] = asyncio.get_running_loop().create_future()
        try:
            return await self._read_into_tail(name, position)
        finally:
            del self._fills[name]
            done.set_result(None)

    def _may_fill(self, name: LogName, missed: int) -> bool:
        """Say whether a tail may be filled with that many entries."""
        return name not in self._unfillable and missed * OUTLINE_BYTES <= OUTLINE_PART * self._tails.budget_bytes

    async def _read_into_tail(self, name: LogName, position: Position) -> bool:
        filling, after, voids = Tail(position.epoch), position.offset, self._voids
        most_bytes = min(FILL_BYTES, self._tails.budget_bytes // 4)
        while True:
            page = await self._engine.read(name, after, READ_BYTES)
            if page.top.epoch != position.epoch or page.top.floor_offset > after:
                return False
            for entry in page.entries:
                filling.append(entry)
            while filling.whole_bytes > most_bytes:
                filling.outline_oldest()
            after = page.entries[-1].offset if page.entries else page.top.offset
            known = self._tails.of(name)
            if known is not None and _meets(known, position.epoch, after, page.top):
                break
            if after >= page.top.offset:
                break
            await asyncio.sleep(0)
        if voids != self._voids:
            return True
        if self._tails.fill(name, filling, position.offset):
            return True
        self._unfillable.add(name)
        return False

    def _page(
        self, connection: Connection, place: Place, name: LogName, entries: list[Entry], reached: Entry | None
    ) -> Page:
        """Put these entries together, each with its own cursor, for a connection at `place`."""
        to = None if reached is None else _moved(place, name, reached)
        if not entries:
            return Page(None, 0, 0, to)
        form, view, organization = connection.form, connection.session.selection.view, connection.organization
        chunks = [
            self._encoded.item(organization, name, _moved(place, name, entry), entry).chunk(
                form, sees_whole(view, entry.keys)
            )
            for entry in entries
        ]
        return Page(form.join(chunks), len(entries), _moved(place, name, entries[-1]).offsets, to)

    def _hand_over(self, connection: Connection, page: Page) -> None:
        """Write a page, and move the connection's place."""
        if page.joined is not None:
            outlet = connection.outlet
            if isinstance(outlet, PatientOutlet):
                outlet.write_events(page.joined, [None] * page.events, is_from_log=True)
            else:
                connection.write(page.joined)
                self._counters.read_from_log(page.events)
            connection.told = page.told
        if page.reached is not None:
            connection.place = page.reached


def reads_on_from_within(connection: Connection, name: LogName, common: Position) -> bool:
    """Say whether a connection is behind and was shown nothing of a log above `common`. What is being read for it right now is dropped."""
    place = connection.place
    if not connection.is_behind or place is None:
        return False
    reached = place.system if name == SYSTEM_LOG else place.organization
    if reached.epoch != common.epoch or reached.offset > common.offset:
        return False
    # The same place, but another object: `_is_elsewhere` goes by that.
    connection.place = Place(*place)
    return True


def _is_wanting(connection: Connection) -> bool:
    """Say whether it can be read on for a connection now."""
    return connection.is_open and connection.is_behind and not connection.is_paused


def _is_elsewhere(connection: Connection, place: Place) -> bool:
    """Say whether a connection was closed or moved while the log was asked."""
    return not connection.is_open or connection.place is not place


def _is_ahead(place: Place, here: Place) -> bool:
    """Say whether a place is one that this node has not come to."""
    return place.system.offset > here.system.offset or place.organization.offset > here.organization.offset


def _serves(tail: Tail, position: Position, live: Position) -> bool:
    """Say whether a tail knows everything from a place to the live one: one left from an earlier following may end before it."""
    return tail.epoch == position.epoch and tail.knows_after(position.offset) and tail.last.offset >= live.offset


def _meets(tail: Tail, epoch: Epoch, read_to: int, top: Top) -> bool:
    """Say whether a tail knows everything from where one has read to up to the top."""
    return tail.epoch == epoch and tail.first - 1 <= read_to and tail.last.offset >= top.offset


def _live(connection: Connection, name: LogName) -> Position:
    here = connection.organization.here
    return here.system if name == SYSTEM_LOG else here.organization


def _moved(place: Place, name: LogName, entry: Entry) -> Place:
    if name == SYSTEM_LOG:
        return Place(place.organization, Position(place.system.epoch, entry.offset, entry.tag))
    return Place(Position(place.organization.epoch, entry.offset, entry.tag), place.system)
