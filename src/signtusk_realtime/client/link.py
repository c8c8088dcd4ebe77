"""The port of one connection to a service, however it is made.

Owns: what a feed needs of a transport.   Not: reconnecting, cursors (feed.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeAlias

from signtusk_realtime.client.address import Address
from signtusk_realtime.client.messages import Received
from signtusk_realtime.events.subscriptions import Subscription


class Credentials(NamedTuple):
    """Who one is: a token, or in development a user and an organization."""

    token: str | None = None
    user_id: str | None = None
    organization_id: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    @property
    def query(self) -> dict[str, str]:
        named = {"userId": self.user_id, "organizationId": self.organization_id}
        return {name: value for name, value in named.items() if value is not None}


class Link(Protocol):
    """One connection that has asked for its subscriptions; the answer comes by `receive`. Closing is the owner's duty, whatever failed."""

    async def receive(self) -> Received:
        """Wait for the next message. Raises: Lost, Refused."""

    def silence_s(self, heartbeat_s: float) -> float:
        """Say how long this connection may say nothing."""

    async def probe(self) -> bool:
        """Ask the peer for a sign of life; False if there is no way to ask. Raises: Lost."""

    async def close(self) -> None:
        """End it. Never raises; may be called again."""


class Wanted(NamedTuple):
    """What a link is to be opened for."""

    address: Address
    credentials: Credentials
    subscriptions: tuple[Subscription, ...]
    cursor: str | None


Opener: TypeAlias = Callable[[Wanted], Awaitable[Link]]
"""Opens a link. Raises: Lost, Refused."""
