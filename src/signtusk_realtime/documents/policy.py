"""What a document's places mean: which are guarded, which values belong together, and what must hold.

Owns: strategies and their strictness, patterns of places, the two policies that are shipped.   Not: reading a policy from a file (policy_file.py),
carrying it out (merge.py, invariants.py, resolve.py).
Rule 1: a pattern names a place and everything below it; `*` stands for any one segment, and in guards one `**` for any number of them. Of
several patterns the longest wins (`**` counted as what it stands for), then the one with more names.
Rule 2: where a policy guards, the stricter of policy and request holds; elsewhere the request's strategy does.
Rule 3: what a signature stands for is rather too much than too little: where a pattern of `signed` leads into a keyed array, which elements
there are and in which order is covered too, and what cannot be entered is covered whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, TypeAlias, get_args

from signtusk_realtime.documents.nodes import keyed
from signtusk_realtime.documents.paths import ANY, DEEP, Path, beyond, covers, matches, parse_pointer, reach
from signtusk_realtime.documents.values import Json, Object

Strategy: TypeAlias = Literal["overwrite", "merge", "manual", "reject"]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
"""From the least strict to the strictest."""
Pattern: TypeAlias = Path
Members: TypeAlias = tuple[str, ...]


def strictest(strategies: Iterable[Strategy]) -> Strategy:
    """Give the strictest of some strategies."""
    return max(strategies, key=STRATEGIES.index)


@dataclass(frozen=True, slots=True)
class Group:
    """Members of an object that are one value: never one side's x with the other's y."""

    at: Pattern
    members: Members


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the pattern leads stands the id of an element of `to`, null, or nothing."""

    at: Pattern
    to: Path


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where the pattern leads stands a number that is at least this, or nothing."""

    at: Pattern
    least: int | float


@dataclass(frozen=True)
class Policy:
    """How documents of one service are merged.

    `guards`: patterns with the strategy that holds there at least. `sets`: arrays without order. `texts` are merged by words, as is any
    string whose base has a line break; `scalars` never are, and beat both. `open`: what may be edited after the first signature.
    `signed`: what the content hash covers; all, if empty.
    """

    name: str
    guards: Mapping[Pattern, Strategy] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    sets: tuple[Pattern, ...] = ()
    texts: tuple[Pattern, ...] = ()
    scalars: tuple[Pattern, ...] = ()
    references: tuple[Reference, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    open: tuple[Pattern, ...] = ()
    signed: tuple[Pattern, ...] = ()

    def guard(self, path: Path) -> Strategy | None:
        """Give the strategy that guards this place, or None."""
        found = [(length, _precision(each), each) for each in self.guards if (length := reach(each, path))]
        return self.guards[max(found)[-1]] if found else None

    def guards_below(self, path: Path) -> Iterable[tuple[Pattern, Strategy]]:
        """Give what guards places below this one, each pattern from here on."""
        return [(rest, strategy) for each, strategy in self.guards.items() for rest in beyond(each, path)]

    def groups_at(self, path: Path) -> tuple[Members, ...]:
        """Give the groups of the object at this place."""
        return tuple(group.members for group in self.groups if matches(group.at, path))

    def is_set(self, path: Path) -> bool:
        """Say whether the array at this place is declared a set."""
        return any(matches(pattern, path) for pattern in self.sets)

    def is_text(self, path: Path, base: str) -> bool:
        """Say whether a string at this place is merged by words."""
        if any(matches(pattern, path) for pattern in self.scalars):
            return False
        return "\n" in base or any(matches(pattern, path) for pattern in self.texts)

    def is_open(self, path: Path) -> bool:
        """Say whether this place may be edited after the first signature."""
        return any(covers(pattern, path) for pattern in self.open)

    def scope(self, document: Object) -> Object:
        """Give the part of a document that the content hash covers."""
        return _members(document, self.signed) if self.signed else document


def _precision(pattern: Pattern) -> tuple[int, bool]:
    return sum(segment not in (ANY, DEEP) for segment in pattern), DEEP not in pattern


def _part(node: Json, patterns: tuple[Pattern, ...]) -> Json:
    """Give what patterns that lead on from this node cover of it (rule 3)."""
    if isinstance(node, dict):
        return _members(node, patterns)
    elements = keyed(node)
    if elements is None:
        return node
    return [
        element if () in (further := _further(patterns, name)) else {**_members(element, further), "id": name}
        for name, element in elements.items()
    ]


def _members(node: Object, patterns: tuple[Pattern, ...]) -> Object:
    found: dict[str, Json] = {}
    for name, value in node.items():
        further = _further(patterns, name)
        if further:
            found[name] = value if () in further else _part(value, further)
    return found


def _further(patterns: tuple[Pattern, ...], segment: str) -> tuple[Pattern, ...]:
    """Give how patterns lead on behind a segment; `()` is one that ends there."""
    return tuple(each[1:] for each in patterns if each[0] in (segment, ANY))


@lru_cache(maxsize=512)
def pattern(text: str) -> Pattern:
    """Read a pattern, written as a pointer."""
    return parse_pointer(text)


PLAIN: Final = Policy(
    name="plain",
    groups=(
        Group(pattern("/signatureFields/*"), ("page", "x", "y")),
        Group(pattern("/signatureFields/*"), ("width", "height")),
    ),
    sets=(pattern("/tags"),),
    texts=tuple(map(pattern, ("/body", "/message", "/description", "/notes"))),
    references=(Reference(pattern("/signatureFields/*/recipientId"), pattern("/recipients")),),
    minimums=(Minimum(pattern("/recipients/*/order"), 1),),
)
"""Guards nothing."""

SIGNING: Final = Policy(
    name="signing",
    guards={
        **dict.fromkeys(
            map(
                pattern,
                (
                    "/recipients/*/email",
                    "/recipients/*/name",
                    "/recipients/*/role",
                    "/recipients/*/order",
                    "/recipients/#order",
                    "/signatureFields/*/recipientId",
                ),
            ),
            "manual",
        ),
        **dict.fromkeys(map(pattern, ("/**/amount", "/**/amounts")), "reject"),
    },
    groups=PLAIN.groups,
    sets=PLAIN.sets,
    texts=PLAIN.texts,
    references=PLAIN.references,
    minimums=PLAIN.minimums,
)
"""Who signs, in which order, and which field is whose, is for people to decide; an amount is changed by nobody who has not seen the last one."""

SHIPPED: Final[Mapping[str, Policy]] = {policy.name: policy for policy in (PLAIN, SIGNING)}
