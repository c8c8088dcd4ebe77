"""Letting everybody go: what each is told, when each goes, and who stays a little longer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signtusk_realtime.operations.drain import DEPARTURES_PER_S, RETURN_MS, Drain, departure_s
from signtusk_realtime.protocol import codes
from tests.support.clock import elapse, settle
from tests.support.delivery import Client, Node, Turns, started_node, subscription

pytestmark = pytest.mark.virtual_clock

WITHIN_S = 8.0


@pytest.fixture
async def node() -> Any:
    async with started_node() as started:
        yield started


def drain_of(node: Node) -> Drain:
    return Drain(node.hub, random=lambda: 0.5)


async def draining(node: Node, *clients: Client, within_s: float = WITHIN_S) -> asyncio.Task[None]:
    task = asyncio.create_task(drain_of(node).run([client.connection for client in clients], within_s))
    await settle()
    return task


@pytest.mark.parametrize("within_s", [0.0, 0.05, 0.3, 8.0])
@pytest.mark.parametrize("count", [1, 2, 100, 10_000, 50_000])
def test_departures_are_spread(count: int, within_s: float) -> None:
    """The first goes within a second, the last in time; between them equal steps, no faster than others can take them in."""
    times = [departure_s(index, count, within_s) for index in range(count)]
    assert times == sorted(times)
    assert times[0] <= 1
    assert times[-1] <= within_s + 1e-9
    if within_s == 8.0 and count == 10_000:
        assert times[-1] - times[0] == pytest.approx(count / DEPARTURES_PER_S)
    if within_s and count > 1:
        assert len(set(times)) == count


async def test_all_are_told_at_once_and_go_at_their_time(node: Node) -> None:
    """`reconnect` comes with the drain's first moment; each ends, 1012, when its `afterMs` is over."""
    clients = [await node.client() for _ in range(5)]
    began = asyncio.get_running_loop().time()
    task = await draining(node, *clients)
    told = [client.messages() for client in clients]
    assert [[message["type"] for message in messages] for messages in told] == [["reconnect"]] * 5
    assert {messages[0]["reason"] for messages in told} == {"restarting"}
    waits = [messages[0]["afterMs"] / 1000 for messages in told]
    assert waits == sorted(set(waits))
    for client, wait_s in zip(clients, waits, strict=True):
        await elapse(began + wait_s - 0.005 - asyncio.get_running_loop().time())
        assert client.outlet.closed is None
        await elapse(0.03)
        assert client.outlet.closed == (1012, "restarting")
    await task


async def test_a_stream_is_told_how_long_to_wait(node: Node) -> None:
    """An EventSource obeys `retry:` alone: first its `afterMs`, should it be cut early, then a short while after its end."""
    client = await node.client(form="stream")
    task = await draining(node, client)
    [told] = client.messages()
    assert client.outlet.writes[-1].endswith(b"retry: %d\n\n" % told["afterMs"])
    await task
    assert client.outlet.writes[-1] == b"retry: %d\n\n" % (sum(RETURN_MS) // 2)
    assert client.outlet.closed is not None


async def test_what_is_pending_is_written_first() -> None:
    """An event that waits for the end of the turn reaches who is let go before it."""
    async with started_node(flusher=Turns().flusher()) as node:
        client = await node.client()
        client.subscribe(subscription("document_updates"))
        event_id = await node.happen()
        assert client.event_ids() == []
        await drain_of(node).run([client.connection], 0.0)
        assert client.event_ids() == [event_id]
        assert client.outlet.closed == (1012, "restarting")


async def test_who_is_behind_stays_until_it_has_everything(node: Node) -> None:
    """A full outlet is waited for; once it drains, its events come from the log, then the end."""
    client = await node.client()
    client.subscribe(subscription("document_updates"))
    node.hub.paused(client.connection)
    event_id = await node.happen()
    task = await draining(node, client)
    await elapse(4)
    assert client.outlet.closed is None
    node.hub.drained(client.connection)
    await elapse(0.1)
    assert client.event_ids() == [event_id]
    assert client.outlet.closed == (1012, "restarting")
    await task


async def test_nobody_is_waited_for_for_ever(node: Node) -> None:
    """Who takes nothing is ended when the time is over, and what is shown to it stays honest: no cursor beyond what it has."""
    client = await node.client()
    client.subscribe(subscription("document_updates"))
    node.hub.paused(client.connection)
    await node.happen()
    task = await draining(node, client)
    await elapse(WITHIN_S - 0.1)
    assert client.outlet.closed is None
    await elapse(0.2)
    assert client.outlet.closed == (1012, "restarting")
    assert [message["type"] for message in client.messages()] == ["reconnect"]
    await task


async def test_who_leaves_by_itself_is_not_waited_for(node: Node) -> None:
    """A client that obeys at once needs no end from us."""
    clients = [await node.client() for _ in range(2)]
    task = await draining(node, *clients)
    for client in clients:
        node.hub.lost(client.connection)
    await elapse(0.5)
    assert task.done()
    assert all(client.outlet.closed is None for client in clients)


async def test_in_a_hurry_nobody_is_waited_for(node: Node) -> None:
    """`hurry` ends the drain; who is still there is its caller's."""
    clients = [await node.client() for _ in range(3)]
    drain = drain_of(node)
    task = asyncio.create_task(drain.run([client.connection for client in clients], WITHIN_S))
    await settle()
    drain.hurry()
    await elapse(0.1)
    assert task.done()
    assert not any(client.outlet.closed for client in clients[1:])
    for client in clients:
        node.hub.end(client.connection, codes.CLOSE_RESTARTING)


async def test_telling_thousands_leaves_the_loop_free() -> None:
    """Telling is done in slices: somebody else gets many turns meanwhile."""
    async with started_node() as node:
        connections = [(await node.client()).connection for _ in range(200)]
        loop = asyncio.get_running_loop()
        turns, real_time = 0, loop.time
        # Each look at the clock costs a tenth of a slice.
        looks = 0

        def slow_time() -> float:
            nonlocal looks
            looks += 1
            return real_time() + looks * 0.0002

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not task.done():
                loop.call_soon(turn)

        loop.time = slow_time
        try:
            task = asyncio.create_task(drain_of(node).run(connections, 0.0))
            loop.call_soon(turn)
            await task
        finally:
            loop.time = real_time
        assert turns >= 15
