"""The port, part one: appending events, duplicates, delivery."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.events.log import (
    ORIGIN_TAG,
    SYSTEM_LOG,
    Commit,
    Committed,
    Draft,
    Epoch,
    Key,
    LogName,
    Placed,
    Record,
    Reused,
    Stale,
    chain,
)
from tests.support.engines import LOG, OTHER, START_MS, World, draft, events, publish, read_all


async def test_offsets_begin_at_one_and_tags_chain(world: World) -> None:
    """Offsets are 1, 2, 3 … and each tag chains to the one before."""
    first = await publish(world.engine, "a", "b")
    second = await publish(world.engine, "c")
    tag_a = chain(ORIGIN_TAG, "a")
    tag_b = chain(tag_a, "b")
    tag_c = chain(tag_b, "c")
    assert first.placed == [Placed("a", 1, tag_a, False), Placed("b", 2, tag_b, False)]
    assert second.placed == [Placed("c", 3, tag_c, False)]
    assert (second.top.offset, second.top.tag) == (3, tag_c)
    assert (second.top.floor_offset, second.top.floor_tag) == (0, ORIGIN_TAG)
    assert second.epoch == first.epoch == second.top.epoch


async def test_an_epoch_is_sixteen_hex_characters(world: World) -> None:
    """An epoch has 16 characters of [0-9a-f], and each log has its own."""
    epochs = [(await world.engine.follow(log)).epoch for log in (LOG, OTHER, SYSTEM_LOG)]
    assert all(len(epoch) == 16 and set(epoch) <= set("0123456789abcdef") for epoch in epochs)
    assert len(set(epochs)) == 3


async def test_an_entry_comes_back_as_it_was_given(world: World) -> None:
    """Id, keys, body and the engine's time of an entry are read as they were appended, whatever their characters and bytes."""
    given = [
        Draft("é-日本-😀", b"\x01" * 32, ("user:é", "a,b;c", "", "'quoted'"), bytes(range(256))),
        Draft("b", b"\x02" * 32, (), b""),
    ]
    world.clock.now = START_MS + 17
    answer = await world.engine.commit(LOG, Commit(given))
    assert isinstance(answer, Committed)
    assert answer.at == START_MS + 17
    page = await world.engine.read(LOG, 0, 1 << 20)
    assert [(e.event_id, e.keys, e.body, e.at) for e in page.entries] == [
        (d.event_id, d.keys, d.body, START_MS + 17) for d in given
    ]
    assert [(e.offset, e.tag) for e in page.entries] == [(p.offset, p.tag) for p in answer.placed]


async def test_a_known_id_is_answered_as_duplicate(world: World) -> None:
    """A draft whose id is known with the same digest is answered with its first place and not appended again."""
    first = await publish(world.engine, "a", "b")
    again = await publish(world.engine, "b", "c", "a")
    assert [p.duplicate for p in again.placed] == [True, False, True]
    assert again.placed[0] == first.placed[1]._replace(duplicate=True)
    assert again.placed[2] == first.placed[0]._replace(duplicate=True)
    assert [e.event_id for e in await read_all(world.engine)] == ["a", "b", "c"]


async def test_an_id_twice_in_one_commit_is_appended_once(world: World) -> None:
    """Within one commit the second draft of an id is the duplicate of the first."""
    answer = await publish(world.engine, "a", "a", "b")
    assert [(p.offset, p.duplicate) for p in answer.placed] == [(1, False), (1, True), (2, False)]


async def test_a_known_id_with_another_digest_is_reused(world: World) -> None:
    """An id known with another digest refuses the whole commit and names the ids, each once."""
    await publish(world.engine, "a", "b")
    commit = Commit(
        [draft("new"), draft("b", b"other"), draft("a", b"other"), draft("b", b"third")],
        put=[Record("documents", "d", b"v", 1)],
    )
    assert await world.engine.commit(LOG, commit) == Reused(("b", "a"))
    assert len(await read_all(world.engine)) == 2


async def test_an_id_with_two_digests_in_one_commit_is_reused(world: World) -> None:
    """Two drafts of one id with different digests refuse the commit, though the id is new."""
    assert await world.engine.commit(LOG, Commit([draft("a"), draft("a", b"other")])) == Reused(("a",))
    assert await read_all(world.engine) == []


