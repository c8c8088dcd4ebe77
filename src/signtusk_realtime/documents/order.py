"""The order of a keyed array when two people changed it.

Owns: who reordered, and where each element goes.   Not: which elements remain (merge.py decides that first).
Rule: an order is judged by the ids that base, current and incoming share; an element that one side added, removed or restored is placed
beside the neighbour that it had on its left there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple


class Orders(NamedTuple):
    """Which sides reordered. `clash`: both did, and differently."""

    by_current: bool
    by_incoming: bool
    clash: bool


def compare(base: Iterable[str], current: Iterable[str], incoming: Iterable[str]) -> Orders:
    """Say who reordered what all three hold."""
    base, current, incoming = list(base), list(current), list(incoming)
    shared = set(base) & set(current) & set(incoming)
    before = [each for each in base if each in shared]
    now = [each for each in current if each in shared]
    then = [each for each in incoming if each in shared]
    by_current, by_incoming = now != before, then != before
    return Orders(by_current, by_incoming, by_current and by_incoming and now != then)


def arrange(
    winner: Iterable[str], other: Sequence[str], remaining: Collection[str], added_by_current: Collection[str]
) -> list[str]:
    """Give the remaining ids in the winner's order, each that only the other side has beside its left neighbour there.

    It stands directly after the nearest id on its left that is placed already (at the front if there is none), and after what
    current added at that point.
    """
    placed = [each for each in winner if each in remaining]
    known = set(placed)
    if all(each in known or each not in remaining for each in other):
        return placed
    # A linked list, so that thousands of additions cost no more than their number.
    after: dict[str | None, str | None] = {}
    left: str | None = None
    for each in placed:
        after[left] = each
        left = each
    after[left] = None
    left = None
    for each in other:
        if each in known:
            left = each
        elif each in remaining:
            while (following := after[left]) is not None and following in added_by_current:
                left = following
            after[left], after[each] = each, after[left]
            known.add(each)
            left = each
    result = []
    following = after[None]
    while following is not None:
        result.append(following)
        following = after[following]
    return result
