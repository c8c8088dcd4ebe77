"""Say who somebody is who comes with a token or a ticket, unless that was revoked.

Owns: the order of the questions; fulfils the authenticator port itself, so that whoever has one has all of it.   Not: checking tokens (auth),
what is revoked (cluster/control.py).
Rule: credentials that are refused are counted here, whichever way they came; a request without any is no attempt.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from signtusk_realtime.auth.authenticator import AsksOthers, Authenticator, Credentials
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.observability.refusals import RefusedCredentials
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.identity import Identity


class Authenticate:
    """See the module. An authenticator over another one. `now_ms`: wall clock; `monotonic_s`: a clock that never goes back."""

    def __init__(
        self,
        tokens: Authenticator,
        tickets: Tickets,
        control: Control,
        *,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._refused = RefusedCredentials(monotonic_s)
        self._now_ms = now_ms
        self._tokens = tokens
        # Asked once: looking a protocol's members up costs as much as a handshake's head.
        self._asks_others = tokens if isinstance(tokens, AsksOthers) else None
        self._tickets = tickets
        self._control = control

    def check(self, identity: Identity) -> None:
        """Look again at who was let in before, where time has passed since. Raises: Unauthenticated (revoked, or expired, meanwhile)."""
        if self._control.is_revoked(identity):
            raise Unauthenticated("the token was revoked")
        if identity.expires_at is not None and identity.expires_at <= self._now_ms():
            raise Unauthenticated("the token's time is over")

    def awaited(self, credentials: Credentials) -> Awaitable[None] | None:
        """See AsksOthers. Tickets are in the log, which everything needs."""
        if credentials.ticket is None and self._asks_others is not None:
            awaited = self._asks_others.awaited(credentials)
            return None if awaited is None else self._noting(awaited)
        return None

    async def _noting(self, awaited: Awaitable[None]) -> None:
        try:
            await awaited
        except Unauthenticated:
            self._refused.note()
            raise

    async def authenticate(self, credentials: Credentials) -> Identity:
        """See the port. Raises: Unauthenticated, Forbidden, Unavailable (also: this node cannot know who was revoked elsewhere)."""
        if credentials.purpose != "operate":
            # Operators must see a node that is cut off; what they change is a commit, which it refuses.
            await self._control.freshness.wait()
        try:
            if credentials.ticket is None:
                identity = await self._tokens.authenticate(credentials)
            else:
                identity = await self._take(credentials, credentials.ticket)
            if self._control.is_revoked(identity):
                raise Unauthenticated("the token was revoked")
        except Unauthenticated:
            if credentials.bearer is not None or credentials.ticket is not None:
                self._refused.note()
            raise
        return identity

    async def _take(self, credentials: Credentials, ticket: str) -> Identity:
        if credentials.bearer is not None:
            raise Unauthenticated("a token and a ticket were given; one of them is enough")
        identity = await self._tickets.take(ticket, selection=credentials.selection, cursor=credentials.cursor)
        for claimed, actual in (
            (credentials.user_id, identity.user_id),
            (credentials.organization_id, identity.organization_id),
        ):
            if claimed is not None and claimed != actual:
                raise Forbidden("the ticket is of another user or organization than the query names")
        return identity
