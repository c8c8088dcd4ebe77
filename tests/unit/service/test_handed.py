"""Connections over objects that an application hands in, from the call on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded, Unavailable
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.protocol.messages import Subscribe, Unsubscribe
from signtusk_realtime.server.outlets import Pumps
from signtusk_realtime.service.handed import HandedIn, Pending
from tests.support.clock import settle
from tests.support.delivery import GatedEngine, Node, grant, guest, member, started_node, subscription

pytestmark = pytest.mark.virtual_clock

DOCUMENTS = Subscribe(subscription=subscription("document_updates"))
MESSAGE = '{"type":"ping"}'


class Socket:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None

    async def send(self, text: str) -> None:
        self.messages.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]


class Response:
    def __init__(self) -> None:
        self.written = b""
        self.has_ended = False

    def write(self, data: bytes) -> None:
        self.written += data

    def end(self) -> None:
        self.has_ended = True


class Host:
    def __init__(self, node: Node, engine: GatedEngine, handed: HandedIn, turned_away: list[tuple[str, CloseCode]]):
        self.node = node
        self.engine = engine
        self.handed = handed
        self.turned_away = turned_away


@asynccontextmanager
async def host(**options: int) -> AsyncIterator[Host]:
    """Hand objects in to a node whose following can be held up."""
    engine = GatedEngine()
    pumps = Pumps(max_messages=10, max_bytes=1 << 20)
    turned_away: list[tuple[str, CloseCode]] = []

    def note(connection_id: str, pending: Pending, code: CloseCode) -> None:
        turned_away.append((connection_id, code))

    async with started_node(engine=engine) as node:
        node.limits.subscriptions = 3
        handed = HandedIn(
            hub=node.hub,
            connect=node.connect,
            subscriptions=node.subscriptions,
            receive=node.receive,
            pumps=pumps,
            limits=node.limits,
            new_id=node.new_id,
            turned_away=note,
            **{"max_connections": 100, "message_bytes": 1000, "retry_ms": 2000, **options},
        )
        try:
            yield Host(node, engine, handed, turned_away)
        finally:
            await handed.close()
            await node.hub.close()
            await node.receive.close()
            await pumps.close()


async def test_what_is_asked_of_a_pending_connection_is_done_in_order() -> None:
    """The id is there at once; subscriptions get theirs at once; what was published after they returned is delivered."""
    async with host() as it:
        it.engine.gate = asyncio.Event()
        socket = Socket()
        connection_id = it.handed.socket(socket, member(), {})
        assert connection_id.startswith("conn_")
        first = it.handed.subscribe(connection_id, DOCUMENTS, "texts")
        second = it.handed.subscribe(connection_id, DOCUMENTS, "texts")
        it.handed.unsubscribe(connection_id, Unsubscribe(subscription_id=first), "texts")
        received = asyncio.create_task(it.handed.receive(connection_id, MESSAGE))
        published = asyncio.create_task(settled_then_published(it))
        await settle()
        assert socket.messages == []
        assert not received.done()
        assert not published.done()
        it.engine.gate.set()
        await settle()
        assert socket.types[:4] == ["connected", "subscribed", "subscribed", "unsubscribed"]
        assert sorted(socket.types[4:]) == ["event", "pong"]
        assert socket.messages[0]["connectionId"] == connection_id
        assert [m["subscriptionId"] for m in socket.messages[1:4]] == [first, second, first]
        assert received.result() is True


async def settled_then_published(it: Host) -> None:
    await it.handed.settled("org123")
    await it.node.happen()


async def test_only_the_organizations_own_are_waited_for() -> None:
    """Publishing waits for pending connections of the same organization; an announcement for all."""
    async with host() as it:
        it.engine.gate = asyncio.Event()
        it.handed.socket(Socket(), member("ada", "acme"), {})
        await asyncio.wait_for(it.handed.settled("org123"), 1)
        waiting = [asyncio.create_task(it.handed.settled(name)) for name in ("acme", None)]
        await settle()
        assert not any(task.done() for task in waiting)
        it.engine.gate.set()
        await settle()
        assert all(task.done() for task in waiting)


@pytest.mark.parametrize("is_pending", [True, False])
async def test_faults_are_found_at_once(is_pending: bool) -> None:
    """Pending or open: a malformed request raises where it is made, and nothing of it is done."""
    async with host() as it:
        if is_pending:
            it.engine.gate = asyncio.Event()
        socket = Socket()
        limited = guest(grant(document_id="d1"))
        connection_id = it.handed.socket(socket, limited, {})
        await settle()
        with pytest.raises(Forbidden) as forbidden:
            it.handed.subscribe(connection_id, Subscribe(subscription=subscription("user_presence")), "texts")
        assert forbidden.value.path == ("subscription",)
        with pytest.raises(InvalidInput) as unknown:
            it.handed.unsubscribe(connection_id, Unsubscribe(subscription_id="sub_x"), "texts")
        assert unknown.value.code == "unknown_subscription"
        for _ in range(3):
            it.handed.subscribe(connection_id, DOCUMENTS, "texts")
        with pytest.raises(LimitExceeded):
            it.handed.subscribe(connection_id, DOCUMENTS, "texts")
        for wrong_id, form in (("conn_x", "texts"), (connection_id, "stream")):
            with pytest.raises(InvalidInput) as none:
                it.handed.subscribe(wrong_id, DOCUMENTS, form)
            assert none.value.code == "not_found"
        if it.engine.gate is not None:
            it.engine.gate.set()
        await settle()
        assert socket.types == ["connected", *["subscribed"] * 3]


@pytest.mark.parametrize(
    ("failure", "identity", "connections", "number"),
    [
        (Unavailable("no log"), member(), 100, 1013),
        (None, member("service", "*"), 100, 4503),
        (None, member(), 0, 4430),
        (RuntimeError("a defect"), member(), 100, 1011),
    ],
    ids=["no log", "a service", "full", "a defect"],
)
async def test_one_that_cannot_be_let_in_is_closed(
    failure: Exception | None, identity: Any, connections: int, number: int
) -> None:
    """Its object is closed with the reason's code, and the application is told."""
    async with host(max_connections=connections) as it:
        it.engine.failure = failure
        socket, response = Socket(), Response()
        ids = [it.handed.socket(socket, identity, {"a": 1}), it.handed.response(response, identity, {})]
        it.handed.subscribe(ids[0], DOCUMENTS, "texts")
        await settle()
        assert socket.messages == []
        assert socket.closed is not None
        assert socket.closed[0] == number
        assert response.has_ended
        assert [(one, code.number) for one, code in it.turned_away] == [(one, number) for one in ids]
        assert not it.handed._outlets
        assert not it.handed._metadata
        assert await it.handed.receive(ids[0], MESSAGE) is False


