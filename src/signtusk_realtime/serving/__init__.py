"""The service as a process of its own, or as several on one port.

Owns: the event loop, the log's form, signals until there is a server to listen to them.   Not: options and exit codes (cli), what is served
(service), watching over several processes (workers.py).
Rule: a signal at any moment is a request to stop, and is followed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import uvloop

from signtusk_realtime import __version__
from signtusk_realtime.config import Configuration, Settings
from signtusk_realtime.observability.logging import configure
from signtusk_realtime.server.server import bind
from signtusk_realtime.service import RealtimeService, make_server
from signtusk_realtime.serving.workers import Post, Workers

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SWITCH_INTERVAL_S: Final = 0.0001
"""How long a thread may wait for the interpreter. Measured: by Python's 5 ms the database's thread waits that long for each statement. And the wait begins
anew whenever the loop lets go and takes hold again in one turn: where a flood keeps it in turns shorter than this, the thread hardly ever gets its
own, and every publication takes ten times as long."""

GC_THRESHOLDS: Final = (10_000, 20, 50)
"""How much is made before the collector looks for cycles, by generation. Measured: by Python's own 700 a storm of connections spends a sixth of
its time on that, for a connection is many small values that live as long as it does; when it ends, none of them waits for the collector."""


def serve(configuration: Configuration) -> int:
    """Serve until a signal comes; give the exit code.

    Raises: ConfigurationError or Unavailable if it cannot begin; then nothing is left open. Of several processes each says so itself.
    """
    configure()
    for warning in configuration.warnings:
        log.warning(warning)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    settings = configuration.settings
    if settings.workers > 1:
        return _serve_many(settings)
    _serve_alone(settings)
    return 0


def _serve_alone(settings: Settings, post: Post | None = None) -> None:
    uvloop.run(_serve(settings, post))
    # All is done; a further signal would only spoil the exit code.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _serve_many(settings: Settings) -> int:
    # Whether somebody else has the port is found out first: one that is shared is had by everybody of this user.
    for one in bind(settings.host, settings.port, shares_port=False):
        one.close()
    # Bound, and not listened on, it stays ours while no worker has it.
    held = bind(settings.host, settings.port, shares_port=True)
    port: int = held[0].getsockname()[1]

    def work(post: Post) -> None:
        for one in held:
            one.close()
        admin_port = settings.admin_port + post.number if settings.admin_port else settings.admin_port
        _serve_alone(replace(settings, port=port, admin_port=admin_port), post)

    try:
        return Workers(settings.workers, work).run()
    finally:
        for one in held:
            one.close()


async def _serve(settings: Settings, post: Post | None) -> None:
    # Opening the log and binding the socket take a moment too; once it serves, the server listens to signals itself.
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    assert starting is not None
    for number in SIGNALS:
        loop.add_signal_handler(number, starting.cancel)
    if post is not None:
        _end_with_parent(loop, post.parent)
    with suppress(asyncio.CancelledError):
        async with RealtimeService(settings=settings) as service:
            server = make_server(service, shares_port=post is not None)
            fields = {"version": __version__, "database": settings.database, "authentication": settings.auth.mode}
            if post is not None:
                fields["worker"] = str(post.number)
            log.info("service started", extra=fields)
            # What was loaded stays: no collection has to walk through it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await server.run(ends_process=True, started=None if post is None else partial(os.write, post.ready, b"1"))


def _end_with_parent(loop: asyncio.AbstractEventLoop, parent: int) -> None:
    def orphaned() -> None:
        loop.remove_reader(parent)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent, orphaned)
