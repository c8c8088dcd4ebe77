"""One server, listened to: the connection on which it pushes what is told on channels.

Owns: being connected to it again and again, being subscribed to what was asked for, what the server says of itself every half second.
Not: which channels, which servers (servers.py), what is told (delivery.py).
Rule: after each connection everything that was asked for is subscribed before `listening` is called; until `lost` is called it is heard.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from typing import Final

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.link import Answer, Link, fail
from signtusk_realtime.engines.redis.pauses import Pauses
from signtusk_realtime.engines.redis.stored import Reply
from signtusk_realtime.errors import RealtimeError, Unavailable

_log = logging.getLogger(__name__)

BEAT_S: Final = 0.5
_AT_ONCE: Final = 512


class Ear:
    """See the module.

    `heard` takes what is pushed; `listening` is called after each connection and `lost` after each loss; `beat` takes what the server answers to
    `question`, every half second.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        *,
        deadline_s: float,
        question: tuple[str, ...],
        heard: Callable[[Ear, list[Reply]], None],
        listening: Callable[[Ear], None],
        lost: Callable[[Ear, str], None],
        beat: Callable[[Ear, Reply], None],
    ) -> None:
        self.address = address
        self.is_listening = False
        """Whether everything that was asked for is heard."""
        self._tls = tls
        self._deadline_s = deadline_s
        self._question = question
        self._heard = heard
        self._listening = listening
        self._lost = lost
        self._beat = beat
        self._link: Link | None = None
        self._channels: dict[int, set[str]] = {}
        """What was asked for, by partition: channels of one partition lie in one slot and are subscribed together."""
        self._nudge = asyncio.Event()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def subscribe(self, partition: int, channels: Iterable[str]) -> list[Answer]:
        """Hear channels of a partition after each connection, and now: that is so when all the answers are there and none is Unavailable."""
        wanted = list(channels)
        self._channels.setdefault(partition, set()).update(wanted)
        if self._link is None:
            answer: Answer = asyncio.get_running_loop().create_future()
            fail(answer, Unavailable(f"not connected to {self.address}"))
            return [answer]
        return _subscribe(self._link, wanted)

    def unsubscribe(self, partition: int, channels: Iterable[str]) -> None:
        """Hear channels of a partition no more, a little later."""
        asked = self._channels.get(partition, set())
        gone = [channel for channel in channels if channel in asked]
        asked.difference_update(gone)
        if not asked:
            self._channels.pop(partition, None)
        if gone and self._link is not None:
            self._link.unsubscribe(*gone)

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions of which something was asked for."""
        return frozenset(self._channels)

    def lost_partition(self, channel: Reply) -> int | None:
        """Give the partition of a channel that the server no longer tells of, though nobody asked for that; None if somebody did."""
        name = channel.decode() if isinstance(channel, bytes) else ""
        return next((partition for partition, asked in self._channels.items() if name in asked), None)

    def nudge(self) -> None:
        """Ask the server now."""
        self._nudge.set()

    async def close(self) -> None:
        """End the connection and do not come back."""
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        pauses = Pauses()
        while True:
            link = Link(deadline_s=self._deadline_s, heard=lambda push: self._heard(self, push), lost=self._has_lost)
            try:
                await link.open(self.address, self._tls)
                # Ordering: from here on what is asked for meanwhile is subscribed by who asks.
                self._link = link
                answers = [answer for wanted in self._channels.values() for answer in _subscribe(link, list(wanted))]
                await asyncio.gather(*answers)
                pauses.reset()
                self.is_listening = True
                self._listening(self)
                await self._ask(link)
            except RealtimeError as error:
                _log.debug(
                    "a server cannot be listened to", extra={"server": str(self.address), "reason": error.message}
                )
            finally:
                self._link, self.is_listening = None, False
                await link.close()
            await pauses.pause()

    async def _ask(self, link: Link) -> None:
        while link.is_open:
            self._nudge.clear()
            self._beat(self, await link.call(*self._question))
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._nudge.wait()
            except TimeoutError:
                continue

    def _has_lost(self, reason: str) -> None:
        was_listening, self._link, self.is_listening = self.is_listening, None, False
        self._nudge.set()
        if was_listening:
            self._lost(self, reason)


def _subscribe(link: Link, channels: list[str]) -> list[Answer]:
    return [link.subscribe(*channels[first : first + _AT_ONCE]) for first in range(0, len(channels), _AT_ONCE)]
