"""Who may do what with a document.

Owns: the look at grants and scopes before a document is looked at, so that a guest learns nothing of what exists; the answer of an edit as
somebody is shown it who may not read the document.   Not: states and locks (documents/states.py).
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from signtusk_realtime.documents.conflicts import without_values
from signtusk_realtime.documents.policy import Strategy
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.protocol.edits import EditOutcome
from signtusk_realtime.sessions.identity import PUBLISH, Grant, Identity


def check_read(identity: Identity, document_id: str) -> None:
    """Pass if the identity may see this document. Raises: Forbidden."""
    _check(identity, document_id, "subscribe")


def may_read(identity: Identity, document_id: str) -> bool:
    """Whether the identity may see what stands in this document; who may edit it or decide its conflicts need not."""
    return identity.grants is None or any(_covers(grant, document_id, "subscribe") for grant in identity.grants)


def check_edit(identity: Identity, document_id: str, strategy: Strategy) -> None:
    """Pass if the identity may edit this document by this strategy. Raises: Forbidden."""
    _check(identity, document_id, "edit")
    if strategy == "overwrite" and identity.grants is not None:
        _check(identity, document_id, "overwrite")


def check_resolve(identity: Identity, document_id: str, resolved_by: str) -> None:
    """Pass if the identity may decide conflicts of this document in this name. Raises: Forbidden."""
    _check(identity, document_id, "resolve")
    if resolved_by != identity.user_id and PUBLISH not in identity.scopes:
        raise Forbidden(f"resolvedBy is another user; that needs the scope {PUBLISH}", path=("resolvedBy",))


def check_move(identity: Identity, document_id: str) -> None:
    """Pass if the identity may move this document on: a guest signs through the application. Raises: Forbidden."""
    _check(identity, document_id, "transition")


def unseen(outcome: EditOutcome) -> EditOutcome:
    """Give the answer of an edit without what stands in the document: conflicts without their values, and no operations."""
    conflicts = outcome.conflicts
    return msgspec.structs.replace(
        outcome,
        conflicts=UNSET if conflicts is UNSET else [without_values(each) for each in conflicts],
        ops=UNSET,
    )


def _check(identity: Identity, document_id: str, action: str) -> None:
    if identity.is_service:
        raise Forbidden("a service belongs to no organization; it publishes document_update events")
    if identity.grants is None:
        return
    if not any(_covers(grant, document_id, action) for grant in identity.grants):
        raise Forbidden("this is outside what was granted")


def _covers(grant: Grant, document_id: str, action: str) -> bool:
    if grant.document_id != document_id or grant.signing_request_id is not None or action not in grant.actions:
        return False
    return action != "subscribe" or grant.types is None or "document_updates" in grant.types
