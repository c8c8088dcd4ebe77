"""The wire form of instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from signtusk_realtime.events.instants import format_instant, format_milliseconds


@pytest.mark.parametrize(
    "instant, text",
    [
        (datetime(2026, 11, 22, 18, 49, 22, 123000, UTC), "2026-11-22T18:49:22.123Z"),
        (datetime(2026, 11, 22, 18, 49, 22, 0, UTC), "2026-11-22T18:49:22.000Z"),
        (datetime(2026, 11, 22, 18, 49, 22, 999, UTC), "2026-11-22T18:49:22.000Z"),
        (datetime(2026, 11, 22, 18, 49, 22, 999_999, UTC), "2026-11-22T18:49:22.999Z"),
        (datetime(2026, 11, 22, 20, 49, 22, 5000, timezone(timedelta(hours=2))), "2026-11-22T18:49:22.005Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_an_instant_is_written_in_utc_with_milliseconds(instant: datetime, text: str) -> None:
    """UTC, three digits, Z; what is finer is cut off."""
    assert format_instant(instant) == text


def test_an_instant_without_a_zone_is_refused() -> None:
    """A naive instant means another moment on every machine."""
    with pytest.raises(ValueError, match="zone"):
        format_instant(datetime(2026, 11, 22))  # noqa: DTZ001


@pytest.mark.parametrize(
    "at_ms, text",
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_795_373_362_123, "2026-11-22T18:49:22.123Z"),
    ],
)
def test_milliseconds_are_written_the_same_way(at_ms: int, text: str) -> None:
    """Milliseconds since 1970 UTC, also those before it."""
    assert format_milliseconds(at_ms) == text
