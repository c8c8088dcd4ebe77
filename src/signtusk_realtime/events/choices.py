"""Which values a place in a message may have, where its type lists them: so that a refusal can say so.

Owns: following a path through a type and the value that was refused.   Not: the refusal itself (protocol/json.py, validation.py).
Rule: for refusals only; a type is looked through once, and a place that lists nothing gives nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from msgspec import inspect

REFUSALS: Final = ("Invalid enum value ", "Invalid value ")
"""How the decoder begins to tell of a value that is none of those listed."""
_MAX_QUOTED: Final = 64


def explained(fault: str, expected: object, refused: object, path: Sequence[str]) -> str:
    """Give the decoder's words for a fault; where a value is none of those listed, with the list.

    `expected`: the decoder's type. `refused`: the whole value that it refused. `path`: where in it the fault lies.
    """
    beginning = next((words for words in REFUSALS if fault.startswith(words)), None)
    if beginning is None:
        return fault
    found = fault.removeprefix(beginning)
    if len(found) > _MAX_QUOTED:
        found = found[:_MAX_QUOTED] + "…"
    allowed = _choices(_described(expected), refused, path)
    return f"unknown value {found}" + (f"; known are {', '.join(allowed)}" if allowed else "")


@lru_cache(maxsize=32)
def _described(expected: object) -> inspect.Type:
    return inspect.type_info(expected)


def _choices(node: inspect.Type, value: object, path: Sequence[str]) -> tuple[str, ...]:
    for segment in path:
        found = _within(node, value, segment)
        if not isinstance(found, inspect.Type):
            return found
        node = found
        if isinstance(value, dict):
            value = value.get(segment)
        elif isinstance(value, list):
            value = value[int(segment)]
    return tuple(
        str(choice) for each in _members(node) if isinstance(each, inspect.LiteralType) for choice in each.values
    )


def _within(node: inspect.Type, value: object, segment: str) -> inspect.Type | tuple[str, ...]:
    """Give the type of a member or an element; of a member that tells types apart, what they are called."""
    members = list(_members(node))
    structs = [each for each in members if isinstance(each, inspect.StructType)]
    if isinstance(value, dict):
        if any(segment == each.tag_field for each in structs):
            return tuple(str(each.tag) for each in structs)
        for each in structs:
            if each.tag_field is None or value.get(each.tag_field) == each.tag:
                for field in each.fields:
                    if field.encode_name == segment:
                        return field.type
    for other in members:
        if isinstance(other, inspect.VarTupleType | inspect.ListType):
            return other.item_type
    return ()


def _members(node: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(node, inspect.Metadata):
        yield from _members(node.type)
    elif isinstance(node, inspect.UnionType):
        for each in node.types:
            yield from _members(each)
    else:
        yield node
