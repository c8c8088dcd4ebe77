"""Restarts under load: how long each subscriber is away, from the loss of its connection until it has everything again.

    .venv/bin/python -m benchmarks.restart [--restarts 20] [--followers 100] [--rate 40]

Owns: subscribers of both transports and publishers, all by the package's own client; one server process after the other on one database.
Not: whether every promise holds (tests/faults), a storm of thousands (storm.py).
Rule 1: a subscriber that misses an event, or gets one out of order, makes it no result.
Rule 2: each server lives longer than a client takes to count a connection as a success, so that none is measured within another's delays.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures
from benchmarks.servers import HERE, OURS, Server, pinned, shown
from signtusk_realtime.client import Publisher, subscribe
from signtusk_realtime.client.feed import SETTLED_S, Transport

ORGANIZATION: Final = "org-restart"
KILLED: Final = replace(OURS, name="the same, killed")
SIGNALS: Final[Sequence[tuple[Server, signal.Signals]]] = ((OURS, signal.SIGTERM), (KILLED, signal.SIGKILL))
WORKS: Final[Mapping[Transport, str]] = {"ws": "WebSocket", "sse": "event stream"}
PUBLISHERS: Final = 4
LIFE_S: Final = SETTLED_S + 1
LIMIT_S: Final = 60.0

CLAIM: Final = Claim(
    name="restart",
    title="Restarts under load: back and caught up, since the connection was lost",
    reference=KILLED,
    columns=(
        Column("back_s.p99", "p99 s", "{:.2f}"),
        Column("back_s.p50", "p50 s", "{:.2f}"),
        Column("back_s.max", "longest s", "{:.2f}"),
        Column("stop_s", "signal → exit, s", "{:.2f}"),
        Column("start_s", "start → listening, s", "{:.2f}"),
        Column("returns", "returns"),
        Column("events", "events"),
    ),
    goals=(Goal("p99 under 2 s", "back_s.p99", 2, at_least=False),),
    works=lambda short: (),
)


class Crowd:
    """What all clients share: where, and the number of each publisher's last answered event."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.answered = [0] * PUBLISHERS
        self.is_over = False
        self.moved = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that somebody does."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self.moved.clear()
                await self.moved.wait()

    async def publish(self, publisher: int, pause_s: float) -> None:
        """Publish one event after the other, each until it is answered."""
        async with Publisher(self.url, patience_s=LIMIT_S) as api:
            while not self.is_over:
                number = self.answered[publisher] + 1
                await api.publish(
                    {
                        "kind": "document_update",
                        "id": f"e:{publisher}:{number}",
                        "documentId": "doc-1",
                        "type": "updated",
                        "userId": "publisher",
                        "organizationId": ORGANIZATION,
                    }
                )
                self.answered[publisher] = number
                await asyncio.sleep(pause_s)


class Follower:
    """Follows everything, and knows since when it is away."""

    def __init__(self, crowd: Crowd, user: int, transport: Transport) -> None:
        self.transport = transport
        self.back_s: list[float] = []
        self.seen = [0] * PUBLISHERS
        self.is_up = False
        self._crowd = crowd
        self._target: list[int] | None = None
        self._lost_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._feed = subscribe(
            crowd.url,
            [{"type": "document_updates"}],
            transport=transport,
            user_id=f"user-{user}",
            organization_id=ORGANIZATION,
            on_message=self._told,
            on_retry=self._lost,
            on_gap=_no_result,
        )

    async def follow(self) -> None:
        """Go on until cancelled."""
        async with self._feed as feed:
            async for _, event in feed:
                _, publisher, number = event.id.split(":")
                before, self.seen[int(publisher)] = self.seen[int(publisher)], int(number)
                if int(number) != before + 1:
                    raise SystemExit(f"no result: {event.id} came after number {before}")
                self._look()
                self._crowd.moved.set()

    def _told(self, text: bytes) -> None:
        if b'"subscribed"' in text:
            self._target = list(self._crowd.answered)
            self._look()

    def _lost(self, _reason: str, _delay_s: float) -> None:
        self._target = None
        if self.is_up:
            self.is_up, self._lost_at = False, self._loop.time()

    def _look(self) -> None:
        if self._target is None or any(seen < wanted for seen, wanted in zip(self.seen, self._target, strict=True)):
            return
        self._target, self.is_up = None, True
        if self._lost_at is not None:
            self.back_s.append(self._loop.time() - self._lost_at)
        self._crowd.moved.set()


