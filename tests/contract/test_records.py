"""The port, part two: records, expectations, expiry, consistent views."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from signtusk_realtime.events.log import ABSENT, Commit, Committed, Exact, Key, Range, Record, Stale
from tests.support.engines import LOG, OTHER, START_MS, World, draft, publish

DOCUMENT = Key("documents", "doc123")


async def put(world: World, *records: Record) -> None:
    answer = await world.engine.commit(LOG, Commit(put=records))
    assert isinstance(answer, Committed)


async def find(world: World, query: Exact | Range) -> Sequence[Record]:
    return (await world.engine.records(LOG, [query])).results[0]


async def test_a_record_comes_back_as_it_was_put(world: World) -> None:
    """Value, version and expiry are read as they were put, whatever the characters and bytes."""
    records = [
        Record("documents", "é,;'", bytes(range(256)), 41),
        Record("documents", "empty", b"", 1, START_MS + 5),
        Record("documents", "huge", b"x" * 300_000, 2**62),
    ]
    await put(world, *records)
    for record in records:
        assert list(await find(world, Exact("documents", record.key))) == [record]


async def test_put_replaces_and_delete_removes(world: World) -> None:
    """A put replaces the whole record, expiry included; a delete removes it, and one that is not there is no error."""
    await put(world, Record(*DOCUMENT, b"1", 1, START_MS + 5))
    await put(world, Record(*DOCUMENT, b"2", 2))
    assert list(await find(world, Exact(*DOCUMENT))) == [Record(*DOCUMENT, b"2", 2)]
    answer = await world.engine.commit(LOG, Commit(delete=[DOCUMENT, Key("documents", "nothing")]))
    assert isinstance(answer, Committed)
    assert list(await find(world, Exact(*DOCUMENT))) == []


async def test_delete_comes_after_put(world: World) -> None:
    """Of a key both put and deleted in one commit nothing is left; of a key put twice the last stands."""
    await world.engine.commit(
        LOG,
        Commit(
            put=[Record("a", "k", b"1", 1), Record("a", "l", b"1", 1), Record("a", "l", b"2", 2)],
            delete=[Key("a", "k")],
        ),
    )
    assert list(await find(world, Range("a", "", "z", 10))) == [Record("a", "l", b"2", 2)]


async def test_expectations(world: World) -> None:
    """A commit happens if each expected record has its version or is absent; else nothing of it does, and the keys are named."""
    await put(world, Record(*DOCUMENT, b"1", 7), Record("documents", "other", b"1", 1))
    other, missing = Key("documents", "other"), Key("documents", "missing")
    refused = Commit(
        [draft("a")],
        expect=[(DOCUMENT, 8), (other, 1), (missing, ABSENT), (Key("documents", "gone"), 3)],
        put=[Record(*DOCUMENT, b"2", 8)],
        delete=[other],
    )
    answer = await world.engine.commit(LOG, refused)
    assert isinstance(answer, Stale)
    assert list(answer.keys) == [DOCUMENT, Key("documents", "gone")]
    assert answer.top.offset == 0
    assert [r.version for r in await find(world, Range("documents", "", "\U0010ffff", 10))] == [7, 1]

    accepted = refused._replace(expect=[(DOCUMENT, 7), (other, 1), (missing, ABSENT)])
    assert isinstance(await world.engine.commit(LOG, accepted), Committed)
    assert [r.version for r in await find(world, Range("documents", "", "\U0010ffff", 10))] == [8]


async def test_expecting_absence_fails_where_something_is(world: World) -> None:
    """ABSENT is an expectation like any other."""
    await put(world, Record(*DOCUMENT, b"1", 1))
    assert isinstance(await world.engine.commit(LOG, Commit(expect=[(DOCUMENT, ABSENT)])), Stale)


async def test_one_of_many_takes_a_ticket(world: World) -> None:
    """Of many who expect the same version and delete, exactly one succeeds."""
    await put(world, Record("tickets", "t", b"secret", 1))
    taken = Commit(expect=[(Key("tickets", "t"), 1)], delete=[Key("tickets", "t")])
    answers = await asyncio.gather(*(world.engine.commit(LOG, taken) for _ in range(20)))
    assert sum(isinstance(answer, Committed) for answer in answers) == 1


async def test_compare_and_set_counts_exactly(world: World) -> None:
    """Many who increment by compare-and-set, with an event each, lose no increment."""
    counter = Key("counters", "c")

    async def increment(number: int) -> None:
        for turn in range(5):
            while True:
                found = await find(world, Exact(*counter))
                version = found[0].version if found else ABSENT
                commit = Commit(
                    [draft(f"{number}-{turn}")], expect=[(counter, version)], put=[Record(*counter, b"", version + 1)]
                )
                if isinstance(await world.engine.commit(LOG, commit), Committed):
                    break

    await asyncio.gather(*map(increment, range(5)))
    snapshot = await world.engine.records(LOG, [Exact(*counter)])
    assert (snapshot.results[0][0].version, snapshot.top.offset) == (25, 25)


async def test_an_expired_record_is_absent(world: World) -> None:
    """From its expiry on, by the engine's clock, a record is absent to reads and to expectations, deleted or not yet."""
    await put(world, Record(*DOCUMENT, b"1", 1, START_MS + 10))
    world.clock.now = START_MS + 9
    assert len(await find(world, Exact(*DOCUMENT))) == 1
    world.clock.now = START_MS + 10
    assert await find(world, Exact(*DOCUMENT)) == []
    assert await find(world, Range("documents", "", "z", 9)) == []
    assert isinstance(await world.engine.commit(LOG, Commit(expect=[(DOCUMENT, 1)])), Stale)
    assert isinstance(await world.engine.commit(LOG, Commit(expect=[(DOCUMENT, ABSENT)])), Committed)
    await world.tidy()
    assert await find(world, Exact(*DOCUMENT)) == []
    again = Commit(expect=[(DOCUMENT, ABSENT)], put=[Record(*DOCUMENT, b"2", 1)])
    assert isinstance(await world.engine.commit(LOG, again), Committed)
    await world.tidy()
    assert list(await find(world, Exact(*DOCUMENT))) == [Record(*DOCUMENT, b"2", 1)]


