"""The ASGI mount against a host that is played by hand: paths, refusals, and hosts that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.server.asgi import Mount, route_path
from signtusk_realtime.server.asgi_peers import Doors
from signtusk_realtime.server.asgi_refusals import DENIAL
from signtusk_realtime.server.outlets import Pumps
from tests.support.clock import settle
from tests.support.delivery import Node, started_node
from tests.support.mounted import make_doors, make_mount
from tests.support.server import IDENTITY, QUICK

pytestmark = pytest.mark.virtual_clock

Sent = dict[str, Any]
LOCAL: list[tuple[bytes, bytes]] = [(b"host", b"localhost")]
EVENTS = "/api/realtime/events"


class Call:
    """One scope, served: what the host says is put in by hand, what the application says is kept."""

    def __init__(self, mount: Mount, scope: dict[str, Any]) -> None:
        self.sent: list[Sent] = []
        self.failure: Exception | None = None
        self.is_blocked = False
        self._said: asyncio.Queue[Sent] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(mount(scope, self._said.get, self._send))

    async def _send(self, message: Sent) -> None:
        if self.failure is not None:
            raise self.failure
        if self.is_blocked:
            await asyncio.Event().wait()
        self.sent.append(message)

    def put(self, kind: str, **fields: object) -> None:
        self._said.put_nowait({"type": kind, **fields})

    async def say(self, kind: str, **fields: object) -> None:
        self.put(kind, **fields)
        await settle()

    @property
    def unheard(self) -> int:
        return self._said.qsize()

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(message["text"]) for message in self.sent if message["type"] == "websocket.send"]

    async def done(self) -> None:
        await settle()
        assert self.task.done(), "the application still runs"
        self.task.result()


class Played:
    def __init__(self, node: Node, doors: Doors, mount: Mount) -> None:
        self.node = node
        self.hub = node.hub
        self.doors = doors
        self.mount = mount

    def websocket(self, path: str = "/ws", query: str = IDENTITY, **more: object) -> Call:
        scope = {"type": "websocket", "path": path, "query_string": query.encode(), "headers": LOCAL, **more}
        return Call(self.mount, scope)

    def http(self, path: str, query: str = IDENTITY, method: str = "GET", **more: object) -> Call:
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": LOCAL}
        return Call(self.mount, {**scope, **more})

    async def open(self) -> Call:
        call = self.websocket()
        await call.say("websocket.connect")
        assert call.types == ["websocket.accept", "websocket.send"]
        return call


@asynccontextmanager
async def played() -> AsyncIterator[Played]:
    engine = MemoryEngine()
    pumps = Pumps(max_messages=100, max_bytes=1 << 20, close_timeout_s=1.0)
    async with started_node(engine=engine) as node:
        doors = make_doors(node.hub, engine, pumps)
        yield Played(node, doors, make_mount(doors))
        await node.hub.close()
        await doors.entrance.receive.close()
        await pumps.close()
        doors.entrance.gate.close()


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/ws", "", "/ws"),
        ("/rt/ws", "/rt", "/ws"),
        ("/rt/ws", "/rt/", "/ws"),
        ("/ws", "/rt", "/ws"),
        ("/rtws", "/rt", "/rtws"),
        ("/rt/rt/ws", "/rt", "/rt/ws"),
        ("/rt", "/rt", "/rt"),
    ],
)
def test_the_path_below_the_mount(path: str, root: str, expected: str) -> None:
    """Whether or not the host's `path` contains its `root_path`."""
    assert route_path({"path": path, "root_path": root}) == expected
    assert route_path({"path": expected}) == expected


async def test_a_conversation() -> None:
    """Accepted, told, answered, and forgotten when it leaves."""
    async with played() as it:
        call = await it.open()
        await call.say("websocket.receive", text='{"type":"ping"}')
        assert [text["type"] for text in call.texts()] == ["connected", "pong"]
        await call.say("websocket.disconnect", code=1000)
        await call.done()
        assert not it.hub.connections
        assert "websocket.close" not in call.types


