"""The native WebSocket over real sockets: handshake, credentials, messages, the ways it ends."""

from __future__ import annotations

import asyncio
import json
import socket

import msgspec
import pytest
from websockets.asyncio.client import connect

from signtusk_realtime.errors import Forbidden, Unavailable
from signtusk_realtime.server.stream import EventStream
from signtusk_realtime.server.websocket import WebSocket
from signtusk_realtime.sessions.rates import RateLimits
from tests.support.samples import sample
from tests.support.server import (
    CLOSE,
    DEADLINE_S,
    IDENTITY,
    PING,
    PONG,
    QUICK,
    TEXT,
    UPGRADE,
    Peer,
    Serving,
    Slow,
    StreamPeer,
    WebSocketPeer,
    call,
    publish,
    request,
    serving,
    until,
)
from tests.support.wire import client_frame

pytestmark = pytest.mark.both_loops

DOCUMENTS = {"type": "document_updates"}


async def refused(it: Serving, target: str = f"/ws?{IDENTITY}", **headers: str) -> tuple[int, object]:
    """Ask for an upgrade that is refused; give status and code, and see the connection end."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with await Peer.connect(it.port) as peer:
        await peer.send(request("GET", target, {**UPGRADE, **named}))
        answer = await peer.answer()
        peer.writer.write_eof()
        assert await peer.rest() == b""
        return answer.status, answer.code


async def test_a_library_client_is_served() -> None:
    """A client that we did not write connects, subscribes, is told an event, pings, and closes cleanly."""
    async with serving() as it, connect(f"ws://127.0.0.1:{it.port}/ws?{IDENTITY}") as socket:
        connected = json.loads(await socket.recv())
        assert connected["type"] == "connected"
        assert connected["connectionId"].startswith("conn_")
        assert (connected["userId"], connected["organizationId"]) == ("user123", "org123")
        assert "cursor" not in connected
        await socket.send(json.dumps({"type": "subscribe", "subscription": DOCUMENTS, "requestId": "r1"}))
        subscribed = json.loads(await socket.recv())
        assert (subscribed["type"], subscribed["requestId"]) == ("subscribed", "r1")
        result = (await publish(it.port, sample("document_update"))).json()["results"]
        event = json.loads(await socket.recv())
        assert event["event"]["id"] == result[0]["eventId"]
        await (await socket.ping())
        await socket.send(json.dumps({"type": "ping", "timestamp": 17}))
        pong = json.loads(await socket.recv())
        assert (pong["type"], pong["cursor"]) == ("pong", event["cursor"])
        await socket.close(1000, "done")
        assert socket.close_code == 1000
        await until(lambda: not it.hub.connections)


async def test_the_subprotocol_is_selected_if_offered() -> None:
    """`signtusk.v1` is selected where it was offered, and carries a token beside it; else none is."""
    async with serving() as it:
        offer = {"Sec-WebSocket-Protocol": "signtusk.v1, bearer.ada@acme"}
        async with await WebSocketPeer.connect(it.port) as peer:
            await peer.send(request("GET", "/ws", {**UPGRADE, **offer}))
            answer = await peer.answer()
            assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "signtusk.v1")
            connected = await peer.message()
            assert (connected["userId"], connected["organizationId"]) == ("ada", "acme")
        async with await WebSocketPeer.connect(it.port) as peer:
            await peer.send(request("GET", "/ws", {**UPGRADE, "Authorization": "Bearer a@b@acme"}))
            answer = await peer.answer()
            assert "sec-websocket-protocol" not in answer.headers
            assert (await peer.message())["userId"] == "a@b"


async def test_refusals_before_the_upgrade_are_http() -> None:
    """Each reason has its status and code as a problem."""
    async with serving() as it:
        assert await refused(it, "/ws") == (401, "unauthenticated")
        assert await refused(it, "/ws?userId=a") == (401, "unauthenticated")
        assert await refused(it, "/ws?userId=a&organizationId=~") == (401, "unauthenticated")
        assert await refused(it, Authorization="Bearer x@y") == (403, "forbidden")
        assert await refused(it, "/ws", Authorization="Bearer x@*") == (403, "forbidden")
        assert await refused(it, Authorization="Basic eDp5") == (401, "unauthenticated")
        assert await refused(it, "/ws?userId=a&userId=b&organizationId=o") == (400, "invalid_parameter")
        assert await refused(it, Sec_WebSocket_Key="short") == (400, "invalid_handshake")
        assert await refused(it, Sec_WebSocket_Version="8") == (426, "upgrade_required")
        assert await refused(it, Upgrade="h2c") == (426, "upgrade_required")
        assert await refused(it, Origin="https://example.org") == (403, "origin_not_allowed")
        assert await refused(it, Origin="null") == (403, "origin_not_allowed")
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", f"/ws?{IDENTITY}", UPGRADE, host="rebound.example.org"))
            answer = await peer.answer()
            assert answer.code == "host_not_allowed"
            assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Origin", "no-store")
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", f"/ws?{IDENTITY}", UPGRADE, version="1.0"))
            answer = await peer.answer()
            assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
        assert not it.hub.connections


async def test_a_page_on_another_loopback_port_may_connect() -> None:
    """A loopback origin passes."""
    async with serving() as it:
        peer = await WebSocketPeer.open(it.port, headers={"Origin": "http://localhost:5173"})
        async with peer:
            assert (await peer.message())["type"] == "connected"


@pytest.mark.parametrize(
    ("target", "token", "close"),
    [
        ("/ws", "nobody", (4501, "unauthenticated")),
        ("/ws?userId=other", "ada@acme", (4503, "forbidden")),
        ("/ws", "ada@*", (4503, "forbidden")),
    ],
)
async def test_browsers_learn_by_a_close_frame(target: str, token: str, close: tuple[int, str]) -> None:
    """Where `signtusk.v1` was offered, bad credentials upgrade and close at once, also if frames came along."""
    async with serving() as it, await WebSocketPeer.connect(it.port) as peer:
        offer = {"Sec-WebSocket-Protocol": f"signtusk.v1, bearer.{token}"}
        early = client_frame(TEXT, b'{"type":"ping"}')
        await peer.send(request("GET", target, {**UPGRADE, **offer}) + early + early[:7])
        assert (await peer.answer()).status == 101
        assert await peer.closed() == close
        await peer.send(early[7:] + client_frame(CLOSE, close[0].to_bytes(2, "big")))
        assert await peer.rest() == b""


async def test_pings_are_answered_with_their_payload() -> None:
    """A protocol ping of up to 125 bytes comes back as a pong, also between the fragments of a message."""
    async with serving() as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        text = b'{"type":"ping"}'
        await peer.send(
            client_frame(TEXT, text[:5], final=False) + client_frame(PING, b"x" * 125) + client_frame(0, text[5:])
        )
        assert await peer.frame() == (PONG, b"x" * 125, True)
        assert (await peer.message())["type"] == "pong"


async def test_the_peers_close_is_answered_and_ends_everything() -> None:
    """A close is answered with its code; what follows it is not acted on; the server ends the connection."""
    async with serving() as it:
        for payload, code in ((b"", b""), ((4321).to_bytes(2, "big") + b"bye", (4321).to_bytes(2, "big"))):
            async with await WebSocketPeer.open(it.port) as peer:
                await peer.message()
                await peer.send(client_frame(CLOSE, payload) + client_frame(PING, b"late"))
                assert await peer.frame() == (CLOSE, code, True)
                assert await peer.rest() == b""
        await until(lambda: not it.hub.connections)


async def test_an_event_that_comes_with_a_close_is_no_error() -> None:
    """Delivery lets go of a peer in the step that reads its close: publishing at that moment harms nothing."""
    async with serving() as it:
        peers = [await WebSocketPeer.open(it.port) for _ in range(5)]
        for peer in peers:
            await peer.subscribe(DOCUMENTS)
        await asyncio.gather(
            publish(it.port, *[sample("document_update")] * 50),
            *(peer.send(client_frame(CLOSE)) for peer in peers),
        )
        for peer in peers:
            await peer.closed()
            await peer.end()
        await until(lambda: not it.hub.connections)


async def test_a_peer_that_vanishes_is_forgotten() -> None:
    """An end without a close frame, or a reset, frees the connection."""
    async with serving() as it:
        polite = await WebSocketPeer.open(it.port)
        rude = await WebSocketPeer.open(it.port)
        await polite.subscribe(DOCUMENTS)
        await rude.subscribe(DOCUMENTS)
        assert len(it.hub.connections) == 2
        polite.writer.write_eof()
        rude.writer.transport.abort()
        await until(lambda: not it.hub.connections and not it.server._entrance.natives)
        await polite.end()
        await rude.end()


async def test_a_slow_reader_misses_nothing_and_costs_a_bound() -> None:
    """What waits unsent for a peer that does not read stays within the outbox; once it reads it gets the rest, in order, and the quick
    one never waited.
    """
    limits = msgspec.structs.replace(QUICK, outbox_bytes=500_000)
    async with serving(limits=limits) as it:
        slow = await WebSocketPeer.open(it.port)
        quick = await WebSocketPeer.open(it.port)
        await slow.subscribe(DOCUMENTS)
        await quick.subscribe(DOCUMENTS)
        slow.writer.transport.pause_reading()
        total, after = 0, 0
        while after < 20:
            event = sample("document_update", id=f"e{total}", changes=None, metadata={"text": "x" * 100_000})
            assert (await publish(it.port, event)).status == 200
            assert (await quick.message())["event"]["id"] == f"e{total}"
            total += 1
            assert total < 300, "the outbox is never full"
            after += any(connection.is_paused for connection in it.hub.connections.values())
            for native in it.server._entrance.natives:
                assert native.unsent() <= limits.outbox_bytes
        slow.writer.transport.resume_reading()
        for number in range(total):
            assert (await slow.message())["event"]["id"] == f"e{number}"
        await slow.end()
        await quick.end()


async def test_a_peer_that_does_not_answer_our_close_is_cut() -> None:
    """The closing handshake has a deadline, which nothing but the peer's close shortens; after our close nothing is acted on or sent."""
    async with serving(limits=msgspec.structs.replace(QUICK, close_timeout_s=0.3)) as it:
        async with await WebSocketPeer.open(it.port) as peer:
            await peer.message()
            ping = client_frame(PING) + client_frame(TEXT, b'{"type":"ping"}')
            await peer.send(client_frame(TEXT, b"{") * 21 + ping)
            assert await peer.closed() == (4509, "protocol_violation")
            await peer.send(ping)
            (native,) = it.server._entrance.natives
            assert isinstance(native, WebSocket)
            # An answer on another connection: what was sent before it has been read.
            await call(it.port, "GET", "/livez")
            assert not native._transport.is_closing()
            assert await peer.rest() == b""
            assert not peer._waiting
        assert not it.hub.connections


