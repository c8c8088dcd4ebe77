"""Let everybody go in peace: told first, then ended one after the other.

Owns: who goes when, and what each is told.   Not: listening sockets, requests under way (server), closing handshakes (outlets).
Rule 1: all are told at once when to come back, and each is ended at the time it was told.
Rule 2: one wait for all; nothing is kept or timed per connection but its place in a list.
Rule 3: whoever the log still owes something stays until it has it, or until the time is over. Its cursor is honest either way (I0).
Why not all at once: they would all come back at once, to this node's successor or to its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import UNSET

from signtusk_realtime.cluster.registry import name_of_user
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM, Chunk
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.protocol import codes, stream
from signtusk_realtime.protocol.messages import Reconnect, encode

DEPARTURES_PER_S: Final = 2000
"""About as many as one node lets in and brings up to date in a second."""
FIRST_S: Final = 0.1
LEAST_SPREAD_S: Final = 0.3
STEP_S: Final = 0.01
SLICE_S: Final = 0.002
"""How long telling may hold up the loop."""
RETURN_MS: Final = (250, 1000)
"""How long an EventSource waits after its stream has ended: that alone it knows how to obey."""


def departure_s(index: int, count: int, within_s: float) -> float:
    """Say after how long the connection at `index` of `count` goes: the first soon, the last within `within_s`."""
    first_s = min(FIRST_S, within_s / 4)
    spread_s = min(max(LEAST_SPREAD_S, count / DEPARTURES_PER_S), within_s - first_s)
    return first_s + spread_s * index / max(1, count - 1)


class Drain:
    """See the module. `random()` gives numbers from 0 to 1; `elsewhere(user)` the address of another node, if there is one."""

    def __init__(
        self,
        hub: Hub,
        *,
        random: Callable[[], float],
        elsewhere: Callable[[str], str | None] = lambda user: None,
    ) -> None:
        self._hub = hub
        self._elsewhere = elsewhere
        self._random = random
        self._is_hurried = False

    def hurry(self) -> None:
        """End the waiting; who is still here is ended by the caller."""
        self._is_hurried = True

    async def run(self, connections: Sequence[Connection], within_s: float) -> None:
        """Tell these connections, and end each at its time, all within `within_s`."""
        loop = asyncio.get_running_loop()
        began = slice_began = loop.time()
        leaving: deque[tuple[float, Connection]] = deque()
        for index, connection in enumerate(connections):
            due, now = began + departure_s(index, len(connections), within_s), loop.time()
            if connection.is_open:
                self._tell(connection, max(0, round(1000 * (due - now))))
                leaving.append((due, connection))
            if now - slice_began >= SLICE_S:
                await asyncio.sleep(0)
                slice_began = loop.time()
        staying: list[Connection] = []
        while (leaving or staying) and not self._is_hurried:
            now = loop.time()
            is_over = now >= began + within_s
            staying = [connection for connection in staying if not self._let_go(connection, is_over)]
            while leaving and (is_over or leaving[0][0] <= now):
                _, connection = leaving.popleft()
                if not self._let_go(connection, is_over):
                    staying.append(connection)
            if leaving or staying:
                await asyncio.sleep(STEP_S)

    def _tell(self, connection: Connection, after_ms: int) -> None:
        identity = connection.session.identity
        url = self._elsewhere(name_of_user(identity.organization_id, identity.user_id))
        message = encode(
            Reconnect(reason=codes.CLOSE_RESTARTING.name, after_ms=after_ms, url=UNSET if url is None else url)
        )
        chunks: list[Chunk] = [connection.form.message(message)]
        if connection.form is STREAM:
            # For those who are cut before their time, by a second signal or worse.
            chunks.append(stream.retry_block(after_ms))
        connection.write(connection.form.join(chunks))

    def _let_go(self, connection: Connection, is_over: bool) -> bool:
        """End a connection if it has everything, or must go anyway; say whether it is gone."""
        if not connection.is_open:
            return True
        if not self._hub.settle(connection) and not is_over:
            return False
        if connection.form is STREAM:
            least_ms, most_ms = RETURN_MS
            connection.write(stream.retry_block(round(least_ms + (most_ms - least_ms) * self._random())))
        self._hub.end(connection, codes.CLOSE_RESTARTING)
        return True
