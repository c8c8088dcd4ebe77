"""Erase what one user wrote, and leave the history of documents verifiable.

Owns: which records hold a user's values, and taking them away.   Not: the chain of hashes (documents/history.py), telling his values
(traces.py), the log's events, which go with its retention, and what the documents hold today, which is edited like anything else.
Rule 1: entries keep who, when and their hashes; verifying tells them `erased`, not `broken`.
Rule 2: what tells his values goes last, so that who was interrupted begins again and misses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord, without_values
from signtusk_realtime.documents.history import Entry, erase
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import Commit, Committed, Draft, Key, LogName, Range, Record
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.commits import Keeping, Step, carry_out
from signtusk_realtime.operations.documents.records import Remembered
from signtusk_realtime.operations.documents.store import DocumentStore
from signtusk_realtime.operations.documents.told import Teller
from signtusk_realtime.operations.documents.traces import Traces, decided_for, place_of, told_beside, without
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import EditOutcome

PAGE: Final = 200
MAX_EVENT_BYTES: Final = 262_144
_LAST: Final = "\U0010ffff"
_SEPARATOR: Final = "\x1f"
_decode_outcome: Final = msgspec.json.Decoder(EditOutcome).decode


class Erased(NamedTuple):
    """How many entries, conflicts and remembered changes a user's values were taken from, and how many snapshots went."""

    entries: int = 0
    conflicts: int = 0
    changes: int = 0
    snapshots: int = 0

    def plus(self, other: Erased) -> Erased:
        """Give both together."""
        return Erased(*(one + more for one, more in zip(self, other, strict=True)))


async def erase_user(
    engine: Engine,
    organization_id: str,
    user_id: str,
    *,
    now_ms: Callable[[], int],
    new_id: Callable[[str], str],
) -> Erased:
    """Erase a user's values in all documents of an organization. Nobody else may be editing them. Raises: Unavailable.

    `now_ms`: wall clock; `new_id(prefix)`: a fresh id.
    """
    erased = Erased()
    log = LogName(organization_id)
    workshop = Workshop()
    try:
        store = DocumentStore(engine, workshop)
        async for record in _all(engine, log, Range(records.DOCUMENTS, "", _LAST, PAGE)):
            erasing = _Erasing(store, workshop, log, record.key, user_id, now_ms(), new_id)
            erased = erased.plus(await erasing())
    finally:
        workshop.close()
    return erased


