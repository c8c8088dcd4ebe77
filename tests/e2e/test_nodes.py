"""Two nodes over one log, in one process, in memory and on a real Valkey: where clients are sent, and what one node does to connections of the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from signtusk_realtime.cluster.asking import IN_TIME_S
from signtusk_realtime.cluster.balance import Strategy
from signtusk_realtime.cluster.nodes import NODES
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.events.log import CONTROL_LOG, Range
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.operations.refresh import ELSEWHERE_BURST
from signtusk_realtime.server.entrance import ServerLimits
from tests.e2e.test_access import CONNECTIONS, REVOCATIONS, Tokens, bearer
from tests.support.delivery import member
from tests.support.samples import sample
from tests.support.server import (
    IDENTITY,
    QUICK,
    UPGRADE,
    Answer,
    Serving,
    StreamPeer,
    WebSocketPeer,
    call,
    publish,
    request,
    serving,
    until,
)
from tests.support.server import Peer as RawPeer
from tests.support.shared import NodeEngine, SharedMemory
from tests.support.valkey import fresh_prefix, shared_server

NEGOTIATE = "/api/realtime/negotiate"
EVERYTHING = {"type": "document_updates"}
ADMIN = bearer("boss")


class Two(NamedTuple):
    """Both nodes."""

    a: Serving
    b: Serving


class TwoApart(NamedTuple):
    """Both nodes, and the second's way to what they share, which can be cut."""

    a: Serving
    b: Serving
    at_b: NodeEngine


