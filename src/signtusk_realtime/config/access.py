"""What fits together of the settings that say who may come in, and from where.

Owns: faults of keys, algorithms, addresses and origins.   Not: what is done with them (auth, server), single values (settings.py).
Rule 1: what would let in whom it should not, or nobody, is a fault; so is a key that nothing looks at.
Rule 2: a fault repeats no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from signtusk_realtime.auth.algorithms import PUBLIC, SECRET
from signtusk_realtime.config.settings import AuthSettings, Settings
from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.server.proxies import Proxies

_COOKIE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_ORIGIN: Final = re.compile(
    r"(?P<scheme>https?)://(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def auth_faults(auth: AuthSettings) -> list[str]:
    """Name what is wrong with `auth.…`."""
    return [*_source_faults(auth), *_key_faults(auth), *_claim_faults(auth)]


def address_faults(settings: Settings) -> list[str]:
    """Name what is wrong with who may reach the service from where."""
    faults = [
        f"allowed_origins: {without_credentials(origin)!r} is no origin as a browser writes it: scheme://host or scheme://host:port in small letters, a host's name"
        " in its ASCII form, without the scheme's own port, without a path"
        for origin in settings.allowed_origins
        if not is_origin(origin)
    ]
    if settings.public_url is not None and not _is_address(settings.public_url):
        shown = without_credentials(settings.public_url)
        faults.append(f"public_url: {shown!r} is no address such as https://realtime.example.com")
    try:
        Proxies(settings.trusted_proxies)
    except ConfigurationError as error:
        faults.append(error.message)
    return faults


def is_origin(text: str) -> bool:
    """Say whether a browser would write an origin like this (HTML standard, serialization of an origin)."""
    found = _ORIGIN.fullmatch(text)
    return found is not None and found["port"] != _DEFAULT_PORTS[found["scheme"]] and int(found["port"] or 0) < 1 << 16


def without_credentials(address: str) -> str:
    """Give an address as it may be repeated: without a user, a password and a query, one of which may be secret."""
    scheme, has_scheme, rest = address.rpartition("://")
    rest, has_query, _ = rest.partition("?")
    *credentials, rest = rest.rpartition("@")
    return f"{scheme}{has_scheme}{'…@' if any(credentials) else ''}{rest}{'?…' if has_query else ''}"


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _source_faults(auth: AuthSettings) -> Iterator[str]:
    sources = ("auth.secret", auth.secret), ("auth.public_key", auth.public_key), ("auth.jwks_url", auth.jwks_url)
    given = [name for name, value in sources if value is not None]
    if auth.mode == "development":
        for name in given:
            yield f"{name}: is given, and nothing looks at it in development; set auth.mode to jwt, or leave it out"
    elif not given:
        yield "auth.mode: jwt needs a key: one of auth.secret, auth.public_key and auth.jwks_url"
    if len(given) > 1:
        yield f"{given[0]}: is given, and so is {' and '.join(given[1:])}; exactly one of them says which tokens are good"


def _key_faults(auth: AuthSettings) -> Iterator[str]:
    # The library for keys is loaded only where there are any: it takes a good part of a start.
    if auth.secret is not None:
        from signtusk_realtime.auth.keys import secret_key  # noqa: PLC0415

        try:
            secret_key(auth.secret, auth.algorithms)
        except ConfigurationError as error:
            yield error.message
    if auth.public_key is not None:
        from signtusk_realtime.auth.keys import public_key  # noqa: PLC0415

        try:
            public_key(auth.public_key, auth.algorithms)
        except ConfigurationError as error:
            yield error.message
    if auth.jwks_url is not None:
        if not _is_address(auth.jwks_url):
            yield "auth.jwks_url: is no address such as https://login.example.com/keys.json"
        elif not auth.jwks_url.startswith("https:") and not is_loopback(urlsplit(auth.jwks_url).hostname or ""):
            yield "auth.jwks_url: must be https, but for this machine's own: who can alter the keys decides who comes in"
        unfit = [name for name in auth.algorithms if name in SECRET]
        if unfit:
            yield (
                f"auth.algorithms: {', '.join(unfit)} cannot be used with keys that are published; allowed: {', '.join(PUBLIC)}"
            )


def _claim_faults(auth: AuthSettings) -> Iterator[str]:
    names = (auth.user_claim, auth.organization_claim, auth.teams_claim)
    if len(set(names)) < len(names):
        yield "auth.user_claim: users, organizations and teams are named by three different claims"
    if auth.cookie is not None and not _COOKIE.fullmatch(auth.cookie):
        yield f"auth.cookie: {auth.cookie!r} cannot be a cookie's name"


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    is_plain = (
        parts.username is None and not parts.fragment and text.isascii() and text.isprintable() and " " not in text
    )
    return parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and is_plain and port != 0
