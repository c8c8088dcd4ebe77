"""When the oldest entries go."""

from __future__ import annotations

import pytest

from signtusk_realtime.engines.retention import count_due
from signtusk_realtime.events.log import Retention

ENTRIES = [(100, 10), (200, 20), (300, 30), (250, 40)]


@pytest.mark.parametrize(
    "retention, now, expected",
    [
        (Retention(age_ms=100), 200, (0, 0)),
        (Retention(age_ms=100), 201, (1, 10)),
        (Retention(age_ms=100), 401, (4, 100)),
        (Retention(age_ms=100), 390, (2, 30)),
        (Retention(count=4), 0, (0, 0)),
        (Retention(count=3), 0, (1, 10)),
        (Retention(count=0), 0, (4, 100)),
        (Retention(max_bytes=100), 0, (0, 0)),
        (Retention(max_bytes=99), 0, (1, 10)),
        (Retention(max_bytes=70), 0, (2, 30)),
        (Retention(max_bytes=0), 0, (4, 100)),
        (Retention(age_ms=100, count=3, max_bytes=50), 201, (3, 60)),
    ],
)
def test_what_is_due(retention: Retention, now: int, expected: tuple[int, int]) -> None:
    """The oldest go while they are beyond the age, or the log beyond the count or the cap; never one from between."""
    assert count_due(retention, now, ENTRIES, len(ENTRIES), 100) == expected
