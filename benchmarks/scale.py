"""One million connections, calculated from what was measured: the tables of docs/explanation/scale.md.

    .venv/bin/python -m benchmarks.scale

Owns: which measured cost stands for what, the arithmetic, the tables.   Not: measuring (nodes.py, run.py), what follows from it (the page).
Rule 1: every unit is read from results/; what was assumed is listed as such.   Rule 2: where a cost was measured with more than it is used for, it
is not made smaller: the calculation errs to the dear side.   Rule 3: the page says what these functions say, which a test compares.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.generator import figure
from benchmarks.servers import HERE, OURS

PAGE: Final = HERE.parent / "docs" / "explanation" / "scale.md"

CONNECTIONS: Final = 1_000_000
ORGANIZATIONS: Final = 100_000
WANT_IT: Final = 5
"""Connections that an event is delivered to, of the ten that its organization has."""
HEARTBEAT_S: Final = 30
RETENTION_S: Final = 3 * 86_400
SHORT_RETENTION_S: Final = 3600
BUSY: Final = 0.6
"""Of a core, so that there is room for moments that are not average."""
NODE_CONNECTIONS: Final = 25_000
SHARD_GB: Final = 32
PACKET_BYTES: Final = 66
"""Of Ethernet, IP and TCP around each message."""
TAILS_MB: Final = 64
EXISTING: Final = "organizations that exist"
ASKING: Final = "asking about organizations"
PATTERNS: Final = (("every five minutes", 300), ("every minute", 60), ("every ten seconds", 10))
"""How often something happens in each organization, in seconds."""


@dataclass(frozen=True, slots=True)
class Units:
    """What was measured. Times in seconds of CPU."""

    publish_s: float
    receive_s: float
    deliver_s: float
    ping_s: float
    follow_s: float
    exist_s: float
    connect_s: float
    valkey_event_s: float
    valkey_follower_s: float
    valkey_organization_s: float
    valkey_connect_s: float
    message_bytes: float
    into_valkey_bytes: float
    out_of_valkey_bytes: float
    kept_bytes: float
    organization_bytes: float
    node_mb: float
    connection_kb: float
    followed_kb: float


def read(folder: Path = HERE / "results") -> Units:
    """Read the units from the results of a run. Raises: OSError, KeyError."""

    def rows(claim: str) -> Callable[[str, str], float]:
        found = json.loads((folder / f"{claim}.json").read_text())["rows"]

        def one(work: str, name: str) -> float:
            (row,) = (row for row in found if row["work"] == work and row["server"] == OURS.name)
            return statistics.median(figure(run, name) for run in row["runs"])

        return one

    served, loaded = rows("nodes-organizations"), rows("nodes-throughput")
    memory, fan_out = rows("memory"), rows("fan-out-steady")
    few, some, many, most = "10 organizations", "1,000 organizations", "10,000 organizations", 3
    more = 10_000 - 10

    def by_organization(name: str, nodes: int) -> float:
        return max(0.0, served(f"{many}, {_nodes(nodes)}", name) - served(f"{few}, {_nodes(nodes)}", name)) / more

    connections = served(f"{few}, 1 node", "connections")
    exist_s = by_organization("no_clients_ms_per_s", 2) / 1e3
    return Units(
        # Where little else is done: with ten thousand organizations the background is as much again, and not the same in both intervals.
        publish_s=served(f"{some}, 1 node", "publisher_us_per_event") / 1e6,
        receive_s=served(f"{some}, {most} nodes", "other_us_per_event") / 1e6,
        deliver_s=(fan_out("1000 subscribers", "cpu_us_per_event") - fan_out("100 subscribers", "cpu_us_per_event"))
        / 900
        / 1e6,
        # All that a quiet node with few organizations does is taken for pings: one each in the ten seconds that were measured.
        ping_s=served(f"{few}, 1 node", "idle_ms_per_s") / 1e3 * 10 / connections,
        follow_s=max(0.0, by_organization("idle_ms_per_s", 1) / 1e3 - exist_s),
        exist_s=exist_s,
        connect_s=served(f"{many}, {most} nodes", "connect_us") / 1e6,
        valkey_event_s=served(f"{some}, 1 node", "valkey_us_per_event") / 1e6,
        valkey_follower_s=max(
            0.0,
            loaded("600 subscribers, 3 nodes", "valkey_us_per_event")
            - loaded("600 subscribers, 1 node", "valkey_us_per_event"),
        )
        / 2
        / 1e6,
        valkey_organization_s=by_organization("valkey_idle_ms_per_s", most) / most / 1e3,
        valkey_connect_s=served(f"{many}, {most} nodes", "valkey_connect_us") / 1e6,
        message_bytes=loaded("600 subscribers, 1 node", "message_bytes"),
        into_valkey_bytes=loaded("600 subscribers, 1 node", "valkey_in_bytes_per_event"),
        out_of_valkey_bytes=(
            loaded("600 subscribers, 3 nodes", "valkey_out_bytes_per_event")
            - loaded("600 subscribers, 1 node", "valkey_out_bytes_per_event")
        )
        / 2,
        kept_bytes=loaded("600 subscribers, 3 nodes", "valkey_bytes_per_event"),
        organization_bytes=by_organization("valkey_mb", most) * (1 << 20),
        node_mb=served(f"{few}, 1 node", "rss_mb")
        - connections * memory("WebSocket, one organization", "rss_kb_per_connection") / 1024,
        connection_kb=memory("WebSocket, one organization", "rss_kb_per_connection"),
        followed_kb=memory("WebSocket, one organization each", "rss_kb_per_connection")
        - memory("WebSocket, one organization", "rss_kb_per_connection"),
    )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def followers(nodes: int, connections: int) -> float:
    """Give on how many nodes an organization's clients are found, each having come to any of them."""
    return nodes * (1 - (1 - 1 / nodes) ** connections)


