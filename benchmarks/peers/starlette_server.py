"""Starlette on uvicorn: WebSockets as its documentation has them, `send_text` to each, and event streams by sse-starlette.

Rule: a stream's events wait in a queue of its own, as sse-starlette's generators need.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

sockets: set[WebSocket] = set()
queues: set[asyncio.Queue[str]] = set()


async def websocket(socket: WebSocket) -> None:
    """Keep a WebSocket among those that are written to until it is closed."""
    await socket.accept()
    sockets.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        sockets.discard(socket)


async def stream(_request: Request) -> Response:
    """Answer an event stream."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def events() -> AsyncIterator[dict[str, str]]:
        queues.add(queue)
        try:
            while True:
                yield {"data": await queue.get()}
        finally:
            queues.discard(queue)

    return EventSourceResponse(events(), ping=3600, sep="\n")


async def publish(request: Request) -> Response:
    """Send each line of the body to everybody."""
    for line in (await request.body()).decode().split("\n"):
        for socket in list(sockets):
            await socket.send_text(line)
        for queue in queues:
            queue.put_nowait(line)
    return Response()


app = Starlette(
    routes=[
        Route("/stream", stream),
        Route("/{path:path}", publish, methods=["POST"]),
        WebSocketRoute("/{path:path}", websocket),
    ]
)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        backlog=4096,
        timeout_keep_alive=600,
    )
