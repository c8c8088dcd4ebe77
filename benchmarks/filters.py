"""Many filters: what an event costs that matches ten subscriptions among a hundred thousand, beside the same among ten.

    .venv/bin/python -m benchmarks.filters [--connections 10000] [--rounds 3]

Owns: the claim that finding who wants an event costs what matches, not what is subscribed.   Not: fan-out to many who match (run.py).
Rule: both cases publish the same events to ten subscribers; each connection has ten subscriptions, nine of which match nothing.
"""

from __future__ import annotations

import argparse
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks import generator, results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures
from benchmarks.servers import HERE, OURS, Server, running

MATCHING: Final = 10
EACH: Final = 10
SECONDS: Final = "3"

_OTHERS: Final = ",".join(
    f'{{"type":"signing_updates","filters":{{"documentId":"other-{{i}}-{number}"}}}}' for number in range(1, EACH)
)
_SUBSCRIBE: Final = (
    '{"type":"subscribe","subscriptions":[{"type":"signing_updates","filters":{"documentId":"doc-{f}"}},'
    + _OTHERS
    + "]}"
)


def _subscribing(server: Server) -> Server:
    path = server.websocket[:2]
    dialogue = ("--await", '"connected"', "--say", _SUBSCRIBE, "--await", '"subscribed"')
    return replace(server, websocket=(*path, *dialogue))


MANY: Final = _subscribing(OURS)
FEW: Final = replace(MANY, name="the same among ten connections")

CLAIM: Final = Claim(
    name="filters",
    title="An event that matches ten subscriptions, among many with other filters",
    reference=FEW,
    columns=(
        Column("cpu_us_per_event", "server CPU µs per event"),
        Column("deliveries_per_s", "deliveries per second"),
        Column("server_busy", "server busy", "{:.2f}"),
    ),
    goals=(Goal("at most 2 × of that among ten", "cpu_us_per_event", 2, at_least=False, is_ratio=True),),
    works=lambda short: (),
)


def measure(server: Server, connections: int) -> Figures:
    """Publish to groups of ten connections, and give what it cost. Raises: NoResult."""
    options = (
        *("--connections", str(connections), "--filters", str(connections // MATCHING), "--timeout", "300"),
        *("--window", "16", "--duration", SECONDS),
    )
    with running(server, 0, "normal") as target:
        return generator.measure(target, (*server.generator_options("websocket", 0), *options), 1, 600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    generator.build()
    about = results.circumstances(" ".join(["python -m benchmarks.filters", *sys.argv[1:]]))
    work = f"{options.connections * EACH:,} subscriptions"
    rows = {server.name: results.Row(work, server.name) for server in (MANY, FEW)}
    for _ in range(options.rounds):
        for server, connections in ((MANY, options.connections), (FEW, MATCHING)):
            figures = measure(server, connections)
            rows[server.name].runs.append(figures)
            print(f"    {server.name}: {generator.figure(figures, 'cpu_us_per_event'):.0f} µs", flush=True)
    result = results.document(CLAIM, list(rows.values()), about)
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
