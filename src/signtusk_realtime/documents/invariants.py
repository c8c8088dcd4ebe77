"""What must hold across the places of a document.

Owns: finding where a document breaks a rule of its policy.   Not: what follows from that (resolve.py).
Rule: a break counts only where the rule holds, at that very place, in current and in incoming: two sound edits made something unsound.
An edit that breaks a rule by itself is the application's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from signtusk_realtime.documents.nodes import get, keyed, places
from signtusk_realtime.documents.paths import ANY, Path
from signtusk_realtime.documents.policy import Policy
from signtusk_realtime.documents.values import Object


@dataclass(frozen=True, slots=True)
class Broken:
    """A place that breaks a rule, and the place that it refers to."""

    path: Path
    reason: Literal["dangling_reference", "invariant"]
    refers_to: Path


def broken_by_merging(result: Object, current: Object, incoming: Object, policy: Policy) -> list[Broken]:
    """Give what holds in current and in incoming, and no longer in the result."""
    found = broken(result, policy)
    if not found:
        return []
    before = {(each.path, each.reason) for side in (current, incoming) for each in broken(side, policy)}
    return [each for each in found if (each.path, each.reason) not in before]


def are_untouched(paths: Iterable[Path], policy: Policy) -> bool:
    """Say whether changes at these places can break nothing: whatever a rule looks at is as it was."""
    looked_at = [
        *(each for reference in policy.references for each in (reference.at, reference.to)),
        *(minimum.at for minimum in policy.minimums),
    ]
    return not any(_meet(path, pattern) for path in paths for pattern in looked_at)


def _meet(path: Path, pattern: Path) -> bool:
    """Say whether one leads to the other, or to something within it."""
    return all(segment in (name, ANY) for name, segment in zip(path, pattern, strict=False))


def broken(document: Object, policy: Policy) -> list[Broken]:
    """Give every place of a document that breaks a rule of the policy."""
    found: list[Broken] = []
    for reference in policy.references:
        ids = keyed(get(document, reference.to)) or {}
        found += [
            Broken(path, "dangling_reference", (*reference.to, value) if isinstance(value, str) else path)
            for path, value in places(document, reference.at)
            if value is not None and not (isinstance(value, str) and value in ids)
        ]
    for minimum in policy.minimums:
        found += [
            Broken(path, "invariant", path)
            for path, value in places(document, minimum.at)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < minimum.least
        ]
    return found
