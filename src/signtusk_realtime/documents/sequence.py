"""Differences and three-way merges of sequences.

Owns: the shortest edit of one sequence into another, and which changes of two sides meet.   Not: what the items are (text.py, merge.py).
Rule 1: the common prefix is trimmed first, then the common suffix, then Myers' greedy algorithm, where a tie is always broken the same way.
Rule 2: the work is counted and bounded; beyond the bound there is no difference, on every machine alike.
Rule 3: changes of two sides that no unchanged item separates meet. Of those, equal ones count once, and two pure insertions at one
point are both kept, current's first; all others overlap.
E. W. Myers, An O(ND) Difference Algorithm and Its Variations, Algorithmica 1 (1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

Side: TypeAlias = Literal["current", "incoming"]

MAX_WORK: Final = 25_000
"""Steps along diagonals and between them, of one difference."""


class Change(NamedTuple):
    """`before[start:end]` became `after[new_start:new_end]`; an unchanged item stands between any two changes."""

    start: int
    end: int
    new_start: int
    new_end: int


class Span(NamedTuple):
    """A stretch of a sequence, from `start` up to `end`."""

    start: int
    end: int


class Region(NamedTuple):
    """A stretch of the base, with what stands there on each side. Neither side changed it, one did, or both (they meet)."""

    base: Span
    current: Span
    incoming: Span
    by_current: bool
    by_incoming: bool


def changes(before: Sequence[int], after: Sequence[int], work: int = MAX_WORK) -> list[Change] | None:
    """Give the changes from one sequence to another, in order; None where finding them is too much work."""
    start, shorter = 0, min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    end, new_end = len(before), len(after)
    while end > start and new_end > start and before[end - 1] == after[new_end - 1]:
        end -= 1
        new_end -= 1
    if start in (end, new_end):
        return [] if end == new_end else [Change(start, end, start, new_end)]
    found = _myers(before[start:end], after[start:new_end], work)
    if found is None:
        return None
    return [Change(*(place + start for place in each)) for each in found]


def _myers(before: Sequence[int], after: Sequence[int], work: int) -> list[Change] | None:
    """Give the changes of two sequences that differ in their first and in their last item."""
    n, m = len(before), len(after)
    # How far each diagonal (x − y) was followed; -1 where no way leads. The negative ones lie at the end of the list.
    furthest = [-1] * (2 * (n + m) + 3)
    furthest[1] = 0
    trace: list[tuple[list[int], list[int]]] = []
    for distance in range(n + m + 1):
        trace.append((furthest[: distance + 2], furthest[-distance - 1 :]))
        # What lies outside both sequences is not walked.
        for diagonal in range(-distance + 2 * max(0, distance - m), distance - 2 * max(0, distance - n) + 1, 2):
            down, right = furthest[diagonal + 1], furthest[diagonal - 1]
            # The tie-break: of two ways that reach equally far, the one by an insertion loses against the one by a deletion.
            start = x = down if right < down else right + 1
            y = x - diagonal
            while x < n and y < m and before[x] == after[y]:
                x += 1
                y += 1
            work -= x - start
            furthest[diagonal] = x
            if x >= n and y >= m:
                return _walk_back(trace, n, m)
        work -= distance
        if work < 0:
            return None
    return None


def _walk_back(trace: list[tuple[list[int], list[int]]], x: int, y: int) -> list[Change]:
    found: list[Change] = []
    for rising, falling in reversed(trace[1:]):
        diagonal = x - y
        above, below = diagonal + 1, diagonal - 1
        down = rising[above] if above >= 0 else falling[above]
        right = rising[below] if below >= 0 else falling[below]
        # One step, an insertion or a deletion, led from (from_x, from_y) to (to_x, to_y); from there on up to (x, y) all is common.
        if right < down:
            from_x, from_y = down, down - above
            to_x, to_y = from_x, from_y + 1
        else:
            from_x, from_y = right, right - below
            to_x, to_y = from_x + 1, from_y
        if found and found[-1].start == to_x and found[-1].new_start == to_y:
            later = found.pop()
            found.append(Change(from_x, later.end, from_y, later.new_end))
        else:
            found.append(Change(from_x, to_x, from_y, to_y))
        x, y = from_x, from_y
    found.reverse()
    return found


def meet(by_current: Sequence[Change], by_incoming: Sequence[Change], length: int) -> list[Region]:
    """Part a base of this length into regions, in order, by what two sides changed."""
    regions: list[Region] = []
    shift_current = shift_incoming = done = 0
    mine = theirs = 0

    def region(start: int, end: int, ours: Sequence[Change], others: Sequence[Change]) -> None:
        nonlocal shift_current, shift_incoming, done
        current_start, incoming_start = start + shift_current, start + shift_incoming
        if ours:
            shift_current = ours[-1].new_end - ours[-1].end
        if others:
            shift_incoming = others[-1].new_end - others[-1].end
        regions.append(
            Region(
                Span(start, end),
                Span(current_start, end + shift_current),
                Span(incoming_start, end + shift_incoming),
                bool(ours),
                bool(others),
            )
        )
        done = end

    while mine < len(by_current) or theirs < len(by_incoming):
        from_mine, from_theirs = mine, theirs
        starts = [side[at].start for side, at in ((by_current, mine), (by_incoming, theirs)) if at < len(side)]
        start = end = min(starts)
        grown = True
        while grown:
            grown = False
            while mine < len(by_current) and by_current[mine].start <= end:
                end = max(end, by_current[mine].end)
                mine += 1
                grown = True
            while theirs < len(by_incoming) and by_incoming[theirs].start <= end:
                end = max(end, by_incoming[theirs].end)
                theirs += 1
                grown = True
        if start > done:
            region(done, start, (), ())
        region(start, end, by_current[from_mine:mine], by_incoming[from_theirs:theirs])
    if done < length:
        region(done, length, (), ())
    return regions


class Merged(NamedTuple):
    """A merged sequence as pieces to be joined, each taken from one side; `overlaps` are the regions where incoming's won."""

    pieces: list[tuple[Side, Span]]
    overlaps: list[Region]


def merge(base: Sequence[int], current: Sequence[int], incoming: Sequence[int], work: int = MAX_WORK) -> Merged | None:
    """Merge two sides of a base; None where it is too much work. Pieces are told as (current or incoming, stretch of it)."""
    ours, others = changes(base, current, work), changes(base, incoming, work)
    if ours is None or others is None:
        return None
    pieces: list[tuple[Side, Span]] = []
    overlaps: list[Region] = []
    for each in meet(ours, others, len(base)):
        if not each.by_incoming:
            pieces.append(("current", each.current))
        elif not each.by_current or _same(current, each.current, incoming, each.incoming):
            pieces.append(("incoming", each.incoming))
        elif each.base.start == each.base.end:
            pieces += [("current", each.current), ("incoming", each.incoming)]
        else:
            pieces.append(("incoming", each.incoming))
            overlaps.append(each)
    return Merged(pieces, overlaps)


def _same(current: Sequence[int], ours: Span, incoming: Sequence[int], others: Span) -> bool:
    return current[ours.start : ours.end] == incoming[others.start : others.end]