async def test_a_record_may_be_put_too_late(world: World) -> None:
    """A record that has expired when it is put is absent at once, for a commit of the same turn too."""
    late = Record(*DOCUMENT, b"1", 1, START_MS)
    answers = await asyncio.gather(
        world.engine.commit(LOG, Commit(put=[late])),
        world.engine.commit(LOG, Commit(expect=[(DOCUMENT, 1)])),
        world.engine.commit(LOG, Commit(expect=[(DOCUMENT, ABSENT)])),
    )
    assert [type(answer) for answer in answers] == [Committed, Stale, Committed]
    assert await find(world, Exact(*DOCUMENT)) == []


async def test_nobody_is_told_of_expiry(world: World) -> None:
    """Expiry is silent: nothing is appended and nothing delivered."""
    top = await world.engine.follow(LOG)
    await put(world, Record(*DOCUMENT, b"1", 1, START_MS + 10))
    world.clock.now = START_MS + 10_000
    await world.tidy()
    assert (await world.engine.follow(LOG)).position == top.position
    assert world.sink.told == []


async def test_ranges(world: World) -> None:
    """A range has the records of one collection from first to last, both included, in order of code points, at most `limit`."""
    keys = ["", "a", "a:1", "a:2", "b", "é", "\uffff", "\U00010000"]
    await put(world, *(Record("c", key, b"", 1) for key in reversed(keys)), Record("d", "a", b"", 1))

    async def found(first: str, last: str, limit: int = 99, *, descending: bool = False) -> list[str]:
        return [r.key for r in await find(world, Range("c", first, last, limit, descending))]

    assert await found("", "\U0010ffff") == keys
    assert await found("", "\U0010ffff", descending=True) == keys[::-1]
    assert await found("a", "a:2") == ["a", "a:1", "a:2"]
    assert await found("a:", "z", 2) == ["a:1", "a:2"]
    assert await found("a:", "z", 2, descending=True) == ["b", "a:2"]
    assert await found("b", "a") == []
    assert await found("", "z", 0) == []


async def test_ranges_of_so_many_bytes(world: World) -> None:
    """With `max_bytes` a range ends with the record whose value reaches them; `limit` holds too, and what has expired counts for nothing."""
    sizes = [3, 0, 4, 300_000, 1, 1]
    await put(world, *(Record("c", f"k{n}", b"x" * size, 12) for n, size in enumerate(sizes)))
    await put(world, Record("c", "k0a", b"x" * 9, 1, START_MS + 5))
    world.clock.now += 10

    async def found(limit: int, most: int, *, descending: bool = False) -> str:
        return "".join(r.key[1:] for r in await find(world, Range("c", "", "z", limit, descending, most)))

    assert await found(99, 1) == "0"
    assert await found(99, 3) == "0"
    assert await found(99, 4) == "012"
    assert await found(99, 7) == "012"
    assert await found(99, 8) == "0123"
    assert await found(2, 8) == "01"
    assert await found(99, 300_008) == "01234"
    assert await found(99, 1 << 40) == "012345"
    assert await found(99, 2, descending=True) == "54"
    assert await found(99, 3, descending=True) == "543"


async def test_records_belong_to_their_log(world: World) -> None:
    """The same address in another log is another record."""
    await put(world, Record(*DOCUMENT, b"1", 1))
    assert (await world.engine.records(OTHER, [Exact(*DOCUMENT)])).results == [[]]
    assert isinstance(await world.engine.commit(OTHER, Commit(expect=[(DOCUMENT, ABSENT)])), Committed)


async def test_several_queries_are_answered_in_order(world: World) -> None:
    """Each query has its own result, with the log's top and the engine's clock beside them; of no queries too."""
    await put(world, Record("a", "k", b"1", 1), Record("b", "k", b"2", 2))
    top = (await publish(world.engine, "e")).top
    world.clock.now += 5
    snapshot = await world.engine.records(LOG, [Exact("b", "k"), Exact("c", "k"), Range("a", "", "z", 9)])
    assert [[r.value for r in result] for result in snapshot.results] == [[b"2"], [], [b"1"]]
    assert (snapshot.top, snapshot.at) == (top, START_MS + 5)
    assert list((await world.engine.records(LOG, [])).results) == []


async def test_a_view_is_consistent(world: World) -> None:
    """However commits run meanwhile, what one call answers belongs to one moment, the top included."""
    a, b = Key("a", "k"), Key("b", "k")

    async def write() -> None:
        for n in range(1, 60):
            await world.engine.commit(LOG, Commit([draft(f"e{n}")], put=[Record(*a, b"", n), Record(*b, b"", n)]))

    async def look() -> None:
        while not writing.done():
            snapshot = await world.engine.records(LOG, [Exact(*a), Range(b.collection, "", "z", 1)])
            versions = [result[0].version if result else 0 for result in snapshot.results]
            assert versions == [snapshot.top.offset] * 2
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    await asyncio.gather(writing, look(), look())


async def test_an_answered_commit_is_seen_by_the_next_read(world: World) -> None:
    """Who was answered reads what he wrote."""
    for n in range(1, 40):
        await put(world, Record(*DOCUMENT, b"", n))
        assert (await find(world, Exact(*DOCUMENT)))[0].version == n
