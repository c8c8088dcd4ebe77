"""From a URL to a service's endpoints."""

from __future__ import annotations

import pytest

from signtusk_realtime.client import parse_address
from signtusk_realtime.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "events", "websocket"),
    [
        ("http://h:8080", "http://h:8080/api/realtime/events", "ws://h:8080/ws"),
        ("http://h:8080/", "http://h:8080/api/realtime/events", "ws://h:8080/ws"),
        (" https://h/rt/ ", "https://h/rt/api/realtime/events", "wss://h/rt/ws"),
        ("ws://h:1", "http://h:1/api/realtime/events", "ws://h:1/ws"),
        ("wss://h/ws", "https://h/api/realtime/events", "wss://h/ws"),
        ("ws://h/rt/socket", "http://h/rt/api/realtime/events", "ws://h/rt/socket"),
        ("http://[::1]:80", "http://[::1]:80/api/realtime/events", "ws://[::1]:80/ws"),
    ],
)
def test_endpoints_follow_from_the_url(url: str, events: str, websocket: str) -> None:
    """A base URL, a mount, or the WebSocket's own URL."""
    address = parse_address(url)
    assert (address.events, address.websocket) == (events, websocket)
    assert address.is_encrypted == websocket.startswith("wss")


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("http://127.0.0.1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://localhost:1", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_this_machine_is_recognised(url: str, is_loopback: bool) -> None:
    """No proxy is asked for what lies here, and one is for all else."""
    assert parse_address(url).is_loopback is is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:8080",
        "ftp://h",
        "http://",
        "http://h:port",
        "http://h:99999",
        "http://user:pass@h",
        "http://h/?userId=u",
        "http://h/#x",
        "http://[::1",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    """A typing error is told before anything is connected; and a secret in a URL is not accepted."""
    with pytest.raises(InvalidInput):
        parse_address(url)
