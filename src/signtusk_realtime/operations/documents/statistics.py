"""What is undecided, of all organizations together.

Owns: the sum, and how old it may be.   Not: one organization's record, which every commit keeps true (commits.py).
Rule: what this node commits counts at once; what others commit, within REFRESH_S.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import LogName
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.operations.documents.store import DocumentStore

REFRESH_S: Final = 5.0
PAGE: Final = 500

log = logging.getLogger(__name__)


class ConflictStatistics:
    """See the module. Begun by `start`, ended by `close`."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        self._by_organization: dict[LogName, Statistics] = {}
        self._task: asyncio.Task[None] | None = None
        store.counted = self._counted

    @property
    def total(self) -> Statistics:
        """The figures of all organizations."""
        figures = self._by_organization.values()
        return Statistics(
            sum(each.active_conflicts for each in figures),
            sum(each.pending_changes for each in figures),
            sum(each.documents_with_conflicts for each in figures),
        )

    async def start(self) -> None:
        """Read every organization's figures, and go on doing so. Raises: Unavailable."""
        await self._refresh()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Read no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self._refresh()
            except Unavailable:
                continue  # the engine's health says so
            except Exception:
                log.exception("reading conflict statistics failed")

    async def _refresh(self) -> None:
        after: LogName | None = None
        seen: set[LogName] = set()
        while names := await self._store.engine.logs(after, PAGE):
            for name in names:
                figures, _ = await self._store.statistics(name)
                self._counted(name, figures)
                seen.add(name)
            after = names[-1]
        for name in self._by_organization.keys() - seen:
            del self._by_organization[name]

    def _counted(self, organization: LogName, figures: Statistics) -> None:
        if figures == Statistics():
            self._by_organization.pop(organization, None)
        else:
            self._by_organization[organization] = figures