@pytest.fixture(params=["memory", "redis"])
def engines(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """Give the engines of two nodes that share a log: in memory, and on a real server."""
    if request.param == "memory":
        memory = SharedMemory()
        return memory.engine(), memory.engine()
    prefix = fresh_prefix()
    one, other = (RedisEngine([shared_server().url], prefix=prefix) for _ in range(2))
    return one, other


@asynccontextmanager
async def two_apart() -> AsyncIterator[TwoApart]:
    """Serve two nodes to people with tokens, over a memory that the second can be cut off from."""
    memory = SharedMemory()
    at_a, at_b = memory.engine(), memory.engine()
    async with two_nodes((at_a, at_b), tokens=True) as two:
        yield TwoApart(two.a, two.b, at_b)


@asynccontextmanager
async def two_nodes(
    engines: tuple[Engine, Engine],
    *,
    strategy: Strategy = "round_robin",
    limits: ServerLimits = QUICK,
    tokens: bool = False,
) -> AsyncIterator[Two]:
    """Serve two nodes that know of each other."""
    at_a, at_b = engines
    authenticator = Tokens() if tokens else None
    async with (
        serving(engine=at_a, node="a", strategy=strategy, limits=limits, authenticator=authenticator) as a,
        serving(engine=at_b, node="b", strategy=strategy, limits=limits, authenticator=authenticator) as b,
    ):
        await until(lambda: _knows(a, b) and _knows(b, a))
        yield Two(a, b)


def _knows(node: Serving, other: Serving) -> bool:
    return [found.url for found in node.verbs.nodes.others] == [other.url]


async def negotiate(port: int, query: str = IDENTITY) -> dict[str, object]:
    answer = await call(port, "POST", f"{NEGOTIATE}?{query}")
    assert answer.status == 200, answer.body
    return answer.json()


async def test_negotiate_sends_to_each_node_in_turn(engines: tuple[Engine, Engine]) -> None:
    """Every node knows all of them; the ticket opens a connection on the one that is named, or on any other."""
    async with two_nodes(engines) as two:
        told = [await negotiate(two.a.port) for _ in range(4)]
        assert [one["node"] for one in told] == ["a", "b", "a", "b"]
        assert [one["url"] for one in told[:2]] == ["http://localhost", two.b.url]
        assert told[0]["transports"] == ["websocket", "sse"]
        for one, node in zip(told, [two.a, two.b, two.b, two.a], strict=True):
            async with await WebSocketPeer.open(node.port, f"ticket={one['ticket']}") as peer:
                assert (await peer.message())["type"] == "connected"


async def test_one_node_alone_names_itself() -> None:
    """Without others, and with an engine of its own, a node sends everybody to where they have found it."""
    async with serving() as node:
        answer = await call(node.port, "POST", f"{NEGOTIATE}?{IDENTITY}", host="localhost:1234")
        assert (answer.json()["url"], answer.json()["node"]) == ("http://localhost:1234", "node_test")
        refused = await call(node.port, "POST", NEGOTIATE)
        assert (refused.status, refused.code) == (401, "unauthenticated")


async def test_sticky_users_stay(engines: tuple[Engine, Engine]) -> None:
    """A user is sent to the same node, whichever he asks; users are spread over both."""
    async with two_nodes(engines, strategy="sticky_session") as two:
        homes = {}
        for user in (f"user{i}" for i in range(12)):
            query = f"userId={user}&organizationId=org123"
            asked = [(await negotiate(port, query))["node"] for port in (two.a.port, two.b.port, two.a.port)]
            assert len(set(asked)) == 1
            homes[user] = asked[0]
        assert set(homes.values()) == {"a", "b"}


async def test_least_connections_counts_who_was_sent(engines: tuple[Engine, Engine]) -> None:
    """Clients that were sent to a node count before it says so itself: not all go to the one that was emptiest."""
    async with two_nodes(engines, strategy="least_connections") as two, await WebSocketPeer.open(two.a.port) as peer:
        await peer.message()
        told = [(await negotiate(two.a.port))["node"] for _ in range(5)]
        assert told[0] == "b"
        assert "a" in told


async def test_a_full_node_names_another(engines: tuple[Engine, Engine]) -> None:
    """One connection too many is refused with the time to come back, and the address of a node that has room."""
    limits = ServerLimits(connections=1, close_timeout_s=1.0, drain_timeout_s=1.0)
    async with two_nodes(engines, limits=limits) as two, await WebSocketPeer.open(two.a.port) as first:
        await first.message()
        for target, headers in ((f"/ws?{IDENTITY}", UPGRADE), (f"/api/realtime/events?{IDENTITY}", {})):
            async with await RawPeer.connect(two.a.port) as peer:
                await peer.send(request("GET", target, headers))
                refused = await peer.answer()
            assert (refused.status, refused.code) == (503, "overloaded")
            assert refused.json()["url"] == two.b.url
            assert refused.headers["link"] == f'<{two.b.url}>; rel="alternate"'
            assert 1 <= int(refused.headers["retry-after"]) <= 8
        assert (await negotiate(two.a.port))["node"] == "b"


async def test_nobody_is_sent_to_a_node_that_leaves(engines: tuple[Engine, Engine]) -> None:
    """A node that stops says so at once, tells its clients where else to go, and takes its record along when it is gone."""
    async with two_nodes(engines) as two:
        async with await WebSocketPeer.open(two.a.port) as peer:
            await peer.message()
            stopping = asyncio.ensure_future(two.a.server.stop())
            farewell = await peer.message()
            assert (farewell["type"], farewell["url"]) == ("reconnect", two.b.url)
            await until(lambda: all(node.is_draining for node in two.b.verbs.nodes.others))
            assert {(await negotiate(two.b.port))["node"] for _ in range(4)} == {"b"}
            await peer.closed()
            await stopping
        await two.a.verbs.close()
        snapshot = await two.b.engine.records(CONTROL_LOG, [Range(NODES, "", "~", 10)])
        assert [record.key for record in snapshot.results[0]] == ["b"]


async def test_revoke_through_the_other_node(engines: tuple[Engine, Engine]) -> None:
    """A revocation closes connections of all nodes before it is answered, counts them, and keeps the user out everywhere."""
    async with two_nodes(engines, tokens=True) as two:
        one = await WebSocketPeer.open(two.a.port, "", bearer("user1"))
        other = await StreamPeer.open(two.b.port, "types=document_updates", bearer("user1"))
        stranger = await WebSocketPeer.open(two.b.port, "", bearer("user1", organization="org456"))
        for peer in (one, other, stranger):
            assert (await peer.message())["type"] == "connected"
        body = json.dumps({"userId": "user1"}).encode()
        answer = await call(two.a.port, "POST", REVOCATIONS, {**ADMIN, "Content-Type": "application/json"}, body)
        assert answer.json() == {"closed": 2, "pendingNodes": 0}
        assert (await one.closed())[0] == 4504
        assert "revoked" in [message.get("code") for message in [await other.message(), await other.message()]]
        for node in (two.a, two.b):
            assert (await call(node.port, "POST", NEGOTIATE, bearer("user1"))).status == 401
        assert len(two.b.hub.connections) == 1
        for peer in (one, other, stranger):
            await peer.end()


async def test_a_node_that_does_not_answer_is_pending() -> None:
    """A revocation is answered within a second although a node cannot be reached, which is told; it acts once it is back."""
    headers = bearer("user1")
    async with two_apart() as two, await WebSocketPeer.open(two.b.port, "", headers) as peer:
        await peer.message()
        two.at_b.cut_off()
        body, loop = json.dumps({"userId": "user1"}).encode(), asyncio.get_running_loop()
        began = loop.time()
        answer = await call(two.a.port, "POST", REVOCATIONS, {**ADMIN, "Content-Type": "application/json"}, body)
        assert answer.json() == {"closed": 0, "pendingNodes": 1}
        assert loop.time() - began >= IN_TIME_S
        # Cut off, it lets nobody in: whoever comes may have been revoked.
        refused = await call(two.b.port, "POST", NEGOTIATE, bearer("user2"))
        assert (refused.status, refused.code) == (503, "unavailable")
        two.at_b.mend()
        assert (await peer.closed())[0] == 4504


async def test_disconnect_and_list_over_nodes(engines: tuple[Engine, Engine]) -> None:
    """Connections of all nodes are listed by their node, and closed by one call."""
    async with two_nodes(engines, tokens=True) as two:
        peers = [await WebSocketPeer.open(node.port, "", bearer("user1")) for node in (two.a, two.b)]
        for peer in peers:
            await peer.message()
        listed = (await call(two.b.port, "GET", f"{CONNECTIONS}?user=user1", ADMIN)).json()
        assert set(listed) == {"connections"}
        found = listed["connections"]
        assert isinstance(found, list)
        assert sorted((one["userId"], one["node"]) for one in found) == [("user1", "a"), ("user1", "b")]
        closed = await call(two.a.port, "DELETE", f"{CONNECTIONS}?user=user1", ADMIN)
        assert closed.json() == {"closed": 2}
        for peer in peers:
            assert (await peer.closed())[0] == 1000
            await peer.end()


async def test_refresh_through_the_other_node(engines: tuple[Engine, Engine]) -> None:
    """A stream goes on with a new token that was given to another node; another user's token finds no such connection."""
    async with (
        two_nodes(engines, tokens=True) as two,
        await StreamPeer.open(two.a.port, "types=document_updates", bearer("user1", jti="t1")) as peer,
    ):
        connection_id = (await peer.message())["connectionId"]
        target = f"{CONNECTIONS}/{connection_id}/refresh"
        for user, organization, status in (
            ("user2", "org123", 404),
            ("user1", "org456", 404),
            ("user1", "org123", 200),
        ):
            token = bearer(user, jti="t2", organization=organization)["Authorization"].removeprefix("Bearer ")
            body = json.dumps({"token": token}).encode()
            answer = await call(two.b.port, "POST", target, {"Content-Type": "application/json"}, body)
            assert answer.status == status, answer.body
        assert "expiresAt" in answer.json()
        connection = next(iter(two.a.hub.connections.values()))
        assert connection.session.identity.token_id == "t2"


async def test_who_makes_all_nodes_search_may_do_so_at_a_rate() -> None:
    """Ids that somebody makes up are asked of the other nodes through the log of all organizations: so many at once, and others go on."""
    memory = SharedMemory()
    async with two_nodes((memory.engine(), memory.engine()), tokens=True) as two:

        async def ask(user: str) -> Answer:
            token = bearer(user)["Authorization"].removeprefix("Bearer ")
            body = json.dumps({"token": token}).encode()
            return await call(
                two.b.port, "POST", f"{CONNECTIONS}/made_up/refresh", {"Content-Type": "application/json"}, body
            )

        rate = two.b.verbs.refresh._elsewhere_rate
        for _ in range(ELSEWHERE_BURST):
            assert rate.take(member("user1"))
        refused = await ask("user1")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "rate_limited", "1")
        assert (await ask("user2")).status == 404


