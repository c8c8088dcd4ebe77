"""A Valkey Cluster that loses servers under load: nothing that was answered is lost, nothing is shown that is in no log, nobody is told to reload.

`LOSSES=10` in the environment makes each a long run, and prints how long an organization heard nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.redis import primary as primaries
from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.ear import Ear
from signtusk_realtime.engines.redis.keys import Keys
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import ORIGIN_TAG, Commit, Committed, LogName, Position
from tests.support.engines import RecordingSink, draft, events, publish
from tests.support.losses import LOGS, Load, Silences, is_promoted, slot
from tests.support.partitions import Partition, gated_cluster, walled_cluster
from tests.support.polling import until
from tests.support.valkey import Valkey, ValkeyCluster, fresh_prefix

LOSSES = int(os.environ.get("LOSSES", "1"))
LOG = LOGS[0]
FROZEN_S = 10.0 if LOSSES > 1 else 0.0
PATIENT_S = 5.0

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(120 + 40 * LOSSES)]


@pytest.fixture(scope="module", autouse=True)
def silences() -> Iterator[Silences]:
    silences = Silences()
    yield silences
    sys.stdout.write("\n" + "".join(f"{line}\n" for line in silences.lines()))


async def until_promoted(replica: Valkey) -> float:
    """Wait until a replica is the primary; give the moment."""
    await until(partial(is_promoted, replica), within_s=20, every_s=0.01)
    return asyncio.get_running_loop().time()


async def test_a_primary_is_killed(cluster: ValkeyCluster, silences: Silences) -> None:
    """Its replica takes over; health says that a copy is missing until the old one is back as a replica."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            victim, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            replica = cluster.replica(victim)
            victim.kill()
            promoted = await until_promoted(replica)
            await load.until_health("degraded")
            await load.progress()
            silences.note("a primary killed", *load.silences_s(LOG, since, promoted))
            await asyncio.to_thread(victim.start)
            await cluster.heals()
            await load.until_health("ok")


async def test_a_primary_is_frozen(cluster: ValkeyCluster, silences: Silences) -> None:
    """A primary that stands still is replaced; when it goes on it believes itself the primary for a moment, and nobody believes it."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            victim, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            replica = cluster.replica(victim)
            victim.freeze()
            promoted = await until_promoted(replica)
            await load.progress()
            silences.note("a primary frozen", *load.silences_s(LOG, since, promoted))
            # In a long run as long as a machine may stand still that is moved to another.
            await asyncio.sleep(since + FROZEN_S - asyncio.get_running_loop().time())
            victim.thaw()
            await load.progress()
            await cluster.heals()
            await load.until_health("ok")


async def test_a_replica_is_frozen(cluster: ValkeyCluster) -> None:
    """What it does not confirm is not answered until the Cluster calls it failed; then it counts no more."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            replica = cluster.replica(cluster.owner(slot(LOG)))
            replica.freeze()
            await load.until_health("degraded")
            await load.progress()
            replica.thaw()
            await cluster.heals()
            await load.until_health("ok")


