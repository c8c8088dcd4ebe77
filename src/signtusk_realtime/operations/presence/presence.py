"""Who is there: state that connections make, not log.

Owns: from connections opened and closed, and what clients say of themselves, to differences that those who follow are told, and to the answer
of the presence call.   Not: other nodes (sharing.py), what a difference is (watch.py), the way to sockets (delivery/ephemeral.py).
Rule 1: who closes the last connection is there for `leave_s` longer: a page that is loaded again is no departure, and what it had said of its
user counts as long.
Rule 2: an organization is told at most once a second, all that changed meanwhile in one message.
Rule 3: guests are seen, and see nobody.   Rule 4: where nobody follows and no other node is, a connection costs no more than its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType

from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.delivery import people
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.kinds import UserPresenceEvent
from signtusk_realtime.events.log import ABSENT, Commit, Key, LogName, Record
from signtusk_realtime.events.subscriptions import Filters, Subscription
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.operations.documents.access import check_read
from signtusk_realtime.operations.presence.agenda import Agenda
from signtusk_realtime.operations.presence.shared import PUBLISHED, attendance_of, encode, published_of
from signtusk_realtime.operations.presence.sharing import PACE_S, RECORDS, Sharing
from signtusk_realtime.operations.presence.watch import Watch, follows_presence, is_away
from signtusk_realtime.protocol import cursor as cursors
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.messages import Presence as PresenceMessage
from signtusk_realtime.protocol.messages import PresenceStatus
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.presence import Declared, Seen, View, combine

LEAVE_MS: Final = 10_000
GATHER_S: Final = 0.05
"""How long the first difference waits for others that come with it."""
METADATA_BYTES: Final = 1024
KEPT_S: Final = 1.0
"""How long an answer is given again to others who ask, if nothing has changed."""
MOST_ANSWERS: Final = 16
"""Answers kept for an organization: one, and those of a few documents."""
SLICE: Final = 500
"""Users looked at before the loop gets its turn."""
PUBLISHED_KEPT_MS: Final = 86_400_000
"""How long it counts what an application published of a user, if it publishes nothing else."""


class PresentUser(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A user who is there. `connections`: over all nodes; none where the application says so, or the user was there a moment ago."""

    user_id: str
    status: PresenceStatus
    connections: int
    last_seen: str
    current_document: str | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET


class PresenceAnswer(Struct, frozen=True):
    """Who is there, by their ids. `cursor`: where the logs stood before."""

    users: list[PresentUser]
    cursor: str