async def test_ids_belong_to_their_log(world: World) -> None:
    """The same id in another log is another event."""
    await publish(world.engine, "a")
    answer = await publish(world.engine, "a", log=OTHER)
    assert [(p.offset, p.duplicate) for p in answer.placed] == [(1, False)]


async def test_known_first_id_of_a_change_stores_nothing(world: World) -> None:
    """With put or delete, a known first id stores nothing at all and answers every known draft as a duplicate."""
    change = Commit([draft("change"), draft("extra")], put=[Record("documents", "d", b"1", 1)])
    first = await world.engine.commit(LOG, change)
    assert isinstance(first, Committed)
    repeated = Commit(
        [draft("change"), draft("extra"), draft("unknown")],
        epoch=Epoch("another"),
        expect=[(Key("documents", "d"), 77)],
        put=[Record("documents", "d", b"2", 2)],
        delete=[Key("documents", "e")],
    )
    answer = await world.engine.commit(LOG, repeated)
    assert isinstance(answer, Committed)
    assert list(answer.placed) == [
        *(place._replace(duplicate=True) for place in first.placed),
        Placed("unknown", 0, ORIGIN_TAG, False),
    ]
    assert len(await read_all(world.engine)) == 2
    later = await world.engine.commit(LOG, Commit(expect=[(Key("documents", "d"), 1)]))
    assert isinstance(later, Committed)


async def test_another_epoch_is_stale(world: World) -> None:
    """A commit that names another epoch than the log's changes nothing; the log's own is accepted."""
    top = await world.engine.follow(LOG)
    answer = await world.engine.commit(LOG, Commit([draft("a")], epoch=Epoch("0" * 16)))
    assert answer == Stale(top, ())
    assert isinstance(await world.engine.commit(LOG, Commit([draft("a")], epoch=top.epoch)), Committed)


async def test_a_stale_answer_on_a_new_log_names_its_lasting_epoch(world: World) -> None:
    """A commit that is refused on a log that does not exist yet makes the log: the epoch it answers stays."""
    answer = await world.engine.commit(LOG, Commit([draft("a")], epoch=Epoch("0" * 16)))
    assert isinstance(answer, Stale)
    assert (await world.engine.follow(LOG)) == answer.top


async def test_reused_is_found_before_stale(world: World) -> None:
    """The order of checks: Reused first, then the epoch."""
    await publish(world.engine, "a")
    answer = await world.engine.commit(LOG, Commit([draft("a", b"other")], epoch=Epoch("0" * 16)))
    assert answer == Reused(("a",))


async def test_an_empty_commit_changes_nothing(world: World) -> None:
    """An empty commit is answered with the top, and delivers nothing."""
    await world.engine.follow(LOG)
    before = await publish(world.engine, "a")
    answer = await world.engine.commit(LOG, Commit())
    assert isinstance(answer, Committed)
    assert (answer.top, list(answer.placed)) == (before.top, [])
    assert len(world.sink.told) == 1


async def test_delivered_before_answered(world: World) -> None:
    """When a commit is answered its entries have been delivered, and when they are delivered they can be read."""
    await world.engine.follow(LOG)
    reads: list[asyncio.Task[list[object]]] = []

    async def look() -> list[object]:
        return list(await read_all(world.engine))

    world.sink.on_appended = lambda: reads.append(asyncio.ensure_future(look()))
    answer = await publish(world.engine, "a", "b")
    assert [(e.event_id, e.offset) for e in world.sink.entries()] == [("a", 1), ("b", 2)]
    assert world.sink.told[0].epoch == answer.epoch
    assert await reads[0] == world.sink.entries()


async def test_only_what_is_new_is_delivered(world: World) -> None:
    """Duplicates and refused commits reach no sink."""
    await world.engine.follow(LOG)
    await publish(world.engine, "a")
    await publish(world.engine, "a", "b")
    await world.engine.commit(LOG, Commit([draft("a", b"other"), draft("c")]))
    await publish(world.engine, "a")
    assert [[e.event_id for e in told.entries] for told in world.sink.told] == [["a"], ["b"]]


async def test_only_followed_logs_are_delivered(world: World) -> None:
    """What is appended to a log that nobody follows is not delivered; unfollow ends delivery, of an unknown log too."""
    await publish(world.engine, "a")
    top = await world.engine.follow(LOG)
    assert (top.offset, world.sink.told) == (1, [])
    await publish(world.engine, "b", log=OTHER)
    await publish(world.engine, "b")
    await world.engine.unfollow(LOG)
    await world.engine.unfollow(LogName("nobody"))
    await publish(world.engine, "c")
    assert [e.event_id for e in world.sink.entries()] == ["b"]
    assert world.sink.entries(OTHER) == []