@pytest.mark.parametrize(
    ("path", "query", "headers", "status", "code"),
    [
        ("/ws", "", LOCAL, 401, 4501),
        ("/ws", IDENTITY, [(b"host", b"example.org")], 403, 4503),
        ("/ws", IDENTITY, [*LOCAL, (b"authorization", b"Bearer a@b")], 403, 4503),
        ("/ws", IDENTITY + "&userId=b", LOCAL, 400, 1008),
        ("/elsewhere", IDENTITY, LOCAL, 404, 1008),
    ],
)
async def test_refusals_before_accepting(
    path: str, query: str, headers: list[tuple[bytes, bytes]], status: int, code: int
) -> None:
    """A response where the host can send one, else a close code; after the host has asked, and never an accept."""
    async with played() as it:
        call = it.websocket(path, query, headers=headers, extensions={DENIAL: {}})
        await settle()
        assert call.sent == []
        await call.say("websocket.connect")
        await call.done()
        assert call.types == [f"{DENIAL}.start", f"{DENIAL}.body"]
        assert call.sent[0]["status"] == status
        assert (b"x-content-type-options", b"nosniff") in call.sent[0]["headers"]
        assert json.loads(call.sent[1]["body"])["status"] == status
        call = it.websocket(path, query, headers=headers)
        await call.say("websocket.connect")
        await call.done()
        assert call.types == ["websocket.close"]
        assert call.sent[0]["code"] == code
        assert not it.hub.connections


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"bytes": b"{}"}, 1003), ({"text": None, "bytes": b""}, 1003), ({"text": "x" * 65_537}, 1009)],
)
async def test_what_is_no_message_of_ours_closes(fields: dict[str, Any], code: int) -> None:
    """Binary 1003, too long 1009; what follows is not acted on, and a host that says no more is not waited for."""
    async with played() as it:
        call = await it.open()
        await call.say("websocket.receive", **fields)
        await call.say("websocket.receive", text='{"type":"ping"}')
        assert call.sent[-1]["type"] == "websocket.close"
        assert call.sent[-1]["code"] == code
        assert not it.hub.connections
        await asyncio.wait_for(call.task, 10)


@pytest.mark.parametrize("failure", [OSError(), RuntimeError("disconnected")], ids=repr)
async def test_a_host_that_fails_to_send_ends_the_connection(failure: Exception) -> None:
    """The connection is gone at once; the call ends with the host's own word, or soon after."""
    async with played() as it:
        call = await it.open()
        call.failure = failure
        await call.say("websocket.receive", text='{"type":"ping"}')
        assert not it.hub.connections
        await asyncio.wait_for(call.task, 10)


async def test_a_peer_that_reads_nothing_is_not_listened_to() -> None:
    """What it asks for waits at the host, and when it leaves nothing is left of it."""
    async with played() as it:
        call = await it.open()
        call.is_blocked = True
        for _ in range(200):
            call.put("websocket.receive", text='{"type":"ping"}')
        await settle()
        (connection,) = it.hub.connections.values()
        assert connection.is_paused
        assert 100 < call.unheard < 200
        it.hub.lost(connection)
        call.task.cancel()
        await asyncio.gather(call.task, return_exceptions=True)
        await settle()
        assert not it.doors.pumps._tasks


@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_host_that_fails_to_accept(kind: str) -> None:
    """Who was admitted is forgone."""
    async with played() as it:
        call = it.websocket() if kind == "websocket" else it.http(EVENTS)
        call.failure = OSError()
        await call.say("websocket.connect" if kind == "websocket" else "http.request")
        with pytest.raises(OSError):
            await call.task
        assert not it.hub.connections
        assert it.hub._following.organizations["org123"].holders == 0  # type: ignore[index]


@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_host_that_cancels_leaves_nothing(kind: str) -> None:
    """As a server does that waits no longer."""
    async with played() as it:
        call = it.websocket() if kind == "websocket" else it.http(EVENTS)
        await call.say("websocket.connect" if kind == "websocket" else "http.request")
        assert len(it.hub.connections) == 1
        call.task.cancel()
        await asyncio.gather(call.task, return_exceptions=True)
        assert call.task.cancelled()
        assert not it.hub.connections


async def test_the_end_of_the_service_ends_its_calls() -> None:
    """A WebSocket is closed and a stream ended; both calls return though their peers say nothing."""
    async with played() as it:
        socket, stream = await it.open(), it.http(EVENTS)
        await stream.say("http.request")
        await it.hub.close()
        await settle()
        assert socket.sent[-1] == {"type": "websocket.close", "code": 1001, "reason": "going_away"}
        assert stream.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        await stream.done()
        await asyncio.wait_for(socket.task, 10)


async def test_a_body_without_end_is_not_held() -> None:
    """Of what the host hands on as a body no more is taken than one may have: hosts know no such bound."""
    async with played() as it:
        call = it.http(EVENTS, method="POST", headers=[*LOCAL, (b"content-type", b"application/json")])
        for _ in range(12):
            call.put("http.request", body=b" " * (1 << 20), more_body=True)
        await call.done()
        assert call.sent[0]["status"] == 413
        assert json.loads(call.sent[1]["body"])["code"] == "payload_too_large"
        assert call.unheard == 3