@dataclass(frozen=True, slots=True)
class Answer:
    """What it takes. Where what exists is too much for any number of nodes, it is not counted in their number and that of shards: they would be
    enough without it.
    """

    events_per_s: float
    nodes: int
    is_possible: bool
    followers: float
    node_s: dict[str, float]
    """Cores that all nodes use together, by what for."""
    valkey_s: dict[str, float]
    kept_gb: float
    kept_shortly_gb: float
    node_gb: float
    units: Units

    @property
    def deliveries_per_s(self) -> float:
        return self.events_per_s * WANT_IT

    @property
    def shards_by_cpu(self) -> int:
        return max(1, math.ceil(self.valkey_counted_s / BUSY))

    @property
    def node_counted_s(self) -> float:
        """Cores of all nodes, as far as they are counted."""
        return sum(used for name, used in self.node_s.items() if self.is_possible or name != EXISTING)

    @property
    def valkey_counted_s(self) -> float:
        """Cores of all shards, as far as they are counted."""
        return sum(used for name, used in self.valkey_s.items() if self.is_possible or name != ASKING)

    def shards(self, gb: float) -> int:
        """Give how many shards carry the work and keep so much."""
        return max(self.shards_by_cpu, math.ceil(gb / SHARD_GB))

    @property
    def to_clients_mbit(self) -> float:
        pings = CONNECTIONS / HEARTBEAT_S * (2 + PACKET_BYTES)
        return (self.deliveries_per_s * (self.units.message_bytes + PACKET_BYTES) + pings) * 8 / 1e6

    @property
    def out_of_valkey_mbit(self) -> float:
        return self.events_per_s * self.followers * (self.units.out_of_valkey_bytes + PACKET_BYTES) * 8 / 1e6


def calculate(units: Units, every_s: float, *, together: bool = False) -> Answer:
    """Calculate what it takes if each organization has an event so often. `together`: all its clients come to one node."""
    rate, each = ORGANIZATIONS / every_s, CONNECTIONS // ORGANIZATIONS
    count = math.ceil(CONNECTIONS / NODE_CONNECTIONS)
    is_possible = ORGANIZATIONS * units.exist_s < BUSY
    while True:
        spread = 1.0 if together else followers(count, each)
        used = {
            "publishing": rate * units.publish_s,
            "hearing it on other nodes": rate * (spread - 1) * units.receive_s,
            "delivering": rate * WANT_IT * units.deliver_s,
            "pings": CONNECTIONS / HEARTBEAT_S * units.ping_s,
            "organizations that nodes serve": ORGANIZATIONS * spread * units.follow_s,
            EXISTING: count * ORGANIZATIONS * units.exist_s,
        }
        counted = sum(used.values()) - (0.0 if is_possible else used[EXISTING])
        if math.ceil(counted / BUSY) <= count:
            break
        count += 1
    valkey = {
        "commits": rate * units.valkey_event_s,
        "telling nodes": rate * (spread - 1) * units.valkey_follower_s,
        ASKING: ORGANIZATIONS * count * units.valkey_organization_s,
    }
    fixed_gb = ORGANIZATIONS * units.organization_bytes / 1e9
    node_mb = units.node_mb + TAILS_MB
    node_mb += CONNECTIONS / count * units.connection_kb / 1024
    node_mb += min(CONNECTIONS / count, ORGANIZATIONS * spread / count) * units.followed_kb / 1024
    return Answer(
        events_per_s=rate,
        nodes=count,
        is_possible=is_possible,
        followers=spread,
        node_s=used,
        valkey_s=valkey,
        kept_gb=fixed_gb + rate * RETENTION_S * units.kept_bytes / 1e9,
        kept_shortly_gb=fixed_gb + rate * SHORT_RETENTION_S * units.kept_bytes / 1e9,
        node_gb=node_mb / 1024,
        units=units,
    )


