"""A backup is of one moment, whole, and replaces nothing it should not; a restore begins new lives and keeps what was there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.engines.sqlite.backup import back_up
from signtusk_realtime.engines.sqlite.copying import SIDE_FILES
from signtusk_realtime.engines.sqlite.files import Lock
from signtusk_realtime.engines.sqlite.restore import restore
from signtusk_realtime.errors import ConfigurationError, InvalidInput, Unavailable
from signtusk_realtime.events.log import Commit, Entry, Exact, LogName, Record, Retention, Top
from tests.support.clock import InlineExecutor
from tests.support.engines import LOG, OTHER, ManualClock, RecordingSink, draft, publish, read_all

pytestmark = pytest.mark.virtual_clock

RECORD = Record("documents", "d", b"value", 7)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    return folder / "realtime.db"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "backup.db"


async def opened(path: Path, retention: Retention = Retention(count=2)) -> SqliteEngine:
    engine = SqliteEngine(
        str(path), executor=InlineExecutor(), ballast_bytes=4096, retention=retention, clock=ManualClock()
    )
    await engine.start(RecordingSink())
    return engine


async def filled(path: Path) -> SqliteEngine:
    """Open a database in which one log was trimmed, another holds a record, and a third is empty."""
    engine = await opened(path)
    await publish(engine, "a", "b", "c")
    await engine.commit(OTHER, Commit(put=[RECORD]))
    await engine.follow(LogName("*"))
    await engine.upkeep()
    return engine


async def seen(engine: SqliteEngine) -> dict[LogName, tuple[Top, list[Entry], Record | None]]:
    """Give all that an engine holds."""
    found: dict[LogName, tuple[Top, list[Entry], Record | None]] = {}
    for log in await engine.logs(None, 100):
        snapshot = await engine.records(log, [Exact("documents", "d")])
        found[log] = (snapshot.top, await read_all(engine, log), next(iter(snapshot.results[0]), None))
    return found


def files_of(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


async def test_a_backup_of_a_database_in_use_holds_it_whole(database: Path, target: Path) -> None:
    """Taken while an engine works, it holds all that was committed, in one private file that says what it is."""
    engine = await filled(database)
    before = await seen(engine)
    contents = back_up(database, target)
    assert (contents.logs, contents.events, contents.size) == (3, 2, target.stat().st_size)
    await publish(engine, "later")
    await engine.close()
    assert files_of(target) == {"backup.db"}
    assert target.stat().st_mode & 0o777 == 0o600
    # Without a journal of its own it can be read where nothing can be written.
    assert target.read_bytes()[18:20] == b"\x01\x01"
    copy = await opened(target)
    assert await seen(copy) == before
    await copy.close()


async def test_a_backup_is_of_one_moment(database: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed while it is taken is not in it, not even in part."""
    engine = await filled(database)
    before = await seen(engine)
    monkeypatch.setattr("signtusk_realtime.engines.sqlite.copying._PAGES_PER_STEP", 1)
    steps = 0

    def write(status: int, remaining: int, total: int) -> None:
        nonlocal steps
        steps += 1
        with closing(sqlite3.connect(database)) as other, other:
            other.execute('UPDATE logs SET "offset" = "offset" + 1')
            other.execute("INSERT INTO entries VALUES (?, 1, ?, x'', zeroblob(100000))", (1 << 50 | steps, f"w{steps}"))

    monkeypatch.setattr("signtusk_realtime.engines.sqlite.copying._go_on", write)
    back_up(database, target)
    assert steps > 3
    await engine.close()
    copy = await opened(target)
    assert await seen(copy) == before
    await copy.close()


async def test_a_backup_holds_what_a_killed_server_left_in_its_journal(database: Path, target: Path) -> None:
    """No server runs and the last one did not close the file: what it answered is in the backup all the same."""
    engine = await filled(database)
    crashed = target.parent / "crashed.db"
    for suffix in ("", "-wal"):
        shutil.copy(f"{database}{suffix}", f"{crashed}{suffix}")
    await engine.close()
    assert back_up(crashed, target).events == 2


async def test_a_target_is_replaced_only_if_told(database: Path, target: Path) -> None:
    """An existing file stays as it is without --force; with it, it is replaced whole."""
    await (await filled(database)).close()
    target.write_bytes(b"precious")
    with pytest.raises(InvalidInput, match=r"exists; name another file, or replace it by --force"):
        back_up(database, target)
    assert target.read_bytes() == b"precious"
    assert back_up(database, target, may_replace=True).events == 2
    assert files_of(target) == {"backup.db"}


