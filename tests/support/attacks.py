"""What hostile clients do to a server, and who else uses it meanwhile.

Owns: each attack with the refusal that it must meet; another user, who publishes and is told, and how long that takes.   Not: what the server may
cost meanwhile (tests/e2e/test_attacks.py, benchmarks/attacks.py).
Rule 1: an attack is bounded by its size, and ends its connections.   Rule 2: it goes on in spite of a refusal as long as the server lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.support.server import CLOSE, PONG, UPGRADE, Answer, Peer, WebSocketPeer, call, request
from tests.support.wire import ServerFrames, client_frame

PLAIN: Final = b"\0\0\0\0"
"""A mask that changes nothing: large frames are made quickly."""
TEXT, CONTINUATION, PING = 1, 0, 9
DEFLATED: Final = 4
"""RSV1, as `client_frame` takes it."""
BOMB_BYTES: Final = 60 << 20
DEPTH: Final = 100_000
HTTP: Final = {"Content-Type": "application/json"}
EVENTS: Final = "/api/realtime/events"
ATTACKER: Final = "userId=mallory&organizationId=mallory-org"
BYSTANDER: Final = "userId=ada&organizationId=bystanders"
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Attack:
    """`begin(port, size)` ends when every connection has met its refusal; `what` says what a size counts."""

    name: str
    begin: Callable[[int, int], Awaitable[None]]
    short: int
    long: int
    what: str


# ---- over WebSocket


async def _close_code(peer: Peer, frames: ServerFrames) -> int:
    """Read on until the close frame; give its code."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            data = await peer.reader.read(65_536)
            assert data, "the server ended the connection without a close frame"
            for frame in frames.feed(data):
                if frame.opcode == CLOSE:
                    return int.from_bytes(frame.payload[:2], "big")


async def _pour(peer: Peer, data: bytes, times: int) -> None:
    """Send the same again and again, until the server no longer takes it."""
    with contextlib.suppress(OSError):
        for _ in range(times):
            peer.writer.write(data)
            await peer.writer.drain()
            await asyncio.sleep(0)  # draining yields only where it has to wait; others here have their turn too


async def _closed_while_sending(port: int, first: bytes, data: bytes, times: int, *, deflate: bool = False) -> int:
    """Send all that; give the code the server closes with."""
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate"} if deflate else {}
    async with await WebSocketPeer.open(port, ATTACKER, headers) as peer:
        frames = ServerFrames(window_bits=15 if deflate else 0)
        peer.writer.write(first)
        sending = asyncio.create_task(_pour(peer, data, times))
        code = await _close_code(peer, frames)
        await sending
        return code


