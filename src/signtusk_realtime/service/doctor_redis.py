"""What a Redis or Valkey server's answers mean for who keeps his logs there.

Owns: versions, durability, memory, the clock, a Cluster's shards.   Not: asking (doctor.py).
Rule: no I/O and no clock: an answer that is a refusal is a check that could not be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct

Reply: TypeAlias = "bytes | int | Exception | list[Reply] | None"
Level = Literal["ok", "warn", "fail"]

LEAST_REDIS: Final = (7, 0)
LEAST_VALKEY: Final = (8, 0)
SLOTS: Final = 16_384
FULL: Final = 0.8
CLOCK_WARN_S: Final = 0.5
CLOCK_FAIL_S: Final = 5.0
SLOW_S: Final = 0.005


class Finding(Struct, frozen=True):
    """One check."""

    level: Level
    check: str
    detail: str


def ok(check: str, detail: str) -> Finding:
    """All is well."""
    return Finding("ok", check, detail)


def warn(check: str, detail: str) -> Finding:
    """It works, and could be better or be told better."""
    return Finding("warn", check, detail)


def fail(check: str, detail: str) -> Finding:
    """It must not be used so."""
    return Finding("fail", check, detail)


def check_server(
    where: str, *, info: Reply, append_only: Reply, clock: Reply, now_s: float, round_trip_s: float
) -> Iterator[Finding]:
    """Judge one primary by INFO, `CONFIG GET append*` and TIME, which was asked at `now_s`."""
    if not isinstance(info, bytes):
        yield fail(where, f"does not answer INFO: {_said(info)}")
        return
    facts = _facts(info)
    yield _version(where, facts)
    if facts.get("role") != "master":
        yield fail(f"{where} role", "a replica; commits need the primary")
        return
    yield _durability(where, facts, append_only)
    policy = facts.get("maxmemory_policy", "")
    if policy == "noeviction":
        yield ok(f"{where} eviction", "noeviction")
    else:
        yield fail(
            f"{where} eviction", f"maxmemory-policy is {policy or 'unknown'}: events would vanish; set noeviction"
        )
    most, used = int(facts.get("maxmemory", 0)), int(facts.get("used_memory", 0))
    if most and used > FULL * most:
        yield warn(f"{where} memory", f"{used >> 20} of {most >> 20} MiB: publications are refused when it is full")
    else:
        yield ok(f"{where} memory", f"{used >> 20} MiB used" + (f" of {most >> 20}" if most else ""))
    yield _clock(where, clock, now_s)
    told = f"{1000 * round_trip_s:.2f} ms"
    slow = warn(f"{where} round trip", f"{told}: each commit waits for at least one")
    yield slow if round_trip_s > SLOW_S else ok(f"{where} round trip", told)


def check_cluster(where: str, info: Reply, nodes: Reply) -> Iterator[Finding]:
    """Judge a Cluster by CLUSTER INFO and CLUSTER NODES; a server that is in none gives no finding."""
    if not isinstance(info, bytes) or not isinstance(nodes, bytes):
        return
    facts = _facts(info)
    assigned, good = int(facts.get("cluster_slots_assigned", 0)), int(facts.get("cluster_slots_ok", 0))
    if facts.get("cluster_state") == "ok" and assigned == good == SLOTS:
        yield ok(f"{where} cluster", f"ok, {facts.get('cluster_known_nodes')} nodes")
    else:
        yield fail(f"{where} cluster", f"state {facts.get('cluster_state')}, {good} of {SLOTS} slots are served")
    replicas: dict[str, int] = {}
    names: dict[str, str] = {}
    for node in _nodes(nodes):
        if _is_primary(node):
            names[node[0]] = _address(node)
        elif not _has_failed(node):
            replicas[node[3]] = replicas.get(node[3], 0) + 1
    for node_id, address in names.items():
        count = replicas.get(node_id, 0)
        if count:
            yield ok(f"{address} replicas", f"{count}")
        else:
            yield fail(f"{address} replicas", "none: when this primary fails, its organizations stand still")


def primaries(nodes: Reply) -> list[str]:
    """Give the addresses of the primaries that serve slots; none if there is no Cluster."""
    return [_address(node) for node in _nodes(nodes) if _is_primary(node)] if isinstance(nodes, bytes) else []


def _version(where: str, facts: dict[str, str]) -> Finding:
    is_valkey = "valkey_version" in facts
    name, least = ("Valkey", LEAST_VALKEY) if is_valkey else ("Redis", LEAST_REDIS)
    version = facts.get("valkey_version" if is_valkey else "redis_version", "0.0")
    told = f"{name} {version}"
    if tuple(int(part) for part in version.split(".")[:2]) < least:
        return fail(f"{where} version", f"{told}; {name} {least[0]}.{least[1]} or newer is needed")
    return ok(f"{where} version", told)


def _durability(where: str, facts: dict[str, str], append_only: Reply) -> Finding:
    replicas = int(facts.get("connected_slaves", 0))
    if replicas:
        return ok(f"{where} durability", f"{replicas} replicas confirm each commit")
    if not isinstance(append_only, list):
        return warn(
            f"{where} durability", f"no replica, and its append-only file cannot be asked for: {_said(append_only)}"
        )
    words = [word.decode() for word in append_only if isinstance(word, bytes)]
    options = dict(zip(words[::2], words[1::2], strict=False))
    if options.get("appendonly") != "yes":
        return fail(f"{where} durability", "neither a replica nor an append-only file: a crash loses what was answered")
    if options.get("appendfsync") != "always":
        return warn(
            f"{where} durability", "no replica, and the file is not written through: a power cut may lose a second"
        )
    return ok(f"{where} durability", "append-only file, written through; no replica")


def _clock(where: str, clock: Reply, now_s: float) -> Finding:
    match clock:
        case [bytes(seconds), bytes(microseconds)]:
            off_s = int(seconds) + int(microseconds) / 1e6 - now_s
        case _:
            return warn(f"{where} clock", f"cannot be asked for: {_said(clock)}")
    told = f"{1000 * off_s:+.0f} ms from this machine's"
    if abs(off_s) >= CLOCK_FAIL_S:
        return fail(f"{where} clock", f"{told}: tickets and tokens end at the wrong time; synchronise both")
    return warn(f"{where} clock", told) if abs(off_s) >= CLOCK_WARN_S else ok(f"{where} clock", told)


def _facts(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _nodes(nodes: bytes) -> list[list[str]]:
    return [line.split(" ") for line in nodes.decode("utf-8", "replace").splitlines() if line]


def _address(node: list[str]) -> str:
    return node[1].partition("@")[0]


def _has_failed(node: list[str]) -> bool:
    return bool({"fail", "noaddr"} & set(node[2].split(",")))


def _is_primary(node: list[str]) -> bool:
    return "master" in node[2].split(",") and not _has_failed(node) and len(node) > 8


def _said(reply: Reply) -> str:
    return str(reply) if isinstance(reply, Exception) else "another answer than expected"
