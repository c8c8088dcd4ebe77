"""Connections over objects that an application hands in: sockets with `send` and `close`, responses with `write` and `end`.

Owns: such a connection from the call that hands it in until delivery has it, and what is asked of it meanwhile.
Not: connections themselves (delivery), how an object is written to (server/outlets.py).
Rule 1: handing in answers at once, though following an organization takes a while: until then the connection is pending, what is asked of it
is checked at once and done when it is open, in order, and what comes in waits.
Rule 2: what is published by the same application after a subscription was answered is delivered to it: publishing waits for pending ones
(`settled`).   Rule 3: one that cannot be let in is closed, with the reason's code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM, TEXTS, Format
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded, RealtimeError
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.receive import Receive
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.protocol import codes, stream
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.messages import Subscribe, Unsubscribe
from signtusk_realtime.server.outlets import Message, PumpedOutlet, Pumps
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import Session, SessionLimits

log = logging.getLogger(__name__)

NO_METADATA: Final[Mapping[str, object]] = {}


class Socket(Protocol):
    """What a WebSocket handed in must have. Both may be coroutine functions."""

    def send(self, text: str, /) -> object: ...

    def close(self, code: int, reason: str, /) -> object: ...


class Response(Protocol):
    """What a response handed in must have, its head sent before. Both may be coroutine functions."""

    def write(self, data: bytes, /) -> object: ...

    def end(self) -> object: ...


class Pending:
    """A connection that is not open yet. `session` holds what was asked for meanwhile, so that faults are found at once."""

    def __init__(self, identity: Identity, session: Session, form: Format) -> None:
        self.identity = identity
        self.session = session
        self.form = form
        self.acts: list[Callable[[Connection], object]] = []
        self.end: CloseCode | None = None
        """Set when it is to be closed before it was open."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Resolved when it is open, or will never be."""


