"""Telling all nodes something, and learning what came of it.

Owns: notices on their way out, what each node answers, who has not answered in time.   Not: what a notice means (control.py, and whoever
answers it), which nodes there are (registry.py).
Rule 1: a notice is an entry of the control log, which every node follows; an answer is a record beside it, for a short while.
Rule 2: an answer of this module means that the notice is durable and was acted upon here; who has not said so yet is counted as pending.
Rule 3: no secret is told so: a token is checked by whoever was given it, and only what it says goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeVar, cast

from signtusk_realtime.cluster import notices
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.notices import Notice
from signtusk_realtime.cluster.registry import ALL_NODES, Registry
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import RealtimeError, Unavailable
from signtusk_realtime.events.log import CONTROL_LOG, Commit, Committed, Draft, Key, Range, Record

log = logging.getLogger(__name__)

ANSWERS: Final = "answers"
"""Their collection in the control log, by the notice's id and the node's."""
IN_TIME_S: Final = 1.0
KEPT_MS: Final = 10_000
_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.1
_MOST: Final = 10_000

N = TypeVar("N", bound=Notice)


class Told(NamedTuple):
    """What came of a notice: what was closed here, what the others answered by their ids, and how many did not in time."""

    closed: int
    answers: Mapping[str, bytes]
    pending: int


class Asking:
    """See the module. `node_id`: this node; `new_id(prefix)`: a fresh, time-ordered id."""

    def __init__(
        self, engine: Engine, control: Control, registry: Registry, *, node_id: str, new_id: Callable[[str], str]
    ) -> None:
        self._engine = engine
        self._control = control
        self._registry = registry
        self._node_id = node_id
        self._new_id = new_id
        self._answering: dict[type, Callable[[Notice], Awaitable[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsaid: dict[str, bytes] = {}
        """Answers that go with the next commit, by the notice's id."""
        control.told = self._heard

    @property
    def has_others(self) -> bool:
        """Whether there may be other nodes to ask."""
        return self._registry.is_shared

    def answer(self, kind: type[N], by: Callable[[N], Awaitable[bytes]]) -> None:
        """Have notices of a kind from other nodes answered; of others it is said how many connections they closed."""
        self._answering[kind] = cast("Callable[[Notice], Awaitable[bytes]]", by)

    async def tell(
        self,
        notice: Notice,
        *,
        put: tuple[Record, ...] = (),
        delete: tuple[Key, ...] = (),
        is_enough: Callable[[bytes], bool] = lambda answer: False,
    ) -> Told:
        """Tell all nodes, and with it remember and forget records; wait for all answers, or one that is enough, or a second.

        Raises: Unavailable (whether the notice was stored is then unknown).
        """
        event_id = self._new_id("ctl")
        event = Draft(event_id, bytes(32), (), notices.encode(notice))
        self._control.expect(event_id)
        try:
            outcome = await self._engine.commit(CONTROL_LOG, Commit(events=(event,), put=put, delete=delete))
        finally:
            closed = self._control.counted(event_id)
        if not isinstance(outcome, Committed):
            raise Unavailable("the control log changed its epoch; repeat the call")
        if not self._registry.is_shared:
            return Told(closed, {}, 0)
        answers, pending = await self._gather(event_id, is_enough)
        return Told(closed, answers, pending)

    async def close(self) -> None:
        """Answer nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _gather(self, event_id: str, is_enough: Callable[[bytes], bool]) -> tuple[Mapping[str, bytes], int]:
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + IN_TIME_S, _FIRST_PAUSE_S
        prefix = event_id + "/"
        queries = [Range(ANSWERS, prefix, event_id + chr(ord("/") + 1), _MOST), ALL_NODES]
        answers: dict[str, bytes] = {}
        missing = asked = frozenset(node.node_id for node in self._registry.others)
        is_first = True
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    snapshot = await self._engine.records(CONTROL_LOG, queries)
            except (RealtimeError, TimeoutError):
                # What was told is stored; who has not answered as far as we know is pending.
                pass
            else:
                answers = {record.key.removeprefix(prefix): record.value for record in snapshot.results[0]}
                alive = frozenset(self._registry.others_in(snapshot, 1))
                # Who joins after the notice reads its record instead; who is gone has nobody left to close.
                asked = alive if is_first else asked & alive
                is_first = False
                missing = asked - answers.keys()
            if not missing or any(is_enough(answer) for answer in answers.values()) or loop.time() >= deadline:
                return answers, len(missing)
            await asyncio.sleep(max(0.0, min(pause_s, deadline - loop.time())))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    # ---- the other side

    def _heard(self, event_id: str, notice: Notice, closed: int) -> None:
        """Answer another node's notice."""
        if not self._registry.is_shared:
            return
        by = self._answering.get(type(notice))
        if by is None:
            self._say(event_id, b"%d" % closed)
        else:
            self._spawn(self._work_out(event_id, by, notice))

    async def _work_out(self, event_id: str, by: Callable[[Notice], Awaitable[bytes]], notice: Notice) -> None:
        try:
            answer = await by(notice)
        except RealtimeError as error:
            # Nothing is answered: this node counts as pending.
            log.warning("a notice could not be answered", extra={"event_id": event_id, "reason": error.message})
            return
        self._say(event_id, answer)

    def _say(self, event_id: str, answer: bytes) -> None:
        if not self._unsaid:
            self._spawn(self._say_all())
        self._unsaid[event_id] = answer

    async def _say_all(self) -> None:
        unsaid, self._unsaid = self._unsaid, {}
        gone_at = self._registry.engine_ms() + KEPT_MS
        records = tuple(
            Record(ANSWERS, f"{event_id}/{self._node_id}", answer, 1, gone_at) for event_id, answer in unsaid.items()
        )
        try:
            await self._engine.commit(CONTROL_LOG, Commit(put=records))
        except RealtimeError as error:
            log.warning("notices could not be answered", extra={"count": len(unsaid), "reason": error.message})

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def closed_in(told: Told) -> int:
    """Give how many connections a notice closed, here and where it was answered."""
    return told.closed + sum(int(answer) for answer in told.answers.values() if answer.isdigit())
