"""End somebody's access, see who is connected, and send connections away.

Owns: who may, and the commit that makes it so.   Not: acting on it (cluster/control.py), on every node alike.
Rule 1: the scope `realtime:admin`, in one's own organization; only a service names one, and `*` to revoke services.
Rule 2: an answer means durable, and done on this node; other nodes that have not said so yet are counted as pending.
Rule 3: what was done leaves a line in the log: who did it to whom, and how many connections ended by it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.cluster import notices
from signtusk_realtime.cluster.asking import Asking, closed_in
from signtusk_realtime.cluster.control import MOST_KEPT, REVOCATIONS, Control, key_of
from signtusk_realtime.cluster.notices import ConnectionsAsked, Disconnected, Notice, Revoked
from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded
from signtusk_realtime.events.ids import Id, check_organization_id
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import Key, Record
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.identity import ADMINISTER, ANY_ORGANIZATION, Identity, latest_issue_s

FULL_RETRY_AFTER_S: Final = 3600

log = logging.getLogger(__name__)


class Revocation(Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is revoked: exactly one of a user (all tokens that it may have now), a token by its `jti`, a connection."""

    user_id: Id | UnsetType = UNSET
    token_id: Id | UnsetType = UNSET
    connection_id: Id | UnsetType = UNSET
    organization_id: Id | UnsetType = UNSET


class RevocationAnswer(Struct, rename="camel", frozen=True):
    """How many connections were closed, and how many nodes have not answered within a second."""

    closed: int
    pending_nodes: int


class OpenConnection(Struct, rename="camel", frozen=True):
    """One connection, as it is listed."""

    connection_id: str
    user_id: str
    transport: str
    connected_at: str
    node: str


class OpenConnections(Struct, rename="camel", frozen=True, omit_defaults=True):
    """The connections of an organization, or of one of its users; without those of nodes that have not answered within a second."""

    connections: tuple[OpenConnection, ...]
    pending_nodes: int = 0


class Closed(Struct, rename="camel", frozen=True, omit_defaults=True):
    """How many connections were closed; without those of nodes that have not answered within a second."""

    closed: int
    pending_nodes: int = 0


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[OpenConnection, ...]).decode