# ---- tables


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _few(value: float) -> str:
    return f"{value:,.1f}" if value < 10 else _whole(value)


def unit_table(units: Units) -> str:
    """Give the measured units, and where from."""
    us = 1e6
    organizations, loaded = "nodes-organizations", "nodes-throughput"
    return _table(
        ("what", "measured", "from"),
        (
            ("publishing an event, with one delivery", f"{units.publish_s * us:,.0f} µs of a node", organizations),
            ("hearing an event of another node, with one delivery", f"{units.receive_s * us:,.0f} µs", organizations),
            ("each further delivery", f"{units.deliver_s * us:,.1f} µs", "fan-out-steady"),
            ("a ping and its answer", f"{units.ping_s * us:,.0f} µs", organizations),
            ("an organization that a node serves, quiet", f"{units.follow_s * us:,.1f} µs a second", organizations),
            ("one that only exists, on every node", f"{units.exist_s * us:,.1f} µs a second", organizations),
            ("connecting, with an organization to follow", f"{units.connect_s * us:,.0f} µs", organizations),
            ("Valkey: a commit, with an fsync each", f"{units.valkey_event_s * us:,.0f} µs", organizations),
            ("Valkey: telling one more node of it", f"{units.valkey_follower_s * us:,.0f} µs", loaded),
            (
                "Valkey: an organization, for each node",
                f"{units.valkey_organization_s * us:,.1f} µs a second",
                organizations,
            ),
            ("Valkey: a client that connects", f"{units.valkey_connect_s * us:,.0f} µs", organizations),
            ("a message to a client", f"{units.message_bytes:,.0f} bytes", loaded),
            ("an event, kept", f"{units.kept_bytes:,.0f} bytes in Valkey", loaded),
            ("an organization, kept", f"{units.organization_bytes:,.0f} bytes in Valkey", organizations),
            ("an event to one more node", f"{units.out_of_valkey_bytes:,.0f} bytes out of Valkey", loaded),
            ("a connection", f"{units.connection_kb:.1f} KB of a node", "memory"),
            ("an organization that a node serves", f"{units.followed_kb:.1f} KB of a node", "memory"),
        ),
    )


def answer_table(answers: Sequence[Answer]) -> str:
    """Give what it takes, a column for each pattern."""

    def line(what: str, each: Callable[[Answer], str]) -> tuple[str, ...]:
        return (what, *map(each, answers))

    without = "" if all(one.is_possible for one in answers) else f", without “{EXISTING}”"
    return _table(
        ("in each organization something happens", *(words for words, _ in PATTERNS)),
        (
            line("events per second", lambda one: _whole(one.events_per_s)),
            line("nodes that an organization's clients are on", lambda one: f"{one.followers:.1f}"),
            line("events told by Valkey per second", lambda one: _whole(one.events_per_s * one.followers)),
            line("messages to clients per second", lambda one: _whole(one.deliveries_per_s)),
            line("pings per second", lambda one: _whole(CONNECTIONS / HEARTBEAT_S)),
            line("cores, all nodes", lambda one: _few(sum(one.node_s.values()))),
            *(
                line(f"of them {name}", lambda one, name=name: _few(one.node_s[name]))  # type: ignore[misc]  # bound where it is made
                for name in answers[0].node_s
            ),
            line(f"**nodes, one core each**{without}", lambda one: f"**{_whole(one.nodes)}**"),
            line("memory of a node", lambda one: f"{one.node_gb:.2f} GB"),
            line("cores, all of Valkey", lambda one: _few(sum(one.valkey_s.values()))),
            *(
                line(f"of them {name}", lambda one, name=name: _few(one.valkey_s[name]))  # type: ignore[misc]  # bound where it is made
                for name in answers[0].valkey_s
            ),
            line("kept in Valkey, three days", lambda one: f"{_few(one.kept_gb)} GB"),
            line(f"**shards**, with a replica each{without}", lambda one: f"**{_whole(one.shards(one.kept_gb))}**"),
            line("kept in Valkey, one hour", lambda one: f"{_few(one.kept_shortly_gb)} GB"),
            line("**shards** for that", lambda one: f"**{_whole(one.shards(one.kept_shortly_gb))}**"),
            line("to clients", lambda one: f"{_whole(one.to_clients_mbit)} Mbit/s"),
            line("out of Valkey, twice with replicas", lambda one: f"{_whole(one.out_of_valkey_mbit)} Mbit/s"),
        ),
    )


