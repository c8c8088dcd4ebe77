"""Many at once: a node takes as many as it may have, lets them in at a bounded rate, and sends away who would wait too long."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

import msgspec
import pytest

from signtusk_realtime.server import gate
from tests.support.samples import sample
from tests.support.server import (
    IDENTITY,
    QUICK,
    UPGRADE,
    Answer,
    Peer,
    Serving,
    StreamPeer,
    WebSocketPeer,
    call,
    publish,
    request,
    serving,
    until,
)

pytestmark = pytest.mark.both_loops

EVENTS = f"/api/realtime/events?{IDENTITY}"
DOCUMENTS = {"type": "document_updates"}
STORM = 150
MISSED = 20


def check_sent_away(answer: Answer) -> None:
    """See that a refusal says when to come back."""
    assert (answer.status, answer.code) == (503, "overloaded")
    least, most = gate.RETRY_AFTER_S
    assert least <= int(answer.headers["retry-after"]) <= most


async def test_a_node_has_as_many_connections_as_it_may() -> None:
    """The next one is refused before the upgrade, whichever transport; when somebody leaves there is room. HTTP goes on all the while."""
    async with serving(limits=msgspec.structs.replace(QUICK, connections=2)) as it:
        first, second = await WebSocketPeer.open(it.port), await StreamPeer.open(it.port)
        await first.message()
        check_sent_away(await call(it.port, "GET", f"/ws?{IDENTITY}", UPGRADE))
        check_sent_away(await call(it.port, "GET", EVENTS))
        assert (await publish(it.port, sample("document_update"))).status == 200
        await first.end()
        await until(lambda: len(it.hub.connections) == 1)
        third = await WebSocketPeer.open(it.port)
        assert (await third.message())["type"] == "connected"
        check_sent_away(await call(it.port, "GET", EVENTS))
        for peer in (second, third):
            await peer.end()


async def test_who_waits_in_the_kernels_queue_is_accepted_by_many_a_turn() -> None:
    """The queue is bounded, and whoever comes while it is full is late by seconds: it is emptied faster than one a turn of the loop."""
    async with serving() as it:
        fronts = it.server._fronts.state.connections
        sockets = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(64)]
        turns = 0
        while len(fronts) < len(sockets):
            await asyncio.sleep(0)
            turns += 1
            assert turns <= 64 // 4
        for one in sockets:
            one.close()


async def test_the_bound_holds_for_those_who_come_at_once() -> None:
    """Of many who ask in the same moment no more are let in than there is room for."""
    async with serving(limits=msgspec.structs.replace(QUICK, connections=10)) as it:
        peers = [await Peer.connect(it.port) for _ in range(40)]
        for peer in peers:
            peer.writer.write(request("GET", f"/ws?{IDENTITY}", UPGRADE))
        statuses = [(await peer.head())[0] for peer in peers]
        assert sorted(statuses) == [101] * 10 + [503] * 30
        assert len(it.hub.connections) == 10
        for peer in peers:
            await peer.end()


async def missed(it: Serving) -> str:
    """Give a cursor behind which there are events."""
    async with await WebSocketPeer.open(it.port) as peer:
        cursor = (await peer.subscribe(DOCUMENTS))["cursor"]
    assert isinstance(cursor, str)
    answer = await publish(it.port, *[{**sample("document_update"), "id": f"e{number}"} for number in range(MISSED)])
    assert answer.status == 200
    return cursor


async def resume(peer: WebSocketPeer, cursor: str) -> list[object]:
    """Subscribe from a cursor; give the ids of what was missed."""
    await peer.ask({"type": "subscribe", "subscriptions": [DOCUMENTS], "cursor": cursor})
    message = await peer.message()
    if message["type"] == "connected":
        message = await peer.message()
    assert (message["type"], message["recovered"]) == ("subscribed", True)
    ids: list[object] = []
    while len(ids) < MISSED:
        event = (await peer.message())["event"]
        assert isinstance(event, dict)
        ids.append(event["id"])
    return ids


async def test_who_comes_back_in_a_storm_gets_everything() -> None:
    """All come in the same moment, with a cursor each: everybody is let in and gets what was missed, once and in order."""
    async with serving() as it:
        cursor = await missed(it)

        async def come_back() -> list[object]:
            async with await WebSocketPeer.open(it.port) as peer:
                return await resume(peer, cursor)

        everything = [f"e{number}" for number in range(MISSED)]
        assert await asyncio.gather(*(come_back() for _ in range(STORM))) == [everything] * STORM
        assert it.server._entrance.gate.waiting == 0


async def test_a_greater_storm_is_sent_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the queue does not hold is told to come later, before the upgrade; who obeys is let in. Nobody is kept from publishing."""
    monkeypatch.setattr(gate, "MOST_WAITING", 5)
    monkeypatch.setattr(gate, "PER_TURN", 2)
    monkeypatch.setattr(gate, "PER_S", 0)
    async with serving() as it:
        cursor = await missed(it)
        waiting: Iterable[int] = range(STORM)
        rounds = refused = 0
        while waiting:
            rounds += 1
            peers = [await WebSocketPeer.connect(it.port) for _ in waiting]
            for peer in peers:
                peer.writer.write(request("GET", f"/ws?{IDENTITY}", UPGRADE))
            if rounds == 1:
                assert (await publish(it.port, sample("notification"))).status == 200
            again = []
            for number, peer in enumerate(peers):
                answer = await peer.answer()
                if answer.status == 101:
                    assert len(await resume(peer, cursor)) == MISSED
                else:
                    check_sent_away(answer)
                    again.append(number)
                await peer.end()
            refused += len(again)
            assert len(again) < len(peers)
            waiting = again
        assert refused > 0


async def test_who_leaves_while_waiting_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gave up is not let in after all, and its place goes to the next."""
    monkeypatch.setattr(gate, "PER_TURN", 1)
    monkeypatch.setattr(gate, "PER_S", 0)
    async with serving() as it:
        leaving = [await Peer.connect(it.port) for _ in range(30)]
        for peer in leaving:
            peer.writer.write(request("GET", f"/ws?{IDENTITY}", UPGRADE))
            peer.writer.transport.abort()
        peer = await WebSocketPeer.open(it.port)
        assert (await peer.message())["type"] == "connected"
        await until(lambda: len(it.hub.connections) == 1 and not it.server._entrance.tasks)
        await peer.end()
