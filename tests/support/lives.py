"""Servers that come and go over one store, readers that come back, publishers that may never learn what became of a call.

Owns: a server's life without sockets (engine, hub, the operations a connection uses), its clients' lines, and what must hold at each end.
Not: what happens when (tests/property/test_nothing_lost.py), the judgement over a line (judge.py), bytes (peers.py), engines (stores.py).
Rule: nothing here waits for real time or for threads, so that a run can be told again from its steps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from msgspec import to_builtins

from signtusk_realtime.delivery.flush import SLICE_S, Flusher
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, Draft, Entry, LogName, Retention
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.drain import Drain
from signtusk_realtime.operations.receive import Receive
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import SessionLimits
from tests.support import delivery
from tests.support.clock import elapse, settle
from tests.support.engines import ManualClock
from tests.support.judge import Judge, Logs
from tests.support.outlets import Message
from tests.support.peers import HIGH_BYTES, Peer
from tests.support.stores import Store

RETENTION: Final = Retention(age_ms=60_000, count=24)
DRAIN_S: Final = 2.0
CATCH_UP_S: Final = 4.0
"""Within this everybody who reads has everything; reading on is tried again after a second at most."""
BOUND_BYTES: Final = HIGH_BYTES + 6000
"""What may wait for one peer, answers apart: the outlet's bound and what is written in the turn that passes it (I3)."""
ANSWER_BYTES: Final = 1500
PATIENCE_TURNS: Final = 10_000


class Line:
    """One connection from its client's side."""

    def __init__(self, reader: Reader, peer: Peer, judge: Judge) -> None:
        self.reader = reader
        self.peer = peer
        self.judge = judge
        self.unjudged: list[Message] = []
        self.is_asked = False
        """Whether its first request was sent."""
        self.ending: set[str] = set()
        """Subscriptions whose end was asked for."""

    @property
    def is_open(self) -> bool:
        connection = self.peer.connection
        return connection is not None and connection.is_open and not self.peer.is_cut


class Reader:
    """A client over its connections: who it is, what it wants at first, and every cursor it was told."""

    def __init__(self, identity: Identity, wishes: Sequence[Subscription]) -> None:
        self.identity = identity
        self.wishes = wishes
        self.cursors: list[str] = []
        self.line: Line | None = None


