"""What was worked out once and may be asked for again, as much of it as a budget holds.

Owns: what is kept, and what goes first.   Not: what things weigh: who keeps them knows.
Rule: the weight is bounded, not the number: what strangers ask for may be small a million times, and large once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SHARE: Final = 64
"""What is heavier than this part of the budget is not kept: it would push out many others, and is seldom asked for twice."""


class Shelf(Generic[K, V]):
    """Keeps values by key up to a total weight, about bytes; what was not asked for longest goes first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0

    @property
    def weight(self) -> int:
        """What all that is kept weighs."""
        return self._weight

    def get(self, key: K) -> V | None:
        """Give what is kept under a key."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value in place of an older one, if it is not too heavy."""
        self.discard(key)
        if weight * SHARE > self._budget:
            return
        self._kept[key] = value, weight
        self._weight += weight
        while self._weight > self._budget:
            _, (_, lost) = self._kept.popitem(last=False)
            self._weight -= lost

    def discard(self, key: K) -> None:
        """Keep nothing under this key."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._weight -= found[1]
