"""I2 and I3 on the real command: who does not read for a while costs the server no memory, keeps nobody waiting, and misses nothing.

Some clients of both transports stop reading while far more is published than the server may keep for anybody; the others get it all the while.
How little the others notice is measured by benchmarks/stalled.py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2

from tests.support.command import Api, Served, document_update, serving
from tests.support.server import IDENTITY, StreamPeer, WebSocketPeer

MIB = 1 << 20
WARM, EVENTS = 60, 260
EVENT_BYTES = 100_000
RESIDENT = "signtusk_realtime_process_resident_memory_bytes"
READING, STALLING = 2, 10
OUTBOX_BYTES, TAIL_BYTES = 256 << 10, MIB
GROWTH_BYTES = STALLING * OUTBOX_BYTES + TAIL_BYTES + 6 * MIB
"""Once it is warm: the outboxes, the tail, and what parsing, storing and the allocator hold for a while. It is half of what is published."""


class Reader:
    """A client of either transport, and the ids it was shown."""

    def __init__(self, peer: WebSocketPeer | StreamPeer) -> None:
        self.ids: list[str] = []
        self._peer = peer

    async def read_all(self) -> None:
        """Read until everything came; whatever else is said but cursors is a fault."""
        while len(self.ids) < EVENTS:
            message = await self._peer.message()
            if message["type"] == "cursor":
                continue
            event = message["event"] if isinstance(self._peer, WebSocketPeer) else message
            assert isinstance(event, dict)
            self.ids.append(event["id"])


@asynccontextmanager
async def readers(served: Served, count: int) -> AsyncIterator[list[Reader]]:
    """Open so many, in turn on either transport, up to the answer to their subscription."""
    async with AsyncExitStack() as opened:
        found: list[Reader] = []
        for number in range(count):
            peer: WebSocketPeer | StreamPeer
            if number % 2:
                peer = await opened.enter_async_context(await WebSocketPeer.open(served.port))
                await peer.subscribe({"type": "document_updates"})
            else:
                stream = await StreamPeer.open(served.port, f"{IDENTITY}&types=document_updates")
                peer = await opened.enter_async_context(stream)
                assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
            found.append(Reader(peer))
        yield found


async def metric(api: Api, name: str) -> float:
    """Read one figure of the server."""
    answer: httpx2.Response = await api.http.get("/metrics")
    found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text, re.MULTILINE)
    assert found is not None, answer.text
    return float(found[1])


async def publish(api: Api, ids: list[str]) -> None:
    """Publish large events with these ids, one after the other."""
    for event_id in ids:
        await api.publish(document_update("doc", id=event_id, metadata={"title": "x" * EVENT_BYTES}))


async def test_who_stalls_costs_no_memory_and_misses_nothing(tmp_path: Path) -> None:
    """Readers get everything while others stall; these get everything once they read again; nobody twice, in another order, or cut off."""
    options = ("--outbox-bytes", str(OUTBOX_BYTES), "--tail-bytes", str(TAIL_BYTES))
    async with serving(tmp_path, *options) as served, Api(served.url) as api:
        async with readers(served, READING) as reading, readers(served, STALLING) as stalling:
            ids = [f"e{number}" for number in range(EVENTS)]
            async with asyncio.TaskGroup() as tasks:
                for reader in reading:
                    tasks.create_task(reader.read_all())
                await publish(api, ids[:WARM])
                before = await metric(api, RESIDENT)
                await publish(api, ids[WARM:])
            assert [reader.ids for reader in reading] == [ids] * READING
            growth = await metric(api, RESIDENT) - before
            assert growth <= GROWTH_BYTES <= (EVENTS - WARM) * EVENT_BYTES / 2, f"{growth / MIB:.1f} MiB"

            await asyncio.gather(*(reader.read_all() for reader in stalling))
            assert [reader.ids for reader in stalling] == [ids] * STALLING
            assert await metric(api, 'signtusk_realtime_catch_ups_total{reason="slow"}') >= STALLING
        assert await served.terminate() == 0
