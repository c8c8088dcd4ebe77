"""Differences of sequences, and merging texts by words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.documents.sequence import changes, merge
from signtusk_realtime.documents.text import MergedText, merge_text, tokens
from tests.support.documents import texts

few = st.lists(st.integers(0, 3), max_size=12)


def shortest(one: list[int], other: list[int]) -> int:
    """Give the least number of insertions and deletions, by the table of longest common subsequences."""
    row = [0] * (len(other) + 1)
    for item in one:
        before, row = row, [0]
        for at, that in enumerate(other):
            row.append(before[at] + 1 if item == that else max(before[at + 1], row[at]))
    return len(one) + len(other) - 2 * row[-1]


@given(few, few)
def test_a_difference_of_sequences_is_a_shortest_one(before: list[int], after: list[int]) -> None:
    """Its changes, put upon the one, give the other; they are as few as can be, and an unchanged item parts any two."""
    found = changes(before, after)
    assert found is not None
    result, done = [], 0
    for each in found:
        result += before[done : each.start] + after[each.new_start : each.new_end]
        done = each.end
    assert result + before[done:] == after
    assert all(one.end < two.start for one, two in pairwise(found))
    trimmed = sum(each.end - each.start + each.new_end - each.new_start for each in found)
    assert trimmed == shortest(before, after)


def test_a_difference_that_is_too_much_work_is_none() -> None:
    """The work is counted, not timed: the same on every machine."""
    one, other = list(range(100)), list(range(1000, 1100))
    assert changes(one, other, work=1000) is None
    assert changes(one, other, work=100_000) is not None
    assert changes(one, [*one, 5], work=0) is not None


@given(few, few, few)
def test_merging_sequences_is_symmetric_but_for_who_wins(base: list[int], one: list[int], other: list[int]) -> None:
    """Which regions overlap does not depend on who was first; without any, both sides' changes are in the result."""
    first, second = merge(base, one, other), merge(base, other, one)
    assert first is not None
    assert second is not None
    assert [each.base for each in first.overlaps] == [each.base for each in second.overlaps]
    assert [each.current for each in first.overlaps] == [each.incoming for each in second.overlaps]


@given(texts(), texts())
def test_a_text_that_one_side_left_alone_is_the_others(base: str, other: str) -> None:
    """Merging with what did not change changes nothing, from either side."""
    for merged in (merge_text(base, base, other), merge_text(base, other, base), merge_text(base, other, other)):
        assert merged is not None
        assert merged.hunks == ()
        assert "".join(tokens(merged.text)) == merged.text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("don't", ["don", "'", "t"]),
        ("a_b  c\n\nd", ["a_b", "  ", "c", "\n\n", "d"]),
        ("Größe: 3,5 m²", ["Größe", ":", " ", "3", ",", "5", " ", "m²"]),
        ("...", [".", ".", "."]),
        ("日本語 x", ["日本語", " ", "x"]),
        ("", []),
    ],
)
def test_tokens(text: str, cut: list[str]) -> None:
    """Runs of letters, digits and `_`, runs of white space, every other character alone."""
    assert tokens(text) == cut


def test_texts_in_another_normal_form_merge() -> None:
    """A side that writes NFD did not change every accented word; the merged text is in NFC."""
    assert merge_text("caf\u00e9 one two", "cafe\u0301 one 2", "caf\u00e9 1 two") == MergedText("caf\u00e9 1 2", ())


def test_the_prefix_is_trimmed_before_the_suffix() -> None:
    """Of two places where a repeated word may have been inserted the later one is taken."""
    assert merge_text("a a b", "a a a b", "a a c") == MergedText("a a c", (("b", "a b", "c"),))


@given(few, few, few, few)
def test_of_two_insertions_at_one_point_currents_is_first(
    before: list[int], after: list[int], ours: list[int], theirs: list[int]
) -> None:
    """Both are kept, in that order, whatever they are, and nothing clashes."""
    base = [*(10 + item for item in before), *(20 + item for item in after)]
    current, incoming = [30, *ours], [40, *theirs]
    sides = {
        side: [*base[: len(before)], *own, *base[len(before) :]]
        for side, own in (("current", current), ("incoming", incoming))
    }
    merged = merge(base, sides["current"], sides["incoming"])
    assert merged is not None
    assert merged.overlaps == []
    result = [item for side, place in merged.pieces for item in sides[side][place.start : place.end]]
    assert result == [*base[: len(before)], *current, *incoming, *base[len(before) :]]
