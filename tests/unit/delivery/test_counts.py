"""What delivering costs, in counts that do not depend on the machine: functions called, events encoded, bytes kept.

A bound here is what was counted when it was written and a little more. Who exceeds one has made every delivery dearer; benchmarks tell by how
much, and whether it was worth it.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import cast

import pytest

from signtusk_realtime.delivery import formats
from signtusk_realtime.events.event import guest_body
from signtusk_realtime.events.subscriptions import Subscription
from tests.support.clock import settle
from tests.support.delivery import Node, Turns, grant, guest, member, started_node, subscription

pytestmark = pytest.mark.virtual_clock

DOCUMENTS = Subscription("document_updates")


class Silent:
    """An outlet that keeps nothing, so that what is kept is delivery's own. One class attribute: the write is one call into C."""

    __slots__ = ()
    write = staticmethod(cast("Callable[[bytes | list[str]], None]", len))

    def unsent(self) -> int:
        return 0

    def withdraw(self) -> None:
        return

    def close(self, code: int, reason: str, /) -> None:
        return


class Calls:
    """What was called: Python functions by their code, C functions by their name."""

    def __init__(self) -> None:
        self.python: Counter[CodeType] = Counter()
        self.c: Counter[str] = Counter()

    def of(self, function: Callable[..., object]) -> int:
        """Count the calls of one Python function."""
        return self.python[function.__code__]

    @property
    def total(self) -> int:
        return self.python.total() + self.c.total()


@contextmanager
def counted() -> Iterator[Calls]:
    """Count every call made meanwhile."""
    calls = Calls()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.python[frame.f_code] += 1
        elif event == "c_call":
            calls.c[getattr(argument, "__name__", "?")] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


async def _readers(node: Node, count: int) -> None:
    for _ in range(count):
        client = await node.client()
        client.subscribe(DOCUMENTS)
        client.connection.write = Silent.write


async def _calls_of_one_event(readers: int) -> int:
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        await _readers(node, readers)
        await node.happen()
        turns.run()
        await node.happen()
        with counted() as calls:
            turns.run()
        assert calls.c["len"] >= readers
        return calls.total


async def test_a_delivery_is_one_call() -> None:
    """Writing an event to a member calls one function, the transport's own; all else is per event, or per many members."""
    few, many = await _calls_of_one_event(200), await _calls_of_one_event(2200)
    per_member = (many - few) / 2000
    assert 1 <= per_member <= 1.05


async def test_an_event_is_encoded_once_for_all_who_see_the_same() -> None:
    """However many read, an event is put into frames once per format, and cut for guests once per format that guests use."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        for form in ("frames", "stream", "texts"):
            for number in range(30):
                reader = await node.client(member(f"user{number}"), form)
                reader.subscribe(DOCUMENTS)
                reader = await node.client(guest(grant(document_id="doc-a"), user_id=f"guest{number}"), form)
                reader.subscribe(subscription("document_updates", document_id="doc-a"))
        with counted() as calls:
            await node.happen(documentId="doc-a")
            turns.run()
        assert calls.of(guest_body) == 3
        assert calls.of(formats._event_message) == 4  # texts need no frame


async def test_what_an_event_costs_does_not_grow_with_subscriptions() -> None:
    """Among many subscriptions with filters of their own, an event looks at those it matches."""

    async def calls_among(others: int) -> int:
        turns = Turns()
        async with started_node(flusher=turns.flusher()) as node:
            for number in range(others):
                reader = await node.client()
                reader.subscribe(subscription("document_updates", document_id=f"doc-{number}"))
            for _ in range(10):
                reader = await node.client()
                reader.subscribe(subscription("document_updates", document_id="doc-wanted"))
                reader.connection.write = Silent.write
            await node.happen(documentId="doc-wanted")
            turns.run()
            with counted() as calls:
                await node.happen(documentId="doc-wanted")
                turns.run()
            return calls.total

    few, many = await calls_among(10), await calls_among(1000)
    assert many <= few * 1.1


async def test_what_an_idle_connection_keeps() -> None:
    """A subscribed connection at rest keeps a bounded number of bytes and objects, beside its transport's own."""
    async with started_node() as node:
        await _readers(node, 50)
        await settle()
        kept: list[object] = []
        gc.collect()
        objects = len(gc.get_objects())
        tracemalloc.start()
        try:
            for _ in range(500):
                admission = await node.connect.admit(member())
                connection = node.connect.open(admission, Silent(), formats.FRAMES)
                node.receive(connection, b'{"type":"subscribe","subscription":{"type":"document_updates"}}')
                kept.append(connection)
            await settle()
            gc.collect()
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(kept) == 500
        assert used / 500 <= 1100
        assert (len(gc.get_objects()) - objects) / 500 <= 8
