"""Calls about access: where to connect, tickets, revocations, connections.

Owns: their descriptions.   Not: what they do (operations/negotiate.py, operations/tickets.py, operations/administer.py).
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.ids import Id
from signtusk_realtime.operations.administer import Closed, OpenConnections, Revocation, RevocationAnswer
from signtusk_realtime.operations.negotiate import Negotiated
from signtusk_realtime.operations.refresh import Renewal, Renewed
from signtusk_realtime.operations.tickets import TicketAnswer
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

TYPES: Final = (Negotiated, TicketAnswer, Revocation, RevocationAnswer, OpenConnections, Closed, Renewal, Renewed)
_ADMINISTER: Final = "Needs the scope `realtime:admin`; a service names the organization."
_SERVICES: Final = " With `*` it revokes services."


def paths(schemas: SchemaOf, _: ServerLimits) -> Object:
    """Describe the calls."""
    user = query("user", schemas(Id), "Only this user's.")
    revoke = operation(
        "revoke",
        "End somebody's access",
        "Exactly one of a user (all tokens issued up to this second), a token by its `jti`, a connection. What is open is closed with 4504, "
        "and whoever comes back with it is refused, also after a restart. What is unknown, or another organization's, closes nothing. "
        + _ADMINISTER
        + _SERVICES,
        parameters=identity(schemas),
        answers={
            200: json_answer("Stored, and done or counted as pending.", ref("RevocationAnswer"), examples.REVOKED)
        },
        problems=(
            *WITH_IDENTITY,
            "invalid_json",
            "invalid_message",
            "unsupported_media_type",
            "payload_too_large",
            "rate_limited",
            "unavailable",
        ),
        tag="access",
    )
    revoke["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": ref("Revocation"), "example": examples.REVOCATION}},
    }
    refresh = operation(
        "refreshConnection",
        "Give a connection a new token",
        "For event streams, over which nothing can be sent: the connection, whose id `connected` told, goes on with this token, of the same user "
        "and organization. What it does not cover any more ends. The token is all that says who asks.",
        parameters=[
            {
                "name": "connectionId",
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
                "description": "The connection.",
            }
        ],
        answers={
            200: json_answer(
                "Until when the connection may stay.", ref("Renewed"), {"expiresAt": "2026-11-22T19:19:22.000Z"}
            )
        },
        problems=(
            "unauthenticated",
            "not_found",
            "invalid_json",
            "invalid_message",
            "invalid_parameter",
            "unsupported_media_type",
            "payload_too_large",
            "unavailable",
        ),
        is_open=True,
        tag="access",
    )
    refresh["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": ref("Renewal"), "example": {"token": "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}}
        },
    }
    return {
        "/api/realtime/connections/{connectionId}/refresh": {"post": refresh},
        "/api/realtime/negotiate": {
            "post": operation(
                "negotiate",
                "Be sent to a node",
                "One that has room, chosen by the setting `load_balancing`, with a one-time ticket for whoever asks. `/ws` and "
                "`/api/realtime/events` lie below `url`. With one node it is that one.",
                parameters=identity(schemas),
                answers={200: json_answer("Where to connect.", ref("Negotiated"), examples.NEGOTIATED)},
                problems=(*WITH_IDENTITY, "rate_limited", "overloaded", "unavailable"),
                tag="access",
            )
        },
        "/api/realtime/tickets": {
            "post": operation(
                "issueTicket",
                "Get a one-time ticket",
                "It opens one connection, as `?ticket=` on `/ws` or the event stream, for the identity that asked for it; on an event stream "
                "the same ticket with a cursor reopens that stream, and ends it where it is still open.",
                parameters=identity(schemas),
                answers={200: json_answer("The ticket.", ref("TicketAnswer"), examples.TICKET)},
                problems=(*WITH_IDENTITY, "rate_limited", "unavailable"),
                tag="access",
            )
        },
        "/api/realtime/revocations": {"post": revoke},
        "/api/realtime/connections": {
            "get": operation(
                "listConnections",
                "See who is connected",
                _ADMINISTER,
                parameters=[user, *identity(schemas)],
                answers={200: json_answer("The open connections.", ref("OpenConnections"), examples.CONNECTIONS)},
                problems=(*WITH_IDENTITY, "invalid_message", "unavailable"),
                tag="access",
            ),
            "delete": operation(
                "closeConnections",
                "Close a user's connections",
                "The user may come back: to keep somebody out, revoke. " + _ADMINISTER,
                parameters=[{**user, "required": True}, *identity(schemas)],
                answers={200: json_answer("How many were closed.", ref("Closed"), {"closed": 2})},
                problems=(*WITH_IDENTITY, "invalid_message", "unavailable"),
                tag="access",
            ),
        },
    }
