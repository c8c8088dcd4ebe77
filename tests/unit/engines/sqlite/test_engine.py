"""The embedded engine where it is more than the port: files, faults, groups, the timer."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.events.log import Commit, Committed, Draft, Exact, Key, LogName, Record, Retention, Stale
from tests.support.clock import InlineExecutor, elapse, settle
from tests.support.engines import (
    LOG,
    OTHER,
    START_MS,
    Faults,
    ManualClock,
    RecordingSink,
    draft,
    events,
    publish,
    read_all,
)

pytestmark = pytest.mark.virtual_clock


@asynccontextmanager
async def running(
    path: Path | str = ":memory:", **options: object
) -> AsyncIterator[tuple[SqliteEngine, RecordingSink]]:
    options = {"executor": InlineExecutor(), "ballast_bytes": 4096, **options}
    engine, sink = SqliteEngine(str(path), **options), RecordingSink()  # type: ignore[arg-type]  # a test's own keywords
    await engine.start(sink)
    try:
        yield engine, sink
        assert sink.gaps == []
    finally:
        await engine.close()


async def test_reopening_keeps_everything(tmp_path: Path) -> None:
    """Epoch, offsets, tags, known ids, records and the floor are the same after the file is opened again."""
    path = tmp_path / "realtime.db"
    clock = ManualClock()
    retention = Retention(count=2)
    async with running(path, clock=clock, retention=retention) as (engine, _):
        first = await publish(engine, "a", "b", "c")
        await engine.commit(LOG, Commit(put=[Record("documents", "d", b"v", 3, START_MS + 5)]))
        await engine.upkeep()
        before = await engine.read(LOG, 0, 1000)
    async with running(path, clock=clock, retention=retention) as (engine, sink):
        assert await engine.read(LOG, 0, 1000) == before
        assert await engine.follow(LOG) == before.top
        again = await publish(engine, "c", "d", "a")
        assert [(p.offset, p.duplicate) for p in again.placed] == [(3, True), (4, False), (5, False)]
        assert again.epoch == first.epoch
        assert [e.offset for e in sink.entries()] == [4, 5]
        snapshot = await engine.records(LOG, [Exact("documents", "d")])
        assert list(snapshot.results[0]) == [Record("documents", "d", b"v", 3, START_MS + 5)]


async def test_a_second_server_is_refused(tmp_path: Path) -> None:
    """One file has one server: a second is told who holds it and what to do, and the first goes on; after its close the file is free."""
    path = tmp_path / "realtime.db"
    async with running(path) as (engine, _):
        with pytest.raises(ConfigurationError, match=rf"in use by process {os.getpid()}.*stop that process"):
            await SqliteEngine(str(path)).start(RecordingSink())
        await publish(engine, "a")
    async with running(path) as (engine, _):
        assert len(await read_all(engine)) == 1


async def test_the_files_are_private(tmp_path: Path) -> None:
    """What people sign is nobody else's to read: every file has mode 600."""
    async with running(tmp_path / "realtime.db") as (engine, _):
        await publish(engine, "a")
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"realtime.db", "realtime.db-wal", "realtime.db.lock", "realtime.db.ballast"} <= modes.keys()


async def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """Text, another program's database, a missing folder: each is a ConfigurationError, the file is untouched, the lock free."""
    text, foreign = tmp_path / "text.db", tmp_path / "foreign.db"
    text.write_bytes(b"not a database at all" * 100)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = foreign.read_bytes()
    for path, message in (
        (text, "not a database"),
        (foreign, "another program's"),
        (tmp_path / "missing" / "x.db", "does not exist"),
        (tmp_path, "cannot open"),
    ):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=message):
                await SqliteEngine(str(path)).start(RecordingSink())
    assert foreign.read_bytes() == before


async def test_a_group_is_one_transaction() -> None:
    """All that is asked in one turn of the loop is committed together."""
    faults = Faults()
    statements: list[str] = []
    faults.plan = statements.append
    async with running(connect=faults.connect) as (engine, _):
        await publish(engine, "warm")
        statements.clear()
        await asyncio.gather(*(engine.commit(LOG, events(f"e{n}")) for n in range(100)))
    assert statements.count("COMMIT") == 1
    assert len(statements) == 5  # known ids, BEGIN, entries, logs, COMMIT


