"""Send a client to a node.

Owns: what it is told.   Not: which nodes there are and who is chosen (cluster/registry.py, cluster/balance.py).
Rule: the ticket it gets opens one connection on any node; the one that is named is only the best place to open it.
"""

from __future__ import annotations

from msgspec import Struct

from signtusk_realtime.cluster.registry import Registry, name_of_user
from signtusk_realtime.errors import LimitExceeded, Unavailable
from signtusk_realtime.operations.connect import FEATURES
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.identity import Identity

RETRY_AFTER_S = 2


class Negotiated(Struct, rename="camel", frozen=True):
    """Where to connect: `url` is where the service is found, `/ws` and `/api/realtime/events` lie below it."""

    url: str
    transports: tuple[str, ...]
    ticket: str
    node: str


class Negotiate:
    """See the module."""

    def __init__(self, registry: Registry, tickets: Tickets) -> None:
        self._registry = registry
        self._tickets = tickets

    async def __call__(self, identity: Identity, here: str | None = None) -> Negotiated:
        """Choose a node for this identity. `here`: how whoever asks has reached this one.

        Raises: Forbidden (a service), LimitExceeded (overloaded: no node has room), Unavailable.
        """
        # Refused before a place is handed out; a ticket that nobody uses is gone in a moment.
        ticket = (await self._tickets.issue(identity)).ticket
        chosen = self._registry.choose(name_of_user(identity.organization_id, identity.user_id))
        if chosen is None:
            raise LimitExceeded(
                "no node has room for another connection", code="overloaded", retry_after_s=RETRY_AFTER_S
            )
        url = chosen.url
        if chosen.node_id == self._registry.node_id and not self._registry.has_public_url:
            # Whoever asks has come here somehow, which is more than this node knows by itself.
            url = here or url
        if url is None:
            raise Unavailable("nobody told this node how clients reach it; set public_url")
        return Negotiated(url, FEATURES.features, ticket, chosen.node_id)
