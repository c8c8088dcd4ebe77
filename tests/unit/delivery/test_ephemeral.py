"""What is told and not kept: to whom it goes, in which writes, and what is dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from signtusk_realtime.delivery.audience import WRITES_PER_LOOK
from signtusk_realtime.delivery.ephemeral import MOST_BYTES, between_clients, between_nodes
from signtusk_realtime.events.log import LogName
from tests.support.clock import settle
from tests.support.delivery import Client, Node, Turns, grant, guest, member, started_node, subscription

pytestmark = pytest.mark.virtual_clock

ORGANIZATION = LogName("org123")
KEYS = ("document_updated", "d:doc123", "u:ann")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with started_node() as started:
        yield started


async def following(node: Node, form: str = "frames", **filters: str) -> Client:
    client = await node.client(form=form)
    client.subscribe(subscription("document_updates", **filters))
    return client


def told(text: str) -> bytes:
    return json.dumps({"type": "signal", "text": text}).encode()


def texts(client: Client) -> list[str]:
    return [message["text"] for message in client.messages()]


async def test_it_goes_where_such_an_event_would_go(node: Node) -> None:
    """By every form, to those whose filters match and whose grants allow it, and to nobody of another organization."""
    everybody = [await following(node, form) for form in ("frames", "stream", "texts")]
    filtered = await following(node, document_id="doc123")
    apart = await following(node, document_id="other")
    others = await node.client(member("ann", "other"))
    others.subscribe(subscription("document_updates"))
    guests = [
        await node.client(guest(grant(actions=("subscribe",), document_id=document_id)))
        for document_id in ("doc123", "other")
    ]
    for client in guests:
        client.subscribe(subscription("document_updates"))
    await node.engine.signal(ORGANIZATION, between_clients(told("a"), KEYS, "conn_elsewhere"))
    await settle()
    assert [texts(client) for client in (*everybody, filtered, guests[0])] == [["a"]] * 5
    assert [texts(client) for client in (apart, others, guests[1])] == [[], [], []]
    assert node.hub.counters.ephemeral == 5


async def test_who_is_full_gets_nothing_also_not_later(node: Node) -> None:
    """A connection that is paused is passed over; once it has drained it gets what comes then."""
    client = await following(node)
    node.hub.paused(client.connection)
    await node.engine.signal(ORGANIZATION, between_clients(told("lost"), KEYS, ""))
    await settle()
    node.hub.drained(client.connection)
    await settle()
    await node.engine.signal(ORGANIZATION, between_clients(told("seen"), KEYS, ""))
    await settle()
    assert texts(client) == ["seen"]


async def test_who_left_meanwhile_gets_nothing(node: Node) -> None:
    """What waits for the end of the turn is not written to a closed connection, nor to one that follows this no more."""
    closed, other = await following(node), await following(node)
    subscription_id = other.connection.session.subscriptions[0][0]
    await node.engine.signal(ORGANIZATION, between_clients(told("a"), KEYS, ""))
    node.hub.lost(closed.connection)
    other.receive({"type": "unsubscribe", "subscriptionId": subscription_id})
    await settle()
    assert [message["type"] for message in other.messages()] == ["unsubscribed"]
    assert closed.messages() == []


async def test_signals_that_are_too_many_push_out_the_oldest(node: Node) -> None:
    """What waits for an audience is bounded by what one write should hold; what the service itself tells stays."""
    client = await following(node)
    node.hub.ephemeral.offer(client.connection.organization, KEYS, told("own"))
    size = len(told("x" * 1000))
    sent = 2 * MOST_BYTES // size
    for number in range(sent):
        await node.engine.signal(ORGANIZATION, between_clients(told(f"{number:04d}" + "x" * 996), KEYS, ""))
    assert node.hub.ephemeral.pending == MOST_BYTES // size + 1
    await settle()
    [own, *rest] = texts(client)
    assert own == "own"
    assert [int(text[:4]) for text in rest] == list(range(sent - MOST_BYTES // size, sent))


async def test_many_members_are_written_in_slices(node: Node) -> None:
    """A flush that ran out of time goes on where it stopped: each member once."""
    clients = [await following(node) for _ in range(3 * WRITES_PER_LOOK)]
    ephemeral, turns = node.hub.ephemeral, Turns()
    ephemeral.offer(clients[0].connection.organization, KEYS, told("a"))
    ephemeral.offer(clients[0].connection.organization, KEYS, told("b"))
    before = [len(client.outlet.writes) for client in clients]
    steps = 0
    while not ephemeral.flush(turns.clock, 0.0):
        steps += 1
        ephemeral.offer(clients[0].connection.organization, KEYS, told("c")) if steps == 1 else None
    assert steps >= 3
    assert [len(client.outlet.writes) for client in clients] == [count + 2 for count in before]
    assert all(texts(client) == ["a", "b", "c"] for client in clients)
    assert ephemeral.pending == 0


@pytest.mark.parametrize("body", [b"", b"x{}", b"s", b"s[]\n{}", b's["a",[]]\n{}', b"s\xff\n{}"])
async def test_what_is_not_understood_is_passed_over(node: Node, body: bytes) -> None:
    """A newer version may tell more, and in another form."""
    client = await following(node)
    await node.engine.signal(ORGANIZATION, body)
    await settle()
    assert client.messages() == []


async def test_what_nodes_tell_reaches_no_client(node: Node) -> None:
    """It goes to whoever listens for it, with its organization."""
    client = await following(node)
    heard: list[tuple[str, bytes]] = []
    node.hub.ephemeral.heard = lambda organization, body: heard.append((organization.organization_id, body))
    await node.engine.signal(ORGANIZATION, between_nodes(b"{}"))
    await settle()
    assert heard == [("org123", b"{}")]
    assert client.messages() == []
