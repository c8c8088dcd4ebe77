"""Messages that come in while an earlier one of the same connection waits for the log: their order, their bound, their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.log import LogName, Page
from signtusk_realtime.operations.receive import INBOX_BYTES
from signtusk_realtime.protocol import codes
from tests.support.clock import settle
from tests.support.delivery import Client, Node, started_node

pytestmark = pytest.mark.virtual_clock

RESUMED = {
    "type": "subscribe",
    "subscription": {"type": "document_updates"},
    "cursor": "earliest",
    "requestId": "first",
}


class AskedEngine(MemoryEngine):
    """A MemoryEngine whose reads wait while `gate` is closed, and then fail by our own fault if `is_broken`."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.is_broken = False

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        await self.gate.wait()
        if self.is_broken:
            raise ZeroDivisionError
        return await super().read(log, after, max_bytes)


@pytest.fixture
async def engine() -> AskedEngine:
    return AskedEngine()


@pytest.fixture
async def node(engine: AskedEngine) -> AsyncIterator[Node]:
    async with started_node(engine=engine) as started:
        yield started
        engine.gate.set()
        await started.receive.close()


@pytest.fixture
async def client(node: Node) -> Client:
    """Give a connection whose first message waits for the log."""
    client = await node.client()
    client.receive(RESUMED)
    await settle()
    assert client.messages() == []
    return client


async def test_what_waits_behind_is_done_in_order(client: Client, engine: AskedEngine) -> None:
    """Nothing overtakes a subscribe that waits for the log, and each is answered once."""
    client.receive({"type": "ping", "requestId": "second"})
    client.receive({"type": "nonsense", "requestId": "third"})
    client.receive({"type": "subscribe", "subscription": {"type": "notifications"}, "requestId": "fourth"})
    await settle()
    assert client.messages() == []
    engine.gate.set()
    await settle()
    assert [(m["type"], m["requestId"]) for m in client.messages()] == [
        ("subscribed", "first"),
        ("pong", "second"),
        ("error", "third"),
        ("subscribed", "fourth"),
    ]
    assert client.ask({"type": "ping", "requestId": "fifth"})["requestId"] == "fifth"


async def test_the_applications_own_acts_take_their_turn(client: Client, node: Node, engine: AskedEngine) -> None:
    """An act stands in the order of the messages; what it raises is answered as their errors are. With nothing before it, it is done at once."""
    done: list[str] = []

    def refused() -> None:
        raise InvalidInput("not so")

    client.receive({"type": "ping", "requestId": "second"})
    node.receive.in_turn(client.connection, lambda: done.append("third" if client.messages() else "too early"))
    node.receive.in_turn(client.connection, refused)
    await settle()
    assert done == []
    engine.gate.set()
    await settle()
    assert done == ["third"]
    [error] = client.messages()
    assert (error["type"], error["message"]) == ("error", "not so")
    node.receive.in_turn(client.connection, lambda: done.append("at once"))
    assert done == ["third", "at once"]


async def test_what_waits_is_bounded(client: Client) -> None:
    """A client that goes on sending without an answer is cut; up to the bound nothing is lost."""
    message = b'{"type":"ping","requestId":"%s"}' % (b"x" * 100)
    for _ in range(INBOX_BYTES // len(message)):
        client.node.now_s += 1
        client.receive(message)
    assert client.connection.is_open
    client.receive(message)
    assert client.outlet.closed is not None
    assert client.outlet.closed[0] == codes.CLOSE_OVERLOADED.number


async def test_who_leaves_meanwhile_is_answered_nothing(client: Client, node: Node, engine: AskedEngine) -> None:
    """What waited for a connection that is gone is not done, and nothing is left of it."""
    done: list[str] = []
    client.receive({"type": "ping"})
    node.receive.in_turn(client.connection, lambda: done.append("done"))
    node.hub.lost(client.connection)
    engine.gate.set()
    await settle()
    assert (client.messages(), done) == ([], [])
    assert not node.receive._tasks


async def test_our_own_error_ends_the_connection(client: Client, engine: AskedEngine) -> None:
    """A fault of ours while a message waits closes that connection as such; those behind it are not done."""
    client.receive({"type": "ping"})
    engine.is_broken = True
    engine.gate.set()
    await settle()
    assert client.outlet.closed is not None
    assert client.outlet.closed[0] == codes.CLOSE_INTERNAL.number
    assert client.messages() == []
