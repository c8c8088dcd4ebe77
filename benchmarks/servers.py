"""The servers that are measured, as processes.

Owns: how each is started, awaited and ended; how the generator talks to it.   Not: what is asked of it (claims).
Rule 1: every process that is started here is ended here, by its pid, also when the run fails.
Rule 2: all do the same work: a subscription to one document, publications by HTTP POST, messages of the same length.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE / "load" / "build"
START_S = 30.0
STOP_S = 10.0

# Development mode takes the identity from the query; a publication without one acts as a service.
_IDENTITY = "userId=user-{i}&organizationId=org-{o}"
_OUR_EVENT = (
    '{"kind":"signature_status","signingRequestId":"request-1","documentId":"doc-{f}","recipientId":"recipient-1",'
    '"status":"signed","signatureData":{"userAgent":"stamp={t} {pad}"},'
    '"userId":"publisher","organizationId":"org-{o}"}'
)
_PEER_EVENT = '{"documentId":"doc-{f}","data":"stamp={t} {pad}"}'
_OUR_EVENT_BYTES = 300
_SOCKETIO_ENVELOPE_BYTES = len('42["event",]')


class NotStarted(Exception):
    """A server did not come up; the message says which and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """One contestant: its command, and the generator's options to reach it."""

    name: str
    command: Callable[[int, Path, str], list[str]]  # port, folder for its files, durability
    websocket: tuple[str, ...]
    event_stream: tuple[str, ...] | None
    publishing: Callable[[int], tuple[str, ...]]  # length of a delivered message
    has_organizations: bool = False
    publishes_apart: bool = False  # on the port above its own
    missing: Callable[[], str | None] = lambda: None  # what is not installed; None where all is there
    beside: Callable[[], contextlib.AbstractContextManager[tuple[str, ...]]] = lambda: contextlib.nullcontext(())
    """Runs what the server needs beside it, and gives the options that name it."""

    def generator_options(self, transport: str, message_bytes: int, *, subscribes: bool = True) -> tuple[str, ...]:
        """Return what the generator must be told to subscribe by `transport`, or only to be upgraded, and to publish."""
        subscribing = self.websocket if transport == "websocket" else self.event_stream
        if subscribing is None:
            raise ValueError(f"{self.name} has no {transport}")
        if not subscribes and "--await" in subscribing:
            subscribing = subscribing[: subscribing.index("--await")]
        return (*subscribing, *self.publishing(message_bytes))


def plain_publishing(message_bytes: int) -> tuple[str, ...]:
    """Return the options for a server that delivers what it is given, a message a line."""
    return ("--event", _PEER_EVENT, "--size", str(message_bytes))


def _our_command(port: int, folder: Path, durability: str) -> list[str]:
    command = Path(sys.executable).parent / "signtusk-realtime"
    options = ["--port", str(port), "--database", str(folder / "bench.db"), "--durability", durability]
    return [str(command), "serve", *options]


def _our_publishing(_message_bytes: int) -> tuple[str, ...]:
    size = str(_OUR_EVENT_BYTES)
    return ("--publish-path", "/api/realtime/events", "--event", _OUR_EVENT, "--size", size, "--array")


def _floor_command(mode: str) -> Callable[[int, Path, str], list[str]]:
    return lambda port, _folder, _durability: [str(BUILD / "floor"), str(port), mode]


def _socketio_command(port: int, _folder: Path, _durability: str) -> list[str]:
    return [sys.executable, str(HERE / "peers" / "socketio_server.py"), str(port)]


def socketio_publishing(message_bytes: int) -> tuple[str, ...]:
    """Return the options for either socket.io: what is delivered has an envelope around it."""
    return ("--event", _PEER_EVENT, "--size", str(message_bytes - _SOCKETIO_ENVELOPE_BYTES))


_SUBSCRIBE = '{"type":"subscribe","subscription":{"type":"signing_updates","filters":{"documentId":"doc-{f}"}}}'

OURS = Server(
    name="signtusk-realtime",
    command=_our_command,
    websocket=("--path", f"/ws?{_IDENTITY}", "--await", '"connected"', "--say", _SUBSCRIBE, "--await", '"subscribed"'),
    event_stream=(
        "--sse",
        "--path",
        f"/api/realtime/events?{_IDENTITY}&types=signing_updates&documentId=doc-{{f}}",
        "--await",
        '"subscribed"',
    ),
    publishing=_our_publishing,
    has_organizations=True,
)
FLOOR = Server(
    name="C floor, send",
    command=_floor_command("send"),
    websocket=(),
    event_stream=("--sse",),
    publishing=plain_publishing,
)
FLOOR_JOINED = Server(
    name="C floor, joined",
    command=_floor_command("joined"),
    websocket=(),
    event_stream=("--sse",),
    publishing=plain_publishing,
)
SOCKETIO_SUBSCRIBING = (
    *("--path", "/socket.io/?EIO=4&transport=websocket", "--pong", "2=3"),
    *("--await", "0{", "--say", "40", "--await", "40{"),
    *("--say", '420["subscribe","doc-{f}"]', "--await", "430"),
)
SOCKETIO = Server(
    name="python-socketio",
    command=_socketio_command,
    websocket=SOCKETIO_SUBSCRIBING,
    event_stream=None,
    publishing=socketio_publishing,
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    server: Server
    pid: int
    port: int
    command: str


def pinned(command: Sequence[str], cpu: int | None) -> list[str]:
    """Return the command bound to one CPU, or as it is."""
    return list(command) if cpu is None else ["taskset", "-c", str(cpu), *command]


def shown(command: Sequence[str]) -> str:
    """Return the command as one would type it at the root of the repository, without where that lies on this machine."""
    return shlex.join(part.replace(f"{HERE.parent}/", "") for part in command)


def _free_port() -> int:
    """Give a port that is free, and the one above it too."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + 1))
                return port


def _await_listening(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise NotStarted(f"{name} does not listen on port {port}: {log.read_text(errors='replace')[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


@contextlib.contextmanager
def running(server: Server, cpu: int | None, durability: str) -> Iterator[Running]:
    """Start the server on a free port in a folder of its own, and end it whatever happens. Raises: NotStarted."""
    lacking = server.missing()
    if lacking is not None:
        raise NotStarted(f"{server.name}: {lacking}")
    with server.beside() as options, tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        port = _free_port()
        command = pinned([*server.command(port, folder, durability), *options], cpu)
        log = folder / "log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            except OSError as error:
                raise NotStarted(f"{server.name}: {error}") from error
        try:
            _await_listening(process, port, server.name, log)
            yield Running(server, process.pid, port, shown(command).replace(str(folder), "<folder>"))
        finally:
            _end(process)