def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = bytes(1 << 20)
    packed = b"".join(compressor.compress(zeros) for _ in range(BOMB_BYTES >> 20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) * 1000 < BOMB_BYTES, len(packed)
    return client_frame(TEXT, packed.removesuffix(b"\x00\x00\xff\xff"), rsv=DEFLATED, mask=PLAIN)


async def bombs(port: int, size: int) -> None:
    """A message of 60 KB that would be 60 MB: 1009, each time."""
    bomb = _bomb()
    for _ in range(size):
        assert await _closed_while_sending(port, bomb, b"", 0, deflate=True) == 1009


async def empty_fragments(port: int, size: int) -> None:
    """A message of nothing but beginnings: 1009, long before its end."""
    empty = client_frame(CONTINUATION, final=False, mask=PLAIN)
    first = client_frame(TEXT, final=False, mask=PLAIN)
    assert await _closed_while_sending(port, first, empty * 1000, size // 1000) == 1009


async def pings(port: int, size: int) -> None:
    """Pings as fast as the line allows: unanswered above the rate, then 4429."""
    assert await _closed_while_sending(port, b"", client_frame(PING, mask=PLAIN) * 1000, size // 1000) == 4429


async def pongs(port: int, size: int) -> None:
    """Answers to pings that nobody sent cost as much: 4429."""
    assert await _closed_while_sending(port, b"", client_frame(PONG, mask=PLAIN) * 1000, size // 1000) == 4429


async def messages(port: int, size: int) -> None:
    """Small valid messages as fast as the line allows: 4429."""
    message = client_frame(TEXT, b'{"type":"ping"}', mask=PLAIN)
    assert await _closed_while_sending(port, b"", message * 1000, size // 1000) == 4429


async def fragment_floods(port: int, size: int) -> None:
    """Valid messages in thousands of empty pieces, which cost as much to read as whole ones: 4429."""
    message = client_frame(TEXT, b'{"type":', final=False, mask=PLAIN)
    message += client_frame(CONTINUATION, final=False, mask=PLAIN) * 4000
    message += client_frame(CONTINUATION, b'"ping"}', mask=PLAIN)
    assert await _closed_while_sending(port, b"", message, size) == 4429


async def many_inflated(port: int, size: int) -> None:
    """Thousands of messages of 80 bytes at once, each of which is as long as a message may be when it is inflated: 4429."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = compressor.compress(b" " * 65_536) + compressor.flush(zlib.Z_SYNC_FLUSH)
    message = client_frame(TEXT, packed.removesuffix(b"\x00\x00\xff\xff"), rsv=DEFLATED, mask=PLAIN)
    assert await _closed_while_sending(port, b"", message * 1000, size // 1000, deflate=True) == 4429


async def _poured_behind_a_refusal(port: int) -> None:
    offer = {"Sec-WebSocket-Protocol": "signtusk.v1, bearer.nobody"}
    pongs_of_a_megabyte = client_frame(PONG, mask=PLAIN) * 175_000
    async with await WebSocketPeer.open(port, "", offer) as peer:
        assert (await peer.closed())[0] == 4501
        poured = 0
        with contextlib.suppress(OSError):
            async with asyncio.timeout(PATIENCE_S):
                while poured < 64:
                    peer.writer.write(pongs_of_a_megabyte)
                    await peer.writer.drain()
                    poured += 1
        # What the kernels of both sides hold; the server takes none of it.
        assert poured < 32, poured


async def poured_behind_refusals(port: int, size: int) -> None:
    """Without a token, refused by a close frame, and frames without end behind it: not read, and cut by the deadline."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(size):
            tasks.create_task(_poured_behind_a_refusal(port))


async def deep_messages(port: int, size: int) -> None:
    """Nesting as deep as a message's length allows: each refused by a message, after twenty 4509; one that is too long: 1009."""
    deep = client_frame(TEXT, b"[" * 65_536, mask=PLAIN)
    for _ in range(size):
        assert await _closed_while_sending(port, client_frame(TEXT, b"[" * DEPTH, mask=PLAIN), b"", 0) == 1009
        async with await WebSocketPeer.open(port, ATTACKER) as peer:
            await peer.message()
            await peer.send(deep)
            assert (await peer.message())["code"] == "too_deep"


# ---- over HTTP


async def deep_bodies(port: int, size: int) -> None:
    """JSON of depth 100 000, as a batch and within an event: 400 invalid_json; as objects an event is too long: 413."""
    lists = b"[" * DEPTH + b"]" * DEPTH
    for _ in range(size):
        for body, refusal in (
            (lists, (400, "invalid_json")),
            (b'{"kind":"organization_activity","payload":%b}' % lists, (400, "invalid_json")),
            (b'{"a":' * DEPTH + b"1" + b"}" * DEPTH, (413, "payload_too_large")),
        ):
            answer = await call(port, "POST", EVENTS, HTTP, body)
            assert (answer.status, answer.code) == refusal


async def _flooded(port: int, first: bytes, data: bytes, times: int) -> Answer:
    """Send all that as a request's beginning; give the answer."""
    async with await Peer.connect(port) as peer:
        peer.writer.write(first)
        sending = asyncio.create_task(_pour(peer, data, times))
        answer = await peer.answer()
        await asyncio.wait_for(sending, PATIENCE_S)
        return answer


async def header_floods(port: int, size: int) -> None:
    """Heads without an end, by many headers, one long one or a long target: 431; bodies' trailers and chunk extensions: 400."""
    get = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    chunked = b"POST /api/realtime/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for first, data, refusal in (
        (get, b"a:b\r\n" * 10_000, (431, "head_too_large")),
        (get + b"X: ", b"y" * 50_000, (431, "head_too_large")),
        (b"GET /", b"y" * 50_000, (431, "head_too_large")),
        (chunked + b"1;", b"z" * 50_000, (400, "invalid_request")),
        (chunked + b"0\r\n", b"a:b\r\n" * 10_000, (400, "invalid_request")),
    ):
        answer = await _flooded(port, first, data, size)
        assert (answer.status, answer.code) == refusal, first


async def _pipelined(port: int, size: int) -> None:
    async with await Peer.connect(port) as peer:
        sending = asyncio.create_task(_pour(peer, request("GET", "/a"), size))
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(size):
                assert (await peer.answer()).status == 404
        await sending


async def pipelined(port: int, size: int) -> None:
    """Requests without end on a few connections: answered one after the other, and the rest waits on the line."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(_pipelined(port, size // 4))


async def _slow_head(port: int) -> None:
    async with await Peer.connect(port) as peer:
        await peer.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        answering = asyncio.create_task(peer.reader.readuntil(b"\r\n\r\n"))
        while not answering.done():
            await peer.send(b"a:")
            await asyncio.wait((answering,), timeout=2)
        assert (await answering).startswith(b"HTTP/1.1 408 ")


async def slow_heads(port: int, size: int) -> None:
    """Heads that come by a few bytes every other second: 408."""
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        for _ in range(size):
            tasks.create_task(_slow_head(port))


async def silence(port: int, size: int) -> None:
    """Connections that ask for nothing are ended, without a word."""
    async with AsyncExitStack() as opened:
        peers = [await opened.enter_async_context(await Peer.connect(port)) for _ in range(size)]
        async with asyncio.timeout(PATIENCE_S):
            for peer in peers:
                assert await peer.reader.read(1) == b""


async def many_handshakes(port: int, size: int) -> None:
    """Upgrades whose key, version or credentials are wrong, one after the other: refused before the upgrade."""
    for number in range(size):
        wrong = ({"Sec-WebSocket-Version": "7"}, 426) if number % 2 else ({"Sec-WebSocket-Key": "short"}, 400)
        answer = await call(port, "GET", f"/ws?{ATTACKER}", {**UPGRADE, **wrong[0]})
        assert answer.status == wrong[1]


QUICK: Final = (
    Attack("decompression bombs", bombs, 20, 500, "messages of 60 KB that would be 60 MB"),
    Attack("empty fragments", empty_fragments, 50_000, 1_000_000, "fragments of one message"),
    Attack("ping flood", pings, 50_000, 1_000_000, "pings"),
    Attack("pong flood", pongs, 50_000, 1_000_000, "pongs"),
    Attack("fragment flood", fragment_floods, 40, 250, "messages of 4000 empty fragments"),
    Attack("many inflated", many_inflated, 10_000, 500_000, "messages of 80 bytes that are 64 KB"),
    Attack("message flood", messages, 20_000, 500_000, "messages"),
    Attack("deep messages", deep_messages, 10, 200, "pairs of messages"),
    Attack("deep bodies", deep_bodies, 5, 100, "triples of bodies, nested 100 000 deep"),
    Attack("header floods", header_floods, 40, 400, "times 50 KB, five ways"),
    Attack("pipelined requests", pipelined, 4_000, 40_000, "requests"),
    Attack("bad handshakes", many_handshakes, 100, 2000, "handshakes"),
)
LASTING: Final = (
    Attack("slow heads", slow_heads, 200, 1000, "connections"),
    Attack("silent sockets", silence, 300, 2000, "connections"),
    Attack("poured behind refusals", poured_behind_refusals, 4, 20, "connections"),
)
"""As long as the server waits for a head, or for a peer to close; they may run at once."""


# ---- the others


@dataclass
class Bystander:
    """A user of another organization, who publishes and is told, one event after the other."""

    port: int
    delays_s: list[float] = field(default_factory=list)
    """How long each event took from its publication until it was read."""

    async def __aenter__(self) -> Self:
        self._publisher = await Peer.connect(self.port)
        self._reader = await WebSocketPeer.open(self.port, BYSTANDER)
        await self._reader.subscribe({"type": "organization_activity"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._publisher.end()
        await self._reader.end()

    async def during(self, work: Awaitable[object], *, pause_s: float = 0.0) -> list[float]:
        """Publish until the work is done, and once more; give the delays. Raises: TimeoutError for an event that does not arrive."""
        delays: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(_awaited(work))
            while not working.done():
                delays.append(await self.event())
                await asyncio.sleep(pause_s)
        delays.append(await self.event())
        return delays

    async def event(self) -> float:
        """Publish one and wait for it; give the seconds that took."""
        event = {
            "kind": "organization_activity",
            "organizationId": "bystanders",
            "activityType": "noted",
            "payload": {},
        }
        began = time.perf_counter()
        await self._publisher.send(request("POST", f"{EVENTS}?{BYSTANDER}", HTTP, json.dumps(event).encode()))
        # Read side by side: an event is delivered before its publisher is answered.
        answer = asyncio.ensure_future(self._publisher.answer())
        while (await self._reader.message())["type"] != "event":
            pass
        took = time.perf_counter() - began
        assert (await answer).status == 200
        return took


async def _awaited(work: Awaitable[object]) -> None:
    await work


class Resident:
    """The memory of a process, at its highest since the last look (proc(5): VmHWM and clear_refs)."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def begin(self) -> int:
        """Give the resident bytes now, and look from here on."""
        (self._folder / "clear_refs").write_text("5")
        return self.highest()

    def highest(self) -> int:
        """Give the most resident bytes since `begin`."""
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (self._folder / "status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) << 10


def quantile(delays: list[float], part: float) -> float:
    """Give the delay that this part of them do not exceed."""
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
