"""The outlet of transports that take one message a call: ASGI's `send`, and sockets and responses that an application hands in.

Owns: what waits for such a transport, and the task that hands it over.   Not: native sockets (websocket.py, stream.py), whose transports
have a buffer of their own; who is connected (delivery).
Rule 1 (I3): from half of its bounds on an outlet is full and says so; what delivery adds after that is one write, and answers to a peer that
is not listened to meanwhile (`room`).
Rule 2: there is a task only while something waits, and it never runs within `write`.
Rule 3: whatever the application's object raises ends this connection and nothing else, and nothing is handed over after what it did not take.
Rule 4: an object that never returns costs its own connection: delivery finds it without progress, and a close waits for it only so long.
Rule 5: an event counts as delivered when the object has taken it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import repeat
from typing import Final, NamedTuple

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.delivery.outlet import PatientOutlet
from signtusk_realtime.protocol import codes

log = logging.getLogger(__name__)

Message = bytes | str
TURN: Final = 64
"""Messages handed over between two turns of the loop: an object that never waits may not hold up the others."""


class Pumps:
    """The running tasks of an owner's outlets, and the bounds that hold for each of them.

    `max_messages`, `max_bytes`: what may wait for one peer.   `close_timeout_s`: how long a close waits for what was written before, and
    then once more for the object's own close.
    """

    def __init__(self, *, max_messages: int, max_bytes: int, close_timeout_s: float = 5.0) -> None:
        self.full_messages = max(1, max_messages // 2)
        self.full_bytes = max(1, max_bytes // 2)
        self.close_timeout_s = close_timeout_s
        self.waiting = 0
        """Events that wait in all of them, or are being handed over."""
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a task that is known until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Wait for all that still runs, bounded; every outlet was closed before. What even cancelling does not end is left, and named.

        An object whose own `close` asked for this is not waited for.
        """
        own = asyncio.current_task()
        for is_last in (False, True):
            others = self._tasks - {own}
            if others:
                await asyncio.wait(others, timeout=self.close_timeout_s)
            if not is_last:
                for task in self._tasks - {own}:
                    task.cancel()
        left = self._tasks - {own}
        if left:
            log.warning("transports handed in do not end", extra={"tasks": len(left)})


class Waiting(NamedTuple):
    """A message that waits. `accepted_at`: of each event in it, when it was accepted for publication here, if it was."""

    message: Message
    size: int
    accepted_at: Sequence[float | None]
    is_from_log: bool


