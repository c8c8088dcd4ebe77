"""What this process refuses: how often, by code, and whether somebody tries one bad credential after the other.

Owns: the count of refused requests, the one line about a burst of refused credentials.   Not: what is refused and why (every other room), how it
is answered (server/problems.py).
Why of the process, and not of a service: a refusal is written by whoever reads a request, down to what is no request at all, and a process that
serves has one service.
Rule 1: the count has a key per code of the table, and no other.   Rule 2: a line says how many, and repeats nothing of what came in.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

MANY: Final = 100
"""Refused credentials within a minute that are worth a line; a page with an expired token tries once or twice."""
QUIET_S: Final = 60.0

log = logging.getLogger(__name__)

REQUESTS_REFUSED: Final[Counter[str]] = Counter()
"""Requests, handshakes and event streams that were answered by a problem or refused by a close code, by code."""


class RefusedCredentials:
    """Tells of bursts, at most once a minute. `monotonic_s`: a clock that never goes back."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._began_at = float("-inf")
        self._count = 0
        self._quiet_until = float("-inf")

    def note(self) -> None:
        """Count a credential that was refused."""
        now = self._monotonic_s()
        if now - self._began_at >= QUIET_S:
            self._began_at, self._count = now, 0
        self._count += 1
        if self._count >= MANY and now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            log.warning("many credentials are refused", extra={"refused": self._count, "within_s": QUIET_S})
