"""Conflicts: what clashed, what stands there now, and how it is told.

Owns: types and reasons, the conflict as it is found, the record that is stored and shown.   Not: finding them (merge.py, invariants.py),
the life of an open record (manual.py).
Rule 1: one conflict per path; a list is sorted by path, by code points.
Rule 2: a value that was not there is null in a record, and named in `absent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from signtusk_realtime.documents.nodes import Reader, members_of
from signtusk_realtime.documents.ops import Editor, NoPlace
from signtusk_realtime.documents.paths import Path, parse_pointer, pointer
from signtusk_realtime.documents.policy import Members, Policy, Strategy
from signtusk_realtime.documents.text import Hunk
from signtusk_realtime.documents.values import ABSENT, Json, Node, Object

ConflictType: TypeAlias = Literal["concurrent_edit", "field_collision", "version_mismatch"]
Reason: TypeAlias = Literal[
    "scalar",
    "text_overlap",
    "group",
    "sequence",
    "delete_vs_edit",
    "add_add",
    "type_change",
    "order",
    "dangling_reference",
    "invariant",
]
Winner: TypeAlias = Literal["current", "incoming", "edit"]
RecordStatus: TypeAlias = Literal["open", "auto_resolved", "resolved", "superseded"]
Certainty: TypeAlias = Literal["causal", "suspected"]
Side: TypeAlias = Literal["base", "current", "incoming"]

_CONCURRENT = frozenset(("scalar", "text_overlap", "group", "sequence"))
ORDER = "#order"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a conflict lies: at a node, in members of one, or in the order of a keyed array."""

    path: Path
    members: Members = ()
    is_order: bool = False

    @property
    def segments(self) -> Path:
        """Give the path as it is told: `/signatureFields/f1/(page,x,y)`, `/recipients/#order`."""
        if self.is_order:
            return (*self.path, ORDER)
        return (*self.path, f"({','.join(self.members)})") if self.members else self.path

    @property
    def is_plain(self) -> bool:
        """Whether it is a node, and no part or order of one."""
        return not self.members and not self.is_order

    def value(self, document: Object) -> Node:
        """Give what stands here."""
        return self.read(Reader(document))

    def read(self, document: Reader) -> Node:
        """Do the same, for many places of one document."""
        node = document.get(self.path)
        if self.is_order:
            elements = document.keyed(node)
            return ABSENT if elements is None else list[Json](elements)
        return members_of(node, self.members) if self.members else node

    def put(self, document: Object, node: Node) -> Object | None:
        """Give the document with this standing here; None if it has no such place."""
        editor = Editor(document)
        if self.is_order:
            fits = editor.order(self.path, UNSET if node is ABSENT else node, tolerant=True)
        elif self.members:
            held = editor.open(self.path)
            fits = not isinstance(held, NoPlace) and (node is ABSENT or isinstance(node, dict))
            if fits:
                values = node if isinstance(node, dict) else {}
                for name in self.members:
                    editor.put((*self.path, name), values.get(name, ABSENT))
        else:
            fits = editor.put(self.path, node)
        return editor.document() if fits else None


@dataclass(frozen=True, slots=True)
class Conflict:
    """One clash, as it was found and decided.

    `strategy` is the one that held here. `merged` is what a merge makes of it (ABSENT where a machine must not guess). `refers_to` is the place that a broken invariant names
    (whoever last changed that is the other party).
    """

    place: Place
    reason: Reason
    base: Node
    current: Node
    incoming: Node
    merged: Node
    strategy: Strategy
    hunks: tuple[Hunk, ...] = ()
    refers_to: Path | None = None

    @property
    def path(self) -> str:
        """The path as it is told."""
        return pointer(self.place.segments)

    @property
    def conflict_type(self) -> ConflictType:
        """What sort of conflict it is."""
        return "concurrent_edit" if self.reason in _CONCURRENT else "field_collision"

    @property
    def is_open(self) -> bool:
        """Whether somebody has still to decide."""
        return self.strategy == "manual"

    @property
    def winner(self) -> Winner | None:
        """Whose value stands, if anybody's."""
        if self.strategy == "manual":
            return None
        if self.strategy == "reject":
            return "current"
        return "edit" if self.strategy == "merge" and self.reason == "delete_vs_edit" else "incoming"


