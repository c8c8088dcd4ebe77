"""Whose word is taken for where a request comes from.

Owns: reading `X-Forwarded-For` behind proxies that the operator named.   Not: what an address is counted for (operations/census.py).
Rule: a header is believed as far as trusted proxies wrote it: from its end, up to the first address that is none of them. Whoever connects
directly is where he connects from, whatever he writes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.protocol.handshake import Headers

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """Proxies by address or network (`10.0.0.0/8`). Raises: ConfigurationError."""

    def __init__(self, named: Iterable[str] = ()) -> None:
        self._networks = tuple(_network(one) for one in named)

    def client_of(self, peer: str, headers: Headers) -> str:
        """Give the address of the client behind the peer of a socket."""
        if not self._trusts(peer):
            return peer
        values = [value for name, value in headers if name == b"x-forwarded-for"]
        hops = [hop.strip() for hop in b",".join(values).decode("latin-1").split(",") if hop.strip()]
        client = peer
        for hop in reversed(hops):
            client = _without_port(hop)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: str) -> bool:
        if not self._networks:
            return False
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self._networks)


NO_PROXIES: Final = Proxies()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ConfigurationError(
            f"trusted_proxies: {text!r} is no address or network; allowed: 10.0.0.5, 10.0.0.0/8, fd00::/8"
        ) from None


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
