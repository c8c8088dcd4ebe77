"""Events that cross from one node to the clients of another: how late they are, and what they cost.

Owns: the clients of both contestants, the steady and the loaded work, and that each client got everything once, in order.
Not: the nodes (fleet.py), what is claimed (nodes.py).
Rule 1: a client that misses an event, or gets one twice or out of its publisher's order, makes it no result; what went missing is named.
Rule 2: both contestants' messages are equally long.   Rule 3: ours must also show all clients of all nodes one and the same order.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.fleet import Fleet
from benchmarks.generator import NoResult
from benchmarks.subscribers import Publisher, Subscriber, connect, frame

ORGANIZATION: Final = "org-nodes"
DOCUMENT: Final = "doc"
PAD: Final = 200
AT_ONCE: Final = 8
"""Events on their way at a time, each from a publisher of its own."""
WARM_EVENTS: Final = 40
LIMIT_S: Final = 30.0
_PEER_PING: Final = b"\x81\x012"


class PeerSubscriber(Subscriber):
    """A connection to python-socketio, which speaks its protocol over WebSocket."""

    def __init__(self, user: int, organization: str, is_event_stream: bool) -> None:
        super().__init__(user, organization, is_event_stream)
        self.path = "/socket.io/?EIO=4&transport=websocket"

    def subscribe(self, document: str | None = None, cursor: str | None = None) -> None:
        self.transport.write(frame(f'420["subscribe","{document}"]'))

    def _answer(self, text: bytes) -> None:
        self._rest = text
        if b"0{" in text and not self._has_said_hello:
            self._has_said_hello = True
            self.transport.write(frame("40"))
        if b"40{" in text and not self.is_greeted.done():
            self.is_greeted.set_result(None)
        if b"430[" in text:
            self.is_subscribed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if _PEER_PING in data:
            self.transport.write(frame("3"))
        super().data_received(data)

    _has_said_hello = False


class PeerPublisher(Publisher):
    """Publishes to python-socketio: a line an event."""

    def body(self, events: Sequence[tuple[str, int]], pad: int) -> bytes:
        now = time.perf_counter_ns()
        lines = (
            json.dumps({"documentId": document, "data": f"bench:{number}:{now}:{'x' * pad}"})
            for document, number in events
        )
        return "\n".join(lines).encode()


@dataclass
class Crowd:
    """All clients of a run, spread over nodes, and what was published to them."""

    fleet: Fleet
    is_ours: bool
    pad: int
    subscribers: list[Subscriber] = field(default_factory=list)
    publishers: list[Publisher] = field(default_factory=list)
    published: int = 0

    async def come(self, clients: int, nodes: Sequence[int]) -> None:
        """Connect so many, in turn to these nodes, and subscribe each."""
        room = asyncio.Semaphore(32)
        kind = Subscriber if self.is_ours else PeerSubscriber

        async def one(user: int) -> Subscriber:
            port = self.fleet.nodes[nodes[user % len(nodes)]].port
            async with room:
                client = await connect(port, user, ORGANIZATION, kind=kind)
                client.subscribe(DOCUMENT)
                await client.is_subscribed
                return client

        self.subscribers = list(await asyncio.gather(*map(one, range(clients))))

    async def open_publishers(self, nodes: Sequence[int]) -> None:
        """Open a publisher to each of these nodes."""
        kind = Publisher if self.is_ours else PeerPublisher
        self.publishers = [await kind.open(self.fleet.nodes[node].port, ORGANIZATION) for node in nodes]

    async def have_all(self) -> None:
        """Wait until everybody has everything. Raises: NoResult."""
        for one in self.subscribers:
            one.expect(self.published)
        try:
            async with asyncio.timeout(LIMIT_S):
                for one in self.subscribers:
                    await one.reached.wait()
        except TimeoutError:
            pass
        missing = sum(self.published - len(one.numbers) for one in self.subscribers)
        if missing:
            raise NoResult(f"{missing} of {self.published * len(self.subscribers)} deliveries are missing")

    async def publish_some(self) -> None:
        """Publish one event by each publisher at once, and wait until everybody has them."""
        first = self.published
        self.published += len(self.publishers)
        await asyncio.gather(
            *(one.publish([(DOCUMENT, first + at + 1)], self.pad) for at, one in enumerate(self.publishers))
        )
        await self.have_all()

    def check(self) -> None:
        """See that everybody got everything once, each publisher's in order, and ours all in one order. Raises: NoResult."""
        count, first = len(self.publishers), self.subscribers[0].numbers
        for one in self.subscribers:
            for at in range(count):
                own = [number for number in one.numbers if (number - 1) % count == at]
                if not one.is_open or own != list(range(at + 1, self.published + 1, count)):
                    raise NoResult(f"twice, out of order or not at all: {one.describe()}")
            if self.is_ours and one.numbers != first:
                raise NoResult("two clients were shown two orders")

    def leave(self) -> None:
        """End all connections."""
        for one in self.subscribers:
            one.transport.abort()
        for publisher in self.publishers:
            publisher.close()


