"""The files beside the database: the lock that makes it ours, the ballast that keeps room to delete.

Owns: `<database>.lock`, `<database>.ballast`, and the one name of a database.   Not: the database itself (schema.py).
Rule: symbolic links are followed before a name is made from the database's, as SQLite does for its own files, so that a database has one lock
by whatever path it is named. Hard links cannot be told apart so: a second one is another database to us and to SQLite, whose journals would
differ too.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from signtusk_realtime.errors import ConfigurationError

_log = logging.getLogger(__name__)

BALLAST_BYTES: Final = 8 << 20
_PRIVATE: Final = 0o600


def true_path(database: Path) -> Path:
    """Give where a database really lies; for a path that leads nowhere what can be known of it."""
    return Path(os.path.realpath(database))


def create_private(path: Path) -> None:
    """Make sure the database file exists and that only its owner may read it; SQLite gives its own files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE))
    except OSError as error:
        raise ConfigurationError(f"cannot open the database {path}: {error.strerror}") from error


class Lock:
    """Exclusive ownership of a database, held by an open file and so let go by the kernel when the process ends.

    Why not SQLite's own exclusive mode: backups and checks read the database by connections of their own.
    """

    def __init__(self, database: Path) -> None:
        """Take the lock. Raises: ConfigurationError (another server holds it, or the file cannot be made)."""
        database = true_path(database)
        path = database.with_name(database.name + ".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise ConfigurationError(f"cannot create {path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigurationError(
                f"the database {database} is in use by process {holder}; one process owns it at a time:"
                " stop that process, or name another database"
            ) from error
        # A full disk must not keep a server from starting, which may be what makes room.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            # The file stays: removing it would let two servers hold locks on two files of that name.
            os.close(self._descriptor)
            self._descriptor = None


class Ballast:
    """Reserved disk space. When the disk is full it is released, so that deletion, which needs space too, can go on.

    While it is released nothing new is written: only deletions may use the room it gave.
    """

    def __init__(self, database: Path | None, size: int = BALLAST_BYTES) -> None:
        """Without a database (in memory) there is nothing to hold. Call `hold` when the disk may be written."""
        self._path = None if database is None or size == 0 else database.with_name(database.name + ".ballast")
        self._size = size
        self.is_released = False

    def hold(self) -> bool:
        """Reserve the space if it is not. Gives False where there is none.

        Near the end of the disk it takes half of what is free, so that there is room to write too, and no less than half its size.
        """
        if self._path is None:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
            try:
                held, disk = os.fstat(descriptor).st_size, os.fstatvfs(descriptor)
                share = (held + disk.f_bavail * disk.f_frsize) // 2
                wanted = min(self._size, max(self._size // 2, share))
                if held < wanted:
                    os.posix_fallocate(descriptor, 0, wanted)
            finally:
                os.close(descriptor)
        except OSError as error:
            if self.is_released:
                self._remove()
            else:
                _log.warning("no room for ballast", extra={"error": error.strerror})
            return False
        self.is_released = False
        return True

    def release(self) -> None:
        """Give the space back to the disk."""
        if self._path is not None and not self.is_released:
            self._remove()
            self.is_released = True
            _log.error("disk is full, ballast released")

    def _remove(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def is_full(error: Exception) -> bool:
    """Say whether an error means that the disk has no room."""
    if isinstance(error, sqlite3.Error):
        # The second: no room for the index of the write-ahead log, which SQLite reports as a failure to read and write.
        return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
