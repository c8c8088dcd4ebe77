"""Put a backup in a database's place: a new life for each of its logs.

Owns: new epochs, the exchange of the files.   Not: making the copy (copying.py).
Rule 1: whoever restores owns the database meanwhile; while a server does, it is refused.
Rule 2: every log gets a new epoch. What happened after the backup is no longer true, and offsets are given away again, so that a cursor of
the life that ended must not be continued; it names the old epoch, and is told so.
Rule 3: tags, offsets and floors go on from where the backup stands: what is kept is the same history, only its name is new.
Rule 4: what stood in the place before is kept under another name, as it was found: it may be damaged, and then SQLite must not open it. At
each moment one of the two is there whole.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from signtusk_realtime.engines.sqlite.copying import (
    UNFINISHED_FILES,
    Contents,
    check_copy,
    copy_of,
    side_file,
    write_through,
)
from signtusk_realtime.engines.sqlite.files import Lock, true_path
from signtusk_realtime.engines.sqlite.schema import migrate, migrations
from signtusk_realtime.errors import InvalidInput, Unavailable


class Restored(NamedTuple):
    """What the database holds now, and where the one before lies (None: there was none)."""

    contents: Contents
    replaced: Path | None


def restore(database: Path, source: Path) -> Restored:
    """Make `database` a copy of `source` in which every log has a new epoch. The source is left as it is.

    Raises: InvalidInput (the source cannot be used), ConfigurationError (the database is in use, or cannot be locked), Unavailable (it could
    not be done; the database is as it was).
    """
    # A link stays one: what it names is replaced.
    database = true_path(database)
    if not database.parent.is_dir():
        raise InvalidInput(f"the folder of the database {database} does not exist")
    if database == true_path(source):
        raise InvalidInput(f"{source} is the database itself; name a backup")
    lock = Lock(database)
    try:
        with copy_of(source, beside=database) as copy:
            _renew_epochs(copy)
            contents = check_copy(copy)
            replaced = _set_aside(database, copy) if database.exists() else None
            copy.replace(database)
        write_through(database.parent)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"cannot restore {database} from {source}: {error}") from error
    finally:
        lock.release()
    return Restored(contents, replaced)


def _renew_epochs(copy: Path) -> None:
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        migrate(connection, migrations())
        connection.execute("UPDATE logs SET epoch = lower(hex(randomblob(8)))")


def _set_aside(database: Path, copy: Path) -> Path:
    """Give the old database a second name, with all that belongs to it, and the copy its owner and mode."""
    old = database.stat()
    copy.chmod(old.st_mode & 0o777)
    if (copy.stat().st_uid, copy.stat().st_gid) != (old.st_uid, old.st_gid):
        os.chown(copy, old.st_uid, old.st_gid)
    now = datetime.now(UTC)
    aside = side_file(database, f".replaced-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z")
    # Why not a rename: a crash between two of them would leave no database, and the next server would begin an empty one.
    aside.hardlink_to(database)
    for suffix in UNFINISHED_FILES:
        part = side_file(database, suffix)
        if part.exists():
            side_file(aside, suffix).hardlink_to(part)
    # Ordering: not after the exchange, or a crash in between would let SQLite take them for a part of the new database.
    for suffix in (*UNFINISHED_FILES, "-shm"):
        side_file(database, suffix).unlink(missing_ok=True)
    return aside
