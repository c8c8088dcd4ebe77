"""How many connections each organization, user and address has, where that is limited.

Owns: the counts and their limits.   Not: the limit of the whole node (server/entrance.py), where an address comes from (server).
Rule 1: what is not limited is not counted: no memory per connection.
Rule 2: asked in the step that opens a connection, so that no two share the last place.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.errors import LimitExceeded
from signtusk_realtime.sessions.identity import Identity

RETRY_AFTER_S = 5


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """How many connections of this node may be of one organization, one of its users, one address; None: any number."""

    per_organization: int | None = None
    per_user: int | None = None
    per_address: int | None = None


class Census:
    """See the module."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._addresses: dict[str, str] = {}
        """Of open connections, by id, where addresses are limited."""

    @property
    def counts_addresses(self) -> bool:
        """Whether it matters where a connection comes from."""
        return self._limits.per_address is not None

    def check(self, identity: Identity, address: str | None) -> None:
        """Refuse one connection too many. Raises: LimitExceeded (rate_limited)."""
        for what, key, most in self._counted(identity, address):
            if self._counts[key] >= most:
                raise LimitExceeded(
                    f"{most} connections are open for this {what}, as many as it may have", retry_after_s=RETRY_AFTER_S
                )

    def add(self, connection: Connection, address: str | None) -> None:
        """Count a connection that was opened."""
        if self._limits.per_address is not None and address is not None:
            self._addresses[connection.connection_id] = address
        for _, key, _ in self._counted(connection.session.identity, address):
            self._counts[key] += 1

    def remove(self, connection: Connection) -> None:
        """Count it no more."""
        address = self._addresses.pop(connection.connection_id, None)
        for _, key, _ in self._counted(connection.session.identity, address):
            self._counts[key] -= 1
            if self._counts[key] <= 0:
                del self._counts[key]

    def _counted(self, identity: Identity, address: str | None) -> Iterator[tuple[str, tuple[str, ...], int]]:
        limits = self._limits
        if limits.per_organization is not None:
            yield "organization", ("o", identity.organization_id), limits.per_organization
        if limits.per_user is not None:
            yield "user", ("u", identity.organization_id, identity.user_id), limits.per_user
        if limits.per_address is not None and address is not None:
            yield "address", ("a", network_of(address)), limits.per_address


def network_of(address: str) -> str:
    """Give what counts as one address: an IPv4 address, or the /64 of an IPv6 one, which is what one customer is given."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)