async def test_one_that_leaves_while_it_is_pending_is_not_let_in() -> None:
    """Its organization is given back."""
    async with host() as it:
        it.engine.gate = asyncio.Event()
        socket = Socket()
        connection_id = it.handed.socket(socket, member(), {})
        await settle()
        it.handed.disconnect(connection_id)
        it.engine.gate.set()
        await settle()
        assert not it.node.hub.connections
        assert it.node.hub._following.organizations["org123"].holders == 0  # type: ignore[index]
        assert socket.closed == (1000, "normal")


async def test_the_end_of_all_closes_pending_ones() -> None:
    """Nothing waits for a log that is being closed."""
    async with host() as it:
        it.engine.gate = asyncio.Event()
        socket = Socket()
        it.handed.socket(socket, member(), {})
        await settle()
        # Handed in just now, its admission has not had a turn yet.
        latest = Socket()
        it.handed.socket(latest, member(), {})
        await it.handed.close()
        await settle()
        assert socket.closed == latest.closed == (1001, "going_away")
        assert len(it.turned_away) == 2


async def test_disconnecting_ends_a_connection_once() -> None:
    """What waits is handed over, then the object is closed; a second time, or of one that is not there, does nothing."""
    async with host() as it:
        socket, response = Socket(), Response()
        ids = [it.handed.socket(socket, member(), {}), it.handed.response(response, member(), {})]
        await settle()
        for connection_id in [*ids, *ids, "conn_x"]:
            it.handed.disconnect(connection_id)
        await settle()
        assert socket.closed == (1000, "normal")
        assert response.has_ended
        assert [one for one, _ in it.node.closed] == ids
        assert not it.handed._outlets


