"""What a published event means for a document: a change, a fact that may move it on, or nothing.

Owns: telling them apart.   Not: carrying them out (edit.py, moves.py).
Rule: a fact about a document that is not held is a plain event.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from msgspec import UNSET

from signtusk_realtime.documents.states import State
from signtusk_realtime.events.kinds import DocumentUpdateEvent, Published, SignatureStatusEvent
from signtusk_realtime.events.log import ABSENT, Key, LogName
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.documents import Documents
from signtusk_realtime.protocol.publications import Publication


class Meaning(Enum):
    """What an event does to a document."""

    PLAIN = "plain"
    CHANGE = "change"
    FACT = "fact"


PLAIN: Final = Meaning.PLAIN
CHANGE: Final = Meaning.CHANGE
FACT: Final = Meaning.FACT
_BY_UPDATE: Final[dict[str, State]] = {"deleted": "deleted", "signed": "signing", "completed": "completed"}
_BY_SIGNATURE: Final[dict[str, State]] = {"signed": "signing", "declined": "declined", "expired": "expired"}


def is_change(event: Published) -> bool:
    """Say whether an event changes a document's content."""
    return isinstance(event, DocumentUpdateEvent) and (event.changes is not UNSET or event.deletes is not UNSET)


def fact_of(event: Published) -> tuple[str, State, str] | None:
    """Give the document that an event tells a fact about, the state that follows, and by whom; None if it tells none."""
    if isinstance(event, DocumentUpdateEvent):
        to = None if is_change(event) else _BY_UPDATE.get(event.type)
    elif isinstance(event, SignatureStatusEvent):
        to = _BY_SIGNATURE.get(event.status)
    else:
        return None
    return None if to is None else (event.document_id, to, event.user_id)


def none_held(publications: Sequence[Publication]) -> list[tuple[Key, int]]:
    """Give what a commit expects where no document is held that a fact is told about."""
    told = {found[0] for event, _ in publications if (found := fact_of(event)) is not None}
    return [(records.head_key(document_id), ABSENT) for document_id in sorted(told)]


def by_document(event: Published, held: frozenset[str]) -> Meaning:
    """Say what an event means, where these documents are held."""
    if is_change(event):
        return CHANGE
    found = fact_of(event)
    return FACT if found is not None and found[0] in held else PLAIN


async def held_of(publications: Sequence[Publication], log: LogName, documents: Documents) -> frozenset[str]:
    """Give which documents, of those that facts are told about, are held or changed by the same call. Raises: Unavailable."""
    told = {found[0] for event, _ in publications if (found := fact_of(event)) is not None}
    if not told:
        return frozenset()
    changed = {
        event.document_id for event, _ in publications if isinstance(event, DocumentUpdateEvent) and is_change(event)
    }
    asked = sorted(told - changed)
    keys = [records.exact(records.head_key(document_id)) for document_id in asked]
    results = (await documents.store.engine.records(log, keys)).results if keys else ()
    return frozenset(told & changed).union(each for each, found in zip(asked, results, strict=True) if found)
