"""The call that says who is there.

Owns: its description.   Not: what it does (operations/presence).
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.ids import Id
from signtusk_realtime.operations.presence.presence import PresenceAnswer
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.http.openapi.parts import (
    WITH_IDENTITY,
    Object,
    SchemaOf,
    identity,
    json_answer,
    operation,
    query,
    ref,
)

TYPES: Final = (PresenceAnswer,)


def paths(schemas: SchemaOf, _: ServerLimits) -> Object:
    """Describe the call."""
    read = operation(
        "readPresence",
        "Who is there",
        "Users with a connection to any node, also those whose last one closed a moment ago, and those of whom the application published "
        "that they are there. For members only. To keep up with it subscribe to `user_presence` first, then ask.",
        parameters=[
            query("documentId", schemas(Id), "Only those whose current document this is."),
            *identity(schemas),
        ],
        answers={200: json_answer("Users by their ids.", ref("PresenceAnswer"), examples.PRESENCE)},
        problems=(*WITH_IDENTITY, "unavailable"),
    )
    return {"/api/realtime/presence": {"get": read}}
