"""What a running service is made of, and the order in which its parts begin and end.

Owns: which engine and authenticator there are, the operations over them.   Not: sockets (server), what each part does.
Rule 1: here alone concrete engines and authenticators are named.   Rule 2: what began is ended in the opposite order, also when a later part
failed to begin.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from signtusk_realtime import __version__
from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.auth.authorizer import Authorizer
from signtusk_realtime.auth.development import DevelopmentAuthenticator
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import Node
from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.config import Settings
from signtusk_realtime.config.policy import policy_of
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import STREAM
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.events.log import EngineHealth, Retention
from signtusk_realtime.observability.metrics import Metrics, MetricsMapping
from signtusk_realtime.operations.census import ConnectionLimits
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.commits import Keeping
from signtusk_realtime.operations.ids import new_id, new_secret
from signtusk_realtime.operations.verbs import Verbs, make_verbs
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.server.carriers import Carriers
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.origins import AllowedOrigins, LoopbackPolicy, OperatorsPolicy, OriginPolicy
from signtusk_realtime.server.outlets import Pumps
from signtusk_realtime.server.proxies import Proxies
from signtusk_realtime.service.emitter import Emitter
from signtusk_realtime.service.handed import HandedIn, Pending
from signtusk_realtime.service.listeners import ConnectionChange, Listeners, ServiceEvent
from signtusk_realtime.sessions.rates import RateLimits
from signtusk_realtime.sessions.session import SessionLimits


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """What runs between `initialize` and `cleanup`; servers are built over it."""

    engine: Engine
    hub: Hub
    verbs: Verbs
    metrics: Metrics
    pumps: Pumps
    handed: HandedIn
    emit: Emitter
    limits: ServerLimits
    policy: OriginPolicy
    operators_policy: OriginPolicy
    proxies: Proxies
    carriers: Carriers


async def begin(
    settings: Settings, listeners: Listeners, begun: AsyncExitStack, *, authorizer: Authorizer | None = None
) -> Rooms:
    """Open the log and begin delivery; `begun` ends it all. Raises: ConfigurationError, Unavailable."""
    engine = make_engine(settings)
    telling = _Telling(listeners)
    control = Control(engine)
    hub = Hub(
        engine,
        heartbeat_interval_s=settings.heartbeat_interval / 1000,
        pong_timeout_s=settings.pong_timeout / 1000,
        connection_timeout_s=settings.connection_timeout / 1000,
        tail_bytes=settings.tail_bytes,
        closed=telling.closed,
        controlled=control.controlled,
        control_lost=control.lost,
        replaying=control.freshness.check,
        withholding=lambda: control.freshness.is_withholding,
    )
    # Ordering: what ends a part is noted before the part begins, for it may fail half-way; ending what never began does nothing.
    begun.push_async_callback(listeners.close)
    begun.push_async_callback(engine.close)
    # An engine tells changes only: one that started is well unless it says otherwise.
    hub.health(EngineHealth("ok"))
    await engine.start(hub)
    tokens = _authenticator(settings, begun)
    rooms = telling.rooms = _furnished(settings, engine, hub, control, tokens, telling, authorizer)
    begun.push_async_callback(rooms.pumps.close)
    begun.push_async_callback(rooms.verbs.close)
    begun.push_async_callback(hub.close)
    begun.push_async_callback(rooms.handed.close)
    begun.callback(rooms.metrics.stop)
    await hub.start()
    await control.start(hub)
    await rooms.verbs.nodes.start()
    await rooms.verbs.documents.statistics.start()
    rooms.metrics.start()
    return rooms


def make_engine(settings: Settings) -> Engine:
    """Make the engine that the settings name. Raises: ConfigurationError."""
    retention = Retention(
        age_ms=settings.retention_age, count=settings.retention_count, max_bytes=settings.retention_bytes
    )
    if not settings.redis:
        return SqliteEngine(settings.database, durability=settings.durability, retention=retention)
    from signtusk_realtime.engines.redis import RedisEngine  # noqa: PLC0415 - only who has Redis installs what it needs
    from signtusk_realtime.engines.redis.trust import trusting  # noqa: PLC0415 - see above

    return RedisEngine(
        settings.redis,
        prefix=settings.redis_prefix,
        retention=retention,
        tls=trusting(settings.redis_ca, settings.redis_certificate, settings.redis_key),
        wait_s=settings.redis_wait / 1000,
        allow_unsafe=settings.redis_allow_unsafe,
        min_replicas=settings.redis_min_replicas,
    )


def _furnished(
    settings: Settings,
    engine: Engine,
    hub: Hub,
    control: Control,
    tokens: Authenticator,
    telling: _Telling,
    authorizer: Authorizer | None,
) -> Rooms:
    limits = server_limits(settings)
    session_limits = SessionLimits(subscriptions=limits.subscriptions, json_depth=limits.json_depth, rates=limits.rates)
    pumps = Pumps(max_messages=settings.message_queue_size, max_bytes=settings.outbox_bytes)
    here = Node(
        node_id=new_id("node"), url=settings.public_url, capacity=settings.limits.connections, version=__version__
    )
    verbs = make_verbs(
        engine,
        hub,
        control,
        tokens,
        node=here.node_id,
        registry=Registry(
            engine,
            hub,
            control,
            here,
            strategy=settings.load_balancing,
            heartbeat_s=settings.health_check_interval / 1000,
            is_shared=bool(settings.redis),
        ),
        session_limits=session_limits,
        connection_limits=ConnectionLimits(
            per_organization=settings.limits.connections_per_organization,
            per_user=settings.limits.connections_per_user,
            per_address=settings.limits.connections_per_address,
        ),
        payload_bytes=limits.payload_bytes,
        document_rules=document_rules(settings),
        heartbeat_interval_ms=settings.heartbeat_interval,
        ticket_lifetime_ms=settings.auth.ticket_lifetime,
        now_ms=wall_ms,
        monotonic_s=time.monotonic,
        new_id=new_id,
        new_secret=new_secret,
        opened=telling.opened,
        authorizer=authorizer,
        revocations_kept_ms=_revocations_kept_ms(settings),
        leeway_ms=settings.auth.leeway,
        presence_leave_ms=settings.presence_leave_delay,
    )
    handed = HandedIn(
        hub=hub,
        connect=verbs.connect,
        subscriptions=verbs.subscriptions,
        receive=verbs.receive,
        pumps=pumps,
        limits=session_limits,
        max_connections=settings.limits.connections,
        message_bytes=limits.message_bytes,
        retry_ms=limits.retry_ms,
        new_id=new_id,
        turned_away=telling.turned_away,
    )
    return Rooms(
        engine=engine,
        hub=hub,
        verbs=verbs,
        metrics=Metrics(hub.counters, pending=lambda: hub.pending + pumps.waiting, updated=telling.measured),
        pumps=pumps,
        handed=handed,
        emit=Emitter(verbs.publish, handed, json_depth=limits.json_depth, payload_bytes=limits.payload_bytes),
        limits=limits,
        policy=_policy(settings),
        operators_policy=_operators_policy(settings),
        proxies=Proxies(settings.trusted_proxies),
        carriers=Carriers(settings.auth.cookie, settings.auth.query_token),
    )


def _policy(settings: Settings) -> OriginPolicy:
    return LoopbackPolicy() if settings.auth.mode == "development" else _pages(settings)


def _operators_policy(settings: Settings) -> OriginPolicy:
    if settings.auth.mode == "development":
        return LoopbackPolicy()
    names = [settings.admin_host]
    if settings.public_url is not None:
        names.append(urlsplit(settings.public_url).hostname or "")
    return OperatorsPolicy(_pages(settings), names)


def _pages(settings: Settings) -> AllowedOrigins:
    return AllowedOrigins(
        settings.allowed_origins,
        settings.public_url,
        is_tls=settings.tls.certificate is not None,
        has_cookies=settings.auth.cookie is not None,
    )


def _authenticator(settings: Settings, begun: AsyncExitStack) -> Authenticator:
    if settings.auth.mode == "development":
        return DevelopmentAuthenticator(leeway_ms=settings.auth.leeway)
    from signtusk_realtime.service.tokens import make_authenticator  # noqa: PLC0415 - only who has keys loads what they need

    return make_authenticator(settings.auth, begun)


def _revocations_kept_ms(settings: Settings) -> int | None:
    lifetime = settings.auth.max_token_lifetime
    # A token that was made by a clock that is ahead ends later by that; a second for the rounding of its times.
    return None if lifetime is None else lifetime + 2 * settings.auth.leeway + 2000


def document_rules(settings: Settings) -> DocumentRules:
    """Give what the settings say of documents. Raises: ConfigurationError for a policy that cannot be read."""
    return DocumentRules(
        policy=policy_of(settings.document_policy),
        versionless=settings.versionless,
        window_ms=settings.versionless_window,
        keeping=Keeping(
            versions=settings.document_retention_versions,
            age_ms=settings.document_retention_age,
            outcomes_ms=settings.retention_age,
        ),
        event_bytes=settings.limits.payload_bytes,
    )


def server_limits(settings: Settings) -> ServerLimits:
    """Give what the settings say of one server's bounds."""
    limits = settings.limits
    return ServerLimits(
        message_bytes=limits.message_bytes,
        json_depth=limits.json_depth,
        batch=limits.batch,
        payload_bytes=limits.payload_bytes,
        body_bytes=limits.body_bytes,
        outbox_bytes=settings.outbox_bytes,
        subscriptions=limits.subscriptions,
        rates=RateLimits(
            messages_per_second=limits.messages_per_second,
            message_burst=limits.message_burst,
            bytes_per_second=limits.bytes_per_second,
            # A message of the allowed size must fit, however low the rate.
            byte_burst=max(limits.bytes_per_second, limits.message_bytes),
        ),
        connections=limits.connections,
        drain_timeout_s=settings.drain_timeout / 1000,
        compression=settings.compression,
    )