class Administer:
    """See the module. `node`: this node's name; `now_ms`: wall clock.

    `kept_ms`: how long a token may be good after it was revoked; None if nobody knows. `leeway_ms`: by how much the clocks of those who make
    tokens may differ.
    """

    def __init__(
        self,
        asking: Asking,
        control: Control,
        tickets: Tickets,
        *,
        node: str,
        now_ms: Callable[[], int],
        kept_ms: int | None = None,
        leeway_ms: int = 0,
    ) -> None:
        self._asking = asking
        self._control = control
        self._tickets = tickets
        self._node = node
        self._now_ms = now_ms
        self._kept_ms = kept_ms
        self._leeway_ms = leeway_ms
        asking.answer(ConnectionsAsked, self._list)

    async def revoke(self, identity: Identity, revocation: Revocation) -> RevocationAnswer:
        """Revoke. What is unknown, or another organization's, closes nothing.

        Raises: Forbidden, InvalidInput, LimitExceeded (rate_limited: so many are kept for the organization), Unavailable.
        """
        organization_id = _organization(identity, revocation.organization_id, may_be_any=True)
        if sum(v is not UNSET for v in (revocation.user_id, revocation.token_id, revocation.connection_id)) != 1:
            raise InvalidInput("exactly one of userId, tokenId and connectionId is required", path=())
        kept_until = None if self._kept_ms is None else self._now_ms() + self._kept_ms
        notice = Revoked(
            organization_id=organization_id,
            user_id=revocation.user_id,
            token_id=revocation.token_id,
            connection_id=revocation.connection_id,
            issued_up_to=self._up_to(organization_id, revocation.user_id),
            kept_until=kept_until or 0,
        )
        if isinstance(revocation.connection_id, str):
            # A connection is gone once it is closed, unless a ticket opens it anew.
            ticket = await self._tickets.reopens(organization_id, revocation.connection_id)
            ended = await self._end(notice, delete=() if ticket is None else (ticket,))
            return _noted("a connection was revoked", identity, notice, ended, connection=revocation.connection_id)
        if not self._control.has_room(notice):
            raise LimitExceeded(
                f"{MOST_KEPT} revocations are kept for this organization, as many as it may have; with auth.max_token_lifetime they end",
                retry_after_s=FULL_RETRY_AFTER_S,
            )
        record = Record(REVOCATIONS, key_of(notice), notices.encode(notice), 1, kept_until)
        ended = await self._end(notice, put=(record,))
        if isinstance(revocation.user_id, str):
            return _noted("a user's tokens were revoked", identity, notice, ended, user=revocation.user_id)
        return _noted("a token was revoked", identity, notice, ended, token_id=str(revocation.token_id))

    async def disconnect(self, identity: Identity, user_id: str, organization_id: str | UnsetType = UNSET) -> Closed:
        """Close a user's connections, on every node; the user may come back. Raises: Forbidden, InvalidInput, Unavailable."""
        own = _organization(identity, organization_id)
        notice = Disconnected(organization_id=own, user_id=user_id)
        ended = _noted("a user's connections were closed", identity, notice, await self._end(notice), user=user_id)
        return Closed(ended.closed, ended.pending_nodes)

    async def connections(
        self, identity: Identity, user_id: str | None = None, organization_id: str | UnsetType = UNSET
    ) -> OpenConnections:
        """List who is connected, on every node. Raises: Forbidden, InvalidInput, Unavailable."""
        own = _organization(identity, organization_id)
        asked = ConnectionsAsked(organization_id=own, user_id=UNSET if user_id is None else user_id)
        if not self._asking.has_others:
            return OpenConnections(self._open(asked))
        told = await self._asking.tell(asked)
        elsewhere = (connection for answer in told.answers.values() for connection in _decode(answer))
        return OpenConnections((*self._open(asked), *elsewhere), told.pending)

    async def _list(self, asked: ConnectionsAsked) -> bytes:
        return _encode(self._open(asked))

    def _open(self, asked: ConnectionsAsked) -> tuple[OpenConnection, ...]:
        """List who is connected to this node."""
        user_id = asked.user_id if isinstance(asked.user_id, str) else None
        return tuple(
            OpenConnection(
                connection_id=connection.connection_id,
                user_id=connection.session.identity.user_id,
                transport=connection.transport,
                connected_at=format_milliseconds(connection.connected_at),
                node=self._node,
            )
            for connection in self._control.connections(asked.organization_id, user_id)
        )

    def _up_to(self, organization_id: str, user_id: str | UnsetType) -> int:
        """Give the last second whose tokens end: the latest of which one is accepted now. Another node's clock may be ahead: what it revoked stays so."""
        if isinstance(user_id, UnsetType):
            return 0
        latest = latest_issue_s(self._now_ms(), self._leeway_ms)
        return max(latest, self._control.revoked_up_to(organization_id, user_id))

    async def _end(
        self, notice: Notice, *, put: tuple[Record, ...] = (), delete: tuple[Key, ...] = ()
    ) -> RevocationAnswer:
        """Have every node act on a notice that closes connections."""
        told = await self._asking.tell(notice, put=put, delete=delete)
        return RevocationAnswer(closed_in(told), told.pending)


def _noted(
    what: str, identity: Identity, notice: Revoked | Disconnected, ended: RevocationAnswer, **whom: str
) -> RevocationAnswer:
    """Leave a line of what an administrator did."""
    fields = {
        "by": identity.user_id,
        "by_organization": identity.organization_id,
        "organization": notice.organization_id,
        **whom,
        "closed": ended.closed,
        "pending_nodes": ended.pending_nodes,
    }
    log.info(what, extra=fields)
    return ended


def _organization(identity: Identity, named: str | UnsetType, *, may_be_any: bool = False) -> str:
    """Give whose things are meant. `may_be_any`: whether a service may mean those of services. Raises: Forbidden, InvalidInput."""
    if ADMINISTER not in identity.scopes:
        raise Forbidden(f"this needs the scope {ADMINISTER}")
    if identity.is_service:
        if named is UNSET:
            raise InvalidInput("a service names the organization", path=("organizationId",))
        # In development nobody has a token that could be revoked.
        if may_be_any and named == ANY_ORGANIZATION and identity.expires_at is not None:
            return named
        return check_organization_id(named)
    if named is not UNSET and named != identity.organization_id:
        raise Forbidden("the credentials are of another organization", path=("organizationId",))
    return identity.organization_id
