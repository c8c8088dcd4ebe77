"""Much that comes at once from one connection: how much of it is acted on in one turn of the loop, and what is not read at all.

Memory, refusals and what others notice, against the real command: test_attacks.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
import pytest

from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.deflate import encode_deflated
from signtusk_realtime.protocol.frames import BINARY, FRAMES_AT_ONCE, LAST_FRAMES
from signtusk_realtime.server.front import MAX_HEADERS, Front
from signtusk_realtime.server.intake import SLICE_BYTES
from signtusk_realtime.server.websocket import EARLY_BYTES, THROWN_AWAY_BYTES, WebSocket
from signtusk_realtime.sessions.rates import RateLimits
from tests.support.samples import sample
from tests.support.server import (
    CLOSE,
    DEADLINE_S,
    IDENTITY,
    QUICK,
    TEXT,
    UPGRADE,
    Held,
    Peer,
    Serving,
    Slow,
    WebSocketPeer,
    history,
    request,
    serving,
    until,
)
from tests.support.wire import ServerFrames, client_frame

pytestmark = pytest.mark.both_loops

UNHURRIED: Final = msgspec.structs.replace(
    QUICK,
    rates=RateLimits(messages_per_second=1e6, message_burst=1e6, bytes_per_second=1e9, byte_burst=1e9),
    outbox_bytes=8 << 20,
)
PING: Final = client_frame(TEXT, b'{"type":"ping"}')
PONG: Final = client_frame(10)
JSON: Final = {"Content-Type": "application/json"}
EVENTS: Final = f"/api/realtime/events?{IDENTITY}"
READYZ: Final = request("GET", "/readyz")


def web_socket(it: Serving) -> WebSocket:
    """Give the server's side of the only WebSocket."""
    (native,) = it.server._entrance.natives
    assert isinstance(native, WebSocket)
    return native


async def turns(it: Serving, native: WebSocket) -> list[int]:
    """Give how many messages each turn of the loop acts on, until everything that came in is acted on."""
    taken: list[int] = []
    before = it.hub.counters.messages
    while not native._transport.is_reading():
        await asyncio.sleep(0)
        taken.append(it.hub.counters.messages - before)
        before += taken[-1]
    return taken


# ---- over WebSocket


async def test_a_turn_of_the_loop_acts_on_one_step() -> None:
    """However many frames come at once, others have their turns in between; nothing more is read meanwhile, and then reading goes on."""
    async with serving(limits=UNHURRIED) as it, await WebSocketPeer.open(it.port) as peer:
        assert (await peer.message())["type"] == "connected"
        native = web_socket(it)
        native.data_received(PING * FRAMES_AT_ONCE * 5)
        assert it.hub.counters.messages == FRAMES_AT_ONCE
        assert not native._transport.is_reading()
        taken = await turns(it, native)
        assert sum(taken) == FRAMES_AT_ONCE * 4
        assert max(taken) == FRAMES_AT_ONCE
        await peer.send(PING)
        for _ in range(FRAMES_AT_ONCE * 5 + 1):
            assert (await peer.message())["type"] == "pong"


async def test_a_message_is_inflated_when_the_one_before_was_acted_on() -> None:
    """Compressed messages that came at once are taken one a turn, so that never more than one of them is in memory."""
    async with (
        serving(limits=UNHURRIED) as it,
        await WebSocketPeer.open(it.port, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}) as peer,
    ):
        peer.frames = ServerFrames(window_bits=15)
        assert (await peer.message())["type"] == "connected"
        native = web_socket(it)
        packed = encode_deflated(b'{"type":"ping"}' + b" " * 60_000, 12)
        size = len(packed) - 4
        assert packed[1] == 126
        masked = packed[:1] + bytes([0x80 | 126]) + size.to_bytes(2, "big") + bytes(4) + packed[4:]
        native.data_received(masked * 20)
        assert it.hub.counters.messages == 1
        taken = await turns(it, native)
        assert (sum(taken), max(taken)) == (19, 1)
        for _ in range(20):
            assert (await peer.message())["type"] == "pong"


