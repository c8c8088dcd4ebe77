"""How values of the log lie in the database's rows.

Owns: places, heads, a log's state as a row, texts of statements with many rows.   Not: running statements (store.py, reader.py).
Rule 1: a stored entry begins with a format byte; a reader that does not know it refuses instead of guessing.
Rule 2: what is read in bulk comes as one row of text. Every step of SQLite gives the GIL away and may wait a switch interval (5 ms by
default) to get it back from a busy loop thread, so a page of 200 rows could take a second.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch, LogName, Record, Top

SqlValue: TypeAlias = str | bytes | int | None

OFFSET_BITS: Final = 40
ENTRY_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">B5sq32s")
_KEY_END: Final = "\x1f"

ROWS_PER_STATEMENT: Final = 512
"""At most this many rows in one INSERT: 512 rows of ten values stay far below SQLite's 32766 parameters."""


def place_of(log_id: int, offset: int) -> int:
    """Give the row id of an entry: those of one log lie together, in order."""
    return log_id << OFFSET_BITS | offset


def offset_of(place: int) -> int:
    """Give the offset of the entry with this row id."""
    return place & ((1 << OFFSET_BITS) - 1)


def encode_head(tag: bytes, at: int, digest: bytes, keys: Sequence[str]) -> bytes:
    """Pack what an entry has beside its id and body. Ids hold no control characters, so each key ends with one."""
    return _HEAD.pack(ENTRY_FORMAT, tag, at, digest) + "".join([key + _KEY_END for key in keys]).encode()


def decode_head(head: bytes) -> tuple[bytes, int, bytes]:
    """Give the tag, the time and the digest of a stored entry."""
    version, tag, at, digest = _HEAD.unpack_from(head)
    if version != ENTRY_FORMAT:
        raise Unavailable(f"stored entry has format {version}; this version reads format {ENTRY_FORMAT}")
    return tag, at, digest


def decode_entry(place: int, event_id: str, head: bytes, body: bytes) -> Entry:
    """Give the entry that a row holds."""
    tag, at, _ = decode_head(head)
    keys = tuple(head[_HEAD.size :].decode().split(_KEY_END)[:-1])
    return Entry(offset_of(place), tag, at, event_id, keys, body)


class LogState:
    """Where a log stands, as its row says. The writer changes copies and adopts them when their transaction is durable."""

    __slots__ = (
        "epoch",
        "floor_offset",
        "floor_tag",
        "log_id",
        "name",
        "offset",
        "oldest_at",
        "revision",
        "size",
        "tag",
    )

    def __init__(
        self,
        log_id: int,
        name: LogName,
        epoch: Epoch,
        offset: int = 0,
        tag: bytes = ORIGIN_TAG,
        floor_offset: int = 0,
        floor_tag: bytes = ORIGIN_TAG,
        size: int = 0,
        oldest_at: int | None = None,
        revision: int = 0,
    ) -> None:
        self.log_id = log_id
        self.name = name
        self.epoch = epoch
        self.offset = offset
        self.tag = tag
        self.floor_offset = floor_offset
        self.floor_tag = floor_tag
        self.size = size
        self.oldest_at = oldest_at
        self.revision = revision

    def row(self) -> tuple[SqlValue, ...]:
        return (
            self.log_id,
            self.name,
            self.epoch,
            self.offset,
            self.tag,
            self.floor_offset,
            self.floor_tag,
            self.size,
            self.oldest_at,
            self.revision,
        )

    def copy(self) -> LogState:
        return LogState(
            self.log_id,
            self.name,
            self.epoch,
            self.offset,
            self.tag,
            self.floor_offset,
            self.floor_tag,
            self.size,
            self.oldest_at,
            self.revision,
        )

    def top(self) -> Top:
        return Top(self.epoch, self.offset, self.tag, self.floor_offset, self.floor_tag)


LOG_COLUMNS: Final = 'id, name, epoch, "offset", tag, floor_offset, floor_tag, bytes, oldest_at, revision'


class Address(NamedTuple):
    """Where a record lies in the whole file."""

    log_id: int
    collection: str
    key: str


class Known(NamedTuple):
    """What is remembered of an event id: the digest of its value and where it stands."""

    digest: bytes
    offset: int
    tag: bytes


def row_count(rows: int) -> int:
    """Round up to a power of two, so that a handful of statement texts serve all sizes and stay prepared."""
    return 1 << (rows - 1).bit_length()


@functools.cache
def _values(columns: int, rows: int) -> str:
    one = "(" + ",".join("?" * columns) + ")"
    # Padding rows are all NULL and filtered out again: cheaper than preparing a text for each number of rows.
    return f"SELECT * FROM (VALUES {','.join([one] * rows)}) WHERE column1 IS NOT NULL"  # noqa: S608 - constants only


@functools.cache
def insert_entries(rows: int) -> str:
    """Give the statement that inserts this many entries."""
    return f"INSERT INTO entries (place, log, event_id, head, body) {_values(5, rows)}"


@functools.cache
def put_records(rows: int) -> str:
    """Give the statement that puts this many records."""
    return (
        f"INSERT INTO records (log, collection, key, value, version, expires_at) {_values(6, rows)}"
        " ON CONFLICT (log, collection, key) DO UPDATE"
        " SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at"
    )


@functools.cache
def put_logs(rows: int) -> str:
    """Give the statement that makes or changes this many logs."""
    return (
        f"INSERT INTO logs ({LOG_COLUMNS}) {_values(10, rows)}"
        ' ON CONFLICT (id) DO UPDATE SET "offset" = excluded."offset", tag = excluded.tag,'
        " floor_offset = excluded.floor_offset, floor_tag = excluded.floor_tag, bytes = excluded.bytes,"
        " oldest_at = excluded.oldest_at, revision = excluded.revision"
    )


def decode_entries(text: str | None) -> list[Entry]:
    """Read entries from the one text that reader.py's statement gives: `place,id,head,body;…`, all but the place in hexadecimal."""
    if not text:
        return []
    entries = []
    for row in text.split(";"):
        place, event_id, head, body = row.split(",")
        unhex = bytes.fromhex
        entries.append(decode_entry(int(place), unhex(event_id).decode(), unhex(head), unhex(body)))
    return entries


def decode_records(collection: str, text: str | None) -> list[Record]:
    """Read records from the one text that reader.py's statement gives: `key,value,version,expires;…`, key and value in hexadecimal."""
    if not text:
        return []
    records = []
    for row in text.split(";"):
        key, value, version, expires_at = row.split(",")
        records.append(
            Record(
                collection,
                bytes.fromhex(key).decode(),
                bytes.fromhex(value),
                int(version),
                int(expires_at) if expires_at else None,
            )
        )
    return records
