"""What an application is told of the service's own life: connections that come and go, and figures.

Owns: callbacks by event, and when they are called.   Not: what is told (whoever calls `tell`).
Rule 1: a callback runs in a later turn of the loop, in the order of events: it may call the service, and delivery is not under way.
Rule 2: what a callback raises is logged and touches nothing else; what it awaits is run as a task, which the service's end waits for.
Rule 3: a callback may ask for the service's end and await it: the end does not wait for who waits for it.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct

from signtusk_realtime.errors import InvalidInput

log = logging.getLogger(__name__)

ServiceEvent = Literal[
    "ws_connection_added", "ws_connection_removed", "sse_connection_added", "sse_connection_removed", "metrics_updated"
]
EVENTS: Final[tuple[str, ...]] = get_args(ServiceEvent)
END_TIMEOUT_S: Final = 5.0

# What is told depends on the event, and a callback may take that for granted.
Callback: TypeAlias = Callable[[Any], object]

_telling: ContextVar[asyncio.Task[None] | None] = ContextVar("_telling", default=None)
"""The task of the callback that the running code belongs to. Why not the current task: a callback may have put what it awaits in another
(`asyncio.wait_for` does), which inherits its context."""


class ConnectionChange(Struct, frozen=True, kw_only=True):
    """A connection came or went. `code`: why it went, as a close code; None if the peer left, or while it is there.

    `metadata`: what the application handed in with its socket.
    """

    connection_id: str
    user_id: str
    organization_id: str
    metadata: Mapping[str, object]
    code: int | None = None


class _Registration:
    """One call of `on`: equal to no other, though the callback may be."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback = callback


class Listeners:
    """See the module."""

    def __init__(self) -> None:
        self._registrations: dict[str, list[_Registration]] = {name: [] for name in EVENTS}
        self._untold: deque[tuple[str, object]] = deque()
        self._is_planned = False
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with each event from now on; give what ends that.

        Raises: InvalidInput for an event there is not, or what cannot be called.
        """
        if event not in EVENTS:
            near = difflib.get_close_matches(str(event), EVENTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(EVENTS)}"
            raise InvalidInput(f"there is no event {event!r}{hint}", code="invalid_parameter", path=("event",))
        if not callable(callback):
            raise InvalidInput(
                f"a function is expected, not {type(callback).__name__}", code="invalid_parameter", path=("callback",)
            )
        registrations, one = self._registrations[event], _Registration(callback)
        registrations.append(one)

        def end() -> None:
            if one in registrations:
                registrations.remove(one)

        return end

    def is_listened_to(self, event: ServiceEvent) -> bool:
        """Say whether anybody wants an event: what is costly to gather need not be gathered for nobody."""
        return bool(self._registrations[event])

    def is_telling(self) -> bool:
        """Say whether the running code belongs to a callback that has not returned."""
        return _telling.get() in self._tasks

    def tell(self, event: ServiceEvent, value: object) -> None:
        """Tell all who listen, in a later turn."""
        if self._registrations[event]:
            self._untold.append((event, value))
            self._plan()

    async def close(self) -> None:
        """Tell what is still to be told, and wait, bounded, for what callbacks began; but for a callback that called this."""
        self._tell_all()
        own = _telling.get()
        waited_for = {task for task in self._tasks if task is not own}
        if waited_for:
            _, late = await asyncio.wait(waited_for, timeout=END_TIMEOUT_S)
            for task in late:
                log.warning("a listener does not end and is cancelled", extra={"listener": task.get_name()})
                task.cancel()
            # Why not gather: cancelled itself, it would cancel them again, and one of them may be waiting for this.
            if late:
                await asyncio.wait(late, timeout=END_TIMEOUT_S)

    def _plan(self) -> None:
        if not self._is_planned:
            self._is_planned = True
            asyncio.get_running_loop().call_soon(self._tell_planned)

    def _tell_planned(self) -> None:
        self._is_planned = False
        self._tell_all()

    def _tell_all(self) -> None:
        try:
            while self._untold:
                event, value = self._untold.popleft()
                for one in list(self._registrations[event]):
                    self._call(event, one.callback, value)
        finally:
            # A signal's exception goes on to the loop; who is still to be told does not depend on it.
            if self._untold:
                self._plan()

    def _call(self, event: str, callback: Callback, value: object) -> None:
        try:
            outcome = callback(value)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            # Border, an application's callback: CancelledError is that of a future it looked at, and ends nobody else's telling.
            log.exception("a listener failed", extra={"event_name": event})
            return
        if inspect.isawaitable(outcome):
            name = getattr(callback, "__qualname__", type(callback).__qualname__)
            task = asyncio.get_running_loop().create_task(_awaited(event, outcome), name=f"{event}: {name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _awaited(event: str, outcome: Awaitable[object]) -> None:
    task = asyncio.current_task()
    assert task is not None, "it runs as a task"
    _telling.set(task)
    try:
        await outcome
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) or (isinstance(error, asyncio.CancelledError) and task.cancelling()):
            raise
        log.exception("a listener failed", extra={"event_name": event})
