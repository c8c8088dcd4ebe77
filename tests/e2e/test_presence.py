"""Presence over real sockets: WebSocket, event stream, the presence call, two nodes; and pages in a browser."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from signtusk_realtime import RealtimeService
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.redis import RedisEngine
from tests.e2e.test_nodes import two_nodes
from tests.support.browser import chromium, needs_browser, page_server
from tests.support.command import serving as serving_command
from tests.support.server import TEXT, StreamPeer, WebSocketPeer, call, publish, serving
from tests.support.shared import SharedMemory
from tests.support.valkey import fresh_prefix, shared_server
from tests.support.wire import client_frame

PRESENCE = "/api/realtime/presence"


def who(user_id: str) -> str:
    return f"userId={user_id}&organizationId=org123"


async def say(peer: WebSocketPeer, **message: object) -> None:
    await peer.send(client_frame(TEXT, json.dumps(message).encode()))


async def opened(port: int, user_id: str, *subscriptions: dict[str, object]) -> WebSocketPeer:
    peer = await WebSocketPeer.open(port, who(user_id))
    assert (await peer.message())["type"] == "connected"
    if subscriptions:
        await say(peer, type="subscribe", subscriptions=list(subscriptions))
        while (await peer.message())["type"] != "subscribed":
            pass
    return peer


async def told_of(peer: WebSocketPeer, user_id: str) -> dict[str, object]:
    """Give the next difference that is about this user."""
    while True:
        message = await peer.message()
        users = message.get("users", ())
        assert isinstance(users, list | tuple)
        for user in users:
            if user["userId"] == user_id:
                return dict(user)


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """Give the engines of two nodes: over one memory, and over a real server."""
    if request.param == "memory":
        memory = SharedMemory()
        return memory.engine(), memory.engine()
    urls, prefix = [shared_server().url], fresh_prefix()
    return RedisEngine(urls, prefix=prefix), RedisEngine(urls, prefix=prefix)


async def test_differences_over_both_transports_and_nodes(shared: tuple[Engine, Engine]) -> None:
    """Who connects to one node is told on the other, over WebSocket and event stream alike; the call agrees on both."""
    async with two_nodes(shared) as two:
        watcher = await opened(two.b.port, "wim", {"type": "user_presence"})
        stream = await StreamPeer.open(two.b.port, who("sue") + "&types=user_presence")
        ann = await opened(two.a.port, "ann")
        assert (await told_of(watcher, "ann"))["status"] == "online"
        await say(ann, type="presence", status="away", currentDocument="d1", requestId="1")
        assert await ann.message() == {"type": "presence_accepted", "requestId": "1"}
        assert (await told_of(watcher, "ann"))["currentDocument"] == "d1"
        found: list[str] = []
        at = ""
        while "away" not in found:
            block = await stream.event()
            message = json.loads(block.data)
            assert block.type == "message"
            found += [user["status"] for user in message.get("users", ()) if user["userId"] == "ann"]
            at = at or block.last_event_id
            # No message of presence moves the resume point.
            assert block.last_event_id == at
        for node in (two.a, two.b):
            answer = await call(node.port, "GET", f"{PRESENCE}?documentId=d1&{who('ann')}")
            assert answer.status == 200
            [user] = answer.json()["users"]  # type: ignore[misc]  # fails if it is no list of one
            assert user["userId"] == "ann"
            assert user["connections"] == 1
            cursor = answer.json()["cursor"]
            page = await call(node.port, "GET", f"/api/realtime/history?after={cursor}&{who('ann')}")
            assert page.json()["events"] == []
        for peer in (watcher, stream, ann):
            await peer.end()


async def test_the_presence_call_refuses() -> None:
    """What is malformed is a problem that names the parameter; without credentials nobody is told anything."""
    async with serving() as it:
        for query, status, code in (
            (f"{who('ann')}&documentId=", 400, "invalid_parameter"),
            (f"{who('ann')}&user=ben", 400, "invalid_parameter"),
            ("", 401, "unauthenticated"),
        ):
            answer = await call(it.port, "GET", f"{PRESENCE}?{query}")
            assert (answer.status, answer.code) == (status, code)
        assert (await call(it.port, "POST", f"{PRESENCE}?{who('ann')}")).status == 405


async def test_what_was_published_counts_over_http() -> None:
    """A published presence is in the answer, also after it was published again; `offline` takes it out."""
    async with serving() as it:
        event = {"kind": "user_presence", "id": "p1", "userId": "ann", "status": "busy", "metadata": {"desk": 4}}
        for _ in range(2):
            assert (await publish(it.port, event)).status == 200
            [user] = (await call(it.port, "GET", f"{PRESENCE}?{who('ben')}")).json()["users"]  # type: ignore[misc]  # as above
            assert (user["status"], user["connections"], user["metadata"]) == ("busy", 0, {"desk": 4})
        assert (await publish(it.port, {**event, "id": "p2", "status": "offline"})).status == 200
        assert (await publish(it.port, event)).json()["results"][0]["duplicate"]  # type: ignore[index]  # as above
        assert (await call(it.port, "GET", f"{PRESENCE}?{who('ben')}")).json()["users"] == []


async def test_an_application_asks_in_python() -> None:
    """`get_presence` tells of sockets handed in, too."""

    class Socket:
        def send(self, text: str) -> None: ...

        def close(self, code: int, reason: str) -> None: ...

    async with RealtimeService() as service:
        connection_id = service.handle_websocket_connection(Socket(), "ann", "org123")
        await service.receive(connection_id, '{"type":"presence","status":"away","currentDocument":"d1"}')
        await service.emit_user_presence({"userId": "ben", "organizationId": "org123", "status": "busy"})
        found = await service.get_presence("org123")
        assert [(user.user_id, user.status, user.connections) for user in found.users] == [
            ("ann", "away", 1),
            ("ben", "busy", 0),
        ]
        assert [user.user_id for user in (await service.get_presence("org123", "d1")).users] == ["ann"]
        assert (await service.get_presence("other")).users == []


PAGE = """<!doctype html><meta charset=utf-8><script>
const told = [];
const user = new URLSearchParams(location.search).get('user');
const socket = new WebSocket(`ws://localhost:PORT/ws?userId=${user}&organizationId=org123`);
socket.onopen = () => {
  socket.send(JSON.stringify({ type: 'presence', status: 'online', currentDocument: 'd1' }));
  socket.send(JSON.stringify({ type: 'subscribe', subscription: { type: 'user_presence' } }));
};
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.type === 'subscribed') document.title = 'ready';
  for (const { userId, status } of message.users ?? []) told.push(`${userId} ${status}`);
};
</script>"""


class TestPages:
    """In a browser, which says goodbye in its own way."""

    pytestmark = needs_browser

    async def test_loading_again_is_no_departure_and_closing_is(self, tmp_path: Path) -> None:
        """One page watches; another is loaded again, which shows nothing, then closed, which shows after the delay."""
        async with (
            serving_command(tmp_path, "--presence-leave-delay", "1500") as served,
            page_server(PAGE.replace("PORT", str(served.port))) as port,
            chromium() as browser,
        ):
            watching, other = await browser.new_page(), await browser.new_page()
            await watching.goto(f"http://localhost:{port}/?user=wim")
            await watching.wait_for_function("() => document.title === 'ready'")
            await other.goto(f"http://localhost:{port}/?user=ann")
            await watching.wait_for_function("() => told.includes('ann online')")
            for _ in range(3):
                await other.reload()
                await other.wait_for_function("() => document.title === 'ready'")
            answer = await call(served.port, "GET", f"{PRESENCE}?{who('wim')}")
            assert [user["userId"] for user in answer.json()["users"]] == ["ann", "wim"]  # type: ignore[attr-defined]  # as above
            # Whatever a reload might have shown comes before what the next page shows.
            third = await browser.new_page()
            await third.goto(f"http://localhost:{port}/?user=ben")
            await watching.wait_for_function("() => told.includes('ben online')")
            assert await watching.evaluate("told.filter((one) => one !== 'wim online')") == ["ann online", "ben online"]
            await other.close()
            await watching.wait_for_function("() => told.includes('ann offline')")
            await asyncio.gather(watching.close(), third.close())
