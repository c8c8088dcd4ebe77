"""Open conflicts to their end: refreshed as the document goes on, superseded, or decided by somebody.

Owns: the life of an open record, what a decision makes of the document.   Not: opening records (conflicts.py), storing and telling (operations).
Rule 1: the field lives on with its current value; the record follows it.   Rule 2: a decision counts for the record as it was shown (`rev`).
Rule 3: all decisions of a call are carried out, or none.
Rule 4: the records of one edit that an invariant parked are decided by one decision: the edit as a whole is applied, or dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from signtusk_realtime.documents.conflicts import ConflictRecord, Place, place_of
from signtusk_realtime.documents.edit import Edit, put_on
from signtusk_realtime.documents.merge import Merge
from signtusk_realtime.documents.nodes import Reader
from signtusk_realtime.documents.ops import Editor, Ops, apply, diff
from signtusk_realtime.documents.order import arrange, compare
from signtusk_realtime.documents.paths import Path, parse_pointer, pointer
from signtusk_realtime.documents.policy import Policy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Parked
from signtusk_realtime.documents.states import State, ends
from signtusk_realtime.documents.values import ABSENT, Json, Node, Object, check_value, equal

Take: TypeAlias = Literal["current", "incoming", "value", "merge"]
Word: TypeAlias = Literal["merge", "overwrite", "reject", "manual"]

TAKEN: Final[Mapping[Word, Take | None]] = {
    "merge": "merge",
    "overwrite": "incoming",
    "reject": "current",
    "manual": None,
}
"""What a resolution by one word takes for every open record; manual decides nothing."""
_BY_INVARIANT: Final = frozenset(("dangling_reference", "invariant"))


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody takes for one record, at the rev he was shown."""

    conflict_id: str
    rev: int
    take: Take
    value: Json | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Settled:
    """What a resolve call makes of a document, and its records as they are then."""

    document: Object
    ops: Ops
    records: tuple[ConflictRecord, ...]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a commit makes of open records: those to be shown again, and those that have nothing left to decide."""

    changed: tuple[ConflictRecord, ...]
    superseded: tuple[ConflictRecord, ...]


def is_by_invariant(record: ConflictRecord) -> bool:
    """Say whether a record stands for a whole parked edit."""
    return record.reason in _BY_INVARIANT


def _edit_of(record: ConflictRecord) -> tuple[str, str]:
    """Give what the records of one parked edit share; changes are told apart by their author too."""
    return record.incoming_user_id, record.change_id


def refresh(
    records: Iterable[ConflictRecord],
    document: Object,
    *,
    version: int,
    user_id: str,
    timestamp: str,
    policy: Policy,
    decided: Iterable[ConflictRecord] = (),
) -> Refreshed:
    """Hold open records against the document after a commit by this user.

    Call it for every commit but the one that opened the records. `decided`: those that the commit decided, which are not among `records`.
    """
    changed: list[ConflictRecord] = []
    superseded: list[ConflictRecord] = []
    reader = Reader(document)
    ended = {_edit_of(record) for record in decided if is_by_invariant(record)}
    for record in records:
        if record.status != "open":
            continue
        now = place_of(record.path, record.reason, policy).read(reader)
        is_over = is_by_invariant(record) and _edit_of(record) in ended
        if equal(now, record.value("current")) and not is_over:
            continue
        fresh = replace(
            record,
            rev=record.rev + 1,
            current_value=None if now is ABSENT else now,
            absent=[
                *(side for side in record.absent if side != "current"),
                *(["current"] if now is ABSENT else []),
            ],
            current_version=version,
            user_id=user_id,
            # They were made of the value that stood there; deciding by the word `merge` makes the merge anew.
            suggested=UNSET,
            hunks=UNSET,
        )
        # Whose place alone comes to be as it was wanted still has the rest of its edit to be decided.
        if is_over or (not is_by_invariant(record) and (now is ABSENT or equal(now, record.value("incoming")))):
            superseded.append(replace(fresh, status="superseded", resolved_at=timestamp, resolved_by=user_id))
        else:
            changed.append(fresh)
    return Refreshed(tuple(changed), tuple(superseded))


def sealed(
    records: Iterable[ConflictRecord], to: State, *, version: int, user_id: str, timestamp: str, policy: Policy
) -> tuple[ConflictRecord, ...]:
    """Give the open records that nobody may decide any more once a transition to this state is committed, as they are then."""
    return tuple(
        replace(
            record,
            rev=record.rev + 1,
            current_version=version,
            status="superseded",
            resolved_at=timestamp,
            resolved_by=user_id,
        )
        for record in records
        # What an invariant parked changes more than the place of its record, which alone may be open.
        if ends(to, place_of(record.path, record.reason, policy).path, policy)
        or (to == "signing" and is_by_invariant(record))
    )


def decisions_for(records: Iterable[ConflictRecord], word: Word, document_id: str) -> tuple[Decision, ...]:
    """Give what one word decides for all open records; nothing for manual.

    Raises: Refused with no_active_conflicts.
    """
    opened = [record for record in records if record.status == "open"]
    if not opened:
        raise Refused(f"No active conflicts found for document {document_id}", code="no_active_conflicts")
    take = TAKEN[word]
    if take is None:
        return ()
    return tuple(Decision(str(record.conflict_id), record.rev, take) for record in opened)


def check_decisions(
    records: Iterable[ConflictRecord], decisions: Sequence[Decision]
) -> tuple[tuple[ConflictRecord, Decision], ...]:
    """Put decisions to their records.

    Raises: Refused, with the `conflict_id` it concerns: unknown_conflict, already_resolved, conflict_changed, invalid_message (a record
    decided twice, a value missing or superfluous, one parked edit both applied and dropped).
    """
    by_id = {record.conflict_id: record for record in records}
    found = []
    for decision in decisions:
        record = by_id.get(decision.conflict_id)
        if record is None:
            raise _refused(decision, "unknown_conflict", "there is no such conflict")
        if record.status != "open":
            raise _refused(decision, "already_resolved", f"the conflict is {record.status}")
        if record.rev != decision.rev:
            raise _refused(decision, "conflict_changed", f"the conflict is at rev {record.rev}, not at {decision.rev}")
        if (decision.take == "value") != (decision.value is not UNSET):
            raise _refused(decision, "invalid_message", "a value goes with take: value, and only with that")
        found.append((record, decision))
    decided: set[str] = set()
    for decision in decisions:
        if decision.conflict_id in decided:
            raise _refused(decision, "invalid_message", "a conflict is decided once")
        decided.add(decision.conflict_id)
    drops: dict[tuple[str, str], bool] = {}
    for record, decision in found:
        is_dropped = decision.take == "current"
        if is_by_invariant(record) and drops.setdefault(_edit_of(record), is_dropped) is not is_dropped:
            raise _refused(decision, "invalid_message", "the edit that was parked is applied as a whole, or dropped")
    return tuple(found)


def _refused(decision: Decision, code: str, why: str) -> Refused:
    return Refused(f"{decision.conflict_id}: {why}", code=code, conflict_id=decision.conflict_id)


def settle(
    document: Object,
    decided: Iterable[tuple[ConflictRecord, Decision]],
    parked: Mapping[tuple[str, str], Parked],
    *,
    policy: Policy,
    resolved_by: str,
    timestamp: str,
) -> Settled:
    """Carry decisions out, in order, on the document at head. `parked` has the changes of records by invariant, by author and changeId.

    A decision may break an invariant; it is somebody's will. The commit makes a version even if `ops` is empty.
    Raises: Refused with invalid_value or invalid_path where a value, given or parked, cannot stand at its place.
    """
    now = document
    records = []
    applied: set[tuple[str, str]] = set()
    editor: Editor | None = None
    for record, decision in decided:
        place = place_of(record.path, record.reason, policy)
        if decision.take == "incoming" and place.is_plain and not is_by_invariant(record):
            # Thousands are decided by one word: each array on the way is taken apart once for all of them.
            editor = Editor(now) if editor is None else editor
            chosen = record.value("incoming")
            if not editor.put(place.path, chosen) and place.put(document, chosen) is None:
                raise _placeless(place.path)
            records.append(replace(record, status="resolved", resolved_by=resolved_by, resolved_at=timestamp))
            continue
        if editor is not None:
            now, editor = editor.document(), None
        if is_by_invariant(record):
            edit = _edit_of(record)
            if decision.take != "current" and edit not in applied:
                now = _unparked(now, parked[edit], policy, deletes=decision.take != "merge")
                applied.add(edit)
            if decision.take == "value":
                now = _with_value(now, place, decision)
        else:
            now = _with_decision(now, document, place, record, decision, policy)
        records.append(replace(record, status="resolved", resolved_by=resolved_by, resolved_at=timestamp))
    if editor is not None:
        now = editor.document()
    ops = diff(document, now)
    return Settled(apply(document, ops), ops, tuple(records))


def _with_decision(
    now: Object, document: Object, place: Place, record: ConflictRecord, decision: Decision, policy: Policy
) -> Object:
    if decision.take == "current":
        return now
    if decision.take == "value":
        return _with_value(now, place, decision)
    chosen = record.value("incoming")
    if decision.take == "merge":
        chosen = _merged(place, record, place.value(now), policy)
    changed = place.put(now, chosen)
    if changed is None and place.put(document, chosen) is None:
        # A decision that changes nothing would be an answer to nobody: what is parked stays open.
        raise _placeless(place.path)
    # Where the place itself is gone by an earlier decision of this call, the record keeps what would have stood there.
    return now if changed is None else changed


def _merged(place: Place, record: ConflictRecord, now: Node, policy: Policy) -> Node:
    """Merge three ways: what the author had seen, what stands there now, what he wanted."""
    base, incoming = record.value("base"), record.value("incoming")
    if place.is_order:
        before, ours, others = _ids_in(base), _ids_in(now), _ids_in(incoming)
        if not compare(before, ours, others).by_incoming:
            return now
        return list[Json](arrange(others, ours, set(ours), set(ours) - set(before)))
    if place.members:
        if equal(incoming, base) or incoming is ABSENT:
            return now
        return incoming
    return Merge(_unguarded(policy), "merge").node(place.path, base, now, incoming)


def _ids_in(order: Node) -> list[str]:
    return [each for each in order if isinstance(each, str)] if isinstance(order, list) else []


def _with_value(document: Object, place: Place, decision: Decision) -> Object:
    assert decision.value is not UNSET
    value = check_value(decision.value, place.path)
    if not place.members and not place.is_order:
        return put_on(document, Edit({place.path: value}))
    _check_whole(place, place.value(document), value)
    changed = place.put(document, value)
    if changed is None:
        raise _unfit(place, f"{pointer(place.path)} is no place for it")
    return changed


def _check_whole(place: Place, held: Node, value: Json) -> None:
    """See that a value is a group or an order as a whole: nothing is added, and nothing that stands there is dropped by leaving it out."""
    if place.is_order:
        ids = _ids_in(held)
        if held is ABSENT or not isinstance(value, list) or len(value) != len(ids) or set(_ids_in(value)) != set(ids):
            raise _unfit(place, f"an order lists exactly the {len(ids)} ids that stand there")
        return
    if not isinstance(value, dict) or not value or not value.keys() <= set(place.members):
        raise _unfit(place, f"a group's value is an object of {', '.join(place.members)}")
    dropped = sorted(held.keys() - value.keys()) if isinstance(held, dict) else []
    if dropped:
        raise _unfit(place, f"a group is one value, and {', '.join(dropped)} would be lost")


def _placeless(path: Path) -> Refused:
    return Refused(
        f"{pointer(path)}: what it lay in is gone; decide for `current`, or for a value", code="invalid_path", path=path
    )


def _unfit(place: Place, why: str) -> Refused:
    return Refused(f"{pointer(place.segments)}: {why}", code="invalid_value", path=place.segments)


def _unparked(document: Object, parked: Parked, policy: Policy, *, deletes: bool) -> Object:
    """Put a parked change upon the document as it is now, merged with what was changed there since.

    `deletes`: what it takes away goes even where somebody has edited it since; a merge alone would leave it.
    """
    seen = apply(document, parked.undo, tolerant=True)
    editor = Editor(seen)
    for each in parked.ops:
        path = parse_pointer(each.path)
        if each.op == "order":
            editor.order(path, each.value, tolerant=True)
        elif each.op == "delete" or each.value is UNSET:
            editor.put(path, ABSENT)
        elif not editor.put(path, each.value):
            # Passed over, it would be in no document and in no record: the whole change stays open.
            raise _placeless(path)
    wanted = editor.document()
    merge = Merge(_unguarded(policy), "merge")
    merged = merge.node((), seen, document, wanted)
    assert isinstance(merged, dict)
    for conflict in merge.conflicts if deletes else ():
        if conflict.reason == "delete_vs_edit" and conflict.incoming is ABSENT:
            without = conflict.place.put(merged, ABSENT)
            merged = merged if without is None else without
    return merged


def _unguarded(policy: Policy) -> Policy:
    """Somebody decides: what a policy guards against the machine is not guarded against him."""
    return dataclasses.replace(policy, guards={})
