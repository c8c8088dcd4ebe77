"""`GET /api/realtime/metrics` and `GET /metrics`.

Owns: who may read the metrics, and both forms of them.   Not: the numbers (observability).
Rule: figures of the whole node concern every organization, so they need the scope of an administrator. In development everybody has it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.protocol import json
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, parse_query
from signtusk_realtime.sessions.identity import ADMINISTER

if TYPE_CHECKING:
    from signtusk_realtime.observability.openmetrics import OpenMetrics

OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class ReadMetrics:
    """See the module."""

    def __init__(self, metrics: Metrics, authenticator: Authenticator, version: str) -> None:
        self._metrics = metrics
        self._authenticator = authenticator
        self._version = version

    async def report(self, request: Request) -> Response:
        """Give the figures as JSON."""
        await self._check(request)
        return Response(json.encode(self._metrics.report()), media_type="application/json")

    async def text(self, request: Request) -> Response:
        """Give all counters as OpenMetrics text."""
        await self._check(request)
        return Response(self._openmetrics.text(), headers={"Content-Type": OPENMETRICS_TYPE})

    @cached_property
    def _openmetrics(self) -> OpenMetrics:
        # Why when first asked: its library is a good part of the time that a restart takes, and the first to connect need it least.
        from signtusk_realtime.observability.openmetrics import OpenMetrics  # noqa: PLC0415

        return OpenMetrics(self._metrics, self._version)

    async def _check(self, request: Request) -> None:
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS)
        identity = await self._authenticator.authenticate(credentials_of("operate", request.scope["headers"], query))
        if ADMINISTER not in identity.scopes:
            raise Forbidden(f"metrics need the scope {ADMINISTER}")
