"""Values of the log: what an engine keeps and what it hands out.

Owns: names, positions, entries, commits and records as plain values.   Not: keeping them (engines), event types (events/kinds.py), JSON.
Rule 1: no clock, no I/O; `at` and `expires_at` come from the engine's clock, in milliseconds since 1970 UTC.
Rule 2: an engine compares these values and stores their bytes; it never looks inside a body or a record's value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple, NewType

from msgspec import Struct

LogName = NewType("LogName", str)
"""An organization's id, or one of the two reserved names below."""
Epoch = NewType("Epoch", str)
"""Name of one unbroken life of a log: 16 characters of `[0-9a-f]`."""

SYSTEM_LOG: Final = LogName("*")
"""System announcements. Followed by every node."""
CONTROL_LOG: Final = LogName("~")
"""Revocations, disconnects, notices between nodes. Followed by every node, never shown to clients."""

TAG_BYTES: Final = 5
ORIGIN_TAG: Final = bytes(TAG_BYTES)
"""The tag of offset 0, before the first entry."""
ABSENT: Final = 0
"""In an expectation: the record does not exist (or has expired). Versions of records start at 1."""


class Position(NamedTuple):
    """A place in a log: after the entry with this offset. Equal positions mean equal histories up to here (ARCHITECTURE.md: chained tags)."""

    epoch: Epoch
    offset: int
    tag: bytes


class Entry(NamedTuple):
    """One event in a log. `offset` is 1-based, `tag` chains to all before it, `at` is when the engine placed it (ms, engine's clock)."""

    offset: int
    tag: bytes
    at: int
    event_id: str
    keys: tuple[str, ...]
    body: bytes


class Draft(NamedTuple):
    """An event to be appended. `digest` (32 bytes) identifies the value as it was sent: a known id with another digest is refused."""

    event_id: str
    digest: bytes
    keys: tuple[str, ...]
    body: bytes


class Key(NamedTuple):
    """Address of a record within a log."""

    collection: str
    key: str


class Record(NamedTuple):
    """A value kept beside a log. `version` is chosen by who writes it, at least 1, and compared for equality only."""

    collection: str
    key: str
    value: bytes
    version: int
    expires_at: int | None = None


class Commit(NamedTuple):
    """One atomic step: all of it happens or nothing does.

    `epoch`: the log's epoch must be this one (else `Stale`). `expect`: each record must have this version, or be `ABSENT` (else `Stale`).
    """

    events: Sequence[Draft] = ()
    epoch: Epoch | None = None
    expect: Sequence[tuple[Key, int]] = ()
    put: Sequence[Record] = ()
    delete: Sequence[Key] = ()


class Placed(NamedTuple):
    """Where a draft stands. `duplicate`: it stood there before this commit (or before this draft, within one commit)."""

    event_id: str
    offset: int
    tag: bytes
    duplicate: bool


class Top(NamedTuple):
    """The newest confirmed place of a log, and its floor: the last trimmed entry (offset 0 and ORIGIN_TAG if none ever was)."""

    epoch: Epoch
    offset: int
    tag: bytes
    floor_offset: int
    floor_tag: bytes

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset, self.tag)

    @property
    def floor(self) -> Position:
        return Position(self.epoch, self.floor_offset, self.floor_tag)


class Committed(NamedTuple):
    """The commit happened: durable, delivered to the sink, and now answered. `placed` is in the order of the drafts."""

    epoch: Epoch
    at: int
    placed: Sequence[Placed]
    top: Top


class Stale(NamedTuple):
    """Nothing happened: the epoch is another (`keys` empty), or these records do not have the expected version."""

    top: Top
    keys: Sequence[Key]


class Reused(NamedTuple):
    """Nothing happened: these event ids are known in the log with another digest."""

    event_ids: Sequence[str]


class Page(NamedTuple):
    """Entries in order, oldest first, with the log's top and floor at the moment of reading."""

    entries: Sequence[Entry]
    top: Top


class Exact(NamedTuple):
    """A query for one record."""

    collection: str
    key: str


class Range(NamedTuple):
    """A query for the records of a collection whose keys lie in `first` ≤ key ≤ `last` (by code points), at most `limit`.

    With `max_bytes` it ends with the record whose value makes them that many, or more.
    """

    collection: str
    first: str
    last: str
    limit: int
    descending: bool = False
    max_bytes: int | None = None


class Snapshot(NamedTuple):
    """One consistent, confirmed view: `results[i]` answers query i (Exact: none or one record). `at` is the engine's clock."""

    top: Top
    at: int
    results: Sequence[Sequence[Record]]


class EngineHealth(NamedTuple):
    """What an engine says of itself. `status` is `ok`, `degraded` or `unavailable`; `detail` is for operators, without secrets."""

    status: str
    detail: str = ""


class Retention(Struct, frozen=True, kw_only=True):
    """How long a log is kept. `age_ms`, `count`: beyond either, the oldest go. `max_bytes`: a cap, the oldest go whatever their age."""

    age_ms: int = 259_200_000
    count: int | None = None
    max_bytes: int = 1 << 30


def chain(tag: bytes, event_id: str) -> bytes:
    """Give the tag of the entry that follows one with `tag`: the first 40 bits of SHA-1(tag ‖ event id).

    SHA-1 because Redis' Lua offers it (`redis.sha1hex`); the tag tells histories apart, it does not authenticate.
    """
    return hashlib.sha1(tag + event_id.encode(), usedforsecurity=False).digest()[:TAG_BYTES]
