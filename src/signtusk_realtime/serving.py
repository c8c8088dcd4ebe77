"""The service as a process of its own.

Owns: the event loop, the log's form, signals until there is a server to listen to them.   Not: options and exit codes (cli), what is served
(service).
Rule: a signal at any moment is a request to stop, and is followed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import suppress
from typing import Final

import uvloop

from signtusk_realtime import __version__
from signtusk_realtime.config import Configuration, Settings
from signtusk_realtime.observability.logging import configure
from signtusk_realtime.service import RealtimeService, make_server

log = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SWITCH_INTERVAL_S: Final = 0.0005
"""How long a thread may wait for the interpreter. Measured: by Python's 5 ms the database's thread waits that long for each statement."""

GC_THRESHOLDS: Final = (10_000, 20, 50)
"""How much is made before the collector looks for cycles, by generation. Measured: by Python's own 700 a storm of connections spends a sixth of
its time on that, for a connection is many small values that live as long as it does; when it ends, none of them waits for the collector."""


def serve(configuration: Configuration) -> None:
    """Serve until a signal comes. Raises: ConfigurationError or Unavailable if it cannot begin; then nothing is left open."""
    configure()
    for warning in configuration.warnings:
        log.warning(warning)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    uvloop.run(_serve(configuration.settings))
    # All is done; a further signal would only spoil the exit code.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def _serve(settings: Settings) -> None:
    # Opening the log and binding the socket take a moment too; once it serves, the server listens to signals itself.
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    assert starting is not None
    for number in SIGNALS:
        loop.add_signal_handler(number, starting.cancel)
    with suppress(asyncio.CancelledError):
        async with RealtimeService(settings=settings) as service:
            server = make_server(service)
            fields = {"version": __version__, "database": settings.database, "authentication": settings.auth.mode}
            log.info("service started", extra=fields)
            # What was loaded stays: no collection has to walk through it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            await server.run(ends_process=True)
