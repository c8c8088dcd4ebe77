"""Migrations: old files are brought up to date, newer ones refused, a failed step leaves the file as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from signtusk_realtime.engines.sqlite.schema import APPLICATION_ID, migrate, migrations, open_database
from signtusk_realtime.errors import ConfigurationError

SCRIPTS = [
    "CREATE TABLE a (x);",
    "ALTER TABLE a ADD COLUMN y;\nUPDATE a SET y = x + 1;",
    "CREATE TABLE b (z);",
]


@pytest.fixture
def connection() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def version(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def test_an_old_file_is_migrated_step_by_step(connection: sqlite3.Connection) -> None:
    """Only the scripts a file has not seen are applied, in order, and its data is kept."""
    migrate(connection, SCRIPTS[:1])
    connection.execute("INSERT INTO a VALUES (41)")
    migrate(connection, SCRIPTS)
    migrate(connection, SCRIPTS)
    assert version(connection) == 3
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(41, 42)]
    connection.close()


def test_a_failed_migration_leaves_the_last_version(connection: sqlite3.Connection) -> None:
    """A script that fails is undone whole, those before it stand, and no transaction is left open."""
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [*SCRIPTS[:2], "CREATE TABLE c (z);\nDROP TABLE missing;"])
    assert version(connection) == 2
    assert not connection.in_transaction
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    connection.close()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    """A file with a higher version than ours is not touched; the message names both versions and what to do."""
    path = tmp_path / "realtime.db"
    open_database(path, "full", sqlite3.connect).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=rf"version 99.*up to {len(migrations())}.*newer version"):
        open_database(path, "full", sqlite3.connect)
    assert path.read_bytes() == before


def test_a_new_file_is_marked_as_ours(tmp_path: Path) -> None:
    """A new file carries our application id, the present version, WAL, and the asked durability."""
    connection = open_database(tmp_path / "realtime.db", "normal", sqlite3.connect)

    def pragma(name: str) -> object:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("application_id") == APPLICATION_ID
    assert pragma("user_version") == len(migrations())
    assert pragma("journal_mode") == "wal"
    assert pragma("synchronous") == 1
    connection.close()
    connection = open_database(tmp_path / "realtime.db", "full", sqlite3.connect)
    assert pragma("synchronous") == 2
    connection.close()
