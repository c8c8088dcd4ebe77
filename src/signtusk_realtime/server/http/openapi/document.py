"""The HTTP API as an OpenAPI 3.1 document.

Owns: the document as a whole, and its schemas.   Not: the calls (a file for each topic beside this one), the form of what is sent and
answered: that is generated from the wire types, and codes with their statuses from protocol/codes.py.
Rule 1: nothing is written here that a type or the table of codes says already.
Rule 2: every answer that this server gives is in it; tests/e2e/test_openapi.py asks a real server whether that is so.
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.kinds import Published as PublishedEvent
from signtusk_realtime.events.subscriptions import EventType, SubscriptionType
from signtusk_realtime.protocol.messages import CursorText
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.openapi import access, documents, events, presence, service
from signtusk_realtime.server.http.openapi.parts import Object, ref, schemas_of
from signtusk_realtime.server.problems import ProblemBody

VERSION: Final = "3.1.0"
TOPICS: Final = (events, presence, documents, access, service)
"""Files that describe calls: each has TYPES, the wire types it needs, and `paths`."""

_DESCRIPTION: Final = """\
Publish what happens to documents, read it again, and follow it live. What happens in an organization is one ordered log; a cursor is how far \
a client has got in it, and is the same over WebSocket, event stream and HTTP.

Refusals are `application/problem+json` (RFC 9457) with a `code`. In development mode a request says who it acts for by a bearer token \
`user@organization` or by the parameters `userId` and `organizationId`."""


def document(version: str, limits: ServerLimits) -> Object:
    """Make the document of a server with these limits, without a mount's path."""
    schemas = _Schemas()
    return {
        "openapi": VERSION,
        "info": {"title": "signtusk-realtime", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "events", "description": "Publishing, following, reading again."},
            {"name": "documents", "description": "Editing together, deciding conflicts."},
            {"name": "access", "description": "Who may connect, and who is."},
            {"name": "operation", "description": "How the service is."},
        ],
        "security": [{"bearer": []}, {}],
        "paths": {path: calls for topic in TOPICS for path, calls in topic.paths(schemas.of, limits).items()},
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


def document_at(made: Object, root: str) -> Object:
    """Give the document of a service that is found under `root`."""
    return {**made, "servers": [{"url": root or "/"}]}


class _Schemas:
    """The schemas of the wire types, by name; types whose fields are opaque to the code are told here what is in them."""

    def __init__(self) -> None:
        plain = (EventType, SubscriptionType, Id, CursorText)
        types: list[object] = [*(kind for topic in TOPICS for kind in topic.TYPES), ProblemBody, *plain]
        found, self.components = schemas_of(types)
        self._found = dict(zip(types, found, strict=True))
        self.components["Publication"] = self._found[PublishedEvent]
        self.components["Event"]["properties"]["type"] = self._found[EventType]
        # Spliced from bytes that were encoded once, so that the type says no more than "JSON".
        self.components["HistoryEvent"]["properties"]["event"] = ref("Event")

    def of(self, wanted: object) -> Object:
        """Give the schema of one of the types."""
        found: Object = self._found[wanted]
        return found
