"""Erase what one user wrote, and leave the history of documents verifiable.

Owns: which records hold a user's values, and taking them away.   Not: the chain of hashes (documents/history.py), the log's events, which go
with its retention, and what the documents hold today, which is edited like anything else.
Rule: entries keep who, when and their hashes; verifying tells them `erased`, not `broken`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.history import Entry, erase
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, Key, LogName, Range, Record
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.records import Remembered

PAGE: Final = 200
_LAST: Final = "\U0010ffff"


class Erased(NamedTuple):
    """How many entries, conflicts and remembered changes a user's values were taken from."""

    entries: int
    conflicts: int
    changes: int


async def erase_user(engine: Engine, organization_id: str, user_id: str) -> Erased:
    """Erase a user's values in all documents of an organization. Nobody else may be editing them. Raises: Unavailable."""
    log = LogName(organization_id)
    entries = conflicts = changes = 0
    async for record in _all(engine, log, records.HISTORY):
        entry: Entry = records.decode_entry(record.value)
        if entry.header.user_id == user_id and entry.body is not None:
            await _replace(engine, log, record, records.encode(erase(entry)))
            entries += 1
    async for record in _all(engine, log, records.DECIDED):
        conflict = _without_values(records.decode_conflict(record.value), user_id)
        if conflict is not None:
            await _replace(engine, log, record, records.encode(conflict))
            conflicts += 1
    async for record in _all(engine, log, records.CHANGES):
        if record.key.split("\x1f")[1:2] == [user_id]:
            await _commit(engine, log, Commit(delete=(Key(record.collection, record.key),)))
            changes += 1
        elif (kept := _answered_without(records.decode_remembered(record.value), user_id)) is not None:
            await _replace(engine, log, record, records.encode(kept))
            changes += 1
    return Erased(entries, conflicts, changes)


def _without_values(conflict: ConflictRecord, user_id: str) -> ConflictRecord | None:
    """Give a decided conflict without a user's values; None if it holds none."""
    if user_id not in (conflict.user_id, conflict.incoming_user_id):
        return None
    # What somebody wrote may stand in any of them: a base was somebody's value once, and hunks are pieces of both sides.
    return msgspec.structs.replace(
        conflict,
        base_value=None,
        current_value=None,
        incoming_value=None,
        suggested=msgspec.UNSET,
        hunks=msgspec.UNSET,
    )


def _answered_without(remembered: Remembered, user_id: str) -> Remembered | None:
    """Give somebody else's remembered change without the user's values, which conflicts of its answer may hold; None if it holds none."""
    answer = msgspec.json.decode(remembered.answer)
    told = [records.decode_conflict(records.encode(each)) for each in answer.get("conflicts", ())]
    kept = [_without_values(each, user_id) or each for each in told]
    if kept == told:
        return None
    return msgspec.structs.replace(remembered, answer=msgspec.Raw(records.encode(answer | {"conflicts": kept})))


async def _all(engine: Engine, log: LogName, collection: str) -> AsyncIterator[Record]:
    first = ""
    while True:
        found = (await engine.records(log, [Range(collection, first, _LAST, PAGE)])).results[0]
        for record in found:
            yield record
        if len(found) < PAGE:
            return
        first = found[-1].key + "\x00"


async def _replace(engine: Engine, log: LogName, record: Record, value: bytes) -> None:
    key = Key(record.collection, record.key)
    await _commit(engine, log, Commit(expect=((key, record.version),), put=(record._replace(value=value),)))


async def _commit(engine: Engine, log: LogName, commit: Commit) -> None:
    if not isinstance(await engine.commit(log, commit), Committed):
        raise Unavailable("somebody else changed the history meanwhile; repeat")
