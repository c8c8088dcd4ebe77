"""What is told and not kept: clients' signals, and what nodes tell one another of who is there.

Owns: the way of such a message to the live connections that want it.   Not: events (organization.py, audience.py), what the messages say.
Rule 1: no cursor, no log: who is behind or full does not get it, nor later. At most once, to each who asked and may see it at that moment (I4).
Rule 2: what came in during one turn is joined, so that a member is written to once a turn; a sender never gets his own.
Rule 3: of clients' signals as much waits for an audience as one write should hold (I3); beyond that the oldest go. Presence is paced by who tells it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import DecodeError
from msgspec.json import Decoder

from signtusk_realtime.delivery.audience import PIECE_BYTES, WRITES_PER_LOOK, Audience
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.flush import Flusher
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.events.log import CONTROL_LOG, LogName
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.protocol import json

MOST_BYTES: Final = PIECE_BYTES
_OF_CLIENTS: Final = b"s"
_OF_NODES: Final = b"n"
_END: Final = b"\n"
"""JSON of our making has no line break."""
_sender: Final[Decoder[tuple[str, tuple[str, ...]]]] = Decoder(tuple[str, tuple[str, ...]])


def between_nodes(body: bytes) -> bytes:
    """Give what `Engine.signal` takes for a message that no client sees."""
    return _OF_NODES + body


def between_clients(payload: bytes, keys: Sequence[str], sender: str) -> bytes:
    """Give what `Engine.signal` takes for a message to all who want an event with these matching keys, but for the connection `sender`."""
    return _OF_CLIENTS + json.encode((sender, tuple(keys))) + _END + payload


class _Message(NamedTuple):
    payload: bytes
    sender: str | None


class _Waiting:
    """What is told to an audience at the end of the turn; `size`: the bytes of clients' signals among it."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: list[_Message] = []
        self.size = 0

    def add(self, message: _Message) -> None:
        if message.sender is None:
            self.messages.append(message)
            return
        self.size += len(message.payload)
        while self.size > MOST_BYTES:
            oldest = next((at for at, one in enumerate(self.messages) if one.sender is not None), None)
            if oldest is None:
                break
            self.size -= len(self.messages.pop(oldest).payload)
        self.messages.append(message)


class _Writing:
    """An audience that is being written to: what all get, and who has still to get it."""

    def __init__(self, audience: Audience, messages: list[_Message]) -> None:
        self.audience = audience
        self.messages = messages
        self.left: list[Connection] = list(audience.members)
        self.senders = {message.sender for message in messages if message.sender is not None}
        self._chunks = [audience.form.message(message.payload) for message in messages]
        self.data = audience.form.join(list(self._chunks))

    def others(self, member: Connection) -> bytes | list[str] | None:
        """Give what a sender gets: the messages of others, if there are any."""
        chunks = [
            chunk
            for chunk, message in zip(self._chunks, self.messages, strict=True)
            if message.sender != member.connection_id
        ]
        return self.audience.form.join(chunks) if chunks else None


class Ephemeral:
    """See the module. `organizations`: those that this node follows, by id. `heard`: told what nodes say of one of them, this one
    included. `heard_by_all`: told what nodes say to all nodes.
    """

    def __init__(self, organizations: Mapping[str, Organization], counters: Counters) -> None:
        self.organizations = organizations
        self.heard: Callable[[Organization, bytes], None] = lambda organization, body: None
        self.heard_by_all: Callable[[bytes], None] = lambda body: None
        self.is_awake = False
        self._counters = counters
        self._waiting: dict[Audience, _Waiting] = {}
        self._writing: _Writing | None = None
        self._flusher: Flusher | None = None

    def signalled(self, log: LogName, body: bytes) -> None:
        """Take what the engine brought. Another form is one of a newer version, and passed over."""
        if log == CONTROL_LOG:
            if body.startswith(_OF_NODES):
                self.heard_by_all(body[len(_OF_NODES) :])
            return
        organization = self.organizations.get(log)
        if organization is None:
            return
        if body.startswith(_OF_NODES):
            self.heard(organization, body[1:])
        elif body.startswith(_OF_CLIENTS):
            head, _, payload = body[1:].partition(_END)
            try:
                sender, keys = _sender.decode(head)
            except DecodeError:
                return
            if keys:
                self.offer(organization, keys, payload, sender)

    def offer(self, organization: Organization, keys: Sequence[str], payload: bytes, sender: str | None = None) -> None:
        """Tell a message to all who want an event with these matching keys."""
        for audience in dict.fromkeys(organization.wanting(keys)):
            self.offer_to(audience, payload, sender)

    def offer_to(self, audience: Audience, payload: bytes, sender: str | None = None) -> None:
        """Tell a message to an audience."""
        waiting = self._waiting.get(audience)
        if waiting is None:
            waiting = self._waiting[audience] = _Waiting()
        waiting.add(_Message(payload, sender))
        if self._flusher is None:
            loop = asyncio.get_running_loop()
            self._flusher = Flusher(loop.call_soon, loop.time)
        self._flusher.wake(self)

    @property
    def pending(self) -> int:
        """How many messages wait, counted once per audience."""
        waiting = sum(len(waiting.messages) for waiting in self._waiting.values())
        return waiting + (0 if self._writing is None else len(self._writing.messages))

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Write until `deadline`; say whether nothing is left."""
        while True:
            writing = self._writing
            if writing is None:
                if not self._waiting:
                    return True
                audience = next(iter(self._waiting))
                writing = self._writing = _Writing(audience, self._waiting.pop(audience).messages)
            while writing.left:
                for member in writing.left[-WRITES_PER_LOOK:]:
                    self._write(writing, member)
                del writing.left[-WRITES_PER_LOOK:]
                if clock() >= deadline and (writing.left or self._waiting):
                    if not writing.left:
                        self._writing = None
                    return False
            self._writing = None

    def _write(self, writing: _Writing, member: Connection) -> None:
        # Who left the audience meanwhile may see it no more, or has to read the log first.
        if member.audience is not writing.audience or member.is_paused:
            return
        data = writing.others(member) if member.connection_id in writing.senders else writing.data
        if data is not None:
            member.write(data)
            self._counters.ephemeral += len(writing.messages)
