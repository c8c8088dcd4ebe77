"""The ASGI mount on uvicorn: what holds for our own server holds there too, below any path and in any host."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType

import msgspec
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount as Below
from starlette.types import ASGIApp
from websockets.asyncio.client import connect

import tests.e2e.test_http as over_http
import tests.e2e.test_stream as over_stream
import tests.e2e.test_websocket as over_websocket
from signtusk_realtime import RealtimeService
from tests.support.mounted import serving_mounted, uvicorn_serving
from tests.support.samples import sample
from tests.support.server import (
    DEADLINE_S,
    IDENTITY,
    ORGANIZATION,
    QUICK,
    UPGRADE,
    Peer,
    StreamPeer,
    WebSocketPeer,
    call,
    publish,
    request,
    until,
)

DOCUMENTS = {"type": "document_updates"}
NATIVE_ONLY = {
    "test_a_stream_begins_as_agreed": "looks at headers that are the host's",
    "test_the_subprotocol_is_selected_if_offered": "uvicorn takes no @ in a subprotocol",
    "test_browsers_learn_by_a_close_frame": "as above",
    "test_refusals_before_the_upgrade_are_http": "uvicorn answers malformed handshakes itself",
    "test_the_peers_close_is_answered_and_ends_everything": "the closing handshake is uvicorn's",
    "test_a_peer_that_does_not_answer_our_close_is_cut": "as above",
    "test_a_silent_peer_is_closed": "pings are uvicorn's",
    "test_who_keeps_exceeding_the_rate_is_closed": "pings are uvicorn's",
    "test_what_comes_before_the_upgrade_is_kept": "looks at our transports",
    "test_who_leaves_while_he_is_checked_is_not_let_in": "as above",
    "test_a_reader_that_leaves_is_forgotten": "as above",
    "test_a_peer_that_vanishes_is_forgotten": "as above",
    "test_a_slow_reader_misses_nothing": "as above; see below",
    "test_a_slow_reader_misses_nothing_and_costs_a_bound": "as above; see below",
    "test_the_outbox_is_as_large_as_it_was_set": "as above",
}
"""What of the native suites cannot be said of a mount, and why."""


def _over_the_mount(test: FunctionType) -> FunctionType:
    """Give the same test, with `serving` meaning the mount."""
    names = {**test.__globals__, "serving": serving_mounted}
    copy = FunctionType(test.__code__, names, test.__name__, test.__defaults__, test.__closure__)
    copy.__kwdefaults__ = test.__kwdefaults__
    copy.__dict__.update(test.__dict__)
    copy.__annotations__ = test.__annotations__
    copy.__doc__ = test.__doc__
    return copy


def _take_over(module: ModuleType) -> dict[str, FunctionType]:
    tests = {name: test for name, test in vars(module).items() if isinstance(test, FunctionType)}
    return {
        f"{name}_over_the_mount": _over_the_mount(test)
        for name, test in tests.items()
        if name.startswith("test_") and name not in NATIVE_ONLY
    }


for _suite in (over_http, over_stream, over_websocket):
    globals().update(_take_over(_suite))


# ---- what is the mount's own


async def test_a_stream_that_a_ticket_reopens_is_open_once() -> None:
    """As on our own server: it has one name, reopening it ends the earlier one, and revoking it ends the ticket."""
    async with serving_mounted() as it:
        answer = await call(it.port, "POST", f"/api/realtime/tickets?{IDENTITY}")
        query, again = f"ticket={answer.json()['ticket']}", {"Last-Event-ID": "x"}
        async with await StreamPeer.open(it.port, query) as first:
            connection_id = (await first.message())["connectionId"]
            async with await StreamPeer.open(it.port, query, again) as second:
                assert (await second.message())["connectionId"] == connection_id
                assert list(it.hub.connections) == [connection_id]
                body = json.dumps({"connectionId": connection_id, "organizationId": "org123"}).encode()
                json_type = {"Content-Type": "application/json"}
                revoked = await call(it.port, "POST", "/api/realtime/revocations", json_type, body)
                assert revoked.json()["closed"] == 1
        assert (await call(it.port, "GET", f"/api/realtime/events?{query}", again)).code == "unauthenticated"


@pytest.mark.parametrize("opened", [WebSocketPeer.open, StreamPeer.open], ids=["websocket", "stream"])
async def test_a_slow_reader_costs_a_bound(opened: Callable[..., WebSocketPeer | StreamPeer]) -> None:
    """What waits for a peer that does not read stays within the outbox; once it reads it gets the rest, in order."""
    limits = msgspec.structs.replace(QUICK, outbox_bytes=500_000)
    async with serving_mounted(limits=limits) as it, await opened(it.port) as peer:
        if isinstance(peer, WebSocketPeer):
            await peer.subscribe(DOCUMENTS)
        else:
            assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
        (connection,) = it.hub.connections.values()
        peer.writer.transport.pause_reading()
        total, after = 0, 0
        while after < 20:
            event = sample("document_update", id=f"e{total}", changes=None, metadata={"text": "x" * 100_000})
            assert (await publish(it.port, event)).status == 200
            total += 1
            assert total < 300, "the outbox is never full"
            after += connection.is_paused
            assert connection.outlet.unsent() <= limits.outbox_bytes
        peer.writer.transport.resume_reading()
        for number in range(total):
            message = await peer.message()
            assert (message["event"] if message["type"] == "event" else message)["id"] == f"e{number}"


@pytest.mark.parametrize("opened", [WebSocketPeer.open, StreamPeer.open], ids=["websocket", "stream"])
@pytest.mark.parametrize("is_rude", [True, False])
async def test_who_leaves_is_forgotten(opened: Callable[..., WebSocketPeer | StreamPeer], is_rude: bool) -> None:
    """An end without a word, or a reset, frees the connection."""
    async with serving_mounted() as it:
        peer = await opened(it.port)
        await peer.message()
        await until(lambda: len(it.hub.connections) == 1)
        if is_rude:
            peer.writer.transport.abort()
        else:
            peer.writer.close()
        await until(lambda: not it.hub.connections)
        await peer.end()


async def test_refusals_before_the_upgrade_are_http() -> None:
    """Where the host's server can, a refusal has its status and code as a problem."""
    async with serving_mounted() as it:
        for target, headers, expected in (
            ("/ws", {}, (401, "unauthenticated")),
            ("/ws?userId=a&organizationId=~", {}, (401, "unauthenticated")),
            (f"/ws?{IDENTITY}", {"Authorization": "Bearer x@y"}, (403, "forbidden")),
            (f"/ws?{IDENTITY}", {"Origin": "https://example.org"}, (403, "origin_not_allowed")),
            (f"/ws?{IDENTITY}&userId=b", {}, (400, "invalid_parameter")),
            ("/elsewhere", {}, (404, "not_found")),
        ):
            async with await Peer.connect(it.port) as peer:
                await peer.send(request("GET", target, {**UPGRADE, **headers}))
                answer = await peer.answer()
                assert (answer.status, answer.code) == expected
        assert not it.hub.connections


