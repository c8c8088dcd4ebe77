"""P1 to P3 over planned restarts: publishers and subscribers go on through restart after restart of the real command on one database.

Publishers repeat what was not answered, with the same ids; subscribers of both transports come back with their newest cursor, by the client's
own delays. In the end the history, what was answered and what each subscriber was shown must agree. `RESTARTS=20` in the environment makes it
a long run, and prints how long it took subscribers to be back and caught up.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import httpx2
import pytest

from signtusk_realtime.client import delays
from signtusk_realtime.client.delays import Delays
from tests.support.command import Api, a_free_port, document_update, serving
from tests.support.followers import ORGANIZATION, Stage, followers, offset_of, read_log
from tests.support.history import Attempt, Observed

RESTARTS = int(os.environ.get("RESTARTS", "3"))
PUBLISHERS = 4
FOLLOWERS = 20
EVENTS_PER_LIFE = 60
LONGEST_S = delays.LONGEST_S if RESTARTS > 3 else 0.5
"""Between two tries of a client: its own rule where times are told, no longer than necessary else."""

pytestmark = pytest.mark.timeout(60 + 20 * RESTARTS)


class Crowd(Stage):
    """Publishers and followers over all lives of a server."""

    def __init__(self) -> None:
        super().__init__()
        self.followers = followers(FOLLOWERS, LONGEST_S)
        self.observed = Observed({f"p{n}": [] for n in range(PUBLISHERS)}, [f.ids for f in self.followers])
        self.unanswered = 0
        self.is_over = False

    async def publish(self, name: str, url: str) -> None:
        """Publish one call after the other until it is over; each is repeated until it is answered."""
        attempts, pauses = self.observed.publishers[name], Delays(random.random, longest_s=LONGEST_S)
        async with Api(url) as api:
            while not self.is_over:
                attempt = Attempt(tuple(f"{name}-{len(attempts)}-{part}" for part in range(random.choice((1, 1, 3)))))
                attempts.append(attempt)
                while not await self._send(api, attempt):
                    self.unanswered += 1
                    await asyncio.sleep(pauses.next())  # what a client does
                pauses.reset()
                self.top = max(self.top, *attempt.offsets or ())
                self.moved.set()
                # A steady load, not as fast as the disk can.
                await asyncio.sleep(0.005)

    async def _send(self, api: Api, attempt: Attempt) -> bool:
        events = [document_update("doc", ORGANIZATION, id=event_id) for event_id in attempt.ids]
        try:
            answer = await api.http.post("/api/realtime/events", json=events)
        except httpx2.TransportError:
            return False
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            attempt.offsets = tuple(offset_of(result["cursor"]) for result in answer.json()["results"])
        return answer.status_code == 200

    def have_come_back(self, lives: int) -> bool:
        """Say whether all followers were connected in so many lives, and caught up with what was there when they came."""
        return all(follower.lives >= lives and follower.is_up for follower in self.followers)


async def live(crowd: Crowd, cwd: Path, port: str, life: int) -> list[tuple[int, str]]:
    """Serve until everybody is back and has worked for a while; in the last life, until nothing is left to do. Gives the log then."""
    log: list[tuple[int, str]] = []
    async with serving(cwd, "--port", port) as served:
        await crowd.until(f"everybody back in life {life}", lambda: crowd.have_come_back(life + 1))
        enough = crowd.observed.answered + EVENTS_PER_LIFE
        await crowd.until(f"events in life {life}", lambda: crowd.observed.answered >= enough)
        if life == RESTARTS:
            crowd.is_over = True
            await crowd.until("everything answered", lambda: not crowd.observed.unanswered())
            await crowd.until("everything shown", lambda: all(f.offset >= crowd.top for f in crowd.followers))
            async with Api(served.url) as api:
                _, log = await read_log(api)
        assert await served.terminate() == 0
        assert {line["level"] for line in served.lines} == {"info"}, served.lines
    return log


async def test_nothing_is_lost_over_restarts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each restart is clean, each subscriber comes back where it was, and nobody misses, repeats or reorders an event."""
    crowd, port = Crowd(), await a_free_port(tmp_path)
    url = f"http://127.0.0.1:{port}"
    log: list[tuple[int, str]] = []
    async with asyncio.TaskGroup() as tasks:
        for name in crowd.observed.publishers:
            tasks.create_task(crowd.publish(name, url))
        following = [tasks.create_task(follower.follow(url, crowd)) for follower in crowd.followers]
        for life in range(RESTARTS + 1):
            log = await live(crowd, tmp_path, port, life)
        for task in following:
            task.cancel()
    assert crowd.observed.faults(log) == []
    assert crowd.observed.answered == len(log)
    ids = [event_id for _, event_id in log]
    for follower in crowd.followers:
        assert follower.faults == []
        assert follower.ids == ids[-len(follower.ids) :], "from its first event on everything, once, in order"
        assert set(follower.lost) <= {"closed with 1012 restarting", "the stream ended"}
    if RESTARTS > 3:
        with capsys.disabled():
            tell(crowd)


def tell(crowd: Crowd) -> None:
    """Print how long it took to be back and caught up, since the connection was lost."""
    back_s = sorted(seconds for follower in crowd.followers for seconds in follower.back_s)
    p50, p99 = (back_s[int(len(back_s) * part)] for part in (0.5, 0.99))
    print(  # noqa: T201  # a long run is made for its figures
        f"\n{RESTARTS} restarts, {crowd.observed.answered} events, {crowd.unanswered} calls repeated;"
        f" back and caught up: p50 {p50:.2f} s, p99 {p99:.2f} s, longest {back_s[-1]:.2f} s"
    )
