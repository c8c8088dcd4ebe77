"""Clients of several nodes: whoever missed something, got it twice or in another order makes it no result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from benchmarks.crossing import Crowd
from benchmarks.fleet import Fleet, Used
from benchmarks.generator import NoResult
from benchmarks.subscribers import Publisher, Subscriber


def crowd(*numbers: Sequence[int], is_ours: bool = True) -> Crowd:
    """Give clients that got these, of four events that two publishers published in turn."""

    async def make() -> Crowd:
        made = Crowd(Fleet([], None), is_ours, 0, published=4)
        made.publishers = [Publisher(None, None, "org"), Publisher(None, None, "org")]  # type: ignore[arg-type]  # they publish nothing
        for got in numbers:
            one = Subscriber(0, "org", is_event_stream=False)
            one.numbers, one.is_open = list(got), True
            made.subscribers.append(one)
        return made

    return asyncio.run(make())


def test_what_everybody_got_once_and_in_order_is_a_result() -> None:
    """Which of two publishers' events comes first is nobody's to say, but all are shown the same."""
    crowd([1, 2, 3, 4], [1, 2, 3, 4]).check()
    crowd([2, 1, 4, 3], [2, 1, 4, 3]).check()


@pytest.mark.parametrize("got", [[1, 2, 3], [1, 2, 3, 4, 4], [1, 3, 2, 2], [3, 2, 1, 4]], ids=str)
def test_what_one_did_not_get_so_is_none(got: list[int]) -> None:
    """Missing, twice, or out of its publisher's order."""
    with pytest.raises(NoResult, match="twice, out of order or not at all"):
        crowd([1, 2, 3, 4], got).check()


def test_ours_shows_all_the_same_order() -> None:
    """Two nodes that show two orders are found; of others only each publisher's order is asked."""
    with pytest.raises(NoResult, match="two orders"):
        crowd([1, 2, 3, 4], [2, 1, 3, 4]).check()
    crowd([1, 2, 3, 4], [2, 1, 3, 4], is_ours=False).check()


def test_what_was_used_between_two_moments() -> None:
    """Nodes, Valkey and its counts, each by itself; a count that was not there before began at nothing."""
    before = Used(10.0, (1.0, 2.0), 3.0, {"calls": 5.0})
    after = Used(14.0, (1.5, 4.0), 3.5, {"calls": 9.0, "late": 2.0})
    assert after.since(before) == Used(4.0, (0.5, 2.0), 0.5, {"calls": 4.0, "late": 2.0})
