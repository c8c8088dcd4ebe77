"""Give an open connection a new token.

Owns: whose token it must be, and what becomes of subscriptions that it does not cover.   Not: checking it (auth), when tokens end
(delivery/lifetimes.py).
Rule 1: the same user and organization; anything else changes nothing.
Rule 2: who asks for connections of other nodes makes all nodes work, so each user may do that at a rate.
Rule 3: what the new token does not allow ends before anything else is delivered, live or replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.auth.authenticator import Authenticator, Credentials
from signtusk_realtime.cluster.asking import Asking
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.notices import Renewed as RenewedNotice
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded, Unauthenticated, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.protocol.messages import Unsubscribed
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.rates import RateOfEach

ELSEWHERE_PER_SECOND: Final = 50
ELSEWHERE_BURST: Final = 500
"""Of one user, on one node."""


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the HTTP call."""

    token: str


class Renewed(Struct, rename="camel", frozen=True, omit_defaults=True):
    """Until when the connection may stay; nothing where tokens do not expire."""

    expires_at: str | UnsetType = UNSET


class _Answer(Struct, frozen=True, omit_defaults=True):
    """What another node says who was asked to let a connection go on: None from one that has no such connection of that user."""

    renewed: Renewed | None = None
    refused: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode


class Refresher:
    """See the module. `authenticator`: refuses what was revoked too. `asking`: reaches connections of other nodes.
    `monotonic_s`: a clock that never goes back.
    """

    def __init__(
        self,
        hub: Hub,
        connect: Connect,
        authenticator: Authenticator,
        *,
        control: Control,
        monotonic_s: Callable[[], float],
        authorize: Authorize = UNASKED,
        asking: Asking | None = None,
    ) -> None:
        self._asking = asking
        if asking is not None:
            asking.answer(RenewedNotice, self._renew_for_another)
        self._hub = hub
        self._connect = connect
        self._authenticator = authenticator
        self._control = control
        self._authorize = authorize
        self._elsewhere_rate = RateOfEach(monotonic_s, ELSEWHERE_PER_SECOND, ELSEWHERE_BURST)

    async def __call__(self, connection: Connection, token: str) -> str | UnsetType:
        """Let a connection go on with a new token; give when that one expires.

        Raises: Unauthenticated (invalid_token), Forbidden (identity_mismatch), Unavailable. Then the old token stays.
        """
        try:
            identity = await self._authenticator.authenticate(Credentials(purpose="connect", bearer=token))
        except (Unauthenticated, Forbidden) as error:
            raise Unauthenticated(error.message, code="invalid_token") from None
        return await self._renew(connection, identity)

    async def _renew(self, connection: Connection, identity: Identity) -> str | UnsetType:
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
        """Do the same for a connection of any node that is named, for those who have none to send a message over.

        Raises: Unauthenticated, InvalidInput (not_found: no such connection of this token's user), LimitExceeded (rate_limited), Unavailable.
        """
        try:
            # The token is looked at whether there is such a connection or not: who has none learns nothing of which there are.
            identity = await self._authenticator.authenticate(Credentials(purpose="connect", bearer=token))
            connection = self._hub.connections.get(connection_id)
            if connection is not None:
                return Renewed(expires_at=await self._renew(connection, identity))
        except Unauthenticated as error:
            raise Unauthenticated(error.message) from None
        except Forbidden:
            raise _unknown() from None
        return await self._elsewhere(connection_id, identity)

    async def _elsewhere(self, connection_id: str, identity: Identity) -> Renewed:
        if self._asking is None or not self._asking.has_others:
            raise _unknown()
        if not self._elsewhere_rate.take(identity):
            raise LimitExceeded(
                f"{ELSEWHERE_PER_SECOND} connections a second are asked of other nodes for one user", retry_after_s=1
            )
        notice = RenewedNotice(connection_id=connection_id, identity=identity)
        told = await self._asking.tell(notice, is_enough=lambda answer: _decode(answer) != _Answer())
        for answer in map(_decode, told.answers.values()):
            if answer.renewed is not None:
                return answer.renewed
            if answer.refused is not None:
                raise Unauthenticated(answer.refused)
        if told.pending:
            raise Unavailable(f"{told.pending} nodes have not said whether they have this connection; repeat the call")
        raise _unknown()

    async def _renew_for_another(self, notice: RenewedNotice) -> bytes:
        connection = self._hub.connections.get(notice.connection_id)
        if connection is None:
            return _encode(_Answer())
        try:
            return _encode(_Answer(renewed=Renewed(expires_at=await self._renew(connection, notice.identity))))
        except Forbidden:
            return _encode(_Answer())
        except Unauthenticated as error:
            return _encode(_Answer(refused=error.message))


def _unknown() -> InvalidInput:
    return InvalidInput("the token's user has no connection of this id", code="not_found")


def _is_same(identity: Identity, before: Identity) -> bool:
    return (identity.user_id, identity.organization_id) == (before.user_id, before.organization_id)
