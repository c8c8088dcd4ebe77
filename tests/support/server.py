"""A real server in this process, and plain clients for it.

Owns: a service put together by hand over an engine, served on a port of the system's choice; a raw HTTP client, a raw WebSocket client and an
event-stream client.   Not: the `websockets` library, which tests use as it is.
Rule 1: clients write and read bytes as they are, and check what the standards demand of a server (tests/support/wire.py).
Rule 2: whatever waits has a deadline, so that a hang is a failure with a place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, Self

from signtusk_realtime.auth.authenticator import Authenticator, Credentials
from signtusk_realtime.auth.authorizer import Authorizer
from signtusk_realtime.auth.development import DevelopmentAuthenticator
from signtusk_realtime.cluster.balance import Strategy
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import Node
from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import Commit, Committed, EngineHealth, LogName, Reused, Stale
from signtusk_realtime.operations.census import ConnectionLimits
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.ids import new_id, new_secret
from signtusk_realtime.operations.verbs import Verbs, make_verbs
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.origins import LoopbackPolicy
from signtusk_realtime.server.server import RealtimeServer
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import SessionLimits
from tests.support.wire import EventStream, ServerFrame, ServerFrames, StreamEvent, client_frame

DEADLINE_S = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
USER = "user123"
ORGANIZATION = "org123"
IDENTITY = f"userId={USER}&organizationId={ORGANIZATION}"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
QUICK = ServerLimits(close_timeout_s=1.0, drain_timeout_s=1.0)
"""Limits for tests that end connections badly."""


class Serving(NamedTuple):
    """A running server and what is behind it."""

    server: RealtimeServer
    hub: Hub
    engine: Engine
    verbs: Verbs

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def serving(
    *,
    engine: Engine | None = None,
    limits: ServerLimits = QUICK,
    authenticator: Authenticator | None = None,
    heartbeat_interval_s: float = 30.0,
    pong_timeout_s: float = 10.0,
    stop: bool = True,
    connection_limits: ConnectionLimits | None = None,
    authorizer: Authorizer | None = None,
    rules: DocumentRules | None = None,
    node: str = "node_test",
    strategy: Strategy | None = None,
) -> AsyncIterator[Serving]:
    """Serve until the block ends. `stop` False: the block stops the server itself. `strategy`: the engine is shared with other nodes."""
    engine = engine or MemoryEngine()
    control = Control(engine)
    hub = Hub(
        engine,
        heartbeat_interval_s=heartbeat_interval_s,
        pong_timeout_s=pong_timeout_s,
        closed=lambda connection, code: verbs.connect.closed(connection),
        controlled=control.controlled,
        control_lost=control.lost,
        replaying=control.freshness.check,
        withholding=lambda: control.freshness.is_withholding,
    )
    verbs = verbs_over(
        hub,
        engine,
        limits,
        authenticator=authenticator,
        control=control,
        connection_limits=connection_limits,
        authorizer=authorizer,
        rules=rules,
        registry=Registry(
            engine,
            hub,
            control,
            Node(node_id=node, capacity=limits.connections),
            strategy=strategy or "round_robin",
            is_shared=strategy is not None,
        ),
    )
    await engine.start(hub)
    await hub.start()
    await control.start(hub)
    if hub.engine_health.status == "unavailable":
        hub.health(EngineHealth("ok"))
    await verbs.nodes.start()
    server = make_server(hub, engine, limits=limits, verbs=verbs)
    try:
        await server.start()
        try:
            yield Serving(server, hub, engine, verbs)
        finally:
            if stop:
                await server.stop()
    finally:
        await verbs.close()
        await hub.close()
        await engine.close()


def verbs_over(
    hub: Hub,
    engine: Engine,
    limits: ServerLimits,
    *,
    authenticator: Authenticator | None = None,
    control: Control | None = None,
    connection_limits: ConnectionLimits | None = None,
    authorizer: Authorizer | None = None,
    rules: DocumentRules | None = None,
    registry: Registry | None = None,
) -> Verbs:
    """Give the verbs over a hub and an engine that run."""
    return make_verbs(
        engine,
        hub,
        control or Control(engine),
        authenticator or DevelopmentAuthenticator(),
        node="node_test" if registry is None else registry.node_id,
        registry=registry,
        session_limits=SessionLimits(
            subscriptions=limits.subscriptions, json_depth=limits.json_depth, rates=limits.rates
        ),
        connection_limits=connection_limits or ConnectionLimits(),
        payload_bytes=limits.payload_bytes,
        document_rules=rules or DocumentRules(policy=PLAIN),
        heartbeat_interval_ms=30_000,
        ticket_lifetime_ms=30_000,
        now_ms=now_ms,
        monotonic_s=time.monotonic,
        new_id=new_id,
        new_secret=new_secret,
        authorizer=authorizer,
    )


def make_server(
    hub: Hub,
    engine: Engine,
    *,
    limits: ServerLimits = QUICK,
    authenticator: Authenticator | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    verbs: Verbs | None = None,
) -> RealtimeServer:
    """Put a server together over a hub and an engine that run."""
    return RealtimeServer(
        hub=hub,
        verbs=verbs or verbs_over(hub, engine, limits, authenticator=authenticator),
        policy=LoopbackPolicy(),
        version="0.0.0-test",
        host=host,
        port=port,
        limits=limits,
    )


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that this process is about to do."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


class Slow:
    """An authenticator that waits until it is told to go on."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def authenticate(self, credentials: Credentials) -> Identity:
        self.asked.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Identity(user_id="u", organization_id="o")