@pytest.mark.parametrize("suffix", ["", *SIDE_FILES])
async def test_the_database_is_never_the_target(database: Path, suffix: str, target: Path) -> None:
    """Neither it nor a file that belongs to it, by whatever name, though told to replace."""
    engine = await filled(database)
    target.symlink_to(f"{database}{suffix}")
    for name in (Path(f"{database}{suffix}"), target):
        with pytest.raises(InvalidInput, match="belongs to the database itself"):
            back_up(database, name, may_replace=True)
    await publish(engine, "d")
    await engine.close()


async def test_another_database_in_use_is_never_the_target(database: Path, target: Path) -> None:
    """What lies beside a target would be taken for a part of the backup; so would what a crash left there."""
    await (await filled(database)).close()
    other = await opened(target)
    with pytest.raises(InvalidInput, match="in use, or one that was not closed"):
        back_up(database, target, may_replace=True)
    await other.close()
    target.unlink()
    target.with_name("backup.db-wal").touch()
    with pytest.raises(InvalidInput, match="in use, or one that was not closed"):
        back_up(database, target)


def _nothing(path: Path) -> None:
    """Leave nothing there."""


def _text(path: Path) -> None:
    path.write_text("no database, but long enough to be looked at as if it were one" * 100, encoding="utf-8")


def _empty(path: Path) -> None:
    path.touch()


def _anothers(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE logs (id)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {0x73747274}")
        connection.execute("PRAGMA user_version = 999")


UNUSABLE = [
    (_nothing, "there is no database"),
    (_text, "is not a database"),
    (_empty, "is not a database of this service"),
    (_anothers, "is not a database of this service"),
    (_newer, "has schema version 999"),
]


@pytest.mark.parametrize(("make", "reason"), UNUSABLE)
async def test_what_is_no_database_of_ours_is_neither_backed_up_nor_restored(
    database: Path, target: Path, make: Callable[[Path], None], reason: str
) -> None:
    """It is told why; the target does not come into being, and the database stays as it was."""
    strange = target.with_name("strange.db")
    make(strange)
    with pytest.raises(InvalidInput, match=reason):
        back_up(strange, target)
    assert not target.exists()
    await (await filled(database)).close()
    before = database.read_bytes()
    with pytest.raises(InvalidInput, match=reason):
        restore(database, strange)
    assert database.read_bytes() == before
    assert files_of(database) == {"realtime.db", "realtime.db.lock", "realtime.db.ballast"}


async def damaged(path: Path) -> None:
    """Make a database of which a page in the middle is not what it was."""
    engine = await opened(path, Retention())
    # Most pages hold bodies, which only a thorough look reads.
    await engine.commit(LOG, Commit([draft(f"e{n}", bytes(3000)) for n in range(500)]))
    await engine.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(4096))


async def test_what_is_damaged_is_neither_backed_up_nor_restored(database: Path, target: Path) -> None:
    """A copy is checked before it takes a name; nothing of it remains."""
    broken = target.with_name("broken.db")
    await damaged(broken)
    with pytest.raises(Unavailable, match=r"^the database is damaged: "):
        back_up(broken, target)
    await (await filled(database)).close()
    before = database.read_bytes()
    with pytest.raises(Unavailable, match=r"^the database is damaged: "):
        restore(database, broken)
    assert database.read_bytes() == before
    assert not [name for name in files_of(target) if "partial" in name or name.startswith("backup")]
    assert files_of(database) == {"realtime.db", "realtime.db.lock", "realtime.db.ballast"}


async def test_a_restore_is_the_same_history_under_new_epochs(database: Path, target: Path) -> None:
    """Entries, offsets, tags, floors and records are the backup's; each log's epoch is new, and different from the others'."""
    engine = await filled(database)
    before = await seen(engine)
    back_up(database, target)
    await publish(engine, "later", log=OTHER)
    await engine.close()
    kept = target.read_bytes()
    restored = restore(database, target)
    assert (restored.contents.logs, restored.contents.events) == (3, 2)
    assert target.read_bytes() == kept, "a backup can be restored again"
    engine = await opened(database)
    after = await seen(engine)
    epochs = {top.epoch for top, _, _ in after.values()}
    assert len(epochs) == 3
    assert not epochs & {top.epoch for top, _, _ in before.values()}
    assert {log: (top._replace(epoch=before[log][0].epoch), *rest) for log, (top, *rest) in after.items()} == before
    # A publisher repeats what it knows; what the backup holds is known, the rest is stored anew.
    again = await publish(engine, "b", "c", "d")
    assert [(placed.offset, placed.duplicate) for placed in again.placed] == [(2, True), (3, True), (4, False)]
    await engine.close()


