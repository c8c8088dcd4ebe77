"""Whether this node knows of everything that was revoked up to a moment ago.

Owns: when the control log was last read and acted upon to its end.   Not: reading it (registry.py), acting (control.py).
Rule 1: a look at the log counts from when it was begun, and only once everything up to the top it found has been acted upon.
Rule 2: who has one engine to himself is always fresh: nothing is revoked but through him.
Why: a node that is cut off keeps its clients, but shows them nothing and lets nobody in, for he may have been revoked elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, NamedTuple

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Epoch, Position

STALE_S: Final = 1.0
"""How long a revocation may be unknown to a node that lets somebody in."""
WITHHELD_S: Final = 2.0
"""How long it may be unknown to a node that goes on delivering what happens: longer, for a moment's delay shall not send everybody to the log."""
PATIENCE_S: Final = 2.0
"""How long somebody waits to be let in. A browser's EventSource that is refused never comes back by itself."""
_LOOKS_KEPT: Final = 16


class _Look(NamedTuple):
    epoch: Epoch
    offset: int
    begun_at: float


class Freshness:
    """See the module. Times are the event loop's."""

    def __init__(self) -> None:
        self._is_watched = False
        self._good_at = 0.0
        self._acted: tuple[Epoch, int] | None = None
        self._is_lost = False
        self._looks: deque[_Look] = deque(maxlen=_LOOKS_KEPT)
        self._waiting: set[asyncio.Future[None]] = set()

    def watch(self) -> None:
        """From now on freshness has to be proven."""
        self._is_watched = True
        self._good_at = asyncio.get_running_loop().time() - STALE_S

    @property
    def is_stale(self) -> bool:
        """Whether somebody might have been revoked a second ago without this node knowing."""
        return self._is_watched and asyncio.get_running_loop().time() - self._good_at >= STALE_S

    @property
    def is_withholding(self) -> bool:
        """Whether what happens is to stay in the log until this node knows who may see it."""
        return self._is_watched and asyncio.get_running_loop().time() - self._good_at >= WITHHELD_S

    @property
    def epoch(self) -> Epoch | None:
        """The life of the control log that was acted upon last; None where all has to be learned (anew)."""
        return None if self._acted is None or self._is_lost else self._acted[0]

    def lost(self) -> None:
        """Note that something was missed: until all was learned anew no look counts."""
        self._is_lost = True

    def learned(self, epoch: Epoch, offset: int) -> None:
        """Note that all is known that was revoked up to here, as if everything had been acted upon."""
        self._is_lost = False
        known = self._acted
        self._acted = (epoch, offset if known is None or known[0] != epoch else max(offset, known[1]))
        self._settle()

    def acted(self, epoch: Epoch, offset: int) -> None:
        """Note that everything up to here was acted upon."""
        self._acted = (epoch, offset)
        self._settle()

    def looked(self, top: Position, begun_at: float) -> None:
        """Note the top that a look found which was begun at that time."""
        self._looks.append(_Look(top.epoch, top.offset, begun_at))
        self._settle()

    def check(self) -> None:
        """Refuse what nobody may be shown who was revoked. Raises: Unavailable, if this node is stale."""
        if self.is_stale:
            raise Unavailable("this node cannot learn who was revoked, and replays nothing until it can")

    async def wait(self) -> None:
        """Wait until this node is fresh. Raises: Unavailable, after a while."""
        if not self.is_stale:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await waiter
        except TimeoutError:
            raise Unavailable("this node cannot learn who was revoked, and lets nobody in until it can") from None
        finally:
            self._waiting.discard(waiter)

    def _settle(self) -> None:
        if self._acted is None or self._is_lost:
            return
        epoch, offset = self._acted
        for look in self._looks:
            if look.epoch == epoch and look.offset <= offset:
                self._good_at = max(self._good_at, look.begun_at)
        self._looks = deque((look for look in self._looks if look.begun_at > self._good_at), _LOOKS_KEPT)
        if self._waiting and not self.is_stale:
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
