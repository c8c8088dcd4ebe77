"""I4 and P4 on the real command: who is revoked while a thousand events a second are published is shown none of what comes after the answer.

REVOKE_SECONDS=60 in the environment makes it a long run.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.support.command import serving
from tests.support.polling import until
from tests.support.server import Peer, StreamPeer, WebSocketPeer, call, request
from tests.support.tokens import SECRET, token

EVENTS_PER_S: Final = 1000
BATCH: Final = 20
BEFORE: Final = int(float(os.environ.get("REVOKE_SECONDS", "1.5")) * EVENTS_PER_S)
AFTER: Final = int(1.5 * EVENTS_PER_S)
PATIENCE_S: Final = 30 + 4 * BEFORE / EVENTS_PER_S
"""Of a busy machine, which publishes more slowly than it was told to."""
EVENTS: Final = "/api/realtime/events"

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(3 * int(PATIENCE_S))]


def bearer(user: str, scope: str = "") -> dict[str, str]:
    """Give the header of a token that was issued a while ago."""
    now = int(time.time())
    return {
        "Authorization": f"Bearer {token(SECRET, sub=user, org='org123', iat=now - 10, exp=now + 3600, scope=scope)}"
    }


@dataclass
class Watcher:
    """A connection, the numbers of the events it was shown, and how it ended."""

    peer: WebSocketPeer | StreamPeer
    numbers: list[int] = field(default_factory=list)
    end: str = ""

    async def watch(self) -> None:
        """Read until the end."""
        try:
            while True:
                if isinstance(self.peer, StreamPeer):
                    message = await self.peer.message()
                else:
                    frame = await self.peer.frame()
                    if frame.opcode == 8:
                        self.end = str(int.from_bytes(frame.payload[:2], "big"))
                        return
                    message = json.loads(frame.payload) if frame.opcode == 1 else {}
                event = message.get("event", message)
                if isinstance(event, dict) and "metadata" in event:
                    self.numbers.append(event["metadata"]["number"])
                elif message.get("type") == "error":
                    self.end = str(message["code"])
        except EOFError:
            return


@dataclass
class Load:
    """Events at a steady rate; `published_at` has the moment of each, before its request was sent."""

    port: int
    published_at: list[float] = field(default_factory=list)
    is_enough: bool = False

    async def until(self, count: int) -> None:
        """Wait until so many were published."""

        async def is_so() -> bool:
            return len(self.published_at) >= count

        await until(is_so, within_s=PATIENCE_S)

    async def publish(self) -> None:
        """Publish batches, each when it is due, until it is enough."""
        headers = {**bearer("app", scope="realtime:publish"), "Content-Type": "application/json"}
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with await Peer.connect(self.port) as peer:
            while not self.is_enough:
                await asyncio.sleep(began + len(self.published_at) / EVENTS_PER_S - loop.time())
                first = len(self.published_at)
                self.published_at += [loop.time()] * BATCH
                events = [
                    {
                        "kind": "organization_activity",
                        "activityType": "a",
                        "payload": {},
                        "metadata": {"number": number},
                    }
                    for number in range(first, first + BATCH)
                ]
                await peer.send(request("POST", EVENTS, headers, json.dumps(events).encode()))
                answer = await peer.answer()
                assert answer.status == 200, answer.body


@asynccontextmanager
async def watchers(port: int, user: str) -> AsyncIterator[list[Watcher]]:
    """Open two WebSockets and an event stream, and end them."""
    found = await _open_watchers(port, user)
    try:
        yield found
    finally:
        for one in found:
            await one.peer.end()


async def _open_watchers(port: int, user: str) -> list[Watcher]:
    found: list[Watcher] = []
    for _ in range(2):
        peer = await WebSocketPeer.open(port, "", bearer(user))
        await peer.subscribe({"type": "organization_activity"})
        found.append(Watcher(peer))
    found.append(Watcher(await StreamPeer.open(port, "types=organization_activity", bearer(user))))
    return found


async def have_all(watching: list[Watcher], count: int) -> bool:
    """Say whether each was shown so many."""
    return all(len(one.numbers) >= count for one in watching)


async def test_nothing_published_after_a_revocation_is_shown(tmp_path: Path) -> None:
    """Two WebSockets and an event stream end by the revocation's own code; another user's miss nothing; the token opens nothing any more."""
    environment = {"SIGNTUSK_REALTIME_AUTH_MODE": "jwt", "SIGNTUSK_REALTIME_AUTH_SECRET": SECRET}
    async with serving(tmp_path, environment=environment) as served:
        async with watchers(served.port, "mallory") as revoked, watchers(served.port, "ada") as others:
            load = Load(served.port)
            async with asyncio.TaskGroup() as tasks:
                publishing = tasks.create_task(load.publish())
                watching = [tasks.create_task(one.watch()) for one in revoked]
                following = [tasks.create_task(one.watch()) for one in others]
                await load.until(BEFORE)
                headers = {**bearer("root", scope="realtime:admin"), "Content-Type": "application/json"}
                answer = await call(served.port, "POST", "/api/realtime/revocations", headers, b'{"userId":"mallory"}')
                answered_at = asyncio.get_running_loop().time()
                assert answer.json() == {"closed": 3, "pendingNodes": 0}
                async with asyncio.timeout(1):
                    await asyncio.gather(*watching)
                await load.until(len(load.published_at) + AFTER)
                for path in (EVENTS, "/api/realtime/history"):
                    assert (await call(served.port, "GET", path, bearer("mallory"))).status == 401
                load.is_enough = True
                await publishing
                await until(lambda: have_all(others, len(load.published_at)), within_s=PATIENCE_S)
                for task in following:
                    task.cancel()
            assert [one.end for one in revoked] == ["4504", "4504", "revoked"]
            for one in revoked:
                # On one node a revocation has taken effect when it is answered; the promise for several is within a second.
                assert one.numbers == list(range(len(one.numbers)))
                assert load.published_at[one.numbers[-1]] < answered_at
            for one in others:
                assert one.numbers == list(range(len(load.published_at)))
        assert await served.terminate() == 0
