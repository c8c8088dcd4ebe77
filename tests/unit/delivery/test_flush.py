"""The flusher: round robin, one slice per turn, no lost wake-up; and the announcer, which it flushes too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from signtusk_realtime.delivery.flush import SLICE_S, Flusher
from tests.support.delivery import Turns


class Pile:
    """Something to flush: so many pieces, one look at the clock each."""

    def __init__(self, name: str, pieces: int, done: list[str]) -> None:
        self.is_awake = False
        self.name = name
        self.pieces = pieces
        self.done = done

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        while self.pieces:
            self.pieces -= 1
            self.done.append(self.name)
            if clock() >= deadline and self.pieces:
                return False
        return True


def test_everything_woken_in_a_turn_is_flushed_in_the_next() -> None:
    """Waking schedules one turn, whatever the number of wakes."""
    turns, done = Turns(), list[str]()
    flusher = turns.flusher()
    piles = [Pile(name, 2, done) for name in "abc"]
    for pile in piles * 2:
        flusher.wake(pile)
    assert len(turns.waiting) == 1
    turns.turn()
    assert done == list("aabbcc")
    assert not turns.turn()


def test_a_slice_ends_and_the_next_one_takes_its_turn() -> None:
    """One slice a turn; who is not done goes to the end of the line."""
    turns, done = Turns(), list[str]()
    flusher = turns.flusher()
    for pile in (Pile("a", 3, done), Pile("b", 1, done), Pile("c", 2, done)):
        flusher.wake(pile)
    seen = []
    while turns.turn(looks=1):  # the first look begins the slice, the second ends it
        seen.append("".join(done))
        done.clear()
    assert seen == ["a", "b", "c", "a", "c", "a"]


def test_a_turn_lasts_no_longer_than_a_slice() -> None:
    """The deadline is a slice after the turn began, also over many small piles."""
    now, done = [0.0], list[str]()
    waiting: list[Callable[[], None]] = []

    def clock() -> float:
        now[0] += SLICE_S / 4
        return now[0]

    flusher = Flusher(waiting.append, clock)
    for n in range(10):
        flusher.wake(Pile(str(n), 1, done))
    waiting.pop()()
    assert 0 < len(done) <= 4
    assert len(waiting) == 1


def test_a_wake_within_a_flush_is_not_lost() -> None:
    """What becomes pending while it is being flushed is flushed again; what others woke, too."""
    turns, done = Turns(), list[str]()
    flusher = turns.flusher()
    other = Pile("other", 1, done)

    class Waking(Pile):
        def flush(self, clock: Callable[[], float], deadline: float) -> bool:
            finished = super().flush(clock, deadline)
            if len(done) < 3:
                self.pieces += 1
                flusher.wake(self)
                flusher.wake(other)
            return finished

    flusher.wake(Waking("own", 1, done))
    turns.run()
    assert done == ["own", "own", "other", "own"]
    assert other.pieces == 0


def test_one_that_raises_does_not_hold_up_the_others() -> None:
    """An error leaves the turn, and the rest is flushed in the next one."""
    turns, done = Turns(), list[str]()
    flusher = turns.flusher()

    class Broken(Pile):
        def flush(self, clock: Callable[[], float], deadline: float) -> bool:
            raise RuntimeError("broken")

    flusher.wake(Broken("broken", 1, done))
    flusher.wake(Pile("whole", 1, done))
    with pytest.raises(RuntimeError):
        turns.turn()
    turns.run()
    assert done == ["whole"]
