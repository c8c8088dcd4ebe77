"""Token buckets, told by when they are full again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.sessions.rates import take


def test_a_full_bucket_holds_its_burst_and_no_more() -> None:
    """After quiet exactly the burst can be taken at once."""
    full_at = 0.0
    for _ in range(5):
        taken = take(full_at, 100.0, 1.0, per_second=2.0, burst=5.0)
        assert taken is not None
        full_at = taken
    assert take(full_at, 100.0, 1.0, per_second=2.0, burst=5.0) is None


def test_it_fills_at_its_rate() -> None:
    """An empty bucket of two a second holds one after half a second."""
    full_at = 100.0 + 2.5
    assert take(full_at, 100.49, 1.0, per_second=2.0, burst=5.0) is None
    assert take(full_at, 100.5, 1.0, per_second=2.0, burst=5.0) is not None


def test_more_than_a_burst_never_fits() -> None:
    """What is larger than the bucket is refused, however long it was quiet."""
    assert take(0.0, 1e9, 5.1, per_second=2.0, burst=5.0) is None


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
def test_no_span_lets_more_through_than_burst_and_rate(pauses: list[float]) -> None:
    """However messages are spread, between any two moments at most burst + rate x time passes."""
    now, full_at = 0.0, 0.0
    passed: list[float] = []
    for pause in pauses:
        now += pause
        taken = take(full_at, now, 1.0, per_second=2.0, burst=5.0)
        if taken is not None:
            full_at = taken
            passed.append(now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= 5.0 + 2.0 * (passed[last] - passed[first]) + 1e-6
