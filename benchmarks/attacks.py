"""Attacks: what other users notice of them, and what they cost in memory.

    .venv/bin/python -m benchmarks.attacks [--rounds 3] [attack …]

Owns: the delay of another user's events while one attack after the other is under way, beside the same before it.
Not: whether each attack meets its refusal (tests/e2e/test_attacks.py), volume from many machines.
Rule 1: whoever attacks is a process of its own, and leaves the processors to the other two (the kernel's idle class) as one on another machine would; it
has what they leave over.
Rule 2: the other user's events all arrive, or it is no result.
Rule 3: one row is no attack: processes that only compute, one for each processor. What that costs the other user is the machine's; an attack
that keeps a processor busy, as most do, while the service keeps another busy, costs it too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures
from benchmarks.servers import HERE, OURS, running
from tests.support.attacks import LASTING, QUICK, Attack, Bystander, Resident, quantile

CALM: Final = replace(OURS, name="the same, not attacked")
CALM_EVENTS: Final = 300
PAUSE_S: Final = 0.005
"""Between two events of the other user: it publishes, and does not flood."""
LIMIT_S: Final = 120.0
LEAST_S: Final = 6.0


async def _compute(_port: int, size: int) -> None:
    """Keep every processor busy, and ask nothing of the service."""
    loop, processors = asyncio.get_running_loop(), os.cpu_count() or 1
    with ProcessPoolExecutor(processors) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, _count_up, size) for _ in range(processors)))


def _count_up(seconds: int) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        sum(range(10_000))


NEIGHBOURS: Final = Attack("no attack, every processor busy", _compute, 1, 10, "seconds of computing")
ATTACKS: Final = (NEIGHBOURS, *QUICK, *LASTING)

CLAIM: Final = Claim(
    name="attacks",
    title="Another user's events, published to read, while one client attacks",
    reference=CALM,
    columns=(
        Column("p99_ms", "p99 ms", "{:.1f}"),
        Column("p50_ms", "p50 ms", "{:.1f}"),
        Column("events", "events"),
        Column("growth_mib", "growth of RSS, MiB", "{:.1f}"),
    ),
    goals=(
        Goal("p99 at most 2 × of that before", "p99_ms", 2, at_least=False, is_ratio=True),
        Goal("RSS grows by less than 20 MiB", "growth_mib", 20, at_least=False),
    ),
    works=lambda short: (),
)


def _figures(delays: list[float], growth: int) -> Figures:
    return {
        "p50_ms": quantile(delays, 0.5) * 1000,
        "p99_ms": quantile(delays, 0.99) * 1000,
        "events": len(delays),
        "growth_mib": growth / 2**20,
    }


async def _attacking(attack: Attack, port: int) -> None:
    """Let a process of its own attack, and wait for its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.attacks", "--attack", attack.name, "--port", str(port), cwd=HERE.parent
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            if await process.wait():
                raise SystemExit(f"no result: {attack.name} did not meet its refusal")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def measure(attack: Attack, port: int, pid: int) -> tuple[Figures, Figures]:
    """Give the figures of a calm while, and of one under attack."""
    async with Bystander(port) as bystander:
        for _ in range(50):
            await bystander.event()
        calm: list[float] = []
        for _ in range(CALM_EVENTS):
            calm.append(await bystander.event())
            await asyncio.sleep(PAUSE_S)
        resident = Resident(pid)
        before = resident.begin()
        attacked = await bystander.during(_attacking(attack, port), pause_s=PAUSE_S)
        return _figures(calm, 0), _figures(attacked, max(resident.highest() - before, 0))


def _attack(name: str, port: int) -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    [attack] = [one for one in ATTACKS if one.name == name]
    asyncio.run(_begun(attack, port))


async def _begun(attack: Attack, port: int) -> None:
    """Attack again and again, so that a hundredth of the other user's events are several."""
    until = time.perf_counter() + LEAST_S
    await attack.begin(port, attack.long)
    while time.perf_counter() < until:
        await attack.begin(port, attack.long)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", help="a part of an attack's name; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        _attack(options.attack, options.port)
        return
    about = results.circumstances(" ".join(["python -m benchmarks.attacks", *sys.argv[1:]]))
    rows: list[results.Row] = []
    for attack in ATTACKS:
        if options.attacks and not any(part in attack.name for part in options.attacks):
            continue
        ours = results.Row(f"{attack.name}, {attack.long:,} {attack.what}", OURS.name)
        calm = results.Row(ours.work, CALM.name)
        for _ in range(options.rounds):
            with running(OURS, None, "normal") as target:
                before, during = asyncio.run(measure(attack, target.port, target.pid))
            calm.runs.append(before)
            ours.runs.append(during)
        print(f"    {ours.work}: p99 {calm.median('p99_ms'):.1f} -> {ours.median('p99_ms'):.1f} ms", flush=True)
        rows += [ours, calm]
    result = results.document(CLAIM, rows, about)
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
