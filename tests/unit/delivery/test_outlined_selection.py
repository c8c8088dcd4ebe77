"""A selection that changes while a connection is read on for: the page under way was chosen by the old one, and is not handed over."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.tail import OUTLINE_BYTES, OUTLINE_PART
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import LogName, Page
from tests.support.clock import settle
from tests.support.delivery import Client, Node, started_node, subscription

pytestmark = pytest.mark.virtual_clock

TAIL_BYTES = int(110 * OUTLINE_BYTES / OUTLINE_PART)
"""Room for the keys of the events below, and not for their bodies."""


class Gated(MemoryEngine):
    """An engine whose answers about the organization wait while there is a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None
        self.waiting = asyncio.Event()

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        page = await super().read(log, after, max_bytes)
        if self.gate is not None and log == "org123" and (max_bytes > 1 or after > 0):
            self.waiting.set()
            await self.gate.wait()
        return page

    def go(self) -> None:
        """Let everybody go on."""
        assert self.gate is not None
        self.gate.set()
        self.gate = None


def wanted(document_id: str) -> dict[str, object]:
    """Give a subscription to one document, as a client sends it."""
    return {"type": "document_updates", "filters": {"documentId": document_id}}


async def scene(node: Node) -> tuple[Client, object, list[str], list[str]]:
    """Let events of two documents happen among many others, whose bodies memory does not hold; give who comes back, and from where."""
    watcher = await node.client()
    begin = watcher.subscribe(subscription("document_updates", document_id="none"))["cursor"]
    first, second = [], []
    for _ in range(5):
        second.append(await node.happen(documentId="doc-b"))
        first.append(await node.happen(documentId="doc-a"))
        for _ in range(19):
            await node.happen(documentId="other")
    await settle()
    client = await node.client()
    await node.hub.learn_floors(client.connection.organization)
    return client, begin, first, second


async def test_what_was_unsubscribed_meanwhile_does_not_come() -> None:
    """After `unsubscribed` no event of that subscription is delivered, whatever was being read for it."""
    engine = Gated()
    async with started_node(engine=engine, tail_bytes=TAIL_BYTES) as node:
        client, begin, _, second = await scene(node)
        engine.gate = asyncio.Event()
        client.receive({"type": "subscribe", "subscriptions": [wanted("doc-a"), wanted("doc-b")], "cursor": begin})
        await asyncio.wait_for(engine.waiting.wait(), 5)
        ids = next(m for m in client.messages() if m["type"] == "subscribed")["subscriptionIds"]
        client.receive({"type": "unsubscribe", "subscriptionId": ids[0]})
        engine.go()
        await settle()
        assert client.event_ids() == second


async def test_what_was_subscribed_meanwhile_is_not_passed_over() -> None:
    """Everything after the cursor in `subscribed` comes, also of what was asked for while the replay was under way."""
    engine = Gated()
    async with started_node(engine=engine, tail_bytes=TAIL_BYTES) as node:
        client, begin, first, second = await scene(node)
        engine.gate = asyncio.Event()
        client.receive({"type": "subscribe", "subscriptions": [wanted("doc-a")], "cursor": begin})
        await asyncio.wait_for(engine.waiting.wait(), 5)
        client.receive({"type": "subscribe", "subscriptions": [wanted("doc-b")]})
        assert client.messages()[-1]["cursor"] == begin
        engine.go()
        await settle()
        assert client.event_ids() == [one for pair in zip(second, first, strict=True) for one in pair]
