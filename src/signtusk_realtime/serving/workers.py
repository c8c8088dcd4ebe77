"""Several processes that serve one port, and the one that started them.

Owns: starting them, passing signals on, starting anew who crashed.   Not: serving (each worker does as one alone would), who gets which
connection (the kernel's choice: SO_REUSEPORT).
Rule 1: who started them has no loop, no thread and no connection: there is nothing in him that could fail.
Rule 2: a worker that ends by itself is started anew, later each time, and so often at most; if none has served yet, all end instead.
Rule 3: no worker outlives its parent: each watches the reading end of a pipe that ends with it.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from signtusk_realtime.errors import RealtimeError

log = logging.getLogger(__name__)

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_HANDLED: Final = (*STOPPING, signal.SIGHUP, signal.SIGCHLD)
RESTARTS: Final = 10
WITHIN_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
DONE: Final = 0
FAILED: Final = 1


class Post(NamedTuple):
    """What one worker is given. `parent`: readable once the parent is gone. `ready`: to be written to once it serves."""

    number: int
    parent: int
    ready: int


class Workers:
    """See the module. `work` is run in each worker, raises RealtimeError if it cannot, and returns when it was told to stop.

    `restarts`: how often at most, within WITHIN_S, workers that ended are started anew.
    """

    def __init__(self, count: int, work: Callable[[Post], None], *, restarts: int = RESTARTS) -> None:
        self._count = count
        self._restarts = restarts
        self._work = work
        self._numbers: dict[int, int] = {}
        """Of running workers, by process id."""
        self._due: dict[int, float] = {}
        """When those that ended are started anew, by number."""
        self._crashes: deque[float] = deque()
        self._is_stopping = False
        self._code = DONE
        self._woken, self._wakes = socket.socketpair()
        self._parent, self._life = os.pipe()
        self._ready, self._is_ready = os.pipe()
        self._has_served = False

    def run(self) -> int:
        """Start all, watch over them until they have ended, and give the exit code."""
        for end in (self._woken, self._wakes):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for one in _HANDLED:
            signal.signal(one, _noted)
        # What was loaded so far is shared by all; a collection would touch, and so copy, every page of it.
        gc.freeze()
        for number in range(self._count):
            self._start(number)
        log.info("workers started", extra={"workers": self._count, "pids": sorted(self._numbers)})
        while self._numbers or self._due:
            self._wait()
            self._bury()
            for number in [n for n, due in self._due.items() if due <= time.monotonic()]:
                del self._due[number]
                self._start(number)
        return self._code

    def _wait(self) -> None:
        next_s = max(0.0, min(self._due.values()) - time.monotonic()) if self._due else None
        select.select([self._woken], [], [], next_s)
        with suppress(BlockingIOError):
            for byte in self._woken.recv(256):
                if byte in STOPPING:
                    self._stop()
                elif byte == signal.SIGHUP:
                    self._pass_on(signal.SIGHUP)

    def _stop(self) -> None:
        """Ask all to stop; asked again, to stop at once."""
        self._is_stopping = True
        self._due.clear()
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for pid in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start(self, number: int) -> None:
        # Ordering: a signal for the child that comes before it listens to signals itself must not be taken by the parent's handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        pid = os.fork()
        if pid == 0:
            self._be_worker(number)
        self._numbers[pid] = number
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)

    def _be_worker(self, number: int) -> NoReturn:
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for one in _HANDLED:
                signal.signal(one, signal.SIG_IGN if one == signal.SIGHUP else signal.SIG_DFL)
            os.close(self._life)
            self._woken.close()
            self._wakes.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            self._work(Post(number, self._parent, self._is_ready))
            code = DONE
        except RealtimeError as error:
            log.error("cannot serve", extra={"worker": number, "reason": error.message})  # noqa: TRY400 - the reason is known
        except BaseException:
            log.exception("worker failed", extra={"worker": number})
        finally:
            os._exit(code)

    def _bury(self) -> None:
        """Learn who has ended, and decide what becomes of it."""
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._is_stopping:
                if code not in (DONE, -signal.SIGTERM):
                    self._code = FAILED
                continue
            log.warning("worker ended", extra={"worker": number, "pid": pid, "code": code})
            self._plan(number)

    def _plan(self, number: int) -> None:
        now = time.monotonic()
        while self._crashes and self._crashes[0] < now - WITHIN_S:
            self._crashes.popleft()
        self._crashes.append(now)
        if not self._has_anybody_served():
            log.error("no worker could be started")
        elif len(self._crashes) > self._restarts:
            log.error("workers end again and again", extra={"times": len(self._crashes), "seconds": WITHIN_S})
        else:
            self._due[number] = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (len(self._crashes) - 1))
            return
        self._code = FAILED
        self._stop()

    def _has_anybody_served(self) -> bool:
        if not self._has_served and select.select([self._ready], [], [], 0)[0]:
            self._has_served = True
        return self._has_served


def _noted(number: int, frame: object) -> None:
    """Let the wakeup descriptor tell it."""
