"""Realtime over WebSockets that another library serves, to users that the application itself knows: `python examples/handed_in_socket.py`.

Any object with `send(text)` and `close(code, reason)` will do; these are of the `websockets` library.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from signtusk_realtime import RealtimeService

PORT = 8080
USERS = {"Bearer ada's secret": "ada", "Bearer grace's secret": "grace"}

service = RealtimeService()


async def talk(socket: ServerConnection) -> None:
    """Let a peer in whom the application knows, and hand over what it says."""
    assert socket.request is not None
    user_id = USERS.get(socket.request.headers.get("Authorization", ""))
    if user_id is None:
        await socket.close(4501, "unauthenticated")
        return
    connection_id = service.handle_websocket_connection(socket, user_id, "org123", {"peer": socket.remote_address})
    service.subscribe_websocket(connection_id, {"type": "notifications"})
    try:
        with suppress(ConnectionClosed):
            async for text in socket:
                await service.receive(connection_id, text)
    finally:
        service.disconnect(connection_id)


async def main() -> None:
    """Serve until Ctrl-C."""
    service.on(
        "ws_connection_added", lambda change: print(change.user_id, "came from", change.metadata["peer"], flush=True)
    )
    service.on("ws_connection_removed", lambda change: print(change.user_id, "left", flush=True))
    async with service, serve(talk, "127.0.0.1", PORT):
        print(f"serving on port {PORT}", flush=True)
        while True:
            await service.emit_notification(
                {
                    "id": f"tick-{asyncio.get_running_loop().time()}",
                    "title": "Tick",
                    "message": "A second has passed",
                    "type": "info",
                    "userId": "ada",
                    "organizationId": "org123",
                }
            )
            await asyncio.sleep(1)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
