"""Names of places in a document.

Owns: pointers and literal keys, patterns, which paths exclude each other.   Not: what stands at a place (nodes.py), who may write there (policy.py).
Rule 1: a key that starts with `/` is an RFC 6901 pointer, any other is a top-level field as it stands; a dot splits nothing.
Rule 2: a path is a tuple of segments; within a keyed array a segment is an element's id, never an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias

from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import FORBIDDEN

Path: TypeAlias = tuple[str, ...]

ANY: Final = "*"
"""A segment of a pattern that stands for any one segment."""
DEEP: Final = "**"
"""In a pattern that guards: stands for any number of segments, none included. There is one at most, and not at the end."""
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse(key: str) -> Path:
    """Read a key of `changes` or an entry of `deletes`. Raises: Refused with invalid_path."""
    path = parse_pointer(key) if key.startswith("/") else (key,)
    for segment in path:
        if segment in FORBIDDEN:
            raise Refused(f"{segment} is refused in a path", code="invalid_path", path=path)
        if _SURROGATE.search(segment):
            raise Refused("a path holds half a surrogate pair", code="invalid_path")
    return path


def parse_pointer(pointer: str) -> Path:
    """Read an RFC 6901 pointer. Raises: Refused with invalid_path."""
    if not pointer.startswith("/"):
        raise Refused(f"{pointer[:64]!r} is no pointer: it does not start with /", code="invalid_path")
    if "~" not in pointer:
        return tuple(pointer[1:].split("/"))
    if _BAD_ESCAPE.search(pointer):
        raise Refused("in a pointer ~ stands before 0 or 1 only", code="invalid_path")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/"))


def pointer(path: Iterable[str]) -> str:
    """Write a path as an RFC 6901 pointer."""
    return "".join(["/" + segment.replace("~", "~0").replace("/", "~1") for segment in path])


def contains(outer: Path, inner: Path) -> bool:
    """Say whether the inner path lies at or below the outer one."""
    return inner[: len(outer)] == outer


def check_disjoint(paths: Iterable[Path]) -> None:
    """See that no two paths of one edit are equal or contain each other. Raises: Refused with invalid_path."""
    # A path sorts directly before those it contains.
    ordered = sorted(paths)
    for one, other in pairwise(ordered):
        if contains(one, other):
            said = "is named twice" if one == other else f"contains {pointer(other)}"
            raise Refused(f"{pointer(one)} {said}; paths of one edit stand apart", code="invalid_path", path=one)


# --- patterns -----------------------------------------------------------------------------


def covers(pattern: Path, path: Path) -> bool:
    """Say whether a pattern names this path or one that it lies below."""
    return len(pattern) <= len(path) and _fits(pattern, path)


def matches(pattern: Path, path: Path) -> bool:
    """Say whether a pattern names exactly this path."""
    return len(pattern) == len(path) and _fits(pattern, path)


def reaches_into(pattern: Path, path: Path) -> bool:
    """Say whether a pattern names something strictly below this path."""
    return len(pattern) > len(path) and _fits(pattern, path)


def reach(pattern: Path, path: Path) -> int:
    """Give the length of the longest beginning of a path that a pattern names; 0 if it names none. The pattern may be deep."""
    if DEEP not in pattern:
        return len(pattern) if covers(pattern, path) else 0
    before, behind = _parted(pattern)
    if covers(before, path):
        for end in range(len(path), len(before) + len(behind) - 1, -1):
            if _fits(behind, path[end - len(behind) : end]):
                return end
    return 0


def beyond(pattern: Path, path: Path) -> tuple[Path, ...]:
    """Give how a pattern leads on to what lies strictly below a path: in one way at most, or in several if it is deep."""
    if DEEP not in pattern:
        return (pattern[len(path) :],) if reaches_into(pattern, path) else ()
    before, behind = _parted(pattern)
    if len(path) < len(before):
        return (pattern[len(path) :],) if _fits(before, path) else ()
    if not covers(before, path):
        return ()
    inside = path[len(before) :]
    begun = [n for n in range(1, min(len(behind), len(inside) + 1)) if _fits(behind, inside[-n:])]
    return (pattern[len(before) :], *(behind[n:] for n in begun))


@lru_cache(maxsize=512)
def _parted(pattern: Path) -> tuple[Path, Path]:
    at = pattern.index(DEEP)
    return pattern[:at], pattern[at + 1 :]


def _fits(pattern: Path, path: Path) -> bool:
    return all(map(_fits_one, pattern, path))


def _fits_one(wanted: str, segment: str) -> bool:
    return wanted in (segment, ANY)
