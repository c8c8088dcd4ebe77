"""A node process that is killed: who was there is gone within two heartbeats for those who watch elsewhere, comes back, and missed nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from signtusk_realtime.cluster.registry import HEARTBEAT_S
from tests.e2e.test_presence import PRESENCE, opened, say, who
from tests.support.command import Api, document_update, serving
from tests.support.server import WebSocketPeer, call
from tests.support.valkey import fresh_prefix, shared_server

pytestmark = pytest.mark.real_time

WATCHED: dict[str, object] = {"type": "user_presence"}
EVERYTHING: dict[str, object] = {"type": "document_updates"}
STAYS_S = 5 * HEARTBEAT_S
"""For so long at most those may count who were at a node that was killed; what it took is printed."""


async def there(port: int) -> dict[str, int]:
    """Give who is there by the presence call, with the number of their connections."""
    answer = await call(port, "GET", f"{PRESENCE}?{who('wim')}")
    assert answer.status == 200, answer.body
    users = answer.json()["users"]
    assert isinstance(users, list)
    return {user["userId"]: user["connections"] for user in users}


async def all_told(peer: WebSocketPeer, names: set[str], status: str) -> None:
    """Wait until these were told to be so, by one message or several; nobody else may be told as gone meanwhile."""
    waiting = set(names)
    while waiting:
        users = (await peer.message()).get("users", ())
        assert isinstance(users, list | tuple)
        for user in users:
            if user["status"] == status:
                waiting.discard(user["userId"])
            assert user["status"] != "offline" or user["userId"] in names


async def shown(peer: WebSocketPeer) -> tuple[object, object]:
    """Give the id of the next event that is shown, and its cursor."""
    while (message := await peer.message())["type"] != "event":
        pass
    event = message["event"]
    assert isinstance(event, dict)
    return event["id"], message["cursor"]


async def resumed(port: int, user_id: str, cursor: object) -> WebSocketPeer:
    """Come back with a cursor."""
    peer = await WebSocketPeer.open(port, who(user_id))
    await say(peer, type="subscribe", subscriptions=[EVERYTHING], cursor=cursor)
    while (message := await peer.message())["type"] != "subscribed":
        pass
    assert message["recovered"] is True
    return peer


async def test_people_of_a_killed_node(tmp_path: Path) -> None:
    """They are told as offline, but for who is at another node too; they come back there with what they missed, and nobody is left behind."""
    options = ("--redis", shared_server().url, "--redis-prefix", fresh_prefix())
    async with (
        serving(tmp_path, *options) as dying,
        serving(tmp_path, *options) as living,
        Api(living.url) as api,
    ):
        watcher = await opened(living.port, "wim", WATCHED)
        both = await opened(living.port, "bea")
        people = {name: await opened(dying.port, name, EVERYTHING) for name in ("ann", "ben", "bea")}
        await all_told(watcher, {"ann", "ben"}, "online")
        await api.publish(document_update("d1", id="e1"))
        cursors = {}
        for name, peer in people.items():
            event_id, cursors[name] = await shown(peer)
            assert event_id == "e1"

        await dying.kill()
        began = asyncio.get_running_loop().time()
        await api.publish([document_update("d1", id="e2"), document_update("d1", id="e3")])
        # Who has a connection at the node that lives is never told as gone.
        async with asyncio.timeout(STAYS_S):
            await all_told(watcher, {"ann", "ben"}, "offline")
        took_s = asyncio.get_running_loop().time() - began
        sys.stdout.write(
            f"\npeople of a killed node are gone after {took_s:.1f} s; two heartbeats are {2 * HEARTBEAT_S:g} s\n"
        )
        assert await there(living.port) == {"bea": 1, "wim": 1}

        again = {name: await resumed(living.port, name, cursor) for name, cursor in cursors.items()}
        for peer in again.values():
            assert [(await shown(peer))[0] for _ in range(2)] == ["e2", "e3"]
        await all_told(watcher, {"ann", "ben"}, "online")
        assert await there(living.port) == {"ann": 1, "bea": 2, "ben": 1, "wim": 1}
        for peer in (watcher, both, *people.values(), *again.values()):
            await peer.end()
