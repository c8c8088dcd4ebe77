"""The description of the HTTP API: a valid OpenAPI document that has every route, every code and only valid examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from signtusk_realtime import __version__
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.kinds import KINDS
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import Kind
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.app import HttpApi
from signtusk_realtime.server.http.openapi import document
from signtusk_realtime.server.origins import LoopbackPolicy
from signtusk_realtime.server.problems import MEDIA_TYPE
from tests.support.samples import sample
from tests.support.server import verbs_over

COMMITTED = Path(__file__).parents[3] / "spec" / "openapi.json"
PAGE = COMMITTED.parents[1] / "docs" / "reference" / "http.md"
WEBSOCKET = "/ws"
# Told of a path or a method that is not there, or of a WebSocket's handshake; and what an edit's own answer tells.
ELSEWHERE = {"not_found", "method_not_allowed", "invalid_handshake", "upgrade_required", "seq_gap"}

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(__version__, ServerLimits())))


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]}, format_checker=FormatChecker())


def test_it_is_openapi() -> None:
    """It fulfils OpenAPI 3.1, its schemas are JSON Schema, and no reference leads nowhere."""
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_committed_one_is_this() -> None:
    """spec/openapi.json is what the types say today."""
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == DOCUMENT, "run `make spec`"


def test_every_route_is_described() -> None:
    """What is served is described and what is described is served."""
    engine = MemoryEngine()
    api = HttpApi(
        verbs=verbs_over(Hub(engine), engine, ServerLimits()),
        policy=LoopbackPolicy(),
        limits=ServerLimits(),
        health=lambda: EngineHealth("ok"),
        metrics=Metrics(Counters()),
        is_stopping=lambda: False,
        version=__version__,
        websocket_path=WEBSOCKET,
    )
    routes = [route for route in api._app.routes if isinstance(route, Route) and route.path != WEBSOCKET]
    served = {
        f"{method} {route.path.replace('{document_id:path}', '{documentId}')}"
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    # A native protocol stands before this application for the event stream.
    assert served | {"GET /api/realtime/events"} == {name for name, _ in operations()}


def test_every_code_is_told() -> None:
    """Each row of the table that a call can be refused with stands under its status, and no other."""
    told = {
        (code, int(status))
        for _, operation in operations()
        for status, answer in operation["responses"].items()
        for media_type, content in answer["content"].items()
        if media_type == MEDIA_TYPE
        for code in content["schema"]["properties"]["code"]["enum"]
    }
    rows = {(code.name, code.number) for code in codes.of_kind(Kind.PROBLEM) if code.name not in ELSEWHERE}
    # A version that is no longer kept, or still to come: both have another status where a document is read.
    assert told - {("version_mismatch", 410), ("not_found", 404)} == rows


def _examples() -> Iterator[Any]:
    for name, operation in operations():
        for place, of in [("request", operation.get("requestBody", {})), *operation["responses"].items()]:
            for content in of.get("content", {}).values():
                values = [content["example"]] if "example" in content else []
                values += [example["value"] for example in content.get("examples", {}).values()]
                for value in values:
                    yield pytest.param(content["schema"], value, id=f"{name} {place}")


@pytest.mark.parametrize(("schema", "value"), list(_examples()))
def test_examples_are_valid(schema: dict[str, Any], value: object) -> None:
    """Every example fits its schema."""
    assert [error.message for error in validator(schema).iter_errors(value)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_publications_are_described(kind: str) -> None:
    """Each kind fits the schema of a publication; with an unknown field, or null in place of an absent one, it does not."""
    schema = validator({"$ref": "#/components/schemas/Publication"})
    assert list(schema.iter_errors(sample(kind))) == []
    assert list(schema.iter_errors({**sample(kind), "unknown": 1}))
    assert list(schema.iter_errors({**sample(kind), "timestamp": None}))


def test_the_page_names_every_call() -> None:
    """docs/reference/http.md has each call and no other."""
    rows = re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(name for name, _ in operations())
