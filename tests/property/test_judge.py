"""The judge of a connection's messages is itself judged: it lets the truth pass, and finds each seeded lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from signtusk_realtime.delivery.floors import KNOWN_S
from signtusk_realtime.events.log import ORIGIN_TAG, SYSTEM_LOG, Entry, Epoch, Retention, chain
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor as cursors
from tests.support import delivery
from tests.support.clock import elapse
from tests.support.engines import ManualClock
from tests.support.judge import Judge, Life, Logs
from tests.support.outlets import Message
from tests.support.samples import sample_event

pytestmark = pytest.mark.virtual_clock

ORGANIZATION: Final = "org123"
MINE, OTHERS = "document_update", "organization_activity"
KINDS: Final = (MINE, MINE, OTHERS, MINE, MINE, OTHERS)
"""What the log holds; the subscriber wants documents only."""


class Conversation:
    """A log of six events, an empty system log, and messages about them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.logs = Logs((ORGANIZATION, SYSTEM_LOG), Retention(age_ms=1000), self.clock)
        self.life = self.logs.begin(ORGANIZATION, Epoch("1" * 16))
        self.logs.begin(SYSTEM_LOG, Epoch("2" * 16))
        tag = ORIGIN_TAG
        for offset, kind in enumerate(KINDS, 1):
            draft = delivery.drafted(sample_event(kind), f"evt_{offset}", ORGANIZATION)
            tag = chain(tag, draft.event_id)
            self.life.place(Entry(offset, tag, self.clock(), draft.event_id, tuple(draft.keys), draft.body))
        self.judge = Judge(delivery.member(), self.logs)

    def cursor(self, offset: int, life: Life | None = None) -> str:
        return cursors.encode(ORGANIZATION, (life or self.life).position(offset), self.logs.now(SYSTEM_LOG).position(0))

    def subscribed(self, offset: int, **more: object) -> Message:
        return {"type": "subscribed", "subscriptionIds": ["s"], "cursor": self.cursor(offset), **more}

    def event(self, offset: int, covers: int | None = None) -> Message:
        event = json.loads(self.life.entries[offset].body)
        return {"type": "event", "cursor": self.cursor(offset if covers is None else covers), "event": event}

    def note(self, kind: str, offset: int, **more: object) -> Message:
        return {"type": kind, "cursor": self.cursor(offset), **more}

    def tell(self, messages: list[Message], cursor: str | None = None) -> None:
        self.judge.ask("subscribe", [Subscription("document_updates")], cursor)
        for message in messages:
            self.judge.take(message)

    def forget(self, offset: int) -> None:
        """Let retention take everything up to this."""
        for at in range(1, offset + 1):
            self.life.entries[at] = self.life.entries[at]._replace(at=0)
        self.life.note_floor(offset)


async def test_the_truth_passes() -> None:
    """All that the subscriber wants, in order, with cursors that move; and then nothing is missing."""
    told = Conversation()
    told.tell([told.subscribed(0), told.event(1), told.event(2), told.note("cursor", 3), told.event(4)])
    assert told.judge.missing() == ["1111/5"]
    told.judge.take(told.event(5))
    told.judge.take(told.note("cursor", 6))
    assert told.judge.missing() == []


LIES: dict[str, tuple[str, Callable[[Conversation], list[Message]]]] = {
    "an event is skipped": ("I0, I2", lambda c: [c.subscribed(0), c.event(2)]),
    "an event comes twice": ("I2", lambda c: [c.subscribed(0), c.event(1), c.event(1)]),
    "events come in another order": ("I2", lambda c: [c.subscribed(1), c.event(2), c.event(1)]),
    "an event nobody asked for": ("I4", lambda c: [c.subscribed(2), c.event(3)]),
    "a cursor before its event": ("I0", lambda c: [c.subscribed(0), c.note("cursor", 1), c.event(1)]),
    "an event's cursor one too high": ("I4", lambda c: [c.subscribed(1), c.event(2, covers=3)]),
    "an event's cursor is the next one's": ("seen as", lambda c: [c.subscribed(0), c.event(1, covers=2)]),
    "a cursor goes back": ("goes back", lambda c: [c.subscribed(0), c.event(1), c.note("cursor", 0)]),
    "another body": (
        "seen as",
        lambda c: [c.subscribed(0), {**c.event(1), "event": {**c.event(1)["event"], "id": "x"}}],
    ),
    "told to reload for nothing": (
        "although everything was kept",
        lambda c: [c.subscribed(0), c.note("resync", 6, reason="expired")],
    ),
    "an answer nobody asked for": ("an answer to nothing", lambda c: [c.subscribed(0), c.note("pong", 0)]),
    "recovered, though nobody resumed": ("recovered", lambda c: [c.subscribed(0, recovered=True)]),
}


@pytest.mark.parametrize("lie", LIES)
async def test_each_lie_is_found(lie: str) -> None:
    """One thing is wrong in what is told, and the judge names it."""
    told = Conversation()
    why, messages = LIES[lie]
    with pytest.raises(AssertionError, match=why):
        told.tell(messages(told))


async def test_a_resume_begins_where_its_cursor_stood() -> None:
    """Recovered means from there on: a later place would be a silent gap."""
    told = Conversation()
    with pytest.raises(AssertionError, match="asked for"):
        told.tell([told.subscribed(2, recovered=True)], told.cursor(1))


async def test_a_cursor_that_can_be_continued_is_not_refused() -> None:
    """`recovered:false` is told only for a reason that is true."""
    told = Conversation()
    with pytest.raises(AssertionError, match="would be true"):
        told.tell([told.subscribed(6, recovered=False, reason="expired")], told.cursor(1))


async def test_what_retention_took_is_told() -> None:
    """A cursor below the floor expires, at the latest when everybody must know the floor."""
    told = Conversation()
    told.forget(2)
    await elapse(KNOWN_S)
    with pytest.raises(AssertionError, match="cannot be continued"):
        told.tell([told.subscribed(1, recovered=True)], told.cursor(1))


async def test_a_cursor_of_an_ended_life_is_refused() -> None:
    """Another epoch's cursor is not continued, even where its tag stands in the new life too."""
    told = Conversation()
    old = told.cursor(2)
    told.life = told.logs.begin(ORGANIZATION, Epoch("3" * 16), list(told.life.entries.values()))
    told.judge = Judge(delivery.member(), told.logs)
    with pytest.raises(AssertionError, match="cannot be continued"):
        told.tell([told.subscribed(2, recovered=True)], old)


async def test_offsets_are_gapless() -> None:
    """I1: a log with a hole, and one with two events at one place, are no logs."""
    told = Conversation()
    with pytest.raises(AssertionError, match="I1"):
        told.life.place(told.life.entries[1]._replace(offset=2))
    del told.life.entries[3]
    with pytest.raises(AssertionError, match="I1"):
        told.life.check()