def by_path(conflicts: Iterable[Conflict]) -> tuple[Conflict, ...]:
    """Sort conflicts as they are told."""
    return tuple(sorted(conflicts, key=lambda each: each.path))


# --- records ------------------------------------------------------------------------------


class HunkRecord(Struct, frozen=True):
    """Where two texts overlap."""

    base: str
    current: str
    incoming: str


class ConflictRecord(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """A conflict as it is stored and shown. In the answer to a rejected edit it has no `conflictId`."""

    conflict_id: str | UnsetType = UNSET
    rev: int
    document_id: str
    conflict_type: ConflictType
    reason: Reason
    certainty: Certainty
    status: RecordStatus
    field: str
    path: str
    base_value: Json
    current_value: Json
    incoming_value: Json
    absent: Sequence[Side]
    user_id: str
    incoming_user_id: str
    base_version: int
    current_version: int
    change_id: str
    winner: Winner | UnsetType = UNSET
    suggested: Json | UnsetType = UNSET
    hunks: Sequence[HunkRecord] | UnsetType = UNSET
    timestamp: str
    resolved_by: str | UnsetType = UNSET
    resolved_at: str | UnsetType = UNSET

    def value(self, side: Side) -> Node:
        """Give one of the three values, ABSENT where it was not there."""
        if side in self.absent:
            return ABSENT
        return {"base": self.base_value, "current": self.current_value, "incoming": self.incoming_value}[side]


def record(
    conflict: Conflict,
    *,
    conflict_id: str | UnsetType,
    document_id: str,
    change_id: str,
    user_id: str,
    incoming_user_id: str,
    base_version: int,
    current_version: int,
    certainty: Certainty,
    timestamp: str,
) -> ConflictRecord:
    """Make the record of a conflict. `user_id` is who last changed the path, or what a broken invariant refers to (`refers_to`)."""
    sides: dict[Side, Node] = {"base": conflict.base, "current": conflict.current, "incoming": conflict.incoming}
    return ConflictRecord(
        conflict_id=conflict_id,
        rev=1,
        document_id=document_id,
        conflict_type=conflict.conflict_type,
        reason=conflict.reason,
        certainty=certainty,
        status="open" if conflict.is_open else "auto_resolved",
        field=conflict.place.segments[0],
        path=conflict.path,
        base_value=_or_null(conflict.base),
        current_value=_or_null(conflict.current),
        incoming_value=_or_null(conflict.incoming),
        absent=[side for side, node in sides.items() if node is ABSENT],
        user_id=user_id,
        incoming_user_id=incoming_user_id,
        base_version=base_version,
        current_version=current_version,
        change_id=change_id,
        winner=conflict.winner or UNSET,
        suggested=UNSET if conflict.merged is ABSENT or not conflict.is_open else conflict.merged,
        hunks=[HunkRecord(*hunk) for hunk in conflict.hunks] if conflict.hunks else UNSET,
        timestamp=timestamp,
    )


def without_values(told: ConflictRecord) -> ConflictRecord:
    """Give a record without what anybody wrote: a base was somebody's value once, and hunks are pieces of both sides."""
    return replace(told, base_value=None, current_value=None, incoming_value=None, suggested=UNSET, hunks=UNSET)


def place_of(path: str, reason: Reason, policy: Policy) -> Place:
    """Read the path of a record back; a field may be called `#order` too."""
    segments = parse_pointer(path)
    parent = segments[:-1]
    if reason == "order":
        return Place(parent, is_order=True)
    for members in policy.groups_at(parent):
        place = Place(parent, members)
        if place.segments == segments:
            return place
    return Place(segments)


def _or_null(node: Node) -> Json:
    return None if node is ABSENT else node
