"""Stalled readers: what those who read notice of those who do not, what they cost in memory, and whether they get everything once they read again.

    .venv/bin/python -m benchmarks.stalled [--clients 2000] [--stalled 200] [--rounds 3] [--seconds 15]

Owns: the delay from publishing to reading of those who read all the time, with all reading and with some stalled, in turn on one server.
Not: delays at other loads (run.py, `latency`).
Rule 1: the delays of both cases are those of the same clients: who is going to stall is not among them.
Rule 2: stalled is who has so much unread that the server writes no more to it; its own count of those it took back proves it.
Rule 3: a client that in the end has not every event, once, in order, makes it no result.
Not pinned: that would hide what threads of one process do to each other.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import re
import resource
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures
from benchmarks.servers import HERE, OURS, Running, running
from benchmarks.subscribers import Publisher, Subscriber, connect_all, cpu_s, rss_kb

ORGANIZATION: Final = "org-stalled"
ALL_READ: Final = replace(OURS, name="the same, all read")
EVENTS_PER_S: Final = 10
PAD: Final = 200
LARGE_PAD: Final = 32 << 10
LARGE_EVENTS: Final = 60
"""Together more than a connection's outbox, a write, and both kernel buffers hold."""
OUTBOX_MB: Final = 1
"""`outbox_bytes`, as everybody has it."""
LIMIT_S: Final = 60.0

CLAIM: Final = Claim(
    name="stalled",
    title="Readers that stall, among others that read: half WebSocket, half event stream, 10 events a second",
    reference=ALL_READ,
    columns=(
        Column("latency_ms.p99", "p99 ms of those who read", "{:.1f}"),
        Column("latency_ms.p50", "p50 ms", "{:.1f}"),
        Column("server_busy", "server busy", "{:.2f}"),
        Column("rss_mb", "server's RSS, MB", "{:.1f}"),
        Column("growth_per_bound", "growth of RSS by the outboxes' bound", "{:.3f}"),
        Column("caught_up_s", "seconds until who stalled had everything", "{:.2f}"),
    ),
    goals=(
        Goal("p99 at most 1.25 × of that with all reading", "latency_ms.p99", 1.25, at_least=False, is_ratio=True),
        Goal("memory within the outboxes' bound, 1 MiB each", "growth_per_bound", 1, at_least=False),
    ),
    works=lambda short: (),
)


