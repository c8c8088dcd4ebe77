"""P1 to P3 over three real nodes on a Valkey Cluster, of which servers and nodes fail in turn.

Publishers repeat what was not answered, at the next node, with the same ids; subscribers of both transports come back to the next node with their
newest cursor. In the end the history, what was answered and what each subscriber was shown must agree, and another organization's subscribers were
shown its own event and nothing else. `LOSSES=10` in the environment makes it a long run, and prints how long subscribers were shown nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from signtusk_realtime.events.log import CONTROL_LOG, LogName
from tests.support.command import Api, Served, document_update, serving
from tests.support.crowds import Crowd
from tests.support.followers import ORGANIZATION, read_log
from tests.support.losses import Silences, is_promoted, slot
from tests.support.polling import until
from tests.support.server import StreamPeer
from tests.support.valkey import Valkey, ValkeyCluster, fresh_prefix

LOSSES = int(os.environ.get("LOSSES", "1"))
NODES = 3
PUBLISHERS = 6
FOLLOWERS = 9
EVENTS = 60
LONGEST_S = 0.5
FROZEN_S = 10.0 if LOSSES > 1 else 0.0
BUFFER_BYTES = 1 << 18
BIG_PUBLISHERS = 4
BIG = {"metadata": {"scan": "x" * 60_000}}

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120 + 60 * LOSSES)]


class Nodes:
    """Node processes, each on a port that it keeps over its lives."""

    def __init__(self, folder: Path, cluster: ValkeyCluster) -> None:
        self.servers: list[Served] = []
        self._folder = folder
        self._options = ("--redis", ",".join(cluster.urls[:2]), "--redis-prefix", fresh_prefix())
        self._open = AsyncExitStack()
        self._draining: dict[int, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Start all."""
        self.servers = list(await asyncio.gather(*(self._serve(number) for number in range(NODES))))

    async def restart(self, number: int) -> None:
        """Start one again."""
        self.servers[number] = await self._serve(number, "--port", str(self.servers[number].port))

    async def kill(self, number: int) -> None:
        """End one as a crash does."""
        self.servers[number].process.kill()
        await self._draining[number]
        await self.servers[number].process.wait()

    async def stop(self) -> None:
        """Ask all to stop."""
        for served in self.servers:
            served.process.terminate()
        await asyncio.gather(*self._draining.values())
        assert [await served.process.wait() for served in self.servers] == [0] * NODES

    async def close(self) -> None:
        for served in self.servers:
            if served.process.returncode is None:
                served.process.kill()
        await asyncio.gather(*self._draining.values())
        await self._open.aclose()

    def urls(self, first: int) -> list[str]:
        """Give all addresses, in turn from one on."""
        return [self.servers[(first + n) % NODES].url for n in range(NODES)]

    async def _serve(self, number: int, *options: str) -> Served:
        served = await self._open.enter_async_context(serving(self._folder, *self._options, *options))
        self._draining[number] = asyncio.get_running_loop().create_task(served.drain())
        return served


class Stand:
    """What a fault is done to, and what goes on meanwhile."""

    def __init__(self, cluster: ValkeyCluster, nodes: Nodes, crowd: Crowd, silences: Silences) -> None:
        self.cluster = cluster
        self.nodes = nodes
        self.crowd = crowd
        self._silences = silences

    def tell(self, what: str, since: float, promoted: float | None = None) -> None:
        """Note for how long followers whose nodes live were shown nothing."""
        silent_s: list[float] = []
        after_s: list[float] = []
        for follower in self.crowd.followers:
            times = [since, *(at for at in follower.shown_at if at > since)]
            silent_s.append(max(later - earlier for earlier, later in itertools.pairwise(times)))
            if promoted is not None:
                after_s.append(next(at for at in times if at > promoted) - promoted)
        self._silences.note(what, silent_s, after_s)

    async def heals(self) -> None:
        """Wait until the servers are whole, and every node counts their copies again: until then what is answered may have one copy only.

        Seen: frozen a moment before that, a new primary is followed by a replica that lacks the last quarter of a second.
        """
        await self.cluster.heals()
        await until(self._all_count_copies, within_s=20)

    async def _all_count_copies(self) -> bool:
        for served in self.nodes.servers:
            async with Api(served.url) as api:
                answer = await api.http.get("/api/realtime/health")
            if answer.json()["status"] != "ok":
                return False
        return True

    async def replaced(self, replica: Valkey) -> float:
        """Wait until a replica is the primary; give the moment."""
        await until(partial(is_promoted, replica), within_s=20, every_s=0.01)
        return monotonic()


async def lose_a_primary(stand: Stand, log: LogName) -> None:
    """A crash; the server comes back empty, as a replica."""
    victim = stand.cluster.owner(slot(log))
    replica, since = stand.cluster.replica(victim), monotonic()
    victim.kill()
    promoted = await stand.replaced(replica)
    await stand.crowd.progress("without a primary", EVENTS)
    stand.tell(f"nodes, the primary of {log} killed", since, promoted)
    await asyncio.to_thread(victim.start)
    await stand.heals()


async def freeze_a_primary(stand: Stand, log: LogName) -> None:
    """It goes on later, and believes itself the primary for a moment."""
    victim = stand.cluster.owner(slot(log))
    replica, since = stand.cluster.replica(victim), monotonic()
    victim.freeze()
    promoted = await stand.replaced(replica)
    await stand.crowd.progress("beside a frozen primary", EVENTS)
    stand.tell(f"nodes, the primary of {log} frozen", since, promoted)
    await asyncio.sleep(since + FROZEN_S - monotonic())
    victim.thaw()
    await stand.crowd.progress("after it went on", EVENTS)
    await stand.heals()


