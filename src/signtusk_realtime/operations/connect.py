"""Let a connection in.

Owns: what must hold before a transport is upgraded, the first message, and how long the connection may stay.   Not: the transport (server),
credentials (auth), new tokens (refresh.py).
Order: authenticate → `admit` (may wait) → the transport answers its upgrade → `open`, or `forgo` if the peer has left meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, Struct

from signtusk_realtime.cluster.control import Control
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.expel import expel
from signtusk_realtime.delivery.formats import Format
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.delivery.lifetimes import Lifetimes
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.outlet import Outlet
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.operations.census import Census, ConnectionLimits
from signtusk_realtime.operations.presence.presence import Presence
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.messages import Connected, ServerFeatures, TokenExpiring
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import Session, SessionLimits

FEATURES = ServerFeatures(features=("websocket", "sse"))


class Admission(Struct, frozen=True):
    """A connection that may be opened; it holds its organization until it is opened or forgone."""

    identity: Identity
    organization: Organization
    address: str | None = None


class Connect:
    """See the module. `now_ms`: wall clock; `new_id(prefix)`: a fresh, time-ordered id; `opened`: called for each connection let in.

    `control`: knows what was revoked. `census`: counts connections where they are limited. `presence`: knows who is there.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        limits: SessionLimits,
        heartbeat_interval_ms: int,
        now_ms: Callable[[], int],
        new_id: Callable[[str], str],
        opened: Callable[[Connection], None] = lambda connection: None,
        control: Control | None = None,
        census: Census | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._presence = presence
        self._hub = hub
        self._limits = limits
        self._opened = opened
        self._control = control
        self.census = census or Census(ConnectionLimits())
        self._lifetimes = Lifetimes(now_ms=now_ms, expiring=self._expiring, expired=self._expired)
        self._heartbeat_interval_ms = heartbeat_interval_ms
        self._now_ms = now_ms
        self._new_id = new_id

    async def admit(self, identity: Identity, address: str | None = None) -> Admission:
        """Check that this identity may connect, and follow its organization. `address`: where it comes from. Raises: Forbidden, LimitExceeded, Unavailable."""
        if identity.is_service:
            raise Forbidden("a service opens no connection")
        self.census.check(identity, address)
        return Admission(identity, await self._hub.enter(identity.organization_id), address)

    def supersede(self, connection_id: str) -> None:
        """End the connection of this name, if there is one: whoever had it comes back, and counts once."""
        earlier = self._hub.connections.get(connection_id)
        if earlier is not None:
            self._hub.end(earlier, codes.CLOSE_NORMAL, "reopened")

    def forgo(self, admission: Admission) -> None:
        """Give an admission back."""
        self._hub.forgo(admission.organization)

    def open(
        self,
        admission: Admission,
        outlet: Outlet,
        form: Format,
        *,
        id_prefix: str = "conn",
        connection_id: str | None = None,
        preamble: bytes | None = None,
    ) -> Connection:
        """Let the connection in and send `connected`. In a hub that was closed meanwhile it comes back closed.

        `connection_id`: the id, where it was told to somebody before, and ends another connection of it; else a fresh one with `id_prefix`.
        `preamble`: what goes before `connected`, in the same write.
        """
        identity = admission.identity
        now_ms = self._now_ms()
        session = Session(identity, self._limits)
        if self._hub.is_closed and preamble is not None:
            outlet.write(preamble)
        connection_id = connection_id or self._new_id(id_prefix)
        self.supersede(connection_id)
        connection = self._hub.open(connection_id, session, outlet, form, admission.organization, now_ms)
        if not connection.is_open:
            return connection
        self.census.add(connection, admission.address)
        if self._control is not None and self._control.is_revoked(identity, connection_id):
            # It was revoked between its check and now; a notice that came in that moment found nothing to close.
            if preamble is not None:
                connection.write(connection.form.join([preamble]))
            expel(self._hub, connection, codes.CLOSE_REVOKED)
            return connection
        expires_at = UNSET if identity.expires_at is None else format_milliseconds(identity.expires_at)
        self._hub.send(
            connection,
            Connected(
                connection_id=connection.connection_id,
                timestamp=format_milliseconds(now_ms),
                user_id=identity.user_id,
                organization_id=identity.organization_id,
                expires_at=expires_at,
                heartbeat_interval=self._heartbeat_interval_ms,
                server=FEATURES,
            ),
            preamble,
        )
        self._lifetimes.watch(connection)
        if self._presence is not None:
            self._presence.joined(connection)
        self._opened(connection)
        return connection

    def renewed(self, connection: Connection) -> None:
        """Note that a connection has a new token, whose end counts from now on."""
        self._lifetimes.watch(connection)

    def closed(self, connection: Connection) -> None:
        """Note that a connection is closed; whoever closes connections says so."""
        self._lifetimes.forget(connection)
        self.census.remove(connection)
        if self._presence is not None:
            self._presence.left(connection)

    def _expiring(self, connection: Connection) -> None:
        expires_at = connection.session.identity.expires_at
        if expires_at is not None:
            self._hub.send(connection, TokenExpiring(expires_at=format_milliseconds(expires_at)))

    def _expired(self, connection: Connection) -> None:
        expel(self._hub, connection, codes.CLOSE_TOKEN_EXPIRED)
