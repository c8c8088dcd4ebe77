"""I9 and P1 to P3: an answered publication survives kill -9 of the server, nothing is shown before it does, and whoever comes back misses nothing.

Publishers call over HTTP, one call after the other each, while subscribers of both transports follow and come back with their newest cursor. The
server is killed at a random moment, also while they are still coming back, and started anew on the same database and port; then its history is
judged. `KILLS=200` in the environment makes it a long run, and prints what was seen.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from tests.support.command import Api, Served, a_free_port, document_update, serving
from tests.support.followers import ORGANIZATION, Stage, followers, offset_of, read_log
from tests.support.history import Attempt, Observed

KILLS = int(os.environ.get("KILLS", "10"))
DURABILITIES = ("full", "normal")
KILLS_EACH = -(-KILLS // len(DURABILITIES))
PUBLISHERS = 6
FOLLOWERS = 8
LONGEST_S = 0.5
"""Between two tries of a follower."""

pytestmark = pytest.mark.timeout(60 + 20 * KILLS_EACH)


async def send(api: Api, attempt: Attempt) -> list[bool]:
    """Publish what an attempt is about, and note the answer; give which events were known before."""
    events = [document_update(f"doc-{event_id}", ORGANIZATION, id=event_id) for event_id in attempt.ids]
    results = await api.publish(events if len(events) > 1 else events[0])
    assert [result["eventId"] for result in results] == list(attempt.ids)
    attempt.offsets = tuple(offset_of(result["cursor"]) for result in results)
    return [result["duplicate"] is True for result in results]


class Crowd(Stage):
    """Publishers and followers over all lives of a server."""

    def __init__(self, randomness: random.Random) -> None:
        super().__init__()
        self.followers = followers(FOLLOWERS, LONGEST_S)
        self.observed = Observed({f"p{n}": [] for n in range(PUBLISHERS)}, [f.ids for f in self.followers])
        self.repeated = 0
        self._randomness = randomness

    async def live_until_killed(self, served: Served, life: int) -> None:
        """Let everybody work against one life of the server, and kill it in the middle."""
        # The first life lets all see the log from its beginning; of the others half end while some are still coming back.
        if not life or self._randomness.random() < 0.5:
            await self.until(f"everybody back in life {life}", self.are_all_back)
        enough = self.observed.answered + self._randomness.randint(1, 150)
        async with asyncio.TaskGroup() as tasks:
            for name in self.observed.publishers:
                tasks.create_task(self._publish(name, served.url))
            await self.until(f"events in life {life}", lambda: self.observed.answered >= enough)
            await served.kill()

    def are_all_back(self) -> bool:
        """Say whether all followers are connected, and have what was there when they came."""
        return all(follower.is_up for follower in self.followers)

    def have_all_seen(self) -> bool:
        """Say whether all followers are at the top."""
        return all(follower.offset >= self.top for follower in self.followers)

    async def repeat(self, api: Api, known: set[str]) -> None:
        """Publish again what got no answer: what is known was there before, whole, and the rest is new."""
        for attempt in self.observed.unanswered():
            assert await send(api, attempt) == [event_id in known for event_id in attempt.ids]
            self.repeated += 1

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
                    self.top = max(self.top, *attempt.offsets or ())
                    self.moved.set()


async def judge(crowd: Crowd, api: Api, before: list[tuple[int, str]], epochs: set[str]) -> list[tuple[int, str]]:
    """Read the log after a death, judge it, and repeat what got no answer. Gives the log after that."""
    observed = crowd.observed
    its_epochs, log = await read_log(api)
    epochs |= its_epochs
    assert observed.faults(log) == []
    assert log[: len(before)] == before
    assert len(epochs) == (1 if log else 0)
    await crowd.repeat(api, {event_id for _, event_id in log})
    _, log = await read_log(api)
    assert observed.faults(log) == []
    crowd.top = len(log)
    return log


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_nothing_is_lost_when_the_server_is_killed(
    tmp_path: Path, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After each kill: all that was answered, once, at its place; nothing shown that is not there; repeating what got no answer is safe.

    In the end each subscriber was shown the whole log, once, in order, and was never told to reload.
    """
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # noqa: T201  # shown where it fails
    crowd, port = Crowd(random.Random(seed)), await a_free_port(tmp_path)
    observed, epochs = crowd.observed, set[str]()
    log: list[tuple[int, str]] = []
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(f.follow(f"http://127.0.0.1:{port}", crowd)) for f in crowd.followers]
        for life in range(KILLS_EACH + 1):
            async with serving(tmp_path, "--durability", durability, "--port", port) as served:
                async with Api(served.url) as api:
                    log = await judge(crowd, api, log, epochs)
                if life < KILLS_EACH:
                    await crowd.live_until_killed(served, life)
                    continue
                await crowd.until("everything shown", crowd.have_all_seen)
                for task in following:
                    task.cancel()
                assert await served.terminate() == 0
    faults = observed.faults(log)
    if KILLS > 10:
        with capsys.disabled():
            tell(crowd, durability, faults)
    assert faults == []
    assert observed.answered == len(log)
    ids = [event_id for _, event_id in log]
    for follower in crowd.followers:
        assert follower.faults == []
        assert follower.ids == ids
    assert sum(follower.lives for follower in crowd.followers) > FOLLOWERS, "nobody came back"


def tell(crowd: Crowd, durability: str, faults: list[str]) -> None:
    """Print what was seen, by the checker's words."""
    deliveries = sum(len(follower.ids) for follower in crowd.followers)
    resumes = sum(follower.lives - 1 for follower in crowd.followers)
    kinds = Counter(fault.partition(":")[0] for fault in faults)
    found = ", ".join(f"{kind} {times}" for kind, times in kinds.items()) or "no fault"
    print(  # noqa: T201  # a long run is made for its figures
        f"\n{KILLS_EACH} kills, durability {durability}: {crowd.observed.answered} events answered, {crowd.repeated} calls repeated,"
        f" {deliveries} deliveries to {FOLLOWERS} subscribers over {resumes} resumes: {found}"
    )
