"""What operators do with a database from the command: verify a document, erase a user.

Owns: opening the database for it.   Not: verifying (documents/history.py), erasing (operations/documents/erase.py).
Rule: verifying reads beside a running server; erasing needs the database to itself.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.history import GENESIS, Entry, verify
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.engines.sqlite.copying import open_for_reading
from signtusk_realtime.engines.sqlite.reader import Reader
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.log import LogName, Snapshot
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.erase import Erased, erase_user

PAGE: Final = 200


def verify_document(database: Path, organization_id: str, document_id: str) -> dict[str, object]:
    """Verify the chain of a document's history; give what was found. Raises: InvalidInput (no database, no document), Unavailable."""
    with closing(open_for_reading(database)) as connection:
        reader = Reader(connection, lambda: time.time_ns() // 1_000_000)
        log = LogName(organization_id)
        snapshot = _some(reader.records(log, [records.exact(records.head_key(document_id))]), document_id)
        if not snapshot.results[0]:
            raise _no_document(document_id)
        head = records.decode_head(snapshot.results[0][0].value)
        entries = _entries(reader, log, document_id, head.oldest + 1, head.version)
        first = entries[0].header.version if entries else head.version + 1
        verdict = verify(entries, prev_hash=GENESIS if first == 1 else None, first_version=first)
    integrity, why, version = verdict.integrity, verdict.why, verdict.version
    if integrity != "broken" and (not entries or entries[-1].header.version != head.version):
        integrity, why, version = "broken", "the newest version has no entry", head.version
    elif integrity != "broken" and entries[-1].hash != head.hash:
        integrity, why, version = "broken", "the document's hash is not that of its newest entry", head.version
    told: dict[str, object] = {
        "organizationId": organization_id,
        "documentId": document_id,
        "integrity": integrity,
        "version": head.version,
        "from": first,
        "hash": head.hash,
        "erased": list(verdict.erased),
    }
    return told if integrity != "broken" else told | {"broken": version, "why": why}


def erase_user_from(database: Path, organization_id: str, user_id: str) -> Erased:
    """Erase a user's values. Raises: ConfigurationError (no such database, or a server has it open), Unavailable."""
    if not database.is_file():
        raise InvalidInput(f"there is no database {database}")
    return asyncio.run(_erase(database, organization_id, user_id))


async def _erase(database: Path, organization_id: str, user_id: str) -> Erased:
    engine = SqliteEngine(str(database))
    try:
        await engine.start(Hub(engine))
        return await erase_user(engine, organization_id, user_id)
    finally:
        await engine.close()


def _entries(reader: Reader, log: LogName, document_id: str, first: int, last: int) -> list[Entry]:
    found: list[Entry] = []
    while first <= last:
        query = records.versions(records.HISTORY, document_id, first, last, limit=PAGE)
        page = _some(reader.records(log, [query]), document_id).results[0]
        found += [records.decode_entry(record.value) for record in page]
        if len(page) < PAGE:
            break
        first = found[-1].header.version + 1
    return found


def _some(snapshot: Snapshot | None, document_id: str) -> Snapshot:
    if snapshot is None:
        raise _no_document(document_id)
    return snapshot


def _no_document(document_id: str) -> InvalidInput:
    return InvalidInput(f"there is no document {document_id!r} in this organization")
