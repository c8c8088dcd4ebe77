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
_PRIVATE_DOMAINS: Final = (".internal", ".local", ".localhost", ".home.arpa", ".svc")
"""RFC 6761, 6762 and 8375, ICANN's `internal`, and what orchestrators call their services."""
_FORWARDED: Final = frozenset((b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"forwarded"))
"""What proxies say of who is asking, and by which name."""
_FORWARDED_PAIR: Final = re.compile(
    rb"\s*(?:(?:for|host)\s*=\s*\"?([^\";,]*)\"?|[a-z]+\s*=[^;,]*)\s*", re.ASCII | re.IGNORECASE
)
"""One of RFC 7239."""
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
    origin as we are. So is what proxies say of who is asking: behind one everybody would come from this machine. One that says nothing, and
    asks by a name of its own, cannot be told from a developer.
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
        if any(name in _FORWARDED and not _is_of_here(value) for name, value in headers):
            raise Forbidden(
                "without authentication configured, this machine alone is served; a proxy passed this on for somebody elsewhere",
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
    the name that was asked for, by `https` where we speak TLS ourselves (`is_tls`), else by `http`. A name that somebody else's DNS points to us
    is ours then: no harm, since such a page has no token of anybody. `has_cookies`: where it has one, for a cookie may belong to all names of a
    domain, the name that was asked for counts only if it is an address or this machine's own.
    """

    def __init__(
        self,
        allowed: Iterable[str],
        public_url: str | None = None,
        *,
        is_tls: bool = False,
        has_cookies: bool = False,
    ) -> None:
        self._allowed = frozenset(origin.encode("ascii") for origin in allowed)
        self._own = None if public_url is None else origin_of(public_url)
        self._scheme, self._default_port = (b"https://", b":443") if is_tls else (b"http://", b":80")
        self._has_cookies = has_cookies

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
        if len(hosts) != 1 or not hosts[0] or (self._has_cookies and not _is_unforgeable(hosts[0])):
            return None
        return self._scheme + hosts[0].lower().removesuffix(self._default_port)


class OperatorsPolicy:
    """The listener for operators, where figures are told without a token: as AllowedOrigins, and the name must be none that a stranger could give us.

    A foreign page in an operator's browser may have its own name point to that listener (DNS rebinding), and is then of the same origin.
    Addresses pass, names of one word, names under domains that public DNS does not have, and `names`: those that an operator gave us.
    """

    def __init__(self, pages: AllowedOrigins, names: Iterable[str] = ()) -> None:
        self._pages = pages
        self._names = frozenset(name.lower() for name in names)

    def allow(self, headers: Headers) -> HeaderPairs:
        """See the port."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise Forbidden(
                "operators reach this listener by its address, by a name of one word or of a private domain, or by that of public_url",
                code="host_not_allowed",
            )
        return self._pages.allow(headers)

    def _is_ours(self, host: bytes) -> bool:
        if _is_unforgeable(host):
            return True
        name = _name_of(host)
        if name is None:
            return False
        name = name.lower().removesuffix(".")
        return name in self._names or "." not in name or name.endswith(_PRIVATE_DOMAINS)


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
    name = _name_of(host)
    address = _address_of(name)
    return name is not None and (name.lower() == "localhost" or (address is not None and address.is_loopback))


@lru_cache(maxsize=256)
def _is_of_here(forwarded: bytes) -> bool:
    """Say whether all that a proxy's header names is this machine."""
    for part in re.split(b"[,;]", forwarded):
        pair = _FORWARDED_PAIR.fullmatch(part)
        told = (part if pair is None else pair[1] or b"").strip(b' \t"')
        address = _address_of(told.decode("latin-1"))
        if told and not (_is_loopback(told) or (address is not None and address.is_loopback)):
            return False
    return True


@lru_cache(maxsize=256)
def _is_unforgeable(host: bytes) -> bool:
    """Say whether nobody's DNS can have pointed this name to us: it is an address, or this machine's own name."""
    return _is_loopback(host) or _address_of(_name_of(host)) is not None


def _name_of(host: bytes) -> str | None:
    try:
        match = _NAME_AND_PORT.fullmatch(host.decode("ascii"))
    except UnicodeDecodeError:
        return None
    return None if match is None else match.group(1)


def _address_of(name: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return None if name is None else ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _is_loopback_origin(origin: bytes) -> bool:
    match = _ORIGIN.fullmatch(origin.decode("latin-1"))
    return match is not None and _is_loopback(match.group(1).encode("latin-1"))
