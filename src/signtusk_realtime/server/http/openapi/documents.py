"""Calls about documents: edit, read, decide conflicts, move on.

Owns: their descriptions.   Not: what they do (operations/documents/), what concurrent edits become (docs/reference/conflicts.md).
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.ids import Id
from signtusk_realtime.operations.documents.read import ConflictsAnswer, DocumentAnswer, HistoryAnswer
from signtusk_realtime.protocol.edits import (
    EditBody,
    EditOutcome,
    ResolveAnswer,
    ResolveBody,
    TransitionAnswer,
    TransitionBody,
)
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.http.openapi.parts import (
    WITH_IDENTITY,
    Object,
    SchemaOf,
    identity,
    json_answer,
    operation,
    query,
    ref,
)

TYPES: Final = (
    EditBody,
    EditOutcome,
    DocumentAnswer,
    HistoryAnswer,
    ConflictsAnswer,
    ResolveBody,
    ResolveAnswer,
    TransitionBody,
    TransitionAnswer,
)
_BODY: Final = ("invalid_json", "invalid_message", "limit_exceeded", "unsupported_media_type", "payload_too_large")
_READ: Final = (*WITH_IDENTITY, "invalid_message", "not_found", "unknown_document", "unavailable")
_REFUSED: Final = (400, 403, 404, 409, 410, 412, 413, 423, 428, 503)


def paths(schemas: SchemaOf, _: ServerLimits) -> Object:
    """Describe the calls."""
    document = {"name": "documentId", "in": "path", "required": True, "schema": schemas(Id)}
    number = {"type": "integer", "minimum": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    version = query("version", number, "The document as it was at this version.")
    client = query("clientId", schemas(Id), "Adds the number of this client's last edit, `lastSeq`.")
    read = operation(
        "readDocument",
        "Read a document",
        "As it is, or as it was. Subscribing from its cursor misses nothing and repeats nothing; the document as it was has none, nor "
        "`openConflicts`.",
        parameters=[document, version, client, *identity(schemas)],
        answers={200: json_answer("The document.", ref("DocumentAnswer"), examples.DOCUMENT)},
        problems=(*_READ, "version_mismatch"),
        tag="documents",
    )
    # Only a version that is no longer kept: one that is to come is not found.
    read["responses"]["410"] = read["responses"].pop("409")
    return {
        "/api/realtime/documents/{documentId}": {"get": read},
        "/api/realtime/documents/{documentId}/edits": {"post": _edit(document, schemas)},
        "/api/realtime/documents/{documentId}/history": {
            "get": operation(
                "readDocumentHistory",
                "Read who changed what",
                "Versions in order, each sealing the one before by its hash; `limit` of them or 8 MiB as they are stored, and `next` where "
                "there are more.",
                parameters=[
                    document,
                    query("after", number, "Begin behind this version."),
                    query("limit", limit, "How many at most."),
                    *identity(schemas),
                ],
                answers={200: json_answer("Versions.", ref("HistoryAnswer"), examples.DOCUMENT_HISTORY)},
                problems=_READ,
                tag="documents",
            )
        },
        "/api/realtime/documents/{documentId}/conflicts": {
            "get": operation(
                "readConflicts",
                "Read a document's conflicts",
                "Open ones first, at most 8 MiB of them as they are stored; `next` is in the answer where there are more. One that is decided "
                "between two pages may be on both: the later says how it is.",
                parameters=[
                    document,
                    query("status", {"enum": ["open", "all"], "default": "open"}, "Which."),
                    query("after", {"type": "string"}, "Go on with the `next` of an answer."),
                    *identity(schemas),
                ],
                answers={200: json_answer("Conflicts.", ref("ConflictsAnswer"), examples.DOCUMENT_CONFLICTS)},
                problems=_READ,
                tag="documents",
            )
        },
        "/api/realtime/documents/{documentId}/transitions": {
            "post": _with_body(
                operation(
                    "moveDocument",
                    "Move a document on",
                    "A transition is a version like an edit. Signing needs the contentHash of what the signer was shown.",
                    parameters=[document, *identity(schemas)],
                    answers={200: json_answer("The document's new state.", ref("TransitionAnswer"), examples.MOVED)},
                    problems=(
                        *_READ,
                        *_BODY,
                        "invalid_transition",
                        "content_changed",
                        "version_mismatch",
                        "open_conflicts",
                        "change_id_reused",
                        "document_deleted",
                        "document_locked",
                        "contention",
                    ),
                    tag="documents",
                ),
                "TransitionBody",
                examples.MOVE,
            )
        },
        "/api/realtime/conflicts/{documentId}/resolve": {
            "post": _with_body(
                operation(
                    "resolveConflicts",
                    "Decide conflicts",
                    "All open ones by one word, or some one by one; all of the call or nothing, in one version. `resolvedBy` other than "
                    "oneself needs the scope `realtime:publish`.",
                    parameters=[document, *identity(schemas)],
                    answers={200: json_answer("Decided.", ref("ResolveAnswer"), examples.RESOLVED)},
                    problems=(
                        *_READ,
                        *_BODY,
                        "no_active_conflicts",
                        "unknown_conflict",
                        "conflict_changed",
                        "already_resolved",
                        "change_id_reused",
                        "invalid_path",
                        "invalid_value",
                        "document_deleted",
                        "document_locked",
                        "document_too_large",
                        "contention",
                    ),
                    tag="documents",
                ),
                "ResolveBody",
                examples.RESOLVE,
            )
        },
    }


def _edit(document: Object, schemas: SchemaOf) -> Object:
    refused = json_answer("What became of it: refused, or rejected (409).", ref("EditOutcome"), examples.EDIT_REFUSED)
    return _with_body(
        operation(
            "editDocument",
            "Edit a document",
            "The same as `edit` over WebSocket, with the same answer whatever its status. A body has at most 2 MiB.",
            parameters=[document, *identity(schemas)],
            answers={
                200: json_answer("Applied, merged, parked, or no change.", ref("EditOutcome"), examples.EDITED),
                **dict.fromkeys(_REFUSED, refused),
            },
            problems=(*_READ, *_BODY),
            tag="documents",
        ),
        "EditBody",
        examples.EDIT,
    )


def _with_body(found: Object, schema: str, example: object) -> Object:
    content = {"application/json": {"schema": ref(schema), "example": example}}
    found["requestBody"] = {"required": True, "content": content}
    return found
