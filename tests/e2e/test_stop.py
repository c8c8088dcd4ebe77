"""A clean end: who is told what, in which order, and that nothing is left (I7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading

import msgspec
import pytest

from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.server.front import Front
from tests.support.samples import sample
from tests.support.server import (
    CLOSE,
    DEADLINE_S,
    IDENTITY,
    QUICK,
    Held,
    Peer,
    Serving,
    StreamPeer,
    WebSocketPeer,
    call,
    make_server,
    request,
    serving,
    until,
)
from tests.support.wire import client_frame

pytestmark = pytest.mark.both_loops

EVENTS = f"/api/realtime/events?{IDENTITY}"
PATIENT = msgspec.structs.replace(QUICK, drain_timeout_s=30.0, close_timeout_s=30.0)


async def test_peers_are_told_and_nothing_is_left() -> None:
    """WebSockets are closed 1012, streams end, idle and half-read connections too; no socket, timer or task of the server remains."""
    async with serving(limits=PATIENT, stop=False) as it:
        web_socket, stream = await WebSocketPeer.open(it.port), await StreamPeer.open(it.port)
        await web_socket.subscribe({"type": "document_updates"})
        await stream.message()
        idle, kept, half = [await Peer.connect(it.port) for _ in range(3)]
        await kept.send(request("GET", "/livez"))
        await kept.answer()
        await half.send(b"GET /livez HT")
        tasks = asyncio.all_tasks()
        stopping = asyncio.create_task(it.server.stop())
        assert await web_socket.closed() == (1012, "restarting")
        await web_socket.send(client_frame(CLOSE, (1012).to_bytes(2, "big")))
        for peer in (web_socket, idle, kept, half):
            assert await peer.rest() == b""
        await stream.rest()
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert not it.hub.connections
        nothing_left(it)
        assert asyncio.all_tasks() <= tasks
        with pytest.raises(ConnectionRefusedError):
            await Peer.connect(it.port)
        for peer in (web_socket, stream, idle, kept, half):
            await peer.end()


async def test_what_was_asked_is_answered() -> None:
    """A request in progress gets its answer, then its connection ends; idle ones end at once."""
    engine = Held()
    async with serving(engine=engine, limits=PATIENT, stop=False) as it:
        publisher, idle = await Peer.connect(it.port), await Peer.connect(it.port)
        body = json.dumps(sample("document_update")).encode()
        await publisher.send(request("POST", EVENTS, {"Content-Type": "application/json"}, body))
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        stopping = asyncio.create_task(it.server.stop())
        assert await idle.rest() == b""
        assert not stopping.done()
        engine.go.set()
        answer = await publisher.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        await asyncio.wait_for(stopping, DEADLINE_S)
        nothing_left(it)
        for peer in (publisher, idle):
            await peer.end()


async def test_readiness_falls_before_the_door_closes() -> None:
    """While a request is waited for, /readyz and /api/realtime/health on a connection in use say that we stop, and no WebSocket opens."""
    engine = Held()
    async with serving(engine=engine, limits=PATIENT, stop=False) as it:
        body = json.dumps(sample("document_update")).encode()
        peers = [await Peer.connect(it.port) for _ in range(3)]
        targets = ("/readyz", "/api/realtime/health", f"/ws?{IDENTITY}")
        for peer, target in zip(peers, targets, strict=True):
            # Pipelined: answered after the publication, which is held.
            await peer.send(
                request("POST", EVENTS, {"Content-Type": "application/json"}, body) + request("GET", target)
            )
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        fronts = [front for front in it.server._fronts.state.connections if isinstance(front, Front)]
        await until(lambda: all(front.pipeline or front._hand_over for front in fronts))
        it.server._entrance.is_stopping = True
        engine.go.set()
        for peer, status in zip(peers, (503, 503, 503), strict=True):
            assert (await peer.answer()).status == 200
            assert (await peer.answer()).status == status
            await peer.end()
        await asyncio.wait_for(it.server.stop(), DEADLINE_S)


async def test_the_wait_is_bounded() -> None:
    """Who does not let go is cut after drain_timeout: a held request, a WebSocket that answers no close, a peer that reads nothing."""
    engine = Held()
    limits = msgspec.structs.replace(QUICK, drain_timeout_s=0.3, close_timeout_s=30.0)
    async with serving(engine=engine, limits=limits, stop=False) as it:
        publisher, web_socket = await Peer.connect(it.port), await WebSocketPeer.open(it.port)
        await web_socket.message()
        body = json.dumps(sample("document_update")).encode()
        await publisher.send(request("POST", EVENTS, {"Content-Type": "application/json"}, body))
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        await asyncio.wait_for(it.server.stop(), DEADLINE_S)
        nothing_left(it)
        for peer in (publisher, web_socket):
            with contextlib.suppress(ConnectionResetError):
                await peer.rest()
            await peer.end()


async def test_hurrying_waits_for_nobody() -> None:
    """`hurry` ends a stop at once."""
    async with serving(limits=PATIENT, stop=False) as it:
        web_socket = await WebSocketPeer.open(it.port)
        await web_socket.message()
        stopping = asyncio.create_task(it.server.stop())
        await web_socket.closed()
        assert not stopping.done()
        it.server.hurry()
        await asyncio.wait_for(stopping, DEADLINE_S)
        nothing_left(it)
        await web_socket.end()


async def test_stopping_twice_is_stopping_once() -> None:
    """Both calls return when it is done."""
    async with serving(stop=False) as it:
        await asyncio.gather(it.server.stop(), it.server.stop())
        await it.server.stop()
        nothing_left(it)


async def test_other_outlets_of_the_hub_are_left_alone() -> None:
    """A server ends what came in through it, not what another server of the same service holds."""
    async with serving(stop=False) as it:
        other = make_server(it.hub, it.engine)
        await other.start()
        mine, others = await WebSocketPeer.open(it.port), await WebSocketPeer.open(other.port)
        await mine.message()
        await others.message()
        stopping = asyncio.create_task(it.server.stop())
        assert await mine.closed() == (1012, "restarting")
        await mine.end()
        await stopping
        await others.ask({"type": "ping"})
        assert (await others.message())["type"] == "pong"
        await others.end()
        await other.stop()


async def test_a_taken_port_is_told() -> None:
    """An address that cannot be had is a configuration error, and leaves nothing open."""
    async with serving() as it:
        with pytest.raises(ConfigurationError, match=str(it.port)):
            await make_server(it.hub, it.engine, port=it.port).start()


async def test_a_name_is_listened_to_on_all_its_addresses() -> None:
    """`localhost` is one port on each of its addresses."""
    async with serving() as it:
        server = make_server(it.hub, it.engine, host="localhost")
        await server.start()
        try:
            addresses = {info[4][0] for info in socket.getaddrinfo("localhost", server.port, type=socket.SOCK_STREAM)}
            for address in addresses:
                reader, writer = await asyncio.open_connection(address, server.port)
                writer.write(request("GET", "/livez", {"Connection": "close"}))
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
                writer.close()
                await writer.wait_closed()
        finally:
            await server.stop()


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_and_a_second_one_hurries(number: signal.Signals) -> None:
    """The first lets everybody go in peace; the second waits for nobody; the old handlers are back afterwards."""
    async with serving() as it:
        before = signal.getsignal(number)
        server = make_server(it.hub, it.engine, limits=PATIENT)
        running = asyncio.create_task(server.run())
        await until(lambda: server.port != 0)
        assert (await call(server.port, "GET", "/readyz")).status == 200
        web_socket = await WebSocketPeer.open(server.port)
        await web_socket.message()
        os.kill(os.getpid(), number)
        assert await web_socket.closed() == (1012, "restarting")
        assert not running.done()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(running, DEADLINE_S)
        await web_socket.end()
        assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


def nothing_left(it: Serving) -> None:
    """See that the server holds no connection, task or timer."""
    entrance, fronts = it.server._entrance, it.server._fronts
    assert not entrance.natives
    assert not entrance.tasks
    assert not fronts.state.connections
    assert not fronts.state.tasks
    for deadlines in (entrance.closings, fronts.heads, fronts.bodies, fronts.endings):
        assert deadlines._timer is None
        assert not len(deadlines)
