"""Documents as they are read from the store.

Owns: one document loaded with what an edit needs, documents as they were.   Not: the stored forms (records.py), committing (commits.py).
Rule 1: what is loaded together comes from one consistent view.   Rule 2: a document whose parts do not agree is not worked on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast
from weakref import WeakValueDictionary

from signtusk_realtime.documents.base import Head as Known
from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.history import Entry, replay
from signtusk_realtime.documents.lease import Lease
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Parked
from signtusk_realtime.documents.values import Object
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import ABSENT, Epoch, Key, LogName, Position, Range, Record, Snapshot
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.records import Author, Head, Remembered, Statistics
from signtusk_realtime.operations.documents.workshop import Workshop

MAX_OPEN: Final = 10_000
"""Open conflicts of one document; an edit that would open more is refused."""
MAX_OPEN_BYTES: Final = 8 << 20
"""What its records may take as they are stored: every edit works through them."""
OP_BYTES: Final = 128
"""About what an operation of an entry costs to go through, whatever its value."""
PAGE: Final = 200
PAGE_BYTES: Final = 1 << 20
"""Of records that are read at once, but for the last of them."""
RECENT: Final = 64
"""Versions of a document that are kept in memory beside its head."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Loaded:
    """One document as it stood, or that there is none (`head` is None), with what was read of its past.

    `revision` is the version of its head's record. `versions` and `entries` hold the newest ones that were read or made here.
    """

    document_id: str
    epoch: Epoch
    head: Head | None
    revision: int
    top: Position
    """Of the log, in the view in which it was loaded."""
    size: int = 0
    """Of its head as it is stored, in bytes."""
    open_records: tuple[ConflictRecord, ...] = ()
    open_sizes: dict[str, int] = field(default_factory=dict)
    """Of each of these, by its id, in bytes as it is stored."""
    entry_sizes: dict[int, int] = field(default_factory=dict)
    """The same of `entries`, by version."""
    entries: dict[int, Entry] = field(default_factory=dict)
    versions: dict[int, Object] = field(default_factory=dict)
    received: tuple[int, str] | None = None
    """When an old version, which may have to go, was received (in the wire's form)."""

    @property
    def open_bytes(self) -> int:
        """What the open conflicts take as they are stored."""
        return sum(self.open_sizes.values())

    @property
    def weight(self) -> int:
        """How much there is to work on, in bytes: its head, and the conflicts that are open."""
        return self.size + self.open_bytes

    @property
    def held_bytes(self) -> int:
        """About what it takes in memory: values take eight times what they are as text, and versions share most of theirs."""
        versions = self.size * len(self.versions)
        return 8 * (self.weight + sum(self.entry_sizes.values())) + versions

    @property
    def known(self) -> Known:
        """What decides about the base of an edit."""
        assert self.head is not None, "a document that is held"
        return Known(self.head.version, self.epoch, self.head.oldest, self.head.start)

    def advance(
        self,
        head: Head,
        revision: int,
        open_records: Sequence[ConflictRecord],
        entry: Entry | None,
        *,
        open_sizes: dict[str, int],
        entry_size: int,
    ) -> None:
        """Take in what was committed; the sizes are bytes as stored."""
        self.open_sizes = open_sizes
        if self.head is not None:
            self.versions[self.head.version] = self.head.data
        if entry is not None:
            self.entries[entry.header.version] = entry
            self.entry_sizes[entry.header.version] = entry_size
        self.head, self.revision, self.open_records = head, revision, tuple(open_records)
        for cache in (self.entries, self.entry_sizes, self.versions):
            cache.pop(head.version - RECENT, None)
            if len(cache) >= 2 * RECENT:
                # Older ones that were read for somebody who was far behind.
                for version in [v for v in cache if v <= head.version - RECENT]:
                    del cache[version]


@dataclass(frozen=True, slots=True)
class Asker:
    """What the store knows of who asks: his change if it had an outcome, his last number, the lease of a correction and its token."""

    remembered: Remembered | None
    last_seq: int
    author_version: int
    lease: Lease | None
    token: int
    now_ms: int


