"""A primary, commanded: one connection that writes and one that reads.

Owns: being connected to it again and again, the number of replicas that count, confirming what was written.   Not: what is written.
Rule 1 (I9): a write is answered when every replica that counts has it. `WAIT` counts the writes of its own connection, so a group's writes and
its WAIT share one. Without a replica the server's answer is all there is to wait for (with `appendfsync always`, after the disk).
Rule 2: what was written while a group waits goes into the next.   Rule 3: a server that is no primary counts as not connected.
Rule 4: with fewer replicas than are demanded nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.copies import Copies
from signtusk_realtime.engines.redis.ear import BEAT_S
from signtusk_realtime.engines.redis.link import Answer, Link, NotDone, fail
from signtusk_realtime.engines.redis.pauses import Pauses
from signtusk_realtime.engines.redis.scripts import ALL, Script
from signtusk_realtime.engines.redis.stored import Argument, Reply
from signtusk_realtime.errors import RealtimeError, Unavailable

_log = logging.getLogger(__name__)

_WAIT_SHARE: Final = 0.8
"""Of a command's deadline: replicas that are late fail their group, not the link."""
HURRY_S: Final = 0.1
"""How often a primary is looked at that has fewer replicas than the Cluster knows, or than are demanded: until one counts again answers have fewer
copies, or there are none."""
COPYING_S: Final = 30.0
"""How long a replica counts that is not called failed, and is streamed nothing: longer than a Cluster waits before it replaces a primary that it
does not hear (`cluster-node-timeout`, 15 s where nobody says otherwise). A primary that is cut off refuses by then."""
_GROUP_WRITES: Final = 256
_GROUP_BYTES: Final = 1 << 20


class _Write(NamedTuple):
    answer: Answer
    script: Script
    keys: tuple[str, ...]
    arguments: tuple[Argument, ...]
    size: int


