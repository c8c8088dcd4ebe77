"""What a document is made of, what is too much or no value at all, and when two values are the same.

Owns: the JSON type of this room, absence, limits, equality.   Not: places within a document (paths.py, nodes.py), its text form (canonical.py).
Rule 1: `true` is not 1, 1 is 1.0, `null` is a value and differs from absence, the order of keys means nothing.
Rule 2: strings are compared in NFC and kept as they came.
"""

from __future__ import annotations

import re
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from unicodedata import is_normalized, normalize

from signtusk_realtime.documents.refusals import Refused

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    # msgspec reads annotations at run time, and an alias that names itself is beyond it; `object` means any JSON to it.
    Json = object


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""There is no value at a place; not the same as null."""

Node: TypeAlias = "Json | Absent"
Object: TypeAlias = "dict[str, Json]"

MAX_INTEGER: Final = 2**53
MAX_DEPTH: Final = 32
"""The document itself counts as 1."""
MAX_PATHS: Final = 5000
"""Of one edit: what it sets and what it deletes."""
MAX_DOCUMENT_BYTES: Final = 1024 * 1024
"""As compact JSON in UTF-8."""
MAX_VALUES: Final = 100_000
"""Of a document: every member and element, however deep. What is read, written or let go of in one call of C holds up all threads meanwhile,
and its time goes by the number of values rather than by their bytes."""
FORBIDDEN: Final = frozenset(("__proto__", "constructor", "prototype"))
"""Names that are no places of ours: a careless JavaScript client that follows a path would leave its object by them."""

SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def json_type(value: Json) -> str:
    """Name the JSON type; an integer and a float are both numbers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def nfc(text: str) -> str:
    """Give a text in Unicode's normal form C."""
    return text if text.isascii() or is_normalized("NFC", text) else normalize("NFC", text)


def equal(one: Node, other: Node) -> bool:
    """Say whether two values are the same (rules 1 and 2)."""
    if one is other:
        return True
    if isinstance(one, str):
        return isinstance(other, str) and (one == other or _equal_text(one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and len(one) == len(other) and _equal_members(one, other)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return isinstance(one, int | float) and isinstance(other, int | float) and one == other


def alike(one: Node, other: Node) -> bool:
    """Say whether two values are surely equal; cheap, and mistaken only in saying no to containers and other spellings."""
    if one is other:
        return True
    kind = type(one)
    return kind is type(other) and kind in SCALARS and one == other


def _equal_members(one: Object, other: Object) -> bool:
    # Most of what a merge of large documents does: `alike` stands here itself, not as a call.
    for key, value in one.items():
        that = other.get(key, ABSENT)
        if value is that:
            continue
        kind = type(value)
        if kind is type(that) and kind in SCALARS and value == that:
            continue
        if not equal(value, that):
            return False
    return True


def _equal_text(one: str, other: str) -> bool:
    # Normalizing changes nothing within ASCII, and never makes a text from beyond it one of ASCII.
    return not one.isascii() and not other.isascii() and nfc(one) == nfc(other)


def has_too_many(value: Json, encoded: bytes) -> bool:
    """Say whether a value has more than MAX_VALUES within it, itself counted. `encoded`: the same as compact JSON."""
    # None takes less than two bytes, and each but the outermost follows one of these: most documents need not be counted.
    if len(encoded) < 2 * MAX_VALUES or encoded.count(b",") + encoded.count(b"[") + encoded.count(b"{") < MAX_VALUES:
        return False
    count, level = 0, [value]
    while level and count <= MAX_VALUES:
        count += len(level)
        below: list[Json] = []
        for node in level:
            if isinstance(node, dict):
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        level = below
    return count > MAX_VALUES


def check_value(value: object, path: tuple[str, ...]) -> Json:
    """Give the value back if it may stand at this place of a document; `path` are the segments of that place.

    Raises: Refused with invalid_value (no JSON, NaN, infinity, an integer beyond ±2^53, half a surrogate pair, a forbidden name)
    or limit_exceeded (it would nest deeper than 32).
    """
    _check(value, path, MAX_DEPTH - len(path))
    return cast("Json", value)


def _check(value: object, path: tuple[str, ...], depth: int) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, dict):
        _check_depth(depth, path)
        for key, item in value.items():
            if not isinstance(key, str):
                raise _invalid(f"a key is {type(key).__name__}; keys are strings", path)
            _check_name(key, path)
            _check(item, (*path, key), depth - 1)
    elif isinstance(value, list):
        _check_depth(depth, path)
        for item in value:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                # The id of an element becomes a segment of paths.
                _check_name(item["id"], path)
            _check(item, path, depth - 1)
    elif value is not None and not isinstance(value, bool):
        _check_number(value, path)


def _check_number(value: object, path: tuple[str, ...]) -> None:
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise _invalid("an integer is beyond ±2^53", path)
    elif isinstance(value, float):
        if not isfinite(value):
            raise _invalid(f"{value} is no JSON number", path)
    else:
        raise _invalid(f"{type(value).__name__} is no JSON value", path)


def _check_depth(depth: int, path: tuple[str, ...]) -> None:
    if depth < 1:
        raise Refused(f"the document would nest deeper than {MAX_DEPTH}", code="limit_exceeded", path=path)


def _check_name(name: str, path: tuple[str, ...]) -> None:
    _check_text(name, path)
    if name in FORBIDDEN:
        raise _invalid(f"{name} is refused as a name", path)


def _check_text(text: str, path: tuple[str, ...]) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        raise _invalid("a string holds half a surrogate pair", path)


def _invalid(message: str, path: tuple[str, ...]) -> Refused:
    return Refused(message, code="invalid_value", path=path)
