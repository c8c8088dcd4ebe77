"""A peer as delivery knows it.

Owns: what is kept per connection, in slots: every field here costs memory ten thousand times.   Not: its socket (outlet.py), what it may ask
(sessions).
Rule: no task, queue, timer, buffer or dictionary of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from signtusk_realtime.delivery.formats import STREAM, Format
from signtusk_realtime.delivery.outlet import Outlet
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.observability.counters import SSE, WEBSOCKET
from signtusk_realtime.sessions.session import Session

if TYPE_CHECKING:
    from signtusk_realtime.delivery.audience import Audience
    from signtusk_realtime.delivery.organization import Organization


UNTOLD: Final = -1


class Connection:
    """One open WebSocket or event stream. Made by `Hub.open`, ended by `Hub.close` or `Hub.lost`."""

    __slots__ = (
        "__weakref__",
        "audience",
        "connected_at",
        "connection_id",
        "due",
        "form",
        "has_begun",
        "heard_at",
        "inbox",
        "is_behind",
        "is_catching_up",
        "is_open",
        "is_paused",
        "organization",
        "outlet",
        "place",
        "seat",
        "session",
        "slot",
        "told",
        "write",
    )

    def __init__(
        self,
        connection_id: str,
        session: Session,
        outlet: Outlet,
        form: Format,
        organization: Organization,
        connected_at: int,
    ) -> None:
        self.connection_id = connection_id
        self.session = session
        self.outlet = outlet
        self.write: Callable[[bytes | list[str]], None] = outlet.write
        self.form = form
        self.organization = organization
        self.audience: Audience | None = None
        """Where its live events come from; None while nothing is subscribed."""
        self.seat = 0
        """Its place in the audience's list of members."""
        self.connected_at = connected_at
        self.due = 0
        """The tick at which its token is looked at next (lifetimes.py)."""
        self.slot = 0
        """Its place on the wheel."""
        self.heard_at = 0
        """The wheel's tick at which bytes last came in."""
        self.told = 0
        """How far the last cursor of its own went: the sum of both offsets; UNTOLD if it is owed one."""
        self.is_open = True
        self.place: Place | None = None
        """While behind: how far it has got. While live: a place it has passed (what it was handed since is known to its audience)."""
        self.has_begun = False
        """Whether its first subscription was answered. Before that it has no place in the logs, and is told no cursor."""
        self.is_behind = False
        """Whether it gets its events from the log and not from its audience."""
        self.is_catching_up = False
        """Whether somebody is about to read on for it."""
        self.is_paused = False
        """Whether its outlet is full."""
        self.inbox: list[bytes | Callable[[], object]] | None = None
        """Messages, and acts of the application's own, that wait for an earlier one to take effect; None as a rule."""

    @property
    def transport(self) -> str:
        """How this kind of connection is called where connections are counted and listed."""
        return SSE if self.form is STREAM else WEBSOCKET
