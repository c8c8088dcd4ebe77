"""Run claims: `python -m benchmarks.run [--short] [--servers NAME,…] [--rounds N] [--results FOLDER] [claim …]`.

Owns: the order of runs, the command line.   Not: what is measured (claims), how (generator, servers).
Rule 1: the contestants take turns in every round, each in a fresh process, so that a slow minute hits all of them.
Rule 2: every wait has a limit, and what was started is ended, also on SIGTERM and Ctrl-C.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks import generator, results
from benchmarks.claims import CLAIMS, Claim, Work
from benchmarks.fleet import OURS_OVER_VALKEY
from benchmarks.generator import Figures, NoResult, figure
from benchmarks.peers.contestants import (
    BUN,
    NATS,
    NCHAN,
    SOCKETIO_NODE,
    SSE_STARLETTE,
    STARLETTE,
    UWEBSOCKETS,
    WEBSOCKETS,
    WS,
)
from benchmarks.servers import FLOOR, FLOOR_JOINED, HERE, OURS, SOCKETIO, NotStarted, Server, running, shown

SERVER_CPU, GENERATOR_CPU = 0, 1
SERVERS = {
    "ours": OURS,
    "ours-over-valkey": OURS_OVER_VALKEY,
    "floor": FLOOR,
    "floor-joined": FLOOR_JOINED,
    "python-socketio": SOCKETIO,
    "nchan": NCHAN,
    "nats": NATS,
    "uwebsockets": UWEBSOCKETS,
    "bun": BUN,
    "ws": WS,
    "socket.io": SOCKETIO_NODE,
    "websockets": WEBSOCKETS,
    "starlette": STARLETTE,
    "sse-starlette": SSE_STARLETTE,
}
FEW = ("ours", "ours-over-valkey", "floor", "floor-joined", "python-socketio")
"""Those of `make bench`, which needs nothing but Python and a C compiler."""
# Used for the peers when ours was not run before them: about what one of our messages takes.
MESSAGE_BYTES = 480


@dataclass(slots=True)
class Turn:
    """One work in progress: what the contestants of it share."""

    work: Work
    message_bytes: int = MESSAGE_BYTES
    rates: dict[str, float] = field(default_factory=dict)  # events per second, by server

    def cpus(self) -> tuple[int | None, int | None]:
        """Return the server's and the generator's CPU; None where the scheduler decides."""
        return (SERVER_CPU, GENERATOR_CPU) if self.work.pinned else (None, None)

    def rate(self, server: Server) -> float | None:
        """Return the rate for a server, once it is known. The floor is offered what ours is."""
        return self.rates.get(OURS.name if server is FLOOR and OURS.name in self.rates else server.name)


def _measure(turn: Turn, server: Server, options: Sequence[str], row: results.Row | None) -> Figures:
    server_cpu, generator_cpu = turn.cpus()
    work = turn.work
    with running(server, server_cpu, work.durability) as target:
        reaching = server.generator_options(work.transport, turn.message_bytes, subscribes=work.subscribes)
        all_options = (*reaching, *options)
        if row is not None and not row.commands:
            row.commands = [target.command, shown(generator.command(target, all_options, generator_cpu))]
        return generator.measure(target, all_options, generator_cpu, work.limit_s)


def _find_rate(turn: Turn, server: Server) -> None:
    """Measure what the server can do, and keep the events per second that are the wanted share of it."""
    share = turn.work.load_share
    if share is None or turn.rate(server) is not None:
        return
    options = ("--connections", str(turn.work.connections), "--duration", "2")
    capacity = figure(_measure(turn, server, options, None), "deliveries_per_cpu_s")
    turn.rates[server.name] = share * capacity / turn.work.connections


def one_run(turn: Turn, server: Server, row: results.Row) -> None:
    """Add one run of the server to its row: figures, or why there are none."""
    try:
        _find_rate(turn, server)
        rate = turn.rate(server)
        paced = () if rate is None else ("--rate", f"{rate:.4f}")
        figures = _measure(turn, server, (*turn.work.options, *paced), row)
    except (NoResult, NotStarted) as error:
        row.failures.append(str(error))
        print(f"    {server.name}: no result: {error}", file=sys.stderr, flush=True)
        return
    row.runs.append(figures)
    if server is OURS and "message_bytes" in figures:
        turn.message_bytes = round(figure(figures, "message_bytes"))


def run_claim(claim: Claim, servers: Sequence[Server], rounds: int, *, short: bool) -> list[results.Row]:
    """Run all works of a claim; return a row for each work and server."""
    rows: list[results.Row] = []
    main = claim.columns[0]
    for work in claim.works(short):
        turn = Turn(work)
        contestants = [server for server in work.servers if server in servers]
        mine = {server.name: results.Row(work.name, server.name) for server in contestants}
        for number in range(rounds):
            for server in contestants:
                row = mine[server.name]
                began = time.monotonic()
                one_run(turn, server, row)
                if len(row.runs) + len(row.failures) == number + 1 and row.runs:
                    value = main.form.format(row.values(main.figure)[-1])
                    took = time.monotonic() - began
                    print(f"    {work.name}, {server.name}: {value} {main.heading} ({took:.1f} s)", flush=True)
        rows.extend(mine.values())
    return rows


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [claim.name for claim in CLAIMS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measure claims beside peers.")
    parser.add_argument("claims", nargs="*", metavar="claim", help=f"any of {', '.join(names)}; default: all")
    parser.add_argument("--short", action="store_true", help="fewer sizes, rounds and seconds: under 10 minutes")
    parser.add_argument("--rounds", type=int, help="runs per work and server")
    parser.add_argument("--servers", default=",".join(FEW), help=f"any of {', '.join(SERVERS)}, or all")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results; with --short its folder short")
    parsed = parser.parse_args(arguments)
    for name in parsed.claims:
        if name not in names:
            parser.error(f"no claim {name!r}; there are {', '.join(names)}")
    if parsed.servers == "all":
        parsed.servers = ",".join(SERVERS)
    for name in parsed.servers.split(","):
        if name not in SERVERS:
            parser.error(f"no server {name!r}; there are {', '.join(SERVERS)}")
    if parsed.rounds is not None and parsed.rounds < 1:
        parser.error("--rounds must be at least 1")
    return parsed


def _end_on_signal(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _prepare() -> None:
    signal.signal(signal.SIGTERM, _end_on_signal)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for tool in ("taskset", "make"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is needed to measure, and is not here")
    generator.build()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the claims that were asked for; 1 if any row has no result."""
    parsed = _arguments(arguments)
    _prepare()
    folder = parsed.results or HERE / "results" / ("short" if parsed.short else "")
    servers = [SERVERS[name] for name in parsed.servers.split(",")]
    command = " ".join(["python -m benchmarks.run", *(sys.argv[1:] if arguments is None else arguments)])
    complete = True
    for claim in CLAIMS:
        if parsed.claims and claim.name not in parsed.claims:
            continue
        print(f"{claim.name}: {claim.title}", flush=True)
        about = results.circumstances(command)
        rows = run_claim(claim, servers, parsed.rounds or claim.rounds[parsed.short], short=parsed.short)
        result = results.document(claim, rows, about)
        results.write(folder, result)
        print(f"\n{results.markdown(result)}\n", flush=True)
        complete = complete and all(row.runs for row in rows)
    return 0 if complete else 1


if __name__ == "__main__":
    raise SystemExit(main())
