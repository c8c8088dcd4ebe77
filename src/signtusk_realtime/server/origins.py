"""Which pages and which names may talk to this server.

Owns: the look at `Host` and `Origin`, and the CORS headers of answers: one function for all ways in.   Not: who is asking (auth).
Rule: what is not allowed gets no CORS header, and the refusal does not depend on credentials.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.server.problems import HeaderPairs

VARY: Final = (b"Vary", b"Origin")
PREFLIGHT: Final[HeaderPairs] = (
    (b"Access-Control-Allow-Methods", b"GET, POST, DELETE"),
    (b"Access-Control-Allow-Headers", b"Authorization, Content-Type, Idempotency-Key, Last-Event-ID"),
    (b"Access-Control-Max-Age", b"600"),
)
"""What a preflight is answered, beside the headers of every answer to an allowed origin."""

_NAME_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:/?#@\s]+)(?::[0-9]{1,5})?", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://([^/?#@\s]+)", re.ASCII)


class OriginPolicy(Protocol):
    """Decides on every request but the probes."""

    def allow(self, headers: Headers) -> HeaderPairs:
        """Give the headers to add to the answer.

        Raises: Forbidden (origin_not_allowed, host_not_allowed), InvalidInput (invalid_request).
        """


class LoopbackPolicy:
    """Development: the name must be this machine's and the page from it; any other page in a developer's browser is kept out.

    The name is looked at because of DNS rebinding: a foreign page may have its own name point to 127.0.0.1, and is then of the same
    origin as we are.
    """

    def allow(self, headers: Headers) -> HeaderPairs:
        """See the port."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) > 1:
            raise InvalidInput("there must be exactly one Host header", code="invalid_request")
        if not hosts or not _is_loopback(hosts[0]):
            raise Forbidden(
                "without authentication configured, Host must be a loopback name: localhost, 127.0.0.1 or [::1]",
                code="host_not_allowed",
            )
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return (VARY,)
        if len(origins) > 1 or not _is_loopback_origin(origins[0]):
            raise Forbidden("this page's origin is not allowed here", code="origin_not_allowed")
        return _welcome(origins[0])


class AllowedOrigins:
    """Pages that an operator named, and our own; everybody who is no page passes, and is asked for a token.

    `allowed`: origins as browsers write them. `public_url`: how clients reach us, which is then our own origin; without it that is
    the name that was asked for, by `https` where we speak TLS ourselves (`is_tls`), else by `http`. A name that somebody else's DNS points to us is ours then: no harm, since such a page has no token of anybody.
    """

    def __init__(self, allowed: Iterable[str], public_url: str | None = None, *, is_tls: bool = False) -> None:
        self._allowed = frozenset(origin.encode("ascii") for origin in allowed)
        self._own = None if public_url is None else origin_of(public_url)
        self._scheme, self._default_port = (b"https://", b":443") if is_tls else (b"http://", b":80")

    def allow(self, headers: Headers) -> HeaderPairs:
        """See the port."""
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return (VARY,)
        if len(origins) > 1 or not (origins[0] in self._allowed or origins[0] == (self._own or self._asked(headers))):
            raise Forbidden("this page's origin is not allowed here", code="origin_not_allowed")
        return _welcome(origins[0])

    def _asked(self, headers: Headers) -> bytes | None:
        """Give our own origin as the request names us; None if that is unclear."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not hosts[0]:
            return None
        return self._scheme + hosts[0].lower().removesuffix(self._default_port)


def origin_of(url: str) -> bytes:
    """Give the origin of an address as a browser writes it."""
    scheme, _, rest = url.lower().partition("://")
    name = re.split("[/?#]", rest, maxsplit=1)[0]
    default = ":443" if scheme == "https" else ":80"
    return f"{scheme}://{name.removesuffix(default)}".encode("ascii")


def _welcome(origin: bytes) -> HeaderPairs:
    return (
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b"Retry-After"),
        VARY,
    )


def is_preflight(method: str, headers: Headers) -> bool:
    """Say whether a browser asks what a page may send (Fetch standard, CORS-preflight request)."""
    names = {name for name, _ in headers}
    return method == "OPTIONS" and b"origin" in names and b"access-control-request-method" in names


@lru_cache(maxsize=256)
def _is_loopback(host: bytes) -> bool:
    try:
        match = _NAME_AND_PORT.fullmatch(host.decode("ascii"))
    except UnicodeDecodeError:
        return False
    if match is None:
        return False
    name = match.group(1)
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=256)
def _is_loopback_origin(origin: bytes) -> bool:
    match = _ORIGIN.fullmatch(origin.decode("latin-1"))
    return match is not None and _is_loopback(match.group(1).encode("latin-1"))