@pytest.mark.parametrize(
    ("text", "number"), [("x" * 1001, 1009), (b"x" * 1001, 1009), ("ü" * 501, 1009), ("\ud800", 1007)]
)
async def test_messages_beyond_the_rules_end_a_connection(text: str | bytes, number: int) -> None:
    """As on a native socket: too long 1009, not UTF-8 1007."""
    async with host() as it:
        socket = Socket()
        connection_id = it.handed.socket(socket, member(), {})
        assert await it.handed.receive(connection_id, text) is False
        await settle()
        assert socket.closed is not None
        assert socket.closed[0] == number


async def test_a_malformed_message_is_answered() -> None:
    """The connection lives on, until there are too many."""
    async with host() as it:
        socket = Socket()
        connection_id = it.handed.socket(socket, member(), {})
        for _ in range(20):
            assert await it.handed.receive(connection_id, b"\xff") is True
            await settle()
        assert socket.types == ["connected", *["error"] * 20]
        assert await it.handed.receive(connection_id, "{") is False


async def test_a_peer_that_does_not_read_its_answers_is_not_listened_to() -> None:
    """Answers wait within a bound: `receive` returns when there is room again."""
    gate = asyncio.Event()

    class Slow(Socket):
        async def send(self, text: str) -> None:
            await gate.wait()
            await super().send(text)

    async with host() as it:
        socket = Slow()
        connection_id = it.handed.socket(socket, member(), {})
        asking = asyncio.create_task(ask(it, connection_id, 50))
        await settle()
        assert not asking.done()
        assert len(it.handed._outlets[connection_id]._waiting) <= 6
        gate.set()
        await settle()
        assert asking.done()
        assert socket.types == ["connected", *["pong"] * 50]


async def ask(it: Host, connection_id: str, times: int) -> None:
    for _ in range(times):
        assert await it.handed.receive(connection_id, MESSAGE)


async def test_a_subscription_by_call_waits_for_one_with_a_cursor() -> None:
    """Both take effect in their order, though the first has to ask the log; nothing comes twice."""
    async with host() as it:
        socket = Socket()
        connection_id = it.handed.socket(socket, member(), {})
        ids = [await it.node.happen() for _ in range(3)]
        message = {"type": "subscribe", "subscription": {"type": "document_updates"}, "cursor": "earliest"}
        await it.handed.receive(connection_id, json.dumps(message))
        subscription_id = it.handed.subscribe(connection_id, DOCUMENTS, "texts")
        ids.append(await it.node.happen())
        await settle()
        assert [m["event"]["id"] for m in socket.messages if m["type"] == "event"] == ids
        assert [m.get("recovered") for m in socket.messages if m["type"] == "subscribed"] == [True, None]
        assert [m["subscriptionId"] for m in socket.messages if m["type"] == "subscribed"][1] == subscription_id


@pytest.mark.parametrize("missing", ["send", "close"])
async def test_an_object_without_its_methods_is_refused(missing: str) -> None:
    """At once, and by the method's name."""
    async with host() as it:
        broken: Any = type("Broken", (), {name: lambda *_: None for name in {"send", "close"} - {missing}})()
        with pytest.raises(InvalidInput, match=missing):
            it.handed.socket(broken, member(), {})
        assert not it.handed._outlets