async def test_browsers_learn_by_a_close_code() -> None:
    """Where `signtusk.v1` was offered, bad credentials are told after the upgrade."""
    async with serving_mounted() as it:
        for target, code in (("/ws", 4501), (f"/ws?{IDENTITY}", 4503)):
            headers = {**UPGRADE, "Sec-WebSocket-Protocol": "signtusk.v1"}
            if code == 4503:
                headers["Authorization"] = "Bearer somebody@else"
            async with await WebSocketPeer.connect(it.port) as peer:
                await peer.send(request("GET", target, headers))
                answer = await peer.answer()
                assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "signtusk.v1")
                assert (await peer.closed())[0] == code


async def follow_and_publish(base: str, service: RealtimeService) -> None:
    """Follow documents over both transports below `base`, publish one event in Python and one over HTTP, and see them."""
    port = int(base.split(":")[1].split("/", maxsplit=1)[0])
    prefix = base.removeprefix(f"127.0.0.1:{port}")
    async with (
        connect(f"ws://{base}/ws?{IDENTITY}") as socket,
        await StreamPeer.connect(port) as stream,
    ):
        await stream.send(request("GET", f"{prefix}/api/realtime/events?{IDENTITY}"))
        assert (await stream.head())[0] == 200
        await socket.send(json.dumps({"type": "subscribe", "subscription": DOCUMENTS}))
        assert [json.loads(await socket.recv())["type"] for _ in range(2)] == ["connected", "subscribed"]
        stream_types = [json.loads(data)["type"] for data in await stream_data(stream, 2)]
        assert stream_types == ["connected", "subscribed"]
        await service.emit_document_update({**sample("document_update", id="e1"), "organizationId": ORGANIZATION})
        body = json.dumps(sample("document_update", id="e2")).encode()
        target = f"{prefix}/api/realtime/events?{IDENTITY}"
        answer = await call(port, "POST", target, {"Content-Type": "application/json"}, body)
        assert answer.status == 200, answer.body
        assert [json.loads(await socket.recv())["event"]["id"] for _ in range(2)] == ["e1", "e2"]
        assert [json.loads(data)["id"] for data in await stream_data(stream, 2)] == ["e1", "e2"]
    assert (await call(port, "GET", f"{prefix}/livez")).status == 200
    assert (await call(port, "GET", f"{prefix}/nowhere")).status == 404