async def test_a_bad_commit_fails_alone() -> None:
    """A commit whose values cannot be kept fails by itself; its neighbours of the group happen."""
    bad = Commit([Draft("bad", b"d" * 32, ("\ud800",), b"{}")])
    async with running() as (engine, sink):
        await engine.follow(LOG)
        results = await asyncio.gather(
            engine.commit(LOG, events("a")),
            engine.commit(LOG, bad),
            engine.commit(LOG, events("b")),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [Committed, UnicodeEncodeError, Committed]
        assert [(e.offset, e.event_id) for e in await read_all(engine)] == [(1, "a"), (2, "b")]
        assert sink.entries() == await read_all(engine)
        assert sink.healths == []


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "INSERT INTO entries", "INSERT INTO logs", "COMMIT"])
async def test_a_failing_statement_changes_nothing(statement: str) -> None:
    """Whatever statement fails, the commit is Unavailable, nothing of it remains, and its offset goes to the next."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await engine.follow(LOG)
        await publish(engine, "a")
        faults.plan = lambda text: "before" if text.startswith(statement) else None
        with pytest.raises(Unavailable, match="disk I/O error"):
            await engine.commit(LOG, events("lost"))
        assert [e.event_id for e in await read_all(engine)] == ["a"]
        assert [health.status for health in sink.healths] == ["degraded"]
        faults.plan = lambda text: None
        assert [p.offset for p in (await publish(engine, "b")).placed] == [2]
        assert [health.status for health in sink.healths] == ["degraded", "ok"]
        assert sink.entries() == await read_all(engine)


async def test_a_failing_group_is_tried_member_by_member() -> None:
    """A group that fails once leaves each member answered as if nothing had been."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await engine.follow(LOG)
        left = ["COMMIT"]
        faults.plan = lambda text: "before" if text in left and not left.remove(text) else None  # type: ignore[func-returns-value]
        answers = await asyncio.gather(*(engine.commit(LOG, events(f"e{n}")) for n in range(5)))
        assert [a.placed[0].offset for a in answers if isinstance(a, Committed)] == [1, 2, 3, 4, 5]
        assert [e.offset for e in sink.entries()] == [1, 2, 3, 4, 5]


async def test_a_commit_that_happened_though_it_failed() -> None:
    """A COMMIT that reports an error and yet happened is found out: answered, delivered once, offsets go on."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await engine.follow(LOG)
        faults.plan = lambda text: "after" if text == "COMMIT" else None
        key = Key("documents", "d")
        assert (await publish(engine, "a")).placed[0].offset == 1
        answer = await engine.commit(LOG, Commit(expect=[(key, 0)], put=[Record(*key, b"", 1)]))
        assert isinstance(answer, Committed)
        assert isinstance(await engine.commit(LOG, Commit(expect=[(key, 0)])), Stale)
        faults.plan = lambda text: None
        await publish(engine, "b")
        assert [e.event_id for e in sink.entries()] == ["a", "b"]


@pytest.mark.parametrize("finder", ["commit", "upkeep"])
async def test_a_commit_of_unknown_outcome_is_delivered_when_it_is_found(finder: str) -> None:
    """Where even the question fails, the commit is Unavailable; its entries are delivered in their place once they are found."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await engine.follow(LOG)
        await publish(engine, "a")
        faults.plan = lambda text: "after" if text == "COMMIT" else "before" if "revision FROM logs" in text else None
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("b"))
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("c"))
        faults.plan = lambda text: None
        if finder == "upkeep":
            await engine.upkeep()
            assert len(sink.entries()) == 2
        again = await publish(engine, "d", "b")
        assert [(p.offset, p.duplicate) for p in again.placed] == [(3, False), (2, True)]
        assert [e.event_id for e in sink.entries()] == ["a", "b", "d"]


