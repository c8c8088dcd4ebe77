"""The writer's connection: looking up, and writing whole transactions or nothing.

Owns: transactions, the cache of log states, finding out what became of a COMMIT that failed.   Not: what is written (stage.py, upkeep.py).
Rule 1: runs on the writer's thread only.
Rule 2: the cache holds what is durable and nothing else; after any failure it is emptied and read again.
Rule 3: few statements, each of many rows (layout.py, rule 2).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from signtusk_realtime.engines.sqlite.layout import (
    LOG_COLUMNS,
    ROWS_PER_STATEMENT,
    Address,
    Known,
    LogState,
    SqlValue,
    decode_head,
    insert_entries,
    offset_of,
    put_logs,
    put_records,
    row_count,
)
from signtusk_realtime.events.log import Entry, Epoch, LogName, Record

_CACHED_LOGS: Final = 4096

_FIND_LOGS: Final = f"SELECT {LOG_COLUMNS} FROM logs WHERE name IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants only
_FIND_KNOWN: Final = """
    SELECT json_group_array(json_array(e.log, e.event_id, e.place, hex(e.head)))
    FROM json_each(?) AS of_log CROSS JOIN json_each(of_log.value) AS id
    CROSS JOIN entries AS e ON e.log = CAST(of_log.key AS INTEGER) AND e.event_id = id.value
"""
_FIND_VERSIONS: Final = """
    SELECT json_group_array(json_array(r.log, r.collection, r.key, r.version))
    FROM json_each(?1) AS a
    CROSS JOIN records AS r ON r.log = json_extract(a.value, '$[0]')
        AND r.collection = json_extract(a.value, '$[1]') AND r.key = json_extract(a.value, '$[2]')
    WHERE r.expires_at IS NULL OR r.expires_at > ?2
"""
_DELETE_RECORDS: Final = """
    DELETE FROM records WHERE (log, collection, key) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?)
    )