class Held(MemoryEngine):
    """An engine whose commits wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        self.asked.set()
        await self.go.wait()
        return await super().commit(log, commit)


class Answer(NamedTuple):
    """A response. Names of headers are lower case; a name that came twice is joined with a comma."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def code(self) -> object:
        """The code of a problem, after a look at whether it is a whole one."""
        problem = self.json()
        assert self.headers["content-type"] == "application/problem+json"
        assert problem["status"] == self.status
        assert {"type", "title", "detail"} <= problem.keys()
        return problem["code"]


class Peer:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def end(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):  # cut by the server: a test that minds has looked before
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE_S):
            await self.writer.drain()

    async def read(self, size: int = 65_536) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return await self.reader.read(size)

    async def rest(self) -> bytes:
        """Everything until the server ends the connection."""
        data = b""
        while chunk := await self.read():
            data += chunk
        return data

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(DEADLINE_S):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = text.split("\r\n")[:-2]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        assert status_line.startswith("HTTP/1.1 ")
        return int(status_line.split(" ")[1]), headers

    async def answer(self, *, to_head: bool = False) -> Answer:
        """Read one response; its body must have a length, or nothing after it."""
        status, headers = await self.head()
        body = b""
        if not to_head and status not in (101, 204):
            async with asyncio.timeout(DEADLINE_S):
                body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(status, headers, body)


def request(
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    host: str = "localhost",
    version: str = "1.1",
) -> bytes:
    """Give the bytes of a request. A body gets its length."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def call(
    port: int,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    host: str = "localhost",
) -> Answer:
    """Make one request on a connection of its own."""
    async with await Peer.connect(port) as peer:
        await peer.send(request(method, target, headers, body, host=host))
        return await peer.answer(to_head=method == "HEAD")


async def publish(
    port: int,
    *publications: object,
    query: str = IDENTITY,
    batch: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Publish one event, or several as a batch."""
    value = list(publications) if batch or len(publications) > 1 else publications[0]
    body = json.dumps(value).encode()
    head = {"Content-Type": "application/json", **(headers or {})}
    return await call(port, "POST", f"/api/realtime/events?{query}", head, body)


async def history(port: int, query: str = IDENTITY) -> list[dict[str, object]]:
    """Give every event of an organization that the identity may see."""
    answer = await call(port, "GET", f"/api/realtime/history?{query}&limit=1000")
    assert answer.status == 200, answer.body
    found = answer.json()["events"]
    assert isinstance(found, list)
    return [item["event"] for item in found]


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class WebSocketPeer(Peer):
    """A WebSocket client that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.frames = ServerFrames()
        self._waiting: list[ServerFrame] = []

    @classmethod
    async def open(
        cls, port: int, query: str = IDENTITY, headers: Mapping[str, str] | None = None, *, glued: bytes = b""
    ) -> Self:
        """Connect and upgrade; `glued` is sent together with the head."""
        peer = await cls.connect(port)
        await peer.send(request("GET", f"/ws?{query}", {**UPGRADE, **(headers or {})}) + glued)
        answer = await peer.answer()
        assert answer.status == 101, answer.body
        assert answer.headers["sec-websocket-accept"] == ACCEPT
        return peer

    async def frame(self) -> ServerFrame:
        while not self._waiting:
            data = await self.read()
            if not data:
                raise EOFError("the server ended the connection")
            self._waiting = self.frames.feed(data)
        return self._waiting.pop(0)

    async def message(self) -> dict[str, object]:
        """Give the next text message; pings are answered on the way."""
        while True:
            frame = await self.frame()
            if frame.opcode == PING:
                await self.send(client_frame(PONG, frame.payload))
                continue
            assert frame.opcode == TEXT, frame
            value = json.loads(frame.payload)
            assert isinstance(value, dict)
            return value

    async def ask(self, value: object) -> None:
        await self.send(client_frame(TEXT, json.dumps(value).encode()))

    async def closed(self) -> tuple[int, str]:
        """Give code and reason of the server's close frame, after whatever came before it."""
        while (frame := await self.frame()).opcode != CLOSE:
            pass
        return int.from_bytes(frame.payload[:2], "big"), frame.payload[2:].decode()

    async def subscribe(self, *subscriptions: object) -> dict[str, object]:
        """Subscribe and give the answer; `connected` is read on the way, if it was not."""
        await self.ask({"type": "subscribe", "subscriptions": list(subscriptions)})
        message = await self.message()
        if message["type"] == "connected":
            message = await self.message()
        assert message["type"] == "subscribed", message
        return message


class StreamPeer(Peer):
    """An event-stream client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.stream = EventStream()
        self.headers: Mapping[str, str] = {}
        self._waiting: list[StreamEvent] = []

    @classmethod
    async def open(cls, port: int, query: str = IDENTITY, headers: Mapping[str, str] | None = None) -> Self:
        peer = await cls.connect(port)
        await peer.send(request("GET", f"/api/realtime/events?{query}", headers))
        status, peer.headers = await peer.head()
        assert status == 200, await peer.rest()
        return peer

    async def event(self) -> StreamEvent:
        while not self._waiting:
            data = await self.read()
            if not data:
                raise EOFError("the server ended the stream")
            self._waiting = self.stream.feed(data)
        return self._waiting.pop(0)

    async def message(self) -> dict[str, object]:
        """Give the data of the next event, named or not."""
        value = json.loads((await self.event()).data)
        assert isinstance(value, dict)
        return value
