"""Whose pipelined requests are next."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.server.intake import PAUSE_S, Turnstile
from tests.support.clock import elapse, settle

pytestmark = pytest.mark.virtual_clock


async def test_between_two_there_is_a_pause() -> None:
    """However many wait, between two of them everybody else has time; the first waits for nobody."""
    turnstile, times, loop = Turnstile(), list[float](), asyncio.get_running_loop()
    began = loop.time()
    for _ in range(3):
        turnstile.enter(lambda: times.append(loop.time() - began))
    await elapse(1)
    assert times == pytest.approx([0, PAUSE_S, 2 * PAUSE_S])


async def test_nobody_passes_at_once() -> None:
    """What is entered in a turn of the loop passes in a later one, so that no answer is made within another."""
    turnstile, order = Turnstile(), list[str]()
    turnstile.enter(lambda: order.append("passed"))
    order.append("entered")
    await settle()
    assert order == ["entered", "passed"]


async def test_who_enters_again_goes_behind_those_who_wait() -> None:
    """A connection that has more to read is last again."""
    turnstile, order = Turnstile(), list[str]()

    def again() -> None:
        order.append("again")
        if order.count("again") < 3:
            turnstile.enter(again)

    turnstile.enter(again)
    turnstile.enter(lambda: order.append("once"))
    await elapse(1)
    assert order == ["again", "once", "again", "again"]


async def test_a_defect_of_one_stops_nobody_else() -> None:
    """What raises is the loop's to tell; the next passes all the same."""
    turnstile, order, told = Turnstile(), list[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fail() -> None:
        raise LookupError

    turnstile.enter(fail)
    turnstile.enter(lambda: order.append("next"))
    await elapse(1)
    assert order == ["next"]
    assert [type(one) for one in told] == [LookupError]
