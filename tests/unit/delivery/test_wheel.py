"""The wheel: a beat an interval, silence noticed, evenly spread, fair to peers of a loop that was held up."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.wheel import SLOTS, Wheel
from signtusk_realtime.events.log import ORIGIN_TAG, Epoch, Position
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.clock import VirtualClockLoop, elapse
from tests.support.delivery import member
from tests.support.outlets import Sink

pytestmark = pytest.mark.virtual_clock

INTERVAL_S, GRACE_S = 30.0, 10.0
TICK_S = INTERVAL_S / SLOTS
ORGANIZATION = Organization("org123", Position(Epoch("0" * 16), 0, ORIGIN_TAG), lambda connection, place: None)
SESSION = Session(member(), SessionLimits())


def connection(name: str = "conn_1") -> Connection:
    return Connection(name, SESSION, Sink(), FRAMES, ORGANIZATION, 0)


class Rim:
    """A wheel and what it called, with the time of each call."""

    def __init__(self, *, answers: bool = False) -> None:
        self.answers = answers
        self.beats: list[tuple[float, Connection]] = []
        self.silent: list[tuple[float, Connection]] = []
        self.wheel = Wheel(interval_s=INTERVAL_S, grace_s=GRACE_S, beat=self._beat, silent=self._silent)

    def _beat(self, peer: Connection) -> None:
        self.beats.append((asyncio.get_running_loop().time(), peer))
        if self.answers:
            peer.heard_at = self.wheel.tick

    def _silent(self, peer: Connection) -> None:
        self.silent.append((asyncio.get_running_loop().time(), peer))
        self.wheel.remove(peer)


async def test_a_beat_an_interval() -> None:
    """Each connection is looked at once an interval, regularly, until it is removed."""
    rim = Rim(answers=True)
    rim.wheel.start()
    await elapse(7.0)
    peer = connection()
    rim.wheel.add(peer)
    begin = asyncio.get_running_loop().time()
    await elapse(INTERVAL_S * 10)
    times = [at for at, _ in rim.beats]
    assert len(times) == 10
    assert times[0] - begin <= INTERVAL_S + TICK_S
    assert [later - at for at, later in pairwise(times)] == pytest.approx([INTERVAL_S] * 9)
    rim.wheel.remove(peer)
    await elapse(INTERVAL_S * 2)
    assert len(rim.beats) == 10
    rim.wheel.stop()


async def test_silence_is_noticed_after_the_grace_and_not_before() -> None:
    """A peer that never answers is reported a grace after its first beat: between grace and interval + grace from when it came."""
    for wait_s in (0.0, 1.0, 17.3):
        rim = Rim()
        rim.wheel.start()
        await elapse(wait_s)
        begin = asyncio.get_running_loop().time()
        rim.wheel.add(connection())
        await elapse(INTERVAL_S + GRACE_S + 2 * TICK_S)
        [(beat_at, _)], [(silent_at, _)] = rim.beats, rim.silent
        assert GRACE_S - TICK_S <= silent_at - beat_at <= GRACE_S + TICK_S
        assert silent_at - begin <= INTERVAL_S + GRACE_S + 2 * TICK_S
        rim.wheel.stop()


async def test_who_answers_is_never_reported() -> None:
    """An answer in the very tick of the beat counts, and so does one just within the grace."""
    rim = Rim(answers=True)
    rim.wheel.start()
    for n in range(SLOTS * 2):
        rim.wheel.add(connection(str(n)))
    await elapse(INTERVAL_S * 20)
    assert rim.silent == []
    assert len(rim.beats) == SLOTS * 2 * 20
    rim.wheel.stop()


async def test_an_answer_within_the_grace_counts() -> None:
    """Who is heard any time between beat and the end of the grace lives on."""
    rim = Rim()
    rim.wheel.start()
    peer = connection()
    rim.wheel.add(peer)
    while not rim.beats:
        await elapse(TICK_S)
    await elapse(GRACE_S - 3 * TICK_S)
    peer.heard_at = rim.wheel.tick
    await elapse(INTERVAL_S - GRACE_S)
    assert rim.silent == []
    rim.wheel.stop()


async def test_ten_thousand_are_spread_evenly() -> None:
    """However many come at once, one tick looks at a 256th of them."""
    rim = Rim(answers=True)
    rim.wheel.start()
    for n in range(10_000):
        rim.wheel.add(connection(str(n)))
    await elapse(INTERVAL_S)
    per_tick = Counter(at for at, _ in rim.beats)
    assert len(rim.beats) == 10_000
    assert max(per_tick.values()) == -(-10_000 // SLOTS)
    rim.wheel.stop()


async def test_a_grace_longer_than_the_interval() -> None:
    """Also when pings come faster than answers are due, silence is counted from the first unanswered one."""
    found: list[float] = []
    wheel = Wheel(interval_s=10, grace_s=25, beat=lambda _: None, silent=lambda _: found.append(0.0))
    wheel.start()
    wheel.add(connection())
    await elapse(24.0)
    assert found == []
    await elapse(12.0)
    assert found
    wheel.stop()


async def test_a_loop_that_was_held_up_blames_nobody() -> None:
    """After the loop stood still for minutes, peers get time to answer before they are called silent."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    rim = Rim()
    rim.wheel.start()
    peers = [connection(str(n)) for n in range(SLOTS)]
    for peer in peers:
        rim.wheel.add(peer)
    await elapse(1.0)
    loop._now += 600.0
    await elapse(0.0)
    assert rim.silent == []
    for _ in range(round(INTERVAL_S / TICK_S) * 2):
        await elapse(TICK_S)
        for peer in peers:
            peer.heard_at = rim.wheel.tick
    assert rim.silent == []
    assert rim.beats
    rim.wheel.stop()


async def test_nothing_is_left_after_stop() -> None:
    """`stop` cancels the timer and lets go of every connection; it may be called before `start`."""
    rim = Rim()
    rim.wheel.stop()
    rim.wheel.start()
    rim.wheel.add(connection())
    rim.wheel.stop()
    assert not any(rim.wheel._slots)
    await elapse(INTERVAL_S * 3)
    assert rim.beats == []
