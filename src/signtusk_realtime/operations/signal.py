"""Tell others who follow a document what a client does there right now: typing, pointer, focus.

Owns: who may tell of which document, and the message on its way.   Not: its way to sockets (delivery/ephemeral.py), rates (sessions).
Rule 1: who may follow a document's updates may signal there, subscribed or not.   Rule 2: at most once, never stored; not answered but by an error.
Rule 3: nobody waits for a signal, not even the client's next message: those of one organization go to the engine one after the other, and
beyond MOST_WAITING the oldest go nowhere. No organization waits for another's, or loses its own by them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from msgspec import UNSET

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.ephemeral import between_clients
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, InvalidInput, RealtimeError
from signtusk_realtime.events.log import LogName
from signtusk_realtime.events.subscriptions import Filters, Subscription
from signtusk_realtime.operations.documents.access import check_read
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.messages import Signal, Signalled

DATA_BYTES: Final = 4096
MOST_WAITING: Final = 256
"""Signals of one organization."""


class SendSignal:
    """See the module."""

    def __init__(self, engine: Engine, hub: Hub) -> None:
        self._engine = engine
        self._hub = hub
        self._waiting: dict[LogName, deque[bytes]] = {}
        """Of those organizations for which a task is sending."""
        self._sending: set[asyncio.Task[None]] = set()

    def subscription(self, message: Signal) -> Subscription:
        """Give what one must be allowed to follow, to signal there."""
        return Subscription("document_updates", Filters(document_id=message.document_id))

    def send(self, connection: Connection, message: Signal) -> None:
        """Send a client's signal on. Raises: Forbidden, InvalidInput (too much data)."""
        identity = connection.session.identity
        document_id, user_id = message.document_id, identity.user_id
        try:
            check_read(identity, document_id)
        except Forbidden as error:
            raise Forbidden(error.message, path=("documentId",)) from None
        if message.data is not UNSET and (size := len(json.encode(message.data))) > DATA_BYTES:
            raise InvalidInput(f"data has {size} bytes; at most {DATA_BYTES} are allowed", path=("data",))
        self._hub.counters.signals += 1
        told = Signalled(signal=message.signal, document_id=document_id, data=message.data, user_id=user_id)
        keys = ("document_updated", f"d:{document_id}", f"u:{user_id}")
        body = between_clients(json.encode(told), keys, connection.connection_id)
        log = LogName(identity.organization_id)
        if (waiting := self._waiting.get(log)) is not None:
            waiting.append(body)
            return
        self._waiting[log] = waiting = deque((body,), maxlen=MOST_WAITING)
        task = asyncio.get_running_loop().create_task(self._send(log, waiting))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, log: LogName, waiting: deque[bytes]) -> None:
        try:
            while waiting:
                await self._engine.signal(log, waiting.popleft())
        except RealtimeError:
            # The engine is away: what somebody does right now is no news once it is back.
            waiting.clear()
        finally:
            del self._waiting[log]

    async def close(self) -> None:
        """Send nothing more."""
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