async def stream_data(peer: StreamPeer, count: int) -> list[str]:
    """Read an event stream's next data, chunked as the host's server sends it."""
    found: list[str] = []
    while len(found) < count:
        found += [line[6:] for line in (await peer.read()).decode().split("\n") if line.startswith("data: ")]
    return found


def starlette_host(service: RealtimeService) -> ASGIApp:
    return Starlette(routes=[Below("/rt", service.asgi)], lifespan=service.lifespan)


def nested_host(service: RealtimeService) -> ASGIApp:
    inner = Starlette(routes=[Below("/rt", service.asgi)])
    return Starlette(routes=[Below("/deep", inner)], lifespan=service.lifespan)


def fastapi_host(service: RealtimeService) -> ASGIApp:
    app = FastAPI(lifespan=service.lifespan)
    app.mount("/rt", service.asgi)
    return app


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        (starlette_host, "/rt"),
        (nested_host, "/deep/rt"),
        (fastapi_host, "/rt"),
        (lambda service: service.asgi, ""),
    ],
    ids=["starlette", "nested", "fastapi", "alone"],
)
async def test_hosts(host: Callable[[RealtimeService], ASGIApp], prefix: str) -> None:
    """Below any path, in any host, and by itself; the service begins and ends with its host."""
    service = RealtimeService()
    async with uvicorn_serving(host(service), lifespan="on") as port:
        _ = service.rooms
        await follow_and_publish(f"127.0.0.1:{port}{prefix}", service)
    with pytest.raises(Exception, match="not running"):
        _ = service.rooms


async def test_a_host_without_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    """The service then begins with the first request, says so once, and is not begun again after its end."""
    service = RealtimeService()
    with caplog.at_level(logging.WARNING, "signtusk_realtime"):
        async with uvicorn_serving(Starlette(routes=[Below("/rt", service.asgi)])) as port:
            probes = [call(port, "GET", "/rt/livez") for _ in range(5)]
            assert {answer.status for answer in await asyncio.gather(*probes)} == {200}
            await follow_and_publish(f"127.0.0.1:{port}/rt", service)
            await service.cleanup()
            late = await call(port, "GET", "/rt/livez")
            assert (late.status, late.code) == (503, "unavailable")
    begun = [record for record in caplog.records if "first request" in record.message]
    assert len(begun) == 1
    assert "lifespan=service.lifespan" in begun[0].message


HOST = """
from starlette.applications import Starlette
from starlette.routing import Mount
from signtusk_realtime import RealtimeService
service = RealtimeService()
app = Starlette(routes=[Mount("/rt", service.asgi)], lifespan=service.lifespan)
"""


async def test_a_signal_ends_a_host_with_open_streams(tmp_path: Path) -> None:
    """Uvicorn waits for responses before it tells the application that it stops; event streams end by themselves then."""
    (tmp_path / "host.py").write_text(HOST)
    command = [sys.executable, "-m", "uvicorn", "host:app", "--port", "0", "--app-dir", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"}
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            while "running on" not in (line := (await process.stderr.readline()).decode()):
                assert line, "uvicorn did not start"
        port = int(line.split("127.0.0.1:")[1].split()[0])
        async with await Peer.connect(port) as peer:
            await peer.send(request("GET", f"/rt/api/realtime/events?{IDENTITY}"))
            assert (await peer.head())[0] == 200
            process.send_signal(signal.SIGTERM)
            assert (await peer.rest()).endswith(b"0\r\n\r\n"), "the stream was not ended but cut"
        async with asyncio.timeout(DEADLINE_S):
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
