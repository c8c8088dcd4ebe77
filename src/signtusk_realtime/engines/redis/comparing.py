"""Which followed logs may have moved unheard, and reading those.

Owns: comparing where logs stand with what was delivered of them: after a connection was made or a slot moved, and now and then.
Not: reading and delivering them (delivery.py).
Rule 1: after a connection every followed log of it is compared, for what a server counts may begin anew.   Rule 2: otherwise only what the server
says has moved since the last look.   Rule 3: what could not be compared is compared again until it was.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Final

from signtusk_realtime.engines.redis.delivery import Delivery
from signtusk_realtime.engines.redis.keys import Keys
from signtusk_realtime.engines.redis.primary import Primary
from signtusk_realtime.engines.redis.scripts import MOVED, TOPS
from signtusk_realtime.engines.redis.servers import Servers
from signtusk_realtime.engines.redis.stored import read_tops
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import LogName

_log = logging.getLogger(__name__)

_EVERY_S: Final = (10.0, 25.0)
_AGAIN_S: Final = 0.25
_AT_ONCE: Final = 256


class Comparing:
    """See the module."""

    def __init__(self, keys: Keys, delivery: Delivery, servers: Servers) -> None:
        self._keys = keys
        self._delivery = delivery
        self._servers = servers
        self._due: set[int] = set()
        self._is_due = asyncio.Event()
        self._moves: dict[int, tuple[Primary, int, int]] = {}
        """By partition: how many moves its primary counted at the last look, in which of its lives."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def look(self, partitions: Iterable[int]) -> None:
        """Compare every followed log of these partitions soon."""
        for partition in partitions:
            self._moves.pop(partition, None)
            self._due.add(partition)
        self._is_due.set()

    async def close(self) -> None:
        """Look no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            pause_s = random.uniform(*_EVERY_S)  # noqa: S311 - jitter
            try:
                async with asyncio.timeout(pause_s):
                    await self._is_due.wait()
            except TimeoutError:
                self._due.update(log.partition for log in self._delivery.followed.values())
            self._is_due.clear()
            due, self._due = self._due, set()
            followed: dict[int, list[LogName]] = {}
            for name, log in self._delivery.followed.items():
                if log.partition in due:
                    followed.setdefault(log.partition, []).append(name)
            done = await asyncio.gather(*(self._compare(partition, names) for partition, names in followed.items()))
            failed = [partition for partition, is_done in zip(followed, done, strict=True) if not is_done]
            if failed:
                await asyncio.sleep(_AGAIN_S)
                self._due.update(failed)
                self._is_due.set()

    async def _compare(self, partition: int, names: list[LogName]) -> bool:
        try:
            primary = self._servers.primary(partition)
            here = self._keys.partition(partition)
            seen = self._moves.get(partition)
            if seen is not None and seen[:2] == (primary, primary.lives):
                # Ordering: the count is taken before the tops, so that what moves between is looked at twice rather than not at all.
                moved = await primary.run(MOVED, (here.changed, here.moves), seen[2])
                if isinstance(moved, list) and isinstance(moved[0], int):
                    self._moves[partition] = (primary, primary.lives, moved[0])
                    known = {name.decode() for name in moved[1:] if isinstance(name, bytes)}
                    names = [name for name in names if name in known]
            else:
                moves = await primary.ask("GET", here.moves)
                count = int(moves) if isinstance(moves, bytes) else 0
                self._moves[partition] = (primary, primary.lives, count)
            for first in range(0, len(names), _AT_ONCE):
                await self._compare_tops(primary, names[first : first + _AT_ONCE])
        except RealtimeError as error:
            self._moves.pop(partition, None)
            _log.debug("comparing failed", extra={"partition": partition, "reason": error.message})
            return False
        return True

    async def _compare_tops(self, primary: Primary, names: list[LogName]) -> None:
        tops = read_tops(await primary.run(TOPS, tuple(self._keys.log(name).meta for name in names)))
        for name, top in zip(names, tops, strict=True):
            log = self._delivery.followed.get(name)
            if log is not None and top != log.position:
                self._delivery.catch_up(log)