async def test_events_reach_both_nodes_once_and_no_other_organization(engines: tuple[Engine, Engine]) -> None:
    """What is published on one node is shown once on both, in one order, to its organization alone."""
    async with two_nodes(engines) as two:
        peers = [await WebSocketPeer.open(node.port, IDENTITY) for node in (two.a, two.b)]
        strangers = [await WebSocketPeer.open(node.port, "userId=u&organizationId=canary") for node in (two.a, two.b)]
        for peer in (*peers, *strangers):
            await peer.subscribe(EVERYTHING)
        for number in range(20):
            node = (two.a, two.b)[number % 2]
            event = {**sample("document_update"), "id": f"e{number}", "organizationId": "org123"}
            assert (await publish(node.port, event)).status == 200
        canary = {**sample("document_update"), "id": "canary", "organizationId": "canary"}
        assert (await publish(two.a.port, canary, query="userId=u&organizationId=canary")).status == 200
        for peer in peers:
            shown = [(await peer.message())["event"] for _ in range(20)]
            assert [event["id"] for event in shown if isinstance(event, dict)] == [f"e{n}" for n in range(20)]
        for peer in strangers:
            event = (await peer.message())["event"]
            assert isinstance(event, dict)
            assert event["id"] == "canary"
        for peer in (*peers, *strangers):
            await peer.end()


