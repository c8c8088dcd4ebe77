"""Where a service is: from one URL to its endpoints.

Owns: which forms of URL are understood.   Not: connecting.
Rule: a URL holds no identity and no secret; those are arguments of their own, so that no log of addresses tells them.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from signtusk_realtime.errors import InvalidInput

EVENTS_PATH = "/api/realtime/events"
WEBSOCKET_PATH = "/ws"
_SCHEMES = {"http": ("http", "ws"), "ws": ("http", "ws"), "https": ("https", "wss"), "wss": ("https", "wss")}


class Address(NamedTuple):
    """The endpoints of a service. `events` takes publications and gives the event stream."""

    events: str
    websocket: str
    is_encrypted: bool
    is_loopback: bool
    """A proxy of the environment is not asked for what lies on this machine."""


def parse_address(url: str) -> Address:
    """Read the URL of a service: `http(s)://host[:port][/mount]`, or that of its WebSocket, `ws(s)://host[:port]/path`.

    Raises: InvalidInput.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"not a URL: {error}", code="invalid_parameter") from None
    if parts.scheme not in _SCHEMES or not host:
        raise InvalidInput(
            "the URL must have the form http://host:port, https://…, ws://… or wss://…", code="invalid_parameter"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidInput(
            "the URL takes no user, query or fragment; identity and token are given apart", code="invalid_parameter"
        )
    http, websocket = _SCHEMES[parts.scheme]
    mount = parts.path.rstrip("/")
    path = mount + WEBSOCKET_PATH
    if parts.scheme in ("ws", "wss") and mount:
        path, mount = parts.path, mount.rpartition("/")[0]
    return Address(
        events=f"{http}://{parts.netloc}{mount}{EVENTS_PATH}",
        websocket=f"{websocket}://{parts.netloc}{path}",
        is_encrypted=http == "https",
        is_loopback=_is_loopback(host),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
