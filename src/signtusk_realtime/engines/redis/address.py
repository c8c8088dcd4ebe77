"""Where a server is and how to log in to it.

Owns: reading `redis://` and `rediss://` addresses.   Not: connecting (link.py).
Rule: a message never repeats the address as it was given, for it may hold a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from signtusk_realtime.errors import ConfigurationError


@dataclass(frozen=True, order=True)
class Address:
    """A server and an ACL user of it; `database` is 0 wherever a Cluster is meant."""

    host: str
    port: int = 6379
    username: str | None = field(default=None, repr=False, compare=False)
    password: str | None = field(default=None, repr=False, compare=False)
    is_tls: bool = False
    database: int = 0

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def read_address(url: str) -> Address:
    """Read `redis[s]://[[user]:password@]host[:port][/database]`. Raises: ConfigurationError."""
    try:
        parts = urlsplit(url)
        port, database = parts.port or 6379, int(parts.path.strip("/") or 0)
    except ValueError:
        raise ConfigurationError("an address of Redis has a port or a database that is no number") from None
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError(
            "an address of Redis is redis://[user:password@]host[:port][/database], or rediss:// for TLS"
        )
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    return Address(parts.hostname, port, username, password, parts.scheme == "rediss", database)
