"""A storm: thousands of WebSocket clients are cut at once, miss events, and come back in the same moment.

    .venv/bin/python -m benchmarks.storm [--clients 10000] [--missed 100] [--rounds 1]

Owns: clients that obey `Retry-After` and repeat with growing delays, and how long each took to be back and to have what it missed.
Not: the server (servers.py), the steady state (run.py).
Rule 1: a client is done when `subscribed` said `recovered:true` and each event has come, no more and no fewer; one that is not is no result.
Rule 2: server and clients share this machine, each with a CPU of its own where there are two. Each round has a fresh server.
Why not load/: there a refusal is the end of a run; here it is a part of what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, cast

import uvloop

from benchmarks import results
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures, NoResult
from benchmarks.servers import HERE, OURS, running

EVENT: Final = b'{"type":"event"'
PING: Final = b"\x89\x00"
"""Stands in no text frame of a server: there is no such byte in JSON, nor so long a message."""
PONG: Final = b"\x8a\x80\0\0\0\0"
ORGANIZATION: Final = "org-storm"
SUBSCRIPTION: Final = '"subscriptions":[{"type":"document_updates"}]'
LIMIT_S: Final = 180.0
CONNECTING_AT_A_TIME: Final = 128
BEGUN_AT_ONCE: Final = 50
ANSWER_S: Final = 10.0
"""How long a client waits to be let in before it tries anew."""

CLAIM: Final = Claim(
    name="storm",
    title="A storm: all clients are cut at once, miss events, and come back in the same moment",
    reference=OURS,
    columns=(
        Column("caught_up_s.all", "seconds until all had everything", "{:.1f}"),
        Column("back_s.all", "until all were back", "{:.1f}"),
        Column("back_s.p50", "until half were back", "{:.1f}"),
        Column("back_s.p90", "until nine of ten were back", "{:.1f}"),
        Column("refused", "refused for a while"),
        Column("cpu_us_per_client", "server CPU µs per client"),
        Column("server_peak_mb", "server's peak MB"),
    ),
    goals=(
        Goal("all caught up within 20 s", "caught_up_s.all", 20, at_least=False),
        Goal("all back within 10 s", "back_s.all", 10, at_least=False),
    ),
    works=lambda short: (),
)


@dataclass
class Storm:
    """What all clients share."""

    port: int
    missed: int
    cursor: str | None = None
    began: float = 0.0
    back_s: list[float] = field(default_factory=list)
    caught_up_s: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    extra: int = 0
    open: set[Client] = field(default_factory=set)


def frame(text: str) -> bytes:
    """Give a client's text frame, masked with zeros."""
    data = text.encode()
    length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + data


class Client(asyncio.Protocol):
    """One connection, until it has what it came for; it stays open after that."""

    def __init__(self, storm: Storm, number: int) -> None:
        self.storm = storm
        self.number = number
        self.over: asyncio.Future[float | None] = asyncio.get_running_loop().create_future()
        """None: done. Otherwise how many seconds to wait before the next try."""
        self.transport: asyncio.Transport
        self._head = b""
        self.is_upgraded = False
        self._is_subscribed = False
        self._rest = b""
        self._events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.storm.open.add(self)
        self.transport.write(
            f"GET /ws?userId=user-{self.number}&organizationId={ORGANIZATION} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.is_upgraded:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._refused(head)
                return
            self.is_upgraded = True
            cursor = "" if self.storm.cursor is None else f',"cursor":"{self.storm.cursor}"'
            self.transport.write(frame(f'{{"type":"subscribe",{SUBSCRIPTION}{cursor}}}'))
        self._count(data)

    def _count(self, data: bytes) -> None:
        if PING in data:
            self.transport.write(PONG)
        text = self._rest + data
        if not self._is_subscribed:
            at = text.find(b'"subscribed"')
            if at < 0 or b"}" not in text[at:]:
                self._rest = text
                return
            self._is_subscribed = True
            storm = self.storm
            if storm.cursor is None:
                storm_cursor = text[at:].partition(b'"cursor":"')[2].partition(b'"')[0]
                if not storm_cursor:
                    self._is_subscribed, self._rest = False, text
                    return
                self._done(storm_cursor.decode())
                return
            if b'"recovered":true' not in text:
                self._fail(f"not recovered: {text[at : at + 400]!r}")
                return
            storm.back_s.append(time.monotonic() - storm.began)
        # A marker that is cut in two is found with the next bytes, and never twice.
        self._events += text.count(EVENT)
        self._rest = text[-(len(EVENT) - 1) :]
        if self.storm.cursor is not None and self._events >= self.storm.missed:
            self.storm.extra += self._events - self.storm.missed
            self._events = self.storm.missed
            if not self.over.done():
                self.storm.caught_up_s.append(time.monotonic() - self.storm.began)
                self.over.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(NoResult(why))

    def _done(self, cursor: str) -> None:
        self.first_cursor = cursor
        if not self.over.done():
            self.over.set_result(None)

    def _refused(self, head: bytes) -> None:
        status = head.split(b" ", 2)[1].decode()
        after = next(
            (line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"retry-after")), b"1"
        )
        self.storm.refusals[status] += 1
        self._again(float(after))

    def connection_lost(self, error: Exception | None) -> None:
        self.storm.open.discard(self)
        self._again(0.0)

    def abandon(self) -> None:
        """Give this try up, also if nobody was told yet that it is connected: its server would serve it beside the next one."""
        self.storm.open.discard(self)
        if "transport" in vars(self):
            self.transport.abort()

    def _again(self, after_s: float) -> None:
        if not self.over.done():
            self.over.set_result(after_s)
        self.transport.abort()


