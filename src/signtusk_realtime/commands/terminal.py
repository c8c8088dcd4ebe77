"""Standard input and output without a thread, and without ever blocking the loop.

Owns: reading what is there, writing lines as fast as they are taken, noticing that nobody reads any more.   Not: what is in the lines.
Rule 1: file descriptors are left as they were found; they are shared with whoever started us, so none is made non-blocking.
Rule 2: whoever waits here can be cancelled, so that a signal ends a command whose output is stuck.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Callable
from typing import Final

READ_BYTES: Final = 64 << 10
WRITE_BYTES: Final = select.PIPE_BUF
"""What a descriptor that is ready takes without blocking."""


class Source:
    """A descriptor to read from. Not closed here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_waited_for = _is_waited_for(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def is_ready(self) -> bool:
        """Say whether `read` would answer at once."""
        return not self._is_waited_for or bool(self._poll.poll(0))

    async def read(self) -> bytes:
        """Wait for bytes, and give what is there; none is the end."""
        if not self.is_ready():
            loop = asyncio.get_running_loop()
            await _until(lambda wake: loop.add_reader(self._fd, wake), lambda: loop.remove_reader(self._fd))
        return os.read(self._fd, READ_BYTES)


class Output:
    """A descriptor to write lines to. Not closed here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_waited_for = _is_waited_for(fd)
        self._is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises: BrokenPipeError if nobody reads any more."""
        if not self._is_waited_for:
            _write_all(self._fd, data)
            return
        loop = asyncio.get_running_loop()
        rest = memoryview(data)
        while rest:
            if not self._poll.poll(0):
                await _until(lambda wake: loop.add_writer(self._fd, wake), lambda: loop.remove_writer(self._fd))
            rest = rest[os.write(self._fd, rest[:WRITE_BYTES]) :]

    def on_closed(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once when the reader of a pipe is gone, though nothing is written; give what ends the watch."""
        if not self._is_pipe:
            return lambda: None
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._fd)
            callback()

        # The writing end of a pipe is never readable but by its other end's closing.
        loop.add_reader(self._fd, gone)

        def unwatch() -> None:
            loop.remove_reader(self._fd)

        return unwatch


async def _until(begin: Callable[[Callable[[], None]], object], end: Callable[[], object]) -> None:
    ready = asyncio.get_running_loop().create_future()
    begin(lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        end()


def _is_waited_for(fd: int) -> bool:
    """Say whether a descriptor can keep one waiting; files and their like cannot, and no selector takes them."""
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (stat.S_ISCHR(mode) and os.isatty(fd))


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
