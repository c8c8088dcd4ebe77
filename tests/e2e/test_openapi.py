"""The description of the HTTP API against a real server: no defect, and no answer that the description does not have.

Cases come from Schemathesis: made of the description, valid and invalid, sent over real sockets. What it is answered must have a described
status, media type, headers and body; bodies may hold nothing undescribed.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode, checks
from schemathesis.core.failures import FailureGroup

from signtusk_realtime.server.http.openapi import document
from tests.support.samples import sample
from tests.support.server import DEADLINE_S, IDENTITY, QUICK, call, publish, serving

EXAMPLES = 25
CHECKED = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
DESCRIBED: dict[str, Any] = json.loads(json.dumps(document("0.0.0-test", QUICK)))
OPERATIONS = [f"{method.upper()} {path}" for path, item in DESCRIBED["paths"].items() for method in item]
STREAM = "GET /api/realtime/events"
"""Its answer does not end: of a stream that begins only the head is read."""


def takes_something(name: str) -> bool:
    """Say whether a call has anything that could be wrong."""
    method, path = name.split()
    operation = DESCRIBED["paths"][path][method.lower()]
    return "parameters" in operation or "requestBody" in operation


def closed() -> dict[str, Any]:
    """Give the description with answers that may hold nothing but what it says."""
    strict: dict[str, Any] = json.loads(json.dumps(DESCRIBED))
    for schema in strict["components"]["schemas"].values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return strict


async def test_the_description_is_served() -> None:
    """As JSON, without asking who wants it, with this server's version and limits."""
    async with serving() as it:
        answer = await call(it.port, "GET", "/openapi.json")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.json() == DESCRIBED


HELD = "doc123"
UNGUESSABLE = {
    "/api/realtime/conflicts/{documentId}/resolve": {404},
    "/api/realtime/connections/{connectionId}/refresh": {400, 401, 404},
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_answers_to_what_is_valid(name: str) -> None:
    """Whatever valid thing a call is given, its answer is a described one; among them are successes."""
    method, path = name.split()
    operation = schemathesis.openapi.from_dict(closed())[path][method]
    async with serving() as it:
        # What is named must exist for a call to succeed; nobody guesses a token, a connection, or a document with open conflicts.
        await publish(it.port, sample("document_update", id="first", documentId=HELD))
        statuses = await asyncio.to_thread(ask, operation, GenerationMode.POSITIVE, it.url)
    assert statuses & UNGUESSABLE.get(path, {200})


@pytest.mark.parametrize("name", [name for name in OPERATIONS if takes_something(name)])
async def test_answers_to_what_is_invalid(name: str) -> None:
    """Whatever invalid thing a call is given, its answer is a described one; among them are refusals."""
    method, path = name.split()
    operation = schemathesis.openapi.from_dict(closed())[path][method]
    async with serving() as it:
        statuses = await asyncio.to_thread(ask, operation, GenerationMode.NEGATIVE, it.url)
    assert statuses & {400, 401, 422}


def ask(operation: Any, mode: GenerationMode, url: str) -> set[int]:
    """Send cases of an operation, and check each answer; give the statuses that were seen."""
    statuses: set[int] = set()
    with requests.Session() as session:

        @seed(20261122)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            given_query = dict(case.query or {})
            if mode is GenerationMode.POSITIVE:
                # Anybody may be generated; so that more than refusals is seen, the asking is done by somebody who may.
                given_query = {
                    key: value for key, value in given_query.items() if key not in ("userId", "organizationId", "teams")
                }
                given_query |= dict(pair.split("=") for pair in IDENTITY.split("&"))
            case.query = given_query
            if mode is GenerationMode.POSITIVE and "documentId" in (case.path_parameters or {}):
                case.path_parameters = {**case.path_parameters, "documentId": HELD}
                if isinstance(case.body, dict) and "documentId" in case.body:
                    case.body = {**case.body, "documentId": HELD}
            statuses.add(exchange(case, session, url))

        send()
    return statuses


def exchange(case: Any, session: requests.Session, url: str) -> int:
    """Send one case; check its answer."""
    arguments = case.as_transport_kwargs(base_url=url)
    with session.request(**arguments, stream=True, timeout=DEADLINE_S, allow_redirects=False) as response:
        if response.status_code == 200 and response.headers["Content-Type"].startswith("text/event-stream"):
            return 200
        case.validate_response(response, checks=CHECKED)
        return response.status_code


async def test_the_check_bites() -> None:
    """An answer that is not described is a failure: here, one whose description was taken away."""
    strict = closed()
    del strict["paths"]["/api/realtime/history"]["get"]["responses"]["401"]
    case = schemathesis.openapi.from_dict(strict)["/api/realtime/history"]["GET"].Case()
    async with serving() as it:
        with requests.Session() as session, pytest.raises(FailureGroup, match="Undocumented status code"):
            await asyncio.to_thread(exchange, case, session, it.url)
