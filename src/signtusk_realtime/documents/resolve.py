"""What becomes of one edit: the four strategies.

Owns: the outcome of base, current and incoming under a policy and a strategy.   Not: finding the base (base.py), storing (operations).
Rule 1: the outcome is a function of its arguments.   Rule 2: `document` is `current` with `ops` applied, so that replicas that apply them
hold the same text.
Rule 3: what loses is in `conflicts`, or the whole edit is rejected or parked; nothing is lost without being named.
Rule 4: the fast way, for edits that meet nothing, gives what the full way gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

from msgspec import Struct

from signtusk_realtime.documents.conflicts import Conflict, Place, by_path
from signtusk_realtime.documents.invariants import Broken, are_untouched, broken_by_merging
from signtusk_realtime.documents.merge import Merge
from signtusk_realtime.documents.nodes import Reader, get, members_of
from signtusk_realtime.documents.ops import Op, Ops, apply, diff
from signtusk_realtime.documents.order import compare
from signtusk_realtime.documents.paths import Path, parse_pointer
from signtusk_realtime.documents.policy import PLAIN, Policy, Strategy, strictest
from signtusk_realtime.documents.values import ABSENT, Object, equal

Outcome: TypeAlias = Literal["applied", "merged", "noop", "parked", "rejected"]


class Parked(Struct, frozen=True):
    """A change whose decision is open, kept whole: `ops` make it, `undo` lead back to what its author had seen."""

    ops: Sequence[Op]
    undo: Sequence[Op]


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome of an edit.

    It makes a version exactly if `ops` is not empty. `changed` is what the author changed, leaf by leaf (for his view of later edits).
    `parked` is there if a conflict is open. `by_invariant`: the open conflicts stand for the whole edit, none of which was applied.
    """

    status: Outcome
    document: Object
    ops: Ops
    conflicts: tuple[Conflict, ...]
    changed: Ops
    parked: Parked | None = None
    by_invariant: bool = False


def resolve(
    base: Object, current: Object, incoming: Object, policy: Policy = PLAIN, strategy: Strategy = "merge"
) -> Resolution:
    """Decide an edit: `base` is the author's view, `incoming` that view with the edit put upon it, `current` the document at head."""
    changed = diff(base, incoming)
    if not changed:
        return Resolution("noop", current, (), (), changed)
    if meets_nothing(changed, base, current, policy):
        # Rule 2, also where current is what he saw: what he spells in another way (1.0 for 1) is no operation, and no change.
        merged = Merged(apply(current, changed), changed, ())
    else:
        merged = merge_fully(base, current, incoming, policy, strategy)
    document, ops, conflicts = merged
    if any(each.strategy == "reject" for each in conflicts):
        return _rejected(current, conflicts, changed)
    is_sound = are_untouched(map(parse_pointer, (each.path for each in ops)), policy)
    broken = [] if is_sound else broken_by_merging(document, current, incoming, policy)
    if broken:
        return _parked_whole(broken, base, current, incoming, policy, strategy, changed)
    is_open = any(each.is_open for each in conflicts)
    parked = Parked(changed, diff(incoming, base)) if is_open else None
    status: Outcome = "parked" if is_open else "noop" if not ops else "merged" if conflicts else "applied"
    return Resolution(status, document, ops, conflicts, changed, parked)


class Merged(NamedTuple):
    """A merged document, the operations from current to it, and what clashed; the whole edit may still be rejected or parked."""

    document: Object
    ops: Ops
    conflicts: tuple[Conflict, ...]


def merge_fully(base: Object, current: Object, incoming: Object, policy: Policy, strategy: Strategy) -> Merged:
    """Merge without the fast way and without regard to invariants; what rule 4 is held against."""
    merge = Merge(policy, strategy)
    ops = diff(current, merge.node((), base, current, incoming))
    # Rule 2: where a merged part came from incoming, it may spell what current holds already in another way (1.0 for 1, NFD for NFC).
    return Merged(apply(current, ops), ops, by_path(merge.conflicts))


def _rejected(current: Object, conflicts: Iterable[Conflict], changed: Ops) -> Resolution:
    told = [replace(each, strategy="reject", hunks=()) for each in conflicts]
    return Resolution("rejected", current, (), by_path(told), changed)


def _parked_whole(
    broken: list[Broken],
    base: Object,
    current: Object,
    incoming: Object,
    policy: Policy,
    strategy: Strategy,
    changed: Ops,
) -> Resolution:
    conflicts = []
    for each in broken:
        guard = policy.guard(each.path)
        held = strictest([strategy, "manual", *([guard] if guard else [])])
        sides = (get(base, each.path), get(current, each.path), get(incoming, each.path))
        conflicts.append(Conflict(Place(each.path), each.reason, *sides, ABSENT, held, refers_to=each.refers_to))
    if any(each.strategy == "reject" for each in conflicts):
        return _rejected(current, conflicts, changed)
    parked = Parked(changed, diff(incoming, base))
    return Resolution("parked", current, (), by_path(conflicts), changed, parked, by_invariant=True)


# --- the fast way -------------------------------------------------------------------------


def meets_nothing(changed: Ops, base: Object, current: Object, policy: Policy) -> bool:
    """Say whether an author's changes can be put upon current as they are: where he wrote, current is what he saw."""
    if current is base:
        return True
    before, now = Reader(base), Reader(current)
    calm: dict[Path, bool] = {}
    for each in changed:
        path = parse_pointer(each.path)
        if each.op == "order" or not equal(before.get(path), now.get(path)):
            return False
        parent = path[:-1]
        if parent not in calm:
            calm[parent] = _is_calm(before, now, parent)
        if not calm[parent]:
            return False
        for members in policy.groups_at(parent):
            if path[-1] in members and not equal(
                members_of(before.get(parent), members), members_of(now.get(parent), members)
            ):
                return False
    return True


def _is_calm(before: Reader, now: Reader, path: Path) -> bool:
    """Say whether current still has this container as one of its kind, and in the order that the author saw."""
    seen, held = before.get(path), now.get(path)
    if isinstance(seen, dict) and isinstance(held, dict):
        return True
    ours, others = before.keyed(seen), now.keyed(held)
    return ours is not None and others is not None and not compare(ours, others, ours).by_current
