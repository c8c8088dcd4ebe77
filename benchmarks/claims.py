"""What is claimed, and the work that shows it.

Owns: the claims, their sizes, goals and contestants.   Not: running (run), arithmetic and tables (results).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fleet import OURS_OVER_VALKEY
from benchmarks.peers.contestants import NCHAN, ON_EVENT_STREAM, ON_WEBSOCKET
from benchmarks.servers import FLOOR, FLOOR_JOINED, OURS, SOCKETIO, Server

SHORT_SIZES = (1000,)
SIZES = (100, 1000, 5000)


@dataclass(frozen=True, slots=True)
class Work:
    """One line of a claim: the same options for each server that takes part."""

    name: str
    options: tuple[str, ...]
    servers: tuple[Server, ...]
    transport: str = "websocket"
    pinned: bool = True
    durability: str = "full"
    connections: int = 0
    subscribes: bool = True  # otherwise a connection is ready when it is upgraded
    load_share: float | None = None  # open loop at this share of the server's own capacity
    limit_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that is shown: the generator's name for it, its heading, its format."""

    figure: str
    heading: str
    form: str = "{:,.0f}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What our figure, or its ratio to the reference, shall reach in every work of the claim."""

    text: str
    figure: str
    limit: float
    at_least: bool
    is_ratio: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether the value reaches the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Claim:
    """A named measurement. The first column is the one that is compared."""

    name: str
    title: str
    reference: Server
    columns: tuple[Column, ...]
    goals: tuple[Goal, ...]
    works: Callable[[bool], tuple[Work, ...]]
    rounds: tuple[int, int] = (5, 3)  # full, short


_FAN_OUT_COLUMNS = (
    Column("deliveries_per_cpu_s", "deliveries per server CPU second"),
    Column("cpu_us_per_event", "server CPU µs per event"),
    Column("deliveries_per_s", "deliveries per second"),
    Column("server_busy", "server busy", "{:.2f}"),
    Column("generator_busy", "generator busy", "{:.2f}"),
    Column("message_bytes", "bytes per message"),
)


def _fan_out(
    window: int, burst: int, servers: tuple[Server, ...], transport: str = "websocket"
) -> Callable[[bool], tuple[Work, ...]]:
    def works(short: bool) -> tuple[Work, ...]:
        seconds = "1.5" if short else "3"
        loop = ("--window", str(window), "--burst", str(burst), "--duration", seconds, "--timeout", "120")
        return tuple(
            Work(
                name=f"{size} subscribers",
                options=("--connections", str(size), *loop),
                servers=servers,
                transport=transport,
                connections=size,
                limit_s=400,
            )
            for size in (SHORT_SIZES if short else SIZES)
        )

    return works


def _memory_works(short: bool) -> tuple[Work, ...]:
    connections = 10_000
    hold = "1" if short else "3"
    options = ("--connections", str(connections), "--hold", hold, "--warm-connections", "200", "--timeout", "120")
    each = (*options, "--organizations", str(connections), "--checks", "100")
    return (
        Work("WebSocket, one organization", options, (OURS, FLOOR, SOCKETIO, *ON_WEBSOCKET), connections=connections),
        Work("WebSocket, one organization each", each, (OURS,), connections=connections),
        Work(
            "event stream, one organization",
            options,
            (OURS, FLOOR, *ON_EVENT_STREAM),
            "event-stream",
            connections=connections,
        ),
        Work("event stream, one organization each", each, (OURS,), "event-stream", connections=connections),
    )


_CONNECTING = ("--connections", "4000", "--warm-connections", "500", "--hold", "0.3", "--timeout", "120")


def _handshake_works(_short: bool) -> tuple[Work, ...]:
    servers = (OURS, FLOOR, SOCKETIO, *ON_WEBSOCKET)
    return (Work("WebSocket", (*_CONNECTING, "--checks", "0"), servers, subscribes=False),)


def _connect_works(_short: bool) -> tuple[Work, ...]:
    return (
        Work("WebSocket", _CONNECTING, (OURS, FLOOR, SOCKETIO, *ON_WEBSOCKET)),
        Work("event stream", _CONNECTING, (OURS, FLOOR, *ON_EVENT_STREAM), "event-stream"),
    )


def _latency(share: float) -> Callable[[bool], tuple[Work, ...]]:
    def works(short: bool) -> tuple[Work, ...]:
        seconds = "4" if short else "10"
        return tuple(
            Work(
                name=f"{size} subscribers, {share * 100:.0f} % load",
                options=("--connections", str(size), "--duration", seconds, "--warm", "1"),
                servers=(OURS, FLOOR, SOCKETIO, *ON_WEBSOCKET),
                pinned=False,
                durability="normal",
                connections=size,
                load_share=share,
            )
            for size in ((200,) if short else (200, 2000))
        )

    return works


_LATENCY_COLUMNS = (
    Column("latency_us.p99", "p99 µs"),
    Column("latency_us.p50", "p50 µs"),
    Column("latency_us.max", "max µs"),
    Column("deliveries_per_s", "deliveries per second"),
    Column("server_busy", "server busy", "{:.2f}"),
    Column("generator_busy", "generator busy", "{:.2f}"),
)


