"""Growth: how costs rise from a size to four and sixteen times that, with the exponent of the curve.

    .venv/bin/python -m benchmarks.growth [--rounds 3] [curve …]

Owns: the sizes, the exponents.   Not: what each is measured by (claims, filters).
Rule 1: 1 is a cost that rises with the size, 0 one that does not; what is above 1 breaks somewhere.
Rule 2: the three sizes take turns in every round, each in a fresh process.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import resource
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks import filters, generator, results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures, figure
from benchmarks.servers import HERE, OURS, running

TIMES: Final = (1, 4, 16)


@dataclass(frozen=True, slots=True)
class Curve:
    """A cost against a size. `most`: the exponent that would be news."""

    name: str
    unit: str
    smallest: int
    most: float
    measure: Callable[[int], float]


_ROOMY: Final = replace(OURS, beside=lambda: contextlib.nullcontext(("--limits-connections", "20000")))


def _run(connections: int, *options: str, transport: str = "websocket") -> Figures:
    with running(_ROOMY, 0, "normal") as target:
        own = OURS.generator_options(transport, 0)
        sizes = ("--connections", str(connections), "--timeout", "300")
        return generator.measure(target, (*own, *sizes, *options), 1, 600)


def _fan_out(window: int) -> Callable[[int], float]:
    loop = ("--window", str(window), "--burst", "1", "--duration", "2")
    return lambda size: figure(_run(size, *loop), "cpu_us_per_event")


def _holding(name: str, *more: str) -> Callable[[int], float]:
    def measure(size: int) -> float:
        shared = tuple(option.replace("{size}", str(size)) for option in more)
        return size * figure(_run(size, "--hold", "1", "--warm-connections", "100", *shared), name)

    return measure


def _matching(size: int) -> float:
    return figure(filters.measure(filters.MANY, size), "cpu_us_per_event")


_EACH: Final = ("--organizations", "{size}", "--checks", "50")
CURVES: Final = (
    Curve("an event alone", "µs by subscribers", 300, 1.1, _fan_out(1)),
    Curve("an event among 64", "µs by subscribers", 300, 1.1, _fan_out(64)),
    Curve("an event that matches ten", "µs by connections, each with ten filters", 600, 0.2, _matching),
    Curve("memory, one organization", "KB by connections", 1000, 1.15, _holding("rss_kb_per_connection")),
    Curve("memory, one organization each", "KB by connections", 1000, 1.15, _holding("rss_kb_per_connection", *_EACH)),
    Curve("connecting", "µs by connections", 600, 1.1, _holding("connect_cpu_us")),
)

COLUMNS: Final = (
    Column("exponent", "exponent", "{:.2f}"),
    *(Column(f"cost_{times}", f"cost at {times} ×", "{:,.0f}") for times in TIMES),
    Column("smallest", "the smallest size"),
)


def exponent(costs: dict[int, list[float]]) -> float:
    """Give the exponent of the power that goes through the medians: the slope of a straight line through their logarithms."""
    points = [(math.log(times), math.log(statistics.median(found))) for times, found in costs.items()]
    return statistics.linear_regression([x for x, _ in points], [y for _, y in points]).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", help="a part of a curve's name; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator.build()
    about = results.circumstances(" ".join(["python -m benchmarks.growth", *sys.argv[1:]]))
    rows: list[results.Row] = []
    goals: list[Goal] = []
    for curve in CURVES:
        if options.curves and not any(part in curve.name for part in options.curves):
            continue
        costs: dict[int, list[float]] = {times: [] for times in TIMES}
        for _ in range(options.rounds):
            for times in TIMES:
                costs[times].append(curve.measure(times * curve.smallest))
        found = {f"cost_{times}": statistics.median(costs[times]) for times in TIMES}
        run: Figures = {"exponent": exponent(costs), **found, "smallest": curve.smallest}
        print(f"    {curve.name}: {run}", flush=True)
        rows.append(results.Row(f"{curve.name}, {curve.unit}", OURS.name, runs=[run]))
        goals.append(Goal(f"at most {curve.most:g}", "exponent", curve.most, at_least=False))
    claim = Claim(
        "growth", "Growth from a size to 16 times that", replace(OURS, name="–"), COLUMNS, (), lambda short: ()
    )
    result = results.document(claim, rows, about)
    result["goals"] = [
        judged
        for row, goal in zip(rows, goals, strict=True)
        for judged in results.goals(replace(claim, goals=(goal,)), [row])
    ]
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
