"""`GET /api/realtime/presence`.

Owns: the form of the call.   Not: who is there (operations/presence).
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.events.ids import check_id
from signtusk_realtime.operations.presence.presence import Presence
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, parse_query

PARAMETERS: Final = IDENTITY_PARAMETERS | {"documentId"}


class ReadPresence:
    """See the module."""

    def __init__(self, presence: Presence, authenticator: Authenticator) -> None:
        self._presence = presence
        self._authenticator = authenticator

    async def get(self, request: Request) -> Response:
        """Say who is there."""
        query = parse_query(request.scope["query_string"], PARAMETERS)
        identity = await self._authenticator.authenticate(credentials_of("read", request.scope["headers"], query))
        document_id = query.get("documentId")
        if document_id is not None:
            check_id(document_id, path=("documentId",), code="invalid_parameter")
        return Response(await self._presence.get(identity, document_id), media_type="application/json")