async def gathered(run: Fleet, is_ours: bool, pad: int, clients: int, on: Sequence[int], by: Sequence[int]) -> Crowd:
    """Bring a crowd in, with a few events before anything is measured: python-socketio listens to Redis only a while after its first client came."""
    crowd = Crowd(run, is_ours, pad)
    await crowd.come(clients, on)
    await crowd.open_publishers(by)
    await asyncio.sleep(1.0)
    while crowd.published < WARM_EVENTS:
        await crowd.publish_some()
    gc.collect()
    gc.disable()  # a collection among so many objects is a pause of the client's own
    return crowd


async def delays(
    run: Fleet, *, is_ours: bool, pad: int, clients: int, on: int, by: int, rate: float, seconds: float
) -> dict[str, object]:
    """Publish by one node at a steady rate to clients of one node; give how late each was. Raises: NoResult."""
    crowd = await gathered(run, is_ours, pad, clients, [on], [by])
    loop = asyncio.get_running_loop()
    (publisher,) = crowd.publishers
    for one in crowd.subscribers:
        one.is_timed = True
    earlier, got = crowd.published, crowd.subscribers[0].received_bytes
    before, began = run.used(), loop.time()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(began + number / rate - loop.time())
        crowd.published += 1
        await publisher.publish([(DOCUMENT, crowd.published)], pad)
    await crowd.have_all()
    spent = run.used().since(before)
    crowd.check()
    all_ns = sorted(delay for one in crowd.subscribers for delay in one.delays_ns)
    crowd.leave()
    return {
        "latency_ms": {f"p{part}": all_ns[len(all_ns) * part // 100] / 1e6 for part in (50, 99)}
        | {"max": all_ns[-1] / 1e6},
        "busiest": max(*spent.nodes_s, spent.valkey_s) / spent.at,
        "message_bytes": (crowd.subscribers[0].received_bytes - got) / (crowd.published - earlier),
    }


async def costs(run: Fleet, *, is_ours: bool, pad: int, clients: int, seconds: float) -> dict[str, object]:
    """Publish by all nodes to clients of all nodes, a few events at a time; give what each cost. Raises: NoResult."""
    nodes = range(len(run.nodes))
    crowd = await gathered(run, is_ours, pad, clients, nodes, [at % len(nodes) for at in range(AT_ONCE)])
    earlier, got = crowd.published, crowd.subscribers[0].received_bytes
    own_s, before = time.process_time(), run.used()
    while time.monotonic() < before.at + seconds:
        await crowd.publish_some()
    spent = run.used().since(before)
    own_s = time.process_time() - own_s
    crowd.check()
    events = crowd.published - earlier
    deliveries = events * clients
    crowd.leave()
    all_s = sum(spent.nodes_s) + spent.valkey_s
    return {
        "cpu_us_per_delivery": all_s / deliveries * 1e6,
        "nodes_us_per_event": sum(spent.nodes_s) / events * 1e6,
        "valkey_us_per_event": spent.valkey_s / events * 1e6,
        "deliveries_per_s": deliveries / spent.at,
        "events_per_s": events / spent.at,
        "generator_busy": own_s / spent.at,
        "valkey_bytes_per_event": spent.counts.get("used_memory", 0.0) / events,
        "valkey_out_bytes_per_event": spent.counts.get("total_net_output_bytes", 0.0) / events,
        "valkey_in_bytes_per_event": spent.counts.get("total_net_input_bytes", 0.0) / events,
        "message_bytes": (crowd.subscribers[0].received_bytes - got) / events,
    }
