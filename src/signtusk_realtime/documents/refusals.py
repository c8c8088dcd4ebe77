"""Why an edit, a decision or a transition of a document is turned away.

Owns: the error and the fields an answer takes from it.   Not: HTTP statuses and what a client should do (protocol/codes.py).
Rule: a refusal leaves no trace; whoever raises it has changed nothing.
"""

from __future__ import annotations

from signtusk_realtime.errors import RealtimeError


class Refused(RealtimeError):
    """An edit, a decision or a transition was turned away; nothing changed.

    `reason` refines `code` (version_mismatch: future, compacted, epoch, precondition), `state` stands beside document_locked,
    `conflict_id` beside what concerns one record, `path` (a pointer's segments) beside what concerns one place of the document.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str | None = None,
        path: tuple[str, ...] | None = None,
        state: str | None = None,
        conflict_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, path=path)
        self.reason = reason
        self.state = state
        self.conflict_id = conflict_id