async def test_follow_is_idempotent(world: World) -> None:
    """Following twice delivers once, and one unfollow ends it."""
    assert await world.engine.follow(LOG) == await world.engine.follow(LOG)
    await publish(world.engine, "a")
    assert len(world.sink.entries()) == 1


async def test_follow_stands_at_one_place_among_commits(world: World) -> None:
    """Whatever is going on, delivery begins exactly after the top that follow answered."""
    commits = [asyncio.ensure_future(publish(world.engine, f"e{n}")) for n in range(50)]
    await commits[10]
    top = await world.engine.follow(LOG)
    await asyncio.gather(*commits)
    await publish(world.engine, "last")
    assert [e.offset for e in world.sink.entries()] == list(range(top.offset + 1, 52))


async def test_a_sink_that_raises_harms_nobody(world: World) -> None:
    """An engine that sees its sink raise goes on and answers."""

    def fail() -> None:
        raise RuntimeError("a fault of the sink")

    await world.engine.follow(LOG)
    world.sink.on_appended = fail
    await publish(world.engine, "a")
    world.sink.on_appended = None
    await publish(world.engine, "b")
    assert [e.event_id for e in world.sink.entries()] == ["a", "b"]


async def test_many_committers_at_once(world: World) -> None:
    """Many committers at once, repeating themselves: offsets are 1..n without gaps, each event exactly once, delivered in order."""
    await world.engine.follow(LOG)

    async def committer(number: int) -> list[tuple[str, int]]:
        placed: list[tuple[str, int]] = []
        for turn in range(20):
            ids = [f"{number}-{turn}-{n}" for n in range(turn % 3 + 1)]
            answers = await asyncio.gather(publish(world.engine, *ids), publish(world.engine, *ids))
            assert [p.offset for p in answers[0].placed] == [p.offset for p in answers[1].placed]
            assert all(a.duplicate != b.duplicate for a, b in zip(answers[0].placed, answers[1].placed, strict=True))
            placed += [(p.event_id, p.offset) for p in answers[0].placed]
        return placed

    answered = [place for places in await asyncio.gather(*map(committer, range(12))) for place in places]
    entries = await read_all(world.engine, max_bytes=64)
    assert [e.offset for e in entries] == list(range(1, len(entries) + 1))
    assert sorted((e.event_id, e.offset) for e in entries) == sorted(answered)
    assert world.sink.entries() == entries


async def test_later_commits_see_earlier_ones_of_the_same_turn(world: World) -> None:
    """Commits made in one turn of the loop happen in their order, each seeing the ones before it."""
    key = Key("documents", "d")
    answers = await asyncio.gather(
        world.engine.commit(LOG, Commit([draft("a")], expect=[(key, 0)], put=[Record(*key, b"1", 1)])),
        world.engine.commit(LOG, Commit([draft("b")], expect=[(key, 0)], put=[Record(*key, b"2", 2)])),
        world.engine.commit(LOG, Commit([draft("c")], expect=[(key, 1)], put=[Record(*key, b"3", 3)])),
        world.engine.commit(LOG, Commit([draft("a", b"other")])),
        world.engine.commit(LOG, events("a", "d")),
        world.engine.commit(LOG, Commit([draft("e")], expect=[(key, 3)], delete=[key])),
        world.engine.commit(LOG, Commit([draft("f")], expect=[(key, 0)])),
    )
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["Committed", "Stale", "Committed", "Reused", "Committed", "Committed", "Committed"]
    assert [e.event_id for e in await read_all(world.engine)] == ["a", "c", "d", "e", "f"]


@pytest.mark.parametrize("count", [1, 2, 3, 100, 511, 512, 513, 1300])
async def test_commits_of_every_size_are_whole(world: World, count: int) -> None:
    """A commit of any number of drafts is appended whole and in order."""
    await world.engine.follow(LOG)
    ids = [f"e{n}" for n in range(count)]
    answer = await publish(world.engine, *ids)
    assert [p.offset for p in answer.placed] == list(range(1, count + 1))
    assert [e.event_id for e in await read_all(world.engine)] == ids
    assert world.sink.entries() == await read_all(world.engine)
