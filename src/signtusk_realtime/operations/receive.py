"""What a client's message leads to.

Owns: from text to the operation it asks for, and the error answer.   Not: framing (server), the operations themselves.
Rule 1: messages of one connection take effect in their order.   Rule 2: a refused request is answered, and the connection lives on, unless
it is malformed too often (4509).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec import UNSET, UnsetType

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.protocol import codes, json
from signtusk_realtime.protocol.messages import ErrorMessage, Ping, Pong, Subscribe, Unsubscribe, request_id_of
from signtusk_realtime.sessions.session import is_malformed


class Receive:
    """See the module. `monotonic_s` and `now_ms` are the two clocks."""

    def __init__(
        self, hub: Hub, subscriptions: Subscriptions, *, monotonic_s: Callable[[], float], now_ms: Callable[[], int]
    ) -> None:
        self._hub = hub
        self._subscriptions = subscriptions
        self._monotonic_s = monotonic_s
        self._now_ms = now_ms

    def __call__(self, connection: Connection, text: bytes) -> None:
        """Do what one message asks for, or answer why not."""
        if not connection.is_open:
            return
        try:
            message = connection.session.read(text)
            match message:
                case Subscribe():
                    self._subscriptions.subscribe(connection, message)
                case Unsubscribe():
                    self._subscriptions.unsubscribe(connection, message)
                case Ping():
                    self._pong(connection, message)
                case _:
                    assert_never(message)
        except RealtimeError as error:
            self._refuse(connection, error, request_id_of(text))

    def _pong(self, connection: Connection, ping: Ping) -> None:
        has_subscribed = connection.session.has_subscribed
        cursor = self._hub.cursor_of(connection) if has_subscribed else UNSET
        self._hub.send(
            connection, Pong(request_id=ping.request_id, timestamp=format_milliseconds(self._now_ms()), cursor=cursor)
        )

    def _refuse(self, connection: Connection, error: RealtimeError, request_id: str | UnsetType) -> None:
        path = UNSET if error.path is None else json.json_path(error.path)
        self._hub.send(
            connection,
            ErrorMessage(
                request_id=request_id,
                code=error.code,
                message=error.message,
                path=path,
            ),
        )
        if is_malformed(error) and connection.session.is_malformed_too_often(self._monotonic_s()):
            self._hub.end(connection, codes.CLOSE_PROTOCOL_VIOLATION)