class _Erasing:
    """Takes a user's values from one document."""

    def __init__(
        self,
        store: DocumentStore,
        workshop: Workshop,
        log: LogName,
        document_id: str,
        user_id: str,
        now_ms: int,
        new_id: Callable[[str], str],
    ) -> None:
        self._store = store
        self._engine = store.engine
        self._workshop = workshop
        self._log = log
        self._document_id = document_id
        self._user_id = user_id
        self._now_ms = now_ms
        self._new_id = new_id
        self._traces = Traces(user_id)
        self._first: int | None = None
        """The first version that holds something of his."""

    async def __call__(self) -> Erased:
        """See the class. Raises: Unavailable."""
        await self._learn()
        conflicts = await self._withdraw() + await self._decided()
        await self._parked()
        changes = await self._changes()
        entries = await self._entries(of_others=True)
        snapshots = await self._snapshots()
        entries += await self._entries(of_others=False)
        return Erased(entries, conflicts, changes, snapshots)

    async def _learn(self) -> None:
        known: set[str] = set()
        for collection in (records.OPEN, records.DECIDED):
            async for record in self._records(collection):
                conflict = records.decode_conflict(record.value)
                known.add(str(conflict.conflict_id))
                self._traces.learn_conflict(conflict)
        async for record in self._records(records.HISTORY):
            entry = records.decode_entry(record.value)
            header = entry.header
            if header.user_id == self._user_id:
                self._traces.learn_entry(entry)
            elif self._user_id in decided_for(entry):
                self._traces.conflicts.update(header.conflicts)
            elif header.kind == "resolve" and entry.body is None and not known.issuperset(header.conflicts):
                pass  # Erased before, for him or for another: nobody can tell any more.
            elif self._traces.conflicts.isdisjoint(header.conflicts) or header.kind != "resolve":
                continue
            if self._first is None:
                self._first = header.version

    async def _withdraw(self) -> int:
        """Take his open conflicts away, as ones that have nothing left to decide, and what others' were seen upon."""
        loaded = await self._store.load(self._log, self._document_id)
        head = loaded.head
        if head is None:
            return 0
        timestamp = format_milliseconds(self._now_ms)
        withdrawn = [
            msgspec.structs.replace(
                without_values(each),
                rev=each.rev + 1,
                status="superseded",
                resolved_by=self._user_id,
                resolved_at=timestamp,
            )
            for each in loaded.open_records
            if each.incoming_user_id == self._user_id
        ]
        gone = {each.conflict_id for each in withdrawn}
        left = (each for each in loaded.open_records if each.conflict_id not in gone)
        refreshed = [fresh for each in left if (fresh := self._unseen(each)) is not each]
        if not withdrawn and not refreshed:
            return 0
        step = Step(loaded=loaded, decided=withdrawn, refreshed=refreshed)
        step.head = msgspec.structs.replace(head, open_conflicts=len(step.open_after().records))
        if withdrawn:
            step.events.append(self._told(head.version, withdrawn, timestamp))
        if not isinstance(
            await carry_out(self._store, self._workshop, self._log, step, Keeping(), self._now_ms), Committed
        ):
            raise _overtaken()
        return len(withdrawn) + len(refreshed)

    def _told(self, version: int, withdrawn: Sequence[ConflictRecord], timestamp: str) -> Draft:
        teller = Teller(
            organization_id=self._log,
            document_id=self._document_id,
            change_id="",
            user_id=self._user_id,
            timestamp=timestamp,
            max_bytes=MAX_EVENT_BYTES,
        )
        return teller.resolved(self._new_id("evt"), version, "superseded", withdrawn)

    def _unseen(self, conflict: ConflictRecord) -> ConflictRecord:
        """Give another's open conflict without a base of this user's; what stands in the document now, and what its author wants, stay."""
        traces, path = self._traces, place_of(conflict)
        has_base = traces.shows_in(path, conflict.base_value)
        if not has_base and not traces.shows_in(path, told_beside(conflict)):
            return conflict
        sides = [side for side in conflict.absent if side != "base"]
        return msgspec.structs.replace(
            conflict,
            rev=conflict.rev + 1,
            base_value=None if has_base else conflict.base_value,
            absent=["base", *sides] if has_base else conflict.absent,
            suggested=UNSET,
            hunks=UNSET,
        )

    async def _decided(self) -> int:
        count = 0
        async for record in self._records(records.DECIDED):
            conflict = records.decode_conflict(record.value)
            if self._is_his(conflict) and (kept := without_values(conflict)) != conflict:
                await self._replace(record, records.encode(kept))
                count += 1
        return count

    async def _parked(self) -> None:
        """Take his values from what others' parked changes were seen upon; his own went with their conflicts."""
        async for record in self._records(records.PARKED):
            parked = records.decode_parked(record.value)
            if len(undo := without(parked.undo, self._traces)) < len(parked.undo):
                await self._replace(record, records.encode(msgspec.structs.replace(parked, undo=undo)))

    async def _changes(self) -> int:
        count = 0
        async for record in self._records(records.CHANGES):
            if record.key.split(_SEPARATOR)[1] == self._user_id:
                await self._commit(Commit(delete=(Key(record.collection, record.key),)))
            elif (kept := self._answered(records.decode_remembered(record.value))) is not None:
                await self._replace(record, records.encode(kept))
            else:
                continue
            count += 1
        return count

    def _answered(self, remembered: Remembered) -> Remembered | None:
        """Give another's remembered change without the user's values, which its answer may hold; None if it holds none."""
        if "changeId" not in msgspec.json.decode(remembered.answer):
            return None  # of a decision or a transition, which are answered without values
        answer = _decode_outcome(remembered.answer)
        told = () if answer.conflicts is UNSET else answer.conflicts
        conflicts = [without_values(each) if self._is_his(each) else each for each in told]
        ops = () if answer.ops is UNSET else answer.ops
        has_ops = any(map(self._traces.shows_in_op, ops))
        if conflicts == list(told) and not has_ops:
            return None
        answer = msgspec.structs.replace(answer, conflicts=conflicts, ops=UNSET if has_ops else answer.ops)
        return msgspec.structs.replace(remembered, answer=msgspec.Raw(records.encode(answer)))

    def _is_his(self, conflict: ConflictRecord) -> bool:
        return self._traces.is_party(conflict) or self._traces.shows_in_conflict(conflict)

    async def _entries(self, *, of_others: bool) -> int:
        count = 0
        async for record in self._records(records.HISTORY):
            entry: Entry = records.decode_entry(record.value)
            is_other = entry.header.user_id != self._user_id
            if entry.body is None or is_other is not of_others:
                continue
            # Before he wrote anything nobody else can have had it from him.
            is_later = self._first is not None and entry.header.version >= self._first
            if not is_other or (is_later and self._traces.shows_in_entry(entry)):
                await self._replace(record, records.encode(erase(entry)))
                count += 1
        return count

    async def _snapshots(self) -> int:
        """Take away what was stored whole since he first wrote, and store what stands now: later versions are rebuilt from that."""
        if self._first is None:
            return 0
        head = (await self._store.look(self._log, self._document_id)).head
        assert head is not None, "what has a history is held"
        gone = [
            Key(record.collection, record.key)
            async for record in self._records(records.SNAPSHOTS)
            if self._first <= int(record.key.rpartition(_SEPARATOR)[2]) < head.version
        ]
        kept = records.put(records.snapshot_key(self._document_id, head.version), head.data)
        await self._commit(Commit(put=(kept,), delete=gone))
        return len(gone)

    def _records(self, collection: str) -> AsyncIterator[Record]:
        return _all(self._engine, self._log, records.all_of(collection, self._document_id, limit=PAGE))

    async def _replace(self, record: Record, value: bytes) -> None:
        key = Key(record.collection, record.key)
        await self._commit(Commit(expect=((key, record.version),), put=(record._replace(value=value),)))

    async def _commit(self, commit: Commit) -> None:
        if not isinstance(await self._engine.commit(self._log, commit), Committed):
            raise _overtaken()


async def _all(engine: Engine, log: LogName, query: Range) -> AsyncIterator[Record]:
    while True:
        found = (await engine.records(log, [query])).results[0]
        for record in found:
            yield record
        if len(found) < PAGE:
            return
        query = query._replace(first=found[-1].key + "\x00")


def _overtaken() -> Unavailable:
    return Unavailable("somebody else changed the history meanwhile; repeat")
