"""An engine of dictionaries, for tests and as the model the other engines are compared with.

Owns: every sentence of the port, said as plainly as possible.   Not: durability (all is lost with the process), speed.
Rule: nothing here awaits, so each method is one atomic step by itself.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple, ParamSpec

from signtusk_realtime.engines.engine import Sink
from signtusk_realtime.engines.retention import count_due, stored_bytes
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import (
    ABSENT,
    ORIGIN_TAG,
    Commit,
    Committed,
    Draft,
    Entry,
    Epoch,
    Exact,
    Key,
    LogName,
    Page,
    Placed,
    Range,
    Record,
    Retention,
    Reused,
    Snapshot,
    Stale,
    Top,
    chain,
)

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _Known(NamedTuple):
    digest: bytes
    offset: int
    tag: bytes


class _Log:
    def __init__(self) -> None:
        self.epoch = Epoch(os.urandom(8).hex())
        self.offset = 0
        self.tag = ORIGIN_TAG
        self.floor_offset = 0
        self.floor_tag = ORIGIN_TAG
        self.entries: list[Entry] = []
        self.size = 0
        self.known: dict[str, _Known] = {}
        self.records: dict[Key, Record] = {}

    def top(self) -> Top:
        return Top(self.epoch, self.offset, self.tag, self.floor_offset, self.floor_tag)


class MemoryEngine:
    """Keep logs and records in dictionaries. Retention is applied to a log whenever it is looked at."""

    def __init__(self, *, retention: Retention = Retention(), clock: Callable[[], int] = _wall_ms) -> None:
        self._retention = retention
        self._clock = clock
        self._logs: dict[LogName, _Log] = {}
        self._followed: set[LogName] = set()
        self._sink: Sink | None = None

    async def start(self, sink: Sink) -> None:
        self._sink = sink

    async def close(self) -> None:
        self._sink = None
        self._followed.clear()

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        sink = self._running()
        now = self._clock()
        place = self._log_of(log, now)

        reused = _reused(place, commit.events)
        if reused:
            return Reused(reused)
        if (commit.put or commit.delete) and commit.events and commit.events[0].event_id in place.known:
            return Committed(place.epoch, now, [_placed(place, draft) for draft in commit.events], place.top())
        if commit.epoch is not None and commit.epoch != place.epoch:
            return Stale(place.top(), ())
        missed = [key for key, version in commit.expect if _version(place, key, now) != version]
        if missed:
            return Stale(place.top(), missed)

        placed: list[Placed] = []
        entries: list[Entry] = []
        for draft in commit.events:
            if draft.event_id in place.known:
                placed.append(_placed(place, draft))
            else:
                entries.append(_append(place, draft, now))
                placed.append(Placed(draft.event_id, place.offset, place.tag, False))
        for record in commit.put:
            place.records[Key(record.collection, record.key)] = record
        for key in commit.delete:
            place.records.pop(key, None)

        if entries and log in self._followed:
            self._tell(sink.appended, log, place.epoch, entries)
        return Committed(place.epoch, now, placed, place.top())

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        self._running()
        place = self._log_of(log, self._clock())
        entries: list[Entry] = []
        size = 0
        for entry in place.entries[max(0, after - place.floor_offset) :]:
            size += len(entry.body)
            if entries and size > max_bytes:
                break
            entries.append(entry)
        return Page(entries, place.top())

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        self._running()
        now = self._clock()
        place = self._log_of(log, now)
        live = [record for record in place.records.values() if not _is_expired(record, now)]
        return Snapshot(place.top(), now, [_answer(live, query) for query in queries])

    async def signal(self, log: LogName, body: bytes) -> None:
        sink = self._running()
        if log in self._followed:
            self._tell(sink.signalled, log, body)

    async def follow(self, log: LogName) -> Top:
        self._running()
        place = self._log_of(log, self._clock())
        self._followed.add(log)
        return place.top()

    async def unfollow(self, log: LogName) -> None:
        self._running()
        self._followed.discard(log)

    async def logs(self, after: LogName | None, limit: int) -> Sequence[LogName]:
        self._running()
        return sorted(name for name in self._logs if after is None or name > after)[:limit]

    async def forget(self, log: LogName) -> None:
        self._running()
        self._logs.pop(log, None)

    def _running(self) -> Sink:
        if self._sink is None:
            raise Unavailable("the engine is not running")
        return self._sink

    def _log_of(self, name: LogName, now: int) -> _Log:
        place = self._logs.get(name)
        if place is None:
            place = self._logs[name] = _Log()
        self._trim(place, now)
        return place

    def _trim(self, place: _Log, now: int) -> None:
        sizes = ((entry.at, stored_bytes(entry.event_id, entry.keys, entry.body)) for entry in place.entries)
        due, freed = count_due(self._retention, now, sizes, len(place.entries), place.size)
        place.size -= freed
        for entry in place.entries[:due]:
            del place.known[entry.event_id]
            place.floor_offset, place.floor_tag = entry.offset, entry.tag
        del place.entries[:due]

    def _tell(self, method: Callable[_P, None], *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - the sink is other people's code; the port says it goes on
            _log.exception("sink raised")


def _append(place: _Log, draft: Draft, now: int) -> Entry:
    place.offset += 1
    place.tag = chain(place.tag, draft.event_id)
    place.known[draft.event_id] = _Known(draft.digest, place.offset, place.tag)
    entry = Entry(place.offset, place.tag, now, draft.event_id, tuple(draft.keys), draft.body)
    place.entries.append(entry)
    place.size += stored_bytes(entry.event_id, entry.keys, entry.body)
    return entry


def _reused(place: _Log, events: Sequence[Draft]) -> tuple[str, ...]:
    """Give the ids that are known in the log, or come earlier in these events, with another digest."""
    reused: dict[str, None] = {}
    digests: dict[str, bytes] = {}
    for draft in events:
        known = place.known.get(draft.event_id)
        if draft.digest != (known.digest if known else digests.setdefault(draft.event_id, draft.digest)):
            reused[draft.event_id] = None
    return tuple(reused)


def _placed(place: _Log, draft: Draft) -> Placed:
    known = place.known.get(draft.event_id)
    if known is None:
        return Placed(draft.event_id, 0, ORIGIN_TAG, False)
    return Placed(draft.event_id, known.offset, known.tag, True)


def _is_expired(record: Record, now: int) -> bool:
    return record.expires_at is not None and record.expires_at <= now


def _version(place: _Log, key: Key, now: int) -> int:
    record = place.records.get(key)
    return ABSENT if record is None or _is_expired(record, now) else record.version


def _answer(live: Sequence[Record], query: Exact | Range) -> Sequence[Record]:
    if isinstance(query, Exact):
        return [record for record in live if (record.collection, record.key) == (query.collection, query.key)]
    found = [r for r in live if r.collection == query.collection and query.first <= r.key <= query.last]
    found.sort(key=lambda record: record.key, reverse=query.descending)
    found = found[: query.limit]
    if query.max_bytes is not None:
        upto = accumulate((len(record.value) for record in found[:-1]), initial=0)
        found = [record for record, before in zip(found, upto, strict=False) if before < query.max_bytes]
    return found
