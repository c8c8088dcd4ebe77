"""An edit as it is carried out, whichever way it came: over WebSocket, over HTTP, or published.

Owns: reading each into one form.   Not: carrying it out (edit.py), the rules of paths and values (documents/edit.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from signtusk_realtime.documents.edit import Edit, read_edit, read_values
from signtusk_realtime.documents.paths import Path
from signtusk_realtime.documents.policy import Strategy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import Json
from signtusk_realtime.events.event import event_type_of
from signtusk_realtime.events.instants import format_instant
from signtusk_realtime.events.kinds import DocumentUpdateEvent, JsonObject
from signtusk_realtime.events.subscriptions import EventType
from signtusk_realtime.protocol.edits import EditBody

_deterministic: Final = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Announced:
    """What a publication says of the event it is to become."""

    event_id: str
    digest: bytes
    event_type: EventType
    timestamp: str | None
    metadata: JsonObject | UnsetType


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One edit. `digest` tells it from another of the same changeId; `change` is what its author sent.

    `connection_id` stands for a client that names none. `is_creation`: base 0. `adopts`: a document that is not held is begun by it.
    `is_record`: by authority of a publisher's record.
    """

    document_id: str
    user_id: str
    change_id: str
    edit: Edit
    change: JsonObject
    digest: str
    client_id: str = ""
    connection_id: str | None = None
    seq: int | None = None
    base_version: int | None = None
    epoch: str | None = None
    if_version: int | None = None
    seen: Mapping[Path, Json]
    strategy: Strategy = "merge"
    size: int = 0
    """Of what was sent, in bytes."""
    adopts: bool = False
    is_record: bool = False
    announced: Announced | None = None

    @property
    def is_creation(self) -> bool:
        """Whether it begins a document."""
        return self.base_version == 0


def from_client(body: EditBody, document_id: str, user_id: str, *, connection_id: str | None = None) -> Asking:
    """Read an edit that a client sent. Raises: Refused with limit_exceeded, invalid_path, invalid_value, invalid_message (a number of nobody's)."""
    if body.seq is not UNSET and body.client_id is UNSET:
        raise Refused("seq numbers the edits of a client; say by clientId of which", code="invalid_message")
    changes = {} if body.changes is UNSET else body.changes
    deletes = () if body.deletes is UNSET else body.deletes
    sent = msgspec.to_builtins(body)
    for name in ("changeId", "clientId", "documentId"):
        sent.pop(name, None)
    encoded = _deterministic(sent)
    return Asking(
        document_id=document_id,
        user_id=user_id,
        change_id=body.change_id,
        edit=read_edit(changes, deletes),
        change=_change(changes, deletes),
        digest=hashlib.sha256(encoded).hexdigest(),
        size=len(encoded),
        client_id="" if body.client_id is UNSET else body.client_id,
        connection_id=connection_id,
        seq=None if body.seq is UNSET else body.seq,
        base_version=None if body.base_version is UNSET else body.base_version,
        epoch=None if body.epoch is UNSET else body.epoch,
        if_version=None if body.if_version is UNSET else body.if_version,
        seen={} if body.base is UNSET else read_values(body.base),
        strategy="merge" if body.strategy is UNSET else body.strategy,
    )


def from_publication(event: DocumentUpdateEvent, event_id: str, digest: bytes, *, size: int = 0) -> Asking:
    """Read a published document_update that has changes, of so many bytes. Raises: Refused with limit_exceeded, invalid_path, invalid_value."""
    changes = {} if event.changes is UNSET else event.changes
    deletes = () if event.deletes is UNSET else event.deletes
    base_version = None if event.base_version is UNSET else event.base_version
    return Asking(
        document_id=event.document_id,
        user_id=event.user_id,
        change_id=event_id if event.change_id is UNSET else event.change_id,
        edit=read_edit(changes, deletes),
        change=_change(changes, deletes),
        digest=digest.hex(),
        size=size,
        client_id="" if event.client_id is UNSET else event.client_id,
        base_version=0 if event.type == "created" else base_version,
        seen={},
        strategy="merge" if event.strategy is UNSET else event.strategy,
        adopts=event.type == "updated",
        is_record=event.authority is not UNSET,
        announced=Announced(
            event_id,
            digest,
            event_type_of(event),
            None if event.timestamp is UNSET else format_instant(event.timestamp),
            event.metadata,
        ),
    )


def _change(changes: JsonObject, deletes: object) -> JsonObject:
    return {"changes": changes, **({"deletes": deletes} if deletes else {})}
