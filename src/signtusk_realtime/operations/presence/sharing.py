"""Who is there on which node.

Owns: this node's record in each organization's log, what other nodes' records and messages say, and whether those nodes still live.
Not: who is connected here (delivery/people.py), what clients are told (watch.py, presence.py).
Rule 1: one record for an organization and node, written at most once a second whatever happens meanwhile, and more seldom if it is large.
Rule 2: a record counts while its node is among the living, so that a killed node's people are gone when its heartbeats are missed; one that
leaves says until when its people count, for they come back on another.
Rule 3: the records are the truth, messages only make it quicker: each names the one before it; a gap, and now and then nothing at all, leads to
reading the records.
Rule 4: who has an engine to himself writes no record and tells nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from signtusk_realtime.cluster.registry import LAST_KEY, Registry
from signtusk_realtime.delivery import people
from signtusk_realtime.delivery.ephemeral import between_nodes
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import Commit, Key, LogName, Range, Record
from signtusk_realtime.operations.presence.agenda import Agenda
from signtusk_realtime.operations.presence.shared import (
    PRESENCE,
    PUBLISHED,
    Attendance,
    Change,
    Publication,
    attendance_of,
    encode,
    published_of,
    telling_of,
)
from signtusk_realtime.operations.presence.watch import Watch
from signtusk_realtime.sessions.presence import Declared, Seen

log = logging.getLogger(__name__)

FIRST_S: Final = 0.05
"""How long the first change waits for others that come with it."""
PACE_S: Final = 1.0
BYTES_PER_S: Final = 256 << 10
"""A record is written no more often than this comes to."""
LOOK_S: Final = 0.5
RECHECK_S: Final = 20.0
RETRY_S: Final = 1.0
KEPT_MS: Final = 3_600_000
"""How long the record of a node is kept that nobody renews: long after its people count no more."""
MOST_CHANGES: Final = 500
"""In one message; beyond it others read the record."""
MOST_READ: Final = 10_000
AT_ONCE: Final = 32
"""Records read or written at the same time."""
FAREWELL_S: Final = 2.0
RECORDS: Final = (Range(PRESENCE, "", LAST_KEY, MOST_READ), Range(PUBLISHED, "", LAST_KEY, MOST_READ))


class _Own:
    """This node's record in one organization, while something is to be written, and for a moment after."""

    __slots__ = ("number", "organization", "is_planned", "size", "users", "written_at")

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.users: set[str] | None = None
        """Who changed since it was written."""
        self.number = organization.attendance
        self.size = 0
        self.written_at = float("-inf")
        self.is_planned = False

    def take(self) -> set[str]:
        """Give who changed since it was written, and forget it."""
        users, self.users = self.users, None
        return set() if users is None else users


