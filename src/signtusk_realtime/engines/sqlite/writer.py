"""Runs groups of commits: one transaction each, and never a neighbour's fault in anybody's answer.

Owns: from a group of requests to answers and deliveries.   Not: the queue (engine.py), checks and offsets (stage.py), SQL (store.py).
Rule 1: runs on the writer's thread only.
Rule 2: a group that fails for any reason is tried again member by member, once, so that one bad commit fails alone.
Rule 3: steps are in log order; whoever hands them on keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from signtusk_realtime.engines.sqlite.files import Ballast, is_full
from signtusk_realtime.engines.sqlite.layout import Address, LogState
from signtusk_realtime.engines.sqlite.stage import Stage
from signtusk_realtime.engines.sqlite.store import Changes, Delivery, Store
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, EngineHealth, Epoch, LogName, Reused, Stale

_log = logging.getLogger(__name__)


class Request:
    """Something asked of a log that waits for its group. `commit` is None where only `follows` is to change."""

    __slots__ = ("commit", "follows", "future", "log")

    def __init__(
        self,
        log: LogName,
        commit: Commit | None,
        follows: bool | None,
        future: asyncio.Future[Committed | Stale | Reused | None],
    ) -> None:
        self.log = log
        self.commit = commit
        self.follows = follows
        self.future = future


class Step(NamedTuple):
    """What the loop has to do: deliver, then answer. Without a request it is a delivery that was still owed."""

    request: Request | None
    delivery: Delivery | None = None
    answer: Committed | Stale | Reused | None = None
    error: Exception | None = None


class Writer:
    """The writer's side of the engine. `fault` says what is wrong with the database, or is None."""

    def __init__(self, store: Store, ballast: Ballast, clock: Callable[[], int]) -> None:
        self.store = store
        self.fault: str | None = None
        self._ballast = ballast
        self._clock = clock

    @property
    def health(self) -> EngineHealth:
        """How the database is. Without room nothing new is taken until there is some; another fault may be over with the next commit."""
        if self.fault is None:
            return EngineHealth("ok")
        return EngineHealth("unavailable" if self._ballast.is_released else "degraded", f"commits fail: {self.fault}")

    def run(self, requests: Sequence[Request]) -> list[Step]:
        """Answer every request, in order."""
        steps: list[Step] = []
        try:
            self._with_room(lambda: self._attempt(requests, steps))
            return steps
        except Exception as error:  # noqa: BLE001 - border: whatever it is, each caller is answered
            self._note(error)
            if len(requests) == 1:
                steps.append(Step(requests[0], error=_as_answer(error)))
                return steps
        for request in requests:
            try:
                self._with_room(partial(self._attempt, [request], steps))
            except Exception as error:  # noqa: BLE001 - as above
                self._note(error)
                steps.append(Step(request, error=_as_answer(error)))
        return steps

    def write(self, changes: Changes) -> None:
        """Write changes that are no commit (upkeep, erasure). Raises: Unavailable."""
        try:
            self._with_room(lambda: self.store.write(changes))
        except Exception as error:
            self._note(error)
            raise _as_answer(error) from error

    def owed(self) -> list[Step]:
        """Give the deliveries still owed. Raises: Unavailable."""
        try:
            return [Step(None, delivery) for delivery in self.store.settle()]
        except Exception as error:
            self._note(error)
            raise _as_answer(error) from error

    def _with_room(self, work: Callable[[], None]) -> None:
        """Do it; where the disk is full and the journal can be emptied, once more in the room that it has."""
        try:
            work()
        except sqlite3.Error as error:
            if not is_full(error) or not self.store.fold():
                raise
            work()

    def _attempt(self, requests: Sequence[Request], steps: list[Step]) -> None:
        """Commit a group whole, or raise. What was still owed is added to `steps` in either case."""
        steps += [Step(None, delivery) for delivery in self.store.settle()]
        stage = self._stage(requests)
        group: list[Step] = []
        deliveries = []
        for request in requests:
            if request.commit is None:
                group.append(Step(request))
                continue
            answer, entries = stage.admit(request.log, request.commit)
            delivery = None
            if entries and isinstance(answer, Committed):
                delivery = Delivery(request.log, answer.epoch, entries)
                deliveries.append(delivery)
            group.append(Step(request, delivery, answer))
        if stage.logs:
            if self._ballast.is_released:
                raise Unavailable("the disk is full")
            self.store.write(Changes(stage.logs, stage.entry_rows, stage.records, deliveries=deliveries))
            self.fault = None
        steps += group

    def _stage(self, requests: Sequence[Request]) -> Stage:
        """Look up in a few statements all that the group's checks will ask for."""
        now = self._clock()
        states = self.store.states({request.log: None for request in requests if request.commit is not None})
        ids: dict[int, list[str]] = {}
        expected: list[Address] = []
        for request in requests:
            state = states.get(request.log)
            if state is None or request.commit is None:
                continue
            if request.commit.events and state.offset > state.floor_offset:
                ids.setdefault(state.log_id, []).extend([draft.event_id for draft in request.commit.events])
            expected += [Address(state.log_id, *key) for key, _ in request.commit.expect]
        stage = Stage(
            now,
            states,
            self.store.known(ids) if ids else {},
            self.store.versions(expected, now) if expected else {},
        )
        for request in requests:
            if request.commit is not None and request.log not in states and request.log not in stage.logs:
                stage.create(LogState(self.store.next_id(), request.log, Epoch(os.urandom(8).hex())))
        return stage

    def _note(self, error: Exception) -> None:
        if not isinstance(error, sqlite3.Error | OSError):
            return
        if is_full(error):
            self._ballast.release()
        if self.fault is None:
            _log.error("database failed", extra={"error": str(error)})
        self.fault = str(error)


def _as_answer(error: Exception) -> Exception:
    """Give each caller an exception of its own; what is not the database's fault (a value SQLite cannot hold) stays as it is."""
    if isinstance(error, sqlite3.Error | OSError):
        return Unavailable(f"the database failed: {error}")
    if isinstance(error, Unavailable):
        return Unavailable(error.message)
    return error
