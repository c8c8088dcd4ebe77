"""A log as a list, and the judgement over everything that one connection is told.

Owns: what each log holds over its lives, and whether a connection's messages are what spec/protocol.md promises of them (I0, I2, I4).
Not: how they came (peers.py), who sees what (the oracle of delivery.py).
Rule 1: judged is when nothing is being published, for an event reaches subscribers before its publisher has the answer.
Rule 2: what retention took from the log stays in the list: whoever was not told that it is gone must still be shown it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from signtusk_realtime.delivery import floors
from signtusk_realtime.events.log import ORIGIN_TAG, SYSTEM_LOG, Entry, Epoch, Position, Retention
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor as cursors
from signtusk_realtime.sessions.identity import Identity
from tests.support import delivery
from tests.support.delivery import JsonEvent
from tests.support.outlets import Message


class Life:
    """One life of a log: everything that was ever appended to it, by offset."""

    def __init__(self, epoch: Epoch, retention: Retention, clock: Callable[[], int]) -> None:
        self.epoch = epoch
        self.entries: dict[int, Entry] = {}
        self._events: dict[int, JsonEvent] = {}
        self._retention = retention
        self._clock = clock
        self._floors: list[tuple[float, int]] = []
        """When it was known how far the log was trimmed at least, and how far that was."""

    @property
    def top(self) -> int:
        return len(self.entries)

    def place(self, entry: Entry) -> None:
        """Take an entry that the engine says is there."""
        known = self.entries.setdefault(entry.offset, entry)
        # The time may differ: an answer has that of its group.
        assert known[:2] + known[3:] == entry[:2] + entry[3:], f"I1: another event stood at {entry.offset}"

    def check(self) -> None:
        """I1: once every answer is in, offsets are 1, 2, 3, …"""
        assert sorted(self.entries) == list(range(1, self.top + 1)), f"I1: {sorted(self.entries)}"

    def position(self, offset: int) -> Position:
        return Position(self.epoch, offset, self.entries[offset].tag if offset else ORIGIN_TAG)

    def event(self, offset: int) -> JsonEvent:
        event = self._events.get(offset)
        if event is None:
            event = self._events[offset] = json.loads(self.entries[offset].body)
        return event

    def note_floor(self, floor: int) -> None:
        """Learn from the engine how far it has trimmed; that may be neither too far nor back."""
        assert self.floor <= floor <= self.due_floor, f"trimmed up to {floor}, due were {self.due_floor}"
        self._floors.append((asyncio.get_running_loop().time(), floor))

    @property
    def floor(self) -> int:
        """How far it is trimmed at least."""
        return self._floors[-1][1] if self._floors else 0

    @property
    def old_floor(self) -> int:
        """How far it was trimmed so long ago that everybody must know by now."""
        now = asyncio.get_running_loop().time()
        return max((floor for at, floor in self._floors if at <= now - floors.KNOWN_S), default=0)

    @property
    def due_floor(self) -> int:
        """How far it may be trimmed by now."""
        cutoff = self._clock() - self._retention.age_ms
        floor = self.floor
        if self._retention.count is not None:
            floor = max(floor, self.top - self._retention.count)
        while floor < self.top and self.entries[floor + 1].at < cutoff:
            floor += 1
        return floor


class Logs:
    """All logs; the last life of each is the one it lives."""

    def __init__(self, names: Sequence[str], retention: Retention, clock: Callable[[], int]) -> None:
        self.retention = retention
        self.clock = clock
        self.lives: dict[str, list[Life]] = {name: [] for name in names}

    def now(self, name: str) -> Life:
        return self.lives[name][-1]

    def begin(self, name: str, epoch: Epoch, kept: Sequence[Entry] = ()) -> Life:
        """Let a log begin a new life, with what it keeps of an earlier one."""
        assert epoch not in [life.epoch for life in self.lives[name]], "an epoch names one life"
        life = Life(epoch, self.retention, self.clock)
        life.entries = {entry.offset: entry for entry in kept}
        self.lives[name].append(life)
        return life

    def of(self, organization_id: str) -> tuple[Life, Life]:
        """Give what an organization's clients read: its own log and the system log."""
        return self.now(organization_id), self.now(SYSTEM_LOG)