@pytest.mark.parametrize("strategy", ["round_robin", "least_connections", "sticky_session"])
async def test_all_full_is_overloaded(strategy: Strategy) -> None:
    """If no node has room, whoever asks is told to come back later."""
    limits = ServerLimits(connections=1, close_timeout_s=1.0, drain_timeout_s=1.0)
    async with serving(strategy=strategy, limits=limits) as node, await WebSocketPeer.open(node.port) as peer:
        await peer.message()
        refused = await call(node.port, "POST", f"{NEGOTIATE}?{IDENTITY}")
        assert (refused.status, refused.code) == (503, "overloaded")
        assert refused.headers["retry-after"]


async def test_a_stale_node_replays_nothing() -> None:
    """Who is connected to a node that may have missed a revocation is shown nothing of the past until it has caught up."""
    async with two_apart() as two, await WebSocketPeer.open(two.b.port, "", bearer("user1")) as peer:
        await peer.message()
        event = {**sample("document_update"), "id": "e1", "organizationId": "org123"}
        assert (await publish(two.a.port, event, query="", headers=ADMIN)).status == 200
        two.at_b.is_deaf = True
        body = json.dumps({"userId": "user2"}).encode()
        answer = await call(two.a.port, "POST", REVOCATIONS, {**ADMIN, "Content-Type": "application/json"}, body)
        assert answer.json()["pendingNodes"] == 1
        refused = await call(two.b.port, "POST", NEGOTIATE, bearer("user3"))
        assert (refused.status, refused.code) == (503, "unavailable")
        await peer.ask({"type": "subscribe", "subscription": EVERYTHING, "cursor": "earliest"})
        assert (await peer.message())["type"] == "subscribed"
        for _ in range(5):
            await peer.ask({"type": "ping"})
            assert (await peer.message())["type"] == "pong"
        two.at_b.mend()
        shown = (await peer.message())["event"]
        assert isinstance(shown, dict)
        assert shown["id"] == "e1"


async def test_what_is_undecided_is_counted_on_both_nodes(engines: tuple[Engine, Engine]) -> None:
    """A conflict that one node keeps is in the figures of the other, which nobody is connected to."""
    async with two_nodes(engines) as two:
        target = f"/api/realtime/documents/d1/edits?{IDENTITY}"
        for change in (
            {"changeId": "c1", "baseVersion": 0, "changes": {"title": "x"}},
            {"changeId": "c2", "baseVersion": 1, "changes": {"title": "A"}, "clientId": "one"},
            {"changeId": "c3", "baseVersion": 1, "changes": {"title": "B"}, "clientId": "two", "strategy": "manual"},
        ):
            answer = await call(
                two.a.port, "POST", target, {"Content-Type": "application/json"}, json.dumps(change).encode()
            )
        assert answer.json()["status"] == "parked", answer.body
        await until(lambda: two.b.verbs.documents.statistics.total == Statistics(1, 1, 1))
        assert two.a.verbs.documents.statistics.total == Statistics(1, 1, 1)
