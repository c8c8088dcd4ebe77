"""A log that turns out to be another than it was: whoever was shown what is void, or stands on it, is told; nobody else is."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.tail import OUTLINE_BYTES, OUTLINE_PART
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import Entry, LogName, Page, Position
from signtusk_realtime.events.subscriptions import Subscription
from tests.support.clock import elapse, settle
from tests.support.delivery import Client, Node, started_node

pytestmark = pytest.mark.virtual_clock

ORGANIZATION = LogName("org123")
PAGE = 1024
"""Bytes: look-ups of single places ask for less."""
DOCUMENTS = Subscription("document_updates")


class LosingEngine(MemoryEngine):
    """Loses what was appended last, without a word; may answer reads late; may keep from the sink what it appends until `tell`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None
        self.waiting = 0
        self.least_bytes = 1
        """Reads of less pass the gate."""
        self.is_silent = False

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        page = await super().read(log, after, max_bytes)
        if self.gate is not None and log == ORGANIZATION and max_bytes >= self.least_bytes:
            self.waiting += 1
            await self.gate.wait()
            self.waiting -= 1
        return page

    def lose(self, kept: int) -> Position:
        """Forget all but the first entries; give the place that is left."""
        place = self._logs[ORGANIZATION]
        for entry in place.entries[kept:]:
            del place.known[entry.event_id]
        del place.entries[kept:]
        last = place.entries[-1]
        place.offset, place.tag = last.offset, last.tag
        return Position(place.epoch, last.offset, last.tag)

    def _tell(self, method, *args, **kwargs):  # type: ignore[no-untyped-def]  # the base's own, whatever it is given
        if not self.is_silent:
            super()._tell(method, *args, **kwargs)

    def tell(self, after: int) -> None:
        """Tell the sink what it was not told."""
        self.is_silent = False
        place = self._logs[ORGANIZATION]
        self._running().appended(ORGANIZATION, place.epoch, place.entries[after:])


async def _reader(node: Node, cursor: str | None = None) -> Client:
    client = await node.client()
    asked: dict[str, object] = {"type": "subscribe", "subscriptions": [{"type": "document_updates"}]}
    client.receive(asked if cursor is None else {**asked, "cursor": cursor})
    return client


async def _cursors(node: Node, count: int) -> list[str]:
    """Let so many events happen; give the cursor after each."""
    witness = await _reader(node)
    for _ in range(count):
        await node.happen()
    await settle()
    found = [m["cursor"] for m in witness.messages() if m["type"] == "event"]
    node.hub.lost(witness.connection)
    return found


def _forget_tail(node: Node) -> None:
    """Let nothing be known from memory."""
    node.hub._let_go(ORGANIZATION)


async def test_a_cursor_that_is_looked_up_meanwhile_is_looked_up_again() -> None:
    """What was found out about a cursor before the log diverged is not believed: its reader is told, or has everything."""
    engine = LosingEngine()
    async with started_node(engine=engine) as node:
        cursors = await _cursors(node, 11)
        _forget_tail(node)
        gates = 0
        client = await node.client()
        engine.gate = asyncio.Event()
        client.receive({"type": "subscribe", "subscriptions": [{"type": "document_updates"}], "cursor": cursors[9]})
        await settle()
        while engine.waiting and gates < 2:
            gates += 1
            gate, engine.gate = engine.gate, asyncio.Event()
            gate.set()
            await settle()
        assert engine.waiting, "the last read of the look-up waits"
        node.hub.diverged(ORGANIZATION, engine.lose(5))
        gate, engine.gate = engine.gate, None
        gate.set()
        await settle()
        await node.happen()
        await settle()
        [answer, *_] = client.messages()
        assert (answer["recovered"], answer["reason"]) == (False, "epoch")


async def test_who_is_behind_on_true_ground_reads_on() -> None:
    """Who was shown nothing of what is void is told nothing, and gets what took its place."""
    engine = LosingEngine()
    async with started_node(engine=engine) as node:
        behind, live = await _reader(node), await _reader(node)
        first = await node.happen()
        await settle()
        node.hub.paused(behind.connection)
        for _ in range(3):
            await node.happen()
        await settle()
        assert behind.event_ids() == [first]
        live.messages()
        node.hub.diverged(ORGANIZATION, engine.lose(2))
        second = (await engine.read(ORGANIZATION, 1, 1)).entries[0].event_id
        new = [await node.happen() for _ in range(4)]
        node.hub.drained(behind.connection)
        await settle()
        assert behind.event_ids() == [second, *new]
        assert live.messages()[0]["type"] == "resync"


