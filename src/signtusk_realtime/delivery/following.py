"""Which organizations' logs this node follows: those of its connections, and for a while after the last one left.

Owns: organizations by id, how many hold them, when they are let go.   Not: what is delivered (hub.py).
Rule 1: an organization is followed before anybody is let into it, also where entries come in before `follow` answers.
Rule 2: unfollow is asked for in the same step in which the organization is forgotten, so that a follow that comes later stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import RealtimeError, Unavailable
from signtusk_realtime.events.log import LogName, Position
from signtusk_realtime.observability.counters import Counters

LINGER_S: Final = 15.0
log = logging.getLogger(__name__)


class Following:
    """See the module. `system` gives the node's position in the system log; `forgotten` learns of organizations let go.

    `overfull` is what organizations tell of connections that were owed too much for one write.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        system: Callable[[], Position],
        forgotten: Callable[[str], None],
        overfull: Callable[[Connection, Place], None],
        counters: Counters,
    ) -> None:
        self.organizations: dict[str, Organization] = {}
        self._engine = engine
        self._system = system
        self._forgotten = forgotten
        self._overfull = overfull
        self._counters = counters
        self._unfollowed: set[str] = set()
        """Organizations whose log is not followed yet, though entries may come already."""
        self._idle: dict[str, float] = {}
        """When those that nobody holds are let go, the first to go first."""
        self._is_closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._letting_go: asyncio.Task[None] | None = None

    async def hold(self, organization_id: str) -> Organization:
        """Follow an organization's log and keep it followed until `release`. Raises: Unavailable."""
        self._check_open()
        organization = self.organizations.get(organization_id)
        if organization is None:
            organization = self.organizations[organization_id] = Organization(
                organization_id, self._system(), self._overfull, self._counters
            )
            self._unfollowed.add(organization_id)
        organization.holders += 1
        if organization_id in self._unfollowed:
            try:
                top = await self._engine.follow(LogName(organization_id))
                self._check_open()
            except BaseException:
                self.release(organization)
                raise
            if organization_id in self._unfollowed:
                self._unfollowed.discard(organization_id)
                organization.begin(top.position)
        return organization

    def release(self, organization: Organization) -> None:
        """Undo one `hold`."""
        organization.holders -= 1
        if organization.holders == 0 and not self._is_closed:
            # Ordering: taken out first, so that it is put at the end and the dict stays sorted by time.
            self._idle.pop(organization.organization_id, None)
            self._idle[organization.organization_id] = asyncio.get_running_loop().time() + LINGER_S
            self._plan()

    async def close(self) -> None:
        """Let go of everything; the engine is closed by its owner."""
        self._is_closed = True
        self.organizations.clear()
        self._unfollowed.clear()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._letting_go is not None:
            self._letting_go.cancel()
            await asyncio.gather(self._letting_go, return_exceptions=True)

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("this node is closing")

    def _plan(self) -> None:
        if self._timer is None and self._idle and self._letting_go is None:
            self._timer = asyncio.get_running_loop().call_at(next(iter(self._idle.values())), self._due)

    def _due(self) -> None:
        self._timer = None
        self._letting_go = asyncio.get_running_loop().create_task(self._let_go())

    async def _let_go(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            while self._idle:
                organization_id, due = next(iter(self._idle.items()))
                if due > now:
                    break
                del self._idle[organization_id]
                if not self.organizations[organization_id].holders:
                    del self.organizations[organization_id]
                    self._unfollowed.discard(organization_id)
                    self._forgotten(organization_id)
                    await self._engine.unfollow(LogName(organization_id))
        except RealtimeError as error:
            log.warning("unfollowing failed", extra={"reason": error.message})
        finally:
            self._letting_go = None
            self._plan()
