"""Subscribers that do more than read: they stall, leave, and come back; and a publisher of numbered events for them.

Owns: one connection each, on either transport, and which numbered events came, in which order, how long after they were sent.
Not: the server (servers.py), what is measured (stalled.py, recovery.py).
Rule: an event that comes twice, late or not at all is found: whoever measures asks `is_whole`.
Why not load/: its connections only read, and what is not as planned ends the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self, cast

_EVENT: Final = re.compile(rb"bench:(\d+):(\d+):")
_LONGEST_MARK: Final = 64
_PING: Final = b"\x89\x00"
"""Stands in no text frame of a server: there is no such byte in JSON, nor so long a message."""
_PONG: Final = b"\x8a\x80\0\0\0\0"


def frame(text: str) -> bytes:
    """Give a client's text frame, masked with zeros."""
    data = text.encode()
    length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + data


class Subscriber(asyncio.Protocol):
    """One connection. `numbers` are those of the events it got, as they came; `delays_ns` how long each took, while `is_timed`."""

    def __init__(self, user: int, organization: str, is_event_stream: bool) -> None:
        self.is_greeted = asyncio.get_running_loop().create_future()
        self.is_subscribed = asyncio.get_running_loop().create_future()
        self.numbers: list[int] = []
        self.delays_ns: list[int] = []
        self.is_timed = False
        self.is_open = False
        self.cursor = ""
        """That of the answer to its subscription."""
        self.reached = asyncio.Event()
        """Set when it has so many events as it was told to wait for, or will never have them."""
        self.received_bytes = 0
        self._enough = 1 << 62
        self._is_event_stream = is_event_stream
        identity = f"userId=user-{user}&organizationId={organization}"
        self.path = f"/ws?{identity}"
        if is_event_stream:
            self.path = f"/api/realtime/events?{identity}&types=document_updates"
        self._rest = b""
        self._last = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
        if self._is_event_stream:
            upgrade = ""
        self.transport.write(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n".encode())

    def subscribe(self, document: str | None = None, cursor: str | None = None) -> None:
        """Ask for document updates, of one document or all, from a cursor or from now on. Only for a WebSocket."""
        wanted: dict[str, object] = {"type": "document_updates"}
        if document is not None:
            wanted["filters"] = {"documentId": document}
        message: dict[str, object] = {"type": "subscribe", "subscriptions": [wanted]}
        if cursor is not None:
            message["cursor"] = cursor
        self.transport.write(frame(json.dumps(message)))

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        if _PING in self._last + data:
            self.transport.write(_PONG)
        self._last = data[-1:]
        text = self._rest + data
        if not self.is_subscribed.done():
            self._answer(text)
            if not self.is_subscribed.done():
                return
        now, end = time.perf_counter_ns(), 0
        for match in _EVENT.finditer(text):
            end = match.end()
            self.numbers.append(int(match[1]))
            if self.is_timed:
                self.delays_ns.append(now - int(match[2]))
        # A mark that is cut in two is found with the next bytes, and never twice.
        self._rest = text[max(end, len(text) - _LONGEST_MARK) :]
        if len(self.numbers) >= self._enough:
            self.reached.set()

    def _answer(self, text: bytes) -> None:
        self._rest = text
        if b'"connected"' in text and not self.is_greeted.done():
            self.is_greeted.set_result(None)
        at = text.find(b'"subscribed"')
        cursor = text[at:].partition(b'"cursor":"')[2].partition(b'"') if at >= 0 else (b"", b"", b"")
        if not cursor[1]:
            return
        if b'"recovered":false' in text[at:]:
            self.is_subscribed.set_exception(RuntimeError(f"not recovered: {text[at : at + 300]!r}"))
            return
        self.cursor = cursor[0].decode()
        self.is_subscribed.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self.reached.set()
        for future in (self.is_greeted, self.is_subscribed):
            if not future.done():
                future.set_exception(ConnectionResetError(f"the server ended the connection: {self._rest[-200:]!r}"))

    def expect(self, count: int) -> None:
        """Be `reached` when so many events came in all."""
        self._enough = count
        if len(self.numbers) >= count:
            self.reached.set()
        elif self.is_open:
            self.reached.clear()

    def describe(self) -> str:
        """Say how far it got."""
        state = "open" if self.is_open else f"ended after {self._rest[-20:]!r}"
        kind = "event stream" if self._is_event_stream else "WebSocket"
        return f"{kind}, {state}, {len(self.numbers)} events, the last {self.numbers[-1:]}"

    def is_whole(self, expected: Sequence[int]) -> bool:
        """Say whether it is open and got exactly these, once, in order."""
        return self.is_open and self.numbers == expected


async def connect(
    port: int,
    user: int,
    organization: str,
    *,
    is_event_stream: bool = False,
    receive_bytes: int = 1 << 16,
    kind: type[Subscriber] = Subscriber,
) -> Subscriber:
    """Open a connection and wait for `connected`. `receive_bytes`: what the kernel may keep for it while it does not read."""
    loop = asyncio.get_running_loop()
    plain = socket.socket()
    plain.setblocking(False)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    # Ports of one address do not suffice for many connections that come and go.
    plain.bind((f"127.0.0.{2 + user % 8}", 0))
    await loop.sock_connect(plain, ("127.0.0.1", port))
    _, one = await loop.create_connection(lambda: kind(user, organization, is_event_stream), sock=plain)
    await one.is_greeted
    return one


async def connect_all(
    port: int, count: int, organization: str, *, event_streams: bool = False, receive_bytes: int = 1 << 16
) -> list[Subscriber]:
    """Open many, a few at a time. `event_streams`: every second one is an event stream."""
    room = asyncio.Semaphore(64)

    async def one(user: int) -> Subscriber:
        async with room:
            is_event_stream = event_streams and bool(user % 2)
            return await connect(port, user, organization, is_event_stream=is_event_stream, receive_bytes=receive_bytes)

    return list(await asyncio.gather(*map(one, range(count))))


class Publisher:
    """Publishes over one kept connection, one call after the other. Every event has a number and the moment it was sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, organization: str) -> None:
        self._reader = reader
        self._writer = writer
        self.organization = organization

    @classmethod
    async def open(cls, port: int, organization: str) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port), organization)

    async def publish(self, events: Sequence[tuple[str, int]], pad: int) -> None:
        """Publish a batch of (document, number), each with `pad` bytes more, and wait for the answer."""
        body = self.body(events, pad)
        head = (
            "POST /api/realtime/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer.lower())
        content = await self._reader.readexactly(int(length[1]) if length is not None else 0)
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"not published: {answer!r} {content[:300]!r}")

    def body(self, events: Sequence[tuple[str, int]], pad: int) -> bytes:
        """Give a batch as it is posted."""
        now = time.perf_counter_ns()
        return json.dumps(
            [
                {
                    "kind": "document_update",
                    "documentId": document,
                    "type": "updated",
                    "metadata": {"title": f"bench:{number}:{now}:{'x' * pad}"},
                    "userId": "publisher",
                    "organizationId": self.organization,
                }
                for document, number in events
            ]
        ).encode()

    def close(self) -> None:
        """Let go of the connection."""
        self._writer.close()


def batches(events: Sequence[tuple[str, int]], size: int = 100) -> Iterator[Sequence[tuple[str, int]]]:
    """Cut into batches that one call takes."""
    for at in range(0, len(events), size):
        yield events[at : at + size]


def cpu_s(pid: int) -> float:
    """Give the CPU seconds, user and system, that a process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kb(pid: int) -> int:
    """Give what a process holds in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} says nothing of its memory")
