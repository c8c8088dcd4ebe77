"""A WebSocket and an event stream over ASGI: one call of the application each.

Owns: from the scope to the end of the call.   Not: which calls these are (asgi.py), how their outlets work (outlets.py).
Order: as of the native ways in (entrance.py).
Rule: nothing of a peer's life outlasts the call that serves it, but for the outlet's close.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct
from starlette.types import Message, Receive, Scope, Send

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM, TEXTS, Format
from signtusk_realtime.errors import Forbidden, InvalidInput, RealtimeError, Unauthenticated
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.operations.connect import Admission
from signtusk_realtime.protocol import codes, stream
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.handshake import SUBPROTOCOL, Headers, Offer, parse_offer
from signtusk_realtime.server.asgi_refusals import Denial, Response
from signtusk_realtime.server.entrance import Entrance
from signtusk_realtime.server.host import HostWatch
from signtusk_realtime.server.http.app import HttpApi
from signtusk_realtime.server.origins import VARY
from signtusk_realtime.server.outlets import Message as Written
from signtusk_realtime.server.outlets import PumpedOutlet, Pumps
from signtusk_realtime.server.problems import HeaderPairs, internal_problem, problem_of
from signtusk_realtime.server.request import CONNECT_PARAMETERS, credentials_of, parse_query
from signtusk_realtime.server.wanted import read_wanted
from signtusk_realtime.sessions.identity import Identity

log = logging.getLogger(__name__)

_STREAM_HEAD: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class Doors(Struct, frozen=True):
    """What stands behind the mount between the service's beginning and its end."""

    entrance: Entrance
    api: HttpApi
    pumps: Pumps
    host: HostWatch


class Peer(ABC):
    """One peer, from its scope to the end of the call: what WebSocket and event stream share."""

    linger_s = 0.0
    """How long the peer is listened to once we have ended."""

    def __init__(self, doors: Doors, scope: Scope, receive: Receive, send: Send) -> None:
        self._entrance = doors.entrance
        self._pumps = doors.pumps
        self._host = doors.host
        self._scope = scope
        self._receive = receive
        self._send = send
        self._leaving: asyncio.Timeout | None = None
        """Running while the peer is listened to; its deadline is set when we have ended."""

    def _open(
        self,
        admission: Admission,
        form: Format,
        write: Callable[[Written], object],
        finish: Callable[[int, str], object],
        preface: bytes = b"",
        connection_id: str | None = None,
    ) -> tuple[Connection, PumpedOutlet]:
        entrance = self._entrance
        outlet = PumpedOutlet(write, finish, hub=entrance.hub, pumps=self._pumps, ended=self._ended)
        if preface:
            outlet.write(preface)
        id_prefix = "sse" if form is STREAM else "conn"
        connection = entrance.connect.open(admission, outlet, form, id_prefix=id_prefix, connection_id=connection_id)
        outlet.attend(connection)
        return connection, outlet

    def _settled(self) -> tuple[Headers, bytes]:
        headers: list[tuple[bytes, bytes]] = list(self._scope["headers"])
        # Servers give the offered subprotocols apart; some leave them in the headers too.
        offered = [(b"sec-websocket-protocol", name.encode("latin-1")) for name in self._scope.get("subprotocols", ())]
        found, query = self._entrance.carriers.settle([*headers, *offered], self._scope["query_string"], opens=True)
        return found, query

    async def _admit(self, identity: Identity) -> Admission:
        address = self._entrance.address_of(self._scope.get("client"), self._scope["headers"])
        admission = await self._entrance.connect.admit(identity, address)
        try:
            self._entrance.check_room(admission)
        except RealtimeError:
            self._entrance.connect.forgo(admission)
            raise
        return admission

    async def _accept(self, admission: Admission, message: Message) -> None:
        """Tell the server that the peer is let in; who was admitted is forgone if that fails."""
        try:
            await self._send(message)
        except BaseException:
            self._entrance.connect.forgo(admission)
            raise

    async def _attend(self, connection: Connection, outlet: PumpedOutlet) -> None:
        """Listen to the peer until it leaves, or until `linger_s` after we have ended."""
        try:
            async with asyncio.timeout(None) as self._leaving:
                if outlet.is_ended:
                    self._ended()
                await self._listen(connection, outlet)
        except TimeoutError:
            pass
        finally:
            self._leaving = None
            self._entrance.hub.lost(connection)
            outlet.abandon()

    @abstractmethod
    async def _listen(self, connection: Connection, outlet: PumpedOutlet) -> None:
        """Take what the peer says until it leaves."""

    def _ended(self) -> None:
        if self._leaving is not None:
            self._leaving.reschedule(asyncio.get_running_loop().time() + self.linger_s)


