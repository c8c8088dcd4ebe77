"""One connection to a Redis or Valkey server.

Owns: connecting, commands in order with a deadline, what the server pushes.   Not: which commands, coming back (ear.py, primary.py).
Rule 1: answers come in the order of the commands; one that is late ends the link, for what follows it can no longer be told apart.
Rule 2: a link that is lost fails every command that waits with `Unavailable` and calls `lost` once; it is never used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias, cast

import hiredis

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.stored import Argument, Reply
from signtusk_realtime.errors import ConfigurationError, Unavailable

_NOT_DONE: Final = (
    "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING", "MASTERDOWN", "NOSCRIPT",
)  # fmt: skip
"""By these the server says that it did nothing, and that another server, or a later moment, may."""
_USELESS: Final = ("READONLY", "LOADING", "MASTERDOWN", "NOSCRIPT", "UNKILLABLE")
"""After these the link is of no use: what it stands on has changed."""
_REFUSED: Final = ("WRONGPASS", "NOAUTH", "NOPERM")

_INCOMPLETE: Final = object()
_GRACE_S: Final = 0.02

Answer: TypeAlias = "asyncio.Future[Reply]"


class NotDone(Unavailable):
    """The server refused before it did anything; the same may be tried again."""


class _Pending:
    __slots__ = ("answer", "deadline", "error", "fence", "is_overdue")

    def __init__(self, answer: Answer, deadline: float, fence: bytes | None = None) -> None:
        self.answer = answer
        self.deadline = deadline
        self.fence = fence
        self.error: hiredis.ReplyError | None = None
        self.is_overdue = False


class Link(asyncio.Protocol):
    """See the module. `heard` takes each push; `lost` learns why the link ended."""

    def __init__(
        self,
        *,
        deadline_s: float,
        heard: Callable[[list[Reply]], None] = lambda push: None,
        lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.mode = ""
        """What the server says it is: `standalone` or `cluster`."""
        self._deadline_s = deadline_s
        self._heard = heard
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._pending: deque[_Pending] = deque()
        self._fences = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reason: str | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    async def open(self, address: Address, tls: ssl.SSLContext | None) -> None:
        """Connect and log in. Raises: Unavailable, ConfigurationError (the server does not accept the user)."""
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._loop.create_connection(
                    lambda: self, address.host, address.port, ssl=tls if address.is_tls else None
                )
                hello: list[Argument] = ["HELLO", 3]
                if address.password is not None:
                    hello += ["AUTH", address.username or "default", address.password]
                told: object = await self.call(*hello, "SETNAME", "signtusk-realtime")
                if isinstance(told, dict) and isinstance(mode := told.get(b"mode"), bytes):
                    self.mode = mode.decode()
                if address.database:
                    await self.call("SELECT", address.database)
        except (OSError, TimeoutError) as error:
            self.abort("could not connect")
            raise Unavailable(f"no connection to {address}: {str(error) or 'it did not answer in time'}") from error
        except BaseException:
            self.abort("could not log in")
            raise

    @property
    def is_open(self) -> bool:
        return self._reason is None and self._transport is not None

    def call(self, *command: Argument) -> Answer:
        """Send a command at the end of this turn of the loop. The answer is the reply, or Unavailable."""
        return self._send(command, None)

    def subscribe(self, *channels: str) -> Answer:
        """Hear channels of one slot; each is acknowledged by a push, all before the answer, which says nothing more."""
        return self._fenced("SSUBSCRIBE", *channels)

    def unsubscribe(self, *channels: str) -> Answer:
        """Hear channels of one slot no more."""
        return self._fenced("SUNSUBSCRIBE", *channels)

    def _fenced(self, *command: Argument) -> Answer:
        # Successes are pushed and failures answered, so what follows at once is a question whose answer is known.
        self._fences += 1
        fence = b"%d" % self._fences
        self._write(command)
        return self._send(("PING", fence), fence)

    def _send(self, command: tuple[Argument, ...], fence: bytes | None) -> Answer:
        answer: Answer = self._loop.create_future()
        if self._reason is not None:
            fail(answer, Unavailable(self._reason))
            return answer
        self._write(command)
        self._pending.append(_Pending(answer, self._loop.time() + self._deadline_s, fence))
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_s, self._look_at_deadline)
        return answer

    def _write(self, command: tuple[Argument, ...]) -> None:
        if self._reason is None:
            if not self._out:
                self._loop.call_soon(self._flush)
            self._out.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub takes one argument only

    def abort(self, reason: str) -> None:
        """End the link now."""
        if self._reason is None:
            self._reason = reason
            if self._timer is not None:
                self._timer.cancel()
            if self._transport is None:
                self._end()
            else:
                self._transport.abort()
            pending, self._pending = self._pending, deque()
            for waiting in pending:
                fail(waiting.answer, Unavailable(reason))
            self._lost(reason)

    async def close(self) -> None:
        """End the link and wait until its socket is closed."""
        self.abort("the link is closed")
        await asyncio.shield(self._ended)

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by their methods only.
        self._transport = cast("asyncio.Transport", transport)
        if self._reason is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._reason is None:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                self.abort(f"the server does not speak RESP: {error}")
                return
            if reply is _INCOMPLETE:
                return
            if isinstance(reply, hiredis.PushNotification):
                self._heard(reply)
            elif self._pending:
                self._answered(reply)
            else:
                self.abort("the server answered what was not asked")

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort(f"the connection was lost: {exc or 'the server closed it'}")
        self._end()

    # ---- within

    def _answered(self, reply: object) -> None:
        waiting = self._pending[0]
        if waiting.fence is not None and reply != waiting.fence:
            if isinstance(reply, hiredis.ReplyError):
                waiting.error = reply
            else:
                self.abort("the server answered what was not asked")
            return
        self._pending.popleft()
        error = reply if isinstance(reply, hiredis.ReplyError) else waiting.error
        if error is None:
            if not waiting.answer.done():
                # hiredis is not annotated further; what is asked here is answered by nothing but these.
                waiting.answer.set_result(reply)  # type: ignore[arg-type]  # see the line above
            return
        message = str(error)
        if message.startswith(_REFUSED):
            fail(waiting.answer, ConfigurationError(f"the server refuses this user: {message}"))
            return
        kind = NotDone if message.startswith(_NOT_DONE) else Unavailable
        fail(waiting.answer, kind(f"the server refused a command: {message}"))
        if message.startswith(_USELESS):
            self.abort(f"the server refused a command: {message}")

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and self._reason is None:
            self._transport.write(b"".join(out))

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._pending:
            first = self._pending[0]
            left = first.deadline - self._loop.time()
            if left > 0:
                self._timer = self._loop.call_later(left, self._look_at_deadline)
            elif not first.is_overdue:
                # If it was this loop that was late, the answer may lie in the socket unread.
                first.is_overdue = True
                self._timer = self._loop.call_later(_GRACE_S, self._look_at_deadline)
            else:
                self.abort(f"the server did not answer within {self._deadline_s:g} s")

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def fail(answer: asyncio.Future[Reply], error: Exception) -> None:
    """Let a future fail, unless nobody waits for it any more."""
    if not answer.done():
        answer.set_exception(error)
        # Nobody may be waiting any more, which is no reason to complain when the future is dropped.
        answer.exception()
