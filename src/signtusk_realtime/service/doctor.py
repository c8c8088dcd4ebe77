"""What an operator should look at before clients do.

Owns: this machine's limits, the embedded database's place, and asking each Redis or Valkey server that the settings name.
Not: what their answers mean (doctor_redis.py), single settings and contradictions (config), how findings are printed (cli).
Rule: nothing is changed, and a check that cannot be made is said to be one.
"""

from __future__ import annotations

import resource
import shutil
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from signtusk_realtime.config import Settings
from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.service.doctor_redis import (
    Finding,
    Reply,
    check_cluster,
    check_server,
    fail,
    ok,
    primaries,
    warn,
)

TIMEOUT_S: Final = 2.0
FILES_BESIDE: Final = 64
"""Open files of a node that are no clients: database, listeners, links."""
BACKLOG: Final = 1024
LOW_SPACE_BYTES: Final = 1 << 30
_PINGS: Final = 5


def examine(settings: Settings, servers: Sequence[str], exposures: Iterable[tuple[str, str]] = ()) -> Iterator[Finding]:
    """Look at everything. `servers`: addresses of Redis or Valkey, `redis[s]://[[user]:password@]host[:port]`. `exposures`: of the settings."""
    yield from _machine(settings)
    for name, meaning in exposures:
        yield warn(name, meaning)
    if not servers:
        yield from _database(settings.database)
        return
    from signtusk_realtime.engines.redis.trust import trusting  # noqa: PLC0415 - only who has Redis installs what it needs

    try:
        tls = trusting(settings.redis_ca, settings.redis_certificate, settings.redis_key)
    except ConfigurationError as error:
        yield fail("certificates", error.message)
        return
    seen: set[str] = set()
    for url in servers:
        yield from _server(url, tls, seen)


def _machine(settings: Settings) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.limits.connections + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        told = f"a process may open {soft} files, limits.connections ({settings.limits.connections}) needs {needed}"
        yield fail("open files", f"{told}: raise LimitNOFILE or `ulimit -n`, or lower the setting")
    else:
        yield ok("open files", f"{'any number' if soft == resource.RLIM_INFINITY else soft} for {needed}")
    try:
        backlog = int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    except (OSError, ValueError):
        yield warn("listen backlog", "cannot be read here")
        return
    if backlog < BACKLOG:
        yield warn(
            "listen backlog",
            f"net.core.somaxconn is {backlog}: who comes in a storm is dropped; {BACKLOG} or more are better",
        )
    else:
        yield ok("listen backlog", f"net.core.somaxconn is {backlog}")


def _database(name: str) -> Iterator[Finding]:
    if name == ":memory:":
        yield warn("database", "kept in memory: all is lost with the process")
        return
    folder = Path(name).absolute().parent
    if not folder.is_dir():
        yield fail("database", f"there is no folder {folder}")
        return
    free = shutil.disk_usage(folder).free
    told = f"{free >> 20} MiB are free where {name} lies"
    yield warn("database", told) if free < LOW_SPACE_BYTES else ok("database", told)


def _server(url: str, tls: ssl.SSLContext, seen: set[str]) -> Iterator[Finding]:
    parts, where = SplitResult("", "", "", "", ""), ""
    try:
        parts = urlsplit(url)
        where = f"{parts.hostname}:{parts.port or 6379}" if parts.scheme in ("redis", "rediss") else ""
    except ValueError:
        pass  # told below
    if not where or not parts.hostname:
        yield fail("address", "an address is redis[s]://[[user]:password@]host[:port]")
        return
    try:
        with closing(Line(parts, tls)) as line:
            nodes = line.ask("CLUSTER", "NODES")
            yield from check_cluster(where, line.ask("CLUSTER", "INFO"), nodes)
            found = primaries(nodes) or [where]
    except OSError as error:
        yield fail(f"{where} reachable", f"{error}")
        return
    for address in found:
        if address not in seen:
            seen.add(address)
            yield from _primary(parts, tls, address)


def _primary(parts: SplitResult, tls: ssl.SSLContext, address: str) -> Iterator[Finding]:
    try:
        with closing(Line(parts, tls, address)) as line:
            trips = []
            for _ in range(_PINGS):
                began = time.perf_counter()
                line.ask("PING")
                trips.append(time.perf_counter() - began)
            asked_at = time.time()
            clock = line.ask("TIME")
            now_s = (asked_at + time.time()) / 2
            yield from check_server(
                address,
                info=line.ask("INFO"),
                append_only=line.ask("CONFIG", "GET", "append*"),
                clock=clock,
                now_s=now_s,
                round_trip_s=sorted(trips)[_PINGS // 2],
            )
    except OSError as error:
        yield fail(f"{address} reachable", f"{error}")


class Line:
    """A connection that asks one thing after the other. Raises: OSError, for a refusal to log in too."""

    def __init__(self, parts: SplitResult, tls: ssl.SSLContext, address: str | None = None) -> None:
        from hiredis import Reader  # noqa: PLC0415 - only who has Redis installs it

        host, _, port = (address or f"{parts.hostname}:{parts.port or 6379}").rpartition(":")
        plain = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._socket = plain
        if parts.scheme == "rediss":
            self._socket = tls.wrap_socket(plain, server_hostname=host)
        self._reader = Reader()
        if parts.password is not None:
            user = [unquote(parts.username)] if parts.username else []
            refused = self.ask("AUTH", *user, unquote(parts.password))
            if isinstance(refused, Exception):
                self.close()
                raise OSError(f"refused to log in: {refused}")

    def ask(self, *words: str) -> Reply:
        """Ask, and give the answer; a refusal is an answer too."""
        encoded = [word.encode() for word in words]
        self._socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in encoded))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            if not data:
                raise OSError("the server ended the connection")
            self._reader.feed(data)
        answer: Reply = reply
        return answer

    def close(self) -> None:
        self._socket.close()
