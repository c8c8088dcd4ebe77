"""The HTTP API as an ASGI application.

Owns: routes, and the guard around all of them.   Not: what the calls do (operations), bounds of heads and bodies (front.py).
Rule 1: every refusal is a problem, and every request but a probe passes the origin policy first.
Rule 2: an error that is not ours is logged here, once, and told as `internal`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.protocol.handshake import Refusal, negotiate
from signtusk_realtime.server.carriers import HEADER_ONLY, Carriers
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.access import Access
from signtusk_realtime.server.http.asyncapi import asyncapi, asyncapi_at
from signtusk_realtime.server.http.documents import DocumentCalls
from signtusk_realtime.server.http.events import PublishEvents
from signtusk_realtime.server.http.health import Health
from signtusk_realtime.server.http.history import ReadHistory
from signtusk_realtime.server.http.metrics import ReadMetrics
from signtusk_realtime.server.http.openapi import document, document_at
from signtusk_realtime.server.http.openapi.served import Served
from signtusk_realtime.server.http.presence import ReadPresence
from signtusk_realtime.server.origins import PREFLIGHT, VARY, OriginPolicy, is_preflight
from signtusk_realtime.server.problems import (
    ALWAYS,
    MEDIA_TYPE,
    HeaderPairs,
    Problem,
    encode_body,
    internal_problem,
    problem,
    problem_of,
    problem_of_refusal,
)

log = logging.getLogger(__name__)

EVENTS: Final = "/api/realtime/events"
HISTORY: Final = "/api/realtime/history"
PRESENCE: Final = "/api/realtime/presence"
DOCUMENT: Final = "/api/realtime/documents/{document_id:path}"
"""An id may have slashes in it, written %2F; the longer paths are looked at first."""
RESOLVE: Final = "/api/realtime/conflicts/{document_id:path}/resolve"
TICKETS: Final = "/api/realtime/tickets"
NEGOTIATE: Final = "/api/realtime/negotiate"
REVOCATIONS: Final = "/api/realtime/revocations"
CONNECTIONS: Final = "/api/realtime/connections"
REFRESH: Final = "/api/realtime/connections/{connectionId}/refresh"
HEALTH: Final = "/api/realtime/health"
METRICS: Final = "/api/realtime/metrics"
OPENMETRICS: Final = "/metrics"
OPENAPI: Final = "/openapi.json"
ASYNCAPI: Final = "/asyncapi.json"
LIVE: Final = "/livez"
READY: Final = "/readyz"
PROBES: Final = frozenset({LIVE, READY})
"""Asked by orchestrators, by address and from anywhere; they tell nothing but whether we are well."""
_EVERYWHERE: Final = PROBES | {HEALTH}
_OPERATORS: Final = frozenset({METRICS, OPENMETRICS, REVOCATIONS, CONNECTIONS})


_EACH: Final = [(name.lower(), value) for name, value in ALWAYS]


class Part(Enum):
    """What one listener serves: everything, or what operators ask apart from what everybody does. Health is told on both."""

    WHOLE = "whole"
    PUBLIC = "public"
    ADMINISTRATION = "administration"

    def serves(self, path: str) -> bool:
        """Say whether a call belongs here."""
        return self is Part.WHOLE or path in _EVERYWHERE or (path in _OPERATORS) is (self is Part.ADMINISTRATION)


class HttpApi:
    """See the module. `websocket_path` and `EVENTS` are served by native protocols for GET; here their other methods are refused.

    `always`: headers of every answer. `part`: what is served; as administration it tells the metrics to whoever can reach it.
    """

    def __init__(
        self,
        *,
        verbs: Verbs,
        policy: OriginPolicy,
        limits: ServerLimits,
        health: Callable[[], EngineHealth],
        metrics: Metrics,
        is_stopping: Callable[[], bool],
        version: str,
        websocket_path: str,
        always: HeaderPairs = (),
        part: Part = Part.WHOLE,
        carriers: Carriers = HEADER_ONLY,
    ) -> None:
        probes = Health(health, is_stopping, version, is_cut_off=lambda: verbs.nodes.is_cut_off)
        authenticator = verbs.authenticate
        events = PublishEvents(verbs.publish, authenticator, limits, verbs.documents.workshop)
        readers = None if part is Part.ADMINISTRATION else authenticator
        figures = ReadMetrics(metrics, readers, version, verbs.documents.statistics)
        access = Access(verbs, limits)
        documents = DocumentCalls(verbs, limits)
        self._allowed = {EVENTS: "GET, POST", CONNECTIONS: "GET, DELETE", websocket_path: "GET"}
        self._app = Starlette(
            routes=[
                Route(LIVE, probes.live, methods=["GET"]),
                Route(READY, probes.ready, methods=["GET"]),
                Route(HEALTH, probes.health, methods=["GET"]),
                Route(EVENTS, events.post, methods=["POST"]),
                Route(HISTORY, ReadHistory(verbs.history, authenticator, limits).get, methods=["GET"]),
                Route(PRESENCE, ReadPresence(verbs.presence, authenticator).get, methods=["GET"]),
                Route(DOCUMENT + "/edits", documents.edit, methods=["POST"]),
                Route(DOCUMENT + "/transitions", documents.move, methods=["POST"]),
                Route(DOCUMENT + "/history", documents.history, methods=["GET"]),
                Route(DOCUMENT + "/conflicts", documents.conflicts, methods=["GET"]),
                Route(DOCUMENT, documents.read, methods=["GET"]),
                Route(RESOLVE, documents.resolve, methods=["POST"]),
                Route(TICKETS, access.ticket, methods=["POST"]),
                Route(NEGOTIATE, access.negotiate, methods=["POST"]),
                Route(REVOCATIONS, access.revoke, methods=["POST"]),
                Route(CONNECTIONS, access.list_connections, methods=["GET"]),
                Route(CONNECTIONS, access.close_connections, methods=["DELETE"]),
                Route(REFRESH, access.refresh, methods=["POST"]),
                Route(METRICS, figures.report, methods=["GET"]),
                Route(OPENMETRICS, figures.text, methods=["GET"]),
                Route(OPENAPI, Served(lambda: document(version, limits), document_at).get, methods=["GET"]),
                Route(ASYNCAPI, Served(lambda: asyncapi(version, websocket_path), asyncapi_at).get, methods=["GET"]),
                Route(websocket_path, _upgrade_required, methods=["GET"]),
            ],
            middleware=[Middleware(_Guard, policy, carriers)],
            exception_handlers={HTTPException: self._routing_failed, RealtimeError: _refused},
        )
        # A path with another slash is another path: Starlette would answer 307, and no problem.
        self._app.router.redirect_slashes = False
        served = [route for route in self._app.routes if isinstance(route, Route) and part.serves(route.path)]
        self._app.router.routes[:] = served
        self._always = _lower(always)
        self._publishing: ASGIApp | None = None
        if part.serves(EVENTS):
            self._publishing = _Guard(_Direct(events.post), policy, carriers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        app: ASGIApp = self._app
        if (
            self._publishing is not None
            and scope["type"] == "http"
            and scope["path"] == EVENTS
            and scope["method"] == "POST"
        ):
            # Past the router and all that stands around it: what is called most needs none of it.
            app = self._publishing
        await app(scope, receive, _always_with(self._always, send) if self._always else send)

    async def _routing_failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = self._allowed.get(request.url.path) or (error.headers or {}).get("Allow", "")
            return _response(
                problem(
                    "method_not_allowed",
                    f"{request.method} is not served here; allowed: {allowed}",
                    headers=((b"Allow", allowed.encode("ascii")),),
                )
            )
        if error.status_code == 404:
            return _response(problem("not_found", "nothing is served under this path"))
        return _response(problem("invalid_request", error.detail))


class _Guard:
    """Stands around all routes: the origin policy before, headers and the last resort after."""

    def __init__(self, app: ASGIApp, policy: OriginPolicy, carriers: Carriers) -> None:
        self._app = app
        self._policy = policy
        self._carriers = carriers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._app
        extra: HeaderPairs = ()
        if scope["path"] not in PROBES:
            try:
                extra = (VARY,)
                extra = self._policy.allow(scope["headers"])
                if is_preflight(scope["method"], scope["headers"]):
                    answer, extra = Response(status_code=204), extra + PREFLIGHT
                else:
                    headers, _ = self._carriers.settle(scope["headers"], scope["query_string"], opens=False)
                    scope = {**scope, "headers": headers}
            except RealtimeError as error:
                answer = _response(problem_of(error))
        await _answer(answer, extra, scope, receive, send)


class _Direct:
    """One call without a router, answered as through one."""

    def __init__(self, call: Callable[[Request], Awaitable[Response]]) -> None:
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._call(Request(scope, receive))
        except RealtimeError as error:
            response = await _refused(None, error)
        await response(scope, receive, send)


async def _answer(app: ASGIApp, extra: HeaderPairs, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer, with the headers that every answer has beside its own."""
    has_started = False

    async def send_with_headers(message: Message) -> None:
        nonlocal has_started
        if message["type"] == "http.response.start":
            has_started = True
            message["headers"] = [*message.get("headers", ()), *_lower(extra), *_EACH]
        await send(message)

    try:
        await app(scope, receive, send_with_headers)
    except ClientDisconnect:
        pass  # nobody is left to answer
    except Exception:
        log.exception("request failed", extra={"method": scope["method"], "path": scope["path"]})
        if not has_started:
            await _response(internal_problem())(scope, receive, send_with_headers)


def _always_with(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers


async def _refused(_: Request | None, error: Exception) -> Response:
    assert isinstance(error, RealtimeError)
    return _response(problem_of(error))


async def _upgrade_required(request: Request) -> Response:
    """Answer where no native protocol stands before this application."""
    refusal = negotiate(request.method.encode("ascii"), "1.1", [])
    assert isinstance(refusal, Refusal)
    return _response(problem_of_refusal(refusal))


def _response(found: Problem) -> Response:
    response = Response(encode_body(found), status_code=found.status, media_type=MEDIA_TYPE)
    return _with_headers(response, found.headers)


def _with_headers(response: Response, headers: HeaderPairs) -> Response:
    response.raw_headers += _lower(headers)
    return response


def _lower(headers: HeaderPairs) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers]