async def test_the_outbox_is_as_large_as_it_was_set() -> None:
    """The transport's own high-water mark is the bound of what waits unsent."""
    limits = msgspec.structs.replace(QUICK, outbox_bytes=123_456)
    async with (
        serving(limits=limits) as it,
        await WebSocketPeer.open(it.port),
        await StreamPeer.open(it.port) as stream,
    ):
        await stream.message()
        await until(lambda: len(it.hub.connections) == 2)
        for native in it.server._entrance.natives:
            assert isinstance(native, WebSocket | EventStream)
            assert native._transport.get_write_buffer_limits()[1] == limits.high_water_bytes <= 123_456
            sent = native._transport.get_extra_info("socket")
            assert sent.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * (64 << 10)
            assert sent.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_silent_peer_is_closed() -> None:
    """One that answers no ping is closed 4400 after heartbeat_interval and pong_timeout; one that does stays."""
    async with serving(heartbeat_interval_s=0.3, pong_timeout_s=0.2) as it:
        silent = await WebSocketPeer.open(it.port)
        alive = await WebSocketPeer.open(it.port)
        await silent.message()
        await alive.message()
        answering = asyncio.create_task(alive.message())
        assert await silent.closed() == (4400, "heartbeat_timeout")
        assert len(it.hub.connections) == 1
        await alive.ask({"type": "ping"})
        assert (await answering)["type"] == "pong"
        await silent.end()
        await alive.end()


