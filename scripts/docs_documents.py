"""Samples of editing documents: how edits are answered, and what the service tells of them.

Owns: one clash of two edits, decided by the code that decides real ones, and everything that is said of it.   Not: pages (generate_docs.py).
Rule: nothing is typed by hand but the edits themselves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord, record
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.manual import Decision, settle
from signtusk_realtime.documents.ops import diff
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Resolution, resolve
from signtusk_realtime.documents.states import check_editable
from signtusk_realtime.documents.values import Object
from signtusk_realtime.events.event import Prepared, event_type_of
from signtusk_realtime.events.kinds import DocumentUpdateEvent
from signtusk_realtime.events.log import Draft
from signtusk_realtime.operations.documents.told import Teller
from signtusk_realtime.protocol.edits import EditOutcome
from signtusk_realtime.protocol.messages import EditResult, edit_result

EPOCH: Final = "3d44653e5be00001"
NOW: Final = "2026-11-22T18:49:22.123Z"
SEEN: Final[Object] = {"title": "NDA", "note": "first draft"}
"""Version 41, which both authors saw."""
EDIT: Final[dict[str, object]] = {
    "type": "edit",
    "requestId": "4",
    "documentId": "doc123",
    "changeId": "change-7f-12",
    "baseVersion": 41,
    "changes": {"title": "NDA final", "/note": "second draft"},
    "strategy": "manual",
    "clientId": "tab-7f",
    "seq": 12,
}
"""What user123 sends while user456's `NDA v2` is version 42 already."""


def _teller(change_id: str, user_id: str) -> Teller:
    return Teller(
        organization_id="org123",
        document_id="doc123",
        change_id=change_id,
        user_id=user_id,
        timestamp=NOW,
        max_bytes=1 << 18,
    )


def _clash() -> tuple[Resolution, list[ConflictRecord]]:
    """Decide `EDIT`, and make its records."""
    current = put_on(SEEN, read_edit({"title": "NDA v2"}))
    changes = EDIT["changes"]
    assert isinstance(changes, dict)
    found = resolve(SEEN, current, put_on(SEEN, read_edit(changes)), PLAIN, "manual")
    records = [
        record(
            each,
            conflict_id="cfl_0192f0c1d2e370a4",
            document_id="doc123",
            change_id="change-7f-12",
            user_id="user456",
            incoming_user_id="user123",
            base_version=41,
            current_version=43,
            certainty="causal",
            timestamp=NOW,
        )
        for each in found.conflicts
    ]
    return found, records


def edit_results() -> list[EditResult]:
    """Give answers: of an edit that met nothing, of one that was parked, of one that came after a signature."""
    met_nothing = put_on(SEEN, read_edit({"title": "NDA v2"}))
    parked, records = _clash()
    applied = EditOutcome(
        change_id="change-2a-3",
        status="applied",
        version=42,
        epoch=EPOCH,
        duplicate=False,
        conflicts=(),
        ops=diff(SEEN, met_nothing),
    )
    clashed = EditOutcome(
        change_id="change-7f-12",
        status=parked.status,
        version=43,
        epoch=EPOCH,
        duplicate=False,
        conflicts=records,
        ops=parked.ops,
    )
    return [edit_result(applied, UNSET), edit_result(clashed, "4"), edit_result(_refused(), UNSET)]


def _refused() -> EditOutcome:
    try:
        check_editable("signing", [("title",)], PLAIN)
    except Refused as error:
        return EditOutcome(
            change_id="change-7f-13",
            status="refused",
            version=45,
            epoch=EPOCH,
            duplicate=False,
            conflicts=(),
            ops=(),
            code=str(error.code),
            message=error.message,
            state="signing",
        )
    raise AssertionError("nothing is edited after a signature")


def document_events() -> Iterator[tuple[str, dict[str, object]]]:
    """Give what subscribers see: of a version, of a conflict that arose, of its decision."""
    parked, records = _clash()
    teller = _teller("change-7f-12", "user123")
    yield (
        "A version:",
        _event(teller.version("document_updated", "evt_0192f0c1d2e371a4", 43, parked.ops, parked.document)),
    )
    yield "A conflict:", _event(teller.conflict("evt_0192f0c1d2e372a4", 43, records, is_open=True))
    decision = Decision("cfl_0192f0c1d2e370a4", 1, "incoming", UNSET)
    settled = settle(parked.document, [(records[0], decision)], {}, policy=PLAIN, resolved_by="user789", timestamp=NOW)
    resolver = _teller("change-9c-1", "user789")
    yield "Its decision:", _event(resolver.resolved("evt_0192f0c1d2e374a4", 44, "overwrite", settled.records))


def _event(draft: Draft) -> dict[str, object]:
    event: dict[str, object] = json.loads(draft.body)
    return event


def as_adopted(event: DocumentUpdateEvent, prepared: Prepared, event_id: str) -> Prepared:
    """Give the event of published changes that begin a document."""
    changes = {} if event.changes is UNSET else event.changes
    document = put_on({}, read_edit(changes))
    teller = _teller(event_id if event.change_id is UNSET else event.change_id, event.user_id)
    draft = teller.version(event_type_of(event), event_id, 1, diff({}, document), document)
    return prepared._replace(keys=draft.keys, body=draft.body)
