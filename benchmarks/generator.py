"""The load generator as a function: one run, its figures.

Owns: building the C programs, the generator's command line, reading its answer.   Not: servers, medians.
Rule: what is not a sound run is no result; it is raised as NoResult, never averaged in.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence

from benchmarks.servers import BUILD, HERE, Running, pinned

Figures = Mapping[str, object]


class NoResult(Exception):
    """The run lost, repeated or refused something, or did not end in time."""


def build() -> None:
    """Compile the generator and the floor; raises CalledProcessError with the compiler's words on stderr."""
    subprocess.run(["make", "--silent", "-C", str(HERE / "load")], check=True, timeout=120)


def parse(output: str) -> Figures:
    """Read the generator's line. Raises: NoResult if it is none, or says that the run was not sound."""
    try:
        figures = json.loads(output)
    except ValueError as error:
        raise NoResult(f"not a line of figures: {output[:200]!r}") from error
    if not isinstance(figures, dict):
        raise NoResult(f"not figures: {output[:200]!r}")
    if figures.get("sound") is not True:
        troubles = {name: figures.get(name) for name in ("missing", "extra", "garbled", "dead")}
        raise NoResult(f"the run was not sound: {troubles}")
    return figures


def figure(figures: Figures, name: str) -> float:
    """Return one figure; `latency_us.p99` reaches into a distribution."""
    value: object = figures
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise KeyError(name)
        value = value[part]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, not a number")
    return float(value)


def command(target: Running, options: Sequence[str], cpu: int | None) -> list[str]:
    """Return the generator's command line against a running server."""
    where = ["--port", str(target.port), "--pids", str(target.pid)]
    if target.server.publishes_apart:
        where += ["--publish-port", str(target.port + 1)]
    return pinned([str(BUILD / "load"), *where, *options], cpu)


def measure(target: Running, options: Sequence[str], cpu: int | None, limit_s: float) -> Figures:
    """Run the generator once. Raises: NoResult."""
    try:
        done = subprocess.run(
            command(target, options, cpu), capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NoResult(f"no answer from the generator within {limit_s:.0f} s") from error
    if not done.stdout:
        raise NoResult(done.stderr.strip()[-600:] or f"the generator ended with {done.returncode}")
    return parse(done.stdout)
