"""One stored step of a document: everything that changes with it, as one commit.

Owns: what is put, expected and deleted together, how much may be open.   Not: what the step is (edit.py, resolve.py, moves.py), stored forms
(records.py).
Rule: head, entry, snapshot, conflicts, the remembered change and the events stand or fall together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.history import Entry
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.events.log import Commit, Committed, Draft, Key, LogName, Record, Reused, Stale
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.records import SNAPSHOT_EVERY, Head, Statistics
from signtusk_realtime.operations.documents.store import MAX_OPEN, MAX_OPEN_BYTES, DocumentStore, Loaded
from signtusk_realtime.operations.documents.workshop import Workshop

COUNTING_TRIES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long what a document was is kept: versions within either bound; outcomes of changes as long as events are."""

    versions: int = 1000
    age_ms: int = 2_592_000_000
    outcomes_ms: int = 259_200_000


@dataclass(slots=True, kw_only=True)
class Step:
    """What one commit does to a document. `head` is the one it leaves (None: unchanged), `decided` are records that are open no more.

    `weight`: how much was worked on, in bytes, if that was more than what is loaded.
    """

    loaded: Loaded
    weight: int = 0
    head: Head | None = None
    entry: Entry | None = None
    opened: Sequence[ConflictRecord] = ()
    refreshed: Sequence[ConflictRecord] = ()
    decided: Sequence[ConflictRecord] = ()
    events: list[Draft] = field(default_factory=list)
    put: list[Record] = field(default_factory=list)
    expect: list[tuple[Key, int]] = field(default_factory=list)
    delete: list[Key] = field(default_factory=list)
    _after: Opened | None = None

    def open_after(self) -> Opened:
        """Give what is open after it; asked for again it is not worked out anew."""
        if self._after is None:
            self._after = _opened(self)
        return self._after

    def bound_open(self) -> None:
        """See that it leaves no more open than may be: call it before anything is told of it. Raises: Refused (limit_exceeded).

        What was more already passes if it grows no further.
        """
        if self.opened or self.refreshed:
            most = max(MAX_OPEN, len(self.loaded.open_records)), max(MAX_OPEN_BYTES, self.loaded.open_bytes)
            self._after = _opened(self, most)


class Opened(NamedTuple):
    """What is open after a step: the records, how large each is as it is stored, by its id, and those that are put."""

    records: tuple[ConflictRecord, ...]
    sizes: dict[str, int]
    put: list[Record]


def _opened(step: Step, most: tuple[int, int] | None = None) -> Opened:
    """Work out what is open after a step. `most`: how many may be, and how many bytes. Raises: Refused (limit_exceeded)."""
    loaded = step.loaded
    assert len(loaded.open_records) == (0 if loaded.head is None else loaded.head.open_conflicts), (
        "loaded to be committed on"
    )
    gone = {record.conflict_id for record in step.decided}
    fresh = {record.conflict_id: record for record in step.refreshed}
    kept = [record for record in loaded.open_records if record.conflict_id not in gone]
    found = (*(fresh.get(record.conflict_id, record) for record in kept), *step.opened)
    if most is not None and len(found) > most[0]:
        raise Refused(f"{len(found)} conflicts would be open; at most {MAX_OPEN} may be", code="limit_exceeded")
    sizes = {
        str(record.conflict_id): loaded.open_sizes[str(record.conflict_id)]
        for record in kept
        if record.conflict_id not in fresh
    }
    size, put = sum(sizes.values()), list[Record]()
    for record in (*step.opened, *step.refreshed):
        conflict_id = str(record.conflict_id)
        key = records.open_key(loaded.document_id, conflict_id)
        put.append(records.put(key, record, version=record.rev))
        sizes[conflict_id] = len(put[-1].value)
        size += sizes[conflict_id]
        # While they are encoded: thousands may follow one large value, which is little in memory and gigabytes as stored.
        if most is not None and size > most[1]:
            raise Refused(
                f"open conflicts would take more than {MAX_OPEN_BYTES} bytes, which are allowed", code="limit_exceeded"
            )
    return Opened(found, sizes, put)


async def carry_out(
    store: DocumentStore, workshop: Workshop, log: LogName, step: Step, keeping: Keeping, now_ms: int
) -> Committed | Stale | Reused:
    """Commit a step; take it into what is loaded if it happened. Raises: Unavailable."""
    loaded = step.loaded
    built = await workshop.do(partial(_build, step, now_ms + keeping.age_ms), size=max(step.weight, loaded.weight))
    if built.more == Statistics():
        outcome = await store.engine.commit(log, built.commit)
    else:
        outcome = await _commit_counted(store, log, built.commit, built.more)
    if _happened(outcome) and step.head is not None:
        loaded.size = built.size
        opened = step.open_after()
        loaded.advance(
            step.head,
            loaded.revision + 1,
            opened.records,
            step.entry,
            open_sizes=opened.sizes,
            entry_size=built.entry_size,
        )
    return outcome


class _Built(NamedTuple):
    """A commit as it is handed to the engine, the sizes of its head and its entry as stored, and how much more is undecided."""

    commit: Commit
    size: int
    entry_size: int
    more: Statistics


