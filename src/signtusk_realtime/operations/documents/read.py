"""Read documents: as they are, as they were, who changed what, and what is undecided.

Owns: the answers.   Not: who may read (access.py), the stored forms (records.py).
Rule: state comes with a cursor of the same view of the log: who subscribes from there misses nothing and repeats nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.canonical import content_hash
from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.history import EntryKind
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.states import State
from signtusk_realtime.documents.values import Json
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.log import SYSTEM_LOG, LogName
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.lanes import Lanes
from signtusk_realtime.operations.documents.moves import MoveDocument
from signtusk_realtime.operations.documents.store import DocumentStore, Loaded, compacted
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol import cursor as cursors

MAX_ANSWER_BYTES: Final = 8 << 20
"""Of entries or conflicts, as they are stored, in one answer, but for the last of them: the next page begins behind that."""
MAX_CONFLICTS: Final = 10_000
"""Conflicts in one answer."""
_STAGES: Final = {
    "open": (records.OPEN, records.open_key),
    "decided": (records.DECIDED, records.decided_key),
}
_CURSOR: Final = re.compile(r"(open|decided):([\x21-\x7e]{1,128})")


class DocumentAnswer(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A document at a version. `cursor` covers every event up to this state; `lastSeq` is the asked client's last number.

    The document as it was has neither `cursor` nor `openConflicts`: both belong to the newest version.
    """

    document_id: str
    version: int
    epoch: str
    state: State
    data: dict[str, Json]
    content_hash: str
    open_conflicts: int | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    last_seq: int | UnsetType = UNSET


