"""Edits of documents, decisions of conflicts and transitions, as they are asked for and answered (spec/protocol.md §14).

Owns: their fields, on WebSocket and over HTTP alike.   Not: what paths and values are (documents), what becomes of an edit (operations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.policy import Strategy
from signtusk_realtime.documents.states import State
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.kinds import JsonObject, Version

EditStatus: TypeAlias = Literal["applied", "merged", "noop", "parked", "rejected", "refused"]


class EditBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An edit: what to set and delete, and what its author knows of what he edits."""

    document_id: Id | UnsetType = UNSET
    change_id: Id
    base_version: Version | UnsetType = UNSET
    epoch: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    changes: JsonObject | UnsetType = UNSET
    deletes: Sequence[str] | UnsetType = UNSET
    strategy: Strategy | UnsetType = UNSET
    client_id: Id | UnsetType = UNSET
    seq: Annotated[int, Meta(ge=1, le=2**53 - 1)] | UnsetType = UNSET
    base: JsonObject | UnsetType = UNSET
    if_version: Version | UnsetType = UNSET


class EditOutcome(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """What became of an edit. `version` is the one it made, or head's; absent where there is no document.

    `code`, and what refines it, stand where the edit was refused or rejected. For a guest who may not read the document the conflicts have
    no values (null), and `ops` are absent.
    """

    change_id: str
    status: EditStatus
    version: int | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET
    conflicts: Sequence[ConflictRecord] | UnsetType = UNSET
    ops: Sequence[Op] | UnsetType = UNSET
    code: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    path: str | UnsetType = UNSET
    state: State | UnsetType = UNSET
    expected_seq: int | UnsetType = UNSET


class DecisionBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What somebody takes for one conflict, at the rev he was shown."""

    conflict_id: Id
    rev: Annotated[int, Meta(ge=1)]
    take: Literal["current", "incoming", "value"]
    value: object | UnsetType = UNSET


class ResolveBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Decides all open conflicts of a document by one word, or some of them one by one: exactly one of the two."""

    resolution: Literal["merge", "overwrite", "reject", "manual"] | UnsetType = UNSET
    decisions: Sequence[DecisionBody] | UnsetType = UNSET
    resolved_by: Id | UnsetType = UNSET
    change_id: Id | UnsetType = UNSET


class ResolveAnswer(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Conflicts were decided, in one version."""

    success: bool
    document_id: str
    resolution: str
    resolved_by: str
    version: int


class TransitionBody(Struct, rename="camel", forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Moves a document on. `content_hash`: of what a signer was shown; `version`: the head it is meant for."""

    to: State
    version: Version | UnsetType = UNSET
    content_hash: Annotated[str, Meta(max_length=64)] | UnsetType = UNSET
    change_id: Id | UnsetType = UNSET


class TransitionAnswer(Struct, rename="camel", frozen=True, kw_only=True):
    """A document in its new state."""

    document_id: str
    version: int
    state: State
    content_hash: str
