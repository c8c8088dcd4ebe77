"""Finds the audiences that an event concerns, at the cost of what it matches.

Owns: one organization's map from index keys to audiences.   Not: how keys are made (events/matching.py).
Rule: what `find` gives equals what asking every audience would give (tests/property holds it against a naive matcher).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from signtusk_realtime.delivery.audience import Audience
from signtusk_realtime.events.matching import index_keys


class Index:
    """See the module. A key has one audience as a rule; a dictionary of them only where there are several."""

    __slots__ = ("_found_by", "_shapes")

    def __init__(self) -> None:
        self._found_by: dict[str, Audience | dict[Audience, None]] = {}
        self._shapes = 0
        """Shapes ever in use here. They are never taken back: a look-up too many costs less than counting."""

    def add(self, audience: Audience) -> None:
        """Let events find this audience by each of its clauses."""
        for clause in audience.clauses:
            self._shapes |= 1 << clause.shape()
            for key in clause.index_keys():
                found = self._found_by.get(key)
                if found is None:
                    self._found_by[key] = audience
                elif isinstance(found, dict):
                    found[audience] = None
                else:
                    self._found_by[key] = {found: None, audience: None}

    def remove(self, audience: Audience) -> None:
        """Let no event find this audience any more."""
        for clause in audience.clauses:
            for key in clause.index_keys():
                found = self._found_by[key]
                if isinstance(found, dict):
                    del found[audience]
                    if len(found) == 1:
                        self._found_by[key] = next(iter(found))
                else:
                    del self._found_by[key]

    def find(self, keys: Sequence[str]) -> Iterator[Audience]:
        """Give the audiences that an event with these matching keys concerns; one may come up more than once."""
        for key in index_keys(keys, self._shapes):
            found = self._found_by.get(key)
            if found is None:
                continue
            if isinstance(found, dict):
                yield from found
            else:
                yield found