async def test_fragments_count_like_messages() -> None:
    """Messages in thousands of empty pieces cost what as many messages do, and end as those do: 4429."""
    empty = client_frame(0, final=False)
    in_pieces = client_frame(TEXT, b'{"type":', final=False) + empty * 4000 + client_frame(0, b'"ping"}')
    async with serving() as it, await WebSocketPeer.open(it.port) as peer:
        await peer.send(in_pieces * 6)
        assert (await peer.closed())[0] == codes.CLOSE_RATE_LIMITED.number


async def test_what_was_under_way_at_our_close_is_passed_over() -> None:
    """Messages that crossed our close do not keep the peer's own from being understood: the connection ends at once."""
    limits = msgspec.structs.replace(UNHURRIED, close_timeout_s=60.0)
    async with serving(limits=limits) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        it.hub.end(next(iter(it.hub.connections.values())), codes.CLOSE_RESTARTING)
        await peer.send(PING * (LAST_FRAMES - 1) + client_frame(CLOSE, b"\x03\xe9"))
        assert (await peer.closed())[0] == codes.CLOSE_RESTARTING.number
        await until(lambda: not it.server._entrance.natives)


async def test_who_goes_on_behind_our_close_is_not_read() -> None:
    """Neither parsed nor taken from the kernel: it costs nothing, until the deadline of the closing ends it."""
    limits = msgspec.structs.replace(UNHURRIED, close_timeout_s=0.5)
    async with serving(limits=limits) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        native = web_socket(it)
        it.hub.end(next(iter(it.hub.connections.values())), codes.CLOSE_RESTARTING)
        await peer.send(PONG * (LAST_FRAMES + 1))
        await until(lambda: native._reader is None)
        assert not native._transport.is_reading()
        native.resume_writing()
        assert not native._transport.is_reading()
        assert (await peer.closed())[0] == codes.CLOSE_RESTARTING.number
        await until(lambda: not it.server._entrance.natives)


async def test_who_goes_on_behind_a_violation_is_read_so_far_and_no_further() -> None:
    """Long enough for whoever was in the middle of a message, and then until the deadline not at all; he has his reason before."""
    limits = msgspec.structs.replace(UNHURRIED, close_timeout_s=0.5)
    async with serving(limits=limits) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        native = web_socket(it)
        await peer.send(client_frame(BINARY, b"x"))
        assert (await peer.closed())[0] == codes.CLOSE_UNSUPPORTED_DATA.number
        with contextlib.suppress(OSError):
            for _ in range(64):
                await peer.send(PONG * 50_000)
        await until(lambda: not it.server._entrance.natives)
        assert THROWN_AWAY_BYTES < native._thrown_away < 2 * THROWN_AWAY_BYTES


async def test_a_full_outbox_is_not_forgotten_over_steps() -> None:
    """While answers are not taken nothing is read, also when all that had come in is acted on."""
    async with serving(limits=UNHURRIED) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        native = web_socket(it)
        for is_taken_meanwhile in (False, True):
            before = it.hub.counters.messages
            native.pause_writing()
            native.data_received(PING * FRAMES_AT_ONCE * 3)
            if is_taken_meanwhile:
                native.resume_writing()
                assert not native._transport.is_reading()
            while it.hub.counters.messages < before + FRAMES_AT_ONCE * 3:
                await asyncio.sleep(0)
            assert native._transport.is_reading() is is_taken_meanwhile
            native.resume_writing()
            assert native._transport.is_reading()


# ---- over HTTP


async def test_pipelined_requests_wait_as_bytes() -> None:
    """Of requests without end few become objects; the rest waits where it is, and all are answered in their order."""
    engine = Held()
    count = 5000
    async with serving(engine=engine) as it, await Peer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        sending = asyncio.create_task(
            peer.send(request("POST", EVENTS, JSON, body) + READYZ * count + request("GET", "/nowhere"))
        )
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        (front,) = it.server._fronts.state.connections
        assert isinstance(front, Front)
        await until(lambda: bool(front.pipeline))
        front.flow.resume_reading()
        assert not front.transport.is_reading()
        front.data_received(b"")
        assert len(front.pipeline) <= SLICE_BYTES // len(READYZ) + 1
        assert not front.transport.is_reading()
        engine.go.set()
        assert [(await peer.answer()).status for _ in range(count + 2)] == [*[200] * (count + 1), 404]
        await sending
        await peer.send(READYZ)
        assert (await peer.answer()).status == 200


