"""One Valkey server that goes away: what it means to publish and to follow meanwhile, and what is found when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.events.log import ORIGIN_TAG, Commit, Committed, LogName, Position
from tests.support.engines import LOG, OTHER, RecordingSink, draft, events, publish, read_all
from tests.support.losses import Load
from tests.support.polling import until
from tests.support.valkey import Valkey, running

pytestmark = pytest.mark.real_time


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    # With `everysec` what was answered may stand in its memory only, for as long as the disk is busy.
    options = (("appendonly", "yes"), ("appendfsync", "always"), ("repl-diskless-sync-delay", "0"))
    with running(Valkey(*options, folder=tmp_path)) as server:
        yield server


@pytest.fixture
async def nodes(server: Valkey) -> AsyncIterator[list[tuple[RedisEngine, RecordingSink]]]:
    nodes = [(RedisEngine([server.url]), RecordingSink()) for _ in range(2)]
    for engine, sink in nodes:
        await engine.start(sink)
    yield nodes
    for engine, sink in nodes:
        await engine.close()
        assert sink.gaps == []


Nodes = list[tuple[RedisEngine, RecordingSink]]


async def _has_replicas(engine: RedisEngine) -> bool:
    return all(primary.confirmations for primary in engine._servers.primaries)


async def _has_none(engine: RedisEngine) -> bool:
    return not await _has_replicas(engine)


async def until_health(nodes: Nodes, status: str) -> None:
    async with asyncio.timeout(20):
        for _, sink in nodes:
            await sink.until_health(status)


async def test_it_is_killed_and_comes_back(server: Valkey) -> None:
    """With an append-only file nothing that was answered is lost, and nobody is told that it might be."""
    async with Load([server.url]) as load:
        for _ in range(3):
            server.kill()
            await load.until_health("unavailable")
            await asyncio.to_thread(server.start)
            await load.until_health("ok")
            await load.progress()
        assert load.refused


async def test_while_it_is_away_nothing_is_answered(server: Valkey, nodes: Nodes) -> None:
    """Every call says so at once; logs stay followed, and what others commit later is delivered."""
    (here, sink), (there, _) = nodes
    await here.follow(LOG)
    first = await publish(here, "a")
    server.kill()
    await until_health(nodes, "unavailable")
    for call in (
        here.commit(LOG, events("b")),
        here.read(LOG, 0, 1),
        here.records(LOG, []),
        here.follow(OTHER),
        here.logs(None, 1),
    ):
        with pytest.raises(Unavailable):
            async with asyncio.timeout(0.5):
                await call
    server.start()
    await until_health(nodes, "ok")
    assert (await publish(there, "b")).epoch == first.epoch
    await sink.until(lambda: len(sink.entries()) == 2)
    assert sink.entries() == await read_all(there)
    assert sink.divergences == []


async def test_what_no_replica_has_is_neither_answered_nor_shown(server: Valkey, nodes: Nodes) -> None:
    """Nor read: it could still vanish. When the replica goes on, what it then has is shown without anybody repeating it."""
    (here, sink), (there, other) = nodes
    with running(Valkey(("replicaof", f"127.0.0.1 {server.port}"))) as replica:
        for engine, _ in nodes:
            await engine.follow(LOG)
            await until(partial(_has_replicas, engine), within_s=20)
        await publish(here, "a")
        await other.until(lambda: len(other.entries()) == 1)
        replica.freeze()
        with pytest.raises(Unavailable, match="0 of 1 replicas"):
            await here.commit(LOG, events("b"))
        with pytest.raises(Unavailable):
            await there.read(LOG, 0, 1000)
        assert [len(told.entries()) for _, told in nodes] == [1, 1]
        replica.thaw()
        async with asyncio.timeout(20):
            for _, told in nodes:
                await told.until(lambda told=told: len(told.entries()) == 2)  # type: ignore[misc]  # bound at once
        assert (await publish(there, "b")).placed[0].duplicate
    await until_health(nodes, "degraded")
    await publish(here, "c")
    assert len(sink.entries()) == 3


async def test_a_copy_is_whole_when_it_has_what_was_answered_without_it(server: Valkey, nodes: Nodes) -> None:
    """A server streams to its replica before that has read what it copied. Until it has, answers exist once, and health says so."""
    (here, _), _ = nodes
    options = (
        ("replicaof", f"127.0.0.1 {server.port}"),
        ("key-load-delay", "4000"),
    )
    replica = Valkey(*options)
    with running(replica):
        for engine, _ in nodes:
            await until(partial(_has_replicas, engine), within_s=20)
        await until_health(nodes, "ok")
        for number in range(40):
            await here.commit(LogName(f"org{number}"), events("a"))
        replica.kill()
        replica.forget()
        await until_health(nodes, "degraded")
        alone = await here.commit(LOG, events("alone"))
        starting = asyncio.create_task(asyncio.to_thread(replica.start))
        await until(partial(_streams, server), within_s=20)
        await until_health(nodes, "ok")
        await starting
        assert isinstance(alone, Committed)
        # Compared as they lie: the replica is asked as it is at this moment.
        meta = here._keys.log(LOG).meta
        assert replica.call("HGETALL", meta) == server.call("HGETALL", meta) != []


async def _streams(server: Valkey) -> bool:
    role = await asyncio.to_thread(server.call, "ROLE")
    assert isinstance(role, list)
    return bool(role[2])


async def test_with_fewer_replicas_than_demanded_nothing_is_written(server: Valkey) -> None:
    """Who would rather not publish than answer with one copy: refused before anything is stored; read as before; and again when it is back."""
    engine, sink = RedisEngine([server.url], min_replicas=1), RecordingSink()
    await engine.start(sink)
    try:
        with pytest.raises(Unavailable, match="has 0 replicas, and redis_min_replicas is 1"):
            await engine.commit(LOG, events("a"))
        await until_health([(engine, sink)], "degraded")
        with running(Valkey(("replicaof", f"127.0.0.1 {server.port}"))) as replica:
            await until(partial(_has_replicas, engine), within_s=20)
            await until_health([(engine, sink)], "ok")
            await engine.follow(LOG)
            await publish(engine, "a")
            replica.kill()
            await until(partial(_has_none, engine), within_s=20)
            with pytest.raises(Unavailable, match="has 0 replicas"):
                await engine.commit(LOG, events("b"))
            assert [entry.event_id for entry in await read_all(engine)] == ["a"]
            await asyncio.to_thread(replica.start)
            await until(partial(_has_replicas, engine), within_s=20)
            await until_health([(engine, sink)], "ok")
            assert not (await publish(engine, "b")).placed[0].duplicate
    finally:
        await engine.close()
    assert [entry.event_id for entry in sink.entries()] == ["a", "b"]


async def test_what_was_committed_unheard_is_found(server: Valkey, nodes: Nodes) -> None:
    """A node that was cut off finds what the others committed meanwhile, without anybody committing again."""
    (here, sink), (there, _) = nodes
    await here.follow(LOG)
    await publish(there, "a")
    await sink.until(lambda: len(sink.entries()) == 1)
    server.call("CLIENT", "KILL", "TYPE", "PUBSUB")
    await publish(there, "b")
    async with asyncio.timeout(5):
        await sink.until(lambda: len(sink.entries()) == 2)


async def test_it_stands_still(server: Valkey, nodes: Nodes) -> None:
    """A server that does not answer for a second is away; what was sent to it is unknown, and repeating it publishes once."""
    (here, sink), _ = nodes
    await here.follow(LOG)
    await publish(here, "a")
    server.freeze()
    with pytest.raises(Unavailable):
        await here.commit(LOG, events("b"))
    await until_health(nodes, "unavailable")
    server.thaw()
    await until_health(nodes, "ok")
    again = await publish(here, "b", "c")
    assert [entry.event_id for entry in await read_all(here)] == ["a", "b", "c"]
    assert sink.entries() == await read_all(here)
    assert again.placed[1].offset == 3


async def test_it_comes_back_empty(tmp_path: Path, server: Valkey, nodes: Nodes) -> None:
    """Everybody is told that what was delivered is void, before anything of the next life, which is another epoch."""
    for engine, _ in nodes:
        await engine.follow(LOG)
    lost = await publish(nodes[0][0], "a", "b")
    for _, sink in nodes:
        await sink.until(lambda sink=sink: len(sink.entries()) == 2)  # type: ignore[misc]  # bound at once
    server.kill()
    await until_health(nodes, "unavailable")
    for file in tmp_path.rglob("*.aof"):
        file.unlink()
    for file in tmp_path.rglob("*.manifest"):
        file.unlink()
    server.start()
    for engine, sink in nodes:
        async with asyncio.timeout(5):
            await sink.until(lambda sink=sink: bool(sink.divergences))  # type: ignore[misc]  # bound at once
        epoch = (await engine.follow(LOG)).epoch
        assert sink.divergences == [(LOG, Position(epoch, 0, ORIGIN_TAG))]
        assert epoch != lost.epoch
    await publish(nodes[1][0], "a")
    for _, sink in nodes:
        await sink.until(lambda sink=sink: len(sink.entries()) == 3)  # type: ignore[misc]  # bound at once
        assert sink.told[-1].entries[0].offset == 1


async def test_it_comes_back_with_less(tmp_path: Path, server: Valkey, nodes: Nodes) -> None:
    """Where the newest is lost and its offsets are given anew, what was delivered is void above the last that is common."""
    (here, sink), (there, _) = nodes
    for engine, _ in nodes:
        await engine.follow(LOG)
    kept = await publish(here, "a", "b")
    server.call("SAVE")
    await publish(here, "c", "d")
    await nodes[1][1].until(lambda: len(nodes[1][1].entries()) == 4)
    server.kill()
    await until_health(nodes, "unavailable")
    saved = (tmp_path / "dump.rdb").read_bytes()
    second = Valkey(folder=tmp_path / "second", port=server.port)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "dump.rdb").write_bytes(saved)
    with running(second):
        async with asyncio.timeout(20):
            for _, told in nodes:
                await told.until(lambda told=told: bool(told.divergences))  # type: ignore[misc]  # bound at once
        await publish(there, "x", "y")
        await sink.until(lambda: len(sink.entries()) == 6)
        assert sink.divergences == [(LOG, kept.top.position)]
        assert [entry.event_id for entry in sink.entries()] == ["a", "b", "c", "d", "x", "y"]
        assert [entry.event_id for entry in await read_all(here)] == ["a", "b", "x", "y"]


async def test_start_waits_for_it_if_told(server: Valkey) -> None:
    """A server that is not there yet is waited for as long as was said, and then refused."""
    server.kill()
    with pytest.raises(Unavailable):
        await RedisEngine([server.url]).start(RecordingSink())
    engine, sink = RedisEngine([server.url], wait_s=20), RecordingSink()
    starting = asyncio.ensure_future(engine.start(sink))
    with pytest.raises(Unavailable):
        await RedisEngine([server.url], wait_s=0.2).start(RecordingSink())
    server.start()
    await starting
    await publish(engine, "a")
    await engine.close()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([("appendonly", "no")], "neither a replica nor an append-only file"),
        ([("appendonly", "yes"), ("maxmemory-policy", "allkeys-lru")], "maxmemory-policy is allkeys-lru"),
    ],
)
async def test_a_server_that_would_lose_events_is_refused(options: list[tuple[str, str]], fault: str) -> None:
    """Unless told otherwise."""
    with running(Valkey(*options)) as server:
        with pytest.raises(ConfigurationError, match=fault):
            await RedisEngine([server.url]).start(RecordingSink())
        engine = RedisEngine([server.url], allow_unsafe=True)
        await engine.start(RecordingSink())
        await engine.close()


async def test_who_logs_in() -> None:
    """A user with a password and a prefix of its own is enough; a wrong password is a fault of the configuration, and is not repeated."""
    with running(Valkey(("appendonly", "yes"))) as server:
        server.call("ACL", "SETUSER", "rt", "on", ">se:cret@", "~mine:*", "&mine:*", "+@all")
        url = server.url.replace("redis://", "redis://rt:{}@")
        engine = RedisEngine([url.format("se%3Acret%40")], prefix="mine")
        await engine.start(RecordingSink())
        await engine.follow(LOG)
        await publish(engine, "a")
        await engine.close()
        with pytest.raises(ConfigurationError) as refused:
            await RedisEngine([url.format("no-secret")], prefix="mine").start(RecordingSink())
        assert "no-secret" not in str(refused.value)
        with pytest.raises(ConfigurationError, match="NOPERM"):
            await RedisEngine([url.format("se%3Acret%40")], prefix="others").start(RecordingSink())


async def test_what_failed_half_way_is_never_answered(server: Valkey, nodes: Nodes) -> None:
    """A user who may write all but entries: whatever is repeated is refused, and once it may be stored it is, for the first time."""
    server.call("ACL", "SETUSER", "rt", "on", "nopass", "~*", "&*", "+@all", "-xadd")
    engine = RedisEngine([server.url.replace("redis://", "redis://rt:x@")])
    await engine.start(RecordingSink())
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="xadd"):
                await engine.commit(LOG, events("a", "b"))
        assert await read_all(nodes[0][0]) == []
        server.call("ACL", "SETUSER", "rt", "+xadd")
        answer = await engine.commit(LOG, events("a", "b"))
        assert isinstance(answer, Committed)
        assert [(placed.offset, placed.duplicate) for placed in answer.placed] == [(1, False), (2, False)]
        assert [entry.event_id for entry in await read_all(nodes[0][0])] == ["a", "b"]
    finally:
        await engine.close()


async def test_what_is_left_of_a_lost_log_is_not_taken_for_the_new_one(server: Valkey, nodes: Nodes) -> None:
    """Where its one key vanished that says what is true, as by an eviction, a log begins anew, and what is repeated is stored."""
    (here, _), _ = nodes
    lost = await publish(here, "a")
    server.call("DEL", here._keys.log(LOG).meta)
    again = await publish(here, "a")
    assert not again.placed[0].duplicate
    assert again.epoch != lost.epoch
    assert [entry.event_id for entry in await read_all(here)] == ["a"]


async def test_a_full_server_refuses_and_recovers(server: Valkey, nodes: Nodes) -> None:
    """Nothing is answered that was not kept; reading goes on, and so does publishing when there is room."""
    (here, sink), _ = nodes
    await here.follow(LOG)
    await publish(here, "a")
    server.call("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Unavailable, match="OOM"):
        await here.commit(LOG, Commit([draft("b")]))
    assert len(await read_all(here)) == 1
    server.call("CONFIG", "SET", "maxmemory", "0")
    await publish(here, "b")
    assert [entry.event_id for entry in sink.entries()] == ["a", "b"]
