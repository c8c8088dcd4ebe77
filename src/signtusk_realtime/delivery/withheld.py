"""Who may not be shown yet what he missed.

Owns: who waits for that, and the looking whether it is so.   Not: what forbids it (cluster/freshness.py), reading for them (catch_up.py).
Rule: one timer for all, and none while nobody waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.errors import Unavailable

LOOK_S: Final = 0.1
log = logging.getLogger(__name__)


class Withheld:
    """See the module. `check` raises Unavailable while nobody may be shown anything; `again` is called for each who waited, once it does not."""

    def __init__(self, check: Callable[[], None], again: Callable[[Connection], None]) -> None:
        self._check = check
        self._again = again
        self._waiting: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_free(self, connection: Connection) -> bool:
        """Say whether somebody may be shown what he missed; if not, he waits here."""
        try:
            self._check()
        except Unavailable as error:
            self._waiting[connection] = None
            if self._timer is None:
                log.warning("catching up waits", extra={"reason": error.message})
                self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
            return False
        return True

    def forget(self, connection: Connection) -> None:
        """Wait for it no more: it is closed."""
        self._waiting.pop(connection, None)

    def stop(self) -> None:
        """Let go of everything."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        try:
            self._check()
        except Unavailable:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
            return
        waiting, self._waiting = self._waiting, {}
        for connection in waiting:
            self._again(connection)
