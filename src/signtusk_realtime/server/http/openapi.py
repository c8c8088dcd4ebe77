"""The HTTP API as an OpenAPI 3.1 document, and `GET /openapi.json`.

Owns: which calls there are, with their parameters and answers, in words for readers.   Not: the form of what is sent and answered: that is
generated from the wire types, and codes with their statuses from protocol/codes.py.
Rule 1: nothing is written here that a type or the table of codes says already.
Rule 2: every answer that this server gives is in it; tests/e2e/test_openapi.py asks a real server whether that is so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias

from msgspec.json import schema_components
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.events.event import Event
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.kinds import Published as PublishedEvent
from signtusk_realtime.events.subscriptions import EventType, Subscription, SubscriptionType
from signtusk_realtime.observability.metrics import MetricsReport
from signtusk_realtime.observability.openmetrics import CONTENT_TYPE as OPENMETRICS_TYPE
from signtusk_realtime.operations.history import HistoryPage
from signtusk_realtime.protocol import codes, json
from signtusk_realtime.protocol.codes import Code, Kind
from signtusk_realtime.protocol.messages import CursorText
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.http.events import Published as PublishAnswer
from signtusk_realtime.server.http.health import HealthReport, Probe
from signtusk_realtime.server.http.history import DEFAULT_LIMIT, MAX_LIMIT
from signtusk_realtime.server.problems import MEDIA_TYPE, TYPE_PREFIX, ProblemBody

Object: TypeAlias = dict[str, Any]
"""A part of the document: JSON as it is written."""

VERSION: Final = "3.1.0"
_REFERENCE: Final = "#/components/schemas/{name}"
_ANY_REQUEST: Final = ("invalid_request", "request_timeout", "head_too_large", "internal")
"""What any request may be answered that is not well-formed, not there in time, or meets a defect of ours."""
_ANY_PAGE: Final = (*_ANY_REQUEST, "invalid_parameter", "host_not_allowed", "origin_not_allowed")
_WITH_IDENTITY: Final = (*_ANY_PAGE, "unauthenticated", "forbidden")

_DESCRIPTION: Final = """\
Publish what happens to documents, read it again, and follow it live. What happens in an organization is one ordered log; a cursor is how far \
a client has got in it, and is the same over WebSocket, event stream and HTTP.

Refusals are `application/problem+json` (RFC 9457) with a `code`. In development mode a request says who it acts for by a bearer token \
`user@organization` or by the parameters `userId` and `organizationId`."""


class OpenApi:
    """See the module. `version`: the service's."""

    def __init__(self, version: str, limits: ServerLimits) -> None:
        self._version = version
        self._limits = limits

    async def get(self, request: Request) -> Response:
        """Give the document."""
        return Response(self._encoded, media_type="application/json")

    @cached_property
    def _encoded(self) -> bytes:
        return json.encode(document(self._version, self._limits))


def document(version: str, limits: ServerLimits) -> Object:
    """Make the document of a server with these limits."""
    schemas = _Schemas()
    return {
        "openapi": VERSION,
        "info": {"title": "signtusk-realtime", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "events", "description": "Publishing, following, reading again."},
            {"name": "operation", "description": "How the service is."},
        ],
        "security": [{"bearer": []}, {}],
        "paths": _paths(schemas, limits),
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token. In development mode: `user@organization`.",
                }
            },
        },
    }


class _Schemas:
    """The schemas of the wire types, by name; types whose fields are opaque to the code are told here what is in them."""

    def __init__(self) -> None:
        types = (PublishedEvent, Event, PublishAnswer, HistoryPage, HealthReport, Probe, MetricsReport, Subscription)
        plain = (EventType, SubscriptionType, Id, CursorText)
        found, self.components = schema_components(
            [*types, ProblemBody, *plain], schema_hook=_of_application, ref_template=_REFERENCE
        )
        self._found = dict(zip([*types, ProblemBody, *plain], found, strict=True))
        self.components["Publication"] = self._found[PublishedEvent]
        self.components["Event"]["properties"]["type"] = self._found[EventType]
        # Spliced from bytes that were encoded once, so that the type says no more than "JSON".
        self.components["HistoryEvent"]["properties"]["event"] = _ref("Event")

    def of(self, wanted: object) -> Object:
        """Give the schema of one of the types."""
        found: Object = self._found[wanted]
        return found