"""


class Delivery(NamedTuple):
    """Entries that became durable and are to be shown to those who follow the log."""

    log: LogName
    epoch: Epoch
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Changes:
    """One transaction: all of it is written or nothing. `statements` run before the states of `logs` are written."""

    logs: dict[LogName, LogState]
    entry_rows: Sequence[SqlValue] = ()
    records: dict[Address, Record | None] = field(default_factory=dict)
    statements: Sequence[tuple[str, tuple[SqlValue, ...]]] = ()
    deliveries: Sequence[Delivery] = ()


class Store:
    """A database that one thread writes. `on_adopted` sees each log's state when it has become durable."""

    def __init__(self, connection: sqlite3.Connection, on_adopted: Callable[[LogState], None]) -> None:
        self.connection = connection
        self._on_adopted = on_adopted
        self._cache: dict[LogName, LogState] = {}
        self._doubtful: Changes | None = None
        self._next_id: int | None = None

    def states(self, names: Iterable[LogName]) -> dict[LogName, LogState]:
        """Give the durable states of those logs that exist. They are not to be changed; `copy` them."""
        found: dict[LogName, LogState] = {}
        missing: list[LogName] = []
        for name in names:
            state = self._cache.get(name)
            if state is None:
                missing.append(name)
            else:
                found[name] = state
        if missing:
            for row in self.connection.execute(_FIND_LOGS, (_json(missing),)).fetchall():
                state = LogState(*row)
                found[state.name] = state
                self._remember(state)
        return found

    def known(self, ids: dict[int, list[str]]) -> dict[tuple[int, str], Known]:
        """Look event ids up, by log id."""
        text = self._text(_FIND_KNOWN, (_json(ids),))
        if text == "[]":
            return {}
        known = {}
        for log_id, event_id, place, head in json.loads(text):
            tag, _, digest = decode_head(bytes.fromhex(head))
            known[log_id, event_id] = Known(digest, offset_of(place), tag)
        return known

    def versions(self, addresses: Sequence[Address], now: int) -> dict[Address, int]:
        """Look up the versions of those records that exist and have not expired."""
        text = self._text(_FIND_VERSIONS, (_json(addresses), now))
        return {Address(log_id, collection, key): version for log_id, collection, key, version in json.loads(text)}

    def next_id(self) -> int:
        """Give the id of a log to be made. Ids of erased logs whose entries still lie here are not used again."""
        if self._next_id is None:
            statement = (
                "SELECT max(coalesce((SELECT max(id) FROM logs), 0), coalesce((SELECT max(log) FROM erased), 0))"
            )
            self._next_id = self.connection.execute(statement).fetchone()[0]
        self._next_id += 1
        return self._next_id

    def write(self, changes: Changes) -> None:
        """Make `changes` durable, or raise and have changed nothing."""
        self._leave_transaction()
        is_committing = False
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self._apply(changes)
            is_committing = True
            self.connection.execute("COMMIT")
        except Exception:
            self._forget_cached()
            if is_committing and changes.logs:
                self._doubtful = changes
                if self._has_happened():
                    self._adopt(changes)
                    return
            else:
                with suppress(sqlite3.Error):
                    self._leave_transaction()
            raise
        self._adopt(changes)

    def settle(self) -> Sequence[Delivery]:
        """Give the deliveries still owed for a transaction whose outcome could not be found out when it failed.

        Call it before each use: while it raises, the database cannot be trusted. It also ends a transaction that could not be rolled
        back when it failed, in which everything looked up would be seen as if it were durable.
        """
        self._leave_transaction()
        if self._doubtful is None:
            return ()
        changes = self._doubtful
        if not self._has_happened():
            return ()
        for state in changes.logs.values():
            self._on_adopted(state)
        return changes.deliveries

    def fold(self) -> bool:
        """Put what the journal holds in its place in the file, so that the journal begins anew in the room it has.

        On a full disk that succeeds where retention left free pages in the file. Gives False if it brought nothing.
        """
        try:
            self._leave_transaction()
            # It waits for no reader: one that is in the way may be a backup, which takes its time.
            _, pages, folded = self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error:
            return False
        return 0 < pages == folded  # type: ignore[no-any-return]  # a row's columns have no type

    def _has_happened(self) -> bool:
        changes = self._doubtful
        if changes is None:
            return False
        self._leave_transaction()
        state = next(iter(changes.logs.values()))
        row = self.connection.execute(
            "SELECT revision FROM logs WHERE id = ? AND epoch = ?", (state.log_id, state.epoch)
        ).fetchone()
        self._doubtful = None
        return row is not None and row[0] == state.revision

    def _apply(self, changes: Changes) -> None:
        execute = self.connection.execute
        for rows, values in _chunks(changes.entry_rows, 5):
            execute(insert_entries(rows), values)
        if changes.records:
            puts: list[SqlValue] = []
            deletes = []
            for address, record in changes.records.items():
                if record is None:
                    deletes.append(address)
                else:
                    puts += (*address, record.value, record.version, record.expires_at)
            for rows, values in _chunks(puts, 6):
                execute(put_records(rows), values)
            if deletes:
                execute(_DELETE_RECORDS, (_json(deletes),))
        for statement, arguments in changes.statements:
            execute(statement, arguments)
        states: list[SqlValue] = []
        for state in changes.logs.values():
            states += state.row()
        for rows, values in _chunks(states, 10):
            execute(put_logs(rows), values)

    def _adopt(self, changes: Changes) -> None:
        for state in changes.logs.values():
            self._cache.pop(state.name, None)
            self._remember(state)
            self._on_adopted(state)

    def drop(self, log: LogName) -> None:
        """Forget the cached state of a log whose row was deleted."""
        self._cache.pop(log, None)

    def _remember(self, state: LogState) -> None:
        self._cache[state.name] = state
        if len(self._cache) > _CACHED_LOGS:
            for name in list(self._cache)[: _CACHED_LOGS // 4]:
                del self._cache[name]

    def _forget_cached(self) -> None:
        self._cache.clear()
        self._next_id = None

    def _leave_transaction(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _text(self, statement: str, arguments: tuple[SqlValue, ...]) -> str:
        text = self.connection.execute(statement, arguments).fetchone()[0]
        assert isinstance(text, str)
        return text


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _chunks(values: Sequence[SqlValue], columns: int) -> Iterator[tuple[int, Sequence[SqlValue]]]:
    """Split flat rows into what one statement takes, padded with NULL to a number of rows that has a prepared statement."""
    width = ROWS_PER_STATEMENT * columns
    for start in range(0, len(values), width):
        chunk = values[start : start + width]
        rows = len(chunk) // columns
        padded = row_count(rows)
        yield padded, [*chunk, *[None] * ((padded - rows) * columns)]
