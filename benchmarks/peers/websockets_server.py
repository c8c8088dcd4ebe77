"""The library `websockets` and its `broadcast`, on uvloop, without compression; publications come on the port given second."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from publications import listen
from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def stay(connection: ServerConnection) -> None:
    """Keep a connection among those that are written to until it is closed."""
    connections.add(connection)
    try:
        await connection.wait_closed()
    finally:
        connections.discard(connection)


async def main() -> None:
    """Serve on the ports that are the arguments."""
    port, publish_port = map(int, sys.argv[1:])
    async with (
        serve(stay, "127.0.0.1", port, compression=None, backlog=4096, ping_interval=None),
        await listen(publish_port, lambda line: broadcast(connections, line)),
    ):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    uvloop.run(main())
