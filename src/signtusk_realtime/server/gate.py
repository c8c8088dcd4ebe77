"""How fast peers are let in: thousands may come back in the same second.

Owns: who waits to be let in, how many are at a time, and when waiting has no sense any more.   Not: what letting in is (websocket.py,
stream.py), other reasons to refuse (entrance.py).
Rule 1: a few admissions begin in one turn of the loop, more after a long one, so that accepting thousands starves nobody who was accepted;
so many at most are under way. The rest wait in their order, bounded in number and time, and are then told to come later, each at another time.
Rule 2: who waits for somebody else, a server of keys, gives his place up meanwhile (`aside`): those who need nobody are not kept out by that.
Rule 3: while many catch up from the log, one is let in now and then: whoever reads much of it slows newcomers down, and never shuts them out.
Why wait at all: a browser's EventSource that is refused never comes back by itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final

from signtusk_realtime.errors import LimitExceeded
from signtusk_realtime.server.deadlines import Deadlines

PER_TURN: Final = 32
"""About 3 ms of work: what events that are delivered meanwhile may have to wait."""
PER_S: Final = 2000
"""So many more for each second since the last turn: up to half of the loop's time."""
MOST_UNDER_WAY: Final = 256
MOST_WAITING: Final = 8192
"""About what one core lets in within `WAIT_S`, with 3 KB each. Measured: with 2048 a storm of 10 000 refused eight thousand times, and who is
refused comes back seconds later."""
WAIT_S: Final = 5.0
"""Clients commonly give up after ten seconds; an answer should reach them before."""
MANY_CATCHING_UP: Final = 256
SLOW_S: Final = 0.005
"""Between two who are let in while many catch up."""
RETRY_AFTER_S: Final = (1, 8)


def overloaded(message: str, elsewhere: str | None = None) -> LimitExceeded:
    """Make a refusal that sends each peer back at another second, or at once to another node, whose address is given."""
    after_s = random.randint(*RETRY_AFTER_S)  # noqa: S311 - spreads, keeps no secret
    return LimitExceeded(message, code="overloaded", retry_after_s=after_s, elsewhere=elsewhere)


class Gate:
    """See the module. `async with gate:` around an admission. Raises on entering: LimitExceeded (overloaded).

    `catching_up` gives how many connections read from the log now.
    """

    def __init__(self, catching_up: Callable[[], int]) -> None:
        self._catching_up = catching_up
        self._queue: deque[asyncio.Future[None]] = deque()
        """In the order of arrival; those who gave up stay until it is their turn."""
        self._waits: Deadlines[asyncio.Future[None]] = Deadlines(WAIT_S, _turn_away)
        self._under_way = 0
        self._began = 0
        """Those who were let in since the last turn."""
        self._next: asyncio.Handle | None = None
        self._turned_at = 0.0
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waits)

    async def __aenter__(self) -> None:
        if self._is_closed:
            raise overloaded("this server is stopping")
        if self._began < PER_TURN and self._under_way < MOST_UNDER_WAY and not self._queue and not self._is_slow:
            self._began += 1
            self._under_way += 1
            self._plan()
            return
        if self.waiting >= MOST_WAITING:
            raise overloaded(f"{MOST_WAITING} connections wait to be let in already")
        loop = asyncio.get_running_loop()
        if not self._queue:
            self._turned_at = loop.time()
        turn = loop.create_future()
        self._queue.append(turn)
        self._waits.add(turn)
        self._plan()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                await self.__aexit__(None, None, None)
            raise
        finally:
            self._waits.discard(turn)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._under_way -= 1
        if self._queue:
            self._plan()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Give this admission's place to others for a while; then come in again, behind those who wait. Raises, after that: as on entering."""
        await self.__aexit__(None, None, None)
        try:
            yield
            await self.__aenter__()
        except BaseException:
            # Whoever ends here has still to leave the gate, and leaves a place that he has not got.
            self._under_way += 1
            raise

    def close(self) -> None:
        """Refuse whoever waits, and whoever comes."""
        self._is_closed = True
        for turn in self._queue:
            if not turn.done():
                turn.set_exception(overloaded("this server is stopping"))
        self._queue.clear()
        self._waits.close()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    @property
    def _is_slow(self) -> bool:
        return self._catching_up() >= MANY_CATCHING_UP

    def _plan(self) -> None:
        if self._next is None and not self._is_closed:
            loop = asyncio.get_running_loop()
            # Ordering: never within the step of an admission, so that the loop's other work gets its turn between.
            self._next = loop.call_later(SLOW_S, self._turn) if self._is_slow else loop.call_soon(self._turn)

    def _turn(self) -> None:
        now, is_slow = asyncio.get_running_loop().time(), self._is_slow
        allowed = 1 if is_slow else PER_TURN + int(PER_S * (now - self._turned_at))
        self._next, self._began, self._turned_at = None, 0, now
        while self._queue and self._began < allowed and self._under_way < MOST_UNDER_WAY:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                self._began += 1
                self._under_way += 1
        if self._began or (self._queue and is_slow):
            self._plan()


def _turn_away(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(overloaded(f"{WAIT_S:g} s were not enough to let this connection in"))
