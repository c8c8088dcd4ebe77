"""Publishers and subscribers of one organization who go on whatever becomes of its nodes, and what they were answered and shown.

Owns: a steady load that repeats what was not answered, at any of several nodes; who follows meanwhile.   Not: the nodes, the judgement (history.py).
Rule: a publication is repeated with its ids until it is answered, as publishers are told to do.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack

import httpx2

from signtusk_realtime.client.delays import Delays
from tests.support.command import Api, document_update
from tests.support.followers import ORGANIZATION, Stage, followers, offset_of
from tests.support.history import Attempt, Observed

EVERY_S = 0.005
"""Between two calls of a publisher: a steady load, not as fast as the disk can."""


class Crowd(Stage):
    """See the module. `longest_s`: between two tries of anybody."""

    def __init__(self, publishers: int, follower_count: int, longest_s: float) -> None:
        super().__init__()
        self.followers = followers(follower_count, longest_s)
        self.observed = Observed({f"p{n}": [] for n in range(publishers)}, [f.ids for f in self.followers])
        self.unanswered = 0
        self.is_over = False
        self._longest_s = longest_s

    async def publish(self, name: str, *urls: str) -> None:
        """Publish one call after the other until it is over; what one node does not answer is repeated at the next."""
        pauses = Delays(random.random, longest_s=self._longest_s)
        async with AsyncExitStack() as stack:
            apis = itertools.cycle([await stack.enter_async_context(Api(url)) for url in urls])
            api = next(apis)
            while not self.is_over:
                number = len(self.observed.publishers[name])
                ids = tuple(f"{name}-{number}-{part}" for part in range(random.choice((1, 1, 3))))
                attempt = self.attempt(name, ids)
                while not await self.send(api, attempt):
                    self.unanswered += 1
                    api = next(apis)
                    await asyncio.sleep(pauses.next())  # what a client does
                pauses.reset()
                await asyncio.sleep(EVERY_S)

    def attempt(self, name: str, ids: tuple[str, ...]) -> Attempt:
        """Note what a publisher is about to publish."""
        attempt = Attempt(ids)
        self.observed.publishers.setdefault(name, []).append(attempt)
        return attempt

    async def send(self, api: Api, attempt: Attempt, **more: object) -> bool:
        """Publish; note what was answered, and say whether anything was."""
        events = [document_update("doc", ORGANIZATION, id=event_id, **more) for event_id in attempt.ids]
        try:
            answer = await api.http.post("/api/realtime/events", json=events)
        except httpx2.TransportError:
            return False
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            return False
        attempt.offsets = tuple(offset_of(result["cursor"]) for result in answer.json()["results"])
        self.top = max(self.top, *attempt.offsets)
        self.moved.set()
        return True

    async def progress(self, what: str, events: int) -> None:
        """Wait until so many more events were answered, and everybody was shown what was answered by then."""
        enough = self.observed.answered + events
        await self.until(f"{events} events answered {what}", lambda: self.observed.answered >= enough)
        top = self.top
        await self.until(f"everything shown {what}", lambda: all(f.is_up and f.offset >= top for f in self.followers))

    async def finish(self) -> None:
        """Publish nothing more; wait until all that was published is answered and shown."""
        self.is_over = True
        await self.until("everything answered", lambda: not self.observed.unanswered())
        await self.until("everything shown", lambda: all(f.offset >= self.top for f in self.followers))

    def have_come_back(self, lives: int) -> bool:
        """Say whether all followers were connected in so many lives, and caught up with what was there when they came."""
        return all(follower.lives >= lives and follower.is_up for follower in self.followers)

    def check(self, log: list[tuple[int, str]]) -> None:
        """Judge: all that was answered is in the log, and each follower was shown all from its first event on, once, in order."""
        assert self.observed.faults(log) == []
        assert self.observed.answered == len(log)
        ids = [event_id for _, event_id in log]
        for follower in self.followers:
            assert follower.faults == []
            assert follower.ids, "it was shown nothing"
            assert follower.ids == ids[-len(follower.ids) :], "from its first event on everything, once, in order"