async def test_what_was_never_committed_is_never_taken_for_known() -> None:
    """A transaction that could neither be committed nor rolled back is left before anything is looked up."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, _):
        await publish(engine, "a")
        faults.plan = lambda text: "before" if text.startswith(("INSERT INTO logs", "ROLLBACK")) else None
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("b"))
        with pytest.raises(Unavailable):
            await engine.read(LOG, 0, 1000)
        faults.plan = lambda text: None
        assert [(p.offset, p.duplicate) for p in (await publish(engine, "b")).placed] == [(2, False)]
        assert len(await read_all(engine)) == 2


async def test_a_delivery_that_is_owed_survives_the_next_failure() -> None:
    """What a commit of unknown outcome owes is delivered although the group that found it fails too."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await engine.follow(LOG)
        faults.plan = lambda text: "after" if text == "COMMIT" else "before" if "revision FROM logs" in text else None
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("a"))
        faults.plan = lambda text: "before" if text == "BEGIN IMMEDIATE" else None
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("b"))
        assert [e.event_id for e in sink.entries()] == ["a"]


async def test_reads_go_on_while_commits_fail() -> None:
    """A database that cannot be written is degraded: reading and following known logs work, and it recovers by itself."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, sink):
        await publish(engine, "a")
        faults.plan = lambda text: "before" if text.startswith("BEGIN I") else None
        with pytest.raises(Unavailable):
            await engine.commit(LOG, events("b"))
        assert len(await read_all(engine)) == 1
        assert (await engine.follow(LOG)).offset == 1
        assert (await publish(engine, "a")).placed[0].duplicate
        assert sink.healths[-1].status == "degraded"
        await elapse(30)
        assert sink.healths[-1].status == "degraded"
        faults.plan = lambda text: None
        await elapse(10)
        assert [health.status for health in sink.healths] == ["degraded", "ok"]


async def test_a_failing_read_is_unavailable() -> None:
    """A read that fails says so and leaves nothing open behind it."""
    faults = Faults()
    async with running(connect=faults.connect) as (engine, _):
        await publish(engine, "a")
        faults.plan = lambda text: "before" if "group_concat" in text else None
        with pytest.raises(Unavailable):
            await engine.read(LOG, 0, 1000)
        faults.plan = lambda text: None
        assert len(await read_all(engine)) == 1


async def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """Full: commits are Unavailable and not stored, the ballast goes, reads and retention work; with room again all is well."""
    path = tmp_path / "realtime.db"
    ballast = tmp_path / "realtime.db.ballast"
    pages = 60
    connections: list[sqlite3.Connection] = []

    def connect(file: str, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = sqlite3.connect(file, **options)  # type: ignore[call-overload]  # passed on as it came
        connection.execute(f"PRAGMA max_page_count = {pages}")
        connections.append(connection)
        return connection

    clock = ManualClock()
    async with running(path, connect=connect, clock=clock, retention=Retention(age_ms=1000)) as (engine, sink):
        assert ballast.stat().st_size == 4096
        await engine.follow(LOG)
        stored = 0
        with pytest.raises(Unavailable, match="full"):
            for n in range(1000):
                await engine.commit(LOG, Commit([draft(f"e{n}", b"x" * 2000)]))
                stored += 1
        assert not ballast.exists()
        assert "full" in sink.healths[-1].detail
        with pytest.raises(Unavailable, match="full"):
            await engine.commit(LOG, events("small"))
        assert len(await read_all(engine)) == stored == len(sink.entries())
        clock.now += 2000
        await elapse(10)
        assert sink.healths[-1].status == "ok"
        assert ballast.exists()
        assert (await publish(engine, "small")).placed[0].offset == stored + 1


async def test_a_full_disk_is_not_ready_for_work(tmp_path: Path) -> None:
    """Want of room says `unavailable`, for nothing new is taken until there is some; any other fault may pass with the next commit."""
    faults = Faults()
    async with running(tmp_path / "realtime.db", connect=faults.connect) as (engine, sink):
        await publish(engine, "a")
        for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE):
            faults.plan = partial(_fail_to_insert, code)
            with pytest.raises(Unavailable):
                await engine.commit(LOG, events("b"))
            assert sink.healths[-1].status == "unavailable"
            assert (await publish(engine, "a")).placed[0].duplicate
            faults.plan = lambda text: None
            with pytest.raises(Unavailable, match="full"):
                await engine.commit(LOG, events("b"))
            await engine.upkeep()
            assert sink.healths[-1].status == "ok"
        assert (await publish(engine, "b")).placed[0].offset == 2


async def test_a_full_journal_is_emptied_and_used_again(tmp_path: Path) -> None:
    """If what the journal holds finds a place in the file, a commit that had no room is tried once more, and nobody hears of it."""
    faults = Faults()
    async with running(tmp_path / "realtime.db", connect=faults.connect) as (engine, sink):
        await publish(engine, "a")
        failed = 0

        def fail_once(text: str) -> None:
            nonlocal failed
            if failed == 0 and text.startswith("INSERT"):
                failed += 1
                _fail_to_insert(sqlite3.SQLITE_FULL, text)

        faults.plan = fail_once
        assert (await publish(engine, "b")).placed[0].offset == 2
        assert failed == 1
        assert sink.healths == []


def _fail_to_insert(code: int, text: str) -> None:
    if text.startswith("INSERT"):
        error = sqlite3.OperationalError("no room")
        error.sqlite_errorcode = code
        raise error


async def test_large_entries_go_in_small_steps(tmp_path: Path) -> None:
    """What one step deletes is bounded in bytes as well, for it must fit into what a full disk keeps for it; at least one entry goes."""
    faults = Faults()
    deletions: list[str] = []
    faults.plan = lambda text: deletions.append(text) if "DELETE FROM entries" in text else None
    clock = ManualClock()
    async with running(tmp_path / "realtime.db", connect=faults.connect, clock=clock) as (engine, _):
        for log in (LOG, OTHER):
            for n in range(8):
                await engine.commit(log, Commit([draft(f"e{n}", bytes(400_000))]))
            await engine.commit(log, Commit([draft("huge", bytes(3_000_000)), draft("last")]))
        await engine.forget(OTHER)
        # Three entries of 400 kB exceed a step's bytes: 3, 3, 2 and the huge one, the last one; and a look that finds nothing more.
        assert 4 <= len(deletions) <= 5
        deletions.clear()
        clock.now += Retention().age_ms + 1
        await engine.upkeep()
        assert len(deletions) == 4
        assert await read_all(engine) == []


async def test_retention_bites_by_itself(tmp_path: Path) -> None:
    """Without anybody asking, what is due is gone within ten seconds, and at the start."""
    clock = ManualClock()
    path = tmp_path / "realtime.db"
    retention = Retention(age_ms=60_000)
    async with running(path, clock=clock, retention=retention) as (engine, _):
        await publish(engine, *(f"e{n}" for n in range(1000)))
        await elapse(60)
        clock.now += 60_001
        await elapse(10)
        assert await read_all(engine) == []
        await publish(engine, "a")
    clock.now += 60_001
    async with running(path, clock=clock, retention=retention) as (engine, _):
        await settle()
        assert await read_all(engine) == []


async def test_a_log_near_its_cap_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """At 80 % of the cap there is a warning, once, and again only after the log was smaller."""
    clock = ManualClock()
    async with running(clock=clock, retention=Retention(age_ms=1000, max_bytes=10_000)) as (engine, _):
        await engine.commit(LOG, Commit([draft("a", b"x" * 7_900)]))
        await engine.upkeep()
        assert caplog.messages == []
        await engine.commit(LOG, Commit([draft("b", b"x" * 200)]))
        await engine.upkeep()
        await engine.upkeep()
        assert len(caplog.messages) == 1
        assert "cap" in caplog.messages[0]
        clock.now += 2000
        await engine.upkeep()
        await engine.commit(LOG, Commit([draft("c", b"x" * 8_100)]))
        await engine.upkeep()
        assert len(caplog.messages) == 2


async def test_a_cap_reached_before_the_start_is_seen(tmp_path: Path) -> None:
    """A file that is opened with a smaller cap or count is trimmed without waiting for its logs to change."""
    path = tmp_path / "realtime.db"
    async with running(path) as (engine, _):
        await publish(engine, *(f"e{n}" for n in range(10)))
    async with running(path, retention=Retention(count=4)) as (engine, _):
        await settle()
        assert [e.offset for e in await read_all(engine)] == [7, 8, 9, 10]


async def test_expired_records_are_deleted(tmp_path: Path) -> None:
    """Expired records do not only read as absent, their rows go; others stay."""
    clock = ManualClock()
    path = tmp_path / "realtime.db"
    async with running(path, clock=clock) as (engine, _):
        records = [Record("tickets", f"t{n}", b"", 1, START_MS + n) for n in range(600)]
        await engine.commit(LOG, Commit(put=[*records, Record("documents", "d", b"", 1)]))
        clock.now = START_MS + 500
        await elapse(10)
    assert _rows(path, "records") == 600 - 501 + 1


async def test_forgetting_leaves_no_row(tmp_path: Path) -> None:
    """Erasure is complete when forget returns."""
    path = tmp_path / "realtime.db"
    async with running(path) as (engine, _):
        await publish(engine, *(f"e{n}" for n in range(600)))
        await engine.commit(LOG, Commit(put=[Record("c", f"k{n}", b"", 1) for n in range(600)]))
        await engine.forget(LOG)
        assert [_rows(path, table) for table in ("logs", "entries", "records", "erased")] == [0, 0, 0, 0]


async def test_erasure_goes_on_after_a_restart(tmp_path: Path) -> None:
    """What an interrupted erasure left is erased after the next start, and a new life of the log has nothing to do with it."""
    path = tmp_path / "realtime.db"
    faults = Faults()
    async with running(path, connect=faults.connect) as (engine, _):
        await publish(engine, *(f"e{n}" for n in range(600)))
        faults.plan = lambda text: "before" if text.lstrip().startswith("DELETE FROM entries") else None
        with pytest.raises(Unavailable):
            await engine.forget(LOG)
    assert _rows(path, "entries") == 600
    async with running(path) as (engine, _):
        new = await publish(engine, "e1")
        assert new.placed[0].offset == 1
        await engine.upkeep()
        assert len(await read_all(engine)) == 1
    assert [_rows(path, table) for table in ("logs", "entries", "erased")] == [1, 1, 0]


async def test_upkeep_takes_turns_with_commits() -> None:
    """A long deletion does not hold up a commit: it waits for one step at most."""
    faults = Faults()
    order: list[str] = []
    faults.plan = lambda text: (
        order.append(text.split("(")[0].strip()) if text.startswith(("DELETE", "INSERT")) else None
    )
    clock = ManualClock()
    async with running(connect=faults.connect, clock=clock, retention=Retention(age_ms=1000)) as (engine, _):
        await publish(engine, *(f"e{n}" for n in range(2000)))
        clock.now += 2000
        order.clear()
        upkeep = asyncio.ensure_future(engine.upkeep())
        while not any(text.startswith("DELETE") for text in order):
            await asyncio.sleep(0)
        await publish(engine, "between")
        await upkeep
    deletes = [n for n, text in enumerate(order) if text.startswith("DELETE")]
    assert order.index("INSERT INTO entries") < deletes[2]
    assert len(deletes) == 8


async def test_many_logs_pass_through_a_small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log whose state was dropped from the cache goes on where it stood."""
    monkeypatch.setattr("signtusk_realtime.engines.sqlite.store._CACHED_LOGS", 8)
    async with running() as (engine, _):
        for turn in range(1, 4):
            for n in range(30):
                answer = await publish(engine, f"{turn}", log=_name(n))
                assert answer.placed[0].offset == turn


async def test_nothing_is_left_of_a_start_that_failed(tmp_path: Path) -> None:
    """A database that cannot be opened now is Unavailable; the lock is free afterwards and the next start works."""
    path = tmp_path / "realtime.db"
    faults = Faults()
    faults.plan = lambda text: "before" if "journal_mode" in text else None
    engine = SqliteEngine(str(path), connect=faults.connect)
    with pytest.raises(Unavailable):
        await engine.start(RecordingSink())
    async with running(path) as (engine, _):
        await publish(engine, "a")


async def test_a_commit_that_nobody_waits_for_happens() -> None:
    """Cancelling a commit's caller takes nothing back and disturbs nobody."""
    async with running() as (engine, sink):
        await engine.follow(LOG)
        impatient = asyncio.ensure_future(engine.commit(LOG, events("a")))
        await asyncio.sleep(0)
        impatient.cancel()
        await publish(engine, "b")
        assert [e.event_id for e in sink.entries()] == ["a", "b"]


def _name(n: int) -> LogName:
    return LogName(f"org{n}")


def _rows(path: Path, table: str) -> int:
    connection = sqlite3.connect(path)
    try:
        count: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - a test's own names
    finally:
        connection.close()
    return count
