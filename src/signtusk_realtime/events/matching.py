"""Which events a subscription matches, and the keys by which it is found without looking at the others.

Owns: clauses, and the two sides of the index key.   Not: the index itself (delivery/index.py), who may see what (sessions/entitlement.py).
Rule 1: for any clause and any event, `clause.matches(keys)` holds exactly if one of `index_keys(keys, shapes)` is in `clause.index_keys()`.
Rule 2: an event is known by its matching keys alone (events/event.py makes them); no body is decoded to match.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from signtusk_realtime.events.subscriptions import SUBSCRIPTION_OF, TYPES_OF

FACETS: Final = "dsmu"
"""First letters of matching keys that filters can name: document, signing request, team (m: members), user; in the index key's order."""
SEPARATOR: Final = "\x1f"
"""Joins the parts of an index key. Ids hold no control characters, so no two different lists of parts give one key."""


class Clause(NamedTuple):
    """A conjunction: an event matches if its type is one of `types` and it has each of `required`.

    `token` is the subscription type if `types` is all of it, else None. `required` holds matching keys (`d:…`, `s:…`, `m:…`, `u:…`) in
    the order of FACETS, at most one a facet.
    """

    token: str | None
    types: frozenset[str]
    required: tuple[str, ...]

    def matches(self, keys: Sequence[str]) -> bool:
        """Say whether an event with these matching keys (its type first) satisfies this clause."""
        return keys[0] in self.types and all(key in keys for key in self.required)

    def shape(self) -> int:
        """Give the set of required facets as a bit mask."""
        mask = 0
        for key in self.required:
            mask |= 1 << FACETS.index(key[0])
        return mask

    def index_keys(self) -> list[str]:
        """Give the index keys under which this clause is found."""
        tokens = [self.token] if self.token is not None else sorted(self.types)
        return [SEPARATOR.join((token, *self.required)) for token in tokens]


def clause(subscription_type: str, types: frozenset[str], required: Sequence[str]) -> Clause | None:
    """Make a clause of a subscription type, or None if nothing can match it (no type left, or one facet with two values)."""
    facets = [key[0] for key in required]
    if not types or len(set(facets)) < len(set(required)):
        return None
    family = TYPES_OF[subscription_type]  # type: ignore[index]  # callers hold a SubscriptionType or a name checked against TYPES_OF
    ordered = tuple(sorted(set(required), key=lambda key: FACETS.index(key[0])))
    return Clause(subscription_type if types == family else None, types, ordered)


def index_keys(keys: Sequence[str], shapes: int) -> list[str]:
    """Give every index key that an event with these matching keys is found by, for the shapes in use.

    `shapes`: a bit set of clause shapes, bit n set if some clause has shape n. The cost depends on the shapes in use, at most 16 × 2 × 2
    look-ups, and not on how many subscriptions there are.
    """
    event_type = keys[0]
    ids = keys[1:]
    family = SUBSCRIPTION_OF.get(event_type, event_type)
    found: list[str] = []
    for facets in _facets(shapes):
        suffixes = [""]
        for facet in facets:
            suffixes = [s + SEPARATOR + key for s in suffixes for key in ids if key[0] == facet]
        found += [family + suffix for suffix in suffixes]
        if family != event_type:
            found += [event_type + suffix for suffix in suffixes]
    return found


@lru_cache(maxsize=256)
def _facets(shapes: int) -> tuple[str, ...]:
    """Give the facets of each shape in a bit set of shapes. Cached: an organization has few sets of them in its life."""
    return tuple(
        "".join(facet for bit, facet in enumerate(FACETS) if shape >> bit & 1)
        for shape in range(shapes.bit_length())
        if shapes >> shape & 1
    )
