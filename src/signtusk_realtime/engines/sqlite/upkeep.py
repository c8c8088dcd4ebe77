"""What is deleted in the background: entries beyond retention, expired records, what belonged to forgotten logs.

Owns: small steps, each one transaction, so that commits wait for one step at most.   Not: when to run (engine.py).
Rule 1: runs on the writer's thread only.   Rule 2: a log's floor moves in the transaction that deletes what lay below it.
Rule 3: event ids are forgotten with their entries; they are stored in the same row.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Final

from signtusk_realtime.engines.retention import ENTRY_OVERHEAD_BYTES, WARNING_SHARE, count_due
from signtusk_realtime.engines.sqlite.files import Ballast
from signtusk_realtime.engines.sqlite.layout import LogState, SqlValue, decode_head, place_of
from signtusk_realtime.engines.sqlite.store import Changes
from signtusk_realtime.engines.sqlite.writer import Writer
from signtusk_realtime.events.log import LogName, Retention

_log = logging.getLogger(__name__)

_ENTRIES_PER_STEP: Final = 256
_BYTES_PER_STEP: Final = 1 << 20
"""What is deleted is overwritten too (many builds of SQLite do so), so on a full disk a step must fit into the ballast."""
_LOGS_PER_STEP: Final = 64
_RECORDS_PER_STEP: Final = 256

_BY_AGE: Final = "SELECT name FROM logs WHERE oldest_at < ? ORDER BY oldest_at LIMIT ?"
_BY_SIZE: Final = 'SELECT name FROM logs WHERE bytes > ? OR "offset" - floor_offset > ?'
# A head's first bytes, without the keys, are all that is needed beside the size of the whole.
_OLDEST: Final = """
    SELECT group_concat(hex(substr(head, 1, ?)) || ',' || size, ';') FROM (
        SELECT head, length(event_id) + length(head) + length(body) AS size
        FROM entries WHERE place > ? AND place <= ? ORDER BY place LIMIT ?
    )
"""
_TRIM: Final = "DELETE FROM entries WHERE place > ? AND place <= ?"
_ANY_EXPIRED: Final = "SELECT 1 FROM records WHERE expires_at <= ? LIMIT 1"
_EXPIRE: Final = """
    DELETE FROM records WHERE (log, collection, key) IN (
        SELECT log, collection, key FROM records WHERE expires_at <= ? LIMIT ?
    )
"""
_ERASED: Final = "SELECT log FROM erased LIMIT 1"
_ERASE_ENTRIES: Final = """
    DELETE FROM entries WHERE place IN (
        SELECT place FROM (
            SELECT place, sum(size) OVER (ORDER BY place) - size AS size_before FROM (
                SELECT place, length(body) AS size FROM entries WHERE place > ? AND place < ? ORDER BY place LIMIT ?
            )
        ) WHERE size_before < ?
    )
"""
_ERASE_RECORDS: Final = """
    DELETE FROM records WHERE log = ?1 AND (collection, key) IN (
        SELECT collection, key FROM records WHERE log = ?1 LIMIT ?2
    )
"""
_ERASE_LOG: Final = """
    DELETE FROM erased WHERE log = ?1
        AND NOT EXISTS (SELECT 1 FROM entries WHERE place > ?2 AND place < ?3)
        AND NOT EXISTS (SELECT 1 FROM records WHERE log = ?1)
