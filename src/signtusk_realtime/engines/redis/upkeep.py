"""What is deleted in the background: entries beyond retention, expired records.

Owns: rounds over the partitions, in small steps, each one script.   Not: what is due (lua/), when somebody asks for a round (engine.py).
Rule 1: every node does this, for the steps are safe to repeat; rounds begin at chance, so that nodes meet rarely.
Rule 2: a full server does it too, for it makes room.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from signtusk_realtime.engines.redis.keys import PARTITIONS, Keys, encoded, split_expiry
from signtusk_realtime.engines.redis.primary import Primary
from signtusk_realtime.engines.redis.scripts import DUE, EXPIRE, TRIM
from signtusk_realtime.engines.redis.servers import Servers
from signtusk_realtime.engines.redis.stored import Reply
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import LogName, Retention

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
_STEP: Final = 256


class Upkeep:
    """See the module. `clock` gives the time as scripts take it: empty for the server's."""

    def __init__(
        self, keys: Keys, servers: Servers, retention: Retention, clock: Callable[[], int | str], interval_s: float
    ) -> None:
        self._keys = keys
        self._servers = servers
        self._retention = retention
        self._clock = clock
        self._interval_s = interval_s
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Begin no further step."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def round(self, pause_s: float = 0.0) -> None:
        """Let everything go that is due, resting between steps."""
        for first in range(0, PARTITIONS, _AT_ONCE):
            some = range(first, first + _AT_ONCE)
            await asyncio.gather(*map(self._tidy, some))
            await asyncio.sleep(pause_s)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            await self.round(self._interval_s / 2 / (PARTITIONS / _AT_ONCE))

    async def _tidy(self, partition: int) -> None:
        try:
            primary = self._servers.primary(partition)
            while await self._step(primary, partition):
                continue
        except RealtimeError as error:
            _log.debug("upkeep failed", extra={"partition": partition, "reason": error.message})

    async def _step(self, primary: Primary, partition: int) -> bool:
        """Let some go; say whether there may be more."""
        here, now = self._keys.partition(partition), self._clock()
        due = await primary.run(DUE, (here.due, here.expiries), now, self._retention.age_ms)
        match due:
            case [list(names), list(expired)]:
                for name in names:
                    if isinstance(name, bytes):
                        await self._trim(primary, LogName(name.decode()), now)
                for log, members in _by_log(expired).items():
                    log_keys = self._keys.log(log)
                    await primary.run(
                        EXPIRE, (log_keys.records, log_keys.order, here.expiries), now, encoded(log), *members
                    )
                return len(names) == _STEP or len(expired) == _STEP
        return False

    async def _trim(self, primary: Primary, log: LogName, now: int | str) -> None:
        keys, retention = self._keys.log(log), self._retention
        count = "" if retention.count is None else retention.count
        due = self._keys.partition_of(log).due
        arguments = (now, log, retention.age_ms, count, retention.max_bytes)
        while await primary.run(TRIM, (keys.meta, keys.entries, keys.ids, due), *arguments) == 1:
            continue


def _by_log(expired: list[Reply]) -> dict[LogName, list[bytes]]:
    members: dict[LogName, list[bytes]] = {}
    for entry in expired:
        if isinstance(entry, bytes):
            log, member = split_expiry(entry)
            members.setdefault(log, []).append(member)
    return members