def together_table(units: Units) -> str:
    """Give the same where an organization's clients come to one node."""
    apart = [calculate(units, every_s) for _, every_s in PATTERNS]
    together = [calculate(units, every_s, together=True) for _, every_s in PATTERNS]

    def cells(answers: Sequence[Answer], each: Callable[[Answer], str]) -> list[str]:
        return [each(one) for one in answers]

    return _table(
        ("in each organization something happens", *(words for words, _ in PATTERNS)),
        (
            ("nodes, clients anywhere", *cells(apart, lambda one: _whole(one.nodes))),
            ("nodes, an organization's clients together", *cells(together, lambda one: _whole(one.nodes))),
            ("cores of Valkey, clients anywhere", *cells(apart, lambda one: _few(one.valkey_counted_s))),
            ("cores of Valkey, together", *cells(together, lambda one: _few(one.valkey_counted_s))),
        ),
    )


def breaking_table(units: Units) -> str:
    """Give how far each part is from what it can do, the narrowest first, for the middle pattern."""
    words, every_s = PATTERNS[1]
    one = calculate(units, every_s)
    nodes, shards = one.nodes, one.shards(one.kept_gb)
    hottest = 1 / (units.valkey_event_s + (one.followers - 1) * units.valkey_follower_s)
    own_s = ORGANIZATIONS * units.exist_s
    own_counted_s = own_s * nodes if one.is_possible else 0.0
    limits = (
        ("a node's core: organizations that exist", own_s / BUSY, "one node", "nothing"),
        (
            "a node's core: all else",
            (one.node_counted_s - own_counted_s) / nodes / BUSY,
            f"{_whole(nodes)} nodes",
            "nodes",
        ),
        ("a shard's memory", one.kept_gb / shards / SHARD_GB, f"{_whole(shards)} shards", "shards, shorter retention"),
        ("a shard's core", one.valkey_counted_s / shards / BUSY, f"{_whole(shards)} shards", "shards"),
        ("a node's connections", CONNECTIONS / nodes / NODE_CONNECTIONS, f"{_whole(nodes)} nodes", "nodes"),
        (
            "one organization's shard",
            1 / every_s / hottest / BUSY,
            f"{_whole(hottest * BUSY)} events a second",
            "nothing",
        ),
    )
    ordered = sorted(limits, key=lambda limit: limit[1], reverse=True)
    return _table(
        (f"something happens {words}", "of", "used", "relieved by"),
        [(what, of, f"{share:.0%}" if share >= 0.01 else "under 1%", relief) for what, share, of, relief in ordered],
    )


def storm_table(units: Units) -> str:
    """Give what it takes until all are back, by CPU alone."""
    one = calculate(units, PATTERNS[1][1])
    nodes, shards = one.nodes, one.shards(one.kept_gb)
    return _table(
        ("who comes back", "clients", "seconds of each node", "seconds of each shard"),
        (
            (
                "those of one node that was lost",
                _whole(CONNECTIONS / nodes),
                _few(CONNECTIONS / nodes * units.connect_s / (nodes - 1)),
                _few(CONNECTIONS / nodes * units.valkey_connect_s / shards),
            ),
            (
                "everybody",
                _whole(CONNECTIONS),
                _few(CONNECTIONS * units.connect_s / nodes),
                _few(CONNECTIONS * units.valkey_connect_s / shards),
            ),
        ),
    )


def filled(page: str, units: Units) -> str:
    """Give the page with its tables made anew."""
    tables = {
        "units": unit_table(units),
        "answer": answer_table([calculate(units, every_s) for _, every_s in PATTERNS]),
        "together": together_table(units),
        "breaking": breaking_table(units),
        "storm": storm_table(units),
    }
    for name, table in tables.items():
        marks = re.compile(rf"(<!-- scale: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, count = marks.subn(lambda found, table=table: f"{found[1]}{table}\n{found[2]}", page)  # type: ignore[misc]  # bound where it is made
        if count != 1:
            raise ValueError(f"the page has {count} places for {name}")
    return page


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


if __name__ == "__main__":
    main()
