"""How long clients wait between two tries."""

from __future__ import annotations

import random

from signtusk_realtime.client.delays import RESTART_S, SOON_S, Delays


def until_s(delays: Delays, seconds: float) -> list[float]:
    """Give delays until they are so many seconds together."""
    given: list[float] = []
    while sum(given) < seconds:
        given.append(delays.next())
    return given


def test_delays_grow_and_differ() -> None:
    """Each is between a fifth of its step and the whole of it; steps double up to the longest."""
    least, most = Delays(lambda: 0.0, longest_s=3.0), Delays(lambda: 1.0, longest_s=3.0)
    assert [most.next() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert [round(least.next(), 6) for _ in range(5)] == [0.1, 0.2, 0.4, 0.6, 0.6]


def test_a_restart_is_awaited_closely_and_then_as_ever() -> None:
    """For some seconds a try every few tenths of one; a service that is not back by then is asked ever less often."""
    least_s, most_s = SOON_S
    delays = Delays(random.Random(4).random)
    delays.expect_restart()
    soon = until_s(delays, RESTART_S)
    assert all(least_s <= delay_s <= most_s for delay_s in soon)
    assert len(set(soon)) == len(soon)
    delays = Delays(lambda: 1.0)
    delays.expect_restart()
    assert [delays.next() for _ in range(14)] == [0.5] * 10 + [0.5, 1, 2, 4]


def test_one_restart_after_the_other_is_no_reason_to_hurry() -> None:
    """The quick tries of a row are counted together; only a success begins a new row."""
    delays = Delays(lambda: 1.0)
    for _ in range(5):
        delays.expect_restart()
        assert [delays.next(), delays.next()] == [0.5, 0.5]
    delays.expect_restart()
    assert [delays.next(), delays.next()] == [0.5, 1]
    delays.reset()
    assert [delays.next(), delays.next()] == [0.5, 1], "no restart is expected any more"
    delays.reset()
    delays.expect_restart()
    assert [delays.next(), delays.next()] == [0.5, 0.5]
