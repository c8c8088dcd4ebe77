"""Realtime over FastAPI's own WebSockets, to users that the application itself knows: `uvicorn examples.fastapi_own_sockets:app`.

Its views may also be plain functions: FastAPI runs those in threads, and the service is called on the event loop that runs it.
"""

from __future__ import annotations

from anyio import from_thread
from fastapi import FastAPI, WebSocket

from signtusk_realtime import DocumentUpdateEvent, RealtimeService

service = RealtimeService()
app = FastAPI(lifespan=service.lifespan)


class Socket:
    """What the service asks for: FastAPI's WebSocket sends text by `send_text`, and its `send` is ASGI's."""

    def __init__(self, socket: WebSocket) -> None:
        self.send, self.close = socket.send_text, socket.close


@app.websocket("/live/{user_id}")
async def live(socket: WebSocket, user_id: str) -> None:
    """Let a peer in, and hand over what it says. A real application finds out here who it is."""
    await socket.accept()
    connection_id = service.handle_websocket_connection(Socket(socket), user_id, "org123")
    try:
        async for text in socket.iter_text():
            await service.receive(connection_id, text)
    finally:
        service.disconnect(connection_id)


@app.put("/documents/{document_id}")
def save(document_id: str, changes: dict[str, str]) -> dict[str, str]:
    """Save a document; everybody who has it open learns of it."""
    event = DocumentUpdateEvent(
        document_id=document_id, type="updated", changes=changes, user_id="user456", organization_id="org123"
    )
    return {"eventId": from_thread.run(service.emit_document_update, event).event_id}