def wall_ms() -> int:
    """Give the time in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class _Telling:
    """Tells the application's listeners of connections, whichever way they came in."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self.rooms: Rooms

    def opened(self, connection: Connection) -> None:
        is_stream = connection.form is STREAM
        event: ServiceEvent = "sse_connection_added" if is_stream else "ws_connection_added"
        self._listeners.tell(event, self._change(connection, None))

    def closed(self, connection: Connection, code: CloseCode | None) -> None:
        self.rooms.verbs.connect.closed(connection)
        is_stream = connection.form is STREAM
        event: ServiceEvent = "sse_connection_removed" if is_stream else "ws_connection_removed"
        self._listeners.tell(event, self._change(connection, code))

    def turned_away(self, connection_id: str, pending: Pending, code: CloseCode) -> None:
        event: ServiceEvent = "sse_connection_removed" if pending.form is STREAM else "ws_connection_removed"
        change = ConnectionChange(
            connection_id=connection_id,
            user_id=pending.identity.user_id,
            organization_id=pending.identity.organization_id,
            metadata=self.rooms.handed.metadata_of(connection_id),
            code=code.number,
        )
        self._listeners.tell(event, change)

    def measured(self, figures: MetricsMapping) -> None:
        self._listeners.tell("metrics_updated", figures)

    def _change(self, connection: Connection, code: CloseCode | None) -> ConnectionChange:
        identity = connection.session.identity
        return ConnectionChange(
            connection_id=connection.connection_id,
            user_id=identity.user_id,
            organization_id=identity.organization_id,
            metadata=self.rooms.handed.metadata_of(connection.connection_id),
            code=None if code is None else code.number,
        )
