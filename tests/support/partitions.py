"""A Cluster whose servers can be cut off from one another, while clients reach them all.

Owns: what lies between the servers: gates of our own, or the kernel's packet filter.   Not: the servers (valkey.py).
Rule: what is cut off is not refused: connections stay, and nothing comes through, as when a network fails.
How: each server has a source address of its own on the loopback net, by which its packets are known. `Gates` need nothing else: each server
announces its gate's ports in place of its own. A `Wall` needs root and iptables, and takes packets away as a broken cable does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import pytest

from tests.support.valkey import Valkey, ValkeyCluster, free_port

_BUS = 10_000


class Partition(Protocol):
    """Something between the servers of a Cluster."""

    async def cut_off(self, server: Valkey | None) -> None:
        """Let nothing through between this server and the others; None lets everything through again."""


def _by_source(cluster: ValkeyCluster) -> dict[str, Valkey]:
    return {f"127.0.0.{number}": server for number, server in enumerate(cluster.servers, 2)}


class Gates:
    """The gates of all servers of a Cluster."""

    def __init__(self, cluster: ValkeyCluster) -> None:
        self._cluster = cluster
        self._sources = _by_source(cluster)
        self._cut: Valkey | None = None
        self._changed = asyncio.Condition()
        self._fronts: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to let everything through. The servers are not started yet."""
        for source, server in self._sources.items():
            server.announced = free_port()
            server.options += (
                ("bind-source-addr", source),
                ("cluster-announce-ip", "127.0.0.1"),
                ("cluster-announce-port", str(server.announced)),
                ("cluster-announce-bus-port", str(server.announced + _BUS)),
            )
            for offset in (0, _BUS):
                self._fronts.append(await self._front(server, offset))

    async def cut_off(self, server: Valkey | None) -> None:
        """Let nothing through between this server and the others; None lets everything through again."""
        async with self._changed:
            self._cut = server
            self._changed.notify_all()

    async def close(self) -> None:
        for front in self._fronts:
            front.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _front(self, server: Valkey, offset: int) -> asyncio.Server:
        def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            source = self._sources.get(writer.get_extra_info("peername")[0])
            task = asyncio.ensure_future(self._join(reader, writer, source, server, server.port + offset))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        assert server.announced is not None
        return await asyncio.start_server(came, "127.0.0.1", server.announced + offset)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: Valkey | None,
        target: Valkey,
        port: int,
    ) -> None:
        writers = [writer]
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", port)
            writers.append(forth)
            await asyncio.gather(self._carry(reader, forth, source, target), self._carry(back, writer, source, target))
        except OSError:
            return
        finally:
            for one in writers:
                one.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: Valkey | None, target: Valkey
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if source is not None:
                    async with self._changed:
                        await self._changed.wait_for(lambda: self._cut not in (source, target))
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def gated_cluster() -> AsyncIterator[tuple[ValkeyCluster, Gates]]:
    """Run a Cluster behind gates."""
    cluster = ValkeyCluster()
    gates = Gates(cluster)
    try:
        await gates.open()
        await asyncio.to_thread(cluster.start)
        yield cluster, gates
    finally:
        cluster.stop()
        await gates.close()


class Wall:
    """Rules of the kernel's packet filter between the servers of a Cluster, in a chain of its own."""

    def __init__(self, cluster: ValkeyCluster) -> None:
        self._sources = _by_source(cluster)
        self._chain = f"realtime-tests-{os.getpid()}"

    def open(self) -> None:
        """Begin to let everything through. The servers are not started yet."""
        for source, server in self._sources.items():
            server.options += (("bind-source-addr", source), ("cluster-announce-ip", "127.0.0.1"))
        _iptables("-N", self._chain)
        _iptables("-I", "INPUT", "-i", "lo", "-j", self._chain)

    async def cut_off(self, server: Valkey | None) -> None:
        _iptables("-F", self._chain)
        if server is None:
            return
        own = next(source for source, one in self._sources.items() if one is server)
        for source, other in self._sources.items():
            if other is not server:
                self._drop(source, server)
                self._drop(own, other)

    def close(self) -> None:
        _iptables("-D", "INPUT", "-i", "lo", "-j", self._chain)
        _iptables("-F", self._chain)
        _iptables("-X", self._chain)

    def _drop(self, source: str, target: Valkey) -> None:
        """Take away what goes from this address to this server's ports, and what comes back."""
        ports = f"{target.port},{target.port + _BUS}"
        tcp = ("-A", self._chain, "-p", "tcp", "-m", "multiport", "-j", "DROP")
        _iptables(*tcp, "-s", source, "--dports", ports)
        _iptables(*tcp, "-d", source, "--sports", ports)


def _iptables(*arguments: str) -> None:
    subprocess.run(["iptables", "-w", "10", *arguments], check=True, capture_output=True, timeout=30)


@asynccontextmanager
async def walled_cluster() -> AsyncIterator[tuple[ValkeyCluster, Wall]]:
    """Run a Cluster whose servers the kernel can keep apart. Skips where that is not to be had."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        pytest.skip(
            "NOT TESTED: packets taken away by the kernel; it needs root and iptables (apt-get install iptables)"
        )
    cluster = ValkeyCluster()
    wall = Wall(cluster)
    wall.open()
    try:
        await asyncio.to_thread(cluster.start)
        yield cluster, wall
    finally:
        wall.close()
        cluster.stop()