async def come(storm: Storm, number: int) -> Client:
    """Try until done, as a client does: never twice at the same time as the others."""
    loop, step_s = asyncio.get_running_loop(), 0.5
    source = (f"127.0.0.{2 + number % 8}", 0)
    for client in (Client(storm, number) for _ in itertools.count()):
        try:
            async with asyncio.timeout(ANSWER_S):
                make = partial(_same, client)
                await loop.create_connection(make, "127.0.0.1", storm.port, local_addr=source)
                # Not more than being let in has a limit: what was missed may take its time.
                while not client.is_upgraded and not client.over.done():
                    await asyncio.wait([client.over], timeout=0.25)
            after_s = await client.over
            if after_s is None:
                return client
        except (OSError, TimeoutError) as error:
            client.abandon()
            storm.refusals[type(error).__name__] += 1
            after_s = 0.0
        await asyncio.sleep(max(after_s, step_s * random.uniform(0.2, 1)))
        step_s = min(2 * step_s, 30.0)
    raise AssertionError("tries do not end but by success")


def _same(client: Client) -> Client:
    return client


async def bring_in(storm: Storm, count: int) -> list[Client]:
    """Open all connections, a few at a time."""
    room = asyncio.Semaphore(CONNECTING_AT_A_TIME)

    async def one(number: int) -> Client:
        async with room:
            return await come(storm, number)

    return await asyncio.gather(*map(one, range(count)))


def publish(port: int, count: int) -> None:
    """Publish what will have been missed."""
    events = [
        {
            "kind": "document_update",
            "documentId": f"doc-{number}",
            "type": "updated",
            "metadata": {"title": "x" * 80},
            "userId": "publisher",
            "organizationId": ORGANIZATION,
        }
        for number in range(count)
    ]
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/realtime/events",
        json.dumps(events).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        answer.read()


async def measure(port: int, pid: int, clients: int, missed: int) -> tuple[float, Storm]:
    """Bring all in, cut them, let them miss events, and let them come back; give also the server's CPU seconds before that."""
    storm = Storm(port, missed)
    # A log that has begun: cursors name an event, as in life.
    await asyncio.to_thread(publish, port, 10)
    began = time.monotonic()
    came = await bring_in(storm, clients)
    print(f"{clients} connected within {time.monotonic() - began:.1f} s", file=sys.stderr)
    first_refusals = dict(storm.refusals)
    cursor = came[0].first_cursor
    for client in came:
        client.transport.abort()
    await asyncio.sleep(1)
    await asyncio.to_thread(publish, port, missed)
    storm.cursor, storm.began = cursor, time.monotonic()
    storm.refusals.clear()
    before = cpu_s(pid)
    async with asyncio.timeout(LIMIT_S):
        coming: list[asyncio.Task[Client]] = []
        for number in range(clients):
            coming.append(asyncio.create_task(come(storm, number)))
            if number % BEGUN_AT_ONCE == 0:
                # All in one turn of this loop would keep it from hearing an answer for seconds, and then each client would think itself late.
                await asyncio.sleep(0)
        back = await asyncio.gather(*coming)
    await asyncio.sleep(0.5)
    if storm.extra or len(storm.open) != clients:
        raise NoResult(f"{storm.extra} events too many, {len(storm.open)} of {clients} open; {first_refusals}")
    for client in back:
        client.transport.abort()
    return before, storm


def spread(values: list[float]) -> dict[str, float]:
    """Give a distribution in seconds."""
    ordered = sorted(values)
    places = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    found = {name: round(ordered[int(len(ordered) * part)], 2) for name, part in places.items()}
    return {**found, "all": round(ordered[-1], 2)}


def cpu_s(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int, name: str) -> float:
    """Give a process's memory, `VmRSS` or `VmHWM`, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return round(int(line.split()[1]) / 1024, 1)


def one_run(clients: int, missed: int, row: results.Row) -> None:
    """Measure once, with a server of its own. Raises: NoResult."""
    cpus = sorted(os.sched_getaffinity(0))
    server = replace(
        OURS,
        command=lambda port, folder, durability: [
            *OURS.command(port, folder, durability),
            # Room for those who come back before the server has noticed that they were cut.
            *("--limits-connections", str(2 * clients)),
        ],
    )
    with running(server, cpus[0] if len(cpus) > 1 else None, "full") as target:
        if not row.commands:
            row.commands = [target.command]
        if len(cpus) > 1:
            os.sched_setaffinity(0, {cpus[1]})
        try:
            before, storm = uvloop.run(measure(target.port, target.pid, clients, missed))
        finally:
            os.sched_setaffinity(0, cpus)
        figures: Figures = {
            "back_s": spread(storm.back_s),
            "caught_up_s": spread(storm.caught_up_s),
            "refused": storm.refusals.total(),
            "refusals": dict(storm.refusals),
            "cpu_us_per_client": round((cpu_s(target.pid) - before) / clients * 1e6),
            "server_peak_mb": rss_mb(target.pid, "VmHWM"),
        }
    row.runs.append(figures)
    print(json.dumps(figures), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--missed", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.clients + 100 > hard:
        sys.exit(f"{options.clients} clients need more open files than the {hard} that are allowed")
    about = results.circumstances(" ".join(["python -m benchmarks.storm", *sys.argv[1:]]))
    row = results.Row(f"{options.clients} clients, {options.missed} events missed by each", OURS.name)
    for _ in range(options.rounds):
        try:
            one_run(options.clients, options.missed, row)
        except NoResult as error:
            row.failures.append(str(error))
            print(f"no result: {error}", flush=True)
    result = results.document(CLAIM, [row], about)
    results.write(options.results, result)
    print(f"\n{results.markdown(result)}")


if __name__ == "__main__":
    main()
