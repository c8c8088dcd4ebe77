"""The description of the messages: a sound AsyncAPI document that has every message, every answer and only valid examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from msgspec import Struct

from signtusk_realtime import __version__
from signtusk_realtime.protocol import messages
from signtusk_realtime.protocol.messages import ClientMessage, ServerMessage
from signtusk_realtime.server.http.asyncapi import asyncapi, asyncapi_at
from signtusk_realtime.server.http.asyncapi.document import ANSWERS, ON_STREAMS, STREAM_EVENT_NAME

COMMITTED = Path(__file__).parents[3] / "spec" / "asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(json.dumps(asyncapi(__version__, "/ws")))


def tags(union: object) -> set[str]:
    kinds: tuple[type[Struct], ...] = get_args(union)
    return {str(kind.__struct_config__.tag) for kind in kinds}


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def resolved(reference: str) -> Any:
    value: Any = DOCUMENT
    for segment in reference.removeprefix("#/").split("/"):
        value = value[segment]
    return value


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_the_committed_one_is_this() -> None:
    """spec/asyncapi.json is what the types say today."""
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == DOCUMENT, "run `make spec`"


def test_it_is_asyncapi() -> None:
    """Its version, every part that version 3 asks for, and no reference that leads nowhere."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    assert all({"host", "protocol"} <= set(server) for server in DOCUMENT["servers"].values())
    assert [reference for reference in references(DOCUMENT) if not resolved(reference)] == []
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        known = set(resolved(operation["channel"]["$ref"])["messages"])
        asked = [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
        assert {one["$ref"].rpartition("/")[2] for one in asked} <= known
        assert all(one["$ref"].startswith(operation["channel"]["$ref"] + "/messages/") for one in asked)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_message_is_described() -> None:
    """What a client may send and what the service says over WebSocket, with an example each, and the answers of each request."""
    requests, answers = tags(ClientMessage), tags(ServerMessage)
    websocket, stream = (DOCUMENT["channels"][name]["messages"] for name in ("websocket", "eventStream"))
    assert set(websocket) == requests | {f"{name}_told" if name in requests else name for name in answers}
    assert set(stream) == {STREAM_EVENT_NAME, *ON_STREAMS}
    assert {name for name, one in DOCUMENT["operations"].items() if one["action"] == "receive"} == requests
    assert requests <= set(ANSWERS)
    assert {name for name, one in DOCUMENT["components"]["messages"].items() if not one.get("examples")} == set()


def _examples() -> Iterator[Any]:
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message.get("examples", []):
            for part in example:
                yield pytest.param(message[part], example[part], id=f"{name} {part}")


@pytest.mark.parametrize(("schema", "value"), list(_examples()))
def test_examples_are_valid(schema: dict[str, Any], value: object) -> None:
    """Every example fits its schema."""
    assert [error.message for error in validator(schema).iter_errors(value)] == []


def test_examples_of_requests_are_understood() -> None:
    """What the description has a client send is a message to the code."""
    for name in tags(ClientMessage):
        for example in DOCUMENT["components"]["messages"][name]["examples"]:
            messages.decode(json.dumps(example["payload"]).encode(), depth=32)


@pytest.mark.parametrize("name", sorted(tags(ClientMessage)))
def test_requests_with_unknown_fields_fit_no_schema(name: str) -> None:
    """The schemas are as strict as the service."""
    message = DOCUMENT["components"]["messages"][name]
    assert list(validator(message["payload"]).iter_errors({**message["examples"][0]["payload"], "unknown": 1}))


def test_a_mount_is_told() -> None:
    """The servers have the path under which the reader found the service."""
    found = asyncapi_at(DOCUMENT, "/rt")
    assert {server["pathname"] for server in found["servers"].values()} == {"/rt"}
