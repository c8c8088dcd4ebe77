"""The messages of WebSocket and event stream as an AsyncAPI 3.0 document.

Owns: channels, operations, which message answers which.   Not: the form of messages (generated from protocol/messages.py and events/),
examples (examples.py beside this), the HTTP calls (openapi/).
Rule 1: nothing is written here that a type says already.
Rule 2: `receive` and `send` are the service's: it receives what clients send.
"""

from __future__ import annotations

from typing import Final, get_args

from msgspec import Struct

from signtusk_realtime.events.event import Event
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.subscriptions import EventType
from signtusk_realtime.protocol.handshake import SUBPROTOCOL
from signtusk_realtime.protocol.messages import ClientMessage, CursorText, ServerMessage
from signtusk_realtime.server.http.asyncapi.examples import MESSAGES, STREAM_EVENT
from signtusk_realtime.server.http.openapi.parts import Object, ref, schemas_of

VERSION: Final = "3.0.0"
WEBSOCKET: Final = "websocket"
STREAM: Final = "eventStream"
STREAM_EVENT_NAME: Final = "streamEvent"
EVENTS: Final = "/api/realtime/events"
ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "subscribe": ("subscribed", "error"),
    "unsubscribe": ("unsubscribed", "error"),
    "ping": ("pong",),
    "refresh": ("refreshed", "error"),
    "edit": ("edit_result", "error"),
    "presence": ("presence_accepted", "error"),
    "signal": ("error",),
}
"""What answers a client's message."""
ON_STREAMS: Final = (
    "connected",
    "subscribed",
    "unsubscribed",
    "presence_told",
    "signal_told",
    "resync",
    "token_expiring",
    "reconnect",
    "error",
)
"""Messages that an event stream carries too, unnamed; events are blocks of their own there."""

_DESCRIPTION: Final = """\
What a client and the service say to each other over WebSocket, and what an event stream carries. What happens in an organization is one \
ordered log; a cursor is how far a client has got in it, and is the same over WebSocket, event stream and HTTP. The HTTP calls are described by \
/openapi.json."""


def asyncapi(version: str, websocket_path: str) -> Object:
    """Make the document, without a mount's path."""
    requests = _tagged(ClientMessage)
    # A message of both sides is described twice, by two names.
    answers = {f"{name}_told" if name in requests else name: kind for name, kind in _tagged(ServerMessage).items()}
    types = [*requests.values(), *answers.values(), Event, EventType, Id, CursorText]
    found, schemas = schemas_of(types)
    by_type = dict(zip(types, found, strict=True))
    schemas["Event"]["properties"]["type"] = by_type[EventType]
    # Spliced from bytes that were encoded once, so that the type says no more than "JSON".
    schemas["EventMessage"]["properties"]["event"] = ref("Event")
    messages = {name: _message(name, kind, by_type[kind]) for name, kind in {**requests, **answers}.items()}
    messages[STREAM_EVENT_NAME] = _stream_event(by_type[EventType], by_type[CursorText])
    channels = {
        WEBSOCKET: _websocket(websocket_path, [*requests, *answers], by_type[Id]),
        STREAM: {
            "address": EVENTS,
            "title": "Event stream",
            "description": "text/event-stream. What is asked for stands in the query; /openapi.json describes the request.",
            "servers": [{"$ref": "#/servers/http"}],
            "messages": _messages([STREAM_EVENT_NAME, *(name for name in ON_STREAMS if name in answers)]),
        },
    }
    operations: Object = {name: _request(name, kind) for name, kind in requests.items()}
    operations["tell"] = _telling(WEBSOCKET, list(answers), "What a WebSocket is told, in answer or unasked.")
    operations["stream"] = _telling(STREAM, list(channels[STREAM]["messages"]), "What an event stream carries.")
    return asyncapi_at(
        {
            "asyncapi": VERSION,
            "info": {"title": "signtusk-realtime", "version": version, "description": _DESCRIPTION},
            "servers": {},
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": operations,
            "components": {"messages": messages, "schemas": schemas},
        },
        "",
    )


def asyncapi_at(document: Object, root: str) -> Object:
    """Give the document of a service that is found under `root`."""
    host = {"host": {"default": "127.0.0.1:8080", "description": "Where the service listens."}}
    return {
        **document,
        "servers": {
            WEBSOCKET: {"host": "{host}", "pathname": root or "/", "protocol": "ws", "variables": host},
            "http": {"host": "{host}", "pathname": root or "/", "protocol": "http", "variables": host},
        },
    }


def _tagged(union: object) -> dict[str, type[Struct]]:
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


def _message(name: str, kind: type[Struct], schema: Object) -> Object:
    found: Object = {"name": name, "summary": (kind.__doc__ or "").partition("\n")[0], "payload": schema}
    examples = MESSAGES.get(name, ())
    return found | ({"examples": [{"payload": one} for one in examples]} if examples else {})


def _stream_event(event_type: Object, cursor: Object) -> Object:
    return {
        "name": STREAM_EVENT_NAME,
        "summary": "One event: a block of the stream, named by its type.",
        "headers": {
            "type": "object",
            "description": "The block's other fields.",
            "properties": {"event": event_type, "id": cursor},
            "required": ["event", "id"],
        },
        "payload": ref("Event"),
        "examples": [STREAM_EVENT],
    }


def _websocket(path: str, names: list[str], own_id: Object) -> Object:
    query = {name: {**own_id, "description": "In development: who asks."} for name in ("userId", "organizationId")}
    return {
        "address": path,
        "title": "WebSocket",
        "description": f"Text frames, one JSON object each. Subprotocol `{SUBPROTOCOL}`, or none.",
        "servers": [{"$ref": f"#/servers/{WEBSOCKET}"}],
        "messages": _messages(names),
        "bindings": {"ws": {"method": "GET", "query": {"type": "object", "properties": query}}},
    }


def _request(name: str, kind: type[Struct]) -> Object:
    return {
        "action": "receive",
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "channel": {"$ref": f"#/channels/{WEBSOCKET}"},
        "messages": [_in_channel(WEBSOCKET, name)],
        "reply": {
            "channel": {"$ref": f"#/channels/{WEBSOCKET}"},
            "messages": [_in_channel(WEBSOCKET, answer) for answer in ANSWERS.get(name, ("error",))],
        },
    }


def _telling(channel: str, names: list[str], summary: str) -> Object:
    return {
        "action": "send",
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [_in_channel(channel, name) for name in names],
    }


def _messages(names: list[str]) -> Object:
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def _in_channel(channel: str, name: str) -> Object:
    return {"$ref": f"#/channels/{channel}/messages/{name}"}
