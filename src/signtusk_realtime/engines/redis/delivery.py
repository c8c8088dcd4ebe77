"""From what is heard to the sink: following logs, filling gaps, finding out what is void.

Owns: the followed logs of this node and the order in which the sink is called.   Not: what may be delivered (followed.py), commits (engine.py),
which logs may have been missed (comparing.py).
Rule 1: the stream is the truth. What is heard is a hint; what was not heard, or is not confirmed for a while, is read.
Rule 2: one reader per log at a time, so that pages are taken in order.
Rule 3: a log whose history is another than what was delivered is told as `diverged` before anything more of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, ParamSpec, Protocol

from signtusk_realtime.engines.engine import Sink
from signtusk_realtime.engines.redis.followed import Followed
from signtusk_realtime.engines.redis.keys import Keys, partition_of
from signtusk_realtime.engines.redis.servers import Servers
from signtusk_realtime.engines.redis.stored import Hint, Reply, read_hint
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Entry, Epoch, LogName, Page, Position, Top

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")

PATIENCE_S: Final = 0.05
"""How long a hint may stand unconfirmed before the log itself is read."""
_LATE_S: Final = 0.005
"""How long a gap below what is confirmed may stand: what fills it is most likely in another socket."""
_AGAIN_S: Final = 0.5
_PAGE_BYTES: Final = 1 << 20
_READERS: Final = 64
_SIGNALS: Final = 4096


class ReadPage(Protocol):
    """Reads a confirmed page of a log, making the log if there is none; `is_proof`: and proves that who answered is the primary."""

    def __call__(self, log: LogName, after: int, max_bytes: int, *, is_proof: bool = False) -> Awaitable[Page]: ...


class Delivery:
    """See the module."""

    def __init__(self, keys: Keys, node: bytes, read: ReadPage) -> None:
        self.sink: Sink
        self.servers: Servers
        self.followed: dict[LogName, Followed] = {}
        self._keys = keys
        self._node = node
        self._read = read
        self._by_channel: dict[bytes, Followed] = {}
        self._beginning: dict[LogName, asyncio.Task[Top]] = {}
        self._reading: dict[LogName, asyncio.Task[None]] = {}
        self._timers: dict[LogName, asyncio.TimerHandle] = {}
        self._readers = asyncio.Semaphore(_READERS)
        self._signals: dict[bytes, None] = {}

    # ---- who is followed

    async def follow(self, name: LogName) -> Top:
        """Subscribe, then read the top: what comes after it is heard or found missing."""
        if name in self.followed:
            top = (await self._read(name, 0, 0)).top
            await self.settle(name, top.position)
            return top
        beginning = self._beginning.get(name)
        if beginning is None:
            beginning = self._beginning[name] = asyncio.get_running_loop().create_task(self._begin(name))
            beginning.add_done_callback(lambda done: self._begun(name, done))
        # A caller that gives up must not take the others' log away.
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            if beginning.cancelled():
                raise Unavailable("the log is followed no more") from None
            raise

    def _begun(self, name: LogName, done: asyncio.Task[Top]) -> None:
        if self._beginning.get(name) is done:
            del self._beginning[name]
        if not done.cancelled():
            done.exception()

    async def _begin(self, name: LogName) -> Top:
        channel, partition = self._keys.log(name).channel, partition_of(name)
        log = self._by_channel[channel.encode()] = Followed(name)
        try:
            await self.servers.subscribe(partition, channel)
            top = (await self._read(name, 0, 0)).top
        except BaseException:
            if self._by_channel.get(channel.encode()) is log:
                del self._by_channel[channel.encode()]
                self.servers.unsubscribe(partition, channel)
            raise
        self.followed[name] = log
        log.begin(top.position)
        self._go_on(log)
        return top

    def unfollow(self, name: LogName) -> None:
        """Forget a log at once; its channel is left a little later."""
        channel = self._keys.log(name).channel
        beginning = self._beginning.pop(name, None)
        if beginning is not None:
            beginning.cancel()
        if self.followed.pop(name, None) is None and beginning is None:
            return
        self._by_channel.pop(channel.encode(), None)
        timer, reading = self._timers.pop(name, None), self._reading.pop(name, None)
        if timer is not None:
            timer.cancel()
        if reading is not None:
            reading.cancel()
        self.servers.unsubscribe(partition_of(name), channel)

    async def close(self) -> None:
        """End every task and timer."""
        tasks = [*self._beginning.values(), *self._reading.values()]
        self.followed.clear()
        self._by_channel.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- what is heard

    def heard(self, push: list[Reply]) -> None:
        """Take what a server pushed."""
        match push:
            case [b"smessage", bytes(channel), bytes(payload)]:
                log = self._by_channel.get(channel)
                if log is not None:
                    self._heard_of(log, payload)

    def _heard_of(self, log: Followed, payload: bytes) -> None:
        kind = payload[:1]
        if kind == b"h":
            self._hear(log, read_hint(payload))
        elif kind == b"f":
            self._forgotten(log, Epoch(payload[1:].decode()))
        elif kind == b"s" and payload[1:9] != self._node and self._is_new(payload[1:17]):
            self.signalled(log.name, payload[17:])

    def _is_new(self, signal: bytes) -> bool:
        """Say whether a signal was not heard on another connection before."""
        if signal in self._signals:
            return False
        self._signals[signal] = None
        if len(self._signals) > _SIGNALS:
            del self._signals[next(iter(self._signals))]
        return True

    def committed(self, name: LogName, top: Top, entries: Sequence[Entry]) -> None:
        """Take what this node committed itself, confirmed."""
        log = self._by_channel.get(self._keys.log(name).channel.encode())
        if log is not None:
            self._hear(log, Hint(top.epoch, top.offset, top.tag, True, entries))

    def _forgotten(self, log: Followed, epoch: Epoch) -> None:
        log.doubt(epoch)
        if log.is_doubtful and self.followed.get(log.name) is log:
            self.catch_up(log)

    async def forgotten(self, name: LogName) -> None:
        """Find out at once what became of a log that this node erased. Raises: Unavailable."""
        log = self.followed.get(name)
        if log is not None:
            log.doubt(log.position.epoch)
            await asyncio.shield(self.catch_up(log))

    def signalled(self, name: LogName, body: bytes) -> None:
        """Tell the sink an ephemeral message."""
        if name in self.followed:
            self._tell(self.sink.signalled, name, body)

    def _hear(self, log: Followed, hint: Hint) -> None:
        log.hear(hint)
        if log.name in self.followed:
            self._go_on(log)

    def _go_on(self, log: Followed) -> None:
        self._deliver(log, log.take())
        if log.is_behind:
            self._look_in(log, _LATE_S if log.is_late else PATIENCE_S)

    def _look_in(self, log: Followed, seconds: float) -> None:
        if log.name not in self._timers and log.name not in self._reading:
            loop = asyncio.get_running_loop()
            self._timers[log.name] = loop.call_later(seconds, self._impatient, log)

    def _impatient(self, log: Followed) -> None:
        self._timers.pop(log.name, None)
        if log.is_behind and self.followed.get(log.name) is log:
            self.catch_up(log)

    async def settle(self, name: LogName, place: Position) -> None:
        """Wait until a followed log was delivered up to a place of it, unless that life of it has ended. Raises: Unavailable."""
        log = self.followed.get(name)
        turns = 0
        while log is not None and self.followed.get(name) is log:
            here = log.position
            if here.epoch == place.epoch and here.offset >= place.offset and not log.is_doubtful:
                return
            turns += 1
            if turns <= 3 and not log.is_doubtful:
                # What stands before it was most likely said already, and waits in the other socket.
                await asyncio.sleep(0)
                continue
            await asyncio.shield(self.catch_up(log))
            if log.position.epoch != place.epoch:
                return

    # ---- the log itself

    def catch_up(self, log: Followed) -> asyncio.Task[None]:
        """Read a followed log on from where it stands."""
        reading = self._reading.get(log.name)
        if reading is None:
            reading = asyncio.get_running_loop().create_task(self._read_on(log))
            self._reading[log.name] = reading
            reading.add_done_callback(lambda done: self._has_read(log, done))
        return reading

    def _has_read(self, log: Followed, done: asyncio.Task[None]) -> None:
        if self._reading.get(log.name) is done:
            del self._reading[log.name]
        if done.cancelled():
            return
        error = done.exception()
        if error is not None and not isinstance(error, Unavailable):
            _log.error("reading a followed log failed", exc_info=error, extra={"log": log.name})
        if self.followed.get(log.name) is not log:
            return
        if error is None:
            if log.is_behind:
                self._look_in(log, PATIENCE_S)
        elif self.servers.is_up(partition_of(log.name)):
            # Whatever made somebody look is still unknown. Where the server itself is away all is compared when it is back.
            log.is_doubtful = True
            self._look_in(log, _AGAIN_S * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _read_on(self, log: Followed) -> None:
        async with self._readers:
            while self.followed.get(log.name) is log:
                before = log.position
                page = await self._read(log.name, before.offset, _PAGE_BYTES)
                if self.followed.get(log.name) is not log:
                    return
                if log.position != before:
                    continue  # what was heard meanwhile is newer than this page
                self._deliver(log, log.take_page(page))
                self._deliver(log, log.take())
                if log.is_doubtful:
                    await self._diverge(log)
                elif page.top.offset <= log.position.offset:
                    return

    async def _diverge(self, log: Followed) -> None:
        """Find out whether the history is another, and from where. Who answers has to prove that it is not one that was left behind."""
        before = log.position
        page = await self._read(log.name, before.offset, 0, is_proof=True)
        if self.followed.get(log.name) is not log or log.position != before:
            return
        taken = log.take_page(page)
        if not log.is_doubtful:
            self._deliver(log, taken)
            return
        page = await self._read(log.name, max(log.first_remembered - 1, 0), _PAGE_BYTES, is_proof=True)
        if self.followed.get(log.name) is not log or log.position != before:
            return
        common = log.common(page.top, page.entries)
        log.begin(common)
        _log.warning("a log's history changed", extra={"log": log.name, "offset": common.offset})
        self._tell(self.sink.diverged, log.name, common)

    def _deliver(self, log: Followed, entries: list[Entry]) -> None:
        if entries:
            self._tell(self.sink.appended, log.name, log.position.epoch, entries)

    def _tell(self, method: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - the sink is other people's code; the port says it goes on
            _log.exception("sink raised")
