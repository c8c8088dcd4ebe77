"""Deciding conflicts as the original does: by the document alone.

Owns: finding the organization that holds a document.   Not: deciding (operations/documents/resolve.py).
"""

from __future__ import annotations

from typing import Final, NamedTuple, get_args

from signtusk_realtime.documents.manual import Word
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.ids import RESERVED_ORGANIZATIONS, check_id, check_organization_id
from signtusk_realtime.events.log import LogName
from signtusk_realtime.operations.documents.documents import Documents
from signtusk_realtime.protocol.edits import ResolveBody

PAGE: Final = 500


class ConflictResolution(NamedTuple):
    """What was decided, and the version it made."""

    success: bool
    document_id: str
    resolution: str
    resolved_by: str
    version: int


async def resolve_in_process(
    documents: Documents,
    engine: Engine,
    document_id: str,
    resolution: Word,
    resolved_by: str,
    organization_id: str | None,
) -> ConflictResolution:
    """See RealtimeService.resolve_conflicts."""
    check_id(document_id, path=("documentId",))
    check_id(resolved_by, path=("resolvedBy",))
    if resolution not in get_args(Word):
        raise InvalidInput(f"not a resolution: {resolution!r}; {', '.join(get_args(Word))} are", path=("resolution",))
    if organization_id is None:
        organization_id = await _holder(documents, engine, document_id)
    else:
        check_organization_id(organization_id, path=("organizationId",))
    try:
        answer = await documents.resolves(organization_id, document_id, resolved_by, ResolveBody(resolution=resolution))
    except Refused as error:
        if error.code == "unknown_document":
            raise _nothing(document_id) from None
        raise
    return ConflictResolution(answer.success, answer.document_id, answer.resolution, answer.resolved_by, answer.version)


async def _holder(documents: Documents, engine: Engine, document_id: str) -> str:
    """Find the one organization that holds a document: a decision must not fall upon another's of the same name."""
    holders: list[str] = []
    after: LogName | None = None
    while names := await engine.logs(after, PAGE):
        for name in names:
            if name in RESERVED_ORGANIZATIONS:
                continue
            loaded = await documents.store.look(name, document_id)
            if loaded.head is not None:
                holders.append(name)
        after = names[-1]
    if not holders:
        raise _nothing(document_id)
    if len(holders) > 1:
        raise InvalidInput(
            f"{len(holders)} organizations hold a document {document_id!r}; name the organization",
            path=("organizationId",),
        )
    return holders[0]


def _nothing(document_id: str) -> Refused:
    return Refused(f"No active conflicts found for document {document_id}", code="no_active_conflicts")
