"""Which peers live: those that answer, or take what waits for them.

Owns: what each connection is told once an interval, and whom it ends.   Not: when each is looked at (wheel.py, progress.py), what ending does (hub.py).
Rule: a heartbeat carries a cursor exactly if it covers more than the connection was told last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from signtusk_realtime.delivery.connection import UNTOLD, Connection
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.progress import Progress
from signtusk_realtime.delivery.wheel import Wheel

log = logging.getLogger(__name__)


class Heartbeats:
    """See the module. `place_of`, `cursor_of`: how far a connection has got, and that as a cursor; `ended`: told who does not live."""

    def __init__(
        self,
        *,
        interval_s: float,
        grace_s: float,
        stalled_s: float,
        place_of: Callable[[Connection], Place],
        cursor_of: Callable[[Connection], str],
        ended: Callable[[Connection], None],
    ) -> None:
        self._place_of = place_of
        self._cursor_of = cursor_of
        self._ended = ended
        self.wheel = Wheel(interval_s=interval_s, grace_s=grace_s, beat=self._beat, silent=self._silent)
        self.progress = Progress(stalled_s, self._stalled)

    def start(self) -> None:
        """Begin."""
        self.wheel.start()

    def stop(self) -> None:
        """Look at nobody any more."""
        self.wheel.stop()
        self.progress.stop()

    def add(self, connection: Connection) -> None:
        """Look after a connection."""
        self.wheel.add(connection)

    def remove(self, connection: Connection) -> None:
        """Look after it no more: it is closed."""
        self.wheel.remove(connection)
        self.progress.forget(connection)

    def heard(self, connection: Connection) -> None:
        """Note that the peer lives."""
        connection.heard_at = self.wheel.tick

    def _beat(self, connection: Connection) -> None:
        if connection.outlet.unsent():
            # Alive is who takes what waits for him; a ping would wait behind it, and who was not asked owes no answer.
            self.progress.watch(connection)
            self.heard(connection)
            return
        cursor: str | None = None
        if connection.has_begun:
            told = connection.told
            if told != UNTOLD and connection.audience is not None:
                own = connection.place  # what it alone was written may go further than what all were
                told = max(told, connection.audience.told, own.offsets if own is not None else 0)
            if self._place_of(connection).offsets > told:
                cursor = self._cursor_of(connection)
        chunk = connection.form.heartbeat(cursor)
        if chunk is not None:
            connection.write(connection.form.join([chunk]))

    def _silent(self, connection: Connection) -> None:
        if connection.form.answers_heartbeats and not connection.outlet.unsent():
            log.info("connection silent", extra={"connection": connection.connection_id})
            self._ended(connection)

    def _stalled(self, connection: Connection) -> None:
        log.info("connection stalled", extra={"connection": connection.connection_id})
        self._ended(connection)