class Presence:
    """See the module. `now_ms`: wall clock; `leave_ms`: how long somebody is there without a connection.

    `is_cut_off`: as in Sharing.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        registry: Registry,
        *,
        now_ms: Callable[[], int],
        leave_ms: int = LEAVE_MS,
        authorize: Authorize = UNASKED,
        is_cut_off: Callable[[], bool] = lambda: False,
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._registry = registry
        self._now_ms = now_ms
        self._leave_s = leave_ms / 1000
        self._authorize = authorize
        self._agenda = Agenda()
        self._watches: dict[str, Watch] = {}
        self._sharing = Sharing(
            engine,
            registry,
            self._agenda,
            self._watches,
            hub.ephemeral.organizations,
            self._plan,
            leave_s=self._leave_s,
            is_cut_off=is_cut_off,
        )
        self._is_closed = False
        hub.ephemeral.heard = self._sharing.heard

    # ---- what connections make

    def joined(self, connection: Connection) -> None:
        """Note that a connection was let in."""
        organization, user_id = connection.organization, connection.session.identity.user_id
        self._before(organization, user_id)
        self._hub.counters.people += people.add(organization, connection, self._now_ms())
        self._after(organization, user_id)

    def left(self, connection: Connection) -> None:
        """Note that a connection was closed; one that never joined is passed over."""
        organization, user_id = connection.organization, connection.session.identity.user_id
        person = people.remove(organization, connection, self._now_ms())
        watch = self._watches.get(organization.organization_id)
        if watch is not None and connection in watch.watchers:
            self._unwatch(watch, connection)
        if self._is_closed:
            return
        self._sharing.changed(organization, user_id)
        if person is None or self._hub.is_closed:
            return
        # Whoever was here a moment ago keeps the organization: nobody may come to another one of the same name meanwhile.
        organization.holders += 1
        let_go = partial(self._let_go, organization, user_id, connection.connection_id, person.departures)
        self._agenda.after(self._leave_s, let_go)

    def _let_go(self, organization: Organization, user_id: str, connection_id: str, departures: int) -> None:
        self._before(organization, user_id)
        self._hub.counters.people -= people.let_go(organization, user_id, connection_id, departures)
        self._after(organization, user_id)
        self._hub.forgo(organization)

    def declare(self, connection: Connection, message: PresenceMessage) -> None:
        """Take what a client says of its user. Raises: Forbidden (a guest elsewhere than it was let), InvalidInput (too much metadata)."""
        identity = connection.session.identity
        document = None if message.current_document is UNSET else message.current_document
        if document is not None and identity.is_guest:
            try:
                check_read(identity, document)
            except Forbidden as error:
                raise Forbidden(error.message, path=("currentDocument",)) from None
        metadata = None
        if message.metadata is not UNSET:
            metadata = json.encode(message.metadata).decode()
            if (size := len(metadata.encode())) > METADATA_BYTES:
                raise InvalidInput(
                    f"metadata has {size} bytes; at most {METADATA_BYTES} are allowed", path=("metadata",)
                )
        now_ms = self._now_ms()
        declared = Declared(
            status=message.status,
            at=now_ms,
            last_seen=now_ms,
            current_document=document,
            metadata=metadata,
        )
        self._before(connection.organization, identity.user_id)
        people.declare(connection.organization, connection, declared)
        self._after(connection.organization, identity.user_id)

    def _before(self, organization: Organization, user_id: str) -> None:
        watch = self._watches.get(organization.organization_id)
        if watch is not None:
            watch.note(user_id)

    def _after(self, organization: Organization, user_id: str) -> None:
        self._sharing.changed(organization, user_id)
        watch = self._watches.get(organization.organization_id)
        if watch is not None:
            self._plan(watch)

    # ---- what an application says

    async def published(self, log: LogName, events: Sequence[tuple[UserPresenceEvent, bool]]) -> None:
        """Remember what was just published of users, in its order; with each, whether it had been published before.

        The events themselves are durable by now: where this fails, the presence call misses them, and their repetition brings it.
        """
        now_ms = self._now_ms()
        told: dict[str, Declared] = {}
        for event, is_duplicate in events:
            declared = _declared(event, now_ms)
            if not is_duplicate:
                told[event.user_id] = declared
            elif event.user_id not in told:
                # What was published since then counts more.
                key = Key(PUBLISHED, event.user_id)
                await self._engine.commit(log, Commit(expect=((key, ABSENT),), put=(_record(event.user_id, declared),)))
        if not told:
            return
        await self._engine.commit(log, Commit(put=tuple(_record(*one) for one in told.items())))
        watch = self._watches.get(log)
        if watch is not None:
            self._sharing.publish(watch, told)
        await self._sharing.published(log, told)

    # ---- who follows

    def followed(self, connection: Connection) -> None:
        """Note that a connection has subscribed to something: from now on it is told of presence, if that is among it."""
        if not connection.is_open or not follows_presence(connection):
            return
        organization = connection.organization
        watch = self._watches.get(organization.organization_id)
        if watch is None:
            watch = self._watches[organization.organization_id] = Watch(organization)
            self._sharing.begin(watch)
        watch.watchers.add(connection)

    def _unwatch(self, watch: Watch, connection: Connection) -> None:
        watch.watchers.discard(connection)
        watch.missed.discard(connection)
        if not watch.watchers:
            self._watches.pop(watch.organization.organization_id, None)

    def _plan(self, watch: Watch) -> None:
        if watch.is_planned or not (watch.has_news or watch.missed):
            return
        watch.is_planned = True
        wait_s = watch.told_at + PACE_S - asyncio.get_running_loop().time()
        self._agenda.after(max(GATHER_S, wait_s), partial(self._tell, watch))

    def _tell(self, watch: Watch) -> None:
        watch.is_planned = False
        if self._watches.get(watch.organization.organization_id) is not watch:
            return
        watch.told_at = asyncio.get_running_loop().time()
        back = [watcher for watcher in watch.missed if not is_away(watcher)]
        changes = watch.changes()
        if changes or changes is None:
            watch.settle_watchers()
            watch.tell(changes, self._hub.ephemeral)
        if back:
            told = watch.truncated()
            for watcher in back:
                watch.missed.discard(watcher)
                if watcher.is_open and follows_presence(watcher):
                    self._hub.send(watcher, told)
        if not watch.watchers:
            del self._watches[watch.organization.organization_id]
            return
        self._plan(watch)

    # ---- who asks

    async def get(self, identity: Identity, document_id: str | None = None) -> bytes:
        """Say who is there, of a document or at all, as JSON. Raises: Forbidden, Unauthenticated (revoked, or expired, meanwhile), Unavailable."""
        if identity.is_service:
            raise Forbidden("a service reads nothing")
        if identity.is_guest:
            raise Forbidden("who is there is told to members only")
        filters = Filters(document_id=UNSET if document_id is None else document_id)
        await self._authorize.check(identity, (Subscription("user_presence", filters),))
        organization_id = identity.organization_id
        watch = self._watches.get(organization_id)
        version = -1 if watch is None else watch.version
        kept = None if watch is None or not watch.is_loaded else watch.answers.get(document_id)
        now = asyncio.get_running_loop().time()
        if kept is not None and kept[0] == version and now < kept[1] + KEPT_S:
            return kept[2]
        answer = json.encode(await self.of(organization_id, document_id))
        self._authorize.look_again(identity)
        if watch is not None and watch.version == version:
            # Those who were told that much changed all ask at the same time. What was told since then is not missing: it makes a new version.
            if len(watch.answers) >= MOST_ANSWERS or any(one[0] != version for one in watch.answers.values()):
                watch.answers.clear()
            watch.answers[document_id] = (version, now, answer)
        return answer

    async def of(self, organization_id: str, document_id: str | None = None) -> PresenceAnswer:
        """Say who is there in an organization. Raises: Unavailable."""
        system = self._hub.system
        snapshot = await self._engine.records(LogName(organization_id), RECORDS)
        living = self._sharing.living()
        seen: dict[str, list[Seen]] = {}
        organization = self._hub.ephemeral.organizations.get(organization_id)
        if organization is not None:
            for user_id, one in people.everybody(organization):
                seen.setdefault(user_id, []).append(one)
        for record in snapshot.results[0]:
            attendance = attendance_of(record.value)
            # Who has left says until when its people count; then the record is gone.
            if attendance is not None and (
                record.key in living or (attendance.until and record.key != self._registry.node_id)
            ):
                for user_id, one in attendance.people.items():
                    seen.setdefault(user_id, []).append(one)
        published: dict[str, Declared] = {}
        for record in snapshot.results[1]:
            declared = published_of(record.value)
            if declared is not None:
                published[record.key] = declared
        users = []
        for number, user_id in enumerate(sorted(seen.keys() | published.keys())):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            view = combine(seen.get(user_id, ()), published.get(user_id))
            if view is not None and view.is_there and document_id in (None, view.current_document):
                users.append(_present(user_id, view))
        return PresenceAnswer(users, cursors.encode(organization_id, snapshot.top.position, system))

    async def connected(self, organization_id: str) -> frozenset[str]:
        """Give the users of an organization who have a connection to any node. Raises: Unavailable."""
        attendances: list[Iterable[tuple[str, Seen]]] = []
        if self._registry.is_shared:
            snapshot = await self._engine.records(LogName(organization_id), RECORDS[:1])
            living = self._sharing.living()
            told = (attendance_of(record.value) for record in snapshot.results[0] if record.key in living)
            attendances += (attendance.people.items() for attendance in told if attendance is not None)
        organization = self._hub.ephemeral.organizations.get(organization_id)
        if organization is not None:
            attendances.append(people.everybody(organization))
        return frozenset(user_id for one in attendances for user_id, seen in one if seen.connections)

    async def close(self) -> None:
        """End all that was begun, and say goodbye to other nodes."""
        self._is_closed = True
        self._agenda.close()
        await self._sharing.close()
        self._watches.clear()


def _declared(event: UserPresenceEvent, now_ms: int) -> Declared:
    last_seen = now_ms if event.last_seen is UNSET else int(event.last_seen.timestamp() * 1000)
    return Declared(
        status=event.status,
        at=now_ms,
        last_seen=last_seen,
        current_document=None if event.current_document is UNSET else event.current_document,
        metadata=None if event.metadata is UNSET else json.encode(event.metadata).decode(),
    )


def _record(user_id: str, declared: Declared) -> Record:
    return Record(PUBLISHED, user_id, encode(declared), declared.at, declared.at + PUBLISHED_KEPT_MS)


def _present(user_id: str, view: View) -> PresentUser:
    return PresentUser(
        user_id=user_id,
        status=view.status,
        connections=view.connections,
        last_seen=format_milliseconds(view.last_seen),
        current_document=UNSET if view.current_document is None else view.current_document,
        metadata=UNSET if view.metadata is None else Raw(view.metadata.encode()),
    )
