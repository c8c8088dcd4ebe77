"""Opening a database: pragmas, recognising our own files, migrations.

Owns: connections as they come out of here.   Not: what they are used for (store.py, reader.py).
Rule: a file this version does not understand is refused before anything in it is changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from signtusk_realtime.engines.sqlite.files import create_private
from signtusk_realtime.errors import ConfigurationError

APPLICATION_ID: Final = 0x73747274
"""Written into every database of ours, so that another program's file is recognised."""
_OLDEST_SQLITE: Final = (3, 37, 0)
_BUSY_TIMEOUT_S: Final = 5.0
_WAL_LIMIT_BYTES: Final = 64 << 20

Connect = Callable[..., sqlite3.Connection]


def open_database(path: Path | None, durability: Literal["full", "normal"], connect: Connect) -> sqlite3.Connection:
    """Open the file (or a database in memory) for writing and bring its schema up to date.

    Raises: ConfigurationError (it is not ours, or from a newer version), sqlite3.Error.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old; at least 3.37 is needed")
    if path is not None:
        create_private(path)
    connection = _connect(path, connect)
    try:
        _recognise(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {durability}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection, migrations())
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(f"{path} is not a database") from error
        raise
    return connection


def open_reader(path: Path, connect: Connect) -> sqlite3.Connection:
    """Open a second connection that cannot write."""
    connection = _connect(path, connect)
    connection.execute("PRAGMA query_only = ON")
    return connection


def migrations() -> list[str]:
    """Give the scripts that lead from an empty file to the present schema; script i makes version i + 1 of version i."""
    folder = resources.files(__package__) / "migrations"
    scripts = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    for number, script in enumerate(scripts, 1):
        assert script.name.startswith(f"{number:04d}_"), script.name
    return [script.read_text(encoding="utf-8") for script in scripts]


def migrate(connection: sqlite3.Connection, scripts: list[str]) -> None:
    """Apply the scripts a database has not seen, each in a transaction with its number."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(scripts):
        raise ConfigurationError(
            f"the database has schema version {version}, this version knows up to {len(scripts)};"
            " it was written by a newer version: use that one, or restore a backup"
        )
    for number, script in enumerate(scripts[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _connect(path: Path | None, connect: Connect) -> sqlite3.Connection:
    # Threads are kept apart by the executors (engine.py), so sqlite3 need not check them.
    return connect(
        ":memory:" if path is None else str(path),
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _recognise(connection: sqlite3.Connection, path: Path | None) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application == APPLICATION_ID:
        return
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != 0 or tables != 0:
        raise ConfigurationError(f"{path} is another program's database; give this server a file of its own")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
