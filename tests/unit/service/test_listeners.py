"""What the application is told: in order, later, and whatever its callbacks do."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.service.listeners import EVENTS, Listeners
from tests.support.clock import elapse, settle

pytestmark = pytest.mark.virtual_clock


async def test_listeners_are_told_later_and_in_order() -> None:
    """No callback runs within `tell`; each gets every event, in the order of events."""
    listeners, told = Listeners(), list[object]()
    listeners.on("ws_connection_added", told.append)
    listeners.on("ws_connection_removed", told.append)
    listeners.tell("ws_connection_added", 1)
    listeners.tell("ws_connection_removed", 2)
    listeners.tell("ws_connection_added", 3)
    assert told == []
    await settle()
    assert told == [1, 2, 3]


async def test_a_listener_that_raises_touches_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told, each failure is logged once, of coroutines too."""
    listeners, told = Listeners(), list[object]()

    def fail(_: object) -> None:
        raise ValueError("the application's own")

    async def fail_later(_: object) -> None:
        await asyncio.sleep(1)
        raise ValueError("the application's own")

    for callback in (fail, fail_later, told.append):
        listeners.on("metrics_updated", callback)
    listeners.tell("metrics_updated", 1)
    await elapse(2)
    assert told == [1]
    assert [record.message for record in caplog.records] == ["a listener failed"] * 2


async def test_listening_can_be_ended_at_any_time() -> None:
    """Also by a callback, while others are being told."""
    listeners, told = Listeners(), list[object]()
    ends = [listeners.on("metrics_updated", lambda value: (told.append(value), ends[0]())) for _ in range(1)]
    listeners.on("metrics_updated", told.append)
    for number in (1, 2):
        listeners.tell("metrics_updated", number)
        await settle()
    ends[0]()
    assert told == [1, 1, 2]


async def test_a_callback_may_tell() -> None:
    """What a callback causes comes after what was there."""
    listeners, told = Listeners(), list[object]()

    def chain(value: int) -> None:
        told.append(value)
        if value < 3:
            listeners.tell("metrics_updated", value + 1)

    listeners.on("metrics_updated", chain)
    listeners.tell("metrics_updated", 1)
    await settle()
    assert told == [1, 2, 3]
    listeners.tell("metrics_updated", 3)
    await settle()
    assert told == [1, 2, 3, 3]


async def test_the_end_tells_the_rest_and_waits_for_what_was_begun() -> None:
    """Bounded: a callback that never ends is cancelled."""
    listeners, told = Listeners(), list[object]()

    async def slow(value: float) -> None:
        await asyncio.sleep(value)
        told.append(value)

    listeners.on("metrics_updated", slow)
    listeners.tell("metrics_updated", 3)
    listeners.tell("metrics_updated", 1000)
    await listeners.close()
    assert told == [3]
    assert not listeners._tasks


def test_an_event_there_is_not_is_named() -> None:
    """With the nearest that there is."""
    with pytest.raises(InvalidInput, match="did you mean ws_connection_added"):
        Listeners().on("ws_connection_aded", print)
    with pytest.raises(InvalidInput, match="known are"):
        Listeners().on("x", print)
    assert len(EVENTS) == 5
