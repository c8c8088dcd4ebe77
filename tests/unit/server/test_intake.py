"""Whose pipelined requests are next."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.server.intake import Turnstile
from tests.support.clock import settle

pytestmark = pytest.mark.virtual_clock


async def test_one_passes_in_a_turn() -> None:
    """However many wait, between two of them everybody else has a turn."""
    turnstile, order = Turnstile(), list[str]()

    def other(turns: int) -> None:
        order.append("other")
        if turns > 1:
            asyncio.get_running_loop().call_soon(other, turns - 1)

    for name in ("first", "second", "third"):
        turnstile.enter(lambda name=name: order.append(name))  # type: ignore[misc]
    asyncio.get_running_loop().call_soon(other, 3)
    await settle()
    assert order == ["first", "other", "second", "other", "third", "other"]


async def test_who_enters_again_goes_behind_those_who_wait() -> None:
    """A connection that has more to read is last again."""
    turnstile, order = Turnstile(), list[str]()

    def again() -> None:
        order.append("again")
        if order.count("again") < 3:
            turnstile.enter(again)

    turnstile.enter(again)
    turnstile.enter(lambda: order.append("once"))
    await settle()
    assert order == ["again", "once", "again", "again"]


async def test_a_defect_of_one_stops_nobody_else() -> None:
    """What raises is the loop's to tell; the next passes all the same."""
    turnstile, order, told = Turnstile(), list[str](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fail() -> None:
        raise LookupError

    turnstile.enter(fail)
    turnstile.enter(lambda: order.append("next"))
    await settle()
    assert order == ["next"]
    assert [type(one) for one in told] == [LookupError]
