"""The port, part three: pages, floors and retention, names of logs, forgetting, signals, the end."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.engines.retention import stored_bytes
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import (
    ORIGIN_TAG,
    SYSTEM_LOG,
    Commit,
    Committed,
    Exact,
    LogName,
    Record,
    Retention,
)
from tests.contract.conftest import StartWorld
from tests.support.engines import LOG, OTHER, START_MS, World, draft, events, publish, read_all


async def test_pages(world: World) -> None:
    """A page has the entries after an offset, oldest first, as many as fit, with the log's top."""
    bodies = [b"x" * size for size in (10, 20, 30, 40, 0, 50)]
    await world.engine.commit(LOG, Commit([draft(f"e{n}", body) for n, body in enumerate(bodies)]))

    async def sizes(after: int, max_bytes: int) -> list[int]:
        page = await world.engine.read(LOG, after, max_bytes)
        assert page.top.offset == 6
        assert [e.offset for e in page.entries] == list(range(after + 1, after + 1 + len(page.entries)))
        return [len(e.body) for e in page.entries]

    assert await sizes(0, 1000) == [10, 20, 30, 40, 0, 50]
    assert await sizes(0, 60) == [10, 20, 30]
    assert await sizes(0, 59) == [10, 20]
    assert await sizes(3, 40) == [40, 0]
    assert await sizes(2, 1) == [30]
    assert await sizes(2, 0) == [30]
    assert await sizes(6, 1000) == []
    page = await world.engine.read(LOG, 1000, 1000)
    assert list(page.entries) == []


async def test_long_pages(world: World) -> None:
    """A page is bounded by bytes and by nothing else."""
    for start in range(0, 3000, 1000):
        await publish(world.engine, *(f"e{n}" for n in range(start, start + 1000)))
    assert len((await world.engine.read(LOG, 0, 6000)).entries) == 3000
    assert len((await world.engine.read(LOG, 0, 5999)).entries) == 2999
    assert len((await world.engine.read(LOG, 500, 2 * 1024)).entries) == 1024


async def test_reading_a_new_log_makes_its_epoch(world: World) -> None:
    """Reading, following or asking for records of a log that does not exist makes it, with an epoch that lasts."""
    first = (await world.engine.read(LOG, 0, 1000)).top
    second = (await world.engine.records(LOG, [Exact("a", "k")])).top
    assert first == second == await world.engine.follow(LOG)
    assert (first.offset, first.tag, first.floor_offset, first.floor_tag) == (0, ORIGIN_TAG, 0, ORIGIN_TAG)
    assert (await publish(world.engine, "a")).epoch == first.epoch


async def test_retention_by_age(start_world: StartWorld) -> None:
    """Entries older than the age go, the floor is the last that went, and a log that was emptied keeps its top."""
    world = await start_world(Retention(age_ms=100))
    first = await publish(world.engine, "a", "b")
    world.clock.now += 60
    second = await publish(world.engine, "c")
    world.clock.now += 40
    await world.tidy()
    assert len(await read_all(world.engine)) == 3
    world.clock.now += 1
    await world.tidy()
    page = await world.engine.read(LOG, 0, 1000)
    assert [e.event_id for e in page.entries] == ["c"]
    assert page.top.floor.offset == 2
    assert page.top.floor.tag == first.placed[1].tag
    assert page.top.position == second.top.position
    world.clock.now += 1000
    await world.tidy()
    page = await world.engine.read(LOG, 1, 1000)
    assert list(page.entries) == []
    assert page.top.floor == page.top.position == second.top.position
    third = await publish(world.engine, "d")
    assert (third.placed[0].offset, third.epoch) == (4, first.epoch)
    assert [e.offset for e in await read_all(world.engine, after=1)] == [4]


async def test_retention_by_count(start_world: StartWorld) -> None:
    """Beyond the count the oldest go."""
    world = await start_world(Retention(count=3))
    for n in range(10):
        await publish(world.engine, f"e{n}")
    await publish(world.engine, "other", log=OTHER)
    await world.tidy()
    assert [e.offset for e in await read_all(world.engine)] == [8, 9, 10]
    assert len(await read_all(world.engine, OTHER)) == 1


async def test_retention_by_bytes(start_world: StartWorld) -> None:
    """Above the cap the oldest go, whatever their age; sizes count ids and keys by their bytes."""
    each = stored_bytes("e0", ("é",), b"x" * 100)
    world = await start_world(Retention(max_bytes=5 * each))
    for n in range(5):
        await world.engine.commit(LOG, Commit([draft(f"e{n}", b"x" * 100, ("é",))]))
    await world.tidy()
    assert len(await read_all(world.engine)) == 5
    await world.engine.commit(LOG, Commit([draft("e5", b"x" * 100, ("é",)), draft("e6", b"x" * 101, ("é",))]))
    await world.tidy()
    assert [e.offset for e in await read_all(world.engine)] == [4, 5, 6, 7]


async def test_retention_in_bulk(start_world: StartWorld) -> None:
    """However many entries and logs are due, they go to the end."""
    world = await start_world(Retention(age_ms=100))
    names = [LogName(f"org{n}") for n in range(80)]
    await asyncio.gather(*(publish(world.engine, *(f"e{n}" for n in range(12)), log=name) for name in names))
    await publish(world.engine, *(f"e{n}" for n in range(1500)))
    world.clock.now += 101
    await publish(world.engine, "new")
    await world.tidy()
    assert [e.event_id for e in await read_all(world.engine)] == ["new"]
    for name in names:
        page = await world.engine.read(name, 0, 1000)
        assert (list(page.entries), page.top.floor_offset) == ([], 12)


