"""What a client's message leads to.

Owns: from text to the operation it asks for, and the error answer.   Not: framing (server), the operations themselves.
Rule 1: messages of one connection take effect in their order; those behind one that must wait for the log wait with it, bounded.   Rule 2: a refused request is answered, and the connection lives on, unless
it is malformed too often (4509).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import assert_never

from msgspec import UNSET, UnsetType

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Forbidden, LimitExceeded, RealtimeError
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.operations.documents.documents import Documents
from signtusk_realtime.operations.documents.edit import refusal
from signtusk_realtime.operations.presence.presence import Presence
from signtusk_realtime.operations.refresh import Refresher
from signtusk_realtime.operations.signal import SendSignal
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.protocol import codes, json
from signtusk_realtime.protocol.messages import (
    Edit,
    ErrorMessage,
    Ping,
    Pong,
    PresenceAccepted,
    Refresh,
    Refreshed,
    Signal,
    Subscribe,
    Unsubscribe,
    edit_result,
    request_id_of,
)
from signtusk_realtime.protocol.messages import Presence as PresenceMessage
from signtusk_realtime.sessions.session import is_malformed

INBOX_BYTES = 256 << 10
"""What may wait behind a message that waits for the log; a client that sends more without an answer is cut."""
log = logging.getLogger(__name__)


class Receive:
    """See the module. `monotonic_s` and `now_ms` are the two clocks."""

    def __init__(
        self,
        hub: Hub,
        subscriptions: Subscriptions,
        *,
        monotonic_s: Callable[[], float],
        now_ms: Callable[[], int],
        authorize: Authorize = UNASKED,
        documents: Documents | None = None,
        refresh: Refresher | None = None,
        presence: Presence | None = None,
        signal: SendSignal | None = None,
    ) -> None:
        self._presence = presence
        self._signal = signal
        self._refresh = refresh
        self._authorize = authorize
        self._documents = documents
        self._hub = hub
        self._subscriptions = subscriptions
        self._monotonic_s = monotonic_s
        self._now_ms = now_ms
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, connection: Connection, text: bytes) -> None:
        """Do what one message asks for, or answer why not."""
        if not self.allows(connection, len(text)):
            if connection.is_open:
                self._refuse(
                    connection, LimitExceeded("too many messages; this one was not executed"), request_id_of(text)
                )
            return
        self._in_order(connection, text)

    def allows(self, connection: Connection, size: int) -> bool:
        """Count what came in, a ping too; say whether it is within the connection's rates. Who exceeds them for long is closed (4429)."""
        now = self._monotonic_s()
        if connection.session.may_send(size, now):
            return True
        if connection.session.is_refused_too_often(now):
            self._hub.end(connection, codes.CLOSE_RATE_LIMITED)
        return False

    def in_turn(self, connection: Connection, act: Callable[[], object]) -> None:
        """Do something of the application's own for a connection, in turn with its messages. Raises: what `act` raises, if it is done at once."""
        if connection.inbox is None:
            act()
        else:
            connection.inbox.append(act)

    def left(self, connection: Connection) -> None:
        """Note that a peer said goodbye, and was not just cut off; the hub has let go of its connection."""
        if self._documents is not None:
            identity = connection.session.identity
            self._documents.leases.left(identity.organization_id, identity.user_id)

    async def close(self) -> None:
        """Let go of what still waits for the log; every connection has been closed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _in_order(self, connection: Connection, text: bytes) -> None:
        if connection.inbox is None:
            self._take(connection, text)
        elif sum(len(one) for one in connection.inbox if isinstance(one, bytes)) + len(text) > INBOX_BYTES:
            self._hub.end(connection, codes.CLOSE_OVERLOADED)
        else:
            connection.inbox.append(text)

    def _take(self, connection: Connection, text: bytes) -> None:
        if not connection.is_open:
            return
        try:
            self._hub.counters.messages += 1
            message = connection.session.read(text)
            match message:
                case Subscribe():
                    self._subscribe(connection, message)
                case Unsubscribe():
                    self._subscriptions.unsubscribe(connection, message)
                case Edit():
                    self._wait_for(connection, self._edit(connection, message))
                case Refresh():
                    self._wait_for(connection, self._renew(connection, message))
                case PresenceMessage():
                    self._declare(connection, message)
                case Signal():
                    self._send_signal(connection, message)
                case Ping():
                    self._pong(connection, message)
                case _:
                    assert_never(message)
        except RealtimeError as error:
            self._refuse(connection, error, request_id_of(text))

    async def _renew(self, connection: Connection, message: Refresh) -> None:
        assert self._refresh is not None, "who takes tokens was told what checks them"
        try:
            expires_at = await self._refresh(connection, message.token)
        except RealtimeError as error:
            if connection.is_open:
                self._refuse(connection, error, message.request_id)
            return
        if connection.is_open:
            self._hub.send(connection, Refreshed(request_id=message.request_id, expires_at=expires_at))

    async def _edit(self, connection: Connection, message: Edit) -> None:
        assert self._documents is not None, "who takes edits was given documents"
        identity = connection.session.identity
        try:
            outcome = await self._documents.edit(
                identity, message.document_id, message.body, connection_id=connection.connection_id
            )
        except RealtimeError as error:
            outcome = refusal(error, message.change_id)
        if connection.is_open:
            self._hub.send(connection, edit_result(outcome, message.request_id))

    def _subscribe(self, connection: Connection, message: Subscribe) -> None:
        if self._authorize.is_asked:
            wanted = connection.session.wanted(message)
            self._wait_for(connection, self._if_allowed(connection, message, wanted))
            return
        _, answer = self._subscriptions.subscribe(connection, message)
        if answer is not None:
            self._wait_for(connection, answer)

    async def _if_allowed(self, connection: Connection, message: Subscribe, wanted: tuple[Subscription, ...]) -> None:
        try:
            await self._authorize.check(connection.session.identity, wanted)
            if not connection.is_open:
                return
            _, answer = self._subscriptions.subscribe(connection, message)
        except RealtimeError as error:
            if connection.is_open:
                self._refuse(connection, _placed(error, message), message.request_id)
            return
        if answer is not None:
            await answer

    def _wait_for(self, connection: Connection, answer: Coroutine[None, None, None]) -> None:
        connection.inbox = []
        task = asyncio.get_running_loop().create_task(self._after(connection, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _after(self, connection: Connection, answer: Coroutine[None, None, None]) -> None:
        try:
            await answer
        except Exception:
            log.exception("answering failed", extra={"connection": connection.connection_id})
            self._hub.end(connection, codes.CLOSE_INTERNAL)
        waiting, connection.inbox = connection.inbox or [], None
        # Ordering: one of these may have to wait for the log itself; the rest then goes behind it.
        for one in waiting:
            if isinstance(one, bytes):
                self._in_order(connection, one)
            else:
                self._act(connection, one)

    def _act(self, connection: Connection, act: Callable[[], object]) -> None:
        try:
            if connection.is_open:
                self.in_turn(connection, act)
        except RealtimeError as error:
            self._refuse(connection, error, UNSET)

    def _declare(self, connection: Connection, message: PresenceMessage) -> None:
        assert self._presence is not None, "who takes declarations was told who keeps them"
        self._presence.declare(connection, message)
        self._hub.send(connection, PresenceAccepted(request_id=message.request_id))

    def _send_signal(self, connection: Connection, message: Signal) -> None:
        assert self._signal is not None, "who takes signals was told where they go"
        if self._authorize.is_asked:
            self._wait_for(connection, self._signal_if_allowed(connection, message, self._signal))
        else:
            self._signal.send(connection, message)

    async def _signal_if_allowed(self, connection: Connection, message: Signal, signal: SendSignal) -> None:
        try:
            await self._authorize.check(connection.session.identity, (signal.subscription(message),))
            if connection.is_open:
                signal.send(connection, message)
        except RealtimeError as error:
            if connection.is_open:
                self._refuse(connection, error, message.request_id)

    def _pong(self, connection: Connection, ping: Ping) -> None:
        cursor = self._hub.cursor_of(connection) if connection.has_begun else UNSET
        self._hub.send(
            connection, Pong(request_id=ping.request_id, timestamp=format_milliseconds(self._now_ms()), cursor=cursor)
        )

    def _refuse(self, connection: Connection, error: RealtimeError, request_id: str | UnsetType) -> None:
        self._hub.counters.messages_refused[error.code] += 1
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


def _placed(error: RealtimeError, message: Subscribe) -> RealtimeError:
    """Say where in the message a subscription stands that was refused by its index."""
    if not isinstance(error, Forbidden) or error.path is None or error.path[0] in ("subscription", "subscriptions"):
        return error
    single = message.subscription is not UNSET
    return Forbidden(error.message, path=("subscription",) if single else ("subscriptions", *error.path))