def _no_result(gap: object) -> None:
    raise SystemExit(f"no result: {gap}")


class Lives:
    """One server process after the other, on one port and database."""

    def __init__(self, folder: Path, port: int, cpu: int | None) -> None:
        self.command = pinned(OURS.command(port, folder, "full"), cpu)
        self.stop_s: list[float] = []
        self.start_s: list[float] = []
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start a server, and wait until it listens."""
        began = asyncio.get_running_loop().time()
        process = self._process = await asyncio.create_subprocess_exec(
            *self.command, cwd=self._folder, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(LIMIT_S):
            while (line := await process.stderr.readline()) and json.loads(line)["message"] != "listening":
                said += line
        if not line:
            raise SystemExit(f"no result: the server ended before it listened: {said.decode()}")
        self.start_s.append(asyncio.get_running_loop().time() - began)
        self._reading = asyncio.create_task(_read_on(process.stderr))

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait until the process is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        began = asyncio.get_running_loop().time()
        with suppress(ProcessLookupError):
            process.send_signal(number)
        async with asyncio.timeout(LIMIT_S):
            await process.wait()
        self.stop_s.append(asyncio.get_running_loop().time() - began)
        if self._reading is not None:
            await self._reading


async def _read_on(log: asyncio.StreamReader) -> None:
    while await log.read(65_536):
        pass


async def measure(lives: Lives, crowd: Crowd, number: signal.Signals, options: argparse.Namespace) -> list[Follower]:
    """Bring all in, and restart again and again while events are published."""
    await lives.begin()
    transports: tuple[Transport, ...] = ("ws", "sse")
    followers = [Follower(crowd, user, transports[user % 2]) for user in range(options.followers)]
    async with asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(follower.follow()) for follower in followers]
        await crowd.until(lambda: _are_back(followers, 0))
        pause_s = PUBLISHERS / options.rate
        publishing = [tasks.create_task(crowd.publish(publisher, pause_s)) for publisher in range(PUBLISHERS)]
        for _ in range(options.restarts):
            await asyncio.sleep(LIFE_S)
            await lives.end(number)
            await lives.begin()
            await crowd.until(lambda: _are_back(followers, len(lives.start_s) - 1))
        crowd.is_over = True
        await asyncio.gather(*publishing)
        await crowd.until(lambda: all(follower.seen == crowd.answered for follower in followers))
        for task in following:
            task.cancel()
    return followers


def _are_back(followers: Sequence[Follower], returns: int) -> bool:
    return all(follower.is_up and len(follower.back_s) >= returns for follower in followers)


async def one_run(row_of: Mapping[str, results.Row], number: signal.Signals, options: argparse.Namespace) -> None:
    """Measure one kind of end, and add what each transport showed to its row."""
    cpus = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        lives = Lives(Path(name), options.port, cpus[0] if len(cpus) > 1 else None)
        if len(cpus) > 1:
            os.sched_setaffinity(0, {cpus[1]})
        crowd = Crowd(options.port)
        try:
            followers = await measure(lives, crowd, number, options)
        finally:
            os.sched_setaffinity(0, set(cpus))
            await lives.end()
    for transport, work in WORKS.items():
        back_s = sorted(s for follower in followers if follower.transport == transport for s in follower.back_s)
        row = row_of[work]
        row.commands = [shown(lives.command)]
        figures: Figures = {
            "back_s": {
                "p50": back_s[len(back_s) // 2],
                "p99": back_s[int(len(back_s) * 0.99)],
                "max": back_s[-1],
            },
            # The last end is the measurement's own.
            "stop_s": statistics.median(lives.stop_s[:-1]),
            "start_s": statistics.median(lives.start_s[1:]),
            "returns": len(back_s),
            "events": sum(crowd.answered),
        }
        row.runs.append(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--followers", type=int, default=100)
    parser.add_argument("--rate", type=float, default=40.0, help="events per second")
    parser.add_argument("--port", type=int, default=28_417)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    about = results.circumstances(" ".join(["python -m benchmarks.restart", *sys.argv[1:]]))
    rows: list[results.Row] = []
    for server, number in SIGNALS:
        row_of = {work: results.Row(work, server.name) for work in WORKS.values()}
        uvloop.run(one_run(row_of, number, options))
        rows += row_of.values()
    rows.sort(key=lambda row: row.work)
    result = results.document(CLAIM, rows, about)
    results.write(options.results, result)
    print(results.markdown(result))


if __name__ == "__main__":
    main()