class AsgiWebSocket(Peer):
    """A WebSocket. The host's server frames, answers pings, and ends the closing handshake."""

    linger_s = 5.0

    async def serve(self) -> None:
        """Refuse, or serve until either side ends."""
        refuse = Denial(self._scope, self._receive, self._send)
        await refuse.asked()
        headers = self._scope["headers"]
        cors: HeaderPairs = (VARY,)
        try:
            cors = self._entrance.policy.allow(headers)
            headers, raw_query = self._settled()
            self._entrance.check_room()
            offer = self._offer()
            query = parse_query(raw_query, CONNECT_PARAMETERS, refuse_unknown=False)
        except RealtimeError as error:
            await refuse(problem_of(error), cors)
            return
        try:
            async with self._entrance.gate:
                credentials = credentials_of("connect", headers, query, offered=offer.bearer)
                identity = await self._entrance.authenticator.authenticate(credentials)
                admission = await self._admit(identity)
        except (Unauthenticated, Forbidden) as error:
            if offer.subprotocol:
                is_unknown = isinstance(error, Unauthenticated)
                await self._refuse_in_band(codes.CLOSE_UNAUTHENTICATED if is_unknown else codes.CLOSE_FORBIDDEN)
            else:
                await refuse(problem_of(error), cors)
            return
        except RealtimeError as error:
            await refuse(problem_of(error), cors)
            return
        except Exception:
            log.exception("admission failed")
            await refuse(internal_problem(), cors)
            return
        subprotocol = SUBPROTOCOL if offer.subprotocol else None
        await self._accept(admission, {"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        await self._attend(*self._open(admission, TEXTS, self._write, self._finish))

    def _offer(self) -> Offer:
        offered = [(b"sec-websocket-protocol", name.encode("latin-1")) for name in self._scope.get("subprotocols", ())]
        offer = parse_offer(offered)
        if offer is None:
            raise InvalidInput("Sec-WebSocket-Protocol carries more than one token", code="invalid_handshake")
        return offer

    async def _refuse_in_band(self, code: CloseCode) -> None:
        """Accept, and say why not by a close code: the only way a browser's page learns of it."""
        REQUESTS_REFUSED[code.name] += 1
        await self._send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL, "headers": []})
        await self._send({"type": "websocket.close", "code": code.number, "reason": code.name})

    async def _listen(self, connection: Connection, outlet: PumpedOutlet) -> None:
        entrance = self._entrance
        while True:
            await outlet.room()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                if connection.is_open and message.get("code") in codes.GOODBYES:
                    entrance.hub.lost(connection)
                    entrance.receive.left(connection)
                return
            text = message.get("text")
            if text is None:
                entrance.hub.end(connection, codes.CLOSE_UNSUPPORTED_DATA)
            elif len(data := text.encode()) > entrance.limits.message_bytes:
                entrance.hub.end(connection, codes.CLOSE_MESSAGE_TOO_LARGE)
            else:
                entrance.hub.heard(connection)
                self._take(connection, data)

    def _take(self, connection: Connection, data: bytes) -> None:
        try:
            self._entrance.receive(connection, data)
        except Exception:
            log.exception("receiving failed", extra={"connection": connection.connection_id})
            self._entrance.hub.end(connection, codes.CLOSE_INTERNAL)

    def _write(self, text: Written) -> Awaitable[None]:
        return self._send({"type": "websocket.send", "text": text})

    def _finish(self, code: int, reason: str) -> Awaitable[None]:
        return self._send({"type": "websocket.close", "code": code, "reason": reason})


class AsgiEventStream(Peer):
    """An event stream."""

    _subscriptions: tuple[Subscription, ...]
    _cursor: str | None

    async def serve(self) -> None:
        """Refuse, or serve until either side ends."""
        refuse = Response(self._send)
        entrance, headers = self._entrance, self._scope["headers"]
        limits = entrance.limits
        cors: HeaderPairs = (VARY,)
        try:
            cors = entrance.policy.allow(headers)
            headers, query = self._settled()
            entrance.check_room()
            wanted = read_wanted(headers, query, depth=limits.json_depth, max_subscriptions=limits.subscriptions)
            async with entrance.gate:
                identity = await entrance.authenticator.authenticate(wanted.credentials(headers))
                self._subscriptions = await entrance.permitted(wanted.asked, identity)
                self._cursor = wanted.cursor
                connection_id = wanted.connection_id
                if connection_id is not None:
                    entrance.connect.supersede(connection_id)
                admission = await self._admit(identity)
        except RealtimeError as error:
            await refuse(problem_of(error), cors)
            return
        except Exception:
            log.exception("admission failed")
            await refuse(internal_problem(), cors)
            return
        head = [*_STREAM_HEAD, *((name.lower(), value) for name, value in cors)]
        await self._accept(admission, {"type": "http.response.start", "status": 200, "headers": head})
        preface = stream.retry_block(limits.retry_ms)
        await self._attend(*self._open(admission, STREAM, self._write, self._finish, preface, connection_id))

    async def _listen(self, connection: Connection, outlet: PumpedOutlet) -> None:
        self._host.add(connection)
        try:
            if connection.is_open:
                await self._entrance.subscriptions.subscribe_all(connection, self._subscriptions, self._cursor)
            while (await self._receive())["type"] != "http.disconnect":
                pass
        finally:
            self._host.discard(connection)

    def _write(self, block: Written) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": block, "more_body": True})

    def _finish(self, code: int, reason: str) -> Awaitable[None]:
        return self._send({"type": "http.response.body", "body": b"", "more_body": False})
