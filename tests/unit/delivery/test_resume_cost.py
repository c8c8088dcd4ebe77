"""What a resume costs, in counts: it pays for what it is shown, not for what lies between, whether memory holds that whole, by its keys, or not."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.tail import ENTRY_OVERHEAD, LOOKS, OUTLINE_BYTES, OUTLINE_PART, Tail
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch, LogName, Page
from signtusk_realtime.sessions.entitlement import compile_selection
from tests.support.clock import settle
from tests.support.delivery import Node, member, started_node, subscription

pytestmark = pytest.mark.virtual_clock

ORGANIZATION = LogName("org123")
MISSED = 5


class Counting(MemoryEngine):
    """A MemoryEngine that counts what is read of the organization's log."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.entries = 0

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        page = await super().read(log, after, max_bytes)
        if log == ORGANIZATION and max_bytes > 1:
            self.reads += 1
        if log == ORGANIZATION:
            self.entries += len(page.entries)
        return page


async def missed_among(node: Node, others: int) -> list[str]:
    """Publish what one document's followers miss, evenly among events that they do not want."""
    missed: list[str] = []
    for _ in range(MISSED):
        missed.append(await node.happen(documentId="doc-wanted"))
        for _ in range(others // MISSED):
            await node.happen(documentId="doc-other")
    return missed


def resuming(after: str) -> dict[str, object]:
    wanted = {"type": "document_updates", "filters": {"documentId": "doc-wanted"}}
    return {"type": "subscribe", "subscription": wanted, "cursor": after}


def outlining(entries: int) -> int:
    """Give a budget in which so many entries are known, but most of them by their keys alone."""
    return int(entries * OUTLINE_BYTES / OUTLINE_PART)


@pytest.mark.parametrize("others", [100, 3000])
async def test_what_lies_between_is_not_read(others: int) -> None:
    """Of a log of which memory holds only the keys, no more entries are read than are shown, however many there are."""
    engine = Counting()
    async with started_node(engine=engine, tail_bytes=outlining(others + MISSED)) as node:
        witness = await node.client()
        beginning = witness.subscribe(subscription("document_updates", document_id="doc-none"))["cursor"]
        missed = await missed_among(node, others)
        assert node.hub._tails._tails[ORGANIZATION].outlined > others / 2
        client = await node.client()
        before = engine.entries
        client.receive(resuming(beginning))
        await settle()
        assert client.event_ids() == missed
        # One more for each question about the floor and the cursor.
        assert engine.entries - before <= MISSED + 4


@pytest.mark.parametrize("others", [100, 3000])
async def test_what_all_want_is_read_once(others: int) -> None:
    """Many who resume from the same place ask the engine no more than one does."""
    engine = Counting()
    async with started_node(engine=engine, tail_bytes=outlining(others + MISSED)) as node:
        witness = await node.client()
        beginning = witness.subscribe(subscription("document_updates", document_id="doc-none"))["cursor"]
        missed = await missed_among(node, others)
        clients = [await node.client() for _ in range(50)]
        before = engine.entries
        for client in clients:
            client.receive(resuming(beginning))
        await settle()
        assert [client.event_ids() for client in clients] == [missed] * len(clients)
        assert engine.entries - before <= 3 * len(clients) + 2 * MISSED


async def test_a_log_that_was_forgotten_is_read_once() -> None:
    """Of a log of which memory knows nothing any more everything is read once, for all who come back together."""
    engine, others = Counting(), 2000
    async with started_node(engine=engine, tail_bytes=outlining(2 * others)) as node:
        witness = await node.client()
        beginning = witness.subscribe(subscription("document_updates", document_id="doc-none"))["cursor"]
        missed = await missed_among(node, others)
        node.hub._tails.forget(ORGANIZATION)
        clients = [await node.client() for _ in range(50)]
        before = engine.entries
        for client in clients:
            client.receive(resuming(beginning))
        await settle()
        assert [client.event_ids() for client in clients] == [missed] * len(clients)
        assert engine.entries - before <= others + 4 * len(clients) + 3 * MISSED
        assert node.hub._tails.bytes <= outlining(2 * others)


async def test_what_retention_took_while_it_was_looked_up_is_told() -> None:
    """An entry that memory knows and the log no longer has is not passed over: the client is told to reload."""
    engine = Counting()
    async with started_node(engine=engine, tail_bytes=outlining(100)) as node:
        witness = await node.client()
        beginning = witness.subscribe(subscription("document_updates", document_id="doc-none"))["cursor"]
        await missed_among(node, 95)
        client = await node.client()
        client.receive(resuming(beginning))
        while client.connection.place is None:
            await asyncio.sleep(0)
        await engine.forget(ORGANIZATION)
        await settle()
        assert [message["type"] for message in client.messages()][-1] == "resync"


def counted_keys(examined: list[int], offset: int, *keys: str) -> tuple[str, ...]:
    """Give keys that note whose they are when a filter looks at them beyond the type."""

    class Keys(tuple[str, ...]):
        __slots__ = ()

        def __contains__(self, key: object) -> bool:
            examined.append(offset)
            return super().__contains__(key)

    return Keys(keys)


@pytest.mark.parametrize("is_outlined", [False, True])
def test_finding_examines_what_may_match(is_outlined: bool) -> None:
    """The entries that a search looks at are those of its filter's rarest key, whatever else the tail knows."""
    selection = compile_selection([subscription("document_updates", document_id="wanted")], member("a"))
    counts: list[int] = []
    for others in (100, 5000):
        examined: list[int] = []
        tail = Tail(Epoch("0" * 16))
        for offset in range(1, others + 1):
            document = "d:wanted" if offset % (others // MISSED) == 0 else f"d:other-{offset % 7}"
            entry = Entry(offset, ORIGIN_TAG, 0, f"e{offset}", ("document_updated", document, "u:a"), b"x" * 10)
            tail.append(entry)
            at = tail._entries[-1]
            tail._entries[-1] = at._replace(keys=counted_keys(examined, offset, *at.keys))
        if is_outlined:
            for _ in range(others - 1):
                tail.outline_oldest()
            found, _ = tail.find_outlined(selection, 0, 100)
        else:
            found = [entry.offset for entry in tail.find(selection, 0, 1 << 20).entries]
        assert len(found) == MISSED - is_outlined
        counts.append(len(examined))
    assert counts[0] == counts[1] <= 2 * MISSED


@pytest.mark.parametrize("is_outlined", [False, True])
def test_what_matches_nothing_is_looked_for_in_bounded_turns(is_outlined: bool) -> None:
    """A hundred wishes with candidates everywhere and not one match: a turn looks at so many entries, not at all that the tail knows."""
    wishes = [
        subscription("document_updates", document_id=f"d{n}", event_types=("document_deleted",)) for n in range(100)
    ]
    selection = compile_selection(wishes, member("a"))
    tail = Tail(Epoch("0" * 16))
    for offset in range(1, 20_001):
        keys = ("document_updated", f"d:d{offset % 100}", "u:a")
        tail.append(Entry(offset, ORIGIN_TAG, 0, f"e{offset}", keys, b"x" * 10))
    if is_outlined:
        for _ in range(19_999):
            tail.outline_oldest()
    looked, turns = 0, 0
    while looked < 20_000 - is_outlined:
        if is_outlined:
            found, reached = tail.find_outlined(selection, looked, 100)
        else:
            entries, at = tail.find(selection, looked, 1 << 20)
            found, reached = [entry.offset for entry in entries], at.offset if at is not None else looked
        assert not found
        assert 0 < reached - looked <= 2 * LOOKS
        looked, turns = reached, turns + 1
    assert turns >= 3


async def test_who_wants_everything_gets_it_in_pages() -> None:
    """A client that misses thousands of entries gets all, and no page makes the search begin from the first again."""
    engine = Counting()
    async with started_node(engine=engine, tail_bytes=2000 * (ENTRY_OVERHEAD + OUTLINE_BYTES)) as node:
        witness = await node.client()
        beginning = witness.subscribe(subscription("document_updates", document_id="doc-none"))["cursor"]
        everything = [await node.happen(documentId=f"doc-{number}") for number in range(3000)]
        tail = node.hub._tails._tails[ORGANIZATION]
        assert 0 < tail.outlined < len(tail) == len(everything)
        client = await node.client()
        client.receive({"type": "subscribe", "subscription": {"type": "document_updates"}, "cursor": beginning})
        await settle()
        assert client.event_ids() == everything
