"""Subscribers that follow an organization through every end of their connections and of the server, and keep what they are shown.

Owns: coming back with the newest cursor, by the client's own delays, on either transport; what they were shown, as it came.
Not: what they should have been shown (history.py), the server (command.py).
Rule: nothing is dropped or put right here: a repetition stays one, and a cursor that goes back is a fault.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, NoReturn

import msgspec

from signtusk_realtime.client.address import parse_address
from signtusk_realtime.client.delays import Delays
from signtusk_realtime.client.event_stream import open_event_stream
from signtusk_realtime.client.failures import Lost
from signtusk_realtime.client.link import Credentials, Link, Opener, Wanted
from signtusk_realtime.client.messages import Message
from signtusk_realtime.client.websocket import open_websocket
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor as cursors
from tests.support.command import Api

ORGANIZATION: Final = "org123"
DEADLINE_S: Final = 30.0


def place_of(text: object) -> tuple[str, int]:
    """Give the epoch and the offset that a cursor names; no epoch and 0 at the log's beginning. Nobody else may look into one."""
    assert isinstance(text, str)
    cursor = cursors.decode(ORGANIZATION, text)
    assert cursor is not None
    position = cursor.organization
    return ("", 0) if position is None else (position.epoch, position.offset)


def offset_of(text: object) -> int:
    """Give the offset that a cursor names."""
    return place_of(text)[1]


async def read_log(api: Api) -> tuple[set[str], list[tuple[int, str]]]:
    """Give the epochs that the history's cursors name, and its offsets with the events' ids."""
    epochs: set[str] = set()
    log: list[tuple[int, str]] = []
    for entry in await api.history(ORGANIZATION):
        epoch, offset = place_of(entry["cursor"])
        event = entry["event"]
        assert isinstance(event, dict)
        epochs.add(epoch)
        log.append((offset, event["id"]))
    return epochs, log


class Stage:
    """What everybody at work shares: how far the log is known to go, and a sign whenever something moved."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self.top = 0

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something that somebody does."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.moved.clear()
                    await self.moved.wait()
        except TimeoutError:
            raise AssertionError(f"not in time: {what}") from None


class Follower:
    """Follows all document events, whatever becomes of its connections, and keeps what it was shown as it came: repetitions too."""

    def __init__(self, opener: Opener, longest_s: float) -> None:
        self.ids: list[str] = []
        self.shown_at: list[float] = []
        """When each event came."""
        self.faults: list[str] = []
        self.offset = 0
        self.lives = 0
        """How often it was let in."""
        self.is_up = False
        """Whether it is connected, and has what was there when it came."""
        self.lost: list[str] = []
        self.back_s: list[float] = []
        self._opener = opener
        self._cursor: str | None = None
        self._lost_at: float | None = None
        self._leave_at: float | None = None
        self._delays = Delays(random.random, longest_s=longest_s)

    async def follow(self, url: str, stage: Stage, *others: str) -> None:
        """Go on until cancelled; with each connection at the next of several nodes."""
        urls = itertools.cycle((url, *others))
        while True:
            link = None
            try:
                link = await self._opener(
                    Wanted(
                        parse_address(next(urls)),
                        Credentials(user_id="user123", organization_id=ORGANIZATION),
                        (Subscription("document_updates"),),
                        self._cursor,
                    )
                )
                await self._listen(link, stage)
            except Lost as lost:
                if self.is_up:
                    self.is_up, self._lost_at = False, monotonic()
                    self.lost.append(lost.reason)
                if lost.is_restart or self._leave_at is not None:
                    self._delays.expect_restart()
                if self._leave_at is None:
                    delay_s = self._delays.next()
                else:
                    delay_s, self._leave_at = max(0.0, self._leave_at - monotonic()), None
            finally:
                if link is not None:
                    await link.close()
            await asyncio.sleep(delay_s)  # what a client does, and the test measures

    async def _listen(self, link: Link, stage: Stage) -> NoReturn:
        target: int | None = None
        while True:
            message = (await link.receive()).message
            if message.type == "subscribed":
                target = stage.top
                self.lives += 1
                self._delays.reset()
                if message.recovered is False:
                    self.faults.append(f"not recovered: {message.reason}")
            self._take(message)
            if target is not None and self.offset >= target:
                target, self.is_up = None, True
                if self._lost_at is not None:
                    self.back_s.append(monotonic() - self._lost_at)
            stage.moved.set()

    def _take(self, message: Message) -> None:
        if message.type == "event":
            assert not isinstance(message.event, msgspec.UnsetType)
            self.ids.append(msgspec.json.decode(message.event, type=dict)["id"])
            self.shown_at.append(monotonic())
        elif message.type == "reconnect":
            self._leave_at = monotonic() + (message.after_ms or 0) / 1000
        elif message.type == "resync":
            self.faults.append(f"resync: {message.reason}")
        if message.cursor is not None:
            offset = offset_of(message.cursor)
            if offset < self.offset:
                self.faults.append(f"the cursor went back from {self.offset} to {offset}")
            self._cursor, self.offset = message.cursor, offset


def followers(count: int, longest_s: float) -> Sequence[Follower]:
    """Make so many, in turn on either transport. `longest_s`: between two of a follower's tries."""
    return [Follower(open_websocket if n % 2 else open_event_stream, longest_s) for n in range(count)]
