"""The service in a program of your own: a server for browsers, and events of every sort, once a second until Ctrl-C.

    python examples/quick_start.py

A page that connects to ws://localhost:8080/ws?userId=user123&organizationId=org123 and subscribes sees them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from signtusk_realtime import (
    DocumentUpdateEvent,
    NotificationEvent,
    RealtimeService,
    SignatureStatusEvent,
    UserPresenceEvent,
    create_default_config,
    create_websocket_server,
)


async def main() -> None:
    """Serve, and publish."""
    config = create_default_config()
    service = RealtimeService(config)
    await service.initialize()
    server = create_websocket_server(service, port=8080, path="/ws")
    await server.start()
    print(f"serving on port {server.port}", flush=True)
    try:
        number = 0
        while True:
            await publish(service, number)
            number += 1
            await asyncio.sleep(1)
    finally:
        await server.stop()
        await service.cleanup()


async def publish(service: RealtimeService, number: int) -> None:
    """Publish one event of each sort."""
    await service.emit_document_update(
        DocumentUpdateEvent(
            document_id="doc123",
            type="updated",
            changes={"title": f"Contract, draft {number}"},
            user_id="user456",
            organization_id="org123",
        )
    )
    await service.emit_signature_status_update(
        SignatureStatusEvent(
            signing_request_id="req123",
            document_id="doc456",  # one that is signed is edited no more
            recipient_id="recipient123",
            status="signed",
            user_id="user456",
            organization_id="org123",
        )
    )
    await service.emit_notification(
        NotificationEvent(
            id=f"notification-{number}",
            title="Signature received",
            message="Ada signed the contract",
            type="success",
            user_id="user123",
            organization_id="org123",
        )
    )
    await service.emit_user_presence(
        UserPresenceEvent(user_id="user456", status="online", current_document="doc123", organization_id="org123")
    )
    await service.emit_organization_activity("org123", "document_shared", {"documentId": "doc123"}, user_id="user456")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
