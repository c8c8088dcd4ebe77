"""What was encoded for one who catches up, kept for others who catch up on the same.

Owns: encoded events and whole joined pages, each kind within its bytes, oldest given up first.   Not: when all is given up (catch_up.py).
Rule 1: a page is found only by everything it depends on: log, place, live place, selection, format.
Rule 2 (I4): a selection says what may be seen, and is a part of that; so a page never reaches who may not see it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from signtusk_realtime.delivery.item import Item
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.log import Entry, LogName, Position
from signtusk_realtime.sessions.entitlement import Selection

ITEMS_BYTES: Final = 8 << 20
ITEM_OVERHEAD: Final = 1000
FORMS: Final = 3
"""An item may hold its body and a chunk for each of two formats."""
PAGES_BYTES: Final = 4 << 20
PAGE_OVERHEAD: Final = 1000

PageKey = tuple[str, LogName, Place, Position, Selection, str]
"""Organization, log, the place that is read from, the log's live position, selection, name of the format."""


class Page(NamedTuple):
    """Events as one connection is written them at once; `joined` is None if there are none."""

    joined: bytes | list[str] | None
    events: int
    told: int
    """How far the cursor of the last of them goes, as the sum of both offsets; only where there is one."""
    reached: Place | None
    """Where that brings a connection; None: no further than it was."""


class Encoded:
    """See the module."""

    def __init__(self) -> None:
        self._items: OrderedDict[tuple[str, LogName, Place], Item] = OrderedDict()
        """By organization, the event's own log, and its cursor's place: one place may be reached by an event of either log."""
        self._items_bytes = 0
        self._pages: OrderedDict[PageKey, Page] = OrderedDict()
        self._pages_bytes = 0

    def item(self, organization: Organization, name: LogName, place: Place, entry: Entry) -> Item:
        """Give an event of a log as it is for those whose cursor is then `place`."""
        key = (organization.organization_id, name, place)
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = Item(entry, organization.cursor_at(place), place)
            self._items_bytes += _item_cost(item)
            while self._items_bytes > ITEMS_BYTES and len(self._items) > 1:
                self._items_bytes -= _item_cost(self._items.popitem(last=False)[1])
        return item

    def page(self, key: PageKey) -> Page | None:
        """Give the page that was kept for this."""
        return self._pages.get(key)

    def keep(self, key: PageKey, page: Page) -> None:
        """Keep a page; not one that would push out all others."""
        cost = _page_cost(page)
        if key in self._pages or cost > PAGES_BYTES // 2:
            return
        self._pages[key] = page
        self._pages_bytes += cost
        while self._pages_bytes > PAGES_BYTES:
            self._pages_bytes -= _page_cost(self._pages.popitem(last=False)[1])

    @property
    def kept_bytes(self) -> int:
        """About how much memory is kept."""
        return self._items_bytes + self._pages_bytes

    def clear(self) -> None:
        """Give up everything."""
        self._items.clear()
        self._pages.clear()
        self._items_bytes = self._pages_bytes = 0


def _item_cost(item: Item) -> int:
    return len(item.entry.body) * FORMS + ITEM_OVERHEAD


def _page_cost(page: Page) -> int:
    joined = page.joined
    size = len(joined) if isinstance(joined, bytes) else sum(len(text) for text in joined or ())
    return size + PAGE_OVERHEAD
