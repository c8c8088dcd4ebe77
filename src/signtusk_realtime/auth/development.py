"""Development authentication: everybody is who they say they are.

Owns: identities from `user@organization` tokens and from the query.   Not: who may reach it: the server accepts loopback hosts and origins
only, and the configuration refuses other bind addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.errors import Forbidden, InvalidInput, Unauthenticated
from signtusk_realtime.events.ids import check_id, check_organization_id
from signtusk_realtime.sessions.identity import ADMINISTER, ANY_ORGANIZATION, PUBLISH, Identity, latest_issue_s

EVERY_SCOPE: Final = frozenset({PUBLISH, ADMINISTER})
SERVICE: Final = Identity(user_id="development", organization_id=ANY_ORGANIZATION, scopes=EVERY_SCOPE)


class DevelopmentAuthenticator:
    """Takes a bearer token `user@organization`, else `userId` and `organizationId` of the query.

    Who publishes or operates may come without either. There is no token that could be old: each request counts as issued now (`now_s`:
    seconds since 1970), as late as a token may say (`leeway_ms`), so that a revocation ends what is open and bars nobody for ever.
    """

    def __init__(self, *, now_s: Callable[[], float] = time.time, leeway_ms: int = 0) -> None:
        self._now_s = now_s
        self._leeway_ms = leeway_ms

    async def authenticate(self, credentials: Credentials) -> Identity:
        """See the port. A member gets every scope in its organization; who publishes or operates without credentials is a service."""
        if credentials.bearer is not None:
            return self._by_token(credentials.bearer, credentials)
        user_id, organization_id = credentials.user_id, credentials.organization_id
        if user_id is None and organization_id is None and credentials.purpose in {"publish", "operate"}:
            return SERVICE
        if user_id is None or organization_id is None:
            raise Unauthenticated("userId and organizationId are required, or a bearer token user@organization")
        return self._member(user_id, organization_id, credentials.teams)

    def _by_token(self, token: str, credentials: Credentials) -> Identity:
        user_id, at, organization_id = token.rpartition("@")
        if not at:
            raise Unauthenticated("a development token has the form user@organization")
        for claimed, actual in ((credentials.user_id, user_id), (credentials.organization_id, organization_id)):
            if claimed is not None and claimed != actual:
                raise Forbidden("the token is of another user or organization than the query names")
        if organization_id == ANY_ORGANIZATION:
            return _identity(user_id, organization_id, credentials.teams, self._issued_at)
        return self._member(user_id, organization_id, credentials.teams)

    def _member(self, user_id: str, organization_id: str, teams: tuple[str, ...]) -> Identity:
        try:
            check_organization_id(organization_id)
        except InvalidInput as error:
            raise Unauthenticated(f"not an identity: {error.message}") from None
        return _identity(user_id, organization_id, teams, self._issued_at)

    @property
    def _issued_at(self) -> int:
        return latest_issue_s(int(self._now_s() * 1000), self._leeway_ms)


def _identity(user_id: str, organization_id: str, teams: tuple[str, ...], issued_at: int) -> Identity:
    try:
        check_id(user_id)
        for team in teams:
            check_id(team)
    except InvalidInput as error:
        raise Unauthenticated(f"not an identity: {error.message}") from None
    return Identity(
        user_id=user_id, organization_id=organization_id, teams=teams, scopes=EVERY_SCOPE, issued_at=issued_at
    )
