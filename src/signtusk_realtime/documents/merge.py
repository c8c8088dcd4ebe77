"""The three-way merge of a document, by the type of each value.

Owns: what becomes of each leaf that one side or both changed, and which leaves clash.   Not: whether the edit as a whole stands (resolve.py),
what must hold across places (invariants.py).
Rule 1: a function of base, current, incoming, policy and strategy; nothing here depends on the order of a set or on a hash.
Rule 2: a leaf that one side changed takes that side's value under every strategy; one that both changed alike is no clash.
Rule 3: objects and keyed arrays are entered under every strategy; only `merge` goes inside texts, sets and other arrays.
Rule 4: a value that current has already is kept as current has it, not as incoming wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable

from signtusk_realtime.documents.canonical import key_of
from signtusk_realtime.documents.conflicts import ORDER, Conflict, Place, Reason
from signtusk_realtime.documents.nodes import Elements, get, keyed, members_of, places
from signtusk_realtime.documents.order import arrange, compare
from signtusk_realtime.documents.paths import Path
from signtusk_realtime.documents.policy import Members, Policy, Strategy, strictest
from signtusk_realtime.documents.sequence import Side
from signtusk_realtime.documents.sequence import merge as merge_sequences
from signtusk_realtime.documents.text import Hunk, merge_text
from signtusk_realtime.documents.values import ABSENT, SCALARS, Json, Node, Object, alike, equal, json_type


class Merge:
    """One merge: `node` gives the merged value, `conflicts` then holds what clashed."""

    def __init__(self, policy: Policy, strategy: Strategy) -> None:
        self.conflicts: list[Conflict] = []
        self._policy = policy
        self._strategy = strategy

    def node(self, path: Path, base: Node, current: Node, incoming: Node) -> Node:
        """Merge what stands at a place; ABSENT if nothing shall."""
        if current is incoming or incoming is base:
            return current
        if isinstance(current, dict) and isinstance(incoming, dict):
            return self._object(path, base if isinstance(base, dict) else {}, current, incoming)
        if isinstance(current, list) and isinstance(incoming, list):
            ours, others = keyed(current), keyed(incoming)
            if ours is not None and others is not None:
                known = keyed(base) if isinstance(base, list) else {}
                if known is not None:
                    return self._keyed(path, known, ours, others, current)
        if equal(incoming, base) or equal(current, incoming):
            return current
        if equal(current, base):
            return incoming
        return self._leaf(path, base, current, incoming)

    # --- containers -----------------------------------------------------------------------

    def _object(self, path: Path, base: Object, current: Object, incoming: Object) -> Object:
        groups = self._policy.groups_at(path)
        grouped = {name for members in groups for name in members} if groups else ()
        result: Object = {}
        changed = False
        for name, value in current.items():
            if name in grouped:
                continue
            other = incoming.get(name, ABSENT)
            # `alike`, written out: this loop is most of what a merge does.
            kind = type(value)
            if value is other or (kind is type(other) and kind in SCALARS and value == other):
                result[name] = value
                continue
            merged = self.node((*path, name), base.get(name, ABSENT), value, other)
            changed = changed or merged is not value
            if merged is not ABSENT:
                result[name] = merged
        for name, value in incoming.items():
            if name not in current and name not in grouped:
                merged = self.node((*path, name), base.get(name, ABSENT), ABSENT, value)
                if merged is not ABSENT:
                    result[name] = merged
                    changed = True
        for members in groups:
            merged = self._group(path, members, base, current, incoming)
            values = merged if isinstance(merged, dict) else {}
            result.update(values)
            for each in members:
                changed = changed or values.get(each, ABSENT) is not current.get(each, ABSENT)
        return result if changed else current

    def _group(self, path: Path, members: Members, base: Object, current: Object, incoming: Object) -> Node:
        for each in members:
            if not alike(current.get(each, ABSENT), incoming.get(each, ABSENT)):
                break
        else:
            return members_of(current, members)
        before, ours, others = members_of(base, members), members_of(current, members), members_of(incoming, members)
        if equal(others, before) or equal(ours, others):
            return ours
        if equal(ours, before):
            return others
        guards = [
            guard
            for each in members
            for guard in self._guards(
                (*path, each),
                base.get(each, ABSENT),
                *(
                    side.get(each, ABSENT)
                    for side in (current, incoming)
                    if not equal(side.get(each, ABSENT), base.get(each, ABSENT))
                ),
            )
        ]
        is_deleted = ours is ABSENT or others is ABSENT
        reason: Reason = "delete_vs_edit" if is_deleted else "add_add" if before is ABSENT else "group"
        merged = ours if others is ABSENT else others
        return self._clash(Place(path, members), reason, before, ours, others, merged, guards)

    def _keyed(self, path: Path, base: Elements, current: Elements, incoming: Elements, kept: list[Json]) -> Node:
        result: dict[str, Node] = {}
        for identity in [*current, *(each for each in incoming if each not in current)]:
            seen, ours, others = (side.get(identity, ABSENT) for side in (base, current, incoming))
            # Most elements were left alone, and finding that out costs less than merging them.
            if ours is not ABSENT and (equal(ours, others) or equal(others, seen)):
                result[identity] = ours
            elif (merged := self.node((*path, identity), seen, ours, others)) is not ABSENT:
                result[identity] = merged
        ids = self._order(path, base, current, incoming, result)
        if len(ids) == len(kept) and all(result[each] is old for each, old in zip(ids, kept, strict=True)):
            return kept
        return [element for each in ids if (element := result[each]) is not ABSENT]

    def _order(
        self, path: Path, base: Elements, current: Elements, incoming: Elements, remaining: dict[str, Node]
    ) -> list[str]:
        orders = compare(base, current, incoming)
        added = current.keys() - base.keys()
        if not orders.by_incoming:
            return arrange(current, list(incoming), remaining, added)
        by_incoming = arrange(incoming, list(current), remaining, added)
        if not orders.clash:
            return by_incoming
        kept = list[Json](current)
        guard = self._policy.guard((*path, ORDER))
        chosen = self._clash(
            Place(path, is_order=True),
            "order",
            list[Json](base),
            kept,
            list[Json](incoming),
            list[Json](by_incoming),
            [] if guard is None else [guard],
        )
        return arrange(current, list(incoming), remaining, added) if chosen is kept else by_incoming

    # --- leaves that both sides changed ---------------------------------------------------

    def _leaf(self, path: Path, base: Node, current: Node, incoming: Node) -> Node:
        place = Place(path)
        if current is ABSENT or incoming is ABSENT:
            edit = incoming if current is ABSENT else current
            guards = self._guards(path, base, edit)
            return self._clash(place, "delete_vs_edit", base, current, incoming, edit, guards)
        guards = self._guards(path, base, current, incoming)
        if isinstance(current, list) and isinstance(incoming, list):
            return self._array(place, base, current, incoming, guards)
        if base is ABSENT:
            return self._clash(place, "add_add", base, current, incoming, incoming, guards)
        if json_type(current) != json_type(incoming):
            return self._clash(place, "type_change", base, current, incoming, incoming, guards)
        if (
            isinstance(base, str)
            and isinstance(current, str)
            and isinstance(incoming, str)
            and self._policy.is_text(path, base)
        ):
            return self._text(place, base, current, incoming, guards)
        return self._clash(place, "scalar", base, current, incoming, incoming, guards)

    def _text(self, place: Place, base: str, current: str, incoming: str, guards: list[Strategy]) -> Node:
        strategy = strictest([self._strategy, *guards])
        if strategy not in ("merge", "manual"):
            return self._clash(place, "text_overlap", base, current, incoming, incoming, guards)
        merged = merge_text(base, current, incoming)
        if strategy == "manual":
            suggested = incoming if merged is None else merged.text
            return self._clash(place, "text_overlap", base, current, incoming, suggested, guards)
        if merged is None:
            return self._clash(place, "scalar", base, current, incoming, incoming, guards)
        if merged.hunks:
            return self._clash(place, "text_overlap", base, current, incoming, merged.text, guards, merged.hunks)
        return merged.text

    def _array(
        self, place: Place, base: Node, current: list[Json], incoming: list[Json], guards: list[Strategy]
    ) -> Node:
        strategy = strictest([self._strategy, *guards])
        known = base if isinstance(base, list) else None
        merged: Node = incoming
        is_clean = False
        if strategy in ("merge", "manual"):
            if self._policy.is_set(place.path):
                merged, is_clean = _merge_set(known or [], current, incoming), True
            elif known is not None:
                merged, is_clean = _merge_array(known, current, incoming)
        if is_clean and strategy == "merge":
            return merged
        reason: Reason = "add_add" if base is ABSENT else "sequence"
        return self._clash(place, reason, base, current, incoming, merged, guards)

    def _guards(self, path: Path, base: Node, *sides: Node) -> list[Strategy]:
        """Give what guards a place, and what guards those below it that a side changed. Without sides nothing is guarded."""
        if not sides:
            return []
        own = self._policy.guard(path)
        if not any(isinstance(each, dict | list) for each in (base, *sides)):
            return [] if own is None else [own]
        below = [
            strategy
            for pattern, strategy in self._policy.guards_below(path)
            if any(_is_changed(base, side, pattern) for side in sides)
        ]
        return below if own is None else [own, *below]

    def _clash(
        self,
        place: Place,
        reason: Reason,
        base: Node,
        current: Node,
        incoming: Node,
        merged: Node,
        guards: Iterable[Strategy],
        hunks: tuple[Hunk, ...] = (),
    ) -> Node:
        strategy = strictest([self._strategy, *guards])
        self.conflicts.append(Conflict(place, reason, base, current, incoming, merged, strategy, hunks))
        if strategy == "overwrite":
            return incoming
        return merged if strategy == "merge" else current


def _is_changed(base: Node, side: Node, pattern: Path) -> bool:
    """Say whether a side changed anything that a pattern leads to."""
    if pattern[-1] == ORDER:
        found = {at for node in (base, side) for at, _ in places(node, pattern[:-1])}
        arrays = [(keyed(get(base, at)) or {}, keyed(get(side, at)) or {}) for at in found]
        return any(compare(before, after, after).by_current for before, after in arrays)
    found = {at for node in (base, side) for at, _ in places(node, pattern)}
    return any(not equal(get(base, at), get(side, at)) for at in found)


def _merge_set(base: list[Json], current: list[Json], incoming: list[Json]) -> list[Json]:
    before, ours, others = ({key_of(each): each for each in side} for side in (base, current, incoming))
    kept = [each for each in current if (key := key_of(each)) not in before or key in others]
    return [*kept, *(each for key, each in others.items() if key not in before and key not in ours)]


def _merge_array(base: list[Json], current: list[Json], incoming: list[Json]) -> tuple[list[Json], bool]:
    """Give the merged array, and whether nothing overlapped."""
    numbers: dict[str, int] = {}

    def numbered(side: list[Json]) -> list[int]:
        return [numbers.setdefault(key_of(each), len(numbers)) for each in side]

    merged = merge_sequences(numbered(base), numbered(current), numbered(incoming))
    if merged is None:
        return incoming, False
    sides: dict[Side, list[Json]] = {"current": current, "incoming": incoming}
    return [each for side, place in merged.pieces for each in sides[side][place.start : place.end]], not merged.overlaps
