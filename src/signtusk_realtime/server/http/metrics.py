"""`GET /api/realtime/metrics` and `GET /metrics`.

Owns: who may read the metrics, and both forms of them.   Not: the numbers (observability).
Rule: figures of the whole node concern every organization, so they need the scope of an administrator, or are on a listener of their own,
which only operators can reach. In development everybody has the scope.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.observability.metrics import Metrics, MetricsReport
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.operations.documents.statistics import ConflictStatistics
from signtusk_realtime.protocol import json
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, parse_query
from signtusk_realtime.sessions.identity import ADMINISTER

if TYPE_CHECKING:
    from signtusk_realtime.observability.openmetrics import OpenMetrics

OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class FiguresReport(MetricsReport, rename="camel", frozen=True, kw_only=True):
    """The figures of one node, and what is undecided in the documents of all of them.

    `requestsRefused`: requests, handshakes and event streams that were refused since the process began, by code.
    """

    requests_refused: dict[str, int]
    conflict_statistics: Statistics


class ReadMetrics:
    """See the module. `authenticator`: None where whoever asks may know."""

    def __init__(
        self, metrics: Metrics, authenticator: Authenticator | None, version: str, conflicts: ConflictStatistics
    ) -> None:
        self._conflicts = conflicts
        self._metrics = metrics
        self._authenticator = authenticator
        self._version = version

    async def report(self, request: Request) -> Response:
        """Give the figures as JSON."""
        await self._check(request)
        figures = msgspec.structs.asdict(self._metrics.report())
        report = FiguresReport(
            **figures, requests_refused=dict(REQUESTS_REFUSED), conflict_statistics=self._conflicts.total
        )
        return Response(json.encode(report), media_type="application/json")

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
        if self._authenticator is None:
            return
        identity = await self._authenticator.authenticate(credentials_of("operate", request.scope["headers"], query))
        if ADMINISTER not in identity.scopes:
            raise Forbidden(f"metrics need the scope {ADMINISTER}")