async def test_an_event_stream() -> None:
    """Its head, its beginning, and the peer's end."""
    async with played() as it:
        call = it.http(EVENTS)
        await call.say("http.request", body=b"", more_body=False)
        head = dict(call.sent[0]["headers"])
        assert call.sent[0]["status"] == 200
        assert head[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert head[b"cache-control"] == b"no-store"
        assert head[b"x-accel-buffering"] == b"no"
        written = b"".join(message["body"] for message in call.sent[1:])
        assert written.startswith(b'retry: 2000\n\ndata: {"type":"connected"')
        assert b'data: {"type":"subscribed"' in written
        await call.say("http.disconnect")
        await call.done()
        assert not it.hub.connections


@pytest.mark.parametrize(
    ("client", "status"),
    [
        (("127.0.0.1", 1), 200),
        (("::1", 1), 200),
        (("::ffff:127.0.0.1", 1), 200),
        (("testclient", 1), 200),
        (None, 200),
        (("192.0.2.1", 1), 403),
        (("2001:db8::1", 1), 403),
    ],
)
async def test_development_serves_this_machine_only(client: object, status: int) -> None:
    """Whatever address the host's server was bound to. A configured authentication does without the look."""
    async with played() as it:
        call = it.http("/livez", client=client)
        await call.say("http.request", body=b"", more_body=False)
        await call.done()
        assert call.sent[0]["status"] == status
        open_mount = make_mount(it.doors, is_local_only=False)
        call = Call(
            open_mount,
            {
                "type": "http",
                "method": "GET",
                "path": "/livez",
                "query_string": b"",
                "headers": LOCAL,
                "client": client,
            },
        )
        await call.say("http.request", body=b"", more_body=False)
        await call.done()
        assert call.sent[0]["status"] == 200


async def test_a_service_that_cannot_begin_is_told() -> None:
    """503 over HTTP, and refused as a WebSocket."""

    async def none() -> Doors:
        raise Unavailable("the database is gone")

    async with played() as it:
        mount = Mount(none, start=_nothing, stop=_nothing, websocket_path="/ws", is_local_only=True)
        it.mount = mount
        call = it.http("/livez")
        await call.done()
        assert call.sent[0]["status"] == 503
        assert (b"retry-after", b"1") in call.sent[0]["headers"]
        call = it.websocket()
        await call.say("websocket.connect")
        await call.done()
        assert call.sent[0]["code"] == 1013


async def _nothing() -> None:
    pass


async def test_lifespan() -> None:
    """Served by itself, it begins and ends with its server; what fails is told and not raised."""
    lived: list[str] = []

    async def start() -> None:
        lived.append("start")

    async def stop() -> None:
        lived.append("stop")

    async def fail() -> None:
        raise ConfigurationError("the port is taken")

    async with played() as it:
        call = Call(make_mount(it.doors, start=start, stop=stop), {"type": "lifespan"})
        await call.say("lifespan.startup")
        assert (call.types, lived) == (["lifespan.startup.complete"], ["start"])
        await call.say("lifespan.shutdown")
        await call.done()
        assert (call.types[1:], lived) == (["lifespan.shutdown.complete"], ["start", "stop"])
        call = Call(make_mount(it.doors, start=fail), {"type": "lifespan"})
        await call.say("lifespan.startup")
        await call.done()
        assert call.sent == [{"type": "lifespan.startup.failed", "message": "the port is taken"}]


async def test_other_scopes_are_refused() -> None:
    """As the ASGI specification asks."""
    async with played() as it:
        with pytest.raises(ValueError, match="webtransport"):
            await it.mount({"type": "webtransport"}, _never, _never)


async def _never(*_: object) -> Any:
    raise AssertionError


async def test_limits_of_the_node_hold_here_too() -> None:
    """Beyond limits.connections a stream and a WebSocket are answered 503."""
    async with played() as it:
        it.doors.entrance.limits = msgspec.structs.replace(QUICK, connections=1)
        first = await it.open()
        call = it.websocket(extensions={DENIAL: {}})
        await call.say("websocket.connect")
        await call.done()
        assert call.sent[0]["status"] == 503
        stream = it.http(EVENTS)
        await stream.done()
        assert stream.sent[0]["status"] == 503
        await first.say("websocket.disconnect")
        await first.done()
