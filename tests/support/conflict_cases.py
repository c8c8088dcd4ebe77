"""The worked cases of concurrent edits, and how the pure core carries them out.

Owns: the one source (conflict_cases.json) of the table in docs/reference/conflicts.md and of the tests over it; running a case.
Not: what is expected, which stands in the file and was written by people, not by the code.
Rule 1: each case of `edits` is run in both orders of arrival.   Rule 2: nothing here decides; it calls what a server calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from msgspec import UNSET, to_builtins

from signtusk_realtime.documents.base import Asked, Head, OwnCommit, authors_view, choose
from signtusk_realtime.documents.conflicts import Conflict, ConflictRecord, record
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.manual import Decision, Take, check_decisions, refresh, settle
from signtusk_realtime.documents.paths import parse_pointer
from signtusk_realtime.documents.policy import SHIPPED, Strategy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Resolution, resolve
from signtusk_realtime.documents.values import Json, Object

Case = dict[str, Json]

_CASES: Final = json.loads(Path(__file__).with_name("conflict_cases.json").read_text(encoding="utf-8"))
EDITS: Final[list[Case]] = _CASES["edits"]
DECISIONS: Final[list[Case]] = _CASES["decisions"]
BASES: Final[list[Case]] = _CASES["bases"]

ORDERS: Final = (("first", "second"), ("second", "first"))
"""Which edit is stored, and which arrives then; both were made on the case's base."""
CHANGE: Final = "change-2"
EDITED: Final = ("u2", CHANGE)
"""Who made the second edit, and its change: what an edit that is parked as a whole is kept by."""
AT: Final = "2026-11-22T18:49:22.123Z"


def put(view: Object, edit: Json) -> Object:
    """Put an edit of a case upon a view."""
    asked = cast("Mapping[str, dict[str, object]]", edit)
    return put_on(view, read_edit(asked.get("changes", {}), cast("list[str]", asked.get("deletes", []))))


def arrive(case: Case, stored: str, arriving: str) -> Resolution:
    """Store one edit of a case, let the other arrive. An `own` edit was stored before, by the author of the first."""
    policy, base = SHIPPED[cast("str", case["policy"])], cast("Object", case["base"])
    views, head = {"first": base, "second": base}, base
    if case.get("own") is not None:
        own = resolve(base, base, put(base, case["own"]), policy)
        head = own.document
        views["first"] = authors_view(base, [OwnCommit(own.changed, own.ops)])
    head = resolve(views[stored], head, put(views[stored], case[stored]), policy).document
    incoming = put(views[arriving], case[arriving])
    return resolve(views[arriving], head, incoming, policy, cast("Strategy", case["strategy"]))


def outcome(resolution: Resolution) -> Case:
    """Give an outcome as the cases tell it."""
    return {
        "status": resolution.status,
        "version": 1 if resolution.ops else 0,
        "document": resolution.document,
        "conflicts": [_told(each) for each in resolution.conflicts],
    }


def decide(case: Case) -> Case:
    """Let a decision be made on the one conflict of a case, after an up-to-date edit (`then`) where there is one."""
    policy = SHIPPED[cast("str", case["policy"])]
    resolution = arrive(case, "first", "second")
    (conflict,) = resolution.conflicts
    opened, document = stored_record(conflict), resolution.document
    if "then" in case:
        document = resolve(document, document, put(document, case["then"]), policy).document
        refreshed = refresh([opened], document, version=9, user_id="u3", timestamp=AT, policy=policy)
        opened = next(iter((*refreshed.changed, *refreshed.superseded)), opened)
    value = case.get("value")
    decision = Decision(
        str(opened.conflict_id),
        cast("int", case.get("rev", 1)),
        cast("Take", case["take"]),
        UNSET if "value" not in case else value,
    )
    parked = {EDITED: resolution.parked} if resolution.parked is not None else {}
    for _ in range(2 if case.get("again") else 1):
        try:
            decided = check_decisions([opened], [decision])
            settled = settle(document, decided, parked, policy=policy, resolved_by="u4", timestamp=AT)
        except Refused as refused:
            return {"code": refused.code, "document": document, "status": opened.status, "rev": opened.rev}
        document, (opened,) = settled.document, settled.records
    return {"document": document, "status": opened.status, "rev": opened.rev}


def stored_record(conflict: Conflict) -> ConflictRecord:
    """Make the record of a conflict as a server would."""
    return record(
        conflict,
        conflict_id="c1",
        document_id="d1",
        change_id=CHANGE,
        user_id="u1",
        incoming_user_id="u2",
        base_version=1,
        current_version=2,
        certainty="causal",
        timestamp=AT,
    )


def based(case: Case) -> Case:
    """Choose the base of a case of `bases`."""
    asked, head = cast("dict[str, Json]", case["asked"]), cast("dict[str, Json]", case["head"])
    try:
        base = choose(
            Asked(
                base_version=cast("int | None", asked.get("baseVersion")),
                epoch=cast("str | None", asked.get("epoch")),
                if_version=cast("int | None", asked.get("ifVersion")),
                seen=[parse_pointer(each) for each in cast("list[str]", asked.get("seen", []))],
                touched=[parse_pointer(each) for each in cast("list[str]", asked.get("touched", []))],
                is_record=bool(asked.get("isRecord")),
            ),
            Head(
                version=cast("int", head["version"]),
                epoch=cast("str", head["epoch"]),
                oldest=cast("int", head["oldest"]),
                start=cast("int", head["start"]),
            ),
            newest_own=cast("int | None", case.get("newestOwn")),
            newest_seen=cast("int | None", case.get("newestSeen")),
            versionless=case.get("versionless", "infer"),  # type: ignore[arg-type]  # one of three, as the file says
        )
    except Refused as refused:
        return {"code": refused.code, **({} if refused.reason is None else {"reason": refused.reason})}
    return {"version": base.version, "certainty": base.certainty, "withSeen": base.with_seen}


def _told(conflict: Conflict) -> Case:
    told = cast("dict[str, Json]", to_builtins(stored_record(conflict)))
    kept = ("path", "conflictType", "reason", "status", "winner", "suggested", "absent", "hunks")
    return {name: told[name] for name in kept if told.get(name) not in (None, [])}
