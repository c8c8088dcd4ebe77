"""The service as a whole: what is made of the settings, and the order in which it begins and ends.

Owns: which engine and authenticator there are, the operations over them, their life.   Not: sockets (server), what each part does.
Rule 1: here alone concrete engines and authenticators are named.   Rule 2: what began is ended in the opposite order, also when a later part
failed to begin.   Rule 3: after `cleanup` nothing is left, and `initialize` begins anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from signtusk_realtime import __version__
from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.auth.development import DevelopmentAuthenticator
from signtusk_realtime.config import Settings, check
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import EngineHealth, Retention
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.history import History
from signtusk_realtime.operations.ids import new_id
from signtusk_realtime.operations.publish import Publish
from signtusk_realtime.operations.receive import Receive
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.sessions.session import SessionLimits

if TYPE_CHECKING:
    from signtusk_realtime.server.server import RealtimeServer


def wall_ms() -> int:
    """Give the time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """What runs between `initialize` and `cleanup`; servers are built over it."""

    engine: Engine
    hub: Hub
    authenticator: Authenticator
    connect: Connect
    subscriptions: Subscriptions
    receive: Receive
    publish: Publish
    history: History


class RealtimeService:
    """See the module. `settings`: checked at once. Raises: InvalidSettings, with every fault."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = Settings() if settings is None else settings
        check(self.settings)
        self._rooms: Rooms | None = None
        self._ending = AsyncExitStack()
        self._changing = asyncio.Lock()

    @property
    def rooms(self) -> Rooms:
        """What is running. Raises: Unavailable before `initialize` and after `cleanup`."""
        if self._rooms is None:
            raise Unavailable("the service is not running; await initialize() first")
        return self._rooms

    async def initialize(self) -> None:
        """Open the log and begin delivery. Does nothing if that was done. Raises: ConfigurationError, Unavailable; then nothing is left."""
        async with self._changing:
            if self._rooms is not None:
                return
            async with AsyncExitStack() as begun:
                rooms = await _begin(self.settings, begun)
                self._ending = begun.pop_all()
            self._rooms = rooms

    async def cleanup(self) -> None:
        """End every connection, then let go of everything. Does nothing if nothing runs. Servers are stopped before, by their owner."""
        async with self._changing:
            self._rooms = None
            await self._ending.aclose()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()


async def _begin(settings: Settings, begun: AsyncExitStack) -> Rooms:
    engine = _engine(settings)
    hub = Hub(
        engine,
        heartbeat_interval_s=settings.heartbeat_interval / 1000,
        pong_timeout_s=settings.pong_timeout / 1000,
        tail_bytes=settings.tail_bytes,
    )
    # Ordering: what ends a part is noted before the part begins, for it may fail half-way; ending what never began does nothing.
    begun.push_async_callback(engine.close)
    # An engine tells changes only: one that started is well unless it says otherwise.
    hub.health(EngineHealth("ok"))
    await engine.start(hub)
    begun.push_async_callback(hub.close)
    await hub.start()
    return _rooms(settings, engine, hub, wall_ms)


def _engine(settings: Settings) -> Engine:
    retention = Retention(
        age_ms=settings.retention_age, count=settings.retention_count, max_bytes=settings.retention_bytes
    )
    return SqliteEngine(settings.database, durability=settings.durability, retention=retention)


def _rooms(settings: Settings, engine: Engine, hub: Hub, now_ms: Callable[[], int]) -> Rooms:
    limits = settings.limits
    subscriptions = Subscriptions(engine, hub, new_id=new_id)
    return Rooms(
        engine=engine,
        hub=hub,
        authenticator=DevelopmentAuthenticator(),
        connect=Connect(
            hub,
            limits=SessionLimits(subscriptions=limits.subscriptions, json_depth=limits.json_depth),
            heartbeat_interval_ms=settings.heartbeat_interval,
            now_ms=now_ms,
            new_id=new_id,
        ),
        subscriptions=subscriptions,
        receive=Receive(hub, subscriptions, monotonic_s=time.monotonic, now_ms=now_ms),
        publish=Publish(engine, now_ms=now_ms, new_id=new_id, max_payload_bytes=limits.payload_bytes),
        history=History(engine),
    )


def make_server(service: RealtimeService) -> RealtimeServer:
    """Make the native server of a running service, on the address its settings name. Who asked starts it, and stops it before `cleanup`."""
    # An application that only embeds the service is installed without what the native server needs.
    from signtusk_realtime.server.entrance import ServerLimits  # noqa: PLC0415
    from signtusk_realtime.server.origins import LoopbackPolicy  # noqa: PLC0415
    from signtusk_realtime.server.server import RealtimeServer  # noqa: PLC0415

    settings, rooms = service.settings, service.rooms
    limits = settings.limits
    return RealtimeServer(
        hub=rooms.hub,
        connect=rooms.connect,
        subscriptions=rooms.subscriptions,
        receive=rooms.receive,
        publish=rooms.publish,
        history=rooms.history,
        authenticator=rooms.authenticator,
        policy=LoopbackPolicy(),
        version=__version__,
        host=settings.host,
        port=settings.port,
        limits=ServerLimits(
            message_bytes=limits.message_bytes,
            json_depth=limits.json_depth,
            batch=limits.batch,
            payload_bytes=limits.payload_bytes,
            body_bytes=limits.body_bytes,
            outbox_bytes=settings.outbox_bytes,
            subscriptions=limits.subscriptions,
            connections=limits.connections,
            drain_timeout_s=settings.drain_timeout / 1000,
        ),
    )
