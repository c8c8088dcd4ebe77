"""Operations: what turns one version of a document into the next, and what an author changed.

Owns: the three operations, applying them, the difference of two values.   Not: whose change wins (merge.py), what a client may ask for (edit.py).
Rule 1: `apply(before, diff(before, after))` equals `after`, and so does a replica that applies them.
Rule 2: a difference is told leaf by leaf: objects and keyed arrays are entered, everything else is set as a whole.
Rule 3: nothing given is altered; what did not change is shared between before and after.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.nodes import Elements, keyed
from signtusk_realtime.documents.order import arrange
from signtusk_realtime.documents.paths import Path, parse_pointer, pointer
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import ABSENT, Json, Node, Object, equal


class Op(Struct, frozen=True):
    """One operation; `path` is a pointer.

    set: an absent element of a keyed array is appended. delete: what is there. order: `value` lists all ids of the keyed array.
    """

    op: Literal["set", "delete", "order"]
    path: str
    value: Json | UnsetType = UNSET


Ops: TypeAlias = tuple[Op, ...]

_ROOT: Final[Path] = ()


# --- difference ---------------------------------------------------------------------------


def diff(before: Node, after: Node, at: Path = _ROOT) -> Ops:
    """Give the operations from one value to another; `at` is the place of both. A value that comes into being, or goes, is one operation."""
    found: list[Op] = []
    _diff(before, after, at, found)
    return tuple(found)


def _diff(before: Node, after: Node, path: Path, found: list[Op]) -> None:
    if before is after:
        return
    if after is ABSENT:
        found.append(Op("delete", pointer(path)))
        return
    if isinstance(before, dict) and isinstance(after, dict):
        _diff_members(before, after, path, found)
        return
    if isinstance(before, list) and isinstance(after, list):
        elements, others = keyed(before), keyed(after)
        if elements is not None and others is not None:
            _diff_members(elements, others, path, found)
            kept = [each for each in elements if each in others]
            ids = list(others)
            if [*kept, *(each for each in ids if each not in elements)] != ids:
                found.append(Op("order", pointer(path), list[Json](ids)))
            return
    if not equal(before, after):
        found.append(Op("set", pointer(path), after))


def _diff_members(before: Object | Elements, after: Object | Elements, path: Path, found: list[Op]) -> None:
    for key, value in before.items():
        other = after.get(key, ABSENT)
        if value is not other:
            _diff(value, other, (*path, key), found)
    for key, value in after.items():
        if key not in before:
            found.append(Op("set", pointer((*path, key)), value))


def touched(ops: Iterable[Op]) -> tuple[str, ...]:
    """Give the paths that operations name, sorted by code points."""
    return tuple(sorted({each.path for each in ops}))


# --- application --------------------------------------------------------------------------


def apply(document: Object, ops: Iterable[Op], *, tolerant: bool = False) -> Object:
    """Give the document after these operations.

    Tolerant: what has no parent is passed over, and an order counts for the ids that there are. For what an author changed, put upon
    another version than it was made on.
    Raises: Refused with invalid_path if an operation does not fit the document, unless tolerant.
    """
    editor = Editor(document)
    for each in ops:
        path = parse_pointer(each.path)
        if each.op == "order":
            fits = editor.order(path, each.value, tolerant=tolerant)
        else:
            fits = editor.put(path, ABSENT if each.op == "delete" or each.value is UNSET else each.value)
        if not fits and not tolerant:
            raise Refused(f"{each.path} does not fit this document", code="invalid_path", path=path)
    return editor.document()


class NoPlace(Enum):
    """Why nothing can be written below a path."""

    MISSING = "is not there"
    SCALAR = "holds no fields"
    PLAIN_ARRAY = "is an array without ids and is set as a whole"


class KeyedCopy(dict[str, "Json"]):
    """A keyed array while it is being edited: its elements by id, in order."""


class Editor:
    """Writes into a copy of a document; copies only what lies on the way."""

    def __init__(self, document: Object) -> None:
        self._root: Object = dict(document)
        self._own: dict[int, Object] = {id(self._root): self._root}
        self._opened: list[tuple[Object, str, KeyedCopy]] = []

    def put(self, path: Path, node: Node) -> bool:
        """Set or delete what stands at a path; False, and nothing done, if there is no parent that can hold it."""
        if not path or isinstance(parent := self.open(path[:-1]), NoPlace):
            return False
        name = path[-1]
        if node is ABSENT:
            parent.pop(name, None)
        elif isinstance(parent, KeyedCopy) and not (isinstance(node, dict) and node.get("id") == name):
            return False
        else:
            parent[name] = node
        return True

    def order(self, path: Path, ids: Json | UnsetType, *, tolerant: bool) -> bool:
        """Order a keyed array; False, and nothing done, if there is none or the ids are not exactly its own (tolerant: only if there is none)."""
        array = self.open(path)
        if not isinstance(array, KeyedCopy) or not isinstance(ids, list):
            return False
        wanted = [each for each in ids if isinstance(each, str)]
        if sorted(wanted) != sorted(array):
            if not tolerant:
                return False
            wanted = arrange(dict.fromkeys(wanted), list(array), array.keys(), ())
        elements = {each: array[each] for each in wanted}
        array.clear()
        array.update(elements)
        return True

    def document(self) -> Object:
        """Give the result. The editor is used up."""
        # The inner ones were opened later; one whose place was overwritten since is no part of the document any more.
        for parent, name, array in reversed(self._opened):
            if parent.get(name) is array:
                parent[name] = list(array.values())
        return self._root

    def open(self, path: Path) -> Object | NoPlace:
        """Give the object or keyed array at a path as a copy that may be written to, or say why there is none."""
        node = self._root
        for segment in path:
            child = node.get(segment, ABSENT)
            if id(child) in self._own:
                node = self._own[id(child)]
                continue
            if isinstance(child, dict):
                copy: Object = dict(child)
            elif (elements := keyed(child)) is not None:
                copy = KeyedCopy(elements)
                self._opened.append((node, segment, copy))
            elif isinstance(child, list):
                return NoPlace.PLAIN_ARRAY
            else:
                return NoPlace.MISSING if child is ABSENT else NoPlace.SCALAR
            node[segment] = copy
            self._own[id(copy)] = copy
            node = copy
        return node
