"""The configurations of nginx and HAProxy that we ship, before real nodes: both transports, who asks, and nodes that stop or are full."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.command import Served, serving
from tests.support.deployed import deployed
from tests.support.polling import until
from tests.support.proxies import NAMES, program
from tests.support.samples import sample
from tests.support.server import IDENTITY, UPGRADE, Peer, StreamPeer, WebSocketPeer, call, publish, request

EVERYTHING = {"type": "document_updates"}
EVENT = {**sample("document_update"), "organizationId": "org123"}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found = str(request.param)
    if program(found) is None:
        pytest.skip(f"NOT TESTED: {found} is not installed; sudo apt-get install --no-install-recommends {found}")
    return found


@asynccontextmanager
async def two_nodes(folder: Path, *first: str) -> AsyncIterator[tuple[Served, Served]]:
    """Serve two nodes, the first with options of its own. What they share is the proxy."""
    async with (
        serving(folder, "--database", ":memory:", "--trusted-proxies", "127.0.0.1", *first) as one,
        serving(folder, "--database", ":memory:", "--trusted-proxies", "127.0.0.1") as other,
    ):
        yield one, other


async def test_both_transports_pass_at_once(name: str, tmp_path: Path) -> None:
    """A WebSocket and an event stream get an event while they are open: nothing is held back on the way."""
    async with (
        serving(tmp_path, "--database", ":memory:") as node,
        deployed(name, [node.port, 1], tmp_path) as port,
        await WebSocketPeer.open(port) as socket,
        await StreamPeer.open(port) as stream,
    ):
        await socket.subscribe(EVERYTHING)
        assert [(await stream.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
        assert (await publish(port, {**EVENT, "id": "e1"})).status == 200
        shown = (await socket.message())["event"]
        assert isinstance(shown, dict)
        assert shown["id"] == "e1"
        assert (await stream.message())["id"] == "e1"


async def test_a_client_is_who_the_proxy_says(name: str, tmp_path: Path) -> None:
    """Connections are counted by the address the proxy saw; what a client writes of itself changes nothing."""
    options = ("--limits-connections-per-address", "1", "--trusted-proxies", "127.0.0.1", "--database", ":memory:")
    async with serving(tmp_path, *options) as node, deployed(name, [node.port, 1], tmp_path) as port:
        first = await _open(port, "127.0.0.2", {})
        other = await _open(port, "127.0.0.3", {})
        forging = await _open(port, "127.0.0.2", {"X-Forwarded-For": "127.0.0.9"})
        assert [status for _, status in (first, other, forging)] == [101, 101, 429]
        for peer, _ in (first, other, forging):
            await peer.end()


async def test_a_node_that_stops_is_passed_over(name: str, tmp_path: Path) -> None:
    """From the signal on nobody who comes notices anything; who is connected is told, and finds the other node."""
    async with two_nodes(tmp_path) as (one, other), deployed(name, [one.port, other.port], tmp_path) as port:
        await until(lambda: _is_served(port), within_s=20)
        peers = [await WebSocketPeer.open(port) for _ in range(4)]
        for peer in peers:
            assert (await peer.message())["type"] == "connected"
        one.process.send_signal(signal.SIGTERM)
        opened = [await WebSocketPeer.open(port) for _ in range(6)]
        assert await one.ended() == 0
        opened += [await WebSocketPeer.open(port) for _ in range(6)]
        for peer in opened:
            assert (await peer.message())["type"] == "connected"
        for peer in (*peers, *opened):
            await peer.end()


async def test_a_full_node_is_passed_over(name: str, tmp_path: Path) -> None:
    """As long as one node has room, nobody is refused."""
    async with (
        two_nodes(tmp_path, "--limits-connections", "1") as (one, other),
        deployed(name, [one.port, other.port], tmp_path) as port,
    ):
        await until(lambda: _is_served(port), within_s=20)
        peers = [await WebSocketPeer.open(port) for _ in range(6)]
        streams = [await StreamPeer.open(port) for _ in range(3)]
        for peer in (*peers, *streams):
            assert (await peer.message())["type"] == "connected"
            await peer.end()


async def _is_served(port: int) -> bool:
    return (await call(port, "GET", "/readyz")).status == 200


async def _open(port: int, address: str, headers: dict[str, str]) -> tuple[Peer, int]:
    """Open a WebSocket from an address; give the status."""
    peer = Peer(*await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
    await peer.send(request("GET", f"/ws?{IDENTITY}", {**UPGRADE, **headers}))
    status, _ = await peer.head()
    return peer, status
