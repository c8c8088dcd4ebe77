"""What retention counts and when the oldest entries go: one arithmetic for all engines.

Owns: the size of an entry, the number of entries that are due.   Not: when to look, how to delete (each engine).
Rule: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from signtusk_realtime.events.log import Retention

ENTRY_OVERHEAD_BYTES: Final = 46
"""Format byte, tag, time and digest: what is stored beside the id, the keys and the body."""
WARNING_SHARE: Final = 0.8
"""Above this share of `Retention.max_bytes` a log is worth a warning."""


def stored_bytes(event_id: str, keys: Sequence[str], body: bytes) -> int:
    """Give the bytes that an entry counts for: its overhead, its id, its keys with a separator each, its body."""
    return ENTRY_OVERHEAD_BYTES + len(event_id) + len("".join(keys).encode()) + len(keys) + len(body)


def count_due(
    retention: Retention, now: int, oldest: Iterable[tuple[int, int]], count: int, size: int
) -> tuple[int, int]:
    """Say how many of the oldest entries go, and how many bytes with them.

    `oldest` gives (at, bytes) from the oldest on, possibly not to the end; `count` and `size` are those of the whole log.
    """
    cutoff = now - retention.age_ms
    due = freed = 0
    for at, entry_bytes in oldest:
        over_count = retention.count is not None and count - due > retention.count
        if not (at < cutoff or over_count or size - freed > retention.max_bytes):
            break
        due += 1
        freed += entry_bytes
    return due, freed