async def test_a_replica_copies_for_long(cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is back before the Cluster calls it failed, and confirms nothing until it has copied everything: health says so, and it stops counting."""
    monkeypatch.setattr(primaries, "COPYING_S", 2.0)
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(LOSSES):
            owner = cluster.owner(slot(LOG))
            replica = cluster.replica(owner)
            owner.call("CONFIG", "SET", "repl-diskless-sync-delay", 60)
            try:
                replica.kill()
                replica.forget()
                await asyncio.to_thread(replica.start)
                await load.until_health("degraded")
                await load.progress()
            finally:
                owner.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
            await cluster.heals()
            await load.until_health("ok")


async def test_a_primary_that_lost_replica_and_node_at_once(cluster: ValkeyCluster) -> None:
    """It may be cut off from the others with its publishers: who comes back to it is answered nothing until it calls its replica failed itself."""
    for _ in range(LOSSES):
        engine = RedisEngine(cluster.urls, prefix=fresh_prefix())
        await engine.start(RecordingSink())
        primary = cluster.owner(slot(LOG))
        replica = cluster.replica(primary)
        try:
            await publish(engine, "before", log=LOG)
            replica.freeze()
            for kind in ("replica", "normal"):
                primary.call("CLIENT", "KILL", "TYPE", kind)
            await until(partial(is_answered, engine, "after"), within_s=20)
            assert calls_failed(primary, replica)
        finally:
            replica.thaw()
            await engine.close()
        await cluster.heals()


async def is_answered(engine: RedisEngine, event_id: str) -> bool:
    """Publish; say whether there was an answer."""
    try:
        await publish(engine, event_id, log=LOG)
    except Unavailable:
        return False
    return True


def calls_failed(server: Valkey, other: Valkey) -> bool:
    """Say whether one server of a Cluster calls another failed."""
    answer = server.call("CLUSTER", "NODES")
    assert isinstance(answer, bytes)
    lines = (line.split(" ") for line in answer.decode().splitlines())
    return any(f":{other.port}@" in line[1] and "fail" in line[2].split(",") for line in lines)


async def test_a_planned_failover(cluster: ValkeyCluster, silences: Silences) -> None:
    """A replica that is told to take over does so without a publication being refused."""
    async with Load(cluster.urls, fresh_prefix(), deadline_s=PATIENT_S) as load:
        for _ in range(LOSSES):
            primary, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
            replica = cluster.replica(primary)
            await asyncio.to_thread(replica.call, "CLUSTER", "FAILOVER")
            promoted = await until_promoted(replica)
            await load.progress()
            silences.note("a planned failover", *load.silences_s(LOG, since, promoted))
            await cluster.heals()
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
                await cluster.heals()


@pytest.mark.parametrize("apart", [gated_cluster, walled_cluster], ids=["by gates", "by the kernel"])
async def test_a_primary_is_cut_off_with_its_publishers(
    apart: Callable[[], AbstractAsyncContextManager[tuple[ValkeyCluster, Partition]]], silences: Silences
) -> None:
    """It goes on believing itself the primary, and publishers still reach it: what it alone has is never answered, nor shown."""
    async with apart() as (cluster, partition), Load(cluster.urls) as load:
        for _ in range(LOSSES):
            victim, since = await asyncio.to_thread(cluster.owner, slot(LOG)), asyncio.get_running_loop().time()
            replica = await asyncio.to_thread(cluster.replica, victim)
            await partition.cut_off(victim)
            promoted = await until_promoted(replica)
            await load.until_health("degraded")
            await load.progress()
            silences.note("a primary cut off", *load.silences_s(LOG, since, promoted))
            await partition.cut_off(None)
            await cluster.heals()
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


async def test_a_slot_stands_half_moved(cluster: ValkeyCluster, silences: Silences) -> None:
    """While its keys are in two places (`ASK`, `TRYAGAIN`) its organization's publications are refused, and no other's; then they are as before."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        fresh = beside(LOG)
        for _ in range(LOSSES):
            source = cluster.owner(slot(LOG))
            target = next(server for server in map(cluster.owner, (100, 8000, 16_000)) if server is not source)
            before = redirections(source)
            begin_move(slot(LOG), source, target)
            refused = load.refused
            await load.wait(lambda refused=refused: load.refused > refused)  # type: ignore[misc]  # bound at once
            move_keys(slot(LOG), source, target, 3)
            for refusing in (load.engines[0].commit(fresh, events("first")), load.engines[1].follow(fresh)):
                with pytest.raises(Unavailable):
                    await refusing
            await load.progress(logs=[log for log in LOGS if slot(log) != slot(LOG)])
            found = redirections(source)
            assert all(found[name] > before[name] for name in ("ASK", "TRYAGAIN")), (before, found)
            while move_keys(slot(LOG), source, target, 10):
                pass
            end_move(slot(LOG), source, target)
            moved = asyncio.get_running_loop().time()
            await load.progress()
            silences.note("a slot half moved, since it was whole", load.silences_s(LOG, moved, moved)[1])
        await publish(load.engines[0], "first", log=fresh)


async def test_a_slot_moves_at_once(cluster: ValkeyCluster, silences: Silences) -> None:
    """As Valkey 9 moves slots by itself, no publication is refused."""
    async with Load(cluster.urls, fresh_prefix(), deadline_s=PATIENT_S) as load:
        for _ in range(LOSSES):
            home = cluster.owner(slot(LOG))
            others = [server for server in map(cluster.owner, (100, 8000, 16_000)) if server is not home]
            for target in (others[0], home):
                source, since = cluster.owner(slot(LOG)), asyncio.get_running_loop().time()
                target_id = text(target.call("CLUSTER", "MYID"))
                source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot(LOG), slot(LOG), "NODE", target_id)
                await until(partial(serves, cluster, target), within_s=20, every_s=0.01)
                moved = asyncio.get_running_loop().time()
                await load.progress()
                silences.note("a slot moved at once", *load.silences_s(LOG, since, moved))
        assert load.refused == 0


