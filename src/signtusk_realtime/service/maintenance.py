"""What operators do with what is stored, from the command: verify a document, erase a user.

Owns: opening the database, or the way to Redis, for it.   Not: verifying (documents/history.py), erasing (operations/documents/erase.py).
Rule 1: verifying reads beside running servers; erasing needs the store to itself, for a server remembers documents.
Rule 2: how long events are kept is for servers to say, and may have been said to them alone: nothing is trimmed here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias, cast

import msgspec
from msgspec import UNSET

from signtusk_realtime.cluster.registry import ALL_NODES
from signtusk_realtime.config.settings import Settings
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.canonical import canonical
from signtusk_realtime.documents.history import GENESIS, Entry, replay, verify
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import Object
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.sqlite.copying import open_for_reading
from signtusk_realtime.engines.sqlite.reader import Reader
from signtusk_realtime.errors import ConfigurationError, InvalidInput
from signtusk_realtime.events.log import CONTROL_LOG, Exact, LogName, Range, Snapshot
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.erase import Erased, erase_user
from signtusk_realtime.operations.documents.records import Head
from signtusk_realtime.operations.ids import new_id
from signtusk_realtime.service.rooms import make_engine

PAGE: Final = 200
_NO_AGE_MS: Final = 36_500 * 86_400_000
_NO_BYTES: Final = 1 << 53
"""Bounds that no log comes to."""


Read: TypeAlias = Callable[[LogName, Sequence[Exact | Range]], Snapshot | None]
"""Reads records; None where there is no such log."""


def verify_document(store: Path | Settings, organization_id: str, document_id: str) -> dict[str, object]:
    """Verify the chain of a document's history; give what was found. `store`: a database's file, or the settings that name Redis.

    Raises: InvalidInput (no database, no document), ConfigurationError, Unavailable.
    """
    with _reading(store) as read:
        log = LogName(organization_id)
        snapshot = _some(read(log, [records.exact(records.head_key(document_id))]), document_id)
        if not snapshot.results[0]:
            raise _no_document(document_id)
        named: dict[str, object] = {"organizationId": organization_id, "documentId": document_id}
        try:
            head = records.decode_head(snapshot.results[0][0].value)
        except msgspec.DecodeError:
            return named | {"integrity": "broken", "broken": None, "why": "the document itself cannot be read"}
        entries, unreadable = _entries(read, log, document_id, head.oldest + 1, head.version)
        snapshots = _snapshots(read, log, document_id, head)
    first = entries[0].header.version if entries else head.version + 1
    verdict = verify(entries, prev_hash=GENESIS if first == 1 else None, first_version=first)
    integrity, why, version = verdict.integrity, verdict.why, verdict.version
    if integrity != "broken":
        fault = unreadable or _fault(head, entries, snapshots)
        if fault is not None:
            integrity, (version, why) = "broken", fault
    told = named | {
        "integrity": integrity,
        "version": head.version,
        "from": first,
        "hash": head.hash,
        "erased": list(verdict.erased),
    }
    return told if integrity != "broken" else told | {"broken": version, "why": why}


def erase_user_from(store: Path | Settings, organization_id: str, user_id: str) -> Erased:
    """Erase a user's values. `store`: as above. Raises: InvalidInput, ConfigurationError (no such store, or a server uses it), Unavailable."""
    if isinstance(store, Path) and not store.is_file():
        raise InvalidInput(f"there is no database {store}")
    return asyncio.run(_erase(store, organization_id, user_id))


async def _erase(store: Path | Settings, organization_id: str, user_id: str) -> Erased:
    engine = make_engine(_trimming_nothing(Settings(database=str(store)) if isinstance(store, Path) else store))
    try:
        await engine.start(Hub(engine))
        # The file is locked by who uses it; of Redis the nodes say so themselves.
        nodes = (await engine.records(CONTROL_LOG, [ALL_NODES])).results[0]
        if nodes:
            names = ", ".join(sorted(node.key for node in nodes))
            raise ConfigurationError(f"nodes use these servers: {names}; stop them all, and wait until they are gone")
        if not await _has(engine, LogName(organization_id)):
            raise InvalidInput(f"there is no organization {organization_id!r}")
        return await erase_user(engine, organization_id, user_id, now_ms=_now_ms, new_id=new_id)
    finally:
        await engine.close()


