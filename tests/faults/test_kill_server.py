"""I9: an answered publication survives kill -9 of the server, and nothing is shown before it does.

Publishers call over HTTP, one call after the other each, while a subscriber listens; the server is killed at a random moment, started anew on
the same database, and its history judged. `KILLS=100` in the environment makes it a long run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from signtusk_realtime.protocol import cursor as cursors
from tests.support.command import Api, Browsers, Served, document_update, serving
from tests.support.history import Attempt, Observed

ORGANIZATION = "org123"
KILLS = int(os.environ.get("KILLS", "3"))
PUBLISHERS = 6

pytestmark = pytest.mark.timeout(60 + 20 * KILLS)


def place_of(text: object) -> tuple[str, int]:
    """Give the epoch and the offset that a cursor names. Nobody else may look into one."""
    assert isinstance(text, str)
    cursor = cursors.decode(ORGANIZATION, text)
    assert cursor is not None
    assert cursor.organization is not None
    return cursor.organization.epoch, cursor.organization.offset


async def send(api: Api, attempt: Attempt) -> list[bool]:
    """Publish what an attempt is about, and note the answer; give which events were known before."""
    events = [document_update(f"doc-{event_id}", ORGANIZATION, id=event_id) for event_id in attempt.ids]
    results = await api.publish(events if len(events) > 1 else events[0])
    assert [result["eventId"] for result in results] == list(attempt.ids)
    attempt.offsets = tuple(place_of(result["cursor"])[1] for result in results)
    return [result["duplicate"] is True for result in results]


class Crowd:
    """Publishers and a subscriber over all lives of a server."""

    def __init__(self, randomness: random.Random) -> None:
        self.observed = Observed({f"p{index}": [] for index in range(PUBLISHERS)})
        self._randomness = randomness
        self._answer = asyncio.Event()

    async def live_until_killed(self, served: Served) -> None:
        """Let everybody work against one life of the server, and kill it in the middle."""
        enough = self.observed.answered + self._randomness.randint(1, 150)
        async with Browsers(served) as browsers, asyncio.TaskGroup() as tasks:
            socket = await browsers.websocket({"type": "document_updates"}, organization=ORGANIZATION)
            tasks.create_task(self._subscribe(socket))
            for name in self.observed.publishers:
                tasks.create_task(self._publish(name, served.url))
            while self.observed.answered < enough:
                self._answer.clear()
                await self._answer.wait()
            await served.kill()

    async def _subscribe(self, socket: ClientConnection) -> None:
        ids: list[str] = []
        self.observed.subscribers.append(ids)
        with suppress(ConnectionClosed):
            while True:
                ids.append(json.loads(await socket.recv())["event"]["id"])

    async def _publish(self, name: str, url: str) -> None:
        attempts = self.observed.publishers[name]
        # The server's death is this loop's end; an answer that is an error is a fault of the server and passes through.
        with suppress(httpx2.TransportError):
            async with Api(url) as api:
                while True:
                    number = len(attempts)
                    size = self._randomness.choice((1, 1, 3))
                    attempt = Attempt(tuple(f"{name}-{number}-{part}" for part in range(size)))
                    attempts.append(attempt)
                    assert not any(await send(api, attempt))
                    self._answer.set()


async def read_log(api: Api) -> tuple[set[str], list[tuple[int, str]]]:
    """Give the epochs that the history's cursors name, and its offsets with the events' ids."""
    epochs: set[str] = set()
    log: list[tuple[int, str]] = []
    for entry in await api.history(ORGANIZATION):
        epoch, offset = place_of(entry["cursor"])
        event = entry["event"]
        assert isinstance(event, dict)
        epochs.add(epoch)
        log.append((offset, event["id"]))
    return epochs, log


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_what_was_answered_survives_the_servers_death(tmp_path: Path, durability: str) -> None:
    """After each kill: all that was answered, once, at its place; nothing shown that is not there; repeating what got no answer is safe."""
    seed = random.SystemRandom().getrandbits(32)
    crowd = Crowd(random.Random(seed))
    observed = crowd.observed
    epochs: set[str] = set()
    log: list[tuple[int, str]] = []
    for life in range(KILLS + 1):
        async with serving(tmp_path, "--durability", durability) as served:
            async with Api(served.url) as api:
                before = log
                its_epochs, log = await read_log(api)
                where = f"life {life}, seed {seed}"
                epochs |= its_epochs
                assert observed.faults(log) == [], where
                assert log[: len(before)] == before, where
                assert len(epochs) == (1 if log else 0), where

                known = {event_id for _, event_id in log}
                for attempt in observed.unanswered():
                    duplicates = await send(api, attempt)
                    assert duplicates == [event_id in known for event_id in attempt.ids], where
                _, log = await read_log(api)
                assert observed.faults(log) == [], where
            if life < KILLS:
                await crowd.live_until_killed(served)
            else:
                assert await served.terminate() == 0
    assert observed.answered == len(log)
    assert any(observed.subscribers), "nothing was delivered, so that nothing was shown"
