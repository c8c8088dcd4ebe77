"""What one user wrote in one document, and where it shows in what others wrote.

Owns: telling whether a value holds words or numbers of his.   Not: the records that such values stand in (erase.py).
Rule: values are compared where he wrote, within it and around it, word by word: a text of his lives on in parts within the merged texts and
whole arrays of others. Taking away too much of an entry costs a reader its operations; too little shows what was to be erased.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias, cast

from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ORDER, ConflictRecord
from signtusk_realtime.documents.history import Body, Entry
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.paths import Path, parse_pointer

Word: TypeAlias = str | float
_WORD: Final = re.compile(r"\w+")


class Traces:
    """The words and numbers that a user wrote in a document, by place."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.conflicts: set[str] = set()
        """Ids of conflicts that he was a party of."""
        self._at: defaultdict[Path, set[Word]] = defaultdict(set)
        self._within: defaultdict[Path, set[Word]] = defaultdict(set)
        """What he wrote at a place or anywhere within it."""

    def learn_entry(self, entry: Entry) -> None:
        """Take in a version of his own."""
        if entry.body is not None:
            for path, value in _values_of(entry.body):
                self._wrote(path, value)

    def learn_conflict(self, conflict: ConflictRecord) -> None:
        """Take in a conflict if he was a party of it."""
        if not self.is_party(conflict):
            return
        self.conflicts.add(str(conflict.conflict_id))
        if conflict.incoming_user_id == self.user_id:
            self._wrote(place_of(conflict), conflict.incoming_value)
        if conflict.user_id == self.user_id:
            self._wrote(place_of(conflict), conflict.current_value)

    def is_party(self, conflict: ConflictRecord) -> bool:
        """Whether one of the two who clashed is he."""
        return self.user_id in (conflict.user_id, conflict.incoming_user_id)

    def shows_in(self, path: Path, value: object) -> bool:
        """Whether a value at this place holds a word or number that he wrote there."""
        around = (self._at[path[:depth]] for depth in range(len(path)) if path[:depth] in self._at)
        known = self._within.get(path, set()).union(*around)
        return bool(known) and not known.isdisjoint(_words(value))

    def shows_in_op(self, op: Op) -> bool:
        """Whether an operation puts something of his somewhere."""
        return op.op == "set" and self.shows_in(parse_pointer(op.path), op.value)

    def shows_in_conflict(self, conflict: ConflictRecord) -> bool:
        """Whether a conflict of others shows something of his."""
        shown = [conflict.base_value, conflict.current_value, conflict.incoming_value]
        return self.shows_in(place_of(conflict), [*shown, *told_beside(conflict)])

    def shows_in_entry(self, entry: Entry) -> bool:
        """Whether somebody else's version shows something of his: it decided a conflict with him, or has words of his."""
        if entry.body is None:
            return False
        if entry.header.kind == "resolve":
            return (
                not self.conflicts.isdisjoint(entry.header.conflicts)
                or any(map(self.shows_in_op, entry.body.ops))
                or self.shows_in((), [decision.get("value") for decision in _decisions(entry.body)])
            )
        return any(self.shows_in(path, value) for path, value in _values_of(entry.body))

    def _wrote(self, path: Path, value: object) -> None:
        words = set(_words(value))
        self._at[path] |= words
        for depth in range(len(path) + 1):
            self._within[path[:depth]] |= words


def place_of(conflict: ConflictRecord) -> Path:
    """Give where the values of a conflict stand: those of a group or an order within what it belongs to."""
    path = parse_pointer(conflict.path)
    is_group = path[-1].startswith("(") and path[-1].endswith(")")
    return path[:-1] if is_group or path[-1] == ORDER else path


def told_beside(conflict: ConflictRecord) -> list[object]:
    """Give what a conflict tells of its values once more: what is suggested, and where texts overlap."""
    hunks = () if conflict.hunks is UNSET else conflict.hunks
    suggested: object = None if conflict.suggested is UNSET else conflict.suggested
    return [suggested, *(part for hunk in hunks for part in (hunk.base, hunk.current, hunk.incoming))]


def decided_for(entry: Entry) -> Iterator[str]:
    """Give whose changes a decision was about, as far as its entry still says so."""
    if entry.body is not None and entry.header.kind == "resolve":
        for decision in _decisions(entry.body):
            if isinstance(user_id := decision.get("incomingUserId"), str):
                yield user_id


def _decisions(body: Body) -> Iterator[dict[str, object]]:
    change = body.change
    decisions = change.get("decisions") if isinstance(change, dict) else None
    for decision in decisions if isinstance(decisions, list) else ():
        if isinstance(decision, dict):
            yield cast("dict[str, object]", decision)


def _values_of(body: Body) -> Iterator[tuple[Path, object]]:
    """Give what stands in the body of an edit, and where it was to stand: as it was sent, and as it was applied."""
    for op in (*body.changed, *body.ops):
        if op.op == "set":
            yield parse_pointer(op.path), op.value
    changes = body.change.get("changes") if isinstance(body.change, dict) else None
    for name, value in changes.items() if isinstance(changes, dict) else ():
        yield (parse_pointer(name) if name.startswith("/") else (name,)), value


def _words(value: object) -> Iterator[Word]:
    if isinstance(value, str):
        found = _WORD.findall(value)
        yield from found or filter(None, (value,))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _words(each)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _words(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def without(ops: Iterable[Op], traces: Traces) -> tuple[Op, ...]:
    """Give operations without those that put something of his somewhere."""
    return tuple(op for op in ops if not traces.shows_in_op(op))
