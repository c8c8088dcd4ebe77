"""Calls that publish, follow and read events.

Owns: their descriptions.   Not: what they do (events.py, history.py, the native event stream).
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.event import Event
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.kinds import Published as PublishedEvent
from signtusk_realtime.events.subscriptions import EventType, Subscription, SubscriptionType
from signtusk_realtime.operations.history import HistoryPage
from signtusk_realtime.protocol.messages import CursorText
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.http.events import Published as PublishAnswer
from signtusk_realtime.server.http.history import DEFAULT_LIMIT, MAX_LIMIT
from signtusk_realtime.server.http.openapi.parts import (
    WITH_IDENTITY,
    Object,
    SchemaOf,
    answer,
    identity,
    json_answer,
    operation,
    query,
    ref,
)

TYPES: Final = (PublishedEvent, Event, PublishAnswer, HistoryPage, Subscription)


def paths(schemas: SchemaOf, limits: ServerLimits) -> Object:
    """Describe the calls."""
    return {
        "/api/realtime/events": {"post": _publish(schemas, limits), "get": _follow(schemas, limits)},
        "/api/realtime/history": {"get": _history(schemas, limits)},
    }


def _publish(schemas: SchemaOf, limits: ServerLimits) -> Object:
    batch = {"type": "array", "items": ref("Publication"), "minItems": 1, "maxItems": limits.batch}
    description = (
        "One event, or an array of events of one organization (or only announcements): all are published or none. An answer means that "
        f"they are durable. A body has at most {limits.body_bytes} bytes, an event {limits.payload_bytes}, nested at most "
        f"{limits.json_depth} deep. Needs the scope `realtime:publish`."
    )
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Stands for the id of a single event without one; K/0, K/1 … in an array.",
        "schema": schemas(Id),
    }
    found = operation(
        "publish",
        "Publish events",
        description,
        parameters=[*identity(schemas), key],
        answers={200: json_answer("Published, or known already.", ref("Published"), examples.PUBLISHED)},
        problems=(
            *WITH_IDENTITY,
            "invalid_json",
            "event_id_reused",
            "payload_too_large",
            "batch_too_large",
            "unsupported_media_type",
            "invalid_event",
            "mixed_organizations",
            "invalid_path",
            "invalid_value",
            "limit_exceeded",
            "conflict",
            "version_mismatch",
            "change_id_reused",
            "already_exists",
            "document_deleted",
            "document_locked",
            "document_too_large",
            "base_required",
            "contention",
            "unavailable",
        ),
    )
    found["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [ref("Publication"), batch]},
                "examples": {name: {"value": value} for name, value in examples.PUBLICATIONS.items()},
            }
        },
    }
    return found


def _follow(schemas: SchemaOf, limits: ServerLimits) -> Object:
    resume = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "Where to go on: a cursor. It beats `lastEventId`; empty is none.",
        "schema": schemas(CursorText),
    }
    return operation(
        "follow",
        "Follow events as they happen",
        "An event stream (Server-Sent Events). Events are named by their type; their data is an Event, their id its cursor. Everything else "
        "is an unnamed message. Without a selection: all that the identity may have, but for user_presence. A cursor that cannot be "
        'continued is answered in the stream: `"recovered":false`.',
        parameters=[
            *_selection(schemas, limits),
            *identity(schemas),
            query("lastEventId", schemas(CursorText), "As the header, for clients that cannot set one."),
            resume,
        ],
        answers={200: answer("The stream.", "text/event-stream", {"type": "string"}, examples.STREAM)},
        problems=(*WITH_IDENTITY, "not_acceptable", "overloaded", "unavailable"),
    )


def _history(schemas: SchemaOf, limits: ServerLimits) -> Object:
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    after = {**schemas(CursorText), "minLength": 1}
    return operation(
        "readHistory",
        "Read events again",
        "Oldest first. Without a selection: all that the identity may see. A page may have fewer events than asked for, even none, with "
        "`more` true: ask on from its cursor.",
        parameters=[
            *_selection(schemas, limits),
            *identity(schemas),
            query("after", after, "Begin behind this cursor; without it: with the earliest event that is kept."),
            query("limit", limit, "How many events at most."),
        ],
        answers={200: json_answer("A page.", ref("HistoryPage"), examples.PAGE)},
        problems=(*WITH_IDENTITY, "cursor_expired", "unavailable"),
    )


def _selection(schemas: SchemaOf, limits: ServerLimits) -> list[Object]:
    types: Object = {"type": "array", "items": schemas(SubscriptionType), "minItems": 1}
    event_types: Object = {"type": "array", "items": schemas(EventType), "minItems": 1}
    subscriptions: Object = {
        "type": "array",
        "items": ref("Subscription"),
        "minItems": 1,
        "maxItems": limits.subscriptions,
    }
    return [
        query("types", types, "Which subscription types.", is_list=True),
        query("documentId", schemas(Id), "Only events of this document."),
        query("signingRequestId", schemas(Id), "Only events of this signing request."),
        query("teamId", schemas(Id), "Only events of this team."),
        query("eventTypes", event_types, "Only events of these types.", is_list=True),
        {
            "name": "subscriptions",
            "in": "query",
            "description": "Whole subscriptions as JSON, instead of all the others.",
            "content": {"application/json": {"schema": subscriptions, "example": examples.SUBSCRIPTIONS}},
        },
    ]
