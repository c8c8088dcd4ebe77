"""Give an open connection a new token.

Owns: whose token it must be, and what becomes of subscriptions that it does not cover.   Not: checking it (auth), when tokens end
(delivery/lifetimes.py).
Rule 1: the same user and organization; anything else changes nothing.
Rule 2: what the new token does not allow ends before anything else is delivered, live or replayed.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.auth.authenticator import Authenticator, Credentials
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Forbidden, InvalidInput, Unauthenticated
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.protocol.messages import Unsubscribed
from signtusk_realtime.sessions.identity import Identity


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the HTTP call."""

    token: str


class Renewed(Struct, rename="camel", frozen=True, omit_defaults=True):
    """Until when the connection may stay; nothing where tokens do not expire."""

    expires_at: str | UnsetType = UNSET


class Refresher:
    """See the module. `authenticator`: refuses what was revoked too."""

    def __init__(
        self,
        hub: Hub,
        connect: Connect,
        authenticator: Authenticator,
        *,
        control: Control,
        authorize: Authorize = UNASKED,
    ) -> None:
        self._hub = hub
        self._connect = connect
        self._authenticator = authenticator
        self._control = control
        self._authorize = authorize

    async def __call__(self, connection: Connection, token: str) -> str | UnsetType:
        """Let a connection go on with a new token; give when that one expires.

        Raises: Unauthenticated (invalid_token), Forbidden (identity_mismatch), Unavailable. Then the old token stays.
        """
        try:
            identity = await self._authenticator.authenticate(Credentials(purpose="connect", bearer=token))
        except (Unauthenticated, Forbidden) as error:
            raise Unauthenticated(error.message, code="invalid_token") from None
        if not _is_same(identity, connection.session.identity):
            raise Forbidden(
                "the token is of another user or organization than the connection's", code="identity_mismatch"
            )
        wanted = tuple(dict.fromkeys(subscription for _, subscription in connection.session.subscriptions))
        allowed = frozenset(await self._authorize.allowed(identity, wanted))
        if self._control.is_revoked(identity):
            # Since it was checked: while the application was asked.
            raise Unauthenticated("the token was revoked", code="invalid_token")
        if connection.is_open:
            # What was subscribed while the application was asked was allowed to the old token; the application has said so just now.
            newer = frozenset(subscription for _, subscription in connection.session.subscriptions).difference(wanted)
            ended = connection.session.renew(identity, allowed | newer)
            self._hub.counters.subscriptions[connection.transport] -= len(ended)
            if connection.has_begun:
                self._hub.select(connection)
            for subscription_id in ended:
                self._hub.send(connection, Unsubscribed(subscription_id=subscription_id, reason="forbidden"))
            self._connect.renewed(connection)
        return UNSET if identity.expires_at is None else format_milliseconds(identity.expires_at)

    async def by_id(self, connection_id: str, token: str) -> Renewed:
        """Do the same for a connection that is named, for those who have none to send a message over.

        Raises: Unauthenticated, InvalidInput (not_found: no such connection of this token's user), Unavailable.
        """
        connection = self._hub.connections.get(connection_id)
        try:
            if connection is None:
                # The token is looked at all the same: who has none learns nothing of which connections there are.
                await self._authenticator.authenticate(Credentials(purpose="connect", bearer=token))
                raise Forbidden("", code="identity_mismatch")
            return Renewed(expires_at=await self(connection, token))
        except Unauthenticated as error:
            raise Unauthenticated(error.message) from None
        except Forbidden:
            raise InvalidInput("the token's user has no connection of this id", code="not_found") from None


def _is_same(identity: Identity, before: Identity) -> bool:
    return (identity.user_id, identity.organization_id) == (before.user_id, before.organization_id)