@pytest.mark.parametrize("tail_bytes", [0, 64 << 20], ids=["page by page", "filling the tail"])
async def test_what_was_being_read_is_dropped(tail_bytes: int) -> None:
    """A page of the void history that arrives after the divergence is shown to nobody, and kept nowhere."""
    engine = LosingEngine()
    async with started_node(engine=engine, tail_bytes=tail_bytes) as node:
        cursors = await _cursors(node, 10)
        client = await _reader(node, cursors[0])
        await settle()
        client.messages()
        again = await _reader(node, cursors[2])
        _forget_tail(node)
        engine.gate, engine.least_bytes = asyncio.Event(), PAGE
        await settle()
        assert engine.waiting
        node.hub.diverged(ORGANIZATION, engine.lose(5))
        gate, engine.gate = engine.gate, None
        true = [e.event_id for e in (await engine.read(ORGANIZATION, 3, 1 << 20)).entries]
        new = [await node.happen() for _ in range(6)]
        gate.set()
        await settle()
        later = await _reader(node, cursors[3])
        await settle()
        assert again.event_ids() == [*true, *new]
        assert later.event_ids() == [*true[1:], *new]


async def test_what_was_being_looked_up_of_outlines_is_dropped() -> None:
    """Entries read one by one, because memory knew only who wants them, are of the new history too."""
    engine = LosingEngine()
    async with started_node(engine=engine, tail_bytes=int(30 * OUTLINE_BYTES / OUTLINE_PART)) as node:
        cursors = await _cursors(node, 25)
        engine.gate, engine.least_bytes = asyncio.Event(), PAGE
        client = await _reader(node, cursors[0])
        await settle()
        assert engine.waiting
        node.hub.diverged(ORGANIZATION, engine.lose(3))
        gate, engine.gate = engine.gate, None
        true = [e.event_id for e in (await engine.read(ORGANIZATION, 1, 1 << 20)).entries]
        new = [await node.happen() for _ in range(23)]
        gate.set()
        await settle()
        assert client.event_ids() == [*true, *new]


async def test_a_place_from_elsewhere_is_proven() -> None:
    """Who got further at another node than this one has heard goes on where his place is in what comes."""
    engine = LosingEngine()
    async with started_node(engine=engine) as node:
        cursors, others = await _ahead(node, engine)
        client = await _reader(node, cursors[-1])
        await settle()
        engine.tell(after=3)
        new = await node.happen()
        await settle()
        assert [m["type"] for m in client.messages()] == ["subscribed", "event"]
        assert new not in {entry.event_id for entry in others}


@pytest.mark.parametrize("refilled", [3, 6], ids=["as far as it was", "further"])
async def test_a_place_from_elsewhere_that_was_lost_is_told(refilled: int) -> None:
    """Who got further at another node, on what was then lost and refilled, is told: equal offsets prove nothing."""
    engine = LosingEngine()
    async with started_node(engine=engine) as node:
        cursors, _ = await _ahead(node, engine)
        client = await _reader(node, cursors[-1])
        await settle()
        assert [m["recovered"] for m in client.messages()] == [True]
        engine.lose(3)
        for _ in range(refilled):
            await node.happen()
        engine.tell(after=3)
        await settle()
        new = await node.happen()
        await settle()
        told, event = client.messages()
        assert (told["type"], told["reason"]) == ("resync", "epoch")
        assert event["event"]["id"] == new


async def _ahead(node: Node, engine: LosingEngine) -> tuple[list[str], list[Entry]]:
    """Let three events happen that this node hears of, and three that it does not; give cursors after all, and the latter."""
    await _cursors(node, 3)
    engine.is_silent = True
    for _ in range(3):
        await node.happen()
    page = await engine.read(ORGANIZATION, 3, 1 << 20)
    organization = next(iter(node.hub._following.organizations.values()))
    here = organization.here
    at = [here._replace(organization=Position(page.top.epoch, e.offset, e.tag)) for e in page.entries]
    return [organization.cursor_at(place) for place in at], list(page.entries)


async def test_a_log_that_became_shorter_is_told() -> None:
    """Who reads on in a log that ends before his place is told, though the engine has said nothing yet."""
    engine = LosingEngine()
    async with started_node(engine=engine, tail_bytes=0) as node:
        client = await _reader(node)
        for _ in range(5):
            await node.happen()
        await settle()
        client.messages()
        node.hub.paused(client.connection)
        await node.happen()
        engine.lose(2)
        node.hub.drained(client.connection)
        await elapse(1.0)
        [told] = client.messages()
        assert (told["type"], told["reason"]) == ("resync", "epoch")


async def test_an_erased_log_begins_anew_for_who_follows_it() -> None:
    """When a log was erased and used again, its readers are told before they get what is new, and those who come back are told too."""
    async with started_node() as node:
        cursors = await _cursors(node, 3)
        live, announced = await _reader(node), await node.client()
        announced.subscribe(Subscription("system_announcements"))
        live.messages()
        await node.engine.forget(ORGANIZATION)
        new = await node.happen()
        await settle()
        told, event = live.messages()
        assert told["type"] == "resync"
        assert event["event"]["id"] == new
        back = await _reader(node, cursors[1])
        await settle()
        assert [(m["recovered"], m["reason"]) for m in back.messages()] == [(False, "epoch")]
