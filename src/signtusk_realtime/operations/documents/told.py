"""The events of a document: of each version, of conflicts that arose, of conflicts that are decided.

Owns: their payloads.   Not: when they are told (commits.py), the event object (events/event.py).
Rule 1 (I5): a version has exactly one document event, whose payload has exactly these fields.
Rule 2: what is larger than an event may be is left out, and `truncated` says so; the client reads it over HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.paths import parse_pointer
from signtusk_realtime.documents.states import State
from signtusk_realtime.documents.values import Object
from signtusk_realtime.events.event import compose
from signtusk_realtime.events.kinds import JsonObject
from signtusk_realtime.events.log import Draft
from signtusk_realtime.events.subscriptions import EventType

STATE_EVENTS: Final[dict[State, EventType]] = {
    "deleted": "document_deleted",
    "signing": "document_signed",
    "completed": "document_completed",
}
_NO_DIGEST: Final = bytes(32)
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Makes the events of one commit. `max_bytes`: of one event's body."""

    organization_id: str
    document_id: str
    change_id: str
    user_id: str
    timestamp: str
    max_bytes: int

    def version(
        self,
        event_type: EventType,
        event_id: str,
        version: int,
        ops: Sequence[Op],
        data: Object,
        *,
        state: State | None = None,
        digest: bytes = _NO_DIGEST,
        timestamp: str | None = None,
        metadata: JsonObject | UnsetType = UNSET,
    ) -> Draft:
        """Make the document event of a version."""
        payload = self._payload(version) | {"userId": self.user_id}
        fields = dict.fromkeys(parse_pointer(op.path)[0] for op in ops)
        changes = {name: data[name] for name in fields if name in data}
        removed = [name for name in fields if name not in data]
        whole: dict[str, object] = {**payload, "ops": ops, "changes": changes}
        if removed:
            whole["removed"] = removed
        if state is not None:
            payload["state"] = whole["state"] = state
        attempts: list[dict[str, object]] = [
            whole,
            {**payload, "ops": ops, "truncated": True},
            {**payload, "truncated": True},
        ]
        return self._fitting(event_type, event_id, attempts, digest, timestamp or self.timestamp, metadata)

    def conflict(self, event_id: str, version: int, conflicts: Sequence[ConflictRecord], *, is_open: bool) -> Draft:
        """Make the event of conflicts that arose, or were brought up to date."""
        payload = self._payload(version)
        rest: dict[str, object] = {"requiresResolution": is_open}
        attempts = [
            {**payload, "conflicts": conflicts, **rest},
            {**payload, "conflicts": [], **rest, "truncated": True},
        ]
        return self._fitting("document_conflict", event_id, attempts, _NO_DIGEST, self.timestamp, UNSET)

    def resolved(self, event_id: str, version: int, resolution: str, conflicts: Sequence[ConflictRecord]) -> Draft:
        """Make the event of conflicts that were decided, or have nothing left to decide."""
        payload = self._payload(version)
        del payload["changeId"]
        rest: dict[str, object] = {"resolution": resolution, "resolvedBy": self.user_id}
        attempts = [
            {**payload, **rest, "conflicts": conflicts},
            {**payload, **rest, "conflicts": [], "truncated": True},
        ]
        return self._fitting("document_conflict_resolved", event_id, attempts, _NO_DIGEST, self.timestamp, UNSET)

    def _payload(self, version: int) -> dict[str, object]:
        return {"documentId": self.document_id, "version": version, "changeId": self.change_id}

    def _fitting(
        self,
        event_type: EventType,
        event_id: str,
        attempts: Sequence[JsonObject],
        digest: bytes,
        timestamp: str,
        metadata: JsonObject | UnsetType,
    ) -> Draft:
        draft: Draft | None = None
        for payload in attempts:
            made = compose(
                event_type,
                payload,
                event_id=event_id,
                user_id=self.user_id,
                organization_id=self.organization_id,
                timestamp=timestamp,
                metadata=metadata,
            )
            draft = Draft(event_id, digest, made.keys, made.body)
            if len(made.body) <= self.max_bytes:
                break
        assert draft is not None, "there is something to try"
        return draft
