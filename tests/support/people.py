"""Nodes over one memory on the virtual clock, with people who come, go and say how they are, and somebody who watches.

Owns: such nodes, the end of one with and without a goodbye, a watcher that folds what it is told.   Not: who should be there (the tests say).
Rule 1: everything goes the way of the service's own verbs.   Rule 2: a node that was killed runs no further, and says nothing to anybody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from signtusk_realtime.auth.development import DevelopmentAuthenticator
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import Node
from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.events.kinds import UserPresenceEvent
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.operations.census import ConnectionLimits
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.verbs import make_verbs
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol import json as strict
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import PUBLISH, Identity
from signtusk_realtime.sessions.session import SessionLimits
from tests.support.delivery import Names, member
from tests.support.outlets import Message, Outlet
from tests.support.shared import NodeEngine, SharedMemory

How = tuple[str, str | None]
"""A status, and the current document."""


def loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


class PresenceNode:
    """One node; alone if `is_shared` is False."""

    def __init__(self, name: str, engine: NodeEngine, new_id: Names, *, is_shared: bool = True) -> None:
        self.name = name
        self.engine = engine
        control = Control(engine)
        self.hub = Hub(
            engine,
            closed=lambda connection, code: self.verbs.connect.closed(connection),
            controlled=control.controlled,
            # Nobody here answers pings.
            heartbeat_interval_s=86_400.0,
        )
        self.verbs = make_verbs(
            engine,
            self.hub,
            control,
            DevelopmentAuthenticator(),
            node=name,
            registry=Registry(engine, self.hub, control, Node(node_id=name, capacity=10_000), is_shared=is_shared),
            session_limits=SessionLimits(),
            connection_limits=ConnectionLimits(),
            payload_bytes=1 << 18,
            document_rules=DocumentRules(policy=PLAIN),
            heartbeat_interval_ms=30_000,
            ticket_lifetime_ms=30_000,
            now_ms=loop_ms,
            monotonic_s=asyncio.get_running_loop().time,
            new_id=new_id,
            new_secret=lambda: "secret",
        )
        self._control = control

    async def start(self) -> None:
        await self.engine.start(self.hub)
        self.hub.health(EngineHealth("ok"))
        await self.hub.start()
        await self._control.start(self.hub)
        await self.verbs.nodes.start()

    async def client(self, user_id: str, organization_id: str = "org123") -> PresenceClient:
        return await self.admit(member(user_id, organization_id))

    async def admit(self, identity: Identity) -> PresenceClient:
        admission = await self.verbs.connect.admit(identity)
        outlet = Outlet()
        return PresenceClient(self, self.verbs.connect.open(admission, outlet, FRAMES), outlet)

    async def publish(self, user_id: str, how: How, organization_id: str = "org123") -> None:
        status, document = how
        fields: dict[str, Any] = {} if document is None else {"current_document": document}
        event = UserPresenceEvent(user_id=user_id, status=status, **fields)  # type: ignore[arg-type]  # any of the four
        app = Identity(user_id="app", organization_id=organization_id, scopes=frozenset({PUBLISH}))
        digest = strict.canonical_digest(strict.encode({"at": loop_ms()}))
        await self.verbs.publish(app, [Publication(event, digest)])

    async def there(self, organization_id: str = "org123") -> dict[str, How]:
        """Give who is there by the presence call."""
        answer = await self.verbs.presence.of(organization_id)
        return {user.user_id: (user.status, user.current_document or None) for user in answer.users}

    async def kill(self) -> None:
        """Let the node be no more, from one moment to the next."""
        self.engine.cut_off()
        await self._end()

    async def leave(self) -> None:
        """Shut the node down in order."""
        await self._end()

    async def _end(self) -> None:
        await self.hub.close()
        await self.verbs.close()
        await self.engine.close()


class PresenceClient:
    """A connection's other end."""

    def __init__(self, node: PresenceNode, connection: Connection, outlet: Outlet) -> None:
        self.node = node
        self.connection = connection
        self.outlet = outlet

    def say(self, **message: Any) -> None:
        self.node.verbs.receive(self.connection, json.dumps(message).encode())

    def declare(self, how: How, **more: Any) -> None:
        status, document = how
        at = {} if document is None else {"currentDocument": document}
        self.say(type="presence", status=status, **at, **more)

    def messages(self, kind: str | None = None) -> list[Message]:
        found = self.outlet.messages(FRAMES.name)
        return [message for message in found if kind is None or message["type"] == kind]

    def leave(self) -> None:
        """Be gone without a word."""
        self.node.hub.lost(self.connection)

    def close(self) -> None:
        self.node.hub.end(self.connection, codes.CLOSE_NORMAL)


class Watcher:
    """Follows presence as the specification tells clients to: subscribes, asks, and puts differences on top."""

    def __init__(self, client: PresenceClient) -> None:
        self.client = client
        self.people: dict[str, How] = {}
        self.told: list[Message] = []
        """Every message of presence."""
        client.say(type="subscribe", subscription={"type": "user_presence"})

    async def look(self) -> None:
        """Take all that came."""
        for message in self.client.messages():
            if message["type"] == "subscribed" or message.get("truncated"):
                self.people = await self.client.node.there()
            if message["type"] == "event":
                self._put(message["event"]["payload"])
            if message["type"] == "presence":
                self.told.append(message)
                for user in message.get("users", ()):
                    self._put(user)

    def _put(self, user: Message) -> None:
        if user["status"] == "offline":
            self.people.pop(user["userId"], None)
        else:
            self.people[user["userId"]] = (user["status"], user.get("currentDocument"))

    def seen(self, user_id: str) -> list[str]:
        """Give every status that was told of a user."""
        return [u["status"] for message in self.told for u in message.get("users", ()) if u["userId"] == user_id]


@asynccontextmanager
async def presence_nodes(count: int) -> AsyncIterator[list[PresenceNode]]:
    """Start nodes that share a memory; end those that are left. One has it to itself."""
    memory, new_id = SharedMemory(loop_ms), Names()
    nodes = [PresenceNode(f"n{i}", memory.engine(), new_id, is_shared=count > 1) for i in range(count)]
    for node in nodes:
        await node.start()
    try:
        yield nodes
    finally:
        for node in nodes:
            if not node.hub.is_closed:
                await node.leave()