def _of_application(kind: type) -> Object:
    """Say what an application's own value may be: anything."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(f"no schema for {kind}")


def _ref(name: str) -> Object:
    return {"$ref": _REFERENCE.format(name=name)}


def _paths(schemas: _Schemas, limits: ServerLimits) -> Object:
    return {
        "/api/realtime/events": {"post": _publish(schemas, limits), "get": _follow(schemas, limits)},
        "/api/realtime/history": {"get": _history(schemas, limits)},
        "/api/realtime/metrics": {
            "get": _operation(
                "readMetrics",
                "Read the node's figures",
                "Rates are of the last ten seconds. Needs the scope `realtime:admin`.",
                parameters=_identity(schemas),
                answers={200: _json_answer("The figures.", _ref("MetricsReport"), examples.METRICS)},
                problems=_WITH_IDENTITY,
            )
        },
        "/metrics": {
            "get": _operation(
                "scrapeMetrics",
                "Read all counters as OpenMetrics text",
                "Needs the scope `realtime:admin`.",
                parameters=_identity(schemas),
                answers={200: _answer("The counters.", OPENMETRICS_TYPE, {"type": "string"}, examples.OPENMETRICS)},
                problems=_WITH_IDENTITY,
            )
        },
        "/api/realtime/health": {
            "get": _operation(
                "readHealth",
                "Read how every part is",
                "",
                answers={
                    200: _json_answer("It is of use.", _ref("HealthReport"), examples.HEALTH),
                    503: _json_answer("It is of no use now.", _ref("HealthReport"), examples.UNAVAILABLE),
                },
                problems=(*_ANY_REQUEST, "host_not_allowed", "origin_not_allowed"),
                is_open=True,
            )
        },
        "/livez": {"get": _probe("isAlive", "Ask whether the process runs", ())},
        "/readyz": {"get": _probe("isReady", "Ask whether to send work here", ("overloaded", "unavailable"))},
        "/openapi.json": {
            "get": _operation(
                "readDescription",
                "Read this document",
                "",
                answers={200: _answer("This document.", "application/json", {"type": "object"})},
                problems=(*_ANY_REQUEST, "host_not_allowed", "origin_not_allowed"),
                is_open=True,
            )
        },
    }


def _publish(schemas: _Schemas, limits: ServerLimits) -> Object:
    batch = {"type": "array", "items": _ref("Publication"), "minItems": 1, "maxItems": limits.batch}
    description = (
        "One event, or an array of events of one organization (or only announcements): all are published or none. An answer means that "
        f"they are durable. A body has at most {limits.body_bytes} bytes, an event {limits.payload_bytes}, nested at most "
        f"{limits.json_depth} deep. Needs the scope `realtime:publish`."
    )
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Stands for the id of a single event without one; K/0, K/1 … in an array.",
        "schema": schemas.of(Id),
    }
    operation = _operation(
        "publish",
        "Publish events",
        description,
        parameters=[*_identity(schemas), key],
        answers={200: _json_answer("Published, or known already.", _ref("Published"), examples.PUBLISHED)},
        problems=(
            *_WITH_IDENTITY,
            "invalid_json",
            "event_id_reused",
            "payload_too_large",
            "batch_too_large",
            "unsupported_media_type",
            "invalid_event",
            "mixed_organizations",
            "unavailable",
        ),
    )
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [_ref("Publication"), batch]},
                "examples": {name: {"value": value} for name, value in examples.PUBLICATIONS.items()},
            }
        },
    }
    return operation


def _follow(schemas: _Schemas, limits: ServerLimits) -> Object:
    resume = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where to go on: a cursor. It beats `lastEventId`; empty is none.",
        "schema": schemas.of(CursorText),
    }
    return _operation(
        "follow",
        "Follow events as they happen",
        "An event stream (Server-Sent Events). Events are named by their type; their data is an Event, their id its cursor. Everything else "
        "is an unnamed message. Without a selection: all that the identity may have, but for user_presence. A cursor that cannot be "
        'continued is answered in the stream: `"recovered":false`.',
        parameters=[
            *_selection(schemas, limits),
            *_identity(schemas),
            _query("lastEventId", schemas.of(CursorText), "As the header, for clients that cannot set one."),
            resume,
        ],
        answers={200: _answer("The stream.", "text/event-stream", {"type": "string"}, examples.STREAM)},
        problems=(*_WITH_IDENTITY, "not_acceptable", "overloaded", "unavailable"),
    )


def _history(schemas: _Schemas, limits: ServerLimits) -> Object:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    after = {**schemas.of(CursorText), "minLength": 1}
    return _operation(
        "readHistory",
        "Read events again",
        "Oldest first. Without a selection: all that the identity may see. A page may have fewer events than asked for, even none, with "
        "`more` true: ask on from its cursor.",
        parameters=[
            *_selection(schemas, limits),
            *_identity(schemas),
            _query("after", after, "Begin behind this cursor; without it: with the earliest event that is kept."),
            _query("limit", limit, "How many events at most."),
        ],
        answers={200: _json_answer("A page.", _ref("HistoryPage"), examples.PAGE)},
        problems=(*_WITH_IDENTITY, "cursor_expired", "unavailable"),
    )


def _probe(name: str, summary: str, problems: Sequence[str]) -> Object:
    return _operation(
        name,
        summary,
        "Answered to anybody.",
        answers={200: _json_answer("Yes.", _ref("Probe"), {"status": "ok"})},
        problems=(*_ANY_REQUEST, *problems),
        is_open=True,
    )


def _identity(schemas: _Schemas) -> list[Object]:
    teams = {"type": "array", "items": schemas.of(Id)}
    return [
        _query("userId", schemas.of(Id), "In development: who asks. Otherwise it must agree with the token."),
        _query("organizationId", schemas.of(Id), "In development: whose. Otherwise it must agree with the token."),
        _query("teams", teams, "In development: the user's teams.", is_list=True),
        _query("_", {"type": "string"}, "Passed over: against caches."),
    ]


def _selection(schemas: _Schemas, limits: ServerLimits) -> list[Object]:
    types: Object = {"type": "array", "items": schemas.of(SubscriptionType), "minItems": 1}
    event_types: Object = {"type": "array", "items": schemas.of(EventType), "minItems": 1}
    subscriptions: Object = {
        "type": "array",
        "items": _ref("Subscription"),
        "minItems": 1,
        "maxItems": limits.subscriptions,
    }
    return [
        _query("types", types, "Which subscription types.", is_list=True),
        _query("documentId", schemas.of(Id), "Only events of this document."),
        _query("signingRequestId", schemas.of(Id), "Only events of this signing request."),
        _query("teamId", schemas.of(Id), "Only events of this team."),
        _query("eventTypes", event_types, "Only events of these types.", is_list=True),
        {
            "name": "subscriptions",
            "in": "query",
            "description": "Whole subscriptions as JSON, instead of all the others.",
            "content": {"application/json": {"schema": subscriptions, "example": examples.SUBSCRIPTIONS}},
        },
    ]


def _query(name: str, schema: Object, description: str, *, is_list: bool = False) -> Object:
    found: Object = {"name": name, "in": "query", "description": description, "schema": schema}
    if is_list:
        found |= {"style": "form", "explode": False}
    return found


def _operation(
    name: str,
    summary: str,
    description: str,
    *,
    answers: Mapping[int, Object],
    problems: Sequence[str],
    parameters: Sequence[Object] = (),
    is_open: bool = False,
) -> Object:
    """Describe a call. `is_open`: it asks nobody who he is."""
    found: Object = {"operationId": name, "summary": summary, "tags": ["operation" if is_open else "events"]}
    if name.endswith("Metrics"):
        found["tags"] = ["operation"]
    if description:
        found["description"] = description
    if is_open:
        found["security"] = []
    if parameters:
        found["parameters"] = list(parameters)
    refusals = _problems(problems)
    both = answers.keys() & refusals.keys()
    assert not both, f"{name} answers {both} in two ways"
    found["responses"] = {str(status): answer for status, answer in sorted({**answers, **refusals}.items())}
    return found


def _problems(names: Sequence[str]) -> dict[int, Object]:
    by_status: defaultdict[int, list[Code]] = defaultdict(list)
    for name in dict.fromkeys(names):
        row = codes.lookup(Kind.PROBLEM, name)
        by_status[row.number].append(row)
    return {status: _refusal(status, rows) for status, rows in by_status.items()}


def _refusal(status: int, rows: Sequence[Code]) -> Object:
    code: Object = {"enum": [row.name for row in rows]}
    found: Object = {
        "description": "\n".join(f"* `{row.name}`: {row.meaning} {row.action}" for row in rows),
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "allOf": [_ref("ProblemBody")],
                    "properties": {"status": {"const": status}, "code": code},
                },
                "examples": {row.name: {"value": _problem_example(row)} for row in rows},
            }
        },
    }
    if status in (429, 503):
        found["headers"] = {
            "Retry-After": {
                "description": "Seconds to wait.",
                "required": True,
                "schema": {"type": "integer", "minimum": 1},
            }
        }
    if status == 401:
        found["headers"] = {
            "WWW-Authenticate": {"description": "Bearer.", "required": True, "schema": {"type": "string"}}
        }
    return found


def _problem_example(row: Code) -> Object:
    found: Object = {
        "type": TYPE_PREFIX + row.name,
        "title": row.meaning,
        "status": row.number,
        "detail": "What was found, and what is allowed.",
        "code": row.name,
    }
    return found | examples.MORE_OF_PROBLEMS.get(row.name, {})


def _json_answer(description: str, schema: Object, example: object) -> Object:
    return _answer(description, "application/json", schema, example)


def _answer(description: str, media_type: str, schema: Object, example: object = None) -> Object:
    content: Object = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {media_type: content}}
