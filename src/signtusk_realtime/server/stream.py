"""An event stream on a raw transport: the outlet of a connection that only listens.

Owns: the response's head, the end.   Not: blocks (protocol/stream.py), what is asked for (wanted.py), the HTTP before it (front.py).
Rule 1: whatever is wrong is answered before the stream starts; afterwards there is no task, queue or timer of its own.
Rule 2: the body ends with the connection (`Connection: close`).
Why not chunked: chunk headers would be bytes of their own around every write, whose only gain, telling an end from a cut, an event stream
does not need: a client reconnects after either, and resumes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.operations.connect import Admission
from signtusk_realtime.protocol import codes, stream
from signtusk_realtime.server.carriers import settled
from signtusk_realtime.server.entrance import Entrance, NativeProtocol
from signtusk_realtime.server.goodbye import say_no_more
from signtusk_realtime.server.origins import VARY
from signtusk_realtime.server.problems import (
    HeaderPairs,
    Problem,
    encode_response,
    internal_problem,
    problem_of,
)
from signtusk_realtime.server.request import RequestHead
from signtusk_realtime.server.wanted import Wanted, read_wanted

log = logging.getLogger(__name__)

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\nConnection: close\r\n"
)

_ADMITTING: Final = 0
_OPEN: Final = 1
_ENDING: Final = 2
_LOST: Final = 3


class EventStream(NativeProtocol):
    """See the module. Fulfils delivery's Outlet."""

    __slots__ = ("_connection", "_entrance", "_state", "_transport", "write")

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._state = _ADMITTING
        self._connection = None
        self.write: Callable[[bytes | list[str]], None]

    def begin(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over from Front. `rest` would be a further request; this response is the connection's last."""
        entrance = self._entrance
        entrance.natives.add(self)
        self._transport = transport
        # STREAM joins bytes, so that the transport's method takes all it is given; no function of ours stands between.
        self.write = cast("Callable[[bytes | list[str]], None]", transport.write)
        cors: HeaderPairs = (VARY, *entrance.always)
        try:
            cors = (*entrance.policy.allow(head.headers), *entrance.always)
            head = settled(head, entrance.carriers)
            entrance.check_room()
            limits = entrance.limits
            wanted = read_wanted(
                head.headers, head.query, depth=limits.json_depth, max_subscriptions=limits.subscriptions
            )
        except RealtimeError as error:
            self._refuse(problem_of(error), cors)
            return
        entrance.spawn(self._admit(head, wanted, cors), self)

    async def _admit(self, head: RequestHead, wanted: Wanted, cors: HeaderPairs) -> None:
        entrance = self._entrance
        try:
            async with entrance.gate:
                if self._state != _ADMITTING:
                    return
                identity = await entrance.authenticator.authenticate(wanted.credentials(head.headers))
                subscriptions = await entrance.permitted(wanted.asked, identity)
                address = entrance.address_of(self._transport.get_extra_info("peername"), head.headers)
                connection_id = wanted.connection_id
                if connection_id is not None:
                    entrance.connect.supersede(connection_id)
                connection = self._open(await entrance.connect.admit(identity, address), connection_id, cors)
                if connection is not None:
                    await entrance.subscriptions.subscribe_all(connection, subscriptions, wanted.cursor)
        except RealtimeError as error:
            self._refuse(problem_of(error), cors)
        except Exception:
            log.exception("admission failed")
            self._refuse(internal_problem(), cors)
            if self._connection is not None:
                entrance.hub.end(self._connection, codes.CLOSE_INTERNAL)

    def _open(self, admission: Admission, connection_id: str | None, cors: HeaderPairs) -> Connection | None:
        entrance = self._entrance
        if self._state != _ADMITTING:
            entrance.connect.forgo(admission)
            return None
        try:
            entrance.check_room(admission)
        except RealtimeError as error:
            entrance.connect.forgo(admission)
            self._refuse(problem_of(error), cors)
            return None
        transport = self._transport
        transport.set_write_buffer_limits(high=entrance.limits.high_water_bytes)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in cors)
        preamble = b"".join((_HEAD, lines, b"\r\n", stream.retry_block(entrance.limits.retry_ms)))
        self._state = _OPEN
        connection = entrance.connect.open(
            admission, self, STREAM, id_prefix="sse", connection_id=connection_id, preamble=preamble
        )
        # A hub that was closed meanwhile ends the connection while it opens it.
        if not connection.is_open:
            return None
        self._connection = connection
        entrance.admitted(self)
        return connection

    def _refuse(self, found: Problem, extra: HeaderPairs) -> None:
        if self._state == _ADMITTING:
            if self._entrance.is_stopping:
                # Why unanswered: an EventSource takes any refusal for final (HTML §9.2), and a lost connection for a reason to try again;
                # those who were let go a moment ago come by connections that their browser kept open.
                self._state = _ENDING
                self._entrance.closings.add(self)
                self._transport.close()
                return
            self._transport.write(encode_response(found, extra))
            self._state = _ENDING
            self._entrance.closings.add(self)
            # What still comes in is thrown away until the peer ends.
            say_no_more(self._transport)

    def data_received(self, data: bytes) -> None:
        """Throw away what comes behind the request."""

    def eof_received(self) -> bool:
        """Let the transport close: nobody half-closes a stream that he wants to read."""
        return False

    def close(self, code: int, reason: str, /) -> None:
        """End the stream after what was written. The code has no place in it."""
        if self._state == _OPEN:
            self._state = _ENDING
            self._connection = None
            self._entrance.closings.add(self)
            self._transport.close()

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell delivery and the entrance."""
        self._state = _LOST
        connection, self._connection = self._connection, None
        if connection is not None:
            self._entrance.hub.lost(connection)
        self._entrance.lost(self)
