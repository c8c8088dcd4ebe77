"""Publications for peers that serve no HTTP but their own: POST on a port beside theirs, one message a line.

Rule: no more HTTP than the generator speaks: a head, Content-Length, a body, on connections that are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Publications(asyncio.Protocol):
    """One publisher's connection; `publish` gets each line."""

    def __init__(self, publish: Callable[[str], None]) -> None:
        self._publish = publish
        self._read = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(_HEAD_END)) >= 0:
            at = self._read.lower().index(_LENGTH) + len(_LENGTH)
            begin = end + len(_HEAD_END)
            length = int(self._read[at : self._read.index(b"\r\n", at)])
            if len(self._read) < begin + length:
                return
            body, self._read = self._read[begin : begin + length], self._read[begin + length :]
            for line in body.decode().split("\n"):
                self._publish(line)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def listen(port: int, publish: Callable[[str], None]) -> asyncio.Server:
    """Take publications on a port of 127.0.0.1."""
    return await asyncio.get_running_loop().create_server(lambda: Publications(publish), "127.0.0.1", port)