class HistoryItem(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Who made a version, when, on which base, with which outcome. `ops` are absent where they were erased."""

    version: int
    kind: EntryKind
    user_id: str
    client_id: str
    change_id: str
    base_version: int
    status: str
    conflicts: Sequence[str]
    ops: Sequence[Op] | UnsetType = UNSET
    state: State | UnsetType = UNSET
    timestamp: str
    hash: str
    prev_hash: str


class HistoryAnswer(Struct, frozen=True, omit_defaults=True):
    """Versions in order. `next`: what to ask `after` for the rest; absent at the end."""

    entries: Sequence[HistoryItem]
    next: int | UnsetType = UNSET


class ConflictsAnswer(Struct, rename="camel", frozen=True, omit_defaults=True):
    """Conflicts of a document, open ones first. `next`: what to ask `after` for the rest; absent at the end.

    One that is decided between two pages may be on both: the later says how it is.
    """

    document_id: str
    conflicts: Sequence[ConflictRecord]
    next: str | UnsetType = UNSET


class ReadDocuments:
    """See the module."""

    def __init__(
        self, store: DocumentStore, lanes: Lanes, workshop: Workshop, rules: DocumentRules, moves: MoveDocument
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._workshop = workshop
        self._rules = rules
        self._moves = moves

    async def document(
        self,
        organization_id: str,
        document_id: str,
        *,
        version: int | None = None,
        user_id: str = "",
        client_id: str | None = None,
    ) -> DocumentAnswer:
        """Give a document, as it is or as it was. Raises: Refused (unknown_document, version_mismatch: future, compacted), Unavailable."""
        log = LogName(organization_id)
        # Ordering: an announcement between the two views may come twice, and is not missed.
        system = (await self._store.engine.records(SYSTEM_LOG, [])).top.position
        loaded = await self._load(log, document_id)
        head = loaded.head
        if head is None:
            raise unknown()
        last_seq: int | UnsetType = UNSET
        if client_id is not None:
            author = records.author_key(document_id, user_id, client_id)
            last_seq = (await self._store.asker(log, records.lease_key(document_id), author=author)).last_seq
        state, data = head.state, head.data
        if version is not None and version != head.version:
            if version > head.version:
                raise Refused(
                    f"version {version} is to come; the document is at {head.version}",
                    code="version_mismatch",
                    reason="future",
                )
            if version < max(head.start, head.oldest):
                raise compacted(version)
            data = await self._store.at(log, loaded, version)
            state = await self._state_at(log, loaded, version)
        is_newest = version is None or version == head.version
        hashed = await self._workshop.do(lambda: content_hash(self._rules.policy.scope(data)), size=loaded.size)
        return DocumentAnswer(
            document_id=document_id,
            version=head.version if version is None else version,
            epoch=loaded.epoch,
            state=state,
            data=data,
            content_hash=hashed,
            open_conflicts=head.open_conflicts if is_newest else UNSET,
            cursor=cursors.encode(organization_id, loaded.top, system) if is_newest else UNSET,
            last_seq=last_seq,
        )

    async def history(self, organization_id: str, document_id: str, *, after: int, limit: int) -> HistoryAnswer:
        """Give versions above `after`, as far as they are kept. Raises: Refused (unknown_document), Unavailable."""
        log = LogName(organization_id)
        head = (await self._store.look(log, document_id)).head
        if head is None:
            raise unknown()
        first = max(after, head.oldest) + 1
        last = min(head.version, first + limit - 1)
        entries = await self._store.read_entries(log, document_id, first, last, max_bytes=MAX_ANSWER_BYTES)
        items = [
            HistoryItem(
                version=entry.header.version,
                kind=entry.header.kind,
                user_id=entry.header.user_id,
                client_id=entry.header.client_id,
                change_id=entry.header.change_id,
                base_version=entry.header.base_version,
                status=entry.header.status,
                conflicts=entry.header.conflicts,
                ops=UNSET if entry.body is None else entry.body.ops,
                state=entry.header.state,
                timestamp=entry.header.timestamp,
                hash=entry.hash,
                prev_hash=entry.prev_hash,
            )
            for entry in entries
        ]
        is_end = not items or items[-1].version >= head.version
        return HistoryAnswer(items, UNSET if is_end else items[-1].version)

    async def conflicts(
        self, organization_id: str, document_id: str, *, with_decided: bool, after: str | None = None
    ) -> ConflictsAnswer:
        """Give a document's conflicts, open ones first; `after`: the `next` of the page before.

        Raises: InvalidInput (after), Refused (unknown_document), Unavailable.
        """
        log = LogName(organization_id)
        cursor = None if after is None else _CURSOR.fullmatch(after)
        if after is not None and cursor is None:
            raise InvalidInput("after must be what an answer called next", code="invalid_parameter", path=("after",))
        if (await self._store.look(log, document_id)).head is None:
            raise unknown()
        stage, last = ("open", "") if cursor is None else cursor.groups()
        found, left = list[ConflictRecord](), MAX_ANSWER_BYTES
        for name, (collection, key_of) in _STAGES.items():
            if (name, stage) == ("open", "decided") or (name == "decided" and not with_decided):
                continue
            query = records.all_of(collection, document_id, limit=MAX_CONFLICTS - len(found))
            if name == stage and last:
                query = query._replace(first=key_of(document_id, last).key + "\x00")
            read, size = await self._store.conflicts(log, query, max_bytes=left)
            found += read
            left -= size
            if left <= 0 or len(found) >= MAX_CONFLICTS:
                return ConflictsAnswer(document_id, found, f"{name}:{found[-1].conflict_id}")
        return ConflictsAnswer(document_id, found)

    async def _load(self, log: LogName, document_id: str) -> Loaded:
        loaded = await self._store.look(log, document_id)
        if loaded.head is None or loaded.head.state != "correcting":
            return loaded
        async with self._lanes.turn(log, document_id) as lane:
            while True:
                lane.loaded = loaded = await self._store.load(log, document_id)
                asker = await self._store.asker(log, records.lease_key(document_id))
                if not await self._moves.end_correction(log, lane, loaded, asker):
                    return loaded

    async def _state_at(self, log: LogName, loaded: Loaded, version: int) -> State:
        query = records.versions(records.STATES, loaded.document_id, 0, version, limit=1, newest_first=True)
        found = (await self._store.engine.records(log, [query])).results[0]
        return records.decode_state(found[0].value) if found else "draft"


def unknown() -> Refused:
    """Make the refusal of a document that is not there."""
    return Refused("there is no such document", code="unknown_document")