async def test_a_log_made_after_the_backup_begins_anew(database: Path, target: Path) -> None:
    """A log that the backup does not know has another epoch than before when it is used again."""
    engine = await opened(database)
    back_up(database, target)
    lost = (await publish(engine, "a")).epoch
    await engine.close()
    restore(database, target)
    engine = await opened(database)
    top = await engine.follow(LOG)
    assert (top.offset, top.epoch == lost) == (0, False)
    await engine.close()


async def test_what_was_replaced_is_kept(database: Path, target: Path) -> None:
    """The database that stood there is whole under another name, as private as before; the new one has its mode."""
    engine = await filled(database)
    back_up(database, target)
    await publish(engine, "later")
    before = await seen(engine)
    await engine.close()
    database.chmod(0o640)
    replaced = restore(database, target).replaced
    assert replaced is not None
    assert replaced.name.startswith("realtime.db.replaced-")
    assert database.stat().st_mode & 0o777 == replaced.stat().st_mode & 0o777 == 0o640
    old = await opened(replaced, Retention())
    assert await seen(old) == before
    await old.close()


async def test_a_killed_servers_database_is_replaced_whole(database: Path, target: Path) -> None:
    """What lay beside the old one goes with it, and is not taken for a part of the new one."""
    engine = await filled(database)
    back_up(database, target)
    await publish(engine, "later")
    crashed = target.with_name("crashed.db")
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{database}{suffix}", f"{crashed}{suffix}")
    await engine.close()
    replaced = restore(crashed, target).replaced
    assert replaced is not None
    assert not crashed.with_name("crashed.db-wal").exists()
    for path, ids in ((crashed, ["b", "c"]), (replaced, ["b", "c", "later"])):
        engine = await opened(path, Retention())
        assert [entry.event_id for entry in await read_all(engine)] == ids
        await engine.close()


async def test_a_database_that_cannot_be_read_is_replaced(database: Path, target: Path) -> None:
    """A damaged database is what restoring is for: it is set aside with what lies beside it, as it was found."""
    await (await filled(database)).close()
    back_up(database, target)
    database.write_bytes(b"rubbish" * 1000)
    database.with_name("realtime.db-wal").write_bytes(b"more rubbish")
    replaced = restore(database, target).replaced
    assert replaced is not None
    assert replaced.read_bytes() == b"rubbish" * 1000
    assert Path(f"{replaced}-wal").read_bytes() == b"more rubbish"
    engine = await opened(database)
    assert len(await read_all(engine)) == 2
    await engine.close()


async def test_a_restore_into_nothing_makes_the_database(database: Path, target: Path) -> None:
    """On a new machine there is nothing to replace."""
    await (await filled(database)).close()
    back_up(database, target)
    fresh = database.with_name("fresh.db")
    assert restore(fresh, target).replaced is None
    assert fresh.stat().st_mode & 0o777 == 0o600
    assert not [name for name in files_of(fresh) if "replaced" in name or "partial" in name]


async def test_a_database_in_use_is_not_restored(database: Path, target: Path) -> None:
    """While somebody owns it nothing is touched, and the owner is named; afterwards the lock is free again."""
    await (await filled(database)).close()
    back_up(database, target)
    before = database.read_bytes()
    lock = Lock(database)
    with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
        restore(database, target)
    lock.release()
    assert database.read_bytes() == before
    restore(database, target)
    Lock(database).release()


async def test_a_restore_names_two_files(database: Path, target: Path) -> None:
    """The database is no backup of itself, by whatever name."""
    await (await filled(database)).close()
    target.symlink_to(database)
    for source in (database, target):
        with pytest.raises(InvalidInput, match="is the database itself"):
            restore(database, source)
    with pytest.raises(InvalidInput, match="folder of the database"):
        restore(database.parent / "none" / "realtime.db", database)


async def test_a_link_is_the_database_it_names(database: Path, target: Path, tmp_path: Path) -> None:
    """Server, backup and restore know one database by all its names: one owner, and the file, not the link, is replaced."""
    link = tmp_path / "link.db"
    link.symlink_to(database)
    engine = await filled(database)
    with pytest.raises(ConfigurationError, match="in use by process"):
        await opened(link)
    back_up(link, target)
    with pytest.raises(ConfigurationError, match="in use by process"):
        restore(link, target)
    await engine.close()
    engine = await opened(link)
    with pytest.raises(ConfigurationError, match="in use by process"):
        restore(database, target)
    await engine.close()
    restored = restore(link, target)
    assert link.readlink() == database
    assert restored.replaced is not None
    assert restored.replaced.parent == database.parent
    assert not list(tmp_path.glob("link.db?*")), "nothing lies beside the link"
