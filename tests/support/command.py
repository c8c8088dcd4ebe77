"""The real command as a process, and what tests ask of it from outside.

Owns: starting, awaiting and ending it; publishing and reading over HTTP; both transports as a client has them.   Not: what is expected.
Rule 1: every process started here is ended here, by its own id.   Rule 2: waiting is for something the server says or does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
from websockets.asyncio.client import ClientConnection, connect

from tests.support.wire import EventStream, StreamEvent

JsonObject = dict[str, object]

COMMAND = (sys.executable, "-m", "signtusk_realtime")
DEADLINE_S = 20.0
"""How long anything may take that should take a moment, on a machine that has much else to do."""


def document_update(document_id: str, organization_id: str = "org123", **more: object) -> JsonObject:
    """Give a publication as an application sends it."""
    return {
        "kind": "document_update",
        "documentId": document_id,
        "type": "updated",
        "userId": "user123",
        "organizationId": organization_id,
        **more,
    }


async def run(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command to its end; give its exit code, output and errors."""
    process = await _spawn(arguments, cwd, environment, asyncio.subprocess.PIPE)
    try:
        out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    finally:
        await _end(process)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@dataclass
class Served:
    """A running server. `lines` is what it logged so far."""

    process: asyncio.subprocess.Process
    lines: list[JsonObject] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def listening(self) -> None:
        """Wait for the line that says where it listens."""
        async with asyncio.timeout(DEADLINE_S):
            while self.port == 0:
                line = await self._line()
                assert line is not None, f"the server ended: {self.lines}"
                if line["message"] == "listening":
                    port = line["port"]
                    assert isinstance(port, int)
                    self.port = port

    async def says(self, message: str) -> JsonObject:
        """Wait for the next line with this message."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                line = await self._line()
                assert line is not None, f"the server ended: {self.lines}"
                if line["message"] == message:
                    return line

    async def ended(self) -> int:
        """Wait for its end; give its exit code."""
        async with asyncio.timeout(DEADLINE_S):
            while await self._line() is not None:
                pass
            return await self.process.wait()

    async def drain(self) -> None:
        """Read what it says to its end, so that it never waits for somebody to do so. Nobody else may read meanwhile."""
        while await self._line() is not None:
            pass

    async def terminate(self) -> int:
        """Ask it to stop; give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """End it as a power cut would, but for the kernel's memory."""
        self.process.send_signal(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    async def _line(self) -> JsonObject | None:
        assert self.process.stderr is not None
        text = await self.process.stderr.readline()
        if not text:
            return None
        line: JsonObject = json.loads(text)
        self.lines.append(line)
        return line


@asynccontextmanager
async def serving(cwd: Path, *options: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Served]:
    """Start `serve` on a free port, or the one in `options`; at the end it is killed if it still runs."""
    port = () if "--port" in options else ("--port", "0")
    process = await _spawn(["serve", *port, *options], cwd, environment, asyncio.subprocess.DEVNULL)
    try:
        served = Served(process)
        await served.listening()
        yield served
    finally:
        await _end(process)


async def a_free_port(cwd: Path) -> str:
    """Give a port that a server had and gave back, for servers that come one after the other."""
    async with serving(cwd, "--database", ":memory:") as served:
        assert await served.terminate() == 0
    return str(served.port)


async def _spawn(
    arguments: Sequence[str], cwd: Path, environment: Mapping[str, str] | None, stdout: int
) -> asyncio.subprocess.Process:
    # Settings in the environment of whoever runs the tests are not the tests'.
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("SIGNTUSK_REALTIME_")}
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=cwd,
        env={**inherited, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    # What is left in the pipe is read, or the transport of a process that ended would never close.
    assert process.stderr is not None
    await process.stderr.read()
    await process.wait()


class Api:
    """The HTTP API of a server, as a publisher and a reader of one organization."""

    def __init__(self, url: str) -> None:
        self.http = httpx2.AsyncClient(base_url=url, timeout=DEADLINE_S, trust_env=False)

    async def __aenter__(self) -> Self:
        await self.http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http.__aexit__(kind, error, traceback)

    async def publish(self, event: JsonObject | list[JsonObject]) -> list[JsonObject]:
        """Publish; give the results."""
        answer = await self.http.post("/api/realtime/events", json=event)
        assert answer.status_code == 200, answer.text
        results: list[JsonObject] = answer.json()["results"]
        return results

    async def history(self, organization_id: str = "org123", after: str | None = None) -> list[JsonObject]:
        """Read an organization's log to its end: pairs of cursor and event, oldest first."""
        found: list[JsonObject] = []
        query = {"userId": "user123", "organizationId": organization_id, "limit": "1000"}
        while True:
            parameters = query if after is None else {**query, "after": after}
            answer = await self.http.get("/api/realtime/history", params=parameters)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["events"]
            after = page["cursor"]
            if not page["more"]:
                return found


class Browsers:
    """Clients of both transports that are open until the end of the block."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def websocket(
        self, *subscriptions: JsonObject, user: str = "user123", organization: str = "org123"
    ) -> ClientConnection:
        """Open a WebSocket; with subscriptions, read up to `subscribed`."""
        url = f"ws://127.0.0.1:{self._served.port}/ws?userId={user}&organizationId={organization}"
        socket = await self._open.enter_async_context(connect(url, proxy=None, compression=None))
        connected = await read_message(socket)
        assert connected["type"] == "connected"
        if subscriptions:
            await socket.send(json.dumps({"type": "subscribe", "subscriptions": list(subscriptions)}))
            subscribed = await read_message(socket)
            assert subscribed["type"] == "subscribed", subscribed
        return socket

    async def event_stream(self, query: str = "", *, user: str = "user123", organization: str = "org123") -> SseClient:
        """Open an event stream and read up to `subscribed`."""
        http = await self._open.enter_async_context(
            httpx2.AsyncClient(base_url=self._served.url, timeout=DEADLINE_S, trust_env=False)
        )
        target = f"/api/realtime/events?userId={user}&organizationId={organization}{query}"
        answer = await self._open.enter_async_context(http.stream("GET", target))
        assert answer.status_code == 200
        client = SseClient(answer)
        for expected in ("connected", "subscribed"):
            assert json.loads((await client.read()).data)["type"] == expected
        return client


class SseClient:
    """An open event stream, read event by event."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._bytes = answer.aiter_bytes()
        self._stream = EventStream()
        self._read: list[StreamEvent] = []

    async def read(self) -> StreamEvent:
        """Wait for the next event that is dispatched. Raises: StopAsyncIteration at the end of the stream."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._read:
                self._read += self._stream.feed(await anext(self._bytes))
        return self._read.pop(0)


async def read_message(socket: ClientConnection) -> JsonObject:
    """Wait for a WebSocket's next message."""
    async with asyncio.timeout(DEADLINE_S):
        message: JsonObject = json.loads(await socket.recv())
    return message
