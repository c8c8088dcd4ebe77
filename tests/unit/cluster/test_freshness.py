"""When a node may let somebody in: only if it knows all that was revoked up to a second ago."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.cluster.freshness import Freshness
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import ORIGIN_TAG, Epoch, Position
from tests.support.clock import elapse

pytestmark = pytest.mark.virtual_clock
EPOCH, OTHER = Epoch("0" * 16), Epoch("1" * 16)


def _top(offset: int, epoch: Epoch = EPOCH) -> Position:
    return Position(epoch, offset, ORIGIN_TAG)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_look_counts_from_its_beginning() -> None:
    """A node is fresh for a second from when a look that found nothing new was begun, not from when it was answered."""
    fresh = Freshness()
    fresh.watch()
    fresh.acted(EPOCH, 5)
    assert fresh.is_stale
    begun_at = _now()
    await elapse(0.5)
    fresh.looked(_top(5), begun_at)
    assert not fresh.is_stale
    await elapse(0.499)
    assert not fresh.is_stale
    await elapse(0.002)
    assert fresh.is_stale


async def test_a_look_counts_once_its_top_was_acted_upon() -> None:
    """As long as an entry that a look has seen was not acted upon, the look proves nothing; nor does another life's."""
    fresh = Freshness()
    fresh.watch()
    fresh.acted(EPOCH, 4)
    fresh.looked(_top(5), _now())
    assert fresh.is_stale
    fresh.acted(OTHER, 9)
    assert fresh.is_stale
    fresh.acted(EPOCH, 5)
    assert not fresh.is_stale


async def test_whoever_waits_is_let_in_when_it_is_fresh_again() -> None:
    """A stale node lets people wait for a while, and refuses them if that does not help."""
    fresh = Freshness()
    fresh.watch()
    fresh.acted(EPOCH, 0)
    waiting = asyncio.ensure_future(fresh.wait())
    await elapse(1.9)
    assert not waiting.done()
    fresh.looked(_top(0), _now())
    await waiting
    await elapse(5)
    with pytest.raises(Unavailable):
        await fresh.wait()


async def test_who_shares_nothing_is_always_fresh() -> None:
    """With an engine of one's own nothing has to be proven."""
    fresh = Freshness()
    assert not fresh.is_stale
    await fresh.wait()


async def test_who_missed_something_has_to_learn_it_all() -> None:
    """Looks, and what is acted upon behind the gap, prove nothing until everything was learned; then both count."""
    fresh = Freshness()
    fresh.watch()
    fresh.acted(EPOCH, 5)
    fresh.looked(_top(5), _now())
    assert not fresh.is_stale
    fresh.lost()
    assert fresh.epoch is None
    await elapse(2)
    fresh.acted(EPOCH, 9)
    fresh.looked(_top(9), _now())
    assert fresh.is_withholding
    assert fresh.epoch is None
    fresh.learned(EPOCH, 8)
    assert not fresh.is_stale
    assert fresh.epoch == EPOCH