async def test_a_channel_is_heard_where_its_slot_went(cluster: ValkeyCluster) -> None:
    """Who gave a slot away says so before who got it knows: whoever asks that one too early is refused, and asks again until it is heard."""
    by_age = sorted(map(cluster.owner, (100, 8000, 16_000)), key=config_epoch)
    [log, *_] = [log for log in LOGS if cluster.owner(slot(log)) is by_age[0]]
    prefix = fresh_prefix()
    channel = Keys(prefix).log(log).channel
    async with Load(cluster.urls, prefix, [log], deadline_s=PATIENT_S) as load:
        source, target = by_age[0], by_age[-1]
        begin_move(slot(log), source, target)
        while move_keys(slot(log), source, target, 10):
            pass
        target_id = text(target.call("CLUSTER", "MYID"))
        source.call("CLUSTER", "SETSLOT", slot(log), "NODE", target_id)
        refused, nodes = redirections(target)["MOVED"], len(load.engines)
        # A server that notices by itself what became of the slot refuses less, or nobody.
        await until(partial(has_refused_or_is_heard, target, refused + nodes, channel, nodes), within_s=20)
        target.call("CLUSTER", "SETSLOT", slot(log), "NODE", target_id)
        await until(partial(is_heard_by, target, channel, nodes), within_s=20)
        await load.progress()
    await asyncio.to_thread(move_slot, slot(log), target, source)
    await cluster.heals()


def config_epoch(server: Valkey) -> int:
    lines = text(server.call("CLUSTER", "NODES")).splitlines()
    return next(int(line.split(" ")[6]) for line in lines if "myself" in line)


async def has_refused_or_is_heard(server: Valkey, times: int, channel: str, nodes: int) -> bool:
    """Say whether a server sent somebody elsewhere so often, or so many hear a channel of it."""
    return redirections(server)["MOVED"] >= times or await is_heard_by(server, channel, nodes)


async def is_heard_by(server: Valkey, channel: str, nodes: int) -> bool:
    """Say whether so many hear a channel of a slot."""
    answer = await asyncio.to_thread(server.call, "PUBSUB", "SHARDNUMSUB", channel)
    assert isinstance(answer, list)
    return answer[1] == nodes


async def serves(cluster: ValkeyCluster, server: Valkey) -> bool:
    return await asyncio.to_thread(cluster.owner, slot(LOG)) is server


async def test_all_copies_are_lost(cluster: ValkeyCluster) -> None:
    """Every follower is told that what he was shown is void, before anything of the next life; other shards' logs go on as they were."""
    for _ in range(LOSSES):
        prefix = fresh_prefix()
        nodes = [(RedisEngine(cluster.urls, prefix=prefix), RecordingSink()) for _ in range(2)]
        for engine, sink in nodes:
            await engine.start(sink)
            for log in LOGS:
                await engine.follow(log)
        try:
            await lose_a_shard(cluster, nodes)
        finally:
            for engine, _ in nodes:
                await engine.close()


async def lose_a_shard(cluster: ValkeyCluster, nodes: Sequence[tuple[RedisEngine, RecordingSink]]) -> None:
    (here, _), (there, _) = nodes
    epochs = {log: (await publish(here, "a", "b", log=log)).epoch for log in LOGS}
    primary = cluster.owner(slot(LOG))
    lost = [log for log in LOGS if cluster.owner(slot(log)) is primary]
    copies = (primary, cluster.replica(primary))
    for server in copies:
        server.kill()
    await asyncio.gather(*(asyncio.to_thread(server.start) for server in copies))
    for engine, sink in nodes:
        async with asyncio.timeout(30):
            await sink.until(lambda sink=sink: len(sink.divergences) == len(lost))  # type: ignore[misc]  # bound at once
            await sink.until_health("ok")
        for log in LOGS:
            assert ((await engine.follow(log)).epoch == epochs[log]) is (log not in lost)
    for log in LOGS:
        answer = await publish(there, "c", log=log)
        assert answer.placed[0].offset == (1 if log in lost else 3)
        for _, sink in nodes:
            async with asyncio.timeout(20):
                await sink.until(lambda sink=sink, log=log: len(sink.entries(log)) == 3)  # type: ignore[misc]  # bound at once
    for _, sink in nodes:
        assert {log for log, _ in sink.divergences} == set(lost)
        assert len(sink.divergences) == len(lost)
        assert all(common == Position(common.epoch, 0, ORIGIN_TAG) for _, common in sink.divergences)
        assert sink.gaps == []
    await cluster.heals()