UNHURRIED = RateLimits(message_burst=100_000, byte_burst=100_000_000)


async def test_what_comes_before_the_upgrade_is_kept() -> None:
    """Frames sent while credentials are checked are read after the upgrade; more than the bound of them is not read yet, and not lost."""
    authenticator = Slow()
    limits = msgspec.structs.replace(QUICK, message_bytes=10_000, rates=UNHURRIED)
    async with serving(authenticator=authenticator, limits=limits) as it, await WebSocketPeer.connect(it.port) as peer:
        await peer.send(request("GET", "/ws", UPGRADE))
        await asyncio.wait_for(authenticator.asked.wait(), DEADLINE_S)
        frame = client_frame(TEXT, b'{"type":"ping","timestamp":"%b"}' % (b"x" * 1000))
        for _ in range(200):
            await peer.send(frame)
        (native,) = it.server._entrance.natives
        await until(lambda: not native._transport.is_reading())
        authenticator.go.set()
        assert (await peer.answer()).status == 101
        types = [(await peer.message())["type"] for _ in range(201)]
        assert types == ["connected", *["pong"] * 200]


async def test_who_leaves_while_he_is_checked_is_not_let_in() -> None:
    """An admission whose peer is gone ends, whatever it waits for, and holds nothing."""
    authenticator = Slow()
    async with serving(authenticator=authenticator) as it:
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", "/ws", UPGRADE))
            await asyncio.wait_for(authenticator.asked.wait(), DEADLINE_S)
            admission = next(iter(it.server._entrance.tasks))
        await until(lambda: not it.server._entrance.tasks)
        assert admission.cancelled()
        assert not it.server._entrance.natives
        assert not it.hub.connections
        assert not any(organization.holders for organization in it.hub._following.organizations.values())


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable("away"), 503, "unavailable"),
        (RuntimeError("a defect"), 500, "internal"),
        (Forbidden("no"), 403, "forbidden"),
    ],
)
async def test_errors_of_admission_are_told(error: Exception, status: int, code: str) -> None:
    """503 when the log is away; a defect of ours is a bare 500, logged once."""
    authenticator = Slow()
    authenticator.error = error
    authenticator.go.set()
    async with serving(authenticator=authenticator) as it:
        assert await refused(it) == (status, code)


