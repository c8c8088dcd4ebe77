"""A test of an application that has realtime in it: `pytest examples/fastapi_test.py`."""

from __future__ import annotations

from fastapi.testclient import TestClient

from examples.fastapi_app import app


def test_who_follows_a_document_learns_that_it_was_saved() -> None:
    """The host must be this machine's, in the WebSocket's address too; as a context manager the client runs the lifespan."""
    followed = {"type": "document_updates", "filters": {"documentId": "doc123"}}
    with (
        TestClient(app, base_url="http://localhost") as client,
        client.websocket_connect("ws://localhost/rt/ws?userId=user123&organizationId=org123") as socket,
    ):
        assert socket.receive_json()["type"] == "connected"
        socket.send_json({"type": "subscribe", "subscription": followed})
        assert socket.receive_json()["type"] == "subscribed"
        saved = client.put("/documents/doc123", json={"title": "NDA v2"}).json()
        assert socket.receive_json()["event"]["id"] == saved["eventId"]