class Sharing:
    """See the module. `watches`: organizations whose presence is followed here, by id; `organizations`: all that this node holds; `news`: called for one that has some. `leave_s`: as in Presence.

    `is_cut_off`: whether this node cannot see the others, so that it knows of nobody that he is gone.
    """

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        agenda: Agenda,
        watches: dict[str, Watch],
        organizations: Mapping[str, Organization],
        news: Callable[[Watch], None],
        *,
        leave_s: float,
        is_cut_off: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._agenda = agenda
        self._watches = watches
        self._news = news
        self._leave_s = leave_s
        self._is_cut_off = is_cut_off
        self._organizations = organizations
        self._own: dict[str, _Own] = {}
        self._number = 0
        self._living: frozenset[str] = frozenset()
        self._parting: set[Watch] = set()
        """Those in which the people of a node that left still count."""
        self._jobs: deque[Callable[[], Awaitable[None]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._is_looking = False
        self._is_renewing = False
        self._is_closed = False

    # ---- what others are told of this node

    def changed(self, organization: Organization, user_id: str) -> None:
        """Note that a user is otherwise than before on this node."""
        if not self._registry.is_shared:
            return
        own = self._own.get(organization.organization_id)
        if own is None:
            if not self._is_renewing:
                self._is_renewing = True
                self._agenda.after(KEPT_MS / 2000, self._renew)
            own = self._own[organization.organization_id] = _Own(organization)
        own.organization = organization
        if own.users is None:
            own.users = set()
        own.users.add(user_id)
        self._plan(own)

    def _plan(self, own: _Own) -> None:
        if own.is_planned:
            return
        own.is_planned = True
        wait_s = own.written_at + self._pace_s(own) - asyncio.get_running_loop().time()
        self._agenda.after(max(FIRST_S, wait_s), partial(self._do, partial(self._write, own)))

    def _pace_s(self, own: _Own) -> float:
        return max(PACE_S, own.size / BYTES_PER_S)

    def _rest(self, own: _Own) -> None:
        """Keep nothing of a record that nobody has changed since: its number is the organization's."""
        if own.users is None and not own.is_planned:
            self._own.pop(own.organization.organization_id, None)

    async def _write(self, own: _Own) -> None:
        organization_id = own.organization.organization_id
        users = own.take()
        found = dict(people.everybody(own.organization))
        self._number += 1
        number = self._number
        own.written_at = asyncio.get_running_loop().time()
        try:
            await self._put(own, number, found)
        except RealtimeError as error:
            log.warning("presence was not written", extra={"reason": error.message})
            own.users = users | own.take()
            own.is_planned = True
            self._agenda.after(RETRY_S, partial(self._do, partial(self._write, own)))
            return
        changes = {user_id: found.get(user_id) for user_id in users} if len(users) <= MOST_CHANGES else None
        before, own.number = own.number, number if found else 0
        own.organization.attendance = own.number
        own.is_planned = False
        if own.users is not None:
            self._plan(own)
        else:
            self._agenda.after(self._pace_s(own), partial(self._rest, own))
        await self._tell(organization_id, Change(self._registry.node_id, before, number, changes))

    async def _put(self, own: _Own, number: int, found: dict[str, Seen], until: int = 0) -> None:
        name, node = LogName(own.organization.organization_id), self._registry.node_id
        if not found:
            own.size = 0
            await self._engine.commit(name, Commit(delete=(Key(PRESENCE, node),)))
            return
        value = encode(Attendance(number, found, until))
        own.size = len(value)
        gone_at = until or self._registry.engine_ms() + KEPT_MS
        await self._engine.commit(name, Commit(put=(Record(PRESENCE, node, value, number, gone_at),)))

    async def _tell(self, organization_id: str, telling: Change | Publication) -> None:
        try:
            await self._engine.signal(LogName(organization_id), between_nodes(encode(telling)))
        except RealtimeError:
            # Others find out when they read the records again.
            log.debug("other nodes were not told of presence")

    def _renew(self) -> None:
        """Write the records anew before they expire."""
        for own in self._everywhere():
            self._plan(own)
        self._agenda.after(KEPT_MS / 2000, self._renew)

    def _everywhere(self) -> list[_Own]:
        """Give this node's record of every organization that has people here, or had."""
        for organization in self._organizations.values():
            if organization.attendance and organization.organization_id not in self._own:
                self._own[organization.organization_id] = _Own(organization)
        return list(self._own.values())

    async def published(self, organization_id: str, told: dict[str, Declared]) -> None:
        """Tell other nodes what the application published."""
        if self._registry.is_shared:
            await self._tell(organization_id, Publication(self._registry.node_id, told))

    # ---- what others tell

    def begin(self, watch: Watch) -> None:
        """Learn who is there on other nodes, and keep up with it."""
        self.reload(watch)
        if self._registry.is_shared:
            self._agenda.after(RECHECK_S, partial(self._recheck, watch))
            if not self._is_looking:
                self._is_looking = True
                self._look()

    def reload(self, watch: Watch) -> None:
        """Read the records, once more if they are being read."""
        watch.is_stale = True
        if not watch.is_loading:
            watch.is_loading = True
            self._do(partial(self._load, watch))

    def heard(self, organization: Organization, body: bytes) -> None:
        """Take what a node tells, this one included."""
        watch = self._watches.get(organization.organization_id)
        telling = telling_of(body)
        if watch is None or telling is None or telling.node == self._registry.node_id:
            return
        if isinstance(telling, Publication):
            self.publish(watch, telling.people)
            return
        known = watch.others.get(telling.node)
        number = 0 if known is None else known.number
        if telling.people is not None and telling.before == number and watch.is_loaded:
            told = {} if known is None else dict(known.people)
            for user_id, seen in telling.people.items():
                if seen is None:
                    told.pop(user_id, None)
                else:
                    told[user_id] = seen
            watch.heard.add(telling.node)
            self._replace(watch, telling.node, Attendance(telling.number, told, telling.until) if told else None)
        elif telling.number > number:
            self.reload(watch)

    def publish(self, watch: Watch, told: dict[str, Declared]) -> None:
        """Take what the application published: those who follow have the event itself."""
        for user_id, declared in told.items():
            watch.published[user_id] = declared
        watch.version += 1

    def living(self) -> frozenset[str]:
        """Give the other nodes that are there."""
        return frozenset(node.node_id for node in self._registry.others)

    def counts(self, node: str, attendance: Attendance) -> bool:
        """Say whether what a node said of its people counts."""
        return node in self._living or (attendance.until != 0 and attendance.until > self._registry.engine_ms())

    def _recheck(self, watch: Watch) -> None:
        if self._watches.get(watch.organization.organization_id) is watch:
            self.reload(watch)
            self._agenda.after(RECHECK_S, partial(self._recheck, watch))

    def _look(self) -> None:
        if not self._watches:
            self._is_looking = False
            return
        self._agenda.after(LOOK_S, self._look)
        if self._is_cut_off():
            # Nobody can say who is gone: what was known goes on to count.
            return
        living = self.living()
        concerned = list(self._parting) if living == self._living else list(self._watches.values())
        self._living = living
        for watch in concerned:
            for node, attendance in list(watch.others.items()):
                self._replace(watch, node, attendance)

    def _replace(self, watch: Watch, node: str, attendance: Attendance | None) -> None:
        """Let a node have said this last, or nothing; and count it or not."""
        before = watch.others.get(node)
        did, does = node in watch.counted, attendance is not None and self.counts(node, attendance)
        if watch.is_loaded and (did or does):
            old = {} if before is None or not did else before.people
            new = {} if attendance is None or not does else attendance.people
            if old is not new:
                for user_id in old.keys() | new.keys():
                    if old.get(user_id) != new.get(user_id):
                        watch.note(user_id)
        # What a node said that is gone is kept, as its record is: it may be back, and say nothing new.
        if attendance is None:
            watch.others.pop(node, None)
        else:
            watch.others[node] = attendance
        if does:
            watch.counted.add(node)
        else:
            watch.counted.discard(node)
        if any(one.until for one in watch.others.values()):
            self._parting.add(watch)
        else:
            self._parting.discard(watch)
        self._news(watch)

    async def _load(self, watch: Watch) -> None:
        organization_id = watch.organization.organization_id
        while watch.is_stale and self._watches.get(organization_id) is watch:
            watch.is_stale = False
            watch.heard.clear()
            try:
                snapshot = await self._engine.records(LogName(organization_id), RECORDS)
            except RealtimeError:
                self._agenda.after(RETRY_S, partial(self.reload, watch))
                break
            found = {record.key: attendance_of(record.value) for record in snapshot.results[0]}
            for node in (watch.others.keys() | found.keys()) - watch.heard - {self._registry.node_id}:
                attendance, known = found.get(node), watch.others.get(node)
                if known is None or attendance is None or known.number != attendance.number:
                    self._replace(watch, node, attendance)
            self._take_published(watch, snapshot.results[1])
            watch.is_loaded = True
            self._news(watch)
        watch.is_loading = False

    def _take_published(self, watch: Watch, records: Sequence[Record]) -> None:
        found: dict[str, Declared] = {}
        for record in records:
            declared = published_of(record.value)
            if declared is not None:
                found[record.key] = declared
        if watch.is_loaded:
            for user_id in watch.published.keys() | found.keys():
                if watch.published.get(user_id) != found.get(user_id):
                    watch.note(user_id)
        watch.published = found

    # ---- work that waits for the engine

    def _do(self, job: Callable[[], Awaitable[None]]) -> None:
        if self._is_closed:
            return
        self._jobs.append(job)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._jobs:
                await asyncio.gather(*(self._jobs.popleft()() for _ in range(min(AT_ONCE, len(self._jobs)))))
        finally:
            self._worker = None

    async def close(self) -> None:
        """Say goodbye: everybody who is here may be on the way to another node."""
        self._is_closed = True
        self._jobs.clear()
        parting = self._everywhere()
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        try:
            async with asyncio.timeout(FAREWELL_S):
                await asyncio.gather(*(self._part(own) for own in parting))
        except (RealtimeError, TimeoutError):
            log.info("not every node was told of those who were here")

    async def _part(self, own: _Own) -> None:
        found = dict(people.everybody(own.organization))
        users = own.take()
        self._number += 1
        until = self._registry.engine_ms() + int(self._leave_s * 1000)
        before, own.number = own.number, self._number
        await self._put(own, own.number, found, until)
        gone = {user_id: found.get(user_id) for user_id in users | found.keys()}
        changes = gone if len(gone) <= MOST_CHANGES else None
        await self._tell(
            own.organization.organization_id,
            Change(self._registry.node_id, before, own.number, changes, until if found else 0),
        )
