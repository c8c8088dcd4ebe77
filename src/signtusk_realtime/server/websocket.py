"""A WebSocket on a raw transport: the outlet of a connection, and what comes in from it.

Owns: the handshake's answer, reading frames, the closing handshake.   Not: framing itself (protocol/frames.py), what messages mean
(operations/receive.py), the HTTP before it (front.py).
Rule 1: after the upgrade there is no task, queue or timer of its own; `write` is the transport's own method.
Rule 2: after a close, from either side, nothing that comes in is acted on, but for the peer's close.
Rule 3: what arrives before the upgrade is kept, bounded, and read after it.
Rule 4: one step of reading a turn of the loop (protocol/frames.py), whatever came in at once: meanwhile nothing more is read, and others have
their turns. Who goes on sending behind our close is not read at all any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, cast

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import frames_for
from signtusk_realtime.errors import Forbidden, RealtimeError, Unauthenticated
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.operations.connect import Admission
from signtusk_realtime.protocol import codes, frames
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.frames import FrameEvent, FrameReader
from signtusk_realtime.protocol.handshake import Refusal, Upgrade, negotiate
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
    problem_of_refusal,
)
from signtusk_realtime.server.request import CONNECT_PARAMETERS, RequestHead, credentials_of, parse_query

log = logging.getLogger(__name__)

EARLY_BYTES: Final = 4096
"""Read before it is known who asks, but for what one read brings beyond it."""

THROWN_AWAY_BYTES: Final = 1 << 20
"""Read, and thrown away, of what comes after everything was said: whoever was in the middle of a message is through with it then. More is left
unread until the deadline ends it, for reading costs others who pour on."""

_ADMITTING: Final = 0
_OPEN: Final = 1
_CLOSING: Final = 2
"""Our close frame is sent; the peer's is awaited."""
_ENDING: Final = 3
"""All is said; what still comes in is thrown away."""
_LOST: Final = 4


