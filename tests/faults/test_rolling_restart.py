"""P1 to P3 over planned restarts: publishers and subscribers go on through restart after restart of the real command on one database.

Publishers repeat what was not answered, with the same ids; subscribers of both transports come back with their newest cursor, by the client's
own delays. In the end the history, what was answered and what each subscriber was shown must agree. `RESTARTS=20` in the environment makes it
a long run, and prints how long it took subscribers to be back and caught up.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from signtusk_realtime.client import delays
from tests.support.command import Api, a_free_port, serving
from tests.support.crowds import Crowd
from tests.support.followers import read_log

RESTARTS = int(os.environ.get("RESTARTS", "3"))
PUBLISHERS = 4
FOLLOWERS = 20
EVENTS_PER_LIFE = 60
LONGEST_S = delays.LONGEST_S if RESTARTS > 3 else 0.5
"""Between two tries of a client: its own rule where times are told, no longer than necessary else."""

pytestmark = pytest.mark.timeout(60 + 20 * RESTARTS)


async def live(crowd: Crowd, cwd: Path, port: str, life: int) -> list[tuple[int, str]]:
    """Serve until everybody is back and has worked for a while; in the last life, until nothing is left to do. Gives the log then."""
    log: list[tuple[int, str]] = []
    async with serving(cwd, "--port", port) as served:
        await crowd.until(f"everybody back in life {life}", lambda: crowd.have_come_back(life + 1))
        enough = crowd.observed.answered + EVENTS_PER_LIFE
        await crowd.until(f"events in life {life}", lambda: crowd.observed.answered >= enough)
        if life == RESTARTS:
            await crowd.finish()
            async with Api(served.url) as api:
                _, log = await read_log(api)
        assert await served.terminate() == 0
        assert {line["level"] for line in served.lines} == {"info"}, served.lines
    return log


async def test_nothing_is_lost_over_restarts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each restart is clean, each subscriber comes back where it was, and nobody misses, repeats or reorders an event."""
    crowd, port = Crowd(PUBLISHERS, FOLLOWERS, LONGEST_S), await a_free_port(tmp_path)
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
    crowd.check(log)
    for follower in crowd.followers:
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
