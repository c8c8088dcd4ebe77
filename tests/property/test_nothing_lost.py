"""Nothing is lost: readers come and go over servers that come and go, and what each is told is held against a log that is a list.

Clients subscribe, lose their connection at any byte, resume on whichever transport, stall and drain; others publish, also what was published
already; retention trims; the server restarts, drained or not, is killed, put back from a backup, or begins with nothing. I0, I1, I2, I3, I4
and I7 are checked after every step (tests/support/judge.py, lives.py). `EXAMPLES=1000 STEPS=200` in the environment makes it a long run.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from signtusk_realtime.delivery import announcer, audience, catch_up, encoded, outlined
from signtusk_realtime.events.log import SYSTEM_LOG, Draft, Position, Retention
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor as cursors
from tests.support import clock, delivery
from tests.support.engines import ManualClock
from tests.support.lives import RETENTION, Line, Reader, World
from tests.support.samples import sample_event
from tests.support.scenes import HAPPENINGS, READERS, WISHES
from tests.support.stores import SERVED, STORES, Store

EXAMPLES = int(os.environ.get("EXAMPLES", "30"))
STEPS = int(os.environ.get("STEPS", "50"))

_T = TypeVar("_T")
LOGS = ("one", "two", SYSTEM_LOG)
FORMS = ("frames", "frames", "stream", "texts")
OPEN_CALLS = 4
"""So few calls are under way at once that retention cannot take an event before its publisher has the answer."""
ASKS = 20
"""What one connection may ask for, below what its rate allows."""

STEPS_PER_LIFE = 15

_any = st.integers(0, 255)
_turns = st.sampled_from([0, 1, 2, 3, 5, 8, 30])


@pytest.fixture(scope="module", autouse=True)
def _small_bounds() -> Iterator[None]:
    """Let every bound be reached by a few events, and slices end between any two writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience, "WRITES_PER_LOOK", 1)
        patch.setattr(announcer, "OFFERS_PER_LOOK", 1)
        patch.setattr(audience, "PIECE_BYTES", 900)
        patch.setattr(audience, "SHARE_BYTES", 2500)
        patch.setattr(catch_up, "PAGE_BYTES", 900)
        patch.setattr(catch_up, "READ_BYTES", 1800)
        patch.setattr(catch_up, "FILL_BYTES", 6000)
        patch.setattr(catch_up, "OUTLINED_AT_A_TIME", 3)
        patch.setattr(outlined, "NEAR", 2)
        patch.setattr(outlined, "KEPT_BYTES", 4000)
        patch.setattr(encoded, "ITEMS_BYTES", 6000)
        patch.setattr(encoded, "PAGES_BYTES", 6000)
        yield


