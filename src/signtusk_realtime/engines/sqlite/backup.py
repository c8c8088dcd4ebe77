"""Back a database up while its server works on it.

Owns: what may be the target, and how a finished copy takes its place.   Not: making the copy (copying.py).
Rule 1: a target is there whole or as it was before; nothing half-written ever has its name.
Rule 2: no database is replaced by a backup, least of all the one that is backed up.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from signtusk_realtime.engines.sqlite.copying import (
    SIDE_FILES,
    UNFINISHED_FILES,
    Contents,
    check_copy,
    copy_of,
    side_file,
    write_through,
)
from signtusk_realtime.errors import InvalidInput, Unavailable


def back_up(database: Path, target: Path, *, may_replace: bool = False) -> Contents:
    """Write a checked copy of a database, of one moment, to `target`. It needs no lock, and disturbs neither readers nor the writer.

    Raises: InvalidInput (the database or the target cannot be used so), Unavailable (it could not be done; the target is as it was).
    """
    _check_target(database, target, may_replace)
    try:
        with copy_of(database, beside=target) as copy:
            contents = check_copy(copy)
            # It may have come into being meanwhile.
            _check_target(database, target, may_replace)
            copy.replace(target)
        write_through(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise Unavailable(f"cannot back up {database} to {target}: {error}") from error
    return contents


def _check_target(database: Path, target: Path, may_replace: bool) -> None:
    if not target.parent.is_dir():
        raise InvalidInput(f"the folder of {target} does not exist")
    if target.resolve() in (side_file(database.resolve(), suffix) for suffix in ("", *SIDE_FILES)):
        raise InvalidInput(f"{target} belongs to the database itself; name another file")
    if any(side_file(target, suffix).exists() for suffix in UNFINISHED_FILES):
        raise InvalidInput(
            f"{target} is a database in use, or one that was not closed: what lies beside it would be mixed up"
            " with a backup of that name; name another file"
        )
    if not target.exists():
        return
    if not target.is_file():
        raise InvalidInput(f"{target} is no regular file")
    if not may_replace:
        raise InvalidInput(f"{target} exists; name another file, or replace it by --force")
