"""What an application is told of the service's own life: connections that come and go, and figures.

Owns: callbacks by event, and when they are called.   Not: what is told (whoever calls `tell`).
Rule 1: a callback runs in a later turn of the loop, in the order of events: it may call the service, and delivery is not under way.
Rule 2: what a callback raises is logged and touches nothing else; what it awaits is run as a task, which the service's end waits for.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
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


class ConnectionChange(Struct, frozen=True, kw_only=True):
    """A connection came or went. `code`: why it went, as a close code; None if the peer left, or while it is there.

    `metadata`: what the application handed in with its socket.
    """

    connection_id: str
    user_id: str
    organization_id: str
    metadata: Mapping[str, object]
    code: int | None = None


class Listeners:
    """See the module."""

    def __init__(self) -> None:
        self._callbacks: dict[str, list[Callback]] = {name: [] for name in EVENTS}
        self._untold: deque[tuple[str, object]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` with each event from now on; give what ends that. Raises: InvalidInput for an event there is not."""
        if event not in self._callbacks:
            near = difflib.get_close_matches(event, EVENTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(EVENTS)}"
            raise InvalidInput(f"there is no event {event!r}{hint}", code="invalid_parameter", path=("event",))
        callbacks = self._callbacks[event]
        callbacks.append(callback)

        def end() -> None:
            if callback in callbacks:
                callbacks.remove(callback)

        return end

    def is_listened_to(self, event: ServiceEvent) -> bool:
        """Say whether anybody wants an event: what is costly to gather need not be gathered for nobody."""
        return bool(self._callbacks[event])

    def tell(self, event: ServiceEvent, value: object) -> None:
        """Tell all who listen, in a later turn."""
        if self._callbacks[event]:
            if not self._untold:
                asyncio.get_running_loop().call_soon(self._tell_all)
            self._untold.append((event, value))

    async def close(self) -> None:
        """Tell what is still to be told, and wait, bounded, for what callbacks began."""
        self._tell_all()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=END_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _tell_all(self) -> None:
        while self._untold:
            event, value = self._untold.popleft()
            for callback in list(self._callbacks[event]):
                try:
                    outcome = callback(value)
                except Exception:
                    log.exception("a listener failed", extra={"event_name": event})
                    continue
                if inspect.isawaitable(outcome):
                    task = asyncio.get_running_loop().create_task(_awaited(event, outcome))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)


async def _awaited(event: str, outcome: Awaitable[object]) -> None:
    try:
        await outcome
    except Exception:
        log.exception("a listener failed", extra={"event_name": event})