class HandedIn:
    """See the module. Lives as long as the service's rooms. `turned_away`: called for one that ended before it was open."""

    def __init__(
        self,
        *,
        hub: Hub,
        connect: Connect,
        subscriptions: Subscriptions,
        receive: Receive,
        pumps: Pumps,
        limits: SessionLimits,
        max_connections: int,
        message_bytes: int,
        retry_ms: int,
        new_id: Callable[[str], str],
        turned_away: Callable[[str, Pending, CloseCode], None],
    ) -> None:
        self._hub = hub
        self._connect = connect
        self._subscriptions = subscriptions
        self._receive = receive
        self._pumps = pumps
        self._limits = limits
        self._max_connections = max_connections
        self._message_bytes = message_bytes
        self._retry_ms = retry_ms
        self._new_id = new_id
        self._turned_away = turned_away
        self._pending: dict[str, Pending] = {}
        self._outlets: dict[str, PumpedOutlet] = {}
        self._metadata: dict[str, Mapping[str, object]] = {}
        self._admissions: set[asyncio.Task[None]] = set()

    # ---- handing in

    def socket(self, socket: Socket, identity: Identity, metadata: Mapping[str, object]) -> str:
        """Take a WebSocket; give the id of its connection. Raises: InvalidInput for an object without `send` or `close`."""
        _check_methods(socket, "send", "close")

        def send(message: Message) -> object:
            assert isinstance(message, str), "TEXTS joins texts"
            return socket.send(message)

        return self._hand_in(send, socket.close, identity, TEXTS, metadata)

    def response(self, response: Response, identity: Identity, metadata: Mapping[str, object]) -> str:
        """Take an event stream's response; give the id of its connection. Raises: InvalidInput for an object without `write` or `end`."""
        _check_methods(response, "write", "end")

        def write(message: Message) -> object:
            assert isinstance(message, bytes), "STREAM joins bytes"
            return response.write(message)

        return self._hand_in(write, lambda code, reason: response.end(), identity, STREAM, metadata)

    def _hand_in(
        self,
        send: Callable[[Message], object],
        finish: Callable[[int, str], object],
        identity: Identity,
        form: Format,
        metadata: Mapping[str, object],
    ) -> str:
        _check_kind(metadata, "metadata", "a mapping", Mapping)
        connection_id = self._new_id("sse" if form is STREAM else "conn")
        outlet = PumpedOutlet(send, finish, hub=self._hub, pumps=self._pumps, ended=lambda: self._forget(connection_id))
        self._outlets[connection_id] = outlet
        if metadata:
            self._metadata[connection_id] = dict(metadata)
        pending = self._pending[connection_id] = Pending(identity, Session(identity, self._limits), form)
        task = asyncio.get_running_loop().create_task(self._admit(connection_id, pending, outlet))
        self._admissions.add(task)
        task.add_done_callback(self._admissions.discard)
        return connection_id

    async def _admit(self, connection_id: str, pending: Pending, outlet: PumpedOutlet) -> None:
        try:
            admission = await self._connect.admit(pending.identity)
            if len(self._hub.connections) >= self._max_connections:
                pending.end = codes.CLOSE_OVERLOADED
            if pending.end is not None:
                self._connect.forgo(admission)
                return
            if pending.form is STREAM:
                outlet.write(stream.retry_block(self._retry_ms))
            connection = self._connect.open(admission, outlet, pending.form, connection_id=connection_id)
            outlet.attend(connection)
            for act in pending.acts:
                if connection.is_open:
                    act(connection)
        except RealtimeError as error:
            pending.end = _code_of(error)
        except Exception:
            log.exception("admission failed")
            pending.end = codes.CLOSE_INTERNAL
        except asyncio.CancelledError:
            pending.end = codes.CLOSE_GOING_AWAY
            raise
        finally:
            self._done(connection_id, pending)

    def _done(self, connection_id: str, pending: Pending) -> None:
        del self._pending[connection_id]
        pending.done.set_result(None)
        code = pending.end
        if code is None:
            return
        opened = self._hub.connections.get(connection_id)
        if opened is not None:
            self._hub.end(opened, code)
        else:
            self._turned_away(connection_id, pending, code)
            self._outlets[connection_id].close(code.number, code.name)

    # ---- what is asked of them, and of any other connection of this node

    def subscribe(self, connection_id: str, request: Subscribe, form_name: str) -> str:
        """Begin one subscription; give its id. Raises: InvalidInput, Forbidden, LimitExceeded."""
        found = self._find(connection_id, form_name)
        session = found.session
        added = session.wanted(request)
        try:
            selection = session.preview(added)
        except Forbidden as error:
            raise Forbidden(error.message, path=("subscription",)) from None
        ids = (self._new_id("sub"),)

        def begin(one: Connection) -> None:
            self._subscriptions.subscribe(one, request, subscription_ids=ids)

        if isinstance(found, Pending):
            session.add(ids, added, selection)
            found.acts.append(begin)
        else:
            self._receive.in_turn(found, lambda: begin(found))
        return ids[0]

    def unsubscribe(self, connection_id: str, request: Unsubscribe, form_name: str) -> None:
        """End one subscription. Raises: InvalidInput (unknown_subscription)."""
        found = self._find(connection_id, form_name)
        if isinstance(found, Pending):
            found.session.remove(request.subscription_id)
            found.acts.append(lambda one: self._subscriptions.unsubscribe(one, request))
        else:
            self._receive.in_turn(found, lambda: self._subscriptions.unsubscribe(found, request))

    async def receive(self, connection_id: str, text: str | bytes | bytearray | memoryview) -> bool:
        """Take what came in; wait where it cannot be answered yet. Say whether the connection is open after it.

        Raises: InvalidInput for what is neither text nor bytes.
        """
        _check_kind(text, "text", "a text, or bytes,", str, bytes, bytearray, memoryview)
        pending = self._pending.get(connection_id)
        if pending is not None:
            await asyncio.shield(pending.done)
        outlet = self._outlets.get(connection_id)
        if outlet is not None:
            await outlet.room()
        connection = self._hub.connections.get(connection_id)
        if connection is None:
            return False
        try:
            data = text.encode() if isinstance(text, str) else bytes(text)
        except UnicodeEncodeError:
            self._hub.end(connection, codes.CLOSE_INVALID_UTF8)
            return False
        if len(data) > self._message_bytes:
            self._hub.end(connection, codes.CLOSE_MESSAGE_TOO_LARGE)
            return False
        self._hub.heard(connection)
        self._receive(connection, data)
        return connection.is_open

    def disconnect(self, connection_id: str) -> None:
        """End a connection, or note that it has ended. Does nothing for one that is not open."""
        pending = self._pending.get(connection_id)
        if pending is not None:
            pending.end = codes.CLOSE_NORMAL
        elif (connection := self._hub.connections.get(connection_id)) is not None:
            self._hub.end(connection, codes.CLOSE_NORMAL)

    def metadata_of(self, connection_id: str) -> Mapping[str, object]:
        """Give what the application handed in with a connection."""
        return self._metadata.get(connection_id, NO_METADATA)

    async def settled(self, organization_id: str | None) -> None:
        """Wait until the connections of an organization (None: all) that were handed in before are open."""
        waiting = [
            pending.done
            for pending in self._pending.values()
            if organization_id is None or pending.identity.organization_id == organization_id
        ]
        if waiting:
            await asyncio.wait(waiting)

    async def close(self) -> None:
        """Let nobody in any more; those that were pending are closed."""
        admissions = list(self._admissions)
        for admission in admissions:
            admission.cancel()
        await asyncio.gather(*admissions, return_exceptions=True)
        # A task that was cancelled before its first step has not run at all.
        for connection_id, pending in list(self._pending.items()):
            pending.end = codes.CLOSE_GOING_AWAY
            self._done(connection_id, pending)

    def _find(self, connection_id: str, form_name: str) -> Pending | Connection:
        pending = self._pending.get(connection_id)
        if pending is not None and pending.end is None and (pending.form is STREAM) == (form_name == STREAM.name):
            return pending
        connection = self._hub.connections.get(connection_id)
        if connection is not None and (connection.form is STREAM) == (form_name == STREAM.name):
            return connection
        raise InvalidInput("no such connection is open here", code="not_found", path=("connectionId",))

    def _forget(self, connection_id: str) -> None:
        self._outlets.pop(connection_id, None)
        self._metadata.pop(connection_id, None)


def _check_methods(given: object, *names: str) -> None:
    for name in names:
        if not callable(getattr(given, name, None)):
            raise InvalidInput(f"{type(given).__name__} has no method {name}", code="invalid_request", path=(name,))


def _check_kind(given: object, name: str, expected: str, *kinds: type) -> None:
    if not isinstance(given, kinds):
        raise InvalidInput(f"{expected} is expected, not {type(given).__name__}", code="invalid_request", path=(name,))


def _code_of(error: RealtimeError) -> CloseCode:
    if isinstance(error, Forbidden):
        return codes.CLOSE_FORBIDDEN
    return codes.CLOSE_OVERLOADED if isinstance(error, LimitExceeded) else codes.CLOSE_TRY_LATER