class _Impatience:
    """A clock by which each look takes more than a slice, so that a flush ends after the first thing it has to write."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 2 * SLICE_S
        return self._now


class World:
    """See the module. `await start()` first."""

    def __init__(self, store: Store, clock: ManualClock, names: Sequence[str]) -> None:
        self.store = store
        self.clock = clock
        self.logs = Logs(names, RETENTION, clock)
        self.drafts: dict[str, list[Draft]] = {name: [] for name in names}
        """All that was ever tried to publish."""
        self.lines: list[Line] = []
        self._names = names
        self.tail_bytes = 64 << 20
        self._new_id = delivery.Names()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open_calls: list[tuple[str, Sequence[Draft], Sequence[Draft]]] = []
        """Calls without an answer: the log, all drafts, and those that no earlier call held."""
        self._backup: dict[str, list[Entry]] = {}
        self.failures: list[BaseException] = []
        """What went wrong where nobody would hear of it."""

    # ---- a server's life

    async def start(self, *, kept: dict[str, list[Entry]] | None = None) -> None:
        """Begin a server's life over what the store has; `kept` if that is not what the last one left: new lives, with these entries."""
        self.engine = self.store.open()
        self.hub = Hub(
            self.engine,
            tail_bytes=self.tail_bytes,
            flusher=Flusher(asyncio.get_running_loop().call_soon, _Impatience()),
        )
        await self.engine.start(self.hub)
        await self.hub.start()
        loop = asyncio.get_running_loop()
        self._connect = Connect(
            self.hub,
            limits=SessionLimits(),
            heartbeat_interval_ms=30_000,
            now_ms=self.clock,
            new_id=self._new_id,
        )
        self._subscriptions = Subscriptions(self.engine, self.hub, new_id=self._new_id)
        self._receive = Receive(self.hub, self._subscriptions, monotonic_s=loop.time, now_ms=self.clock)
        for name in self._names:
            await self._adopt(name, kept)
        # What was seen of the life before can be judged now; nobody of it is here any more.
        self._open_calls.clear()
        self.harvest()
        for line in list(self.lines):
            self._drop(line)

    async def _adopt(self, name: str, kept: dict[str, list[Entry]] | None) -> None:
        """Compare a log with what it must hold, and learn what became of calls that were not answered."""
        page = await self.engine.read(LogName(name), 0, 1 << 30)
        if kept is None:
            life = self.logs.now(name)
            assert page.top.epoch == life.epoch, "a restart ends no log's life"
        else:
            life = self.logs.begin(name, page.top.epoch, kept.get(name, ()))
        top = life.top
        for entry in page.entries:
            if entry.offset > top:
                assert any(
                    _is_of(entry, draft) for log, drafts, _ in self._open_calls if log == name for draft in drafts
                )
            life.place(entry)
        life.check()
        ids = {entry.event_id for entry in life.entries.values()}
        for log, _, fresh in self._open_calls:
            if log == name:
                assert len({draft.event_id in ids for draft in fresh}) <= 1, "a commit happens whole or not at all"
        life.note_floor(page.top.floor_offset)
        assert [entry.offset for entry in page.entries] == list(range(life.floor + 1, life.top + 1)), "I9: lost"

    async def finish(self) -> None:
        """End the last life."""
        await self.close()
        self._open_calls.clear()
        self.harvest()

    async def close(self, *, drains: bool = False, left: int = 0) -> None:
        """End a server's life in peace. Who does not read gets `left` bytes more of what waits for him."""
        if drains:
            await Drain(self.hub, random=lambda: 0.5).run(list(self.hub.connections.values()), DRAIN_S)
        await self._end()
        await settle()
        for line in self.lines:
            if line.peer.is_stalled and not line.peer.is_cut:
                line.peer.cut(left)
        self.harvest()
        _check_nothing_left()

    async def kill(self, left: int) -> None:
        """End a server's life at once: of what was written to each client, `left` bytes still arrive."""
        if not self.store.keeps:
            # It forgets even what it showed; what that was must be known to judge it.
            await self.answered()
        self.store.kill()
        for task in self._tasks:
            task.cancel()
        for line in self.lines:
            if not line.peer.is_cut:
                line.peer.cut(left)
        self.harvest(judges=False)
        # What the dead server still does to clean up is seen by nobody.
        await self._end()
        await settle()

    async def come_back(self) -> None:
        """Begin the life after a kill, and judge what was seen of the one before."""
        await self.start(kept=None if self.store.keeps else {})

    async def _end(self) -> None:
        await self.hub.close()
        await self._receive.close()
        await self.engine.close()
        assert not self.hub.connections

    async def back_up(self) -> None:
        """Remember how everything is now."""
        await self.answered()
        self.store.back_up()
        self._backup = {name: list(self.logs.now(name).entries.values()) for name in self._names}

    async def put_back(self) -> None:
        """Restart from the backup: new lives."""
        await self.close()
        self.store.put_back()
        await self.start(kept=self._backup)

    async def lose(self) -> None:
        """Restart with nothing: new lives."""
        await self.close()
        self.store.lose()
        await self.start(kept={})

    # ---- publishing

    def publish(self, name: str, drafts: Sequence[Draft]) -> None:
        """Begin a call."""
        known = {draft.event_id for draft in self.drafts[name]}
        fresh = [draft for draft in drafts if draft.event_id not in known]
        self.drafts[name] += fresh
        call = (name, drafts, fresh)
        self._open_calls.append(call)
        self._spawn(self._publish(call))

    async def _publish(self, call: tuple[str, Sequence[Draft], Sequence[Draft]]) -> None:
        name, drafts, _ = call
        life = self.logs.now(name)
        try:
            outcome = await self.engine.commit(LogName(name), Commit(drafts))
        except Unavailable:
            return
        assert isinstance(outcome, Committed), outcome
        assert outcome.epoch == life.epoch
        for draft, placed in zip(drafts, outcome.placed, strict=True):
            if placed.duplicate:
                assert life.entries[placed.offset].event_id == draft.event_id
            else:
                kept = [o for o, e in life.entries.items() if e.event_id == draft.event_id and o > life.due_floor]
                assert not kept, f"{draft.event_id} stands at {kept} already"
                life.place(Entry(placed.offset, placed.tag, outcome.at, draft.event_id, tuple(draft.keys), draft.body))
        self._open_calls.remove(call)

    @property
    def calls(self) -> int:
        """How many calls have no answer yet."""
        return len(self._open_calls)

    async def answered(self) -> None:
        """Wait until every call has its answer."""
        for _ in range(PATIENCE_TURNS):
            if not self._open_calls:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"no answer to {len(self._open_calls)} calls")

    async def tidy(self) -> None:
        """Let retention bite, and learn how far."""
        await self.answered()
        await self.store.tidy()
        for name in self._names:
            page = await self.engine.read(LogName(name), 0, 1)
            life = self.logs.now(name)
            life.note_floor(page.top.floor_offset)
            assert life.floor == life.due_floor, "retention bites"

    # ---- reading

    def connect(self, reader: Reader, form: str, wishes: Sequence[Subscription], cursor: str | None) -> None:
        """Begin a connection, and ask for this on it."""
        line = Line(reader, Peer(self.hub, form), Judge(reader.identity, self.logs))
        self.lines.append(line)
        reader.line = line
        self._spawn(self._admit(line, wishes, cursor))

    async def _admit(self, line: Line, wishes: Sequence[Subscription], cursor: str | None) -> None:
        peer = line.peer
        try:
            admission = await self._connect.admit(line.reader.identity)
        except Unavailable:
            peer.cut(0)
            peer.is_over = True
            return
        if peer.is_cut:
            self._connect.forgo(admission)
            peer.is_over = True
            return
        peer.connection = self._connect.open(admission, peer, delivery.FORMATS[peer.form])
        if not peer.connection.is_open:
            return
        line.is_asked = True
        line.judge.ask("subscribe", wishes, cursor)
        if peer.form == "stream":
            await self._subscriptions.subscribe_all(peer.connection, tuple(wishes), cursor)
        else:
            more = {} if cursor is None else {"cursor": cursor}
            self._send(line, {"type": "subscribe", "subscriptions": to_builtins(wishes), **more})

    def subscribe(self, line: Line, wishes: Sequence[Subscription]) -> None:
        """Ask for more."""
        line.judge.ask("subscribe", wishes)
        self._send(line, {"type": "subscribe", "subscriptions": to_builtins(wishes)})

    def unsubscribe(self, line: Line, subscription_id: str) -> None:
        """End a subscription, and ask where that was."""
        line.ending.add(subscription_id)
        line.judge.ask("unsubscribe", which=subscription_id)
        line.judge.ask("ping", which=subscription_id)
        self._send(line, {"type": "unsubscribe", "subscriptionId": subscription_id})
        self._send(line, {"type": "ping"})

    def ping(self, line: Line) -> None:
        """Ask how far one has got."""
        line.judge.ask("ping")
        self._send(line, {"type": "ping"})

    def _send(self, line: Line, message: dict[str, Any]) -> None:
        line.peer.answers += 1
        assert line.peer.connection is not None
        self._receive(line.peer.connection, json.dumps(message).encode())

    def harvest(self, *, judges: bool = True) -> None:
        """Take what was read; judge it, unless something is being published."""
        for failure in self.failures:
            raise failure
        for line in list(self.lines):
            peer = line.peer
            fresh = peer.take()
            line.unjudged += fresh
            line.reader.cursors += [message["cursor"] for message in fresh if "cursor" in message]
            bound = BOUND_BYTES + ANSWER_BYTES * peer.answers
            assert peer.most <= bound, f"I3: {peer.most} bytes waited for one peer"
            if judges and not self._open_calls:
                unjudged, line.unjudged = line.unjudged, []
                for message in unjudged:
                    line.judge.take(message)
                if peer.is_over and (peer.has_everything or peer.is_cut):
                    self._drop(line)

    def _drop(self, line: Line) -> None:
        self.lines.remove(line)
        if line.reader.line is line:
            line.reader.line = None

    async def caught_up(self) -> None:
        """Let everybody read; then nobody lacks anything, and nobody waits for an answer (I2)."""
        self.store.dawdle(0)
        await self.answered()
        for line in self.lines:
            if not line.peer.is_cut:
                line.peer.go_on()
        await elapse(CATCH_UP_S)
        self.harvest()
        for line in self.lines:
            if line.is_open:
                assert not line.judge.asked, f"no answer to {line.judge.asked}"
                assert line.judge.missing() == []
        assert not self.hub.catching_up

    def _spawn(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.append(error)


def _is_of(entry: Entry, draft: Draft) -> bool:
    return (entry.event_id, entry.keys, entry.body) == (draft.event_id, tuple(draft.keys), draft.body)


def _check_nothing_left() -> None:
    """I7: neither a task nor a timer goes on."""
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"I7: {left}"
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]  # no public way
    assert not timers, f"I7: {timers}"