@dataclass
class Crowd:
    """All clients of a run, and what was published to them."""

    target: Running
    publisher: Publisher
    reading: list[Subscriber]
    stalling: list[Subscriber]
    published: int = 0
    runs: dict[str, list[Figures]] = field(default_factory=lambda: {OURS.name: [], ALL_READ.name: []})

    async def publish(self, pad: int) -> None:
        """Publish the next event to all."""
        self.published += 1
        await self.publisher.publish([("doc", self.published)], pad)

    async def have_all(self, who: Sequence[Subscriber]) -> None:
        """Wait until these have everything that was published."""
        for one in who:
            one.expect(self.published)
        try:
            async with asyncio.timeout(LIMIT_S):
                for one in who:
                    await one.reached.wait()
        except TimeoutError:
            pass
        late = [one.describe() for one in who if len(one.numbers) < self.published]
        if late:
            raise SystemExit(f"no result: {len(late)} have not all {self.published} events, one of them: {late[0]}")

    async def fill(self) -> None:
        """Publish more than waits for a connection that does not read."""
        for _ in range(LARGE_EVENTS):
            await self.publish(LARGE_PAD)
        await self.have_all(self.reading)

    async def delays(self, seconds: float) -> dict[str, object]:
        """Publish at a steady rate; give the delays of those who read, and how busy the server was."""
        loop = asyncio.get_running_loop()
        for one in self.reading:
            one.delays_ns.clear()
            one.is_timed = True
        used_s, began = cpu_s(self.target.pid), loop.time()
        for number in range(int(seconds * EVENTS_PER_S)):
            await asyncio.sleep(began + number / EVENTS_PER_S - loop.time())
            await self.publish(PAD)
        await self.have_all(self.reading)
        busy = (cpu_s(self.target.pid) - used_s) / (loop.time() - began)
        all_ns = sorted(delay for one in self.reading for delay in one.delays_ns)
        for one in self.reading:
            one.is_timed = False
        quantiles = {f"p{part}": all_ns[len(all_ns) * part // 100] / 1e6 for part in (50, 99)}
        return {"latency_ms": {**quantiles, "max": all_ns[-1] / 1e6}, "server_busy": busy}


async def one_round(crowd: Crowd, seconds: float) -> None:
    """Measure with all reading, then with some stalled, and let those read again."""
    everybody = [*crowd.reading, *crowd.stalling]
    await crowd.fill()
    await crowd.have_all(everybody)
    calm = await crowd.delays(seconds)
    await crowd.have_all(everybody)
    calm_kb = rss_kb(crowd.target.pid)
    crowd.runs[ALL_READ.name].append({**calm, "rss_mb": calm_kb / 1024, "growth_per_bound": 0.0, "caught_up_s": 0.0})

    back_before = taken_back(crowd.target.port)
    for one in crowd.stalling:
        one.transport.pause_reading()
    await crowd.fill()
    stalled = await crowd.delays(seconds)
    stalled_kb = rss_kb(crowd.target.pid)
    began = asyncio.get_running_loop().time()
    for one in crowd.stalling:
        one.transport.resume_reading()
    await crowd.have_all(crowd.stalling)
    took_s = asyncio.get_running_loop().time() - began
    back = taken_back(crowd.target.port) - back_before
    if back < len(crowd.stalling):
        raise SystemExit(f"no result: of {len(crowd.stalling)} that stalled the server took {back} back")
    bound_kb = len(crowd.stalling) * OUTBOX_MB * 1024
    crowd.runs[OURS.name].append(
        {
            **stalled,
            "rss_mb": stalled_kb / 1024,
            "growth_per_bound": (stalled_kb - calm_kb) / bound_kb,
            "caught_up_s": took_s,
        }
    )
    if not all(one.is_whole(range_to(crowd.published)) for one in everybody):
        raise SystemExit("no result: somebody got too many, too few or in another order")
    for name, runs in crowd.runs.items():
        print(f"    {name}: {runs[-1]}", flush=True)


def range_to(published: int) -> Sequence[int]:
    """Give the numbers that each client must have got."""
    return list(range(1, published + 1))


def taken_back(port: int) -> int:
    """Give how often the server has let somebody catch up who was slow."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.search(r'^signtusk_realtime_catch_ups_total\{reason="slow"\} (\d+)', text, re.MULTILINE)
    return 0 if found is None else int(found[1])


async def measure(target: Running, clients: int, stalled: int, rounds: int, seconds: float) -> Crowd:
    """Bring all in, and measure so many rounds."""
    publisher = await Publisher.open(target.port, ORGANIZATION)
    everybody = await connect_all(target.port, clients, ORGANIZATION, event_streams=True)
    for user, one in enumerate(everybody):
        if user % 2 == 0:
            one.subscribe()
    await asyncio.gather(*(one.is_subscribed for one in everybody))
    crowd = Crowd(target, publisher, everybody[stalled:], everybody[:stalled])
    gc.disable()  # a collection among so many objects is a pause of the client's own
    await crowd.delays(2.0)
    for _ in range(rounds):
        async with asyncio.timeout(4 * LIMIT_S + 2 * seconds):
            await one_round(crowd, seconds)
    for one in everybody:
        one.transport.abort()
    publisher.close()
    return crowd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--stalled", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    about = results.circumstances(" ".join(["python -m benchmarks.stalled", *sys.argv[1:]]))
    with running(OURS, None, "normal") as target:
        crowd = uvloop.run(measure(target, options.clients, options.stalled, options.rounds, options.seconds))
        command = target.command
    work = f"{options.clients} subscribers, {options.stalled} stall"
    rows = [results.Row(work, name, [command], runs) for name, runs in crowd.runs.items()]
    result = results.document(CLAIM, rows, about)
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