class DocumentStore:
    """See the module."""

    def __init__(self, engine: Engine, workshop: Workshop) -> None:
        self.engine = engine
        self._workshop = workshop
        self.counted: Callable[[LogName, Statistics, int], None] = lambda log, figures, version: None
        """Told of what is undecided in an organization after a commit that changed it, with the record's version."""
        self._counting: WeakValueDictionary[LogName, asyncio.Lock] = WeakValueDictionary()

    def counting(self, log: LogName) -> asyncio.Lock:
        """Give what keeps those apart who change the count of what is undecided in an organization."""
        return self._counting.setdefault(log, asyncio.Lock())

    async def load(self, log: LogName, document_id: str) -> Loaded:
        """Read a document with what is open of it: who commits on it holds both. Raises: Unavailable."""
        head, opened = records.head_key(document_id), records.all_of(records.OPEN, document_id, limit=2 * MAX_OPEN)
        snapshot = await self.engine.records(log, [records.exact(head), opened])
        found = snapshot.results[1]
        decode = partial(_decode_conflicts, found)
        loaded = await self._loaded(document_id, snapshot)
        loaded.open_records = await self._workshop.do(decode, size=_bytes_of(found))
        sizes = zip(loaded.open_records, found, strict=True)
        loaded.open_sizes = {str(each.conflict_id): len(record.value) for each, record in sizes}
        counted = 0 if loaded.head is None else loaded.head.open_conflicts
        if len(found) != counted:
            # Who went on would commit a head that counts what he saw, and nobody would miss the others any more.
            fields = {"organization": log, "document": document_id, "counted": counted, "found": len(found)}
            logger.error("open conflicts are not those that the document counts", extra=fields)
            raise Unavailable(f"{len(found)} open conflicts were found of a document that counts {counted}")
        return loaded

    async def look(self, log: LogName, document_id: str) -> Loaded:
        """Read a document without what is open of it, to show it. Nothing may be committed on that. Raises: Unavailable."""
        snapshot = await self.engine.records(log, [records.exact(records.head_key(document_id))])
        return await self._loaded(document_id, snapshot)

    async def _loaded(self, document_id: str, snapshot: Snapshot) -> Loaded:
        found = snapshot.results[0]
        head: Head | None = None
        if found:
            head = await self._workshop.do(partial(records.decode_head, found[0].value), size=_bytes_of(found))
        revision = found[0].version if found else ABSENT
        return Loaded(document_id, snapshot.top.epoch, head, revision, snapshot.top.position, _bytes_of(found))

    async def asker(self, log: LogName, lease: Key, change: Key | None = None, author: Key | None = None) -> Asker:
        """Read what is known of who asks. Raises: Unavailable."""
        keys = (lease, change, author)
        snapshot = await self.engine.records(log, [records.exact(key) for key in keys if key is not None])
        found = iter(snapshot.results)
        leased, changed, numbered = (next(found) if key is not None else () for key in keys)
        return Asker(
            remembered=records.decode_remembered(changed[0].value) if changed else None,
            last_seq=_last_seq(numbered[0].value) if numbered else 0,
            author_version=numbered[0].version if numbered else ABSENT,
            lease=records.decode_lease(leased[0].value) if leased else None,
            token=leased[0].version if leased else ABSENT,
            now_ms=snapshot.at,
        )

    async def entries(self, log: LogName, loaded: Loaded, first: int, last: int) -> list[Entry]:
        """Give the entries of these versions, both included, in order. Raises: Unavailable, Refused (compacted)."""
        missing = [version for version in range(first, last + 1) if version not in loaded.entries]
        if missing:
            sizes = loaded.entry_sizes
            for entry in await self.read_entries(log, loaded.document_id, missing[0], missing[-1], sizes=sizes):
                loaded.entries[entry.header.version] = entry
        try:
            return [loaded.entries[version] for version in range(first, last + 1)]
        except KeyError as error:
            raise compacted(int(str(error))) from None

    async def read_entries(
        self,
        log: LogName,
        document_id: str,
        first: int,
        last: int,
        *,
        max_bytes: int | None = None,
        sizes: dict[int, int] | None = None,
    ) -> list[Entry]:
        """Read the entries of these versions as far as they are kept, in order. Raises: Unavailable.

        With `max_bytes` it ends with the one that makes them so many. `sizes` is filled, by version, with how large each is stored.
        """
        found: list[Entry] = []
        query = records.versions(records.HISTORY, document_id, first, last, limit=max(0, last - first + 1))
        async for page in self.pages(log, query, max_bytes=max_bytes):
            entries = await self._workshop.do(partial(_decode_entries, page), size=_bytes_of(page))
            found += entries
            if sizes is not None:
                sizes.update((e.header.version, len(r.value)) for e, r in zip(entries, page, strict=True))
        return found

    async def conflicts(self, log: LogName, query: Range, *, max_bytes: int) -> tuple[list[ConflictRecord], int]:
        """Read the conflicts of a range up to the one that makes them so many bytes; say how many they are. Raises: Unavailable."""
        found, size = list[ConflictRecord](), 0
        async for page in self.pages(log, query, max_bytes=max_bytes):
            found += await self._workshop.do(partial(_decode_conflicts, page), size=_bytes_of(page))
            size += _bytes_of(page)
        return found, size

    async def pages(
        self, log: LogName, query: Range, *, max_bytes: int | None = None
    ) -> AsyncIterator[Sequence[Record]]:
        """Read a range by and by, each page a view of its own. Raises: Unavailable.

        With `max_bytes` it ends with the record that makes them so many: never is more held than that, and one record.
        """
        while query.limit > 0 and (max_bytes is None or max_bytes > 0):
            count = min(PAGE, query.limit)
            most = PAGE_BYTES if max_bytes is None else min(PAGE_BYTES, max_bytes)
            page = (await self.engine.records(log, [query._replace(limit=count, max_bytes=most)])).results[0]
            size = _bytes_of(page)
            if page:
                yield page
            if len(page) < count and size < most:
                return
            query = query._replace(first=page[-1].key + "\x00", limit=query.limit - len(page))
            max_bytes = None if max_bytes is None else max_bytes - size

    async def at(self, log: LogName, loaded: Loaded, version: int) -> Object:
        """Give the document as it was at a version that is kept. Raises: Unavailable, Refused (compacted)."""
        head = loaded.head
        assert head is not None, "a document that is held"
        if version == head.version:
            return head.data
        found = loaded.versions.get(version)
        if found is None:
            start, document = await self._snapshot(log, loaded, version)
            entries = await self.entries(log, loaded, start + 1, version)
            found = await self._workshop.do(partial(replay, document, entries), size=loaded.size + weight_of(entries))
            loaded.versions[version] = found
        return found

    async def newest_seen(self, log: LogName, loaded: Loaded, received_before: str) -> int | None:
        """Give the newest version that was received at or before this instant (in the wire's form), if one is kept. Raises: Unavailable."""
        head = loaded.head
        assert head is not None, "a document that is held"
        last = head.version
        # The entry of the oldest version is gone, only the document is kept.
        while last > head.oldest:
            first = max(head.oldest, last - RECENT) + 1
            for entry in reversed(await self.entries(log, loaded, first, last)):
                if entry.header.timestamp <= received_before:
                    return entry.header.version
            last = first - 1
        return None

    async def newest_own(self, log: LogName, loaded: Loaded, user_id: str, after: int) -> int | None:
        """Give the newest version above `after` that this user committed, whatever the client. Raises: Unavailable."""
        assert loaded.head is not None, "a document that is held"
        for entry in reversed(await self.entries(log, loaded, after + 1, loaded.head.version)):
            if entry.header.user_id == user_id:
                return entry.header.version
        return None

    async def parked(self, log: LogName, keys: Sequence[Key]) -> dict[Key, Parked]:
        """Read changes that are kept whole. Raises: Unavailable."""
        if not keys:
            return {}
        snapshot = await self.engine.records(log, [records.exact(key) for key in keys])
        return {
            key: records.decode_parked(found[0].value)
            for key, found in zip(keys, snapshot.results, strict=True)
            if found
        }

    async def statistics(self, log: LogName) -> tuple[Statistics, int]:
        """Read what is undecided in an organization, with the record's version. Raises: Unavailable."""
        found = (await self.engine.records(log, [records.exact(records.CONFLICT_STATISTICS)])).results[0]
        return (records.decode_statistics(found[0].value), found[0].version) if found else (Statistics(), ABSENT)

    async def _snapshot(self, log: LogName, loaded: Loaded, version: int) -> tuple[int, Object]:
        """Give the newest stored document at or before a version; before everything there was the empty one."""
        newer = [known for known in loaded.versions if known <= version]
        query = records.versions(records.SNAPSHOTS, loaded.document_id, 0, version, limit=1, newest_first=True)
        found = (await self.engine.records(log, [query])).results[0]
        stored = int(found[0].key.rpartition("\x1f")[2]) if found else 0
        if newer and max(newer) >= stored:
            return max(newer), loaded.versions[max(newer)]
        assert loaded.head is not None, "a document that is held"
        if not found:
            if loaded.head.oldest > 1:
                raise compacted(version)
            return 0, {}
        data = await self._workshop.do(partial(records.decode_data, found[0].value), size=_bytes_of(found))
        return stored, cast("Object", data)


def _decode_entries(found: Sequence[Record]) -> list[Entry]:
    return [records.decode_entry(record.value) for record in found]


def _decode_conflicts(found: Sequence[Record]) -> tuple[ConflictRecord, ...]:
    return tuple(records.decode_conflict(record.value) for record in found)


def weight_of(entries: Iterable[Entry]) -> int:
    """Say about how much entries are to go through, in bytes."""
    return OP_BYTES * sum(1 if entry.body is None else 1 + len(entry.body.ops) for entry in entries)


def _bytes_of(found: Sequence[Record]) -> int:
    return sum(len(record.value) for record in found)


def compacted(version: int) -> Refused:
    """Make the refusal of a version that is no longer kept."""
    return Refused(f"version {version} is no longer kept", code="version_mismatch", reason="compacted")


def _last_seq(value: bytes) -> int:
    author: Author = records.decode_author(value)
    return author.last_seq
