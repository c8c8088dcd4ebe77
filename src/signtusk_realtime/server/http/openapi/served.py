"""A description as it is served: with the address under which its reader found the service.

Owns: the servers that a description names, and its answer.   Not: descriptions (document.py, asyncapi/).
Rule: below a mount paths are those of spec/protocol.md (server/asgi.py), so that the way there has to be told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.protocol import json
from signtusk_realtime.server.http.openapi.parts import Object

MOUNTED_AT: Final = "signtusk_realtime.mounted_at"
"""In a scope: the path under which the service is mounted; absent where it is not."""


class Served:
    """An HTTP call that gives a description. `make`: makes it once; `at`: gives it its servers, for a path without a slash at its end."""

    def __init__(self, make: Callable[[], Object], at: Callable[[Object, str], Object]) -> None:
        self._make = make
        self._at = at

    async def get(self, request: Request) -> Response:
        """Give the description."""
        root = quote(str(request.scope.get(MOUNTED_AT, "")).rstrip("/"))
        return Response(json.encode(self._at(self._document, root)), media_type="application/json")

    @cached_property
    def _document(self) -> Object:
        return self._make()
