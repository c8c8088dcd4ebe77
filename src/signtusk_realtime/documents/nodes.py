"""What stands at a place: objects, keyed arrays, leaves.

Owns: which arrays are keyed, reading by path.   Not: writing (ops.py), the values themselves (values.py).
Rule: a keyed array is an array of objects with unique string ids, the empty one included; it is entered by id. Any other array is one leaf.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias, cast

from signtusk_realtime.documents.paths import ANY, DEEP, Path
from signtusk_realtime.documents.values import ABSENT, Json, Node, Object

Elements: TypeAlias = "dict[str, Object]"
"""A keyed array by its ids, in its order."""
_STRINGS: Final = frozenset((str,))


def keyed(node: Node) -> Elements | None:
    """Give a keyed array's elements by id; None if the node is none."""
    if not isinstance(node, list):
        return None
    try:
        # Of all that JSON has, only an object is read by a name, and only a hashable id is a key. Most of what an edit does to a
        # document of arrays, so no statement per element.
        elements = cast("Elements", {element["id"]: element for element in cast("list[Object]", node)})
    except (TypeError, KeyError):
        return None
    return elements if len(elements) == len(node) and _STRINGS.issuperset(map(type, elements)) else None


def get(node: Node, path: Iterable[str]) -> Node:
    """Give what stands at a path below the node, or ABSENT."""
    for segment in path:
        if isinstance(node, dict):
            node = node.get(segment, ABSENT)
        else:
            elements = keyed(node)
            if elements is None:
                return ABSENT
            node = elements.get(segment, ABSENT)
        if node is ABSENT:
            return ABSENT
    return node


def places(node: Node, pattern: Path, at: Path = ()) -> Iterator[tuple[Path, Json]]:
    """Give every place that a pattern leads to below the node, with what stands there."""
    if node is ABSENT:
        return
    if not pattern:
        yield at, node
        return
    if pattern[0] == DEEP:
        yield from places(node, pattern[1:], at)
    members = node if isinstance(node, dict) else keyed(node)
    if members is None:
        return
    if pattern[0] == DEEP:
        for name, member in members.items():
            # Most of what a document holds are scalars, and nothing leads into one.
            if len(pattern) == 1 or isinstance(member, dict | list):
                yield from places(member, pattern, (*at, name))
        return
    for name in members if pattern[0] == ANY else pattern[:1]:
        yield from places(members.get(name, ABSENT), pattern[1:], (*at, name))


class Reader:
    """Reads many places of one document; each keyed array is taken apart once."""

    def __init__(self, document: Object) -> None:
        self._document = document
        self._arrays: dict[int, Elements | None] = {}

    def get(self, path: Iterable[str]) -> Node:
        """Give what stands at a path, or ABSENT."""
        node: Node = self._document
        for segment in path:
            members = node if isinstance(node, dict) else self.keyed(node)
            if members is None:
                return ABSENT
            node = members.get(segment, ABSENT)
        return node

    def keyed(self, node: Node) -> Elements | None:
        """Give a keyed array's elements by id; None if the node is none. The node must be part of the document."""
        if not isinstance(node, list):
            return None
        if id(node) not in self._arrays:
            self._arrays[id(node)] = keyed(node)
        return self._arrays[id(node)]


def members_of(node: Node, names: Iterable[str]) -> Node:
    """Give the named members of an object as an object of their own: an atomic group's value; ABSENT if it has none of them."""
    if not isinstance(node, dict):
        return ABSENT
    found: dict[str, Json] = {name: node[name] for name in names if name in node}
    return found or ABSENT