async def test_what_exceeds_the_rate_is_not_executed() -> None:
    """Messages above the burst are answered rate_limited, with their requestId, and do nothing; what is slow enough is served."""
    limits = msgspec.structs.replace(QUICK, rates=RateLimits(messages_per_second=0.001, message_burst=3))
    async with serving(limits=limits) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        for i in range(5):
            await peer.ask({"type": "subscribe", "requestId": f"r{i}", "subscription": {"type": "document_updates"}})
        answers = [await peer.message() for _ in range(5)]
        assert [a["type"] for a in answers] == ["subscribed"] * 3 + ["error"] * 2
        assert [(a["code"], a["requestId"]) for a in answers[3:]] == [("rate_limited", "r3"), ("rate_limited", "r4")]
        (connection,) = it.hub.connections.values()
        assert len(connection.session.subscriptions) == 3


async def test_bytes_have_a_rate_of_their_own() -> None:
    """A few large messages are too much where many small ones are not."""
    limits = msgspec.structs.replace(QUICK, rates=RateLimits(bytes_per_second=1.0, byte_burst=5000))
    async with serving(limits=limits) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        for _ in range(2):
            await peer.ask({"type": "ping", "timestamp": "x" * 3000})
        assert [(await peer.message())["type"] for _ in range(2)] == ["pong", "error"]


async def test_who_keeps_exceeding_the_rate_is_closed() -> None:
    """More than 200 refused messages within ten seconds close 4429; protocol pings count as well."""
    limits = msgspec.structs.replace(QUICK, rates=RateLimits(messages_per_second=0.001, message_burst=1))
    async with serving(limits=limits) as it:
        for frame in (client_frame(TEXT, b'{"type":"ping"}'), client_frame(PING, b"x")):
            async with await WebSocketPeer.open(it.port) as peer:
                await peer.message()
                await peer.send(frame * 202)
                assert await peer.closed() == (4429, "rate_limited")
