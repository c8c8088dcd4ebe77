"""An edit: what a client asks to set and to delete, put upon what it saw.

Owns: reading `changes` and `deletes`, judging them in the author's view.   Not: what the author's view is (base.py), what becomes of the edit (resolve.py).
Rule 1: missing parents are not created, an element's id does not change, an array that is not keyed is set as a whole.
Rule 2: deleting what is absent is no change.   Rule 3: an edit is put on as a whole or refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from signtusk_realtime.documents.ops import Editor, KeyedCopy, NoPlace
from signtusk_realtime.documents.paths import Path, check_disjoint, parse, pointer
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import ABSENT, MAX_PATHS, Json, Object, check_value


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be set and deleted; every path and value passed the checks that need no document."""

    changes: Mapping[Path, Json]
    deletes: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Everything that the edit names."""
        return (*self.changes, *self.deletes)


def read_edit(changes: Mapping[str, object], deletes: Iterable[str] = ()) -> Edit:
    """Read an edit from its wire form.

    Raises: Refused with limit_exceeded (more than 5000 paths, too deep), invalid_path, invalid_value.
    """
    deletes = tuple(deletes)
    if len(changes) + len(deletes) > MAX_PATHS:
        raise Refused(
            f"an edit of {len(changes) + len(deletes)} paths; at most {MAX_PATHS} are allowed", code="limit_exceeded"
        )
    read = [(parse(key), value) for key, value in changes.items()]
    gone = tuple(map(parse, deletes))
    check_disjoint([*(path for path, _ in read), *gone])
    return Edit({path: check_value(value, path) for path, value in read}, gone)


def read_values(values: Mapping[str, object]) -> dict[Path, Json]:
    """Read `base`: values that the author saw, by the same keys as `changes`. Raises as `read_edit` does."""
    return dict(read_edit(values).changes)


def put_on(view: Object, edit: Edit) -> Object:
    """Give the author's view with the edit put upon it. Raises: Refused with invalid_path or invalid_value; nothing is altered."""
    editor = Editor(view)
    for path in edit.deletes:
        parent = editor.open(path[:-1])
        if parent is NoPlace.PLAIN_ARRAY:
            raise _no_place(path, parent)
        if not isinstance(parent, NoPlace) and path[-1] in parent:
            if _is_id(editor, path):
                raise Refused(f"{pointer(path)}: an element keeps its id", code="invalid_value", path=path)
            editor.put(path, ABSENT)
    for path, value in edit.changes.items():
        parent = editor.open(path[:-1])
        if isinstance(parent, NoPlace):
            raise _no_place(path, parent)
        if isinstance(parent, KeyedCopy) and not (isinstance(value, dict) and value.get("id") == path[-1]):
            raise Refused(
                f"{pointer(path)}: an element is an object whose id is its name in the path",
                code="invalid_value",
                path=path,
            )
        if _is_id(editor, path) and value != path[-2]:
            raise Refused(f"{pointer(path)}: an element keeps its id", code="invalid_value", path=path)
        editor.put(path, value)
    return editor.document()


def put_seen(document: Object, seen: Mapping[Path, Json]) -> Object:
    """Give the document with the values an author says he saw; what has no place any more is passed over."""
    editor = Editor(document)
    for path, value in seen.items():
        editor.put(path, value)
    return editor.document()


def _is_id(editor: Editor, path: Path) -> bool:
    return path[-1] == "id" and len(path) > 2 and isinstance(editor.open(path[:-2]), KeyedCopy)


def _no_place(path: Path, why: NoPlace) -> Refused:
    return Refused(f"{pointer(path)}: {pointer(path[:-1])} {why.value}", code="invalid_path", path=path)