class WebSocket(NativeProtocol):
    """See the module. Fulfils delivery's Outlet."""

    __slots__ = ("_early", "_is_full", "_is_paused", "_reader", "_state", "_thrown_away", "write")

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._state = _ADMITTING
        self._connection = None
        self._reader: FrameReader | None = None
        self._early: bytearray | None = bytearray()
        self._thrown_away = 0
        self._is_full = False
        """Whether the outbox is, so that nothing is read (NativeProtocol)."""
        self._is_paused = False
        """Whether nothing is read because of Rule 4."""
        self.write: Callable[[bytes | list[str]], None]

    # ---- before the upgrade

    def begin(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over from Front."""
        entrance = self._entrance
        entrance.natives.add(self)
        self._transport = transport
        # Frames are joined as bytes, so that the transport's method takes all it is given; no function of ours stands between.
        self.write = cast("Callable[[bytes | list[str]], None]", transport.write)
        cors: HeaderPairs = (VARY, *entrance.always)
        try:
            cors = (*entrance.policy.allow(head.headers), *entrance.always)
            head = settled(head, entrance.carriers)
            entrance.check_room()
            upgrade = negotiate(head.method, head.http_version, head.headers, compression=entrance.limits.compression)
            if isinstance(upgrade, Refusal):
                self._refuse(problem_of_refusal(upgrade), cors)
                return
            query = parse_query(head.query, CONNECT_PARAMETERS, refuse_unknown=False)
        except RealtimeError as error:
            self._refuse(problem_of(error), cors)
            return
        if rest:
            self.data_received(rest)
        entrance.spawn(self._admit(upgrade, head, query, cors), self)

    async def _admit(self, upgrade: Upgrade, head: RequestHead, query: dict[str, str], cors: HeaderPairs) -> None:
        entrance = self._entrance
        try:
            async with entrance.gate:
                if self._state != _ADMITTING:
                    return
                credentials: Credentials = credentials_of("connect", head.headers, query, offered=upgrade.offer.bearer)
                identity = await entrance.authenticator.authenticate(credentials)
                address = entrance.address_of(self._transport.get_extra_info("peername"), head.headers)
                self._open(upgrade, await entrance.connect.admit(identity, address), cors)
        except (Unauthenticated, Forbidden) as error:
            if upgrade.offer.subprotocol:
                is_unknown = isinstance(error, Unauthenticated)
                self._refuse_in_band(upgrade, codes.CLOSE_UNAUTHENTICATED if is_unknown else codes.CLOSE_FORBIDDEN)
            else:
                self._refuse(problem_of(error), cors)
        except RealtimeError as error:
            self._refuse(problem_of(error), cors)
        except Exception:
            log.exception("admission failed")
            self._refuse(internal_problem(), cors)
            if self._connection is not None:
                entrance.hub.end(self._connection, codes.CLOSE_INTERNAL)

    def _open(self, upgrade: Upgrade, admission: Admission, cors: HeaderPairs) -> None:
        entrance = self._entrance
        if self._state != _ADMITTING:
            entrance.connect.forgo(admission)
            return
        try:
            entrance.check_room(admission)
        except RealtimeError as error:
            entrance.connect.forgo(admission)
            self._refuse(problem_of(error), cors)
            return
        transport = self._transport
        transport.set_write_buffer_limits(high=entrance.limits.high_water_bytes)
        self._reader = self._reader_of(upgrade)
        self._state = _OPEN
        preamble = upgrade.response(entrance.always)
        connection = entrance.connect.open(admission, self, frames_for(upgrade.deflate), preamble=preamble)
        # A hub that was closed meanwhile ends the connection while it opens it.
        self._connection = connection if connection.is_open else None
        entrance.admitted(self)
        early, self._early = self._early, None
        if not transport.is_reading() and not transport.is_closing():
            transport.resume_reading()
        if early:
            self.data_received(bytes(early))

    def _reader_of(self, upgrade: Upgrade) -> FrameReader:
        entrance = self._entrance
        return FrameReader(entrance.frame_limits if upgrade.deflate is None else entrance.deflated_frame_limits)

    def _refuse(self, problem: Problem, extra: HeaderPairs) -> None:
        if self._state == _ADMITTING:
            self._transport.write(encode_response(problem, extra))
            self._end_politely()

    def _refuse_in_band(self, upgrade: Upgrade, code: CloseCode) -> None:
        """Upgrade, and say why not by a close frame: the only way a browser's page learns of it."""
        if self._state == _ADMITTING:
            REQUESTS_REFUSED[code.name] += 1
            self._early = None
            self._reader = self._reader_of(upgrade)
            self._transport.write(upgrade.response(self._entrance.always))
            self._send_close(code.number, code.name)

    # ---- what comes in

    def data_received(self, data: bytes) -> None:
        """Act on whatever these bytes complete."""
        if self._state == _OPEN:
            connection, reader = self._connection, self._reader
            assert connection is not None
            assert reader is not None
            self._entrance.hub.heard(connection)
            self._take(reader, reader.feed(data))
        elif self._state == _ADMITTING and self._early is not None:
            self._early += data
            if len(self._early) > EARLY_BYTES and self._transport.is_reading():
                self._transport.pause_reading()
        elif self._state == _CLOSING:
            assert self._reader is not None
            self._take(self._reader, self._reader.feed(data))
        elif self._state == _ENDING:
            self._thrown_away += len(data)
            if self._thrown_away > THROWN_AWAY_BYTES:
                self._pause()

    def _take(self, reader: FrameReader, events: Sequence[FrameEvent]) -> None:
        """Act on what a step gave, and see to the next one."""
        for event in events:
            if self._state == _OPEN:
                assert self._connection is not None
                self._act(self._connection, event)
            elif self._state == _CLOSING:
                self._end_of_closing(event)
        if reader.has_more and self._state in (_OPEN, _CLOSING):
            self._pause()
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._is_paused and self._state != _ENDING:
            self._is_paused = False
            if not self._is_full and not self._transport.is_closing():
                self._transport.resume_reading()

    def _go_on(self) -> None:
        if self._reader is not None:
            self._take(self._reader, self._reader.more())

    def _pause(self) -> None:
        self._is_paused = True
        if self._transport.is_reading():
            self._transport.pause_reading()

    def _end_of_closing(self, event: FrameEvent) -> None:
        match event:
            case frames.Closed():
                self._state = _ENDING
                self._transport.close()
            case frames.ProtocolViolation():
                # What still comes costs nothing unread; the deadline ends it.
                self._end_politely()
                self._pause()
            case _:
                pass  # came in together with what we closed for

    def _act(self, connection: Connection, event: FrameEvent) -> None:
        match event:
            case frames.Text(payload):
                try:
                    self._entrance.receive(connection, payload)
                except Exception:
                    log.exception("receiving failed", extra={"connection": connection.connection_id})
                    self._entrance.hub.end(connection, codes.CLOSE_INTERNAL)
            case frames.Ping(payload):
                if self._entrance.receive.allows(connection, len(payload)):
                    self._transport.write(frames.encode_pong(payload))
            case frames.Pong(payload):
                # It has been heard already. It counts, for unasked ones cost as much to read as pings.
                self._entrance.receive.allows(connection, len(payload))
            case frames.Closed(code, _):
                self._forget(connection)
                if code in codes.GOODBYES:
                    self._entrance.receive.left(connection)
                self._transport.write(frames.encode_close(code))
                self._state = _ENDING
                self._entrance.closings.add(self)
                self._transport.close()
            case frames.ProtocolViolation(code, reason):
                # Ordering: delivery lets go first, so that nothing is written behind the close frame.
                self._forget(connection)
                self._transport.write(frames.encode_close(code, reason))
                self._end_politely()
            case frames.Fragments():
                self._entrance.receive.allows(connection, 0)
            case _:
                pass  # binary messages are violations here

    def eof_received(self) -> bool:
        """Let the transport close: a WebSocket is not half open."""
        return False

    def pause_writing(self) -> None:
        """More waits than the outbox may hold."""
        self._is_full = True
        super().pause_writing()

    def resume_writing(self) -> None:
        """The peer has taken enough of what waited."""
        self._is_full = False
        super().resume_writing()
        if self._is_paused:
            self._pause()

    # ---- delivery's side

    def close(self, code: int, reason: str, /) -> None:
        """Send a close frame, and end when the peer has answered it or the deadline is over."""
        if self._state == _OPEN:
            self._connection = None
            self._send_close(code, reason)

    # ---- the end

    def abort(self) -> None:
        """End at once, whatever is unsent."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell delivery and the entrance."""
        self._state = _LOST
        if self._connection is not None:
            self._forget(self._connection)
        self._reader = None
        self._early = None
        self._entrance.lost(self)

    def _forget(self, connection: Connection) -> None:
        self._connection = None
        self._entrance.hub.lost(connection)

    def _send_close(self, code: int, reason: str) -> None:
        assert self._reader is not None
        self._reader.stop()
        self._transport.write(frames.encode_close(code, reason))
        self._state = _CLOSING
        self._entrance.closings.add(self)

    def _end_politely(self) -> None:
        """Say that nothing follows, and throw away what still comes."""
        self._state = _ENDING
        self._early = None
        self._reader = None
        self._is_paused = False
        self._entrance.closings.add(self)
        if self._transport.is_closing():
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()
        say_no_more(self._transport)