async def fail_over(stand: Stand, log: LogName) -> None:
    """As an operator does it."""
    replica, since = stand.cluster.replica(stand.cluster.owner(slot(log))), monotonic()
    await asyncio.to_thread(replica.call, "CLUSTER", "FAILOVER")
    promoted = await stand.replaced(replica)
    await stand.crowd.progress("after a planned failover", EVENTS)
    stand.tell(f"nodes, a planned failover of {log}", since, promoted)
    await stand.heals()


async def lose_a_node(stand: Stand, number: int) -> None:
    """Its subscribers go on at the others, and some come back to it."""
    since, lives = monotonic(), [follower.lives for follower in stand.crowd.followers]
    await stand.nodes.kill(number)
    await stand.crowd.progress("without a node", EVENTS)
    assert any(follower.lives > before for follower, before in zip(stand.crowd.followers, lives, strict=True))
    stand.tell("nodes, a node killed", since)
    await stand.nodes.restart(number)
    await stand.crowd.progress("with all nodes again", EVENTS)


async def overflow(stand: Stand, number: int) -> None:
    """A node stands still while so much is published that the servers cut it off; what it missed is in the log."""
    nodes, crowd = stand.nodes, stand.crowd
    for server in stand.cluster.servers:
        server.limit_listeners(BUFFER_BYTES)
    primary, process = stand.cluster.owner(slot(LogName(ORGANIZATION))), nodes.servers[number].process
    before = primary.overflows

    async def publish(api: Api, name: str) -> None:
        while primary.overflows == before:
            number = len(crowd.observed.publishers.get(name, ()))
            assert await crowd.send(api, crowd.attempt(name, (f"{name}-{number}",)), **BIG)

    process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20), Api(nodes.urls(number + 1)[0]) as api:
            await asyncio.gather(*(publish(api, f"big{n}") for n in range(BIG_PUBLISHERS)))
    finally:
        process.send_signal(signal.SIGCONT)
    since = monotonic()
    await crowd.progress("after an overflow", EVENTS)
    stand.tell("nodes, since a node went on whose buffer had overflowed", since)
    for server in stand.cluster.servers:
        server.limit_listeners(1 << 30)


@pytest.fixture
def silences() -> Iterator[Silences]:
    silences = Silences()
    yield silences
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in silences.lines()))


@asynccontextmanager
async def at_work(cluster: ValkeyCluster, folder: Path) -> AsyncIterator[tuple[Nodes, Crowd]]:
    """Let everybody work until the block ends; then nothing may be missing anywhere."""
    nodes, crowd = Nodes(folder, cluster), Crowd(PUBLISHERS, FOLLOWERS, LONGEST_S)
    try:
        await nodes.start()
        async with asyncio.TaskGroup() as tasks:
            following = []
            for number, follower in enumerate(crowd.followers):
                # Both transports at every node.
                first, *others = nodes.urls(number // 2)
                following.append(tasks.create_task(follower.follow(first, crowd, *others)))
            await crowd.until("everybody there", lambda: crowd.have_come_back(1))
            for number, name in enumerate(list(crowd.observed.publishers)):
                tasks.create_task(crowd.publish(name, *nodes.urls(number)))
            await crowd.progress("at the beginning", EVENTS)
            yield nodes, crowd
            await crowd.finish()
            for task in following:
                task.cancel()
        async with Api(nodes.servers[0].url) as api:
            epochs, log = await read_log(api)
        assert len(epochs) == 1
        crowd.check(log)
        assert all(len(follower.ids) == len(log) for follower in crowd.followers)
        await nodes.stop()
    finally:
        await nodes.close()


@asynccontextmanager
async def strangers(nodes: Nodes, organization: str) -> AsyncIterator[None]:
    """Let people of another organization listen on every node; then they were shown what is published there in the end, once, and nothing else."""
    peers = [await StreamPeer.open(served.port, f"userId=u&organizationId={organization}") for served in nodes.servers]
    for peer in peers:
        assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
    yield
    canaries = [f"canary{number}" for number in range(NODES)]
    for served, event_id in zip(nodes.servers, canaries, strict=True):
        async with Api(served.url) as api:
            await api.publish(document_update("doc", organization, id=event_id))
    for peer in peers:
        assert [(await peer.message())["id"] for _ in canaries] == canaries
        await peer.end()


async def test_nothing_is_lost_whatever_fails(cluster: ValkeyCluster, tmp_path: Path, silences: Silences) -> None:
    """Each fault in turn, of an organization's servers and of those with the control log; see the module."""
    async with at_work(cluster, tmp_path) as (nodes, crowd):
        stand = Stand(cluster, nodes, crowd, silences)
        for loss in range(LOSSES):
            async with strangers(nodes, f"canary{loss}"):
                log = LogName(ORGANIZATION) if loss % 2 == 0 else CONTROL_LOG
                await lose_a_primary(stand, log)
                await freeze_a_primary(stand, log)
                await fail_over(stand, log)
                # Whoever is on a node that is lost goes on at the one after it.
                await overflow(stand, loss % NODES)
            await lose_a_node(stand, loss % NODES)
