"""Reading pages and records by a connection of its own, so that reading never waits for writing.

Owns: consistent views.   Not: making logs that do not exist (engine.py asks the writer), the cache.
Rule 1: each answer comes from one transaction; in WAL mode that is a snapshot of what is durable.
Rule 2: bulk comes as one row of text (layout.py, rule 2).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import Final

from signtusk_realtime.engines.sqlite.layout import (
    LOG_COLUMNS,
    LogState,
    decode_entries,
    decode_records,
    place_of,
)
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Entry, Exact, LogName, Page, Range, Record, Snapshot

_ENTRIES_PER_QUERY: Final = 1024
_SMALL_BODY_BYTES: Final = 64
"""No more sizes are asked for than bodies of this size fit: pages of one entry are asked for often, and sizes are most of their cost."""

_LOG: Final = f"SELECT {LOG_COLUMNS} FROM logs WHERE name = ?"  # noqa: S608 - constants only
_LOGS: Final = """
    SELECT json_group_array(name) FROM (SELECT name FROM logs WHERE ?1 IS NULL OR name > ?1 ORDER BY name LIMIT ?2)
"""
_SIZES: Final = """
    SELECT group_concat(size) FROM (
        SELECT length(body) AS size FROM entries WHERE place > ? AND place <= ? ORDER BY place LIMIT ?
    )
"""
_ENTRIES: Final = """
    SELECT group_concat(place || ',' || hex(event_id) || ',' || hex(head) || ',' || hex(body), ';') FROM (
        SELECT place, event_id, head, body FROM entries WHERE place > ? AND place <= ? ORDER BY place LIMIT ?
    )
"""
_EXACT: Final = """
    SELECT group_concat(hex(key) || ',' || hex(value) || ',' || version || ',' || coalesce(expires_at, ''), ';')
    FROM records
    WHERE log = ? AND collection = ? AND key = ? AND (expires_at IS NULL OR expires_at > ?)
"""
_ASCENDING: Final = """
    SELECT group_concat(hex(key) || ',' || hex(value) || ',' || version || ',' || coalesce(expires_at, ''), ';') FROM (
        SELECT key, value, version, expires_at FROM records
        WHERE log = ? AND collection = ? AND key BETWEEN ? AND ? AND (expires_at IS NULL OR expires_at > ?)
        ORDER BY key ASC LIMIT ?
    )
"""
_DESCENDING: Final = """
    SELECT group_concat(hex(key) || ',' || hex(value) || ',' || version || ',' || coalesce(expires_at, ''), ';') FROM (
        SELECT key, value, version, expires_at FROM records
        WHERE log = ? AND collection = ? AND key BETWEEN ? AND ? AND (expires_at IS NULL OR expires_at > ?)
        ORDER BY key DESC LIMIT ?
    )
"""
_SIZES_ASCENDING: Final = """
    SELECT group_concat(size) FROM (
        SELECT length(value) AS size FROM records
        WHERE log = ? AND collection = ? AND key BETWEEN ? AND ? AND (expires_at IS NULL OR expires_at > ?)
        ORDER BY key ASC LIMIT ?
    )
"""
_SIZES_DESCENDING: Final = """
    SELECT group_concat(size) FROM (
        SELECT length(value) AS size FROM records
        WHERE log = ? AND collection = ? AND key BETWEEN ? AND ? AND (expires_at IS NULL OR expires_at > ?)
        ORDER BY key DESC LIMIT ?
    )
"""


class Reader:
    """The reading side of the engine. Runs on the reader's thread only."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int]) -> None:
        self.connection = connection
        self._clock = clock

    def page(self, log: LogName, after: int, max_bytes: int) -> Page | None:
        """Give a page, or None for a log that does not exist."""
        with self._snapshot():
            state = self._state(log)
            if state is None:
                return None
            entries = self._entries(state, min(max(after, state.floor_offset), state.offset), max_bytes)
        return Page(entries, state.top())

    def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot | None:
        """Give all answers from one snapshot, or None for a log that does not exist."""
        now = self._clock()
        with self._snapshot():
            state = self._state(log)
            if state is None:
                return None
            results = [self._answer(state.log_id, query, now) for query in queries]
        return Snapshot(state.top(), now, results)

    def logs(self, after: LogName | None, limit: int) -> list[LogName]:
        with self._snapshot():
            names: list[LogName] = json.loads(self.connection.execute(_LOGS, (after, limit)).fetchone()[0])
        names.sort()
        return names

    def _entries(self, state: LogState, after: int, max_bytes: int) -> list[Entry]:
        entries: list[Entry] = []
        last = place_of(state.log_id, state.offset)
        while after < state.offset:
            most = min(_ENTRIES_PER_QUERY, 1 + max_bytes // _SMALL_BODY_BYTES)
            span = (place_of(state.log_id, after), last, most)
            sizes = [int(size) for size in self.connection.execute(_SIZES, span).fetchone()[0].split(",")]
            count, max_bytes = _fitting(sizes, max_bytes, may_be_none=bool(entries))
            if count:
                text = self.connection.execute(_ENTRIES, (*span[:2], count)).fetchone()[0]
                # SQLite promises no order inside an aggregate; it keeps the subquery's in practice, and this costs little.
                entries += sorted(decode_entries(text), key=lambda entry: entry.offset)
                after = entries[-1].offset
            if count < len(sizes) or max_bytes < 0:
                break
        return entries

    def _answer(self, log_id: int, query: Exact | Range, now: int) -> list[Record]:
        if isinstance(query, Exact):
            statement = _EXACT
            arguments: tuple[str | int, ...] = (log_id, query.collection, query.key, now)
            descending = False
        else:
            statement = _DESCENDING if query.descending else _ASCENDING
            limit = query.limit
            if query.max_bytes is not None:
                sizes = _SIZES_DESCENDING if query.descending else _SIZES_ASCENDING
                asked = (log_id, query.collection, query.first, query.last, now, limit)
                limit = _reaching(self.connection.execute(sizes, asked).fetchone()[0] or "", query.max_bytes)
            arguments = (log_id, query.collection, query.first, query.last, now, limit)
            descending = query.descending
        records = decode_records(query.collection, self.connection.execute(statement, arguments).fetchone()[0])
        records.sort(key=lambda record: record.key, reverse=descending)
        return records

    def _state(self, log: LogName) -> LogState | None:
        row = self.connection.execute(_LOG, (log,)).fetchone()
        return None if row is None else LogState(*row)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        try:
            self._leave_transaction()
            self.connection.execute("BEGIN")
            yield
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"the database failed: {error}") from error
        finally:
            # What cannot be left now is left before the next snapshot.
            with suppress(sqlite3.Error):
                self._leave_transaction()

    def _leave_transaction(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


def _fitting(sizes: list[int], max_bytes: int, *, may_be_none: bool) -> tuple[int, int]:
    """Count the first bodies that fit into `max_bytes`, and say how many bytes are left then."""
    count = 0
    for size in sizes:
        if size > max_bytes and (count or may_be_none):
            break
        max_bytes -= size
        count += 1
    return count, max_bytes


def _reaching(sizes: str, max_bytes: int) -> int:
    """Count the first values, of these sizes, up to the one by which they have `max_bytes`."""
    upto = accumulate((int(size) for size in sizes.split(",") if size), initial=0)
    return sum(before < max_bytes for before in list(upto)[:-1])