def _build(step: Step, until: int) -> _Built:
    """Make the commit of a step. `until`: how long decided conflicts are kept."""
    loaded, document_id = step.loaded, step.loaded.document_id
    size, entry_size = loaded.size, 0
    put, delete = list(step.put), list(step.delete)
    expect: list[tuple[Key, int]] = [(records.head_key(document_id), loaded.revision), *step.expect]
    if step.head is not None:
        put.append(records.put(records.head_key(document_id), step.head, version=loaded.revision + 1))
        size = len(put[-1].value)
    opened = step.open_after()
    put += opened.put
    for record in step.decided:
        if record.status != "auto_resolved":
            delete.append(records.open_key(document_id, str(record.conflict_id)))
        put.append(records.put(records.decided_key(document_id, str(record.conflict_id)), record, expires_at=until))
    if step.entry is not None:
        assert step.head is not None, "an entry belongs to a new version"
        version = step.entry.header.version
        put.append(records.put(records.entry_key(document_id, version), step.entry))
        entry_size = len(put[-1].value)
        if step.entry.header.state is not UNSET:
            put.append(records.put(records.state_key(document_id, version), step.entry.header.state))
        if version % SNAPSHOT_EVERY == 0:
            put.append(records.put(records.snapshot_key(document_id, version), step.head.data))
    delete += _parked_no_more(step, opened.records)
    commit = Commit(step.events, loaded.epoch, expect, put, delete)
    return _Built(commit, size, entry_size, _difference(loaded.open_records, opened.records))


async def _commit_counted(
    store: DocumentStore, log: LogName, commit: Commit, more: Statistics
) -> Committed | Stale | Reused:
    """Commit, and count in the same step what there is to decide more, or less.

    The count is one record of the whole organization. Here its writers go one after the other, and being overtaken in it by another node
    is no reason to decide anew.
    """
    async with store.counting(log):
        tries = 0
        while True:
            tries += 1
            known, held = await store.statistics(log)
            figures = _sum(known, more)
            expect = (*commit.expect, (records.CONFLICT_STATISTICS, held))
            put = (*commit.put, records.put(records.CONFLICT_STATISTICS, figures, version=held + 1))
            outcome = await store.engine.commit(log, commit._replace(expect=expect, put=put))
            if _happened(outcome):
                store.counted(log, figures, held + 1)
            is_overtaken = isinstance(outcome, Stale) and tuple(outcome.keys) == (records.CONFLICT_STATISTICS,)
            if not is_overtaken or tries == COUNTING_TRIES:
                return outcome


def _happened(outcome: Committed | Stale | Reused) -> bool:
    return isinstance(outcome, Committed) and not (outcome.placed and outcome.placed[0].duplicate)


def _parked_no_more(step: Step, open_records: Iterable[ConflictRecord]) -> list[Key]:
    """Give where changes are kept whole of which nothing is open any more."""
    if not step.decided:
        return []
    left = {(record.change_id, record.incoming_user_id) for record in open_records}
    gone = {(record.change_id, record.incoming_user_id) for record in step.decided} - left
    return [records.parked_key(step.loaded.document_id, *pair) for pair in sorted(gone)]


def _difference(before: Sequence[ConflictRecord], after: Sequence[ConflictRecord]) -> Statistics:
    was, now = _count(before), _count(after)
    return Statistics(
        now.active_conflicts - was.active_conflicts,
        now.pending_changes - was.pending_changes,
        now.documents_with_conflicts - was.documents_with_conflicts,
    )


def _count(opened: Sequence[ConflictRecord]) -> Statistics:
    changes = {(record.change_id, record.incoming_user_id) for record in opened}
    return Statistics(len(opened), len(changes), 1 if opened else 0)


def _sum(one: Statistics, other: Statistics) -> Statistics:
    return Statistics(
        one.active_conflicts + other.active_conflicts,
        one.pending_changes + other.pending_changes,
        one.documents_with_conflicts + other.documents_with_conflicts,
    )


async def outlived(
    store: DocumentStore, log: LogName, loaded: Loaded, head: Head, keeping: Keeping, *, received_before: str
) -> tuple[int, list[Key]]:
    """Give the oldest version that is to be kept once `head` has a successor, and the keys to delete; a stretch between snapshots at a time.

    `received_before`: the instant, in the wire's form, that is as old as `keeping` demands.
    """
    oldest = (head.version + 1 - keeping.versions) // SNAPSHOT_EVERY * SNAPSHOT_EVERY
    oldest = min(oldest, head.oldest + SNAPSHOT_EVERY - head.oldest % SNAPSHOT_EVERY)
    if oldest <= head.oldest:
        return head.oldest, []
    if loaded.received is None or loaded.received[0] != oldest:
        entries = await store.read_entries(log, loaded.document_id, oldest, oldest)
        loaded.received = (oldest, entries[0].header.timestamp if entries else "")
    if loaded.received[1] > received_before:
        return head.oldest, []
    # The newest state up to there is that of the oldest version, and stays.
    query = records.versions(records.STATES, loaded.document_id, 0, oldest, limit=2 * SNAPSHOT_EVERY, newest_first=True)
    _, *states = (await store.engine.records(log, [query])).results[0] or (None,)
    gone = [records.entry_key(loaded.document_id, version) for version in range(head.oldest, oldest + 1)]
    # Erasing leaves one between the regular ones.
    gone += [records.snapshot_key(loaded.document_id, version) for version in range(head.oldest, oldest)]
    gone += [Key(record.collection, record.key) for record in states]
    return oldest, gone
