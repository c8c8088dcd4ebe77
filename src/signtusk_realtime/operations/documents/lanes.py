"""A lane for each document: what is asked of it on this node goes in order, and knows what the step before left.

Owns: the queue, its bound, how many documents are held in memory.   Not: what is done in a lane (edit.py, resolve.py, transition.py).
Rule 1: what a lane holds may be outdated by another node; only the store's compare-and-set is the truth.
Rule 2: lanes in use are never dropped; of the others the least recently used goes first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import LogName
from signtusk_realtime.operations.documents.store import Loaded

MOST_WAITING: Final = 200
LANES: Final = 1024
KEPT_BYTES: Final = 128 << 20
"""Roughly, of documents that lanes hold while nobody uses them."""


class Lane:
    """One document's turn, and what the last one left in memory."""

    __slots__ = ("_waiting", "is_taken", "loaded", "size")

    def __init__(self) -> None:
        self.loaded: Loaded | None = None
        self.size = 0
        self.is_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    async def take(self) -> None:
        """Wait for one's turn. Raises: Unavailable (contention) if too many wait already."""
        if not self.is_taken:
            self.is_taken = True
            return
        if len(self._waiting) >= MOST_WAITING:
            raise Unavailable(f"{MOST_WAITING} edits of this document wait already", code="contention")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            # Whoever left in the meantime has passed it over already.
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Let the next one have its turn."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.is_taken = False


class Lanes:
    """All lanes of a node."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[tuple[LogName, str], Lane] = OrderedDict()
        self._size = 0

    @asynccontextmanager
    async def turn(self, log: LogName, document_id: str) -> AsyncIterator[Lane]:
        """Have a document to oneself, as far as this node goes. Raises: Unavailable (contention)."""
        key = (log, document_id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane()
        self._lanes.move_to_end(key)
        await lane.take()
        try:
            yield lane
        finally:
            if self._lanes.get(key) is lane:
                self._weigh(lane, 0 if lane.loaded is None else lane.loaded.held_bytes)
            lane.leave()
            self._trim()

    def forget(self, log: LogName, document_id: str) -> None:
        """Hold nothing of a document any longer."""
        lane = self._lanes.get((log, document_id))
        if lane is not None:
            lane.loaded = None

    def _weigh(self, lane: Lane, size: int) -> None:
        """Note how much a lane holds, in bytes."""
        self._size += size - lane.size
        lane.size = size

    def _trim(self) -> None:
        if len(self._lanes) <= LANES and self._size <= KEPT_BYTES:
            return
        size, count, idle = self._size, len(self._lanes), []
        for key, lane in self._lanes.items():
            if count <= LANES and size <= KEPT_BYTES:
                break
            if not lane.is_taken:
                size, count = size - lane.size, count - 1
                idle.append(key)
        for key in idle:
            self._size -= self._lanes.pop(key).size