class _Failures(logging.Handler):
    """Takes what a border of the service caught and logged as an error of ours."""

    def __init__(self, failures: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self._failures = failures

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._failures.append(error or AssertionError(record.getMessage()))


class NothingLost(RuleBasedStateMachine):
    """See the module."""

    make_store: ClassVar[Callable[[Retention, Callable[[], int]], Store]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=clock.VirtualClockLoop)
        manual = ManualClock()
        self.world = World(type(self).make_store(RETENTION, manual), manual, LOGS)
        self.readers = [Reader(identity, wishes) for identity, wishes in READERS]
        self.published = 0
        self.steps = 0
        """Since the last server began."""
        self.handler = _Failures(self.world.failures)
        logging.getLogger("signtusk_realtime").addHandler(self.handler)

    @initialize(tail_bytes=st.sampled_from([1, 6000, 20_000, 1 << 20]))
    def start(self, tail_bytes: int) -> None:
        self.world.tail_bytes = tail_bytes
        self.run(self.world.start(kept={}))
        self.come(None, 0, "now", 0, 30)

    # ---- publishers

    @precondition(lambda self: self.world.calls < OPEN_CALLS)
    @rule(
        log=st.sampled_from([*["one"] * 3, "two", SYSTEM_LOG]),
        how=st.sampled_from([*["batch"] * 2, *["one by one"] * 2, "again", *["many"] * 2]),
        whats=st.lists(_any, min_size=1, max_size=4),
        turns=_turns,
    )
    def publish(self, log: str, how: str, whats: list[int], turns: int) -> None:
        match how:
            case "batch":
                self.call(log, [self.draft(log, what) for what in whats], turns)
            case "one by one":
                for what in whats:
                    self.call(log, [self.draft(log, what)], turns)
                    self.run(self.world.answered())
            case "again":
                # A publisher that had no answer, or lost it; some of the batch may be new.
                tried = self.world.drafts[log][-40:]
                self.call(
                    log,
                    [tried[-1 - what % len(tried)] if tried and what % 4 else self.draft(log, what) for what in whats],
                    turns,
                )
            case "many":
                # Answered before anything else, for retention takes so many within one call of the next.
                self.run(self.world.answered())
                self.call(log, [self.draft(log, what + at) for what in whats for at in range(6)], turns)
                self.run(self.world.answered())

    def call(self, log: str, drafts: list[Draft], turns: int) -> None:
        self.do(lambda: self.world.publish(log, drafts), turns)

    def draft(self, log: str, what: int) -> Draft:
        self.published += 1
        happening = sample_event("system_announcement") if log == SYSTEM_LOG else HAPPENINGS[what % len(HAPPENINGS)]
        return delivery.drafted(happening, f"evt_{self.published}", log)

    # ---- readers

    @rule(
        who=st.none() | _any,
        form=_any,
        how=st.sampled_from([*["newest"] * 6, *["older"] * 2, *["now"] * 2, "earliest", "latest", "bad"]),
        what=_any,
        turns=_turns,
    )
    def come(self, who: int | None, form: int, how: str, what: int, turns: int) -> None:
        """One comes, and leaves the line he had; or everybody who has none goes on where he was. On whichever transport."""
        if who is not None:
            reader = self.readers[who % len(self.readers)]
            if reader.line is not None:
                self.cut(reader.line, what)
            wishes = reader.wishes if what % 4 else self.allowed(reader, what)
            self.begin(reader, FORMS[form % len(FORMS)], wishes, self.cursor(reader, how, what))
        else:
            if what % 2 and self.world.calls < OPEN_CALLS:
                self.call("one", [self.draft("one", what)], 0)
            for at, reader in enumerate(self.readers):
                if reader.line is None or reader.line.peer.is_cut:
                    self.begin(
                        reader, FORMS[(form >> at) % len(FORMS)], reader.wishes, self.cursor(reader, "newest", 0)
                    )
        self.do(lambda: None, turns)

    def begin(self, reader: Reader, form: str, wishes: list[Subscription], cursor: str | None) -> None:
        self.do(lambda: self.world.connect(reader, form, wishes, cursor))

    def cursor(self, reader: Reader, how: str, what: int) -> str | None:
        if how in ("earliest", "latest"):
            return how
        if how == "bad":
            return self.bad_cursor(reader, what // 7, what)
        if how == "now" or not reader.cursors:
            return None
        return reader.cursors[-1] if how == "newest" else reader.cursors[what % len(reader.cursors)]

    def bad_cursor(self, reader: Reader, which: int, what: int) -> str:
        """One that is another organization's, or names no place, or only one of the two logs."""
        organization_id = reader.identity.organization_id
        life, system = self.world.logs.of(organization_id)
        here, there = life.position(life.top), system.position(system.top)
        place = life.position(life.top - what % (life.top + 1))
        elsewhere = place._replace(tag=bytes(byte ^ 1 for byte in place.tag))
        beyond = Position(here.epoch, here.offset + 1000, here.tag)
        return [
            "garbage",
            cursors.encode("elsewhere", here, there),
            cursors.encode(organization_id, elsewhere, there),
            cursors.encode(organization_id, elsewhere, there),
            cursors.encode(organization_id, beyond, there),
            cursors.encode(organization_id, here, None),
            cursors.encode(organization_id, None, there),
        ][which % 7]

    def allowed(self, reader: Reader, what: int) -> list[Subscription]:
        """Wishes that are not refused as a whole."""
        fitting = [w for w in WISHES if not any(delivery.is_outside(reader.identity, one) for one in w)]
        return fitting[what % len(fitting)]

    @precondition(lambda self: self.open_lines())
    @rule(which=_any, verb=st.sampled_from(["stall", "stall", "stall", "read", "read on"]), what=_any, turns=_turns)
    def pace(self, which: int, verb: str, what: int, turns: int) -> None:
        """Stop reading, take a little of what waits, or read on."""
        lines = self.open_lines()
        match verb:
            case "stall":
                for at in (which, what):
                    lines[at % len(lines)].peer.stall()
            case "read":
                for line in lines:
                    if line.peer.is_stalled:
                        self.do(lambda peer=line.peer: peer.read(16 * what))
            case "read on":
                stalled = [line for line in lines if line.peer.is_stalled] or lines
                self.do(stalled[which % len(stalled)].peer.go_on)
        self.do(lambda: None, turns)

    @precondition(lambda self: self.open_lines())
    @rule(
        which=_any,
        way=st.sampled_from(["stall", "leave"]),
        what=_any,
        then=st.sampled_from(["nothing", "ping", "trim", "age", "publish", "announce"]),
        size=_any,
        turns=_turns,
    )
    def fall_behind(self, which: int, way: str, what: int, then: str, size: int, turns: int) -> None:
        """Take nothing while much happens, by not reading or not being there; go on in the middle of something else."""
        lines = self.open_lines()
        line = lines[which % len(lines)]
        reader = line.reader
        log = reader.identity.organization_id
        if way == "stall":
            line.peer.stall()
        else:
            self.cut(line, size)
        self.publish(log, "many", [what, size], 1)
        self.do(lambda: None, turns)
        match then:
            case "ping" if line.is_open and line.is_asked and line.peer.form != "stream":
                self.ask(line, "ping", 0)
            case "trim" | "age":
                self.world.clock.now += 2 * RETENTION.age_ms if then == "age" else 0
                self.run(self.world.tidy())
            case "publish":
                self.call(log, [self.draft(log, what)], 0)
            case "announce":
                self.call(SYSTEM_LOG, [self.draft(SYSTEM_LOG, what) for _ in range(3)], size % 8)
        if way == "leave":
            self.begin(reader, FORMS[size % len(FORMS)], reader.wishes, self.cursor(reader, "newest", 0))
        elif size % 2:
            self.do(line.peer.go_on)
        else:
            self.do(lambda: line.peer.read(16 * size))
        self.do(lambda: None, turns)
        self.call(log, [self.draft(log, what + 1)], turns)

    @precondition(lambda self: self.open_lines())
    @rule(
        which=_any,
        verb=st.sampled_from(["ping", "ping", "subscribe", "unsubscribe", "cut", "break", "notice"]),
        what=_any,
        turns=_turns,
    )
    def act(self, which: int, verb: str, what: int, turns: int) -> None:
        """Ask for something, or lose the line."""
        lines = self.open_lines()
        line = lines[which % len(lines)]
        match verb:
            case "cut" | "break":
                self.cut(line, what)
                if verb == "break":
                    self.do(line.peer.notice)
            case "notice":
                for dead in self.world.lines:
                    if dead.peer.is_cut and dead.peer.connection is not None:
                        self.do(dead.peer.notice)
            case _:
                asking = [line for line in lines if line.peer.form != "stream" and line.is_asked]
                if asking:
                    self.ask(asking[which % len(asking)], verb, what)
        self.do(lambda: None, turns)

    def ask(self, line: Line, verb: str, what: int) -> None:
        if line.peer.answers >= ASKS:
            return
        ids = [one for one in line.judge.wanted if one not in line.ending]
        if verb == "subscribe":
            self.do(lambda: self.world.subscribe(line, self.allowed(line.reader, what)))
        elif verb == "ping" or not ids:
            self.do(lambda: self.world.ping(line))
        else:
            self.do(lambda: self.world.unsubscribe(line, ids[what % len(ids)]))

    def cut(self, line: Line, what: int) -> None:
        """Lose a line at any byte of what waits. A node that does not notice keeps writing to it."""
        self.do(lambda: line.peer.cut(line.peer.unsent() * what // 255))
        self.do(self.world.harvest)

    def open_lines(self) -> list[Line]:
        return [line for line in self.world.lines if line.is_open]

    # ---- time

    @rule(
        seconds=st.sampled_from([0, 0, 0.01, 1.0, 3.0, 31.0]),
        fifths=st.sampled_from([0, 0, 0, 1, 6]),
        slowness=st.sampled_from([0, 0, 1, 4]),
        then=st.sampled_from(["nothing", "trim", "trim", "catch up"]),
    )
    def time_passes(self, seconds: float, fifths: int, slowness: int, then: str) -> None:
        """As long as heartbeats take, or for events until they are too old; in the end retention bites, or nobody lacks anything."""
        self.world.store.dawdle(slowness)
        self.run(clock.elapse(seconds))
        if fifths or then == "trim":
            self.run(self.world.answered())
            self.world.clock.now += RETENTION.age_ms * fifths // 5
        if then == "trim":
            self.run(self.world.tidy())
        elif then == "catch up":
            self.run(self.world.caught_up())

    # ---- servers

    @precondition(lambda self: self.steps >= STEPS_PER_LIFE)
    @rule(
        how=st.sampled_from([*["restart", "drain", "kill", "put back", "back up"] * 2, "lose"]),
        left=st.integers(0, 3000),
        form=st.none() | _any,
        turns=_turns,
    )
    def server_ends(self, how: str, left: int, form: int | None, turns: int) -> None:
        """In peace or not; what it knew is kept, lost or another. As a rule everybody comes back to the next one at once."""
        self.steps = 0
        world = self.world
        match how:
            case "restart" | "drain":
                self.run(world.close(drains=how == "drain", left=left))
                self.run(world.start(kept=None if world.store.keeps else {}))
            case "kill":
                self.run(world.kill(left))
                self.run(world.come_back())
            case "lose":
                self.run(world.lose())
            case "put back" if world.store.backs_up:
                if not world.store.has_backup:
                    self.run(world.back_up())
                self.run(world.put_back())
            case _:
                self.run(world.back_up())
        if form is not None:
            self.come(None, form, "newest", left, turns)

    # ---- what holds

    @invariant()
    def told_the_truth(self) -> None:
        if hasattr(self.world, "hub"):
            self.run(self.world.store.quiet())
            self.do(self.world.harvest)
            self.steps += 1

    def teardown(self) -> None:
        try:
            if hasattr(self.world, "hub"):
                try:
                    self.run(self.world.caught_up())
                finally:
                    self.run(self.world.finish())
        finally:
            logging.getLogger("signtusk_realtime").removeHandler(self.handler)
            self.runner.close()
            self.world.store.remove()

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return self.runner.run(coroutine)

    def do(self, act: Callable[[], object], turns: int = 0) -> None:
        """Do something in one step of the loop, and let so many more of its turns pass."""

        async def step() -> None:
            act()
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(step())


def _cases() -> Iterator[tuple[str, type]]:
    for name, make_store in STORES.items():
        machine = type(f"NothingLostIn{name}", (NothingLost,), {"make_store": staticmethod(make_store)})
        examples = max(EXAMPLES // 5, 1) if name in SERVED else EXAMPLES
        machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=STEPS)
        yield f"TestNothingLostIn{name}", machine.TestCase


globals().update(_cases())
