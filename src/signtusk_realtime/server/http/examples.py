"""Examples for the description of the HTTP API (openapi.py).

Owns: values that readers recognise from the documentation.   Rule: each is a valid one; tests/unit/server/test_openapi.py holds them to the schemas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_CURSOR: Final = "E4Vm8fmphQZlAAAAAAAAAAAAAAAAeM5e8A--kYYAAAAAAAAAAAAAAAA1M8a5"
_UPDATE: Final[dict[str, Any]] = {
    "kind": "document_update",
    "documentId": "doc123",
    "type": "updated",
    "changes": {"title": "NDA, second version"},
    "userId": "user123",
    "organizationId": "org123",
}
PRESENCE: Final[Mapping[str, Any]] = {
    "users": [
        {
            "userId": "user123",
            "status": "online",
            "connections": 2,
            "lastSeen": "2026-11-22T18:49:22.123Z",
            "currentDocument": "doc123",
        }
    ],
    "cursor": _CURSOR,
}
PUBLICATIONS: Final[Mapping[str, Any]] = {
    "document_update": _UPDATE,
    "signature_status": {
        "kind": "signature_status",
        "signingRequestId": "request123",
        "documentId": "doc123",
        "recipientId": "recipient123",
        "status": "signed",
        "signatureData": {"signedAt": "2026-11-22T18:49:22.123Z"},
        "userId": "user123",
        "organizationId": "org123",
    },
    "notification": {
        "kind": "notification",
        "id": "note_1",
        "title": "Signed",
        "message": "Your NDA was signed.",
        "type": "success",
        "priority": "high",
        "userId": "user123",
        "organizationId": "org123",
    },
    "batch": [
        {**_UPDATE, "id": "evt_1"},
        {"kind": "user_presence", "userId": "user123", "organizationId": "org123", "status": "online"},
    ],
}
PUBLISHED: Final = {"results": [{"eventId": "evt_1", "cursor": _CURSOR, "duplicate": False}]}
EVENT: Final = {
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
    "timestamp": "2026-11-22T18:49:22.123Z",
}
PAGE: Final = {"events": [{"cursor": _CURSOR, "event": EVENT}], "cursor": _CURSOR, "more": False}
SUBSCRIPTIONS: Final = [{"type": "document_updates", "filters": {"documentId": "doc123"}}]
STREAM: Final = (
    "retry: 2000\n\n"
    'data: {"type":"connected","connectionId":"sse_1","timestamp":"2026-11-22T18:49:21.000Z","userId":"user123",'
    '"organizationId":"org123","heartbeatInterval":30000,"server":{"features":["websocket","sse"]}}\n\n'
    f"event: document_updated\nid: {_CURSOR}\n"
    'data: {"id":"evt_1","type":"document_updated","payload":{"documentId":"doc123","type":"updated","userId":"user123"},'
    '"userId":"user123","organizationId":"org123","timestamp":"2026-11-22T18:49:22.123Z"}\n\n'
)
METRICS: Final = {
    "activeConnections": 812,
    "sseConnections": 40,
    "sseSubscriptions": 240,
    "subscriptionCount": 1864,
    "messagesPerSecond": 3120.4,
    "averageLatency": 4.1,
    "errorRate": 0.0007,
    "memoryUsage": 61865984,
    "cpuUsage": 0.13,
    "eventQueueSize": 0,
    "requestsRefused": {"unauthenticated": 12, "forbidden": 3},
    "conflictStatistics": {"activeConflicts": 1, "pendingChanges": 1, "documentsWithConflicts": 1},
}
OPENMETRICS: Final = (
    "# HELP signtusk_realtime_connections Open connections.\n# TYPE signtusk_realtime_connections gauge\n"
    'signtusk_realtime_connections{transport="websocket"} 812.0\nsigntusk_realtime_connections{transport="sse"} 40.0\n# EOF\n'
)
HEALTH: Final = {"status": "ok", "version": "0.1.0", "checks": {"engine": {"status": "ok"}, "server": {"status": "ok"}}}
UNAVAILABLE: Final = {
    "status": "unavailable",
    "version": "0.1.0",
    "checks": {"engine": {"status": "unavailable", "detail": "the disk is full"}, "server": {"status": "ok"}},
}
MORE_OF_PROBLEMS: Final[Mapping[str, dict[str, Any]]] = {
    "invalid_event": {"errors": [{"pointer": "/3/userId", "detail": "Object missing required field `userId`"}]},
    "invalid_parameter": {"errors": [{"pointer": "?limit", "detail": "limit must be a number from 1 to 1000"}]},
    "cursor_expired": {"reason": "expired", "cursor": _CURSOR},
}
"""Members that only some problems have."""

TICKET: Final = {"ticket": "tkt_Jv3hV9mY1rXq7wKp0dBt2A", "expiresAt": "2026-11-22T18:49:52.123Z"}
NEGOTIATED: Final = {
    "url": "https://node2.example.com",
    "transports": ["websocket", "sse"],
    "ticket": "tkt_Jv3hV9mY1rXq7wKp0dBt2A",
    "node": "node_01936c1f9a3e7cc5",
}
REVOCATION: Final = {"userId": "user123"}
REVOKED: Final = {"closed": 2, "pendingNodes": 0}
CONNECTIONS: Final = {
    "connections": [
        {
            "connectionId": "conn_1",
            "userId": "user123",
            "transport": "websocket",
            "connectedAt": "2026-11-22T18:49:21.000Z",
            "node": "node_1",
        }
    ]
}

_OP: Final = {"op": "set", "path": "/title", "value": "NDA, second version"}
_CONFLICT: Final[dict[str, Any]] = {
    "conflictId": "cfl_1",
    "rev": 1,
    "documentId": "doc123",
    "conflictType": "concurrent_edit",
    "reason": "scalar",
    "certainty": "causal",
    "status": "open",
    "field": "title",
    "path": "/title",
    "baseValue": "NDA",
    "currentValue": "NDA, final",
    "incomingValue": "NDA, second version",
    "absent": [],
    "userId": "user456",
    "incomingUserId": "user123",
    "baseVersion": 41,
    "currentVersion": 42,
    "changeId": "change1",
    "suggested": "NDA, second version",
    "timestamp": "2026-11-22T18:49:22.123Z",
}
EDIT: Final = {
    "changeId": "change1",
    "baseVersion": 41,
    "changes": {"title": "NDA, second version"},
    "strategy": "merge",
}
EDITED: Final = {
    "changeId": "change1",
    "status": "applied",
    "version": 42,
    "epoch": "13859bf29a9a8506",
    "duplicate": False,
    "conflicts": [],
    "ops": [_OP],
}
EDIT_REFUSED: Final = {
    "changeId": "change1",
    "status": "refused",
    "version": 42,
    "epoch": "13859bf29a9a8506",
    "duplicate": False,
    "conflicts": [],
    "ops": [],
    "code": "document_locked",
    "message": "the document is sent",
    "state": "sent",
}
DOCUMENT: Final = {
    "documentId": "doc123",
    "version": 42,
    "epoch": "13859bf29a9a8506",
    "state": "draft",
    "data": {"title": "NDA, second version"},
    "contentHash": "b0b5ea3d5dd6e6d5b1bb4b46a3e1a2bcf6a4e4ffd6f0d7fca0a7d6ddca1de5c1",
    "openConflicts": 0,
    "cursor": _CURSOR,
}
DOCUMENT_HISTORY: Final = {
    "entries": [
        {
            "version": 42,
            "kind": "edit",
            "userId": "user123",
            "clientId": "",
            "changeId": "change1",
            "baseVersion": 41,
            "status": "applied",
            "conflicts": [],
            "ops": [_OP],
            "timestamp": "2026-11-22T18:49:22.123Z",
            "hash": "5f1d7c0a3f9a6c1c2b5f2c2f4cb3f8a1a5b6f2d0c1e4f7a8b9c0d1e2f3a4b5c6",
            "prevHash": "0d1e2f3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e",
        }
    ]
}
DOCUMENT_CONFLICTS: Final = {"documentId": "doc123", "conflicts": [_CONFLICT]}
RESOLVE: Final = {"decisions": [{"conflictId": "cfl_1", "rev": 1, "take": "incoming"}]}
RESOLVED: Final = {
    "success": True,
    "documentId": "doc123",
    "resolution": "overwrite",
    "resolvedBy": "user123",
    "version": 43,
}
MOVE: Final = {"to": "sent", "version": 43}
MOVED: Final = {
    "documentId": "doc123",
    "version": 44,
    "state": "sent",
    "contentHash": "b0b5ea3d5dd6e6d5b1bb4b46a3e1a2bcf6a4e4ffd6f0d7fca0a7d6ddca1de5c1",
}
