"""Several nodes: what an event costs that crosses from one to another, what nodes add, and what each pays for the organizations it serves.

    .venv/bin/python -m benchmarks.nodes [--short] [latency throughput organizations]

Owns: the cases, the contestants, the three tables.   Not: the work (crossing.py, organizations.py), the processes (fleet.py).
Rule 1: python-socketio with its Redis manager does the same work in the same run, over a Valkey of its own that is no other.
Rule 2: CPU seconds per event and per delivery are the figures to trust. More processes run here than there are CPUs, so events *per second* say
what this machine does, not what nodes with CPUs of their own would do.
Rule 3: contestants take turns in every round, each with fresh processes and nothing stored.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.crossing import PAD, costs, delays
from benchmarks.fleet import Fleet, fleet, ours, socketio, valkey_running
from benchmarks.generator import Figures, NoResult
from benchmarks.organizations import HEARTBEAT_S, Crowd, grow
from benchmarks.servers import HERE, OURS, SOCKETIO, NotStarted, Running, Server
from tests.support.valkey import Valkey

ONE_NODE: Final = replace(OURS, name="the same, one node")
EMBEDDED: Final = replace(OURS, name="one node, embedded engine")
PEER: Final = replace(SOCKETIO, name="python-socketio")
PEER_ONE_NODE: Final = replace(SOCKETIO, name="python-socketio, one node")

LATENCY: Final = Claim(
    name="nodes",
    title="Published on one node, delivered to clients of another",
    reference=ONE_NODE,
    columns=(
        Column("latency_ms.p50", "p50 ms", "{:.2f}"),
        Column("latency_ms.p99", "p99 ms", "{:.2f}"),
        Column("latency_ms.max", "longest, ms", "{:.1f}"),
        Column("busiest", "busiest process", "{:.2f}"),
        Column("message_bytes", "bytes per message"),
    ),
    goals=(Goal("p50 at most 1.5 × of one node's", "latency_ms.p50", 1.5, at_least=False, is_ratio=True),),
    works=lambda short: (),
)
THROUGHPUT: Final = Claim(
    name="nodes-throughput",
    title="Events by all nodes to clients of all nodes, eight on their way",
    reference=PEER,
    columns=(
        Column("cpu_us_per_delivery", "CPU µs per delivery, nodes and Valkey", "{:.1f}"),
        Column("nodes_us_per_event", "CPU µs per event, nodes"),
        Column("valkey_us_per_event", "CPU µs per event, Valkey"),
        Column("deliveries_per_s", "deliveries per second, on these CPUs"),
        Column("valkey_in_bytes_per_event", "bytes into Valkey per event"),
        Column("valkey_out_bytes_per_event", "bytes out of it"),
        Column("valkey_bytes_per_event", "bytes kept in it"),
        Column("generator_busy", "generator busy", "{:.2f}"),
        Column("message_bytes", "bytes per message"),
    ),
    goals=(),
    works=lambda short: (),
)
ORGANIZATIONS: Final = Claim(
    name="nodes-organizations",
    title="What a node costs by the organizations it serves, and the nodes that serve them too",
    reference=OURS,
    columns=(
        Column("idle_ms_per_s", "CPU ms per second, a quiet node"),
        Column("no_clients_ms_per_s", "a quiet node that has no clients yet"),
        Column("valkey_idle_ms_per_s", "Valkey, all quiet"),
        Column("commands_per_s", "commands per second, Valkey"),
        Column("rss_mb", "RSS of a node, MB"),
        Column("valkey_mb", "memory of Valkey, MB", "{:.1f}"),
        Column("channels", "channels"),
        Column("publisher_us_per_event", "CPU µs per event, node that publishes"),
        Column("other_us_per_event", "other node that delivers it"),
        Column("valkey_us_per_event", "Valkey"),
        Column("connect_us", "node, per connection"),
        Column("valkey_connect_us", "Valkey, per connection"),
    ),
    goals=(),
    works=lambda short: (),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done."""

    rounds: int
    delay_s: float
    cost_s: float
    clients: int
    rate: int
    clients_in_all: int
    connections: int
    organizations: tuple[int, ...]


FULL: Final = Sizes(2, 8, 2.5, 50, 40, 600, 10_000, (10, 1000, 10_000))
SHORT: Final = Sizes(1, 3, 1.5, 50, 40, 300, 1000, (10, 1000))
NODES: Final = (1, 2, 3)


class Rows:
    """The rows of a claim, as they come; a run that failed is one of its row's failures."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], results.Row] = {}

    @property
    def all(self) -> list[results.Row]:
        return list(self._rows.values())

    def add(self, work: str, server: str, measure: Callable[[results.Row], Figures]) -> Figures | None:
        """Measure once."""
        row = self._rows.setdefault((work, server), results.Row(work, server))
        try:
            figures = measure(row)
        except (NoResult, NotStarted, OSError, RuntimeError) as error:
            row.failures.append(str(error))
            print(f"    {work}, {server}: no result: {error}", flush=True)
            return None
        row.runs.append(figures)
        print(f"    {work}, {server}: {figures}", flush=True)
        return figures


@contextlib.contextmanager
def contestant(server: Server, count: int) -> Iterator[Fleet]:
    """Run nodes of a contestant, with a Valkey of their own where they share one."""
    if server is EMBEDDED:
        with fleet(server, 1, None) as run:
            yield run
        return
    make = ours if server.has_organizations else socketio
    with valkey_running() as valkey, fleet(make(valkey), count, valkey) as run:
        yield run


class Padding:
    """What a peer's events are made longer by, so that its messages are as long as ours."""

    def __init__(self) -> None:
        self._ours: float | None = None

    def of(self, server: Server) -> int:
        if server.has_organizations or self._ours is None:
            return PAD
        return PAD + int(self._ours - self._PEER_BYTES)

    def learn(self, server: Server, figures: Figures | None) -> None:
        length = None if figures is None else figures.get("message_bytes")
        if server.has_organizations and isinstance(length, int | float):
            self._ours = length

    _PEER_BYTES = PAD + 70
    """python-socketio's message with `PAD`."""