"""


class Upkeep:
    """The background work of a database. Call `step` until it says that nothing is left."""

    def __init__(self, writer: Writer, ballast: Ballast, retention: Retention, clock: Callable[[], int]) -> None:
        self._writer = writer
        self._ballast = ballast
        self._retention = retention
        self._clock = clock
        # Logs that may be over the count or the cap. A set of names, so that no look over all logs is needed.
        self._large: set[LogName] = set()
        self._warned: set[LogName] = set()

    def watch(self, state: LogState) -> None:
        """See the state of a log that changed."""
        count = self._retention.count
        if state.size > self._warning_bytes or (count is not None and state.offset - state.floor_offset > count):
            self._large.add(state.name)
        else:
            self._large.discard(state.name)
            self._warned.discard(state.name)

    def find_large(self) -> None:
        """Look over all logs once, when the database is opened."""
        count = self._retention.count
        rows = self._connection.execute(_BY_SIZE, (self._warning_bytes, (1 << 62) if count is None else count))
        self._large.update(name for (name,) in rows.fetchall())

    def step(self) -> bool:
        """Do one small step. Gives True if there may be more to do."""
        if self._ballast.is_released:
            # Before deletions take what was released: what is in the journal needs some of it to get to its place, and is deletable then.
            self._writer.store.fold()
        has_more = self._trim() or self._expire() or self._erase()
        if not has_more:
            self._recover()
        return has_more

    def forget(self, log: LogName) -> None:
        """Take a log away at once; what it held is deleted by the following steps."""
        state = self._writer.store.states([log]).get(log)
        if state is None:
            return
        statements: list[tuple[str, tuple[SqlValue, ...]]] = [
            ("INSERT INTO erased (log) VALUES (?)", (state.log_id,)),
            ("DELETE FROM logs WHERE id = ?", (state.log_id,)),
        ]
        self._writer.write(Changes({}, statements=statements))
        self._writer.store.drop(log)
        self._large.discard(log)
        self._warned.discard(log)

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._writer.store.connection

    @property
    def _warning_bytes(self) -> int:
        return int(self._retention.max_bytes * WARNING_SHARE)

    def _trim(self) -> bool:
        now = self._clock()
        changed: dict[LogName, LogState] = {}
        statements: list[tuple[str, tuple[SqlValue, ...]]] = []
        left, left_bytes = _ENTRIES_PER_STEP, _BYTES_PER_STEP
        for state in self._due(now):
            trimmed, count, freed = self._cut(state, now, left, left_bytes)
            if trimmed is not None:
                changed[state.name] = trimmed
                floors = place_of(state.log_id, state.floor_offset), place_of(state.log_id, trimmed.floor_offset)
                statements.append((_TRIM, floors))
            left -= count
            left_bytes -= freed
            if left <= 0 or left_bytes <= 0 or len(changed) == _LOGS_PER_STEP:
                break
        if not changed:
            return False
        self._writer.write(Changes(changed, statements=statements))
        return True

    def _due(self, now: int) -> Iterator[LogState]:
        rows = self._connection.execute(_BY_AGE, (now - self._retention.age_ms, _LOGS_PER_STEP)).fetchall()
        names = dict.fromkeys(name for (name,) in rows)
        names.update(dict.fromkeys(self._large))
        for name in names:
            state = self._writer.store.states([name]).get(name)
            if state is not None:
                self._warn(state)
                if self._is_due(state, now):
                    yield state

    def _is_due(self, state: LogState, now: int) -> bool:
        count = self._retention.count
        return (
            state.size > self._retention.max_bytes
            or (count is not None and state.offset - state.floor_offset > count)
            or (state.oldest_at is not None and state.oldest_at < now - self._retention.age_ms)
        )

    def _cut(self, state: LogState, now: int, limit: int, max_bytes: int) -> tuple[LogState | None, int, int]:
        """Work out a log's state after the oldest entries went, `limit` of them at most, or as many as exceed `max_bytes`.

        Gives also how many went, and how many bytes.
        """
        places = place_of(state.log_id, state.floor_offset), place_of(state.log_id, state.offset)
        text = self._connection.execute(_OLDEST, (ENTRY_OVERHEAD_BYTES, *places, limit + 1)).fetchone()[0]
        oldest = []
        for row in text.split(";") if text else ():
            head, size = row.split(",")
            tag, at, _ = decode_head(bytes.fromhex(head))
            oldest.append((tag, at, int(size)))
        sizes = []
        for _, at, size in oldest[:limit]:
            if max_bytes <= 0:
                break
            sizes.append((at, size))
            max_bytes -= size
        due, freed = count_due(self._retention, now, sizes, state.offset - state.floor_offset, state.size)
        if due == 0:
            return None, 0, 0
        trimmed = state.copy()
        trimmed.floor_offset += due
        trimmed.floor_tag = oldest[due - 1][0]
        trimmed.size -= freed
        trimmed.oldest_at = oldest[due][1] if due < len(oldest) else None
        trimmed.revision += 1
        return trimmed, due, freed

    def _warn(self, state: LogState) -> None:
        if state.size > self._warning_bytes and state.name not in self._warned:
            self._warned.add(state.name)
            _log.warning(
                "log nears its cap, above it the oldest entries go",
                extra={"organization": state.name, "bytes": state.size, "cap": self._retention.max_bytes},
            )

    def _expire(self) -> bool:
        now = self._clock()
        if self._connection.execute(_ANY_EXPIRED, (now,)).fetchone() is None:
            return False
        self._writer.write(Changes({}, statements=[(_EXPIRE, (now, _RECORDS_PER_STEP))]))
        return True

    def _erase(self) -> bool:
        row = self._connection.execute(_ERASED).fetchone()
        if row is None:
            return False
        (log_id,) = row
        first, end = place_of(log_id, 0), place_of(log_id + 1, 0)
        statements: list[tuple[str, tuple[SqlValue, ...]]] = [
            (_ERASE_ENTRIES, (first, end, _ENTRIES_PER_STEP, _BYTES_PER_STEP)),
            (_ERASE_RECORDS, (log_id, _RECORDS_PER_STEP)),
            (_ERASE_LOG, (log_id, first, end)),
        ]
        self._writer.write(Changes({}, statements=statements))
        return True

    def _recover(self) -> None:
        """After a fault, find out whether the database can be written again."""
        if self._ballast.is_released:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            if not self._ballast.hold():
                return
        if self._writer.fault is not None:
            # Writing the schema version it has is the smallest transaction that reaches the disk.
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            self._writer.write(Changes({}, statements=[(f"PRAGMA user_version = {version}", ())]))
            self._writer.fault = None
