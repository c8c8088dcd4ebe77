"""What was promised against what is: finds lost, invented, repeated, moved, reordered, torn and leaked events.

Owns: the judgement over what publishers and subscribers of one organization saw, and its log.   Not: how that was collected.
Rule: it judges by the promises of spec/protocol.md §13 alone. An unanswered publication may have happened or not, but never in part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Attempt:
    """One call of a publisher: ids of its events, and the offsets it was answered, if it was."""

    ids: tuple[str, ...]
    offsets: tuple[int, ...] | None = None


@dataclass
class Observed:
    """What was seen from outside. Each publisher's attempts are in its order, one after the other; each subscriber's ids as they came."""

    publishers: dict[str, list[Attempt]] = field(default_factory=dict)
    subscribers: list[list[str]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many events were answered."""
        return sum(len(attempt.ids) for attempt in self._attempts() if attempt.offsets is not None)

    def unanswered(self) -> list[Attempt]:
        """Give the attempts whose outcome nobody knows."""
        return [attempt for attempt in self._attempts() if attempt.offsets is None]

    def _attempts(self) -> Iterator[Attempt]:
        for attempts in self.publishers.values():
            yield from attempts

    def faults(self, log: Sequence[tuple[int, str]]) -> list[str]:
        """Name every way in which a log, as pairs of offset and event id, breaks what was promised."""
        places = {event_id: offset for offset, event_id in log}
        found = [f"repeated: {event_id}" for event_id, times in Counter(i for _, i in log).items() if times > 1]
        if [offset for offset, _ in log] != list(range(1, len(log) + 1)):
            found.append("gap: offsets are not 1, 2, 3, …")
        attempted = {event_id for attempt in self._attempts() for event_id in attempt.ids}
        found += [f"invented: {event_id}" for event_id in places if event_id not in attempted]
        for attempts in self.publishers.values():
            for attempt in attempts:
                found += _faults_of(attempt, places)
            found += _disorder(attempts, places)
        for ids in self.subscribers:
            found += _leaks(ids, places)
        return found


def _faults_of(attempt: Attempt, places: dict[str, int]) -> Iterator[str]:
    if attempt.offsets is None:
        there = [places[event_id] for event_id in attempt.ids if event_id in places]
        if there and there != list(range(there[0], there[0] + len(attempt.ids))):
            yield f"torn: {attempt.ids[0]}"
        return
    for event_id, offset in zip(attempt.ids, attempt.offsets, strict=True):
        if event_id not in places:
            yield f"lost: {event_id}"
        elif places[event_id] != offset:
            yield f"moved: {event_id}"


def _disorder(attempts: Sequence[Attempt], places: dict[str, int]) -> Iterator[str]:
    ids = [event_id for attempt in attempts for event_id in attempt.ids if event_id in places]
    for earlier, later in pairwise(ids):
        if places[earlier] > places[later]:
            yield f"reordered: {later}"


def _leaks(ids: Sequence[str], places: dict[str, int]) -> Iterator[str]:
    """A subscriber to everything sees the log's entries one after the other, from some place on."""
    top = 0
    shown: set[str] = set()
    for event_id in ids:
        place = places.get(event_id)
        if place is None:
            yield f"leaked: {event_id}"
        elif event_id in shown:
            yield f"shown twice: {event_id}"
        elif place < top:
            yield f"shown late: {event_id}"
        elif top and place != top + 1:
            yield f"skipped before: {event_id}"
        shown.add(event_id)
        top = max(top, place or 0)
