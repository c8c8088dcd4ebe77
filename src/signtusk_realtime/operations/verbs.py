"""All that the service can be asked to do, as one value.

Owns: which verbs there are, and putting them together over one engine and hub.   Not: what each does (its own file), who serves them (server).
Why: every way in gets the same verbs; a new one is a field here and a file beside it, not an argument through five constructors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.auth.authorizer import Authorizer
from signtusk_realtime.cluster.asking import Asking
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import UNLIMITED, Node
from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.operations.administer import Administer
from signtusk_realtime.operations.authenticate import Authenticate
from signtusk_realtime.operations.authorize import Authorize
from signtusk_realtime.operations.census import Census, ConnectionLimits
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.documents import Documents, make_documents
from signtusk_realtime.operations.history import History
from signtusk_realtime.operations.negotiate import Negotiate
from signtusk_realtime.operations.presence.presence import LEAVE_MS, Presence
from signtusk_realtime.operations.publish import Publish
from signtusk_realtime.operations.receive import Receive
from signtusk_realtime.operations.refresh import Refresher
from signtusk_realtime.operations.signal import SendSignal
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.session import SessionLimits


@dataclass(frozen=True, kw_only=True)
class Verbs:
    """See the module. Made by `make_verbs`, ended by `close`."""

    authenticate: Authenticate
    authorize: Authorize
    connect: Connect
    refresh: Refresher
    subscriptions: Subscriptions
    receive: Receive
    publish: Publish
    history: History
    documents: Documents
    presence: Presence
    signals: SendSignal
    tickets: Tickets
    administer: Administer
    negotiate: Negotiate
    nodes: Registry
    asking: Asking

    async def close(self) -> None:
        """End what verbs have begun and not finished."""
        await self.signals.close()
        await self.presence.close()
        await self.nodes.close()
        await self.asking.close()
        await self.receive.close()
        await self.documents.close()


def make_verbs(
    engine: Engine,
    hub: Hub,
    control: Control,
    tokens: Authenticator,
    *,
    node: str,
    session_limits: SessionLimits,
    connection_limits: ConnectionLimits,
    payload_bytes: int,
    document_rules: DocumentRules,
    heartbeat_interval_ms: int,
    ticket_lifetime_ms: int,
    now_ms: Callable[[], int],
    monotonic_s: Callable[[], float],
    new_id: Callable[[str], str],
    new_secret: Callable[[], str],
    opened: Callable[[Connection], None] = lambda connection: None,
    authorizer: Authorizer | None = None,
    revocations_kept_ms: int | None = None,
    leeway_ms: int = 0,
    registry: Registry | None = None,
    presence_leave_ms: int = LEAVE_MS,
) -> Verbs:
    """Put the verbs together. `now_ms`: wall clock; `monotonic_s`: a clock that never goes back; the rest as in each verb.

    `tokens`: checks tokens. `control`: the hub hands it the control log. `node`: this node's name.
    `registry`: the nodes; by default this one alone.
    """
    registry = registry or Registry(engine, hub, control, Node(node_id=node, capacity=UNLIMITED))
    asking = Asking(engine, control, registry, node_id=node, new_id=new_id)
    tickets = Tickets(
        engine, now_ms=now_ms, monotonic_s=monotonic_s, new_secret=new_secret, lifetime_ms=ticket_lifetime_ms
    )
    authenticate = Authenticate(tokens, tickets, control, now_ms=now_ms, monotonic_s=monotonic_s)
    authorize = Authorize(authorizer, monotonic_s=monotonic_s, holds=authenticate.check)
    documents = make_documents(
        engine, hub, document_rules, now_ms=now_ms, new_id=new_id, new_secret=new_secret, authorize=authorize
    )
    presence = Presence(
        engine,
        hub,
        registry,
        now_ms=now_ms,
        leave_ms=presence_leave_ms,
        authorize=authorize,
        is_cut_off=lambda: control.freshness.is_stale or not registry.is_settled,
    )
    documents.moves.connected = presence.connected
    signals = SendSignal(engine, hub)
    subscriptions = Subscriptions(engine, hub, new_id=new_id, subscribed=presence.followed, begins=tickets.begins)
    connect = Connect(
        hub,
        limits=session_limits,
        heartbeat_interval_ms=heartbeat_interval_ms,
        now_ms=now_ms,
        new_id=new_id,
        opened=opened,
        control=control,
        census=Census(connection_limits),
        presence=presence,
    )
    refresh = Refresher(
        hub, connect, authenticate, control=control, monotonic_s=monotonic_s, authorize=authorize, asking=asking
    )
    return Verbs(
        authenticate=authenticate,
        authorize=authorize,
        connect=connect,
        refresh=refresh,
        subscriptions=subscriptions,
        receive=Receive(
            hub,
            subscriptions,
            monotonic_s=monotonic_s,
            now_ms=now_ms,
            authorize=authorize,
            documents=documents,
            refresh=refresh,
            presence=presence,
            signal=signals,
        ),
        publish=Publish(
            engine,
            documents=documents,
            now_ms=now_ms,
            new_id=new_id,
            max_payload_bytes=payload_bytes,
            counters=hub.counters,
            presence=presence,
        ),
        history=History(engine, authorize=authorize),
        documents=documents,
        presence=presence,
        signals=signals,
        tickets=tickets,
        administer=Administer(
            asking, control, tickets, node=node, now_ms=now_ms, kept_ms=revocations_kept_ms, leeway_ms=leeway_ms
        ),
        negotiate=Negotiate(registry, tickets),
        nodes=registry,
        asking=asking,
    )