class PumpedOutlet(PatientOutlet):
    """See the module; fulfils delivery's Outlet port.

    `send` takes one message, `finish` ends the transport (close code, reason); either may be sync or async.
    `ended` is called once, when nothing will be handed over any more.
    """

    __slots__ = (
        "_closing",
        "_connection",
        "_ended",
        "_events",
        "_finish",
        "_has_taken",
        "_hub",
        "_is_full",
        "_is_over",
        "_pumps",
        "_relief",
        "_send",
        "_task",
        "_timer",
        "_unsent",
        "_waiting",
        "is_ended",
    )

    def __init__(
        self,
        send: Callable[[Message], object],
        finish: Callable[[int, str], object],
        *,
        hub: Hub,
        pumps: Pumps,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._send = send
        self._finish = finish
        self._hub = hub
        self._pumps = pumps
        self._ended = ended
        self._connection: Connection | None = None
        self._waiting: deque[Waiting] = deque()
        self._events = 0
        """In what waits, and in what is being handed over."""
        self._has_taken = False
        """Whether the object ever took a message."""
        self._unsent = 0
        """What waits and what is being handed over, in bytes."""
        self._is_full = False
        self._is_over = False
        """Whether nothing is taken any more."""
        self._closing: tuple[int, str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._relief: asyncio.Event | None = None
        self.is_ended = False

    def attend(self, connection: Connection) -> None:
        """Take the connection whose outlet this is; to be called in the step in which it was opened."""
        if connection.is_open:
            self._connection = connection

    # ---- delivery's side

    def write(self, joined: bytes | list[str], /) -> None:
        """See the port."""
        self._take(joined, repeat(()), is_from_log=False)

    def write_events(
        self, joined: bytes | list[str], accepted_at: Sequence[float | None], /, *, is_from_log: bool = False
    ) -> None:
        """See the port. Of texts, each is one event."""
        if isinstance(joined, bytes):
            self._take(joined, (accepted_at,), is_from_log=is_from_log)
        else:
            self._take(joined, ((one,) for one in accepted_at), is_from_log=is_from_log)

    def _take(self, joined: bytes | list[str], events: Iterable[Sequence[float | None]], *, is_from_log: bool) -> None:
        if self._is_over:
            return
        messages: Sequence[Message] = (joined,) if isinstance(joined, bytes) else joined
        for message, accepted_at in zip(messages, events, strict=False):
            size = _size(message)
            self._waiting.append(Waiting(message, size, accepted_at, is_from_log))
            self._unsent += size
            self._count(len(accepted_at))
        if not self._is_full and (
            len(self._waiting) >= self._pumps.full_messages or self._unsent >= self._pumps.full_bytes
        ):
            self._is_full = True
            self._tell(self._hub.paused)
        if self._task is None:
            self._task = self._pumps.spawn(self._pump())

    def unsent(self) -> int:
        """See the port."""
        return self._unsent

    def withdraw(self) -> None:
        """See the port. The one that is being handed over is not taken back."""
        left = [one for one in self._waiting if not one.accepted_at]
        for one in self._waiting:
            if one.accepted_at:
                self._unsent = max(self._unsent - one.size, 0)
                self._count(-min(len(one.accepted_at), self._events))
        self._waiting = deque(left)

    def close(self, code: int, reason: str, /) -> None:
        """See the port. What cannot be handed over within the close's time is given up."""
        if self._closing is not None or self.is_ended:
            return
        self._closing = (code, reason)
        self._let_go()
        if self._task is None:
            self._pumps.spawn(self._end())
        else:
            self._timer = asyncio.get_running_loop().call_later(self._pumps.close_timeout_s, self._give_up)

    # ---- the owner's side

    async def room(self) -> None:
        """Wait until it is not full: what its peer asks for meanwhile could not be answered."""
        while self._is_full and not self._is_over:
            if self._relief is None:
                self._relief = asyncio.Event()
            await self._relief.wait()

    def abandon(self) -> None:
        """Forget what waits, and do not close: the peer is gone."""
        if self.is_ended:
            return
        self._let_go()
        self._drop()
        if self._timer is not None:
            self._timer.cancel()
        self.is_ended = True
        self._ended()

    # ---- the task

    async def _pump(self) -> None:
        count = 0
        cancelled: asyncio.CancelledError | None = None
        try:
            while self._waiting:
                one = self._waiting.popleft()
                await _settled(self._send(one.message))
                self._taken(one)
                count += 1
                if count % TURN == 0:
                    await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            # Without a request to us the object awaited something of its own that was cancelled: a failure like any other.
            self._fail(error)
            cancelled = error if _is_cancelled() else None
        except Exception as error:  # noqa: BLE001 - border: an application's socket
            self._fail(error)
        except BaseException as error:
            # Rule 3: no hole, whatever it was. What ends the process, or this coroutine, goes on its way.
            self._fail(error)
            self._task = None
            self._pumps.spawn(self._end())
            raise
        self._task = None
        if self._closing is not None:
            await self._end()
        if cancelled is not None:
            raise cancelled

    def _taken(self, one: Waiting) -> None:
        self._has_taken = True
        # It may have been given up meanwhile.
        self._unsent = max(self._unsent - one.size, 0)
        if one.accepted_at:
            self._count(-min(len(one.accepted_at), self._events))
            self._hub.counters.taken(one.accepted_at, is_from_log=one.is_from_log)
        self._relieve()

    def _fail(self, error: BaseException) -> None:
        connection = self._connection
        if connection is not None:
            fields = {"connection": connection.connection_id, "error": type(error).__name__}
            if self._has_taken or isinstance(error, OSError):
                log.info("a connection's transport failed", extra=fields)
            else:
                # A peer that is gone looks otherwise: this object is not what it was taken for.
                log.warning("a connection's transport took no message at all", extra=fields, exc_info=error)
            self._hub.lost(connection)
        self._let_go()
        self._clear()
        if self._closing is None:
            self._closing = (codes.CLOSE_INTERNAL.number, codes.CLOSE_INTERNAL.name)

    def _give_up(self) -> None:
        self._drop()
        self._pumps.spawn(self._end())

    async def _end(self) -> None:
        if self.is_ended or self._closing is None:
            return
        self.is_ended = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            async with asyncio.timeout(self._pumps.close_timeout_s):
                await _settled(self._finish(*self._closing))
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
        except Exception as error:  # noqa: BLE001 - border: an application's socket; the connection is over either way
            log.debug("a connection's transport did not close", extra={"error": type(error).__name__})
        finally:
            self._ended()

    # ---- parts of these

    def _relieve(self) -> None:
        pumps = self._pumps
        if self._is_full and len(self._waiting) <= pumps.full_messages // 4 and self._unsent <= pumps.full_bytes // 4:
            self._is_full = False
            self._tell(self._hub.drained)
            self._wake()

    def _tell(self, what: Callable[[Connection], None]) -> None:
        # Ordering: in a later turn. Writing begins before `attend`, so the connection is looked up then.
        def tell() -> None:
            if self._connection is not None:
                what(self._connection)

        asyncio.get_running_loop().call_soon(tell)

    def _let_go(self) -> None:
        self._is_over = True
        self._connection = None
        self._wake()

    def _clear(self) -> None:
        self._waiting.clear()
        self._unsent = 0
        self._count(-self._events)

    def _count(self, events: int) -> None:
        self._events += events
        self._pumps.waiting += events

    def _drop(self) -> None:
        self._clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _wake(self) -> None:
        if self._relief is not None:
            self._relief.set()
            self._relief = None


async def _settled(outcome: object) -> None:
    if inspect.isawaitable(outcome):
        await outcome


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _size(message: Message) -> int:
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())
