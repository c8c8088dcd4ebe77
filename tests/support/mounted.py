"""The ASGI mount served by a real uvicorn in this process.

Owns: the same as `tests/support/server.py` offers of our own server, over a mount in a Starlette application.
Rule: what a test is given has the same names, so that one test runs over both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.routing import Mount as Below
from starlette.types import ASGIApp
from uvicorn import Config, Server

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.server.asgi import Mount
from signtusk_realtime.server.asgi_peers import Doors
from signtusk_realtime.server.entrance import Entrance, ServerLimits
from signtusk_realtime.server.host import HostWatch
from signtusk_realtime.server.http import HttpApi
from signtusk_realtime.server.origins import LoopbackPolicy
from signtusk_realtime.server.outlets import Pumps
from tests.support.server import DEADLINE_S, QUICK, until, verbs_over


class Mounted(NamedTuple):
    """A mount that is served, and what is behind it."""

    port: int
    hub: Hub
    engine: Engine
    verbs: Verbs

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving_mounted(
    *,
    engine: Engine | None = None,
    limits: ServerLimits = QUICK,
    authenticator: Authenticator | None = None,
    heartbeat_interval_s: float = 30.0,
    pong_timeout_s: float = 10.0,
    connection_timeout_s: float = 300.0,
    max_messages: int = 1000,
) -> AsyncIterator[Mounted]:
    """Serve until the block ends; takes what `serving` takes."""
    engine = engine or MemoryEngine()
    control = Control(engine)
    hub = Hub(
        engine,
        heartbeat_interval_s=heartbeat_interval_s,
        pong_timeout_s=pong_timeout_s,
        connection_timeout_s=connection_timeout_s,
        closed=lambda connection, code: verbs.connect.closed(connection),
        controlled=control.controlled,
        control_lost=control.lost,
    )
    await engine.start(hub)
    await hub.start()
    await control.start(hub)
    if hub.engine_health.status == "unavailable":
        hub.health(EngineHealth("ok"))
    pumps = Pumps(max_messages=max_messages, max_bytes=limits.outbox_bytes, close_timeout_s=limits.close_timeout_s)
    verbs = verbs_over(hub, engine, limits, authenticator=authenticator, control=control)
    doors = make_doors(hub, engine, pumps, limits=limits, verbs=verbs)
    try:
        async with uvicorn_serving(Starlette(routes=[Below("/", make_mount(doors))])) as port:
            yield Mounted(port, hub, engine, verbs)
            doors.entrance.is_stopping = True
            await hub.close()
    finally:
        await hub.close()
        await verbs.close()
        await pumps.close()
        await engine.close()


def make_doors(
    hub: Hub,
    engine: Engine,
    pumps: Pumps,
    *,
    limits: ServerLimits = QUICK,
    verbs: Verbs | None = None,
) -> Doors:
    """Put the doors together over a hub and an engine that run."""
    policy = LoopbackPolicy()
    verbs = verbs or verbs_over(hub, engine, limits)
    entrance = Entrance(
        hub=hub,
        verbs=verbs,
        policy=policy,
        limits=limits,
        changed=lambda: None,
    )
    api = HttpApi(
        verbs=verbs,
        policy=policy,
        limits=limits,
        health=lambda: hub.engine_health,
        metrics=Metrics(hub.counters, pending=lambda: hub.pending + pumps.waiting),
        is_stopping=lambda: entrance.is_stopping,
        version="0.0.0-test",
        websocket_path="/ws",
    )
    return Doors(entrance, api, pumps, HostWatch(hub))


async def _nothing() -> None:
    pass


def make_mount(
    doors: Doors,
    *,
    start: Callable[[], Awaitable[None]] = _nothing,
    stop: Callable[[], Awaitable[None]] = _nothing,
    is_local_only: bool = True,
) -> Mount:
    """Make the ASGI application of these doors."""

    async def given() -> Doors:
        return doors

    return Mount(given, start=start, stop=stop, websocket_path="/ws", is_local_only=is_local_only)


@asynccontextmanager
async def uvicorn_serving(app: ASGIApp, *, lifespan: str = "auto") -> AsyncIterator[int]:
    """Serve an application on a port of the system's choice; stop like a signal would."""
    # As an operator would run it, but for the logs.
    server = Server(
        Config(app, port=0, lifespan=lifespan, log_config=None, timeout_graceful_shutdown=int(DEADLINE_S))  # type: ignore[arg-type]  # a Literal
    )
    serving = asyncio.get_running_loop().create_task(server.serve())
    try:
        await until(lambda: server.started or serving.done())
        if serving.done():
            await serving
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving
