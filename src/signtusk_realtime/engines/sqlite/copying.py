"""A copy of a database that may be in use: one moment of it, in one file, checked and on the disk.

Owns: reading a database beside its server, the copy's file, the check.   Not: what the copy takes the place of (backup.py, restore.py).
Rule 1: the source is opened for reading only, and read in one transaction: the copy is what was durable at one moment.
Rule 2: a copy has a temporary name until it was checked and written through, and is removed if it came to nothing.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from signtusk_realtime.engines.sqlite.schema import APPLICATION_ID, migrations
from signtusk_realtime.errors import InvalidInput, Unavailable

SIDE_FILES: Final = ("-wal", "-shm", "-journal", ".lock", ".ballast")
"""What lies beside a database by its name."""
UNFINISHED_FILES: Final = ("-wal", "-journal")
"""Those that hold a part of it: SQLite takes what it finds under these names for its own, whatever file it belonged to."""

_PAGES_PER_STEP: Final = 1024
_FAULTS_TOLD: Final = 5


class Contents(NamedTuple):
    """What a copy holds, and its size."""

    logs: int
    events: int
    size: int


@contextmanager
def copy_of(source: Path, *, beside: Path) -> Iterator[Path]:
    """Copy a database of ours into a file in the folder of `beside`. At the end it is removed, unless it was moved away.

    Raises: InvalidInput (the source is no database that this version reads), sqlite3.Error, OSError.
    """
    with closing(open_for_reading(source)) as connection:
        descriptor, name = tempfile.mkstemp(prefix=f"{beside.name}.", suffix=".partial", dir=beside.parent)
        os.close(descriptor)
        path = Path(name)
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as copy:
                # It is checked and written through once, at the end.
                copy.execute("PRAGMA synchronous = OFF")
                # In steps, and with a call between them, so that a signal can end it. They are of one moment all the same: the
                # source's transaction is open.
                connection.backup(copy, pages=_PAGES_PER_STEP, progress=_go_on)
                # One file that holds everything; a server that opens it turns it back.
                copy.execute("PRAGMA journal_mode = DELETE")
            connection.close()
            yield path
        finally:
            for suffix in ("", *UNFINISHED_FILES):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def check_copy(path: Path) -> Contents:
    """Check a copy through and through, and write it to the disk. Raises: Unavailable (it is damaged), sqlite3.Error, OSError."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        faults = _faults_of(connection)
        if faults != ["ok"]:
            raise Unavailable(f"the database is damaged: {'; '.join(faults)}")
        logs, events = connection.execute(
            "SELECT (SELECT count(*) FROM logs), (SELECT count(*) FROM entries)"
        ).fetchone()
    write_through(path)
    return Contents(logs, events, path.stat().st_size)


def _faults_of(connection: sqlite3.Connection) -> list[str]:
    try:
        return [row[0] for row in connection.execute(f"PRAGMA integrity_check({_FAULTS_TOLD})").fetchall()]
    except sqlite3.DatabaseError as error:
        # Some faults end the check instead of being told by it.
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)]


def write_through(path: Path) -> None:
    """Let what was written to a file, or what was named in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def side_file(database: Path, suffix: str) -> Path:
    """Give the path of a file beside a database."""
    return database.with_name(database.name + suffix)


def _go_on(status: int, remaining: int, total: int) -> None:
    """Let Python look for signals."""


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a database and begin the one transaction it is read in. Raises: InvalidInput (no database of ours, or of a newer version)."""
    if not path.is_file():
        raise InvalidInput(f"there is no database {path}")
    # Through a URI, since only there reading alone can be asked for.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION_ID or version == 0:
            raise InvalidInput(f"{path} is not a database of this service")
        if version > len(migrations()):
            raise InvalidInput(
                f"{path} has schema version {version}, this version knows up to {len(migrations())}: use the newer one"
            )
    except BaseException as error:
        connection.close()
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise InvalidInput(f"{path} is not a database") from error
        raise
    return connection
