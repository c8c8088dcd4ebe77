"""The nodes that share a log: who they are, how they are, and where to send a client.

Owns: this node's record and its heartbeats, what is known of the others, turns, and who was sent where.   Not: the strategies (balance.py),
the form of a record (nodes.py), what is asked of other nodes (asking.py).
Rule 1: a record lives for two heartbeats by the engine's clock: a node that was killed is gone by then; one that leaves takes it along.
Rule 2: who has an engine to himself keeps no record and runs no task: he is all there is.
Rule 3: each look at the others is a look at the control log's top too, from which this node knows that it misses no revocation (freshness.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from signtusk_realtime.cluster import nodes
from signtusk_realtime.cluster.balance import Strategy, choose
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import NODES, Node
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import CONTROL_LOG, Commit, Key, Range, Record, Snapshot

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 2.0
"""At most so much lies between two. Presence goes by it too: a killed node's people are gone after two."""
LOOK_S: Final = 0.4
"""Between two looks at the others and at the control log's top: one may be late, and the node is fresh nevertheless."""
MOST_NODES: Final = 10_000
LAST_KEY: Final = "\U0010ffff"
ALL_NODES: Final = Range(NODES, "", LAST_KEY, MOST_NODES)


class Registry:
    """See the module. `here`: this node, with what does not change. `is_shared`: whether other nodes may use the same engine.

    `start` comes after the control log is followed and known, `close` after the last connection is closed and before the engine is.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        control: Control,
        here: Node,
        *,
        strategy: Strategy = "round_robin",
        heartbeat_s: float = HEARTBEAT_S,
        is_shared: bool = False,
    ) -> None:
        self.is_shared = is_shared
        self.node_id = here.node_id
        self.has_public_url = here.url is not None
        """Whether an operator said how clients reach this node."""
        self._engine = engine
        self._hub = hub
        self._control = control
        self._here = here
        self._strategy = strategy
        self._heartbeat_s = min(heartbeat_s, HEARTBEAT_S)
        self._listening: list[str | None] = []
        self._others: dict[str, tuple[Node, float]] = {}
        """With the time by the engine's clock when they are gone."""
        self._sent: Counter[str] = Counter()
        """Clients sent to each node since it last said how many it has."""
        self._turn = 0
        self._ahead_ms = 0.0
        """The engine's clock is so far ahead of the loop's."""
        self._told_at = float("-inf")
        self._well_at = float("-inf")
        """When this node last had looked, and told what it had to."""
        self._settled_at = float("-inf")
        self._is_leaving = False
        self._news = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    # ---- its life

    async def start(self) -> None:
        """Tell the others, learn of them, and go on doing so. Raises: Unavailable."""
        if not self.is_shared:
            return
        self._control.freshness.watch()
        await self._look()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Leave."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        # Who cannot say so is gone two heartbeats later.
        with suppress(RealtimeError):
            await self._engine.commit(CONTROL_LOG, Commit(delete=(Key(NODES, self.node_id),)))

    def listens(self, url: str | None) -> None:
        """Note that a server of this node listens there (None: at an address that tells nobody how to get there)."""
        self._listening.append(url)
        self._is_leaving = False
        self._tell_soon()

    def leaves(self, url: str | None) -> None:
        """Note that a server that listens lets everybody go: nobody is sent here any more once the last one does."""
        if url in self._listening:
            self._listening.remove(url)
        self._is_leaving = not self._listening
        self._tell_soon()

    # ---- what is known

    @property
    def here(self) -> Node:
        """This node, as it is now."""
        url = self._here.url
        if not self.has_public_url:
            url = next((one for one in self._listening if one is not None), None)
        return replace(
            self._here,
            url=url,
            connections=len(self._hub.connections),
            status=self._hub.engine_health.status,
            is_draining=self._is_leaving or self._hub.is_closed,
        )

    @property
    def others(self) -> list[Node]:
        """The other nodes, as they last said."""
        now = self.engine_ms()
        return [node for node, gone_at in self._others.values() if gone_at > now]

    @property
    def is_settled(self) -> bool:
        """Whether a node that is not seen is gone: this one has looked and told without a break for so long that all others have told too."""
        now = asyncio.get_running_loop().time()
        return not self.is_shared or (now - self._well_at <= self._heartbeat_s and now >= self._settled_at)

    @property
    def is_cut_off(self) -> bool:
        """Whether this node cannot learn for so long who was revoked that it lets nobody in, and shows nothing."""
        return self._control.freshness.is_withholding

    def engine_ms(self) -> int:
        """Give the engine's clock, as far as this node knows it; for a shared engine."""
        return int(asyncio.get_running_loop().time() * 1000 + self._ahead_ms)

    def others_in(self, snapshot: Snapshot, result: int) -> list[str]:
        """Give the ids of the other nodes in the answer to `ALL_NODES`."""
        return [record.key for record in snapshot.results[result] if record.key != self.node_id]

    def choose(self, user: str) -> Node | None:
        """Choose a node for a client, this one among the others, and count him in; None if nobody has room."""
        return self._chosen(self._strategy, [self.here, *self._reachable()], user)

    def elsewhere(self, user: str = "") -> str | None:
        """Give the address of another node that has room; None if this one knows none, or it has the same address."""
        own = self.here.url
        # Nobody is at home anywhere as long as nobody said who he is.
        strategy: Strategy = self._strategy if user else "least_connections"
        chosen = self._chosen(strategy, [node for node in self._reachable() if node.url != own], user)
        return None if chosen is None else chosen.url

    def _chosen(self, strategy: Strategy, candidates: list[Node], user: str) -> Node | None:
        chosen = choose(strategy, candidates, turn=self._turn, user=user, sent=self._sent)
        self._turn += 1
        if chosen is not None and self.is_shared:
            self._sent[chosen.node_id] += 1
        return chosen

    def _reachable(self) -> list[Node]:
        return [node for node in self.others if node.url is not None]

    # ---- looking and telling

    def _tell_soon(self) -> None:
        self._told_at = float("-inf")
        self._news.set()

    async def _keep(self) -> None:
        is_well = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._look()
            except RealtimeError as error:
                if is_well:
                    log.warning("the other nodes cannot be seen", extra={"reason": error.message})
                is_well = False
            else:
                if not is_well:
                    log.info("the other nodes are seen again", extra={"nodes": len(self._others)})
                is_well = True

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        snapshot = await self._engine.records(CONTROL_LOG, [ALL_NODES])
        if snapshot.top.epoch != self._control.freshness.epoch:
            # The control log was lost and begun anew, or notices were missed: what is revoked is read again, beside what is known.
            await self._control.learn()
        self._control.freshness.looked(snapshot.top.position, begun_at)
        self._ahead_ms = snapshot.at - loop.time() * 1000
        self._take(snapshot)
        if begun_at - self._told_at >= self._heartbeat_s:
            await self._tell(snapshot.at)
            self._told_at = begun_at
        now = loop.time()
        if self._heartbeat_s < now - self._well_at < float("inf"):
            # The others may have been away as long: their records are over, and they will tell again.
            self._settled_at = now + 2 * self._heartbeat_s
        self._well_at = now

    def _take(self, snapshot: Snapshot) -> None:
        found: dict[str, tuple[Node, float]] = {}
        for record in snapshot.results[0]:
            node = nodes.decode(record.value)
            if node is None or record.key == self.node_id:
                continue
            found[record.key] = (node, float("inf") if record.expires_at is None else record.expires_at)
            before = self._others.get(record.key)
            if before is None or before[1] != record.expires_at:
                del self._sent[record.key]
        for gone in self._others.keys() - found.keys():
            del self._sent[gone]
        self._others = found

    async def _tell(self, engine_ms: int) -> None:
        gone_at = engine_ms + int(2000 * self._heartbeat_s)
        record = Record(NODES, self.node_id, nodes.encode(self.here), 1, gone_at)
        await self._engine.commit(CONTROL_LOG, Commit(put=(record,)))
        del self._sent[self.node_id]


def name_of_user(organization_id: str, user_id: str) -> str:
    """Give the name by which a user is told from all others, of other organizations too."""
    return f"{organization_id}\n{user_id}"
