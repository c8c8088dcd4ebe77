"""End a connection whose right to be there has ended.

Owns: telling it why, on either transport.   Not: when that is so (sessions, cluster).
Rule: no event that still waits for him is handed to him any more.
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.messages import ErrorMessage

_REASONS: Final = {
    codes.CLOSE_TOKEN_EXPIRED: "the token's time is over",
    codes.CLOSE_REVOKED: "the token, user or connection was revoked",
}


def expel(hub: Hub, connection: Connection, code: CloseCode) -> None:
    """Close with `code` (token_expired or revoked); an event stream, which has no close codes, is told by a message before it ends."""
    if connection.is_open and connection.outlet.unsent():
        # What waits for a peer that does not read would reach him long after he lost his right to it.
        connection.outlet.withdraw()
    if connection.form is STREAM and connection.is_open:
        hub.send(connection, ErrorMessage(code=code.name, message=_REASONS[code]))
    hub.end(connection, code)