def _publish_works(burst: int) -> Callable[[bool], tuple[Work, ...]]:
    def works(short: bool) -> tuple[Work, ...]:
        seconds = "2" if short else "5"
        window = str(max(16, 4 * burst))
        options = ("--connections", "1", "--window", window, "--burst", str(burst), "--duration", seconds)
        embedded = tuple(
            Work(f"durability {durability}", options, (OURS, SOCKETIO), pinned=False, durability=durability)
            for durability in ("full", "normal")
        )
        return (*embedded, Work("over Valkey, an fsync each", options, (OURS_OVER_VALKEY,), pinned=False))

    return works


def _publish(name: str, title: str, burst: int, goal: Goal) -> Claim:
    columns = (
        Column("deliveries_per_cpu_s", "events per server CPU second"),
        Column("cpu_us_per_event", "server CPU µs per event"),
        Column("deliveries_per_s", "events per second"),
        Column("answer_us.p50", "p50 of an answer, µs"),
        Column("answer_us.p99", "p99 of an answer, µs"),
        Column("server_busy", "server busy", "{:.2f}"),
    )
    return Claim(name, title, SOCKETIO, columns, (goal,), _publish_works(burst))


def _connecting(name: str, title: str, goal: Goal, works: Callable[[bool], tuple[Work, ...]]) -> Claim:
    columns = (
        Column("connect_cpu_us", "server CPU µs per connection"),
        Column("connects_per_s", "connections per second"),
        Column("generator_busy", "generator busy", "{:.2f}"),
    )
    return Claim(name, title, FLOOR, columns, (goal,), works)


def _steady(name: str, title: str, window: int, goals: tuple[Goal, ...], servers: tuple[Server, ...]) -> Claim:
    return Claim(name, title, FLOOR, _FAN_OUT_COLUMNS, goals, _fan_out(window, 1, servers))


CLAIMS = (
    _steady(
        "fan-out-steady",
        "Fan-out, one event at a time (window 1: nothing can be joined)",
        1,
        (Goal("at least 0.8 of the C floor", "deliveries_per_cpu_s", 0.8, at_least=True, is_ratio=True),),
        (OURS, FLOOR, SOCKETIO, *ON_WEBSOCKET),
    ),
    Claim(
        "fan-out-stream",
        "Fan-out to event streams, one event at a time",
        FLOOR,
        _FAN_OUT_COLUMNS,
        (Goal("at least 0.8 of the C floor", "deliveries_per_cpu_s", 0.8, at_least=True, is_ratio=True),),
        _fan_out(1, 1, (OURS, FLOOR, *ON_EVENT_STREAM), "event-stream"),
    ),
    _steady(
        "fan-out-window",
        "Fan-out, 64 events on their way, each published by a request of its own",
        64,
        (),
        (OURS, FLOOR, FLOOR_JOINED, SOCKETIO, *ON_WEBSOCKET),
    ),
    Claim(
        "fan-out-backlog",
        "Fan-out with 16 messages pending (one request publishes 16 events, 16 on their way)",
        FLOOR,
        _FAN_OUT_COLUMNS,
        (Goal("at least 12 × the C floor", "deliveries_per_cpu_s", 12, at_least=True, is_ratio=True),),
        _fan_out(16, 16, (OURS, FLOOR, FLOOR_JOINED, SOCKETIO, *(peer for peer in ON_WEBSOCKET if peer is not NCHAN))),
    ),
    Claim(
        "memory",
        "Memory and cost of connecting, 10 000 subscribed connections that idle",
        SOCKETIO,
        (
            Column("rss_kb_per_connection", "KB RSS per connection", "{:.2f}"),
            Column("connect_cpu_us", "CPU µs per connect"),
            Column("connects_per_s", "connects per second"),
            Column("generator_busy", "generator busy", "{:.2f}"),
        ),
        (Goal("at most 4 KB RSS each", "rss_kb_per_connection", 4, at_least=False),),
        _memory_works,
        rounds=(3, 1),
    ),
    _connecting(
        "handshake",
        "Upgrading, 64 connections at a time (ours says `connected` with it)",
        Goal("at most 75 µs", "connect_cpu_us", 75, at_least=False),
        _handshake_works,
    ),
    _connecting(
        "connect",
        "Connecting until it is subscribed, 64 connections at a time",
        Goal("at most 75 µs for the handshake and 40 for the rest", "connect_cpu_us", 115, at_least=False),
        _connect_works,
    ),
    Claim(
        "latency",
        "Published → delivered at 10 % load, durability normal, not pinned",
        FLOOR,
        _LATENCY_COLUMNS,
        (Goal("p99 at most 1.5 × the C floor's", "latency_us.p99", 1.5, at_least=False, is_ratio=True),),
        _latency(0.1),
    ),
    Claim(
        "latency-half",
        "Published → delivered at 50 % load, durability normal, not pinned",
        FLOOR,
        _LATENCY_COLUMNS,
        (),
        _latency(0.5),
    ),
    _publish(
        "publish-single",
        "Publishing, one event a request, 16 requests at a time, one subscriber",
        1,
        Goal("at least 5000 events per CPU second", "deliveries_per_cpu_s", 5000, at_least=True),
    ),
    _publish(
        "publish-batch",
        "Publishing, 100 events a request, 4 requests at a time, one subscriber",
        100,
        Goal("at least 40 000 events per CPU second", "deliveries_per_cpu_s", 40_000, at_least=True),
    ),
)