async def test_what_is_listened_to_breaks_off(cluster: ValkeyCluster) -> None:
    """Every connection that hears is cut by its server again and again: what was missed is found and read."""
    async with Load(cluster.urls, fresh_prefix()) as load:
        for _ in range(5 * LOSSES):
            for server in cluster.servers:
                await asyncio.to_thread(server.call, "CLIENT", "KILL", "TYPE", "PUBSUB")
            await load.progress()
        assert load.refused == 0


async def test_what_is_not_read_overflows(cluster: ValkeyCluster, silences: Silences) -> None:
    """A node that reads nothing of what it is told is cut off by the servers, which keep no more for it; what it missed is in the log."""
    for server in cluster.servers:
        server.limit_listeners(1 << 16)
    # So patient that it is the servers who end what is not read.
    async with Load(cluster.urls, fresh_prefix(), deadline_s=PATIENT_S) as load:
        here, sink = load.engines[1], load.sinks[1]
        for number in range(LOSSES):
            primary = cluster.owner(slot(LOG))
            before, ear = primary.overflows, here._servers._ears[Address("127.0.0.1", primary.port)]
            stop_reading(ear)
            shown = len(sink.entries(LOG))
            # Many at once: what both kernels' buffers take must be there before the link is given up for its silence.
            for piece in itertools.count():
                if primary.overflows > before:
                    break
                assert piece < 200, "what is not read is kept"
                big = [draft(f"big{number}-{piece}-{n}", b"x" * 60_000) for n in range(16)]
                answer = await load.engines[0].commit(LOG, Commit(big))
                assert isinstance(answer, Committed)
                load.answered[LOG] += [(one.event_id, one.offset) for one in answer.placed]
            since = asyncio.get_running_loop().time()
            await load.progress()
            silences.note("a listener cut off", [load.sinks[1].heard_after_s(LOG, since)])
            assert len(sink.entries(LOG)) > shown
        assert load.refused == 0
    for server in cluster.servers:
        server.limit_listeners(1 << 30)


def stop_reading(ear: Ear) -> None:
    assert ear._link is not None
    assert ear._link._transport is not None
    ear._link._transport.pause_reading()


def beside(log: LogName) -> LogName:
    """Give a log of the same slot."""
    return next(name for name in (LogName(f"beside{n}") for n in itertools.count()) if slot(name) == slot(log))


def redirections(server: Valkey) -> Counter[str]:
    """Give how often a server refused commands, by its word for why."""
    lines = text(server.call("INFO", "errorstats")).splitlines()
    told = (line.removeprefix("errorstat_").partition(":count=") for line in lines)
    return Counter({name: int(count) for name, _, count in told if count})


def move_slot(moving: int, source: Valkey, target: Valkey) -> None:
    """Move a slot as `redis-cli --cluster reshard` does."""
    begin_move(moving, source, target)
    while move_keys(moving, source, target, 10):
        pass
    end_move(moving, source, target)


def begin_move(moving: int, source: Valkey, target: Valkey) -> None:
    source_id, target_id = (text(server.call("CLUSTER", "MYID")) for server in (source, target))
    target.call("CLUSTER", "SETSLOT", moving, "IMPORTING", source_id)
    source.call("CLUSTER", "SETSLOT", moving, "MIGRATING", target_id)


def move_keys(moving: int, source: Valkey, target: Valkey, count: int) -> bool:
    """Move so many keys; say whether there were any."""
    keys = source.call("CLUSTER", "GETKEYSINSLOT", moving, count)
    assert isinstance(keys, list)
    if keys:
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *map(text, keys))
    return bool(keys)


def end_move(moving: int, source: Valkey, target: Valkey) -> None:
    for server in (target, source):
        server.call("CLUSTER", "SETSLOT", moving, "NODE", text(target.call("CLUSTER", "MYID")))


def text(reply: object) -> str:
    assert isinstance(reply, bytes)
    return reply.decode()