async def _has(engine: Engine, log: LogName) -> bool:
    after: LogName | None = None
    while names := await engine.logs(after, PAGE):
        if log in names:
            return True
        after = names[-1]
    return False


@contextmanager
def _reading(store: Path | Settings) -> Iterator[Read]:
    """Open what is stored for reading."""
    if isinstance(store, Path):
        with closing(open_for_reading(store)) as connection:
            yield Reader(connection, _now_ms).records
        return
    engine = make_engine(_trimming_nothing(store))
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start(Hub(engine)))
            yield lambda log, queries: runner.run(engine.records(log, queries))
        finally:
            runner.run(engine.close())


def _trimming_nothing(settings: Settings) -> Settings:
    return replace(settings, retention_age=_NO_AGE_MS, retention_count=None, retention_bytes=_NO_BYTES)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _fault(head: Head, entries: list[Entry], snapshots: dict[int, Object | None]) -> tuple[int, str] | None:
    """Say where a document is not what its entries, which are sound, make of it; the values between an erased one and a snapshot are unknown."""
    if not entries or entries[-1].header.version != head.version:
        return head.version, "the newest version has no entry"
    if entries[-1].hash != head.hash:
        return head.version, "the document's hash is not that of its newest entry"
    if not head.oldest and head.start != (0 if entries[0].header.kind == "adopt" else 1):
        return 1, "the document says that it began otherwise"
    states = [entry.header.state for entry in entries if entry.header.state is not UNSET]
    if (states or not head.oldest) and head.state != (states[-1] if states else "draft"):
        return head.version, "the document's state is not the one that its history ends in"
    data = snapshots.get(head.oldest) if head.oldest else {}
    for entry in entries:
        version = entry.header.version
        try:
            data = None if data is None else replay(data, [entry])
        except Refused:
            if entry.body is not None:
                return version, "it does not fit the version before"
            data = None
        if version in snapshots:
            kept = snapshots[version]
            if kept is None or (data is not None and canonical(kept) != canonical(data)):
                return version, "its snapshot was changed"
            data = kept
    if data is not None and canonical(data) != canonical(head.data):
        return head.version, "the document is not what its history makes of it"
    return None


def _snapshots(read: Read, log: LogName, document_id: str, head: Head) -> dict[int, Object | None]:
    """Give what was stored whole, by version; None for what cannot be read."""
    found: dict[int, Object | None] = {}
    first = max(head.oldest, 1)
    while first <= head.version:
        query = records.versions(records.SNAPSHOTS, document_id, first, head.version, limit=PAGE)
        page = _some(read(log, [query]), document_id).results[0]
        for record in page:
            version = int(record.key.rpartition("\x1f")[2])
            try:
                found[version] = cast("Object", records.decode_data(record.value))
            except msgspec.DecodeError:
                found[version] = None
        if len(page) < PAGE:
            break
        first = max(found) + 1
    return found


def _entries(
    read: Read, log: LogName, document_id: str, first: int, last: int
) -> tuple[list[Entry], tuple[int, str] | None]:
    """Give the entries up to the first that cannot be read, and which that is."""
    found: list[Entry] = []
    while first <= last:
        query = records.versions(records.HISTORY, document_id, first, last, limit=PAGE)
        page = _some(read(log, [query]), document_id).results[0]
        for record in page:
            try:
                found.append(records.decode_entry(record.value))
            except msgspec.DecodeError:
                return found, (int(record.key.rpartition("\x1f")[2]), "its entry cannot be read")
        if len(page) < PAGE:
            break
        first = found[-1].header.version + 1
    return found, None


def _some(snapshot: Snapshot | None, document_id: str) -> Snapshot:
    if snapshot is None:
        raise _no_document(document_id)
    return snapshot


def _no_document(document_id: str) -> InvalidInput:
    return InvalidInput(f"there is no document {document_id!r} in this organization")
