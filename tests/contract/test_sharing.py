"""The port, part four: several nodes over the same logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from signtusk_realtime.events.log import ABSENT, Commit, Committed, Exact, Key, LogName, Record
from tests.support.engines import LOG, OTHER, SHARED, World, draft, publish, read_all


@pytest.fixture(params=SHARED)
async def nodes(request: pytest.FixtureRequest) -> AsyncIterator[list[World]]:
    worlds = SHARED[request.param](2)
    for world in worlds:
        await world.engine.start(world.sink)
    yield worlds
    for world in worlds:
        await world.engine.close()
        assert world.sink.gaps == []


async def delivered(world: World, count: int, log: LogName = LOG) -> None:
    """Wait until a node was given so many entries."""
    await world.sink.until(lambda: len(world.sink.entries(log)) >= count)


async def test_what_one_node_commits_reaches_all(nodes: list[World]) -> None:
    """Both commit at once: each is given every entry once, in the log's order."""
    for node in nodes:
        await node.engine.follow(LOG)

    async def committer(node: World, name: str) -> None:
        for n in range(50):
            await publish(node.engine, f"{name}{n}", f"{name}{n}+")

    await asyncio.gather(*(committer(node, name) for node in nodes for name in (f"{id(node)}a", f"{id(node)}b")))
    log = await read_all(nodes[0].engine)
    assert len(log) == 400
    for node in nodes:
        await delivered(node, 400)
        assert node.sink.entries() == log


async def test_only_who_follows_is_given(nodes: list[World]) -> None:
    """A log that a node does not follow, or follows no more, is nothing to it."""
    here, there = nodes
    await there.engine.follow(OTHER)
    await publish(here.engine, "a")
    await publish(here.engine, "b", log=OTHER)
    await delivered(there, 1, OTHER)
    await there.engine.unfollow(OTHER)
    await there.engine.follow(LOG)
    await publish(here.engine, "c", log=OTHER)
    await publish(here.engine, "d")
    await delivered(there, 1)
    assert [told.log for told in there.sink.told] == [OTHER, LOG]


async def test_follow_begins_after_its_answer_whoever_commits(nodes: list[World]) -> None:
    """However another node's commits fall around it, delivery begins exactly after the top that follow answered."""
    here, there = nodes
    for turn in range(10):
        log = LogName(f"org{turn}")
        commits = [asyncio.ensure_future(publish(here.engine, f"e{n}", log=log)) for n in range(20)]
        await commits[turn]
        top = await there.engine.follow(log)
        await asyncio.gather(*commits)
        await delivered(there, 20 - top.offset, log)
        assert [entry.offset for entry in there.sink.entries(log)] == list(range(top.offset + 1, 21))


@pytest.mark.parametrize("body_bytes", [100, 60_000])
async def test_large_commits_arrive_whole(nodes: list[World], body_bytes: int) -> None:
    """What is too much to be told is read."""
    here, there = nodes
    await there.engine.follow(LOG)
    commit = Commit([draft(f"e{n}", b"x" * body_bytes) for n in range(40)])
    assert isinstance(await here.engine.commit(LOG, commit), Committed)
    await delivered(there, 40)
    assert there.sink.entries() == await read_all(here.engine)


async def test_a_signal_reaches_each_node_once(nodes: list[World]) -> None:
    """However many ways it comes."""
    here, there = nodes
    for node in nodes:
        await node.engine.follow(LOG)
    for n in range(20):
        await here.engine.signal(LOG, b"%d" % n)
    await publish(here.engine, "after")
    await delivered(there, 1)
    await there.sink.until(lambda: len(there.sink.signals) >= 20)
    for node in nodes:
        assert sorted(body for _, body in node.sink.signals) == sorted(b"%d" % n for n in range(20))


async def test_what_is_answered_is_seen_by_all(nodes: list[World]) -> None:
    """A record that one node was answered for is what the next reads, and only one of two takes what is there once."""
    key = Key("tickets", "t")
    for n in range(1, 30):
        put = Commit(expect=[(key, ABSENT)], put=[Record(*key, b"%d" % n, n)])
        assert isinstance(await nodes[n % 2].engine.commit(LOG, put), Committed)
        (found,) = (await nodes[1 - n % 2].engine.records(LOG, [Exact(*key)])).results[0]
        assert found.version == n
        taken = Commit(expect=[(key, n)], delete=[key])
        answers = await asyncio.gather(*(node.engine.commit(LOG, taken) for node in nodes for _ in range(2)))
        assert sum(isinstance(answer, Committed) for answer in answers) == 1


async def test_what_one_node_forgets_is_void_for_all(nodes: list[World]) -> None:
    """Who follows a log that another node erased is told, and given what its next life holds."""
    here, there = nodes
    await there.engine.follow(LOG)
    await publish(here.engine, "a", "b")
    await delivered(there, 2)
    await here.engine.forget(LOG)
    await there.sink.until(lambda: bool(there.sink.divergences))
    new = await publish(here.engine, "c")
    await delivered(there, 3)
    (told,) = there.sink.divergences
    assert (told[0], told[1].epoch, told[1].offset) == (LOG, new.epoch, 0)
    assert [(told.epoch == new.epoch, [e.offset for e in told.entries]) for told in there.sink.told][-1] == (True, [1])
