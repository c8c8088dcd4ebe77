"""Where to connect, tickets, revocations, and who is connected.

Owns: the form of the calls.   Not: what they do (operations/negotiate.py, operations/tickets.py, operations/administer.py).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from msgspec import UNSET, UnsetType
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.events.ids import check_id
from signtusk_realtime.operations.administer import Revocation
from signtusk_realtime.operations.refresh import Renewal
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.bodies import answer, read_body
from signtusk_realtime.server.http.openapi.served import MOUNTED_AT
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, invalid_parameter, parse_query
from signtusk_realtime.sessions.identity import Identity

CONNECTIONS_PARAMETERS: Final = IDENTITY_PARAMETERS | {"user"}
_revocation: Final = Decoder(Revocation)
_renewal: Final = Decoder(Renewal)


class Access:
    """See the module."""

    def __init__(self, verbs: Verbs, limits: ServerLimits) -> None:
        self._verbs = verbs
        self._limits = limits

    async def ticket(self, request: Request) -> Response:
        """Make a one-time ticket for who asks."""
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS)
        credentials = credentials_of("connect", request.scope["headers"], query)
        identity = await self._verbs.authenticate.authenticate(credentials)
        return answer(await self._verbs.tickets.issue(identity))

    async def negotiate(self, request: Request) -> Response:
        """Say where to connect, with a ticket that does."""
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS)
        credentials = credentials_of("connect", request.scope["headers"], query)
        identity = await self._verbs.authenticate.authenticate(credentials)
        mounted_at = str(request.scope.get(MOUNTED_AT, "")).rstrip("/")
        here = f"{request.url.scheme}://{request.url.netloc}{quote(mounted_at)}"
        return answer(await self._verbs.negotiate(identity, here))

    async def revoke(self, request: Request) -> Response:
        """Revoke a user's tokens, a token, or a connection."""
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS)
        credentials = credentials_of("operate", request.scope["headers"], query)
        identity = await self._verbs.authenticate.authenticate(credentials)
        revocation = await read_body(request, _revocation, depth=self._limits.json_depth)
        self._verbs.authenticate.check(identity)
        return answer(await self._verbs.administer.revoke(identity, revocation))

    async def refresh(self, request: Request) -> Response:
        """Let a connection go on with a new token, which is all that is asked for: it says whose connection it must be."""
        parse_query(request.scope["query_string"], frozenset())
        renewal = await read_body(request, _renewal, depth=self._limits.json_depth)
        return answer(await self._verbs.refresh.by_id(request.path_params["connectionId"], renewal.token))

    async def list_connections(self, request: Request) -> Response:
        """List who is connected."""
        identity, query = await self._operator(request)
        organization_id = _organization(identity, query)
        return answer(await self._verbs.administer.connections(identity, _user(query), organization_id))

    async def close_connections(self, request: Request) -> Response:
        """Close a user's connections."""
        identity, query = await self._operator(request)
        user_id = _user(query)
        if user_id is None:
            raise invalid_parameter("user", "whose connections are to be closed must be said")
        return answer(await self._verbs.administer.disconnect(identity, user_id, _organization(identity, query)))

    async def _operator(self, request: Request) -> tuple[Identity, dict[str, str]]:
        query = parse_query(request.scope["query_string"], CONNECTIONS_PARAMETERS)
        # With a user it is a claim about who asks; alone it says which organization a service means.
        claimed = query if "userId" in query else {k: v for k, v in query.items() if k != "organizationId"}
        credentials = credentials_of("operate", request.scope["headers"], claimed)
        return await self._verbs.authenticate.authenticate(credentials), query


def _user(query: dict[str, str]) -> str | None:
    user_id = query.get("user")
    return None if user_id is None else check_id(user_id, path=("user",), code="invalid_parameter")


def _organization(identity: Identity, query: dict[str, str]) -> str | UnsetType:
    named = query.get("organizationId")
    if named is None:
        return UNSET
    return check_id(named, path=("organizationId",), code="invalid_parameter") if identity.is_service else named