class Primary:
    """See the module. `least`: how many replicas are demanded. `came` is called after each connection, `went` after each loss, `changed` when another number of replicas counts."""

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        *,
        deadline_s: float,
        least: int,
        came: Callable[[Primary], None],
        went: Callable[[Primary, str], None],
        changed: Callable[[], None],
    ) -> None:
        self.address = address
        self.confirmations = 0
        """How many replicas must have a write before it is answered."""
        self.whole = 0
        """How many replicas have everything (copies.py)."""
        self.lives = 0
        """How often it was connected to: what was found out about it before the last time may hold no more."""
        self._healthy: int | None = None
        self._short_since: float | None = None
        """Since when it streams to fewer replicas than must have a write."""
        self._tls = tls
        self._deadline_s = deadline_s
        self._least = least
        self._came = came
        self._went = went
        self._changed = changed
        self._links: tuple[Link, Link] | None = None
        self._away = f"{address} was not reached yet"
        self._held: deque[_Write] = deque()
        self._has_group = False
        self._lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._keeper = self._loop.create_task(self._keep())

    @property
    def is_up(self) -> bool:
        return self._links is not None

    @property
    def away(self) -> str:
        """Why it is not up."""
        return self._away

    def write(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Answer:
        """Run a script that writes; its first argument is the number of confirmations. The answer comes when it cannot vanish any more."""
        answer: Answer = self._loop.create_future()
        if self._links is None:
            fail(answer, NotDone(self._away))
            return answer
        size = sum(len(argument) for argument in arguments if isinstance(argument, bytes))
        self._held.append(_Write(answer, script, keys, arguments, size))
        if not self._has_group:
            self._has_group = True
            self._loop.call_soon(self._send_group)
        return answer

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Answer:
        """Run a script that only reads, or whose writes need not last."""
        return self._command(1, "EVALSHA", script.digest, len(keys), *keys, *arguments)

    def ask(self, *command: Argument) -> Answer:
        """Send a command that changes nothing that must last."""
        return self._command(1, *command)

    def tell(self, channel: str, payload: bytes) -> None:
        """Tell a channel something, after all that was answered."""
        self._command(0, "SPUBLISH", channel, payload)

    def limit(self, healthy: int) -> None:
        """Learn how many of its replicas the Cluster does not call failed: one that is only silent still counts."""
        self._healthy = healthy
        self._set(min(healthy, self.confirmations), self.whole)

    async def close(self) -> None:
        """End the connections and do not come back."""
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    def _command(self, number: int, *command: Argument) -> Answer:
        if self._links is None:
            answer: Answer = self._loop.create_future()
            fail(answer, NotDone(self._away))
            return answer
        return self._links[number].call(*command)

    # ---- groups

    def _send_group(self) -> None:
        if self._links is None:
            self._refuse_held(self._away)
            return
        link, needed = self._links[0], self.confirmations
        if needed < self._least:
            self._refuse_held(f"{self.address} has {needed} replicas, and redis_min_replicas is {self._least}")
            return
        while self._held:
            group: list[tuple[_Write, Answer]] = []
            size = 0
            while self._held and len(group) < _GROUP_WRITES and size < _GROUP_BYTES:
                write = self._held.popleft()
                size += write.size
                command = ("EVALSHA", write.script.digest, len(write.keys), *write.keys, needed, *write.arguments)
                group.append((write, link.call(*command)))
            if needed:
                wait = link.call("WAIT", needed, int(self._deadline_s * _WAIT_SHARE * 1000))
                wait.add_done_callback(partial(self._waited, group, needed))
                return
            for write, reply in group:
                reply.add_done_callback(partial(_pass_on, write.answer))
        self._has_group = False

    def _waited(self, group: list[tuple[_Write, Answer]], needed: int, done: Answer) -> None:
        error = done.exception()
        have = done.result() if error is None else None
        if isinstance(have, int) and have < needed:
            error = Unavailable(f"{have} of {needed} replicas confirmed a commit in time")
        for write, reply in group:
            if error is None or reply.exception() is not None:
                _pass_on(write.answer, reply)
            else:
                fail(write.answer, Unavailable(str(error)))
        self._send_group()

    def _refuse_held(self, why: str) -> None:
        held, self._held, self._has_group = self._held, deque(), False
        for write in held:
            fail(write.answer, NotDone(why))

    # ---- staying connected

    async def _keep(self) -> None:
        pauses = Pauses()
        links: tuple[Link, Link]

        def lost(reason: str) -> None:
            was_up, self._links, self._away = self._links is not None, None, reason
            self._lost.set()
            for link in links:
                link.abort(reason)
            if was_up:
                self._went(self, reason)

        while True:
            self._lost.clear()
            links = (Link(deadline_s=self._deadline_s, lost=lost), Link(deadline_s=self._deadline_s, lost=lost))
            copies = Copies()
            try:
                copies.look(await self._open(links))
                self._lost.clear()
                self._links = links
                self.lives += 1
                self._has_group = False
                # Ordering: who comes back demands what was demanded before, for the primary may have lost its replicas together with us.
                self._set(self._needed(copies.streamed), copies.whole)
                pauses.reset()
                self._came(self)
                await self._beat(links, copies)
            except RealtimeError as error:
                self._away = error.message
            finally:
                self._links = None
                self._refuse_held(self._away)
                for link in links:
                    await link.close()
            await pauses.pause()

    async def _open(self, links: tuple[Link, Link]) -> Reply:
        # All at once: until this is done nothing is published, and after a failover everybody waits for it.
        for failure in await asyncio.gather(
            *(link.open(self.address, self._tls) for link in links), return_exceptions=True
        ):
            if failure is not None:
                raise failure
        loaded = [links[0].call("SCRIPT", "LOAD", script.text) for script in ALL]
        role = links[0].call("ROLE")
        await asyncio.gather(*loaded)
        return await role

    async def _beat(self, links: tuple[Link, Link], copies: Copies) -> None:
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(BEAT_S if self._has_all else HURRY_S):
                    await self._lost.wait()
            except TimeoutError:
                # Both are asked, for each can be the one whose far end is gone; a late answer ends them both.
                ping, role = links[1].call("PING"), links[0].call("ROLE")
                await ping
                copies.look(await role)
                self._set(self._needed(copies.streamed), copies.whole)

    def _needed(self, online: int) -> int:
        """Say how many replicas must have a write, of which so many are streamed to.

        In a Cluster a replica that was cut off may be about to become the primary: it counts until the Cluster calls it failed, or until that
        would have happened long ago. Who has restarted and copies everything is never called failed, and confirms nothing meanwhile.
        """
        if self._healthy is None:
            return online
        kept = min(self._healthy, self.confirmations)
        if online >= kept:
            self._short_since = None
            return min(self._healthy, online)
        now = self._loop.time()
        if self._short_since is None:
            self._short_since = now
        return kept if now - self._short_since < COPYING_S else online

    @property
    def _has_all(self) -> bool:
        return min(self.confirmations, self.whole) >= max(self._least, self._healthy or 0)

    def _set(self, confirmations: int, whole: int) -> None:
        if (confirmations, whole) != (self.confirmations, self.whole):
            self.confirmations, self.whole = confirmations, whole
            self._changed()


def _pass_on(answer: Answer, done: Answer) -> None:
    if answer.done():
        return
    error = done.exception()
    if error is not None:
        fail(answer, error if isinstance(error, RealtimeError) else Unavailable(str(error)))
    else:
        answer.set_result(done.result())
