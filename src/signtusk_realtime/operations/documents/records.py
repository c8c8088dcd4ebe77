"""How documents lie in the store: collections, keys and stored forms.

Owns: where each thing about a document stands beside its organization's log.   Not: reading and committing (store.py), what it means (documents).
Rule 1: a document's head is put with every stored change, and its record's version (the revision) rises with each, also where the document's
own version does not. Whoever expects the revision excludes everybody else.
Rule 2: keys begin with the document's id and a separator that no id can hold.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.base import OwnCommit
from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.history import GENESIS, Entry
from signtusk_realtime.documents.lease import Lease
from signtusk_realtime.documents.resolve import Parked
from signtusk_realtime.documents.states import State
from signtusk_realtime.documents.values import Json
from signtusk_realtime.events.log import Exact, Key, Range, Record

T = TypeVar("T")

DOCUMENTS: Final = "documents"
HISTORY: Final = "history"
SNAPSHOTS: Final = "snapshots"
STATES: Final = "states"
CHANGES: Final = "changes"
AUTHORS: Final = "authors"
OPEN: Final = "conflicts.open"
DECIDED: Final = "conflicts.decided"
PARKED: Final = "parked"
LEASES: Final = "leases"
STATISTICS: Final = "statistics"
CONFLICT_STATISTICS: Final = Key(STATISTICS, "conflicts")

SNAPSHOT_EVERY: Final = 50
_SEPARATOR: Final = "\x1f"
_LAST: Final = "\x1f\U0010ffff"


class Head(Struct, rename="camel", frozen=True, kw_only=True):
    """A document as it stands.

    `start`: 1 where it was created, 0 where it was adopted. `oldest`: the oldest version that can be rebuilt. `hash`: of the newest entry.
    `open_conflicts`: how many records are open.
    """

    version: int
    start: int
    oldest: int
    state: State = "draft"
    hash: str = GENESIS
    open_conflicts: int = 0
    data: dict[str, Json]


class Remembered(Struct, rename="camel", frozen=True, kw_only=True):
    """A change that had an outcome: a digest of what was asked, the answer, and the first event it made, if any."""

    digest: str
    answer: msgspec.Raw
    event_id: str | UnsetType = UNSET


class Author(Struct, rename="camel", frozen=True):
    """How far the numbered edits of one client of one user have got."""

    last_seq: int


class Statistics(Struct, rename="camel", frozen=True):
    """What is undecided in one organization: open records, changes that have one, documents that have one."""

    active_conflicts: int = 0
    pending_changes: int = 0
    documents_with_conflicts: int = 0


encode: Final = msgspec.json.Encoder().encode
decode_head: Final = msgspec.json.Decoder(Head).decode
decode_entry: Final = msgspec.json.Decoder(Entry).decode
decode_data: Final = msgspec.json.Decoder(dict[str, object]).decode
decode_remembered: Final = msgspec.json.Decoder(Remembered).decode
decode_author: Final = msgspec.json.Decoder(Author).decode
decode_conflict: Final = msgspec.json.Decoder(ConflictRecord).decode
decode_parked: Final = msgspec.json.Decoder(Parked).decode
decode_lease: Final = msgspec.json.Decoder(Lease).decode
decode_state: Final = msgspec.json.Decoder(State).decode
decode_statistics: Final = msgspec.json.Decoder(Statistics).decode


def head_key(document_id: str) -> Key:
    """Where the head stands."""
    return Key(DOCUMENTS, document_id)


def entry_key(document_id: str, version: int) -> Key:
    """Where the entry of a version stands."""
    return Key(HISTORY, _numbered(document_id, version))


def snapshot_key(document_id: str, version: int) -> Key:
    """Where the document at a version stands, if that version was snapshotted."""
    return Key(SNAPSHOTS, _numbered(document_id, version))


def state_key(document_id: str, version: int) -> Key:
    """Where the state stands that a version led to, if it was a transition."""
    return Key(STATES, _numbered(document_id, version))


def change_key(document_id: str, user_id: str, client_id: str, change_id: str) -> Key:
    """Where the outcome of a change stands."""
    return Key(CHANGES, _SEPARATOR.join((document_id, user_id, client_id, change_id)))


def author_key(document_id: str, user_id: str, client_id: str) -> Key:
    """Where the number of a client's last edit stands."""
    return Key(AUTHORS, _SEPARATOR.join((document_id, user_id, client_id)))


def open_key(document_id: str, conflict_id: str) -> Key:
    """Where a conflict stands while it is open."""
    return Key(OPEN, document_id + _SEPARATOR + conflict_id)


def decided_key(document_id: str, conflict_id: str) -> Key:
    """Where a conflict stands that nobody has to decide any more."""
    return Key(DECIDED, document_id + _SEPARATOR + conflict_id)


def parked_key(document_id: str, change_id: str, user_id: str) -> Key:
    """Where a change is kept whole whose decision is open."""
    return Key(PARKED, _SEPARATOR.join((document_id, change_id, user_id)))


def lease_key(document_id: str) -> Key:
    """Where the lease of a correction stands; its record's version is the fencing token."""
    return Key(LEASES, document_id)


def exact(key: Key) -> Exact:
    """Ask for the record of a key."""
    return Exact(key.collection, key.key)


def all_of(collection: str, document_id: str, *, limit: int) -> Range:
    """Ask for the records of a document in a collection."""
    return Range(collection, document_id + _SEPARATOR, document_id + _LAST, limit)


def versions(
    collection: str, document_id: str, first: int, last: int, *, limit: int, newest_first: bool = False
) -> Range:
    """Ask for the records of some versions, both included."""
    return Range(
        collection, _numbered(document_id, first), _numbered(document_id, last), limit, descending=newest_first
    )


def put(key: Key, value: object, *, version: int = 1, expires_at: int | None = None) -> Record:
    """Make a record of a value."""
    return Record(key.collection, key.key, encode(value), version, expires_at)


def own_commit(entry: Entry) -> OwnCommit:
    """Give what an entry says of its author's own change; nothing, once that was erased."""
    return OwnCommit((), ()) if entry.body is None else OwnCommit(tuple(entry.body.changed), tuple(entry.body.ops))


def _numbered(document_id: str, version: int) -> str:
    return f"{document_id}{_SEPARATOR}{version:016d}"