async def test_bodies_between_pipelined_requests_come_whole() -> None:
    """With lengths and in chunks, of any size: what waits in between is cut nowhere, and each event is published once."""
    sizes = (1, 900, 1100, 70_000)
    async with serving() as it, await Peer.connect(it.port) as peer:
        data, ids = b"", []
        for number, size in enumerate(sizes * 3):
            ids.append(f"e{number}")
            body = msgspec.json.encode({**sample("document_update"), "id": ids[-1], "metadata": {"text": "x" * size}})
            if number % 2:
                chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (100, body[:100], len(body) - 100, body[100:])
                data += request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked"}) + chunks
            else:
                data += request("POST", EVENTS, JSON, body)
            data += READYZ * 3
        sending = asyncio.create_task(peer.send(data))
        assert [(await peer.answer()).status for _ in range(len(ids) * 4)] == [200] * len(ids) * 4
        await sending
        assert [event["id"] for event in await history(it.port)] == ids


async def test_a_refusal_ends_what_waits_behind_it() -> None:
    """Of requests that wait behind one that is refused none is carried out."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        publication = request("POST", EVENTS, JSON, body)
        await peer.send(READYZ * 100 + b"nonsense\r\n\r\n" + publication * 10)
        assert [(await peer.answer()).status for _ in range(101)] == [*[200] * 100, 400]
        peer.writer.write_eof()
        assert await peer.rest() == b""
        assert await history(it.port) == []


async def test_nothing_waits_behind_a_refusal() -> None:
    """What still comes while a refusal waits for the answers before it is thrown away, and the connection ends when its peer does."""
    engine = Held()
    limits = msgspec.structs.replace(QUICK, close_timeout_s=60.0)
    async with serving(engine=engine, limits=limits) as it, await Peer.connect(it.port) as peer:
        publication = request("POST", EVENTS, JSON, msgspec.json.encode(sample("document_update")))
        await peer.send(publication + READYZ + b"nonsense\r\n\r\n")
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        (front,) = it.server._fronts.state.connections
        assert isinstance(front, Front)
        await until(lambda: bool(front.pipeline) and front._is_ended)
        front.data_received(publication)
        engine.go.set()
        assert [(await peer.answer()).status for _ in range(3)] == [200, 200, 400]
        peer.writer.write_eof()
        await until(lambda: not it.server._fronts.state.connections)
        assert len(await history(it.port)) == 1


async def test_headers_are_bounded_in_number() -> None:
    """Short headers cost more in memory than on the line: as many as are allowed pass, one more is 431, whatever follows."""
    async with serving() as it:
        for extra, status in ((0, 200), (1, 431)):
            async with await Peer.connect(it.port) as peer:
                lines = b"a:\r\n" * (MAX_HEADERS - 1 + extra)
                await peer.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
                answer = await peer.answer()
                assert answer.status == status
                assert status == 200 or answer.code == "head_too_large"


async def test_what_is_sent_before_it_is_known_who_asks_is_left_in_the_kernel() -> None:
    """Of what comes behind the upgrade request one read is kept, and no more until somebody was let in; then all of it counts."""
    authenticator = Slow()
    async with serving(authenticator=authenticator) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", "/ws", UPGRADE))
        await asyncio.wait_for(authenticator.asked.wait(), DEADLINE_S)
        native = web_socket(it)
        await peer.send(client_frame(TEXT, b'{"type":"ping"' + b" " * EARLY_BYTES + b"}"))
        await until(lambda: not native._transport.is_reading())
        authenticator.go.set()
        await until(native._transport.is_reading)
        assert it.hub.connections
