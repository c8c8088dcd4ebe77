"""Examples for the description of the messages.

Owns: values that readers recognise from the documentation.   Rule: each is a valid one; tests/unit/server/test_asyncapi.py holds them to the schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_CURSOR: Final = "E4Vm8fmphQZlAAAAAAAAAAAAAAAAeM5e8A--kYYAAAAAAAAAAAAAAAA1M8a5"
_AT: Final = "2026-11-22T18:49:22.123Z"
_DOCUMENT: Final[dict[str, Any]] = {"type": "document_updates", "filters": {"documentId": "doc123"}}
_EVENT: Final[dict[str, Any]] = {
    "id": "evt_1",
    "type": "document_updated",
    "payload": {
        "documentId": "doc123",
        "type": "updated",
        "changes": {"title": "NDA, second version"},
        "userId": "user123",
    },
    "userId": "user123",
    "organizationId": "org123",
    "timestamp": _AT,
}
STREAM_EVENT: Final = {"headers": {"event": "document_updated", "id": _CURSOR}, "payload": _EVENT}
MESSAGES: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "subscribe": (
        {"type": "subscribe", "requestId": "1", "subscription": _DOCUMENT},
        {"type": "subscribe", "subscriptions": [_DOCUMENT, {"type": "notifications"}], "cursor": _CURSOR},
    ),
    "unsubscribe": ({"type": "unsubscribe", "subscriptionId": "sub_1"},),
    "ping": ({"type": "ping", "timestamp": 1795373362123},),
    "refresh": ({"type": "refresh", "token": "user123@org123"},),
    "edit": (
        {
            "type": "edit",
            "documentId": "doc123",
            "changeId": "change1",
            "baseVersion": 41,
            "changes": {"title": "NDA, second version"},
        },
    ),
    "presence": ({"type": "presence", "requestId": "3", "status": "away", "currentDocument": "doc123"},),
    "presence_accepted": ({"type": "presence_accepted", "requestId": "3"},),
    "presence_told": (
        {
            "type": "presence",
            "users": [{"userId": "user123", "status": "away", "lastSeen": _AT, "currentDocument": "doc123"}],
        },
        {"type": "presence", "truncated": True, "online": 348},
    ),
    "signal": ({"type": "signal", "signal": "typing", "documentId": "doc123", "data": {"field": "title"}},),
    "signal_told": (
        {"type": "signal", "signal": "typing", "documentId": "doc123", "data": {"field": "title"}, "userId": "user123"},
    ),
    "connected": (
        {
            "type": "connected",
            "connectionId": "conn_1",
            "timestamp": _AT,
            "userId": "user123",
            "organizationId": "org123",
            "heartbeatInterval": 30000,
            "server": {"features": ["websocket", "sse"]},
        },
    ),
    "subscribed": (
        {
            "type": "subscribed",
            "requestId": "1",
            "subscriptionId": "sub_1",
            "subscription": _DOCUMENT,
            "cursor": _CURSOR,
        },
        {
            "type": "subscribed",
            "subscriptionIds": ["sub_1", "sub_2"],
            "subscriptions": [_DOCUMENT, {"type": "notifications"}],
            "recovered": False,
            "reason": "expired",
            "cursor": _CURSOR,
        },
    ),
    "unsubscribed": ({"type": "unsubscribed", "subscriptionId": "sub_1"},),
    "pong": ({"type": "pong", "timestamp": _AT, "cursor": _CURSOR},),
    "cursor": ({"type": "cursor", "cursor": _CURSOR},),
    "refreshed": ({"type": "refreshed", "expiresAt": _AT},),
    "token_expiring": ({"type": "token_expiring", "expiresAt": _AT},),
    "resync": ({"type": "resync", "reason": "expired", "cursor": _CURSOR},),
    "reconnect": ({"type": "reconnect", "reason": "restarting", "afterMs": 350},),
    "error": (
        {
            "type": "error",
            "requestId": "2",
            "code": "invalid_message",
            "message": "unknown value 'document_update'; known are document_updates, notifications",
            "path": "$.subscription.type",
        },
    ),
    "edit_result": (
        {
            "type": "edit_result",
            "changeId": "change1",
            "status": "applied",
            "version": 42,
            "epoch": "13859bf29a9a8506",
            "duplicate": False,
            "conflicts": [],
            "ops": [{"op": "set", "path": "/title", "value": "NDA, second version"}],
        },
    ),
    "event": ({"type": "event", "cursor": _CURSOR, "event": _EVENT},),
}
"""By the message's type."""
