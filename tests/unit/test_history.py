"""The judge of histories finds what it is there to find: each kind of fault is seeded once."""

from __future__ import annotations

import pytest

from tests.support.history import Attempt, Observed

LOG = [(1, "a1"), (2, "b1"), (3, "b2"), (4, "a2")]


def observed() -> Observed:
    return Observed(
        publishers={
            "a": [Attempt(("a1",), (1,)), Attempt(("a2",), (4,)), Attempt(("a3",))],
            "b": [Attempt(("b1", "b2"), (2, 3)), Attempt(("b3", "b4"))],
        },
        subscribers=[["b1", "b2", "a2"], []],
    )


def test_an_honest_history_is_faultless() -> None:
    """What is as promised is not complained about; what nobody was answered may have happened, whole, or not."""
    assert observed().faults(LOG) == []
    assert observed().faults([*LOG, (5, "b3"), (6, "b4"), (7, "a3")]) == []
    assert observed().answered == 4
    assert [attempt.ids for attempt in observed().unanswered()] == [("a3",), ("b3", "b4")]


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        (LOG[:3], "lost: a2"),
        ([*LOG, (5, "a1")], "repeated: a1"),
        ([*LOG, (6, "a3")], "gap: offsets are not 1, 2, 3, …"),
        ([*LOG, (5, "x")], "invented: x"),
        ([(1, "b1"), (2, "b2"), (3, "a1"), (4, "a2")], "moved: a1"),
        ([(1, "a2"), (2, "b1"), (3, "b2"), (4, "a1")], "reordered: a2"),
        ([*LOG, (5, "b3")], "torn: b3"),
        ([*LOG, (5, "b3"), (6, "a3"), (7, "b4")], "torn: b3"),
        (LOG[:3], "leaked: a2"),
        ([*LOG[:3], (4, "a3"), (5, "a2")], "skipped before: a2"),
    ],
)
def test_every_fault_is_found(log: list[tuple[int, str]], fault: str) -> None:
    """A log with one thing wrong is told by that thing's name."""
    assert fault in observed().faults(log)


@pytest.mark.parametrize(
    ("shown", "fault"),
    [
        (["b1", "b1", "b2"], "shown twice: b1"),
        (["b1", "b2", "b1", "a2"], "shown twice: b1"),
        (["b1", "a2", "b2"], "shown late: b2"),
        (["a1", "b2"], "skipped before: b2"),
        (["a1", "a3"], "leaked: a3"),
    ],
)
def test_what_a_subscriber_saw_wrongly_is_found(shown: list[str], fault: str) -> None:
    """Once per connection means once, in order, without a hole."""
    seen = observed()
    seen.subscribers.append(shown)
    assert fault in seen.faults(LOG)
