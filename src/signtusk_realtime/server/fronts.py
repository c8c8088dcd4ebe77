"""What all connections of a server share while they speak HTTP.

Owns: their bounds, the native paths, four timers, whose pipelined requests are next, who is there, and how all of them are told to end.
Not: one connection (front.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from uvicorn.config import Config
from uvicorn.server import ServerState

from signtusk_realtime.server.deadlines import Deadlines
from signtusk_realtime.server.entrance import NativeProtocol, ServerLimits
from signtusk_realtime.server.front import Front
from signtusk_realtime.server.intake import Turnstile
from signtusk_realtime.server.problems import HeaderPairs


class Tasks(set["asyncio.Task[None]"]):
    """The application's running answers; the base class adds each, and discards it when it is done. `changed` is called then."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def discard(self, task: object, /) -> None:
        """Forget a task that is done."""
        super().discard(task)
        self._changed()


class Fronts:
    """See the module.

    `natives`: by path, what takes over a GET. `changed` is called whenever a connection or an answer ended here. `always`: headers of every
    answer that is given here.
    """

    def __init__(
        self,
        config: Config,
        *,
        limits: ServerLimits,
        natives: Mapping[str, Callable[[], NativeProtocol]],
        changed: Callable[[], None],
        always: HeaderPairs = (),
    ) -> None:
        self.always = always
        self.config = config
        self.limits = limits
        self.natives = natives
        self.changed = changed
        self.state = ServerState()
        self.state.tasks = Tasks(changed)
        self.heads: Deadlines[Front] = Deadlines(limits.head_timeout_s, Front.head_late)
        self.bodies: Deadlines[Front] = Deadlines(limits.body_timeout_s, Front.body_late)
        self.answers: Deadlines[Front] = Deadlines(limits.body_timeout_s, Front.answer_late)
        self.endings: Deadlines[Front] = Deadlines(limits.close_timeout_s, Front.ending_late)
        self.turnstile = Turnstile()
        self.is_stopping = False

    def make(self) -> Front:
        """Make the protocol of a connection that was just accepted."""
        return Front(self)

    def unwatch(self, front: Front) -> None:
        """Expect no request of this connection any more."""
        for deadlines in (self.heads, self.bodies, self.endings):
            deadlines.discard(front)

    def stop(self) -> None:
        """Let each connection ask once more: a probe, or a publisher who knows of nothing yet, is answered, and that is its last answer."""
        self.is_stopping = True

    def end_idle(self) -> None:
        """Answer what was asked, and end each connection after that."""
        for front in list(self.state.connections):
            front.shutdown()

    def abort(self) -> None:
        """End everything now."""
        for front in list(self.state.connections):
            front.transport.abort()
        for task in self.state.tasks:
            task.cancel()

    def close(self) -> None:
        """Let go of the timers."""
        for deadlines in (self.heads, self.bodies, self.answers, self.endings):
            deadlines.close()
