"""What descriptions of calls are made of: operations, parameters, answers, refusals, references to schemas.

Owns: the form of each in OpenAPI 3.1.   Not: which calls there are (the files beside), the document (document.py).
Rule: statuses, meanings and actions of refusals come from protocol/codes.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec.json import schema_components

from signtusk_realtime.events.ids import Id
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import Code, Kind
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.problems import MEDIA_TYPE, TYPE_PREFIX

Object: TypeAlias = dict[str, Any]
"""A part of the document: JSON as it is written."""
SchemaOf: TypeAlias = Callable[[object], Object]
"""Gives the schema of a wire type."""

REFERENCE: Final = "#/components/schemas/{name}"
ANY_REQUEST: Final = ("invalid_request", "request_timeout", "head_too_large", "internal")
"""What any request may be answered that is not well-formed, not there in time, or meets a defect of ours."""
ANY_PAGE: Final = (*ANY_REQUEST, "invalid_parameter", "host_not_allowed", "origin_not_allowed")
WITH_IDENTITY: Final = (*ANY_PAGE, "unauthenticated", "forbidden")


def ref(name: str) -> Object:
    """Refer to a schema of the document."""
    return {"$ref": REFERENCE.format(name=name)}


def schemas_of(types: Iterable[object]) -> tuple[tuple[Object, ...], dict[str, Object]]:
    """Give the schema of each of the types, and those that they refer to by name."""
    return schema_components(types, schema_hook=_of_application, ref_template=REFERENCE)


def _of_application(kind: type) -> Object:
    """Say what an application's own value may be: anything. msgspec asks it of each kind it does not know."""
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError(f"no schema for {kind}")


def identity(schemas: SchemaOf) -> list[Object]:
    """Give the parameters of every call that is made for somebody."""
    teams = {"type": "array", "items": schemas(Id)}
    return [
        query("userId", schemas(Id), "In development: who asks. Otherwise it must agree with the token."),
        query("organizationId", schemas(Id), "In development: whose. Otherwise it must agree with the token."),
        query("teams", teams, "In development: the user's teams.", is_list=True),
        query("_", {"type": "string"}, "Passed over: against caches."),
    ]


def query(name: str, schema: Object, description: str, *, is_list: bool = False) -> Object:
    """Describe a query parameter. `is_list`: commas part its values."""
    found: Object = {"name": name, "in": "query", "description": description, "schema": schema}
    if is_list:
        found |= {"style": "form", "explode": False}
    return found


def operation(
    name: str,
    summary: str,
    description: str,
    *,
    answers: Mapping[int, Object],
    problems: Sequence[str],
    parameters: Sequence[Object] = (),
    is_open: bool = False,
    tag: str = "events",
) -> Object:
    """Describe a call. `is_open`: it asks nobody who he is."""
    found: Object = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        found["description"] = description
    if is_open:
        found["security"] = []
    if parameters:
        found["parameters"] = list(parameters)
    refusals = _problems(problems)
    found["responses"] = {
        str(status): _either(answers.get(status), refusals.get(status)) for status in sorted({**answers, **refusals})
    }
    return found


def _either(answered: Object | None, refused: Object | None) -> Object:
    """Describe a status that has two kinds of answers, told apart by their media type."""
    if answered is None or refused is None:
        return answered or refused or {}
    content = {**answered["content"], **refused["content"]}
    return {**refused, "description": f"{answered['description']}\n\n{refused['description']}", "content": content}


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
                    "allOf": [ref("ProblemBody")],
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


def json_answer(description: str, schema: Object, example: object) -> Object:
    """Describe an answer in JSON."""
    return answer(description, "application/json", schema, example)


def answer(description: str, media_type: str, schema: Object, example: object = None) -> Object:
    """Describe an answer in another media type."""
    content: Object = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"description": description, "content": {media_type: content}}
