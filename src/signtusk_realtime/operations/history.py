"""Read the log: what happened, oldest first, from a cursor.

Owns: pages of history, and whether a cursor can be continued.   Not: live delivery, storing.
Rule 1: what is shown goes through the same selection and view as live delivery (sessions/entitlement.py).
Rule 2: the cursor of a page covers exactly what the page's reader has read; one that cannot be continued is told, never skipped over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Raw, Struct

from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.recovery import EARLIEST, locate, top_of
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import CursorExpired, Forbidden
from signtusk_realtime.events.event import guest_body
from signtusk_realtime.events.log import SYSTEM_LOG, Entry, LogName, Position
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.protocol import cursor as cursors
from signtusk_realtime.sessions.entitlement import Selection, compile_selection, default_subscriptions, sees_whole
from signtusk_realtime.sessions.identity import Identity

READ_BYTES: Final = 8 << 20
"""At most this much log is read by one call."""
PAGE_BYTES: Final = 256 << 10


class HistoryEvent(Struct, rename="camel", frozen=True):
    """An event, and the cursor that covers it and all before it."""

    cursor: str
    event: Raw


class HistoryPage(Struct, rename="camel", frozen=True):
    """Events oldest first. `cursor`: ask on from here; `more`: there may be more right now."""

    events: list[HistoryEvent]
    cursor: str
    more: bool


class History:
    """See the module. `read_bytes`: how much log one call may read."""

    def __init__(self, engine: Engine, *, read_bytes: int = READ_BYTES, authorize: Authorize = UNASKED) -> None:
        self._engine = engine
        self._authorize = authorize
        self._read_bytes = read_bytes

    async def __call__(
        self, identity: Identity, subscriptions: tuple[Subscription, ...] | None, *, after: str | None, limit: int
    ) -> HistoryPage:
        """Read up to `limit` events after a cursor (absent: from the earliest) that `subscriptions` match (None: all one may see).

        The system log is read first, then the organization's; between the two no order is promised.
        Raises: Forbidden, CursorExpired, Unauthenticated (revoked, or expired, meanwhile), Unavailable.
        """
        if identity.is_service:
            raise Forbidden("a service reads nothing")
        if subscriptions is None:
            wanted = await self._authorize.allowed(identity, _everything(identity))
        else:
            await self._authorize.check(identity, wanted := subscriptions)
        if not wanted:
            raise Forbidden("this identity may read nothing of what happened")
        # Who reads a page asks for something else the next time.
        selection = compile_selection(wanted, identity, keep=False)
        after = EARLIEST if after is None else after
        page: HistoryPage | None = None
        while page is None:
            page = await self._page(identity.organization_id, selection, after, limit)
        self._authorize.look_again(identity)
        return page

    async def _page(self, organization_id: str, selection: Selection, after: str, limit: int) -> HistoryPage | None:
        """Read a page; None where the earliest was asked for, and retention took that before anything of it was read."""
        start = await self._start(organization_id, after)
        reader = _Reader(self._engine, selection, limit, self._read_bytes)
        system = await reader.read(
            SYSTEM_LOG, start.system, lambda p: cursors.encode(organization_id, start.organization, p)
        )
        organization = await reader.read(
            LogName(organization_id), start.organization, lambda p: cursors.encode(organization_id, p, system)
        )
        if reader.is_overtaken and not reader.events and after == EARLIEST:
            return None
        return HistoryPage(reader.events, cursors.encode(organization_id, organization, system), reader.is_stopped)

    async def _start(self, organization_id: str, after: str) -> Place:
        place = await locate(self._engine, organization_id, after)
        if isinstance(place, str):
            top = await top_of(self._engine, organization_id)
            raise CursorExpired(place, cursors.encode(organization_id, *top))
        return place


def _everything(identity: Identity) -> tuple[Subscription, ...]:
    presence = () if identity.is_guest else (Subscription("user_presence"),)
    return default_subscriptions(identity) + presence


class _Reader:
    """Collects what a selection matches, within one call's bounds."""

    def __init__(self, engine: Engine, selection: Selection, limit: int, read_bytes: int) -> None:
        self.events: list[HistoryEvent] = []
        self.is_stopped = False
        """Whether a bound was reached before a log's top."""
        self.is_overtaken = False
        """Whether retention passed the place that was to be read from, or the log ended its life."""
        self._engine = engine
        self._view = selection.view
        self._wants = selection.matcher()
        self._limit = limit
        self._left_bytes = read_bytes

    async def read(self, log: LogName, place: Position, write: Callable[[Position], str]) -> Position:
        """Read one log after `place`; give how far it got. `write` makes the cursor of a place in it."""
        while not self.is_stopped:
            page = await self._engine.read(log, place.offset, min(PAGE_BYTES, self._left_bytes))
            if page.top.epoch != place.epoch or page.top.floor_offset > place.offset:
                self.is_stopped = self.is_overtaken = True
                break
            for entry in page.entries:
                if len(self.events) == self._limit or self._left_bytes <= 0:
                    self.is_stopped = True
                    return place
                place = Position(place.epoch, entry.offset, entry.tag)
                self._left_bytes -= len(entry.body)
                if self._wants(entry.keys):
                    self._take(entry, write(place))
            if place.offset >= page.top.offset:
                break
        return place

    def _take(self, entry: Entry, cursor: str) -> None:
        whole = sees_whole(self._view, entry.keys)
        self.events.append(HistoryEvent(cursor, Raw(entry.body if whole else guest_body(entry.body))))