class Asked(NamedTuple):
    """A request, and how things stood when it was sent."""

    type: str
    wishes: Sequence[Subscription] = ()
    cursor: str | None = None
    subscription_id: str = ""
    floors: tuple[int, int] = (0, 0)


class Span(NamedTuple):
    """What a connection wanted, and the offsets after which that began."""

    wanted: tuple[Subscription, ...]
    begin: tuple[int, int]


class Judge:
    """Reads one connection's messages as they came, and fails at the first that breaks a promise."""

    def __init__(self, identity: Identity, logs: Logs) -> None:
        self.identity = identity
        self.wanted: dict[str, Subscription] = {}
        self.asked: deque[Asked] = deque()
        self._lives = logs.of(identity.organization_id)
        self._spans: list[Span] = []
        self._upto = [0, 0]
        """Up to where everything due was received, in both logs."""
        self._told = (0, 0)

    @property
    def has_begun(self) -> bool:
        return bool(self._spans)

    def ask(self, kind: str, wishes: Sequence[Subscription] = (), cursor: str | None = None, which: str = "") -> None:
        """Note a request that is sent now."""
        old = self._lives[0].old_floor, self._lives[1].old_floor
        self.asked.append(Asked(kind, wishes, cursor, which, old))

    def take(self, message: Message) -> None:
        """Judge the next message."""
        match message["type"]:
            case "event":
                self._event(message)
            case "subscribed":
                self._subscribed(message)
            case "unsubscribed":
                assert message["subscriptionId"] == self._answers("unsubscribe").subscription_id
                del self.wanted[message["subscriptionId"]]
            case "pong":
                asked = self._answers("ping")
                if "cursor" in message:
                    place = self._covers(message)
                    if asked.subscription_id:
                        # Sent right behind the end of a subscription: this is where it ended.
                        self._spans.append(Span(tuple(self.wanted.values()), place))
            case "cursor":
                self._covers(message)
            case "resync":
                self._resync(message)
            case "connected" | "ping" | "reconnect":
                assert "cursor" not in message
            case other:
                raise AssertionError(f"nobody asked for {other}: {message}")

    def missing(self) -> list[str]:
        """Name what the logs hold for this connection that it has not received."""
        return [
            f"{life.epoch[:4]}/{offset}"
            for half, life in enumerate(self._lives)
            for offset in range(self._upto[half] + 1, life.top + 1)
            if self._is_due(half, offset)
        ]

    def _answers(self, kind: str) -> Asked:
        assert self.asked, f"an answer to nothing: {kind}"
        asked = self.asked.popleft()
        assert asked.type == kind, f"{kind} answers {asked}"
        return asked

    def _event(self, message: Message) -> None:
        event = message["event"]
        half = int(event["organizationId"] == SYSTEM_LOG)
        own = self._read(message["cursor"])[half]
        assert own > self._upto[half], f"I2: {event['id']} at {own} comes after {self._upto[half]}"
        assert self._is_due(half, own), f"I4: {event['id']} is not for this connection"
        assert event == delivery.as_seen(self.identity, self._lives[half].event(own)), (
            "I4: it is seen as it may be seen"
        )
        self._nothing_due(half, own - 1)
        self._upto[half] = own
        self._covers(message)

    def _subscribed(self, message: Message) -> None:
        asked = self._answers("subscribe")
        if self.has_begun:
            assert asked.cursor is None
            begin = self._covers(message)
        else:
            begin = self._begins(asked, message)
        ids = message.get("subscriptionIds") or [message["subscriptionId"]]
        self.wanted.update(zip(ids, asked.wishes, strict=True))
        self._spans.append(Span(tuple(self.wanted.values()), begin))

    def _begins(self, asked: Asked, message: Message) -> tuple[int, int]:
        begin = self._read(message["cursor"])
        self._upto, self._told = list(begin), begin
        if asked.cursor is None:
            assert "recovered" not in message, "recovered, though no cursor was sent"
            return begin
        wanted, reasons = self._recovery(asked, asked.cursor)
        if message["recovered"]:
            assert wanted is not None, f"{asked.cursor} cannot be continued: {reasons}"
            for half, (low, high) in enumerate(wanted):
                assert low <= begin[half] <= high, f"asked for {wanted}, got {begin}"
        else:
            assert message["reason"] in reasons, f"{message['reason']}: only {reasons} would be true"
        return begin

    def _recovery(self, asked: Asked, text: str) -> tuple[list[tuple[int, int]] | None, set[str]]:
        """Give the places at which a cursor may be continued, if it may, and the reasons for which it may not, where it may not.

        Both, where retention has just passed it or was just due to.
        """
        if text == "latest":
            return [(0, life.top) for life in self._lives], set()
        cursor = (
            cursors.Cursor(None, None) if text == "earliest" else cursors.decode(self.identity.organization_id, text)
        )
        if cursor is None:
            return None, {"unknown"}
        wanted: list[tuple[int, int]] = []
        reasons: set[str] = set()
        is_possible = True
        for life, position, old_floor in zip(
            self._lives, (cursor.organization, cursor.system), asked.floors, strict=True
        ):
            if position is None:
                wanted.append((old_floor, life.due_floor))
                continue
            offset = position.offset
            wanted.append((offset, offset))
            if position.epoch != life.epoch or offset > life.top or position != life.position(offset):
                reasons.add("epoch")
                is_possible = False
            if offset < life.due_floor and position.epoch == life.epoch:
                reasons.add("expired")
                is_possible &= offset >= old_floor
        return wanted if is_possible else None, reasons

    def _resync(self, message: Message) -> None:
        assert self.has_begun
        assert message["reason"] == "expired", message
        assert any(life.due_floor > upto for life, upto in zip(self._lives, self._upto, strict=True)), (
            "told to reload although everything was kept"
        )
        place = self._read(message["cursor"])
        self._upto, self._told = list(place), place

    def _covers(self, message: Message) -> tuple[int, int]:
        """I0: judge a cursor by what was received before it."""
        covered = self._read(message["cursor"])
        for half in (0, 1):
            assert covered[half] >= self._told[half], f"I0: a cursor goes back: {self._told} → {covered}"
            self._nothing_due(half, covered[half])
            self._upto[half] = max(self._upto[half], covered[half])
        self._told = covered
        return covered

    def _nothing_due(self, half: int, offset: int) -> None:
        missed = [at for at in range(self._upto[half] + 1, offset + 1) if self._is_due(half, at)]
        assert not missed, f"I0, I2: {missed} of log {half} should have come before {offset}"

    def _is_due(self, half: int, offset: int) -> bool:
        span = next((span for span in reversed(self._spans) if span.begin[half] < offset), None)
        event = self._lives[half].event(offset)
        return span is not None and any(delivery.gets(self.identity, wanted, event) for wanted in span.wanted)

    def _read(self, text: str) -> tuple[int, int]:
        """Read a cursor that the service wrote: two places that exist."""
        cursor = cursors.decode(self.identity.organization_id, text)
        assert cursor is not None, text
        offsets = []
        for life, position in zip(self._lives, (cursor.organization, cursor.system), strict=True):
            assert position is not None
            assert position.epoch == life.epoch, "a cursor of another life"
            assert position.offset <= life.top, f"a cursor beyond the log's top: {position.offset} of {life.top}"
            assert position == life.position(position.offset), "a cursor that names no place"
            offsets.append(position.offset)
        return offsets[0], offsets[1]
