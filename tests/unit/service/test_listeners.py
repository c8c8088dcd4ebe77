"""What the application is told: in order, later, and whatever its callbacks do."""

from __future__ import annotations

import asyncio
from typing import Any

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


@pytest.mark.parametrize("failure", [asyncio.CancelledError, GeneratorExit, BaseException])
async def test_whatever_a_listener_raises_the_others_are_told(
    failure: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """Also what no `except Exception` takes, such as the error of a cancelled future; what comes later is told too."""
    listeners, told = Listeners(), list[object]()

    def fail(_: object) -> None:
        raise failure

    async def fail_later(_: object) -> None:
        raise failure

    for callback in (fail, fail_later, told.append):
        listeners.on("metrics_updated", callback)
    for number in (1, 2):
        listeners.tell("metrics_updated", number)
    await settle()
    listeners.tell("metrics_updated", 3)
    await settle()
    assert told == [1, 2, 3]
    assert {record.message for record in caplog.records} >= {"a listener failed"}


async def test_a_signals_exception_goes_on_and_the_rest_is_told() -> None:
    """KeyboardInterrupt belongs to the loop; telling is taken up again in its next turn."""
    listeners, told = Listeners(), list[object]()
    listeners.on("metrics_updated", told.append)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    listeners.on("ws_connection_added", interrupted)
    listeners._untold.extend([("ws_connection_added", 1), ("metrics_updated", 2)])
    with pytest.raises(KeyboardInterrupt):
        listeners._tell_all()
    await settle()
    assert told == [2]


@pytest.mark.parametrize("apart", [False, True], ids=["directly", "as a task of its own"])
async def test_a_callback_may_wait_for_the_end(apart: bool) -> None:
    """It is not waited for, though others are, and no time passes."""
    listeners, told = Listeners(), list[str]()
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def end(_: object) -> None:
        assert listeners.is_telling()
        await (asyncio.create_task(listeners.close()) if apart else listeners.close())
        told.append("end")

    async def other(_: object) -> None:
        await asyncio.sleep(1)
        told.append("other")

    for callback in (end, other):
        listeners.on("metrics_updated", callback)
    listeners.tell("metrics_updated", 1)
    await elapse(2)
    assert told == ["other", "end"]
    assert not listeners.is_telling()
    assert loop.time() - begun == pytest.approx(2, abs=0.01)


async def test_who_is_cancelled_at_the_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The application can find the callback that held its end up."""
    listeners = Listeners()

    async def forgotten(_: object) -> None:
        await asyncio.sleep(1000)

    listeners.on("metrics_updated", forgotten)
    listeners.tell("metrics_updated", 1)
    await listeners.close()
    (record,) = (each for each in caplog.records if each.name == "signtusk_realtime.service.listeners")
    assert "metrics_updated: " in record.__dict__["listener"]
    assert "forgotten" in record.__dict__["listener"]


async def test_each_registration_ends_itself_alone() -> None:
    """The same function twice is told twice, and ending one of them twice ends one."""
    listeners, told = Listeners(), list[object]()
    end = listeners.on("metrics_updated", told.append)
    listeners.on("metrics_updated", told.append)
    end()
    end()
    listeners.tell("metrics_updated", 1)
    await settle()
    assert told == [1]


@pytest.mark.parametrize("callback", [None, 5, "x"])
def test_what_cannot_be_called_is_refused(callback: Any) -> None:
    """At once, and not when there is something to tell."""
    with pytest.raises(InvalidInput) as refusal:
        Listeners().on("metrics_updated", callback)
    assert refusal.value.path == ("callback",)


@pytest.mark.parametrize("event", [["metrics_updated"], None, 5])
def test_an_event_is_a_name(event: Any) -> None:
    """Anything else is refused as any unknown name is."""
    with pytest.raises(InvalidInput) as refusal:
        Listeners().on(event, print)
    assert refusal.value.path == ("event",)


def test_an_event_there_is_not_is_named() -> None:
    """With the nearest that there is."""
    with pytest.raises(InvalidInput, match="did you mean ws_connection_added"):
        Listeners().on("ws_connection_aded", print)
    with pytest.raises(InvalidInput, match="known are"):
        Listeners().on("x", print)
    assert len(EVENTS) == 5
