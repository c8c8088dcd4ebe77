"""When tokens end: told a minute before, never cut early, and nothing left that ticks."""

from __future__ import annotations

import asyncio
import random

import pytest

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES
from signtusk_realtime.delivery.lifetimes import LOOK_S, TICK_MS, WARN_MS, Lifetimes
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.events.log import ORIGIN_TAG, Epoch, Position
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.clock import elapse
from tests.support.outlets import Sink

pytestmark = pytest.mark.virtual_clock

ORGANIZATION = Organization("org123", Position(Epoch("0" * 16), 0, ORIGIN_TAG), lambda connection, place: None)
START_MS = 1_800_000_000_000


class Clock:
    """A wall clock that goes with the loop, unless it is set."""

    def __init__(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self.set_by_ms = 0

    def __call__(self) -> int:
        return START_MS + int((asyncio.get_running_loop().time() - self._began) * 1000) + self.set_by_ms


class Told:
    """Lifetimes, and what they called at what time since the start, in milliseconds."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.expiring: list[tuple[str, int]] = []
        self.expired: list[tuple[str, int]] = []
        self.lifetimes = Lifetimes(now_ms=self.clock, expiring=self._expiring, expired=self._expired)

    def watch(self, name: str, lives_ms: int | None) -> Connection:
        expires_at = None if lives_ms is None else self.clock() + lives_ms
        identity = Identity(user_id="user123", organization_id="org123", expires_at=expires_at)
        session = Session(identity, SessionLimits())
        connection = Connection(name, session, Sink(), FRAMES, ORGANIZATION, 0)
        self.lifetimes.watch(connection)
        return connection

    def _expiring(self, connection: Connection) -> None:
        self.expiring.append((connection.connection_id, self.clock() - START_MS))

    def _expired(self, connection: Connection) -> None:
        self.expired.append((connection.connection_id, self.clock() - START_MS))
        connection.is_open = False
        self.lifetimes.forget(connection)

    @property
    def is_idle(self) -> bool:
        timers = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # the only witness of timers
        return all(timer.cancelled() for timer in timers)


async def test_a_connection_is_told_a_minute_before_and_closed_at_the_end() -> None:
    """Neither comes early, both at once when it is time, and then no timer is left."""
    told = Told()
    told.watch("a", 600_000)
    await elapse(539.9)
    assert told.expiring == []
    await elapse(0.3)
    [(_, at)] = told.expiring
    assert 540_000 <= at <= 540_000 + TICK_MS
    await elapse(59.6)
    assert told.expired == []
    await elapse(0.4)
    [(_, at)] = told.expired
    assert 600_000 <= at <= 600_000 + TICK_MS
    assert told.is_idle


async def test_one_that_lives_less_is_told_at_once() -> None:
    """With a minute or less to go there is nothing to wait for."""
    told = Told()
    told.watch("a", WARN_MS)
    told.watch("b", 1)
    assert told.expiring == [("a", 0), ("b", 0)]
    await elapse(1.0)
    assert [name for name, _ in told.expired] == ["b"]


async def test_what_does_not_expire_costs_no_timer() -> None:
    """Development has no tokens that end."""
    told = Told()
    told.watch("a", None)
    assert told.is_idle


async def test_a_new_token_takes_the_place_of_the_old() -> None:
    """The old end is forgotten, and the new one told anew."""
    told = Told()
    connection = told.watch("a", 30_000)
    connection.session.identity = Identity(user_id="u", organization_id="o", expires_at=told.clock() + 120_000)
    told.lifetimes.watch(connection)
    await elapse(119.0)
    assert told.expired == []
    assert len(told.expiring) == 2
    await elapse(1.2)
    assert len(told.expired) == 1


async def test_what_is_closed_is_forgotten() -> None:
    """Nothing of a closed connection is kept, and the last one takes the timer with it."""
    told = Told()
    connections = [told.watch(f"c{index}", 600_000 + index * 1000) for index in range(100)]
    random.Random(1).shuffle(connections)
    for connection in connections:
        assert not told.is_idle
        connection.is_open = False
        told.lifetimes.forget(connection)
        told.lifetimes.forget(connection)
    assert told.is_idle
    await elapse(1000.0)
    assert (told.expiring, told.expired) == ([], [])


async def test_each_of_many_ends_at_its_own_time() -> None:
    """Whatever the order in which they came, also those that end in the same tick."""
    told = Told()
    lives = {f"c{index}": random.Random(index).randrange(1, 300) * 997 for index in range(500)}
    for name, lives_ms in lives.items():
        told.watch(name, lives_ms)
    await elapse(301.0)
    assert {name for name, _ in told.expired} == set(lives)
    for name, at in told.expired:
        assert 0 <= at - lives[name] <= TICK_MS + 2
    for name, at in told.expiring:
        assert 0 <= at - max(0, lives[name] - WARN_MS) <= TICK_MS + 2
    assert told.is_idle


async def test_a_machine_that_slept_notices_soon() -> None:
    """The wall clock counts: after it jumped, what is over ends within LOOK_S."""
    told = Told()
    told.watch("a", 3_600_000)
    told.clock.set_by_ms = 4_000_000
    await elapse(LOOK_S + 0.1)
    assert [name for name, _ in told.expired] == ["a"]
    assert told.expiring == []


async def test_ending_one_may_end_others() -> None:
    """Who closes a connection may close more of them; those are not called again."""
    told = Told()
    connections = [told.watch(f"c{index}", 1000) for index in range(5)]
    calls: list[str] = []

    def expired(connection: Connection) -> None:
        calls.append(connection.connection_id)
        for one in connections:
            one.is_open = False
            told.lifetimes.forget(one)

    told.lifetimes._expired = expired
    await elapse(2.0)
    assert len(calls) == 1
    assert told.is_idle
