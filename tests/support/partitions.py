"""A Cluster whose servers can be cut off from one another, while clients reach them all.

Owns: a gate before each server, through which the others and its clients come.   Not: the servers (valkey.py).
Rule: what is cut off is not refused: connections stay, and nothing comes through, as when a network fails.
How: each server has a source address of its own on the loopback net, and announces its gate's ports in place of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.valkey import Valkey, ValkeyCluster, free_port

_BUS = 10_000


class Gates:
    """The gates of all servers of a Cluster."""

    def __init__(self, cluster: ValkeyCluster) -> None:
        self._cluster = cluster
        self._sources = {f"127.0.0.{number}": server for number, server in enumerate(cluster.servers, 2)}
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
