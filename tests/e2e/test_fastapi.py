"""FastAPI's own means beside the service: its test client, its WebSockets, its views in threads, mounts within mounts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from examples.fastapi_own_sockets import app, service
from examples.fastapi_test import test_who_follows_a_document_learns_that_it_was_saved as the_example
from signtusk_realtime import RealtimeService

DOCUMENTS = {"type": "subscribe", "subscription": {"type": "document_updates"}}


def test_an_application_can_be_tested() -> None:
    """By the test that the documentation shows, twice: the lifespan begins and ends with the client."""
    the_example()
    the_example()


def test_its_own_sockets_are_handed_in() -> None:
    """By the adapter that the documentation shows; a view in a thread publishes, and who disconnects is gone."""
    with TestClient(app, base_url="http://localhost") as client:
        with client.websocket_connect("/live/user123") as socket:
            assert socket.receive_json()["userId"] == "user123"
            socket.send_json(DOCUMENTS)
            assert socket.receive_json()["type"] == "subscribed"
            answer = client.put("/documents/doc123", json={"title": "NDA v2"})
            assert answer.status_code == 200, answer.text
            assert socket.receive_json()["event"]["id"] == answer.json()["eventId"]
            (connection_id,) = service._rooms.hub.connections  # type: ignore[union-attr]  # it runs
            assert client.portal is not None
            client.portal.call(service.disconnect, connection_id)
            assert socket.receive()["code"] == 1000
        with client.websocket_connect("/live/user123") as socket:
            assert socket.receive_json()["type"] == "connected"
        assert service._rooms is not None
        assert not service._rooms.handed._outlets


@pytest.mark.parametrize("root", ["", "/proxy"])
def test_descriptions_say_where_the_mount_is(root: str) -> None:
    """Below mounts within mounts, each for itself, and below the path that the host's server was told of."""
    first, second = RealtimeService(), RealtimeService()

    @asynccontextmanager
    async def both(_: object) -> AsyncIterator[None]:
        async with first, second:
            yield

    mounts = [Mount("/a", first.asgi), Mount("/b c", second.asgi)]
    app = Starlette(routes=[Mount("/x", Starlette(routes=mounts))], lifespan=both)
    with TestClient(app, base_url="http://localhost", root_path=root) as client:
        for path in (f"{root}/x/a", f"{root}/x/b%20c"):
            assert client.get(f"{path}/openapi.json").json()["servers"] == [{"url": path}]
            servers = client.get(f"{path}/asyncapi.json").json()["servers"]
            assert {one["pathname"] for one in servers.values()} == {path}
