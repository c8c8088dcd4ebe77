"""Invariant I1: offsets of a log and epoch are 1, 2, 3 …, also across failed commits, on a database that fails at random."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, Exact, Key, LogName, Record
from tests.support.clock import InlineExecutor
from tests.support.engines import Failure, Faults, RecordingSink, draft, publish, read_all

pytestmark = pytest.mark.virtual_clock

_LOGS = [LogName("org123"), LogName("org456")]
_TOTAL = Key("counters", "total")


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.02, 0.1, 0.3]), writers=st.integers(1, 6))
async def test_offsets_are_gapless_across_failed_commits(seed: int, share: float, writers: int) -> None:
    """I1: whatever statements fail, COMMIT and the questions after it included, and whoever repeats what got no answer.

    Offsets are 1..n, every answered event is there exactly once and where the answer said, and those who follow saw each once, in order.
    """
    chance = random.Random(seed)
    faults = Faults()

    def plan(statement: str) -> Failure | None:
        if chance.random() >= share:
            return None
        return "after" if statement == "COMMIT" and chance.random() < 0.5 else "before"

    engine, sink = SqliteEngine(":memory:", executor=InlineExecutor(), connect=faults.connect), RecordingSink()
    await engine.start(sink)
    answered: dict[tuple[LogName, str], int] = {}
    tried: set[tuple[LogName, str]] = set()

    async def writer(number: int) -> None:
        log = _LOGS[number % 2]
        for turn in range(8):
            ids = [f"{number}-{turn}-{n}" for n in range(chance.randint(1, 3))]
            for _ in range(chance.randint(1, 4)):
                tried.update((log, event_id) for event_id in ids)
                try:
                    answer = await publish(engine, *ids, log=log)
                except Unavailable:
                    continue
                for place in answer.placed:
                    assert answered.setdefault((log, place.event_id), place.offset) == place.offset

    try:
        for log in _LOGS:
            await engine.follow(log)
        faults.plan = plan
        await asyncio.gather(*map(writer, range(writers)))
        faults.plan = lambda statement: None
        for log in _LOGS:
            await publish(engine, "last", log=log)
            entries = await read_all(engine, log)
            assert [entry.offset for entry in entries] == list(range(1, len(entries) + 1))
            assert sink.entries(log) == entries
            found = {(log, entry.event_id): entry.offset for entry in entries[:-1]}
            assert found.keys() <= tried
            assert {key: offset for key, offset in answered.items() if key[0] == log}.items() <= found.items()
            assert max(Counter(entry.event_id for entry in entries).values()) == 1
        assert sink.gaps == []
    finally:
        faults.plan = lambda statement: None
        await engine.close()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.05, 0.3]))
async def test_a_record_moves_with_its_events_across_failed_commits(seed: int, share: float) -> None:
    """A record and the events committed with it never part, and no answer says that nothing happened where something did."""
    chance = random.Random(seed)
    faults = Faults()
    engine, sink = SqliteEngine(":memory:", executor=InlineExecutor(), connect=faults.connect), RecordingSink()
    await engine.start(sink)

    def plan(statement: str) -> Failure | None:
        if chance.random() >= share:
            return None
        return "after" if statement == "COMMIT" else "before"

    async def count(number: int) -> None:
        for turn in range(6):
            try:
                snapshot = await engine.records(_LOGS[0], [Exact(*_TOTAL)])
                version = snapshot.results[0][0].version if snapshot.results[0] else 0
                assert version == snapshot.top.offset
                record = Record(*_TOTAL, b"", version + 1)
                answer = await engine.commit(
                    _LOGS[0], Commit([draft(f"{number}-{turn}")], expect=[(_TOTAL, version)], put=[record])
                )
                if isinstance(answer, Committed):
                    assert answer.placed[0].offset == version + 1
            except Unavailable:
                continue

    try:
        await engine.follow(_LOGS[0])
        faults.plan = plan
        await asyncio.gather(*map(count, range(4)))
        faults.plan = lambda statement: None
        snapshot = await engine.records(_LOGS[0], [Exact(*_TOTAL)])
        assert (snapshot.results[0][0].version if snapshot.results[0] else 0) == snapshot.top.offset
        await publish(engine, "last", log=_LOGS[0])
        assert sink.entries(_LOGS[0]) == await read_all(engine, _LOGS[0])
    finally:
        faults.plan = lambda statement: None
        await engine.close()