def measure_latency(sizes: Sizes) -> list[results.Row]:
    """Measure how late events are that cross, and that do not."""
    rows, padding = Rows(), Padding()
    work = f"{sizes.clients} subscribers, {sizes.rate} events a second"
    for _ in range(sizes.rounds):
        for server, nodes in ((OURS, 2), (ONE_NODE, 1), (EMBEDDED, 1), (PEER, 2), (PEER_ONE_NODE, 1)):
            measure = partial(_one_delay, sizes, server, nodes, padding.of(server))
            padding.learn(server, rows.add(work, server.name, measure))
    return rows.all


def _one_delay(sizes: Sizes, server: Server, nodes: int, pad: int, row: results.Row) -> Figures:
    with contestant(server, nodes) as run:
        row.commands = row.commands or run.commands
        return uvloop.run(
            delays(
                run,
                is_ours=server.has_organizations,
                pad=pad,
                clients=sizes.clients,
                on=nodes - 1,
                by=0,
                rate=sizes.rate,
                seconds=sizes.delay_s,
            )
        )


def measure_throughput(sizes: Sizes) -> list[results.Row]:
    """Measure what events cost with one node or more."""
    rows, padding = Rows(), Padding()
    each = sizes.clients_in_all // len(NODES)
    cases = [
        *((f"{sizes.clients_in_all} subscribers, {_nodes(count)}", sizes.clients_in_all, count) for count in NODES),
        *((f"{each} subscribers a node, {_nodes(count)}", each * count, count) for count in NODES[:-1]),
    ]
    for _ in range(sizes.rounds):
        for work, clients, count in cases:
            for server in (OURS, EMBEDDED, PEER) if count == 1 else (OURS, PEER):
                measure = partial(_one_cost, sizes, server, clients, count, padding.of(server))
                padding.learn(server, rows.add(work, server.name, measure))
    return rows.all


def _one_cost(sizes: Sizes, server: Server, clients: int, nodes: int, pad: int, row: results.Row) -> Figures:
    with contestant(server, nodes) as run:
        row.commands = row.commands or run.commands
        return uvloop.run(costs(run, is_ours=server.has_organizations, pad=pad, clients=clients, seconds=sizes.cost_s))


def measure_organizations(sizes: Sizes) -> list[results.Row]:
    """Measure what nodes cost by organizations. Nodes and their clients come one after the other to one Valkey."""
    rows = Rows()
    for organizations in sizes.organizations:
        with contextlib.ExitStack() as stack:
            valkey = stack.enter_context(valkey_running())
            crowd = Crowd(sizes.connections, organizations)
            stack.callback(crowd.leave)
            nodes: list[Running] = []
            for count in NODES:
                work = f"{organizations:,} organizations, {_nodes(count)}"
                measure = partial(_one_growth, sizes, stack, nodes, valkey, crowd)
                if rows.add(work, OURS.name, measure) is None:
                    break
    return rows.all


def _one_growth(
    sizes: Sizes, stack: contextlib.ExitStack, nodes: list[Running], valkey: Valkey, crowd: Crowd, row: results.Row
) -> Figures:
    heartbeat, room = str(int(HEARTBEAT_S * 1000)), str(sizes.connections + 1000)
    server = ours(valkey, "--heartbeat-interval", heartbeat, "--limits-connections", room)
    nodes += stack.enter_context(fleet(server, 1, valkey)).nodes
    run = Fleet(nodes, valkey)
    row.commands = run.commands
    return grow(run, crowd)


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


PARTS: Final[dict[str, tuple[Claim, Callable[[Sizes], list[results.Row]]]]] = {
    "latency": (LATENCY, measure_latency),
    "throughput": (THROUGHPUT, measure_throughput),
    "organizations": (ORGANIZATIONS, measure_organizations),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], help="default: all")
    parser.add_argument("--short", action="store_true", help="fewer and smaller; results go to results/short/")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    folder: Path = options.results or HERE / "results" / ("short" if options.short else "")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sizes = SHORT if options.short else FULL
    for part, (claim, measure) in PARTS.items():
        if options.parts and part not in options.parts:
            continue
        about = results.circumstances(" ".join(["python -m benchmarks.nodes", *sys.argv[1:]]))
        began = time.monotonic()
        print(f"{claim.name}, load average {os.getloadavg()[0]:.1f}", flush=True)
        result = results.document(claim, measure(sizes), about)
        results.write(folder, result)
        print(f"\n{results.markdown(result)}\n\n{claim.name} took {time.monotonic() - began:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
