"""Who is there, put together from what several nodes and the application say of one user.

Owns: what a node knows of a user, what a user or an application declared, and the one view that follows from all of it.
Not: connections (delivery/people.py), when a view is told (operations/presence), its form on the wire (protocol/messages.py).
Rule 1: who has a connection somewhere is there. The newest declaration says how: `online` if there is none.
Rule 2: what an application published counts like a declaration, and without a connection too.
Rule 3: `offline` is a declaration like others: who says so is not there, whatever is open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from signtusk_realtime.protocol.messages import PresenceStatus as Status


class Declared(Struct, rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """How a user is, as somebody said `at` a time. `last_seen`: when the user was seen then. Both in milliseconds since 1970.

    `metadata`: the text of a JSON object.
    """

    status: Status
    at: int
    last_seen: int
    current_document: str | None = None
    metadata: str | None = None


class Seen(Struct, rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """What one node knows of a user: how many connections are open there (none for those who are about to be gone), the newest declaration.

    `last_seen`: when a connection was last opened or closed, or said something of itself; in milliseconds since 1970.
    """

    connections: int
    last_seen: int
    declared: Declared | None = None


class View(NamedTuple):
    """How a user is."""

    status: Status
    connections: int
    last_seen: int
    current_document: str | None
    metadata: str | None

    @property
    def is_there(self) -> bool:
        return self.status != "offline"


def combine(seen: Iterable[Seen], published: Declared | None) -> View | None:
    """Give how a user is by what every node and the application say; None if nobody says anything."""
    newest = published
    connections = 0
    last_seen = 0 if published is None else published.last_seen
    is_seen = False
    for one in seen:
        is_seen = True
        connections += one.connections
        last_seen = max(last_seen, one.last_seen)
        if one.declared is not None and (newest is None or _age(one.declared) > _age(newest)):
            newest = one.declared
    if newest is None:
        return View("online", connections, last_seen, None, None) if is_seen else None
    return View(newest.status, connections, last_seen, newest.current_document, newest.metadata)


def is_same(before: View | None, now: View | None) -> bool:
    """Say whether a watcher sees no difference: times and numbers of connections alone are none."""
    return _shown(before) == _shown(now)


def _shown(view: View | None) -> tuple[object, ...]:
    if view is None or not view.is_there:
        return ("offline",)
    return view.status, view.current_document, view.metadata


def _age(declared: Declared) -> tuple[object, ...]:
    # Ordering: of two that were declared in one millisecond every node must take the same.
    return declared.at, declared.status, declared.current_document or "", declared.metadata or ""
