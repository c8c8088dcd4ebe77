"""System announcements on their way to every organization of this node, a slice at a time.

Owns: who has still to be offered which announcement.   Not: the announcement's cursor in an organization (organization.py).
Rule: each organization takes announcements in their order, and its cursor covers only those it has taken (I0).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.events.log import Entry, Position

OFFERS_PER_LOOK: Final = 16
"""Organizations offered to between two looks at the clock."""


class Announcer:
    """See the module. Woken by the hub, flushed by the flusher.

    `wake` wakes an organization that wants what it was offered; `moved` is called for each that was offered something.
    """

    __slots__ = ("_moved", "_wake", "_waiting", "is_awake")

    def __init__(self, wake: Callable[[Organization], None], moved: Callable[[Organization], None]) -> None:
        self._wake = wake
        self._moved = moved
        self._waiting: deque[tuple[Entry, Position, deque[Organization]]] = deque()
        self.is_awake = False

    @property
    def pending(self) -> int:
        """How many offers still wait."""
        return sum(len(organizations) for _, _, organizations in self._waiting)

    def announce(self, entry: Entry, position: Position, organizations: Sequence[Organization]) -> None:
        """Take an announcement for these organizations: all that are followed now. Others begin after it."""
        self._waiting.append((entry, position, deque(organizations)))

    def clear(self) -> None:
        """Offer nothing that still waits: it is void."""
        self._waiting.clear()

    def flush(self, clock: Callable[[], float], deadline: float) -> bool:
        """Offer until `deadline`; say whether every organization has everything."""
        while self._waiting:
            entry, position, organizations = self._waiting[0]
            while organizations:
                for _ in range(min(OFFERS_PER_LOOK, len(organizations))):
                    organization = organizations.popleft()
                    if organization.position is None:
                        # Its log is about to be followed; nobody is in it yet.
                        organization.system = position
                        continue
                    if organization.take_announcement(entry, position):
                        self._wake(organization)
                    self._moved(organization)
                if organizations and clock() >= deadline:
                    return False
            self._waiting.popleft()
        return True
