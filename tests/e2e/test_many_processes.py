"""The real command as several processes over a real Valkey: nodes that know of one another, one that is killed, workers on one port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.command import Served, run, serving
from tests.support.polling import until
from tests.support.samples import sample
from tests.support.server import IDENTITY, StreamPeer, WebSocketPeer, call, publish
from tests.support.valkey import fresh_prefix, shared_server

NEGOTIATE = f"/api/realtime/negotiate?{IDENTITY}"
REVOCATIONS = f"/api/realtime/revocations?{IDENTITY}"
CONNECTIONS = f"/api/realtime/connections?{IDENTITY}"
EVERYTHING = {"type": "document_updates"}


def event(event_id: str, organization_id: str = "org123") -> dict[str, object]:
    return {**sample("document_update"), "id": event_id, "organizationId": organization_id}


def shared() -> tuple[str, ...]:
    """Give the options of nodes that share a log that nobody else has."""
    return ("--redis", shared_server().url, "--redis-prefix", fresh_prefix())


@asynccontextmanager
async def three_nodes(folder: Path) -> AsyncIterator[list[Served]]:
    options = shared()
    async with (
        serving(folder, *options) as one,
        serving(folder, *options) as two,
        serving(folder, *options) as three,
    ):
        nodes = [one, two, three]
        for node in nodes:
            await until(lambda node=node: _names(node, nodes), within_s=20)
        yield nodes


async def _names(node: Served, expected: list[Served]) -> bool:
    """Say whether a node sends clients to exactly these: as many turns as there are nodes, and two more."""
    found = {await _sent_to(node) for _ in range(len(expected) + 2)}
    # The one that was asked is named by how it was reached.
    return {url.rpartition(":")[2] for url in found if url != "http://localhost"} == {
        str(one.port) for one in expected if one is not node
    } and "http://localhost" in found


async def _sent_to(node: Served) -> str:
    answer = await call(node.port, "POST", NEGOTIATE)
    assert answer.status == 200, answer.body
    return str(answer.json()["url"])


async def test_three_nodes_are_one_service(tmp_path: Path) -> None:
    """Each event is shown once on every node, in one order, and to its organization alone; a revocation reaches all of them."""
    async with three_nodes(tmp_path) as nodes:
        peers = [await WebSocketPeer.open(node.port) for node in nodes]
        strangers = [await StreamPeer.open(node.port, "userId=u&organizationId=canary") for node in nodes]
        for peer in peers:
            await peer.subscribe(EVERYTHING)
        for stranger in strangers:
            assert [(await stranger.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
        for number in range(30):
            assert (await publish(nodes[number % 3].port, event(f"e{number}"))).status == 200
        for node in nodes:
            canary = event(f"canary{node.port}", "canary")
            assert (await publish(node.port, canary, query="userId=u&organizationId=canary")).status == 200
        for peer in peers:
            shown = [(await peer.message())["event"] for _ in range(30)]
            assert [one["id"] for one in shown if isinstance(one, dict)] == [f"e{number}" for number in range(30)]
        for stranger in strangers:
            seen = [(await stranger.message())["id"] for _ in nodes]
            assert seen == [f"canary{node.port}" for node in nodes]

        listed = (await call(nodes[0].port, "GET", CONNECTIONS)).json()["connections"]
        assert isinstance(listed, list)
        assert len({one["node"] for one in listed}) == 3
        body = json.dumps({"userId": "user123"}).encode()
        answer = await call(nodes[2].port, "POST", REVOCATIONS, {"Content-Type": "application/json"}, body)
        assert answer.json() == {"closed": 3, "pendingNodes": 0}
        for peer in peers:
            assert (await peer.closed())[0] == 4504
        for one in (*peers, *strangers):
            await one.end()


async def test_a_killed_node_is_forgotten_and_its_clients_go_on_elsewhere(tmp_path: Path) -> None:
    """Nobody is sent there two heartbeats later; its client resumes at another node and misses nothing."""
    async with three_nodes(tmp_path) as nodes:
        dead, *living = nodes
        peer = await WebSocketPeer.open(dead.port)
        await peer.subscribe(EVERYTHING)
        assert (await publish(living[0].port, event("e1"))).status == 200
        cursor = (await peer.message())["cursor"]
        await dead.kill()
        await peer.end()
        assert (await publish(living[0].port, event("e2"))).status == 200
        async with await WebSocketPeer.open(living[1].port) as again:
            await again.ask({"type": "subscribe", "subscriptions": [EVERYTHING], "cursor": cursor})
            told = [await again.message() for _ in range(3)]
            assert [one["type"] for one in told] == ["connected", "subscribed", "event"]
            assert told[1]["recovered"] is True
            shown = told[2]["event"]
            assert isinstance(shown, dict)
            assert shown["id"] == "e2"
        for node in living:
            await until(lambda node=node: _names(node, living), within_s=20)


async def test_workers_share_a_port(tmp_path: Path) -> None:
    """What comes to one worker is shown by all; a killed one is replaced; SIGTERM ends all, with exit code 0."""
    async with serving(tmp_path, "--workers", "2", *shared()) as parent:
        await parent.says("listening")
        peers: list[WebSocketPeer] = []
        nodes: set[str] = set()
        # Which process a connection comes to is the kernel's choice.
        while len(nodes) < 2 and len(peers) < 96:
            for _ in range(12):
                peers.append(await WebSocketPeer.open(parent.port))
                await peers[-1].subscribe(EVERYTHING)
            listed = (await call(parent.port, "GET", CONNECTIONS)).json()["connections"]
            assert isinstance(listed, list)
            assert len(listed) == len(peers)
            nodes = {one["node"] for one in listed}
        assert len(nodes) == 2
        assert (await publish(parent.port, event("e1"))).status == 200
        for peer in peers:
            shown = (await peer.message())["event"]
            assert isinstance(shown, dict)
            assert shown["id"] == "e1"
            await peer.end()
        started = next(line for line in parent.lines if line["message"] == "workers started")
        pids = started["pids"]
        assert isinstance(pids, list)
        os.kill(int(pids[0]), signal.SIGKILL)
        await parent.says("worker ended")
        await parent.says("listening")
        assert (await call(parent.port, "GET", "/readyz")).status == 200
        assert await parent.terminate() == 0


async def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """A parent that is killed leaves nobody behind who holds the port."""
    async with serving(tmp_path, "--workers", "2", *shared()) as parent:
        await parent.says("listening")
        parent.process.kill()
        await until(lambda: _is_refused(parent.port), within_s=20)


async def _is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def test_the_doctor_asks_the_real_server(tmp_path: Path) -> None:
    """Each check is made and passes, or says what a test's server lacks."""
    code, out, _ = await run("doctor", "--json", "--redis", shared_server().url, cwd=tmp_path)
    found = {one["check"].split(" ", 1)[-1]: one["level"] for one in map(json.loads, out.splitlines())}
    assert code == 0
    assert {name: found[name] for name in ("version", "eviction", "clock", "round trip", "durability")} == {
        "version": "ok",
        "eviction": "ok",
        "clock": "ok",
        "round trip": "ok",
        "durability": "warn",
    }
