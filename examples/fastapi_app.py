"""Realtime in a FastAPI application: `uvicorn examples.fastapi_app:app`; browsers follow under /rt."""

from __future__ import annotations

from fastapi import FastAPI

from signtusk_realtime import DocumentUpdateEvent, RealtimeService

service = RealtimeService()
app = FastAPI(lifespan=service.lifespan)
app.mount("/rt", service.asgi)


@app.put("/documents/{document_id}")
async def save(document_id: str, changes: dict[str, str]) -> dict[str, str]:
    """Save a document; everybody who has it open learns of it."""
    event = DocumentUpdateEvent(
        document_id=document_id, type="updated", changes=changes, user_id="user456", organization_id="org123"
    )
    published = await service.emit_document_update(event)
    return {"eventId": published.event_id}