async def test_event_ids_are_forgotten_with_their_entries(start_world: StartWorld) -> None:
    """Within retention an id is known; afterwards it is new again, whatever its digest."""
    world = await start_world(Retention(count=2))
    await publish(world.engine, "a", "b", "c")
    await world.tidy()
    answer = await world.engine.commit(LOG, Commit([draft("a", b"other"), draft("b")]))
    assert isinstance(answer, Committed)
    assert [(p.offset, p.duplicate) for p in answer.placed] == [(4, False), (2, True)]


async def test_names_of_logs_come_in_pages(world: World) -> None:
    """Existing logs are listed by code points, reserved ones included, in pages."""
    names = [SYSTEM_LOG, LogName("a"), LogName("b"), LogName("é"), LogName("\uffff"), LogName("\U00010000")]
    for name in reversed(names):
        await world.engine.follow(name)
    assert list(await world.engine.logs(None, 100)) == names
    assert list(await world.engine.logs(None, 2)) == names[:2]
    assert list(await world.engine.logs(LogName("aa"), 3)) == names[2:5]
    assert list(await world.engine.logs(names[-1], 3)) == []


async def test_forgetting(world: World) -> None:
    """A forgotten log is gone with its records; a later use begins a new epoch, and its neighbour is untouched."""
    old = await publish(world.engine, *(f"e{n}" for n in range(600)))
    await world.engine.commit(LOG, Commit(put=[Record("c", f"k{n}", b"", 1) for n in range(600)]))
    await publish(world.engine, "kept", log=OTHER)
    await world.engine.commit(OTHER, Commit(put=[Record("c", "k", b"", 1)]))
    await world.engine.forget(LOG)
    await world.engine.forget(LogName("nobody"))
    assert list(await world.engine.logs(None, 9)) == [OTHER]
    new = await publish(world.engine, "e1")
    assert new.epoch != old.epoch
    assert [(p.offset, p.duplicate) for p in new.placed] == [(1, False)]
    assert [e.offset for e in await read_all(world.engine)] == [1]
    assert (await world.engine.records(LOG, [Exact("c", "k1")])).results == [[]]
    assert len(await read_all(world.engine, OTHER)) == 1
    assert len((await world.engine.records(OTHER, [Exact("c", "k")])).results[0]) == 1


async def test_a_forgotten_log_is_still_followed(world: World) -> None:
    """Following is by name: what a new life of the log appends is delivered, with its epoch."""
    await world.engine.follow(LOG)
    await publish(world.engine, "a")
    await world.engine.forget(LOG)
    new = await publish(world.engine, "b")
    assert world.sink.told[-1].epoch == new.epoch
    assert [e.offset for e in world.sink.told[-1].entries] == [1]


async def test_signals(world: World) -> None:
    """A signal reaches those who follow, is stored nowhere, and is nothing where nobody follows."""
    await world.engine.signal(LOG, b"unheard")
    top = await world.engine.follow(LOG)
    await world.engine.signal(LOG, b"heard")
    await world.engine.signal(OTHER, b"unheard")
    await publish(world.engine, "a")
    assert world.sink.signals == [(LOG, b"heard")]
    assert (await world.engine.read(LOG, 0, 1000)).entries[0].offset == top.offset + 1


async def test_time_is_the_engines(world: World) -> None:
    """Entries and answers carry the engine's clock, whatever the callers think."""
    for at in (START_MS, START_MS + 5, START_MS + 3):
        world.clock.now = at
        assert (await publish(world.engine, f"e{at}")).at == at
    assert [e.at - START_MS for e in await read_all(world.engine)] == [0, 5, 3]


async def test_close_finishes_what_was_accepted(world: World) -> None:
    """Commits accepted before close are answered and delivered; afterwards everything is Unavailable, and close may be repeated."""
    engine = world.engine
    await engine.follow(LOG)
    commits = []
    for _ in range(3):  # one lot is under way while the next ones wait
        commits += [asyncio.ensure_future(engine.commit(LOG, events(f"e{len(commits) + n}"))) for n in range(10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(engine.close(), engine.close())
    await engine.close()
    answers = await asyncio.gather(*commits)
    assert all(isinstance(answer, Committed) for answer in answers)
    assert len(world.sink.entries()) == 30
    for call in (
        lambda: engine.commit(LOG, events("late")),
        lambda: engine.read(LOG, 0, 1000),
        lambda: engine.records(LOG, []),
        lambda: engine.signal(LOG, b""),
        lambda: engine.follow(LOG),
        lambda: engine.unfollow(LOG),
        lambda: engine.logs(None, 1),
        lambda: engine.forget(LOG),
    ):
        with pytest.raises(Unavailable):
            await call()
    assert len(world.sink.entries()) == 30


async def test_an_engine_that_never_started_can_be_closed(new_world: World) -> None:
    """Before its start an engine is Unavailable, and its close does nothing."""
    with pytest.raises(Unavailable):
        await new_world.engine.commit(LOG, events("a"))
    await new_world.engine.close()
