"""How many files and sockets this process has open, of how many it may.

Owns: both numbers, the one line where few are left.   Not: who opens them, how they are told (openmetrics.py).
Why a line before the end: without a descriptor nobody new comes in, not even who asks how we are; the kernel lets them wait, and the loop
below us says nothing.
"""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

FEW_LEFT: Final = 0.9
"""The share of the limit from which on it is told."""
LOOK_S: Final = 10.0
QUIET_S: Final = 60.0
_OWN: Final = Path("/proc/self/fd")

log = logging.getLogger(__name__)


class Descriptors(NamedTuple):
    """`most`: None where there is no limit."""

    open: int
    most: int | None

    @property
    def are_few_left(self) -> bool:
        return self.most is not None and self.open >= self.most * FEW_LEFT


def descriptors() -> Descriptors | None:
    """Count; None where the system does not tell."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = None if soft == resource.RLIM_INFINITY else soft
    try:
        # Since Linux 6.2 the folder's size is their number, which takes no descriptor, and the same time however many there are.
        return Descriptors(_OWN.stat().st_size or sum(1 for _ in _OWN.iterdir()), most)
    except OSError:
        return None


class DescriptorWatch:
    """Tells where few are left, at most once a minute. `clock`: monotonic, in seconds; `count`: counts them."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, count: Callable[[], Descriptors | None] = descriptors
    ) -> None:
        self._clock = clock
        self._count = count
        self._next_at = float("-inf")

    def look(self) -> None:
        """Look, if it is time to; called as often as one likes."""
        now = self._clock()
        if now < self._next_at:
            return
        found = self._count()
        if found is None or not found.are_few_left:
            self._next_at = now + LOOK_S
            return
        self._next_at = now + QUIET_S
        log.warning("few descriptors are left: soon nobody new comes in", extra=found._asdict())
