"""Several nodes over one Valkey, as processes, and what each used.

Owns: starting and ending them, CPU by the nanosecond, what Valkey says of itself.   Not: clients (subscribers.py, crowd.py), claims (nodes.py).
Rule 1: Valkey keeps what it answers, as the guide asks of a server without a replica: append-only, an fsync before each answer.
Rule 2: nothing is pinned: with three nodes, a Valkey and a generator there are more processes than CPUs, and the kernel shares them out.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.servers import OURS, SOCKETIO, Running, Server, running
from tests.support.valkey import Valkey

KEEPING: Final = (("appendonly", "yes"), ("appendfsync", "always"), ("auto-aof-rewrite-percentage", "0"))
"""Without rewriting, for a rewrite is a second process that would be in nobody's figures."""


@dataclass(frozen=True, slots=True)
class Used:
    """What was used up to a moment: seconds of CPU of each node and of Valkey, and Valkey's own counts."""

    at: float
    nodes_s: tuple[float, ...]
    valkey_s: float
    counts: dict[str, float]

    def since(self, before: Used) -> Used:
        """Give what was used between two moments."""
        return Used(
            self.at - before.at,
            tuple(mine - theirs for mine, theirs in zip(self.nodes_s, before.nodes_s, strict=True)),
            self.valkey_s - before.valkey_s,
            {name: count - before.counts.get(name, 0.0) for name, count in self.counts.items()},
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes that accept connections. `valkey` is None where one node keeps its own log."""

    nodes: Sequence[Running]
    valkey: Valkey | None

    def used(self) -> Used:
        """Look at all processes."""
        valkey_s, counts = 0.0, dict[str, float]()
        if self.valkey is not None:
            valkey_s, counts = cpu_s(self.valkey.pid), info(self.valkey)
        return Used(time.monotonic(), tuple(cpu_s(node.pid) for node in self.nodes), valkey_s, counts)

    @property
    def commands(self) -> list[str]:
        """Return the nodes' commands as one would type them."""
        shown = [node.command for node in self.nodes]
        return shown if self.valkey is None else [command.replace(self.valkey.url, "redis://…") for command in shown]


def cpu_s(pid: int) -> float:
    """Give the CPU seconds that a process has used, all its threads, to the nanosecond: /proc counts in hundredths."""
    return time.clock_gettime((~pid << 3) | 2)  # Linux: the number of another process's CPU clock


def info(valkey: Valkey) -> dict[str, float]:
    """Give what is a number in Valkey's `INFO`, and how often and for how many microseconds it ran each command."""
    found: dict[str, float] = {}
    text = valkey.call("INFO", "all")
    assert isinstance(text, bytes)
    for line in text.decode().splitlines():
        name, _, value = line.partition(":")
        if name.startswith("cmdstat_"):
            fields = dict(field.split("=") for field in value.split(","))
            found[name] = float(fields["calls"])
            found[f"{name}_us"] = float(fields["usec"])
            continue
        with contextlib.suppress(ValueError):
            found[name] = float(value)
    return found


def channels(valkey: Valkey) -> int:
    """Count the channels that somebody hears."""
    found = 0
    for kind in ("CHANNELS", "SHARDCHANNELS"):
        named = valkey.call("PUBSUB", kind)
        assert isinstance(named, list)
        found += len(named)
    return found


def _over(valkey: Valkey) -> tuple[str, ...]:
    return ("--redis", valkey.url, "--redis-prefix", "bench")


def ours(valkey: Valkey, *options: str) -> Server:
    """Return our server as a node over a Valkey."""
    return replace(OURS, beside=lambda: contextlib.nullcontext((*_over(valkey), *options)))


def socketio(valkey: Valkey) -> Server:
    """Return python-socketio as a node over a Valkey."""
    return replace(
        SOCKETIO,
        command=lambda port, folder, durability: [*SOCKETIO.command(port, folder, durability), f"{valkey.url}/0"],
    )


@contextlib.contextmanager
def valkey_running() -> Iterator[Valkey]:
    """Run an empty Valkey, its file in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        valkey = Valkey(*KEEPING, folder=Path(folder)).start()
        try:
            yield valkey
        finally:
            valkey.stop()


@contextlib.contextmanager
def _beside_valkey() -> Iterator[tuple[str, ...]]:
    with valkey_running() as valkey:
        yield _over(valkey)


OURS_OVER_VALKEY: Final = replace(OURS, name="signtusk-realtime over Valkey", beside=_beside_valkey)
"""One node over a Valkey of its own, whose CPU is not in the node's figures."""


@contextlib.contextmanager
def fleet(server: Server, count: int, valkey: Valkey | None) -> Iterator[Fleet]:
    """Run so many nodes."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running(server, None, "full")) for _ in range(count)]
        yield Fleet(nodes, valkey)
