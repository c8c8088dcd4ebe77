"""What a node costs that serves ten organizations, or ten thousand, alone or with others, all of which serve them too.

Owns: clients in processes of their own, one beside each node; the quiet time; events that each go to one client of every node.
Not: the nodes (fleet.py), what is claimed (nodes.py).
Rule 1: every node has as many connections in every case, of all organizations: the dearest way to spread them, for each node follows each log.
Rule 2: of each organization one client a node hears the events, the others ask for another document: what is measured is not their delivery.
Rule 3: whoever heard must have heard its organization's events once, in order, and the others none; else it is no result.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

import uvloop

from benchmarks.fleet import Fleet, Used, channels
from benchmarks.generator import NoResult
from benchmarks.subscribers import Publisher, Subscriber, connect, rss_kb

DOCUMENT: Final = "doc"
QUIET: Final = "quiet"
PAD: Final = 200
HEARTBEAT_S: Final = 10.0
"""So long each measured interval is: each connection is pinged once within it, whatever moment it begins at."""
EVENTS_PER_S: Final = 200
ALONE_S: Final = 6.0
CONNECTING_AT_A_TIME: Final = 64
LIMIT_S: Final = 180.0
_SPAWN: Final = multiprocessing.get_context("spawn")

Published = Sequence[tuple[int, int]]
"""Organization and number of each event."""


def organization(number: int) -> str:
    """Name an organization."""
    return f"org-{number}"


# ---- beside each node


async def _come(port: int, connections: int, organizations: int) -> list[Subscriber]:
    room = asyncio.Semaphore(CONNECTING_AT_A_TIME)

    async def one(user: int) -> Subscriber:
        async with room:
            client = await connect(port, user, organization(user % organizations))
            client.subscribe(DOCUMENT if user < organizations else QUIET)
            await client.is_subscribed
            return client

    return list(await asyncio.gather(*map(one, range(connections))))


async def _have(clients: Sequence[Subscriber], organizations: int, published: Published) -> str | None:
    expected: dict[int, list[int]] = {}
    for where, number in published:
        expected.setdefault(where, []).append(number)
    for where, numbers in expected.items():
        clients[where].expect(len(numbers))
    try:
        async with asyncio.timeout(LIMIT_S / 6):
            for where in expected:
                await clients[where].reached.wait()
    except TimeoutError:
        pass
    for user, client in enumerate(clients):
        if not client.is_whole(expected.get(user, []) if user < organizations else []):
            return f"client {user}: {client.describe()}"
    return None


async def _beside(link: Connection, port: int, connections: int, organizations: int) -> None:
    clients = await _come(port, connections, organizations)
    gc.freeze()
    gc.disable()
    link.send(None)
    while True:
        try:
            published = await asyncio.to_thread(link.recv)
        except EOFError:
            return
        link.send(await _have(clients, organizations, published))


def _run_beside(link: Connection, port: int, connections: int, organizations: int) -> None:
    uvloop.run(_beside(link, port, connections, organizations))


# ---- before all


@dataclass
class Crowd:
    """A process of clients beside each node."""

    connections: int
    organizations: int
    published: list[tuple[int, int]] = field(default_factory=list)
    _links: list[tuple[Connection, int]] = field(default_factory=list)
    """With what was published before its clients came."""
    _processes: list[BaseProcess] = field(default_factory=list)

    def come(self, port: int) -> None:
        """Bring in the clients of one more node. Raises: NoResult."""
        link, other = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=_run_beside, args=(other, port, self.connections, self.organizations), daemon=True
        )
        process.start()
        other.close()
        self._links.append((link, len(self.published)))
        self._processes.append(process)
        self._answer(link)

    def have_all(self) -> None:
        """Wait until all clients have what they should, and see that they have no more. Raises: NoResult."""
        for link, before in self._links:
            link.send(self.published[before:])
        for link, _ in self._links:
            self._answer(link)

    def leave(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(10)
        for link, _ in self._links:
            link.close()

    @staticmethod
    def _answer(link: Connection) -> None:
        try:
            trouble = link.recv() if link.poll(LIMIT_S) else "no answer in time"
        except EOFError:
            trouble = "its process ended"
        if trouble is not None:
            raise NoResult(f"clients beside a node: {trouble}")


async def _publish(port: int, crowd: Crowd, places: Sequence[int]) -> None:
    connection = await Publisher.open(port, "")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, place in enumerate(places):
        await asyncio.sleep(began + number / EVENTS_PER_S - loop.time())
        connection.organization = organization(place)
        crowd.published.append((place, len(crowd.published) + 1))
        await connection.publish([(DOCUMENT, len(crowd.published))], PAD)
    connection.close()


def _newest_alone_s(run: Fleet) -> float:
    """Measure what a node uses that has no clients, of organizations that others serve."""
    time.sleep(1.0)
    before = run.used()
    time.sleep(ALONE_S)
    alone = run.used().since(before)
    return alone.nodes_s[-1] / alone.at


def _per_s(spent: Used, name: str) -> float:
    return spent.counts.get(name, 0.0) / spent.at


def grow(run: Fleet, crowd: Crowd) -> dict[str, object]:
    """Bring in the clients of the newest node, and measure them all. Raises: NoResult."""
    assert run.valkey is not None, "these nodes share one"
    count = len(run.nodes)
    draw = random.Random(count)
    existing_s = _newest_alone_s(run)
    before = run.used()
    crowd.come(run.nodes[-1].port)
    coming = run.used().since(before)

    # Ordering: what comes of connecting, such as lists of who is there, is over before the quiet time.
    time.sleep(2.0)
    before = run.used()
    time.sleep(HEARTBEAT_S)
    quiet = run.used().since(before)
    quiet_s = [used / quiet.at for used in quiet.nodes_s]

    some = min(crowd.organizations, 200)
    asyncio.run(_publish(run.nodes[0].port, crowd, draw.sample(range(crowd.organizations), some)))
    crowd.have_all()
    events = int(HEARTBEAT_S * EVENTS_PER_S)
    places = [draw.randrange(crowd.organizations) for _ in range(events)]
    before = run.used()
    asyncio.run(_publish(run.nodes[0].port, crowd, places))
    crowd.have_all()
    loud = run.used().since(before)
    own_s = [used - idle * loud.at for used, idle in zip(loud.nodes_s, quiet_s, strict=True)]
    others = own_s[1:]
    valkey_quiet_s = quiet.valkey_s / quiet.at
    return {
        "connections": crowd.connections,
        "no_clients_ms_per_s": existing_s * 1e3,
        "connect_us": coming.nodes_s[-1] / crowd.connections * 1e6,
        "valkey_connect_us": coming.valkey_s / crowd.connections * 1e6,
        "idle_ms_per_s": sum(quiet_s) / count * 1e3,
        "valkey_idle_ms_per_s": valkey_quiet_s * 1e3,
        "commands_per_s": _per_s(quiet, "total_commands_processed"),
        "valkey_out_kb_per_s": _per_s(quiet, "total_net_output_bytes") / 1e3,
        "rss_mb": max(rss_kb(node.pid) for node in run.nodes) / 1024,
        "valkey_mb": run.used().counts["used_memory"] / (1 << 20),
        "channels": channels(run.valkey),
        "publisher_us_per_event": own_s[0] / events * 1e6,
        "other_us_per_event": sum(others) / len(others) / events * 1e6 if others else 0.0,
        "valkey_us_per_event": (loud.valkey_s - valkey_quiet_s * loud.at) / events * 1e6,
        "script_us_per_event": (loud.counts["cmdstat_evalsha_us"] - _per_s(quiet, "cmdstat_evalsha_us") * loud.at)
        / events,
        "events_per_s": events / loud.at,
        "idle_commands": {
            name.removeprefix("cmdstat_"): round(per_s, 1)
            for name in quiet.counts
            if name.startswith("cmdstat_") and not name.endswith("_us") and (per_s := _per_s(quiet, name)) >= 1
        },
    }
