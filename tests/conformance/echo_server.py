"""An echo server on exactly our handshake, reader and encoders: what a conformance suite talks to.

Run it as a program: it binds a free loopback port, prints the number, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

import httptools
import uvloop
from msgspec.structs import replace

from signtusk_realtime.protocol.codes import CLOSE_NORMAL
from signtusk_realtime.protocol.deflate import encode_deflated
from signtusk_realtime.protocol.frames import (
    Binary,
    Closed,
    Fragments,
    FrameEvent,
    FrameReader,
    Ping,
    Pong,
    ProtocolViolation,
    Text,
    encode_binary,
    encode_close,
    encode_pong,
    encode_text,
)
from signtusk_realtime.protocol.halfway import FrameLimits
from signtusk_realtime.protocol.handshake import Refusal, Upgrade, negotiate
from signtusk_realtime.protocol.heads import BINARY, TEXT

# The suite sends messages of 16 MiB in its group on limits; fragments of 64 bytes among them.
LIMITS = FrameLimits(max_message_bytes=32 << 20, max_fragments=1 << 20, binary=True)
DEFLATED_LIMITS = replace(LIMITS, deflate=True)
CLOSE_TIMEOUT_S = 5.0


class Echo(asyncio.Protocol):
    """One connection: HTTP until the upgrade, frames after it; compressed, whatever their length, where that was agreed on."""

    def __init__(self, limits: FrameLimits) -> None:
        self._reader = FrameReader(limits)
        self._window_bits = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_upgraded = False
        self._patience: asyncio.TimerHandle | None = None
        self._parser: Any = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of a class of their own, so there is nothing to ask isinstance for.
        self._transport = cast("asyncio.Transport", transport)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def data_received(self, data: bytes) -> None:
        if not self._is_upgraded:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._upgrade()
            except httptools.HttpParserError:
                self._transport.abort()
                return
            else:
                return
        events = self._reader.feed(data)
        while events or self._reader.has_more:
            for event in events:
                self._answer(event)
            events = self._reader.more() if self._reader.has_more else ()

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():
            self._upgrade()

    def _upgrade(self) -> None:
        self._is_upgraded = True
        answer = negotiate(self._parser.get_method(), self._parser.get_http_version(), self._headers, compression=True)
        if isinstance(answer, Refusal):
            fields = b"".join(name + b": " + value + b"\r\n" for name, value in answer.headers)
            self._transport.write(b"HTTP/1.1 %d Refused\r\n%sContent-Length: 0\r\n\r\n" % (answer.status, fields))
            self._transport.close()
            return
        self._agree(answer)
        self._transport.write(answer.response())

    def _agree(self, upgrade: Upgrade) -> None:
        if upgrade.deflate is not None:
            self._reader = FrameReader(DEFLATED_LIMITS)
            self._window_bits = upgrade.deflate.window_bits

    def _answer(self, event: FrameEvent) -> None:
        match event:
            case Text(payload) | Binary(payload) if self._window_bits:
                opcode = TEXT if isinstance(event, Text) else BINARY
                self._transport.write(encode_deflated(payload, self._window_bits, opcode))
            case Text(payload):
                self._transport.write(encode_text(payload))
            case Binary(payload):
                self._transport.write(encode_binary(payload))
            case Ping(payload):
                self._transport.write(encode_pong(payload))
            case Pong() | Fragments():
                pass
            case Closed(code, _):
                self._end(encode_close(code if code is not None else CLOSE_NORMAL.number))
            case ProtocolViolation(code, reason):
                self._end(encode_close(code, reason))

    def _end(self, close: bytes) -> None:
        # What the peer still sends is read and dropped until it closes too: closing a socket with unread bytes resets the
        # connection, and a reset may overtake our close frame.
        self._transport.write(close)
        self._transport.write_eof()
        self._patience = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)

    def connection_lost(self, _: Exception | None) -> None:
        if self._patience is not None:
            self._patience.cancel()


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(LIMITS), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
