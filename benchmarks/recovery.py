"""What resuming costs: clients that missed ten events each, with and without many others in between.

    .venv/bin/python -m benchmarks.recovery [--clients 1000] [--missed 10] [--others 100000] [--rounds 3]

Owns: the server's CPU seconds from the moment connected clients send their cursor until each has what it missed.
Not: the cost of connecting (run.py, `memory`), how long a storm takes (storm.py).
Rule 1: a client that got an event too many, too few or out of order makes it no result.
Rule 2: the two cases take turns, each with a fresh server and an empty database, and with the settings that everybody has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures
from benchmarks.servers import HERE, OURS, Server, running
from benchmarks.subscribers import Publisher, Subscriber, batches, connect_all, cpu_s

ORGANIZATION: Final = "org-recovery"
NONE: Final = replace(OURS, name="the same, none in between")
PAD: Final = 100
LIMIT_S: Final = 300.0

ONE, EACH = "all follow one document", "each follows a document"
COLD = "each follows a document, nobody stayed"
"""Memory has forgotten the log: who comes back first lets it be read."""
FORGOTTEN_S: Final = 20.0
"""Longer than a node follows a log that nobody subscribes to."""

CLAIM: Final = Claim(
    name="recovery",
    title="Server CPU of resuming clients that missed 10 events each, 100 000 others in between",
    reference=NONE,
    columns=(
        Column("resume_cpu_us", "server CPU µs per client"),
        Column("resumed_s", "seconds until all had everything", "{:.2f}"),
        Column("skipped", "other events in between"),
    ),
    goals=(Goal("at most 3 × of resuming with none in between", "resume_cpu_us", 3, at_least=False, is_ratio=True),),
    works=lambda short: (),
)


def document_of(work: str, user: int) -> str:
    """Give the document that a client follows."""
    return "doc-all" if work == ONE else f"doc-{user}"


def missed_events(work: str, clients: int, missed: int, others: int) -> list[tuple[str, int]]:
    """Give what is appended while the clients are away: theirs, evenly among the others."""
    events: list[tuple[str, int]] = []
    documents = ["doc-all"] if work == ONE else [f"doc-{user}" for user in range(clients)]
    for number in range(missed):
        events += [(document, number) for document in documents]
        events += [(f"other-{other % 1000}", 0) for other in range(others // missed)]
    return events


async def measure(port: int, pid: int, work: str, clients: int, missed: int, others: int) -> Figures:
    """Let all subscribe and leave (one stays, where the log shall be in memory), append, and let them come back."""
    publisher = await Publisher.open(port, ORGANIZATION)
    # A log that has begun: cursors name an event, as in life.
    await publisher.publish([("other-0", 0)], PAD)
    first = await connect_all(port, clients, ORGANIZATION)
    for user, one in enumerate(first):
        one.subscribe(document_of(work, user))
    await asyncio.gather(*(one.is_subscribed for one in first))
    for one in first[1:]:
        one.transport.abort()
    if work == COLD:
        first[0].transport.abort()
        await asyncio.sleep(FORGOTTEN_S)
    for batch in batches(missed_events(work, clients, missed, others)):
        await publisher.publish(batch, PAD)
    publisher.close()

    back = await connect_all(port, clients, ORGANIZATION)
    await settled(pid)
    before, began = cpu_s(pid), asyncio.get_running_loop().time()
    for user, (one, gone) in enumerate(zip(back, first, strict=True)):
        one.expect(missed)
        one.subscribe(document_of(work, user), gone.cursor)
    await asyncio.gather(*(resumed(one) for one in back))
    took_s = asyncio.get_running_loop().time() - began
    await settled(pid)
    used_s = cpu_s(pid) - before
    if not all(one.is_whole(range_of(missed)) for one in back):
        raise SystemExit("no result: a client got too many, too few or in another order")
    for one in (first[0], *back):
        one.transport.abort()
    return {"resume_cpu_us": used_s * 1e6 / clients, "resumed_s": took_s, "skipped": others}


def range_of(missed: int) -> Sequence[int]:
    """Give the numbers that each client must get."""
    return list(range(missed))


async def resumed(one: Subscriber) -> None:
    """Wait until a client has everything."""
    await one.is_subscribed
    await one.reached.wait()


async def settled(pid: int) -> None:
    """Wait until the server has nothing to do."""
    last = -1.0
    while (now := cpu_s(pid)) != last:
        last = now
        await asyncio.sleep(0.3)


def one_run(work: str, clients: int, missed: int, others: int, row: results.Row) -> None:
    """Measure once, with a server of its own."""
    cpus = sorted(os.sched_getaffinity(0))
    with running(OURS, cpus[0] if len(cpus) > 1 else None, "normal") as target:
        if not row.commands:
            row.commands = [target.command]

        async def limited() -> Figures:
            async with asyncio.timeout(LIMIT_S):
                return await measure(target.port, target.pid, work, clients, missed, others)

        row.runs.append(uvloop.run(limited()))
    print(f"    {row.work}, {row.server}: {row.values('resume_cpu_us')[-1]:,.0f} µs per client", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--missed", type=int, default=10)
    parser.add_argument("--others", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    about = results.circumstances(" ".join(["python -m benchmarks.recovery", *sys.argv[1:]]))
    rows: dict[tuple[str, str], results.Row] = {}
    cases: tuple[tuple[Server, int], ...] = ((NONE, 0), (OURS, options.others))
    for work in (ONE, EACH, COLD):
        for server, _ in cases:
            rows[work, server.name] = results.Row(work, server.name)
    if len(cpus) > 1:
        os.sched_setaffinity(0, {cpus[1]})
    for _ in range(options.rounds):
        for work in (ONE, EACH, COLD):
            for server, others in cases:
                one_run(work, options.clients, options.missed, others, rows[work, server.name])
    result = results.document(CLAIM, list(rows.values()), about)
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
