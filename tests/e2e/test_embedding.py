"""The service inside an application, seen from a real browser: the original's quick start, and a mount in FastAPI."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from playwright.async_api import Page, Route

from signtusk_realtime import (
    DocumentUpdateEvent,
    NotificationEvent,
    Published,
    RealtimeService,
    SignatureStatusEvent,
    UserPresenceEvent,
    create_default_config,
    create_websocket_server,
)
from tests.e2e.test_browser import documents, page_text, shown
from tests.support.browser import chromium, needs_browser, open_page, page_server
from tests.support.mounted import uvicorn_serving

pytestmark = needs_browser

EVERYTHING = """['document_updates', 'signing_updates', 'notifications', 'user_presence', 'organization_activity'].map(
      (type) => ({ type })
    )"""


SIGNED = "the version that a signature makes"


async def publish_everything(service: RealtimeService) -> list[Published]:
    """Publish as the original's quick start does, by each of its five verbs."""
    return [
        await service.emit_document_update(
            DocumentUpdateEvent(
                document_id="doc123",
                type="updated",
                changes={"title": "New Title"},
                user_id="user123",
                organization_id="org123",
            )
        ),
        await service.emit_signature_status_update(
            SignatureStatusEvent(
                signing_request_id="req123",
                document_id="doc123",
                recipient_id="recipient123",
                status="signed",
                user_id="user123",
                organization_id="org123",
            )
        ),
        await service.emit_notification(
            NotificationEvent(
                id="notif123",
                title="Document Signed",
                message="Your document has been signed",
                type="success",
                user_id="user123",
                organization_id="org123",
            )
        ),
        await service.emit_user_presence(
            UserPresenceEvent(user_id="user123", status="online", current_document="doc123", organization_id="org123")
        ),
        await service.emit_organization_activity("org123", "document_shared", {"documentId": "doc123"}),
    ]


async def test_the_originals_quick_start(tmp_path: Path) -> None:
    """Configuration, service, `initialize`, server, `start`: a page that connects sees what concerns it, of all five sorts, and others do not."""
    config = create_default_config()
    service = RealtimeService(config)
    await service.initialize()
    server = create_websocket_server(service, port=0, path="/ws")
    await server.start()
    try:
        original = page_text("websocket.html", server.port)
        # The original's page subscribes to one thing; these ask for everything, as members and as a stranger.
        wide = re.sub(r"subscription: \{.*?\n    \}", f"subscriptions: {EVERYTHING}", original, flags=re.DOTALL)
        assert wide != original
        colleague = wide.replace("userId=user123", "userId=user456")
        stranger = wide.replace("organizationId=org123", "organizationId=org456")
        async with (
            page_server(original) as first,
            page_server(wide) as second,
            page_server(colleague) as third,
            page_server(stranger) as fourth,
            chromium() as context,
        ):
            pages = [await open_page(context, f"http://localhost:{port}/") for port in (first, second, third, fourth)]
            for page in pages:
                await shown(page, "Real-time update: ", '"subscribed"')
            ids = [result.event_id for result in await publish_everything(service)]
            own = await service.emit_organization_activity("org456", "last", {})
            last = await service.emit_document_update(
                DocumentUpdateEvent(document_id="doc123", type="signed", user_id="u", organization_id="org123")
            )
            # The document is held since its change: each signature moves it on, which is a version with an event of its own.
            assert await seen(pages[0], last) == [ids[0], SIGNED, last.event_id]
            assert await seen(pages[1], last) == [ids[0], ids[1], SIGNED, *ids[2:], last.event_id]
            assert await seen(pages[2], last) == [ids[0], ids[1], SIGNED, ids[3], ids[4], last.event_id]
            assert await seen(pages[3], own) == [own.event_id]
            assert service.get_metrics()["activeConnections"] == 4
    finally:
        await server.stop()
        await service.cleanup()


async def seen(page: Page, last: Published) -> list[str]:
    """Give the ids of the events a page has logged by the time it shows the last."""
    messages = await shown(page, "Real-time update: ", last.event_id)
    events = [message["event"] for message in messages if message["type"] == "event"]
    found = [SIGNED if "state" in event["payload"] else event["id"] for event in events]  # type: ignore[index, call-overload, misc]
    return found[: found.index(last.event_id) + 1]


@asynccontextmanager
async def fastapi_mount() -> AsyncIterator[tuple[RealtimeService, int]]:
    service = RealtimeService()
    app = FastAPI(lifespan=service.lifespan)
    app.mount("/rt", service.asgi)
    async with uvicorn_serving(app, lifespan="on") as port:
        yield service, port


async def test_the_originals_clients_over_a_fastapi_mount() -> None:
    """Both of the original's pages, below a mount: published over HTTP and in Python, seen at once by whom it concerns."""
    async with fastapi_mount() as (service, port), chromium() as context:
        socket_page = page_text("websocket.html", port).replace(f"localhost:{port}/ws", f"localhost:{port}/rt/ws")
        stream_page = page_text("event_stream.html", port).replace("'/api", "'/rt/api")
        async with page_server(socket_page) as elsewhere:
            sockets = await open_page(context, f"http://localhost:{elsewhere}/")
            url = f"http://localhost:{port}/page"
            await context.route(url, answer_with(stream_page))
            streams = await open_page(context, url)
            await shown(sockets, "Real-time update: ", '"subscribed"')
            await shown(streams, "Real-time event: ", '"subscribed"')

            for organization, document in (("org456", "doc123"), ("org123", "doc999")):
                await service.emit_document_update(
                    {"documentId": document, "type": "updated", "userId": "u", "organizationId": organization}
                )
            last = await service.emit_document_update(
                {"documentId": "doc123", "type": "updated", "userId": "u", "organizationId": "org123"}
            )
            messages = await shown(sockets, "Real-time update: ", last.event_id)
            events = await shown(streams, "Document updated: ", last.event_id)
            assert [message["type"] for message in messages] == ["connected", "subscribed", "event"]
            assert documents(events) == [("org123", "doc999"), ("org123", "doc123")]
            assert messages[-1]["event"] == events[-1]


def answer_with(body: str) -> Callable[[Route], Awaitable[None]]:
    async def answer(route: Route) -> None:
        await route.fulfill(body=body, content_type="text/html")

    return answer
