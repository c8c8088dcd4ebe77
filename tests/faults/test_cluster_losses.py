"""A Valkey Cluster that loses servers under load: nothing that was answered is lost, nothing is shown that is in no log, nobody is told to reload.

`LOSSES=10` in the environment makes each a long run, and prints how long an organization heard nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator

import hiredis
import pytest

from tests.support.losses import LOGS, Load, slot
from tests.support.partitions import gated_cluster
from tests.support.valkey import Valkey, ValkeyCluster, fresh_prefix

LOSSES = int(os.environ.get("LOSSES", "1"))
LOG = LOGS[0]

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120 + 40 * LOSSES)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    cluster = ValkeyCluster().keep()
    try:
        yield cluster.start()
    finally:
        cluster.stop()


async def whole(cluster: ValkeyCluster) -> None:
    """Wait until every primary has its replica again."""
    async with asyncio.timeout(30):
        while True:
            try:
                if await asyncio.to_thread(cluster.is_whole):
                    return
            except (OSError, EOFError, hiredis.ReplyError):
                pass
            await asyncio.sleep(0.1)


def tell(load: Load, since: float, what: str) -> None:
    """Say how long nothing came."""
    silences = ", ".join(f"{sink.silence_s(LOG, since):.2f} s" for sink in load.sinks)
    sys.stdout.write(f"{what}: silent for {silences}; {load.refused} publications refused so far\n")


async def test_a_primary_is_killed(cluster: ValkeyCluster) -> None:
    """Its replica takes over; health says that a copy is missing until the old one is back as a replica."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            victim, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            victim.kill()
            await load.until_health("degraded")
            await load.progress()
            tell(load, since, "killed")
            await asyncio.to_thread(victim.start)
            await whole(cluster)
            await load.until_health("ok")


async def test_a_primary_is_frozen(cluster: ValkeyCluster) -> None:
    """A primary that stands still is replaced; when it goes on it believes itself the primary for a moment, and nobody believes it."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            victim, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            victim.freeze()
            await load.progress()
            tell(load, since, "frozen")
            victim.thaw()
            await load.progress()
            await whole(cluster)
            await load.until_health("ok")


async def test_a_replica_is_frozen(cluster: ValkeyCluster) -> None:
    """What it does not confirm is not answered until the Cluster calls it failed; then it counts no more."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            replica = next(s for s in cluster.servers if replica_of(s) == cluster.owner(slot(LOG)).port)
            replica.freeze()
            await load.until_health("degraded")
            await load.progress()
            replica.thaw()
            await whole(cluster)
            await load.until_health("ok")


async def test_a_planned_failover(cluster: ValkeyCluster) -> None:
    """A replica that is told to take over does so without a publication being refused."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            primary, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            replica = next(s for s in cluster.servers if replica_of(s) == primary.port)
            await asyncio.to_thread(replica.call, "CLUSTER", "FAILOVER")
            while cluster.owner(slot(LOG)) is not replica:
                await asyncio.sleep(0.05)
            await load.progress()
            tell(load, since, "planned")
            await whole(cluster)
        assert load.refused == 0


async def test_all_servers_in_turn(cluster: ValkeyCluster) -> None:
    """Each server is killed and comes back empty, one after the other."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            # In a short run the two of one shard: the second takes over from the first, who came back empty.
            for server in cluster.servers if LOSSES > 1 else cluster.servers[::3]:
                server.kill()
                await load.progress()
                await asyncio.to_thread(server.start)
                await whole(cluster)


async def test_a_primary_is_cut_off_with_its_publishers() -> None:
    """It goes on believing itself the primary, and publishers still reach it: what it alone has is never answered, nor shown."""
    async with gated_cluster() as (cluster, gates), Load(cluster.urls) as load:
        for _ in range(LOSSES):
            victim, since = await asyncio.to_thread(cluster.owner, slot(LOG)), asyncio.get_running_loop().time()
            await gates.cut_off(victim)
            await load.until_health("degraded")
            await load.progress()
            tell(load, since, "cut off")
            await gates.cut_off(None)
            await whole(cluster)
            await load.until_health("ok")
            assert await asyncio.to_thread(cluster.owner, slot(LOG)) is not victim
            await load.progress()


async def test_a_slot_moves(cluster: ValkeyCluster) -> None:
    """Under load an organization's slot goes to another shard and back, key by key."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            home = cluster.owner(slot(LOG))
            others = [server for server in map(cluster.owner, (100, 8000, 16_000)) if server is not home]
            for target in (*others, home):
                await asyncio.to_thread(move_slot, slot(LOG), cluster.owner(slot(LOG)), target)
                await load.progress()


async def test_what_is_listened_to_breaks_off(cluster: ValkeyCluster) -> None:
    """Every connection that hears is cut by its server again and again: what was missed is found and read."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(5 * LOSSES):
            for server in cluster.servers:
                await asyncio.to_thread(server.call, "CLIENT", "KILL", "TYPE", "PUBSUB")
            await load.progress()
        assert load.refused == 0


def replica_of(server: Valkey) -> int | None:
    """Give the port of a replica's primary."""
    role = server.call("ROLE")
    assert isinstance(role, list)
    return int(role[2]) if role[0] == b"slave" else None


def move_slot(moving: int, source: Valkey, target: Valkey) -> None:
    """Move a slot as `redis-cli --cluster reshard` does."""
    source_id, target_id = (text(server.call("CLUSTER", "MYID")) for server in (source, target))
    target.call("CLUSTER", "SETSLOT", moving, "IMPORTING", source_id)
    source.call("CLUSTER", "SETSLOT", moving, "MIGRATING", target_id)
    while keys := source.call("CLUSTER", "GETKEYSINSLOT", moving, 10):
        assert isinstance(keys, list)
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *map(text, keys))
    for server in (target, source):
        server.call("CLUSTER", "SETSLOT", moving, "NODE", target_id)


def text(reply: object) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()
