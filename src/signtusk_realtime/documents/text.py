"""Three-way merges of texts, by words.

Owns: what a token is, when a text is too much work.   Not: which fields are texts (policy.py), sequences in general (sequence.py).
Rule 1: tokens are runs of letters, digits and `_` (Unicode), runs of white space, and every other character alone.
Rule 2: a merged text is in NFC if one of the three was not; canonically equal texts merge as equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from signtusk_realtime.documents.sequence import Span, merge
from signtusk_realtime.documents.values import nfc

MAX_LENGTH: Final = 100_000
"""Characters of a text that is still merged by words."""

_TOKEN: Final = re.compile(r"\w+|\s+|[^\w\s]")


class Hunk(NamedTuple):
    """Where two texts overlap: what stood there, and what each made of it."""

    base: str
    current: str
    incoming: str


class MergedText(NamedTuple):
    """A text and the hunks in which incoming won over current."""

    text: str
    hunks: tuple[Hunk, ...]


def tokens(text: str) -> list[str]:
    """Cut a text into tokens; joined they are the text."""
    return _TOKEN.findall(text)


def merge_text(base: str, current: str, incoming: str) -> MergedText | None:
    """Merge two edits of a text; None where it is too much work (it is then a scalar)."""
    if max(len(base), len(current), len(incoming)) > MAX_LENGTH:
        return None
    numbers: dict[str, int] = {}
    words: list[str] = []

    def numbered(text: str) -> Sequence[int]:
        found = [numbers.setdefault(token, len(numbers)) for token in tokens(nfc(text))]
        words.extend(list(numbers)[len(words) :])
        return found

    sides = {"base": numbered(base), "current": numbered(current), "incoming": numbered(incoming)}
    merged = merge(sides["base"], sides["current"], sides["incoming"])
    if merged is None:
        return None

    def text_of(side: str, place: Span) -> str:
        return "".join([words[token] for token in sides[side][place.start : place.end]])

    return MergedText(
        "".join([text_of(side, place) for side, place in merged.pieces]),
        tuple(
            Hunk(text_of("base", each.base), text_of("current", each.current), text_of("incoming", each.incoming))
            for each in merged.overlaps
        ),
    )
