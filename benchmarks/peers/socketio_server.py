"""python-socketio on uvicorn, doing what the claims ask of every server.

    python socketio_server.py PORT [URL of a Redis that several nodes share]

Owns: one room per document, publishing by HTTP.   Not: storage, accounts, cursors; python-socketio has none of them.
Rule: the library and its server run as their documentation recommends: ASGI, uvicorn, uvloop, httptools, no logs; of several nodes, each with
an `AsyncRedisManager`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import socketio  # type: ignore[import-untyped]  # ships no types; bench.txt only
import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

shared = socketio.AsyncRedisManager(sys.argv[2]) if len(sys.argv) > 2 else None
sockets = socketio.AsyncServer(async_mode="asgi", client_manager=shared)


async def subscribe(sid: str, document: str) -> str:
    """Put the client into the document's room; the answer is the acknowledgement."""
    await sockets.enter_room(sid, document)
    return "subscribed"


async def publish(scope: Scope, receive: Receive, send: Send) -> None:
    """Emit each line of the body to the room of its `documentId`."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    for line in body.split(b"\n"):
        event = json.loads(line)
        await sockets.emit("event", event, room=event["documentId"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve on the port that is the first argument."""
    sockets.on("subscribe", subscribe)
    app = socketio.ASGIApp(sockets, other_asgi_app=publish)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets",
        lifespan="off",
        log_level="warning",
        access_log=False,
        backlog=4096,
        timeout_keep_alive=600,
    )


if __name__ == "__main__":
    main()
