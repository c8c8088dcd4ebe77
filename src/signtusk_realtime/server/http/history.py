"""`GET /api/realtime/history`.

Owns: the form of the call.   Not: reading (operations/history.py), the form of a selection (selection.py).
"""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.operations.history import History
from signtusk_realtime.protocol import json
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, invalid_parameter, parse_query
from signtusk_realtime.server.selection import SELECTION_PARAMETERS, parse_selection

PARAMETERS: Final = SELECTION_PARAMETERS | IDENTITY_PARAMETERS | {"after", "limit"}
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_CURSOR_LENGTH: Final = 1024
_NUMBER: Final = re.compile(r"[0-9]{1,4}", re.ASCII)


class ReadHistory:
    """See the module."""

    def __init__(self, history: History, authenticator: Authenticator, limits: ServerLimits) -> None:
        self._history = history
        self._authenticator = authenticator
        self._limits = limits

    async def get(self, request: Request) -> Response:
        """Read a page, oldest first."""
        query = parse_query(request.scope["query_string"], PARAMETERS)
        identity = await self._authenticator.authenticate(credentials_of("read", request.scope["headers"], query))
        limits = self._limits
        asked = parse_selection(query, depth=limits.json_depth, max_subscriptions=limits.subscriptions)
        after, limit = _after(query), _limit(query)
        subscriptions = None if asked.is_everything else asked.of(identity, presence=True)
        page = await self._history(identity, subscriptions, after=after, limit=limit)
        return Response(json.encode(page), media_type="application/json")


def _after(query: dict[str, str]) -> str | None:
    after = query.get("after")
    if after is not None and not 1 <= len(after) <= MAX_CURSOR_LENGTH:
        raise invalid_parameter("after", f"a cursor has 1 to {MAX_CURSOR_LENGTH} characters")
    return after


def _limit(query: dict[str, str]) -> int:
    text = query.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    limit = int(text) if _NUMBER.fullmatch(text) else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise invalid_parameter("limit", f"limit must be a number from 1 to {MAX_LIMIT}")
    return limit
