"""The servers that keep the logs: one, or the shards of a Cluster, and what this node is connected to of them.

Owns: finding them, one `Primary` per shard, one `Ear` per server, which of them serve which partition, the engine's health.
Not: what is written and heard (engine.py, delivery.py).
Rule 1: channels are heard from the primary and from its replicas, so that whoever is promoted is heard already.
Rule 2: whenever something may have been missed (connected again, another primary) `came_back` is told of the partitions, once they are heard.
Rule 3: one server is a Cluster of one shard that never moves.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Final

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.ear import Ear
from signtusk_realtime.engines.redis.keys import PARTITIONS
from signtusk_realtime.engines.redis.link import Answer, Link, NotDone
from signtusk_realtime.engines.redis.primary import Primary
from signtusk_realtime.engines.redis.stored import Reply
from signtusk_realtime.engines.redis.topology import Member, Shard, Topology, promoted, read_nodes
from signtusk_realtime.errors import ConfigurationError, RealtimeError, Unavailable
from signtusk_realtime.events.log import EngineHealth

_log = logging.getLogger(__name__)

_NODES: Final = ("CLUSTER", "NODES")
_ONE: Final = "the only one"
RETRY_S: Final = 0.1
"""After which a server is asked again that refused to tell of a partition."""


class Servers:
    """See the module. `heard` takes what is pushed; `health` is called with each change."""

    def __init__(
        self,
        addresses: Sequence[Address],
        tls: ssl.SSLContext | None,
        *,
        deadline_s: float,
        least: int,
        heard: Callable[[list[Reply]], None],
        came_back: Callable[[frozenset[int]], None],
        health: Callable[[EngineHealth], None],
    ) -> None:
        self._seeds = addresses
        self._tls = tls
        self._deadline_s = deadline_s
        self._least = least
        self._heard = heard
        self._came_back = came_back
        self._tell_health = health
        self.is_cluster = False
        self._topology = Topology()
        self._primaries: dict[str, Primary] = {}
        self._ears: dict[Address, Ear] = {}
        self._owners: dict[int, str] = {}
        self._channels: dict[int, set[str]] = {}
        self._most_replicas: dict[str, int] = {}
        self._told = EngineHealth("ok")
        self._is_started = False
        self._is_closing = False
        self._changed = asyncio.Event()
        self._settling: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Find the servers and connect to each shard. Raises: Unavailable, ConfigurationError."""
        try:
            await self._discover()
            async with asyncio.timeout(2 * self._deadline_s):
                while not self._is_complete():
                    await self._wait_for_change()
        except TimeoutError:
            raise Unavailable(self._missing() or "the servers were not connected in time") from None
        self._is_started = True
        self._consider_health()

    async def close(self) -> None:
        """End every connection."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        parts: list[Ear | Primary] = [*self._ears.values(), *self._primaries.values()]
        await asyncio.gather(*self._tasks, *(part.close() for part in parts), return_exceptions=True)
        self._primaries.clear()
        self._ears.clear()
        self._owners.clear()

    # ---- used by the engine

    def primary(self, partition: int) -> Primary:
        """Give who commands a partition. Raises: Unavailable."""
        owner = self._owners.get(partition)
        if owner is None:
            raise NotDone(
                "the Cluster has no primary for this organization" if self.is_cluster else "the engine is not running"
            )
        return self._primaries[owner]

    def is_up(self, partition: int) -> bool:
        """Say whether who commands a partition is connected."""
        owner = self._owners.get(partition)
        return owner is not None and self._primaries[owner].is_up

    @property
    def primaries(self) -> Sequence[Primary]:
        """Give the primary of each shard."""
        return list(self._primaries.values())

    async def subscribe(self, partition: int, channel: str) -> None:
        """Hear a channel. Raises: Unavailable."""
        self._channels.setdefault(partition, set()).add(channel)
        await asyncio.gather(*self._subscribe(partition, [channel]))

    def unsubscribe(self, partition: int, channel: str) -> None:
        """Hear a channel no more, a little later."""
        channels = self._channels.get(partition, set())
        channels.discard(channel)
        if not channels:
            self._channels.pop(partition, None)
        for ear in self._ears.values():
            ear.unsubscribe(partition, [channel])

    async def look_again(self) -> None:
        """Ask the servers who serves what, and give them a moment to say it."""
        for ear in self._ears.values():
            ear.nudge()
        try:
            async with asyncio.timeout(self._deadline_s / 10):
                await self._wait_for_change()
        except TimeoutError:
            return

    def _subscribe(self, partition: int, channels: Iterable[str]) -> list[Answer]:
        """Hear channels on every server of a shard. Who is promoted tells more than who is not: only the primary is waited for."""
        owner = self._owners.get(partition)
        answers: list[Answer] = []
        if owner is None:
            raise NotDone("the Cluster has no primary for this organization")
        shard = self._topology.shards[owner]
        for address in (shard.address, *shard.replicas):
            if address in self._ears:
                told = self._ears[address].subscribe(partition, channels)
                answers += told if address == shard.address else []
        return answers

    # ---- who there is

    async def _discover(self) -> None:
        failure: RealtimeError = ConfigurationError("no address of Redis is given")
        for address in self._seeds:
            link = Link(deadline_s=self._deadline_s)
            try:
                await link.open(address, self._tls)
                self.is_cluster = link.mode == "cluster"
                if self.is_cluster and address.database:
                    raise ConfigurationError("a Cluster has database 0 only")
                if not self.is_cluster:
                    if len(self._seeds) > 1:
                        raise ConfigurationError(f"several servers are named, but {address} is no Cluster; name one")
                    self._topology.shards = {_ONE: Shard(_ONE, address, (), 0)}
                    self._topology.owners = dict.fromkeys(range(PARTITIONS), _ONE)
                    self._apply()
                    return
                self._learn(address, await link.call(*_NODES))
                if self._owners:
                    return
                failure = Unavailable("the Cluster serves nothing yet")
            except Unavailable as error:
                failure = error
            finally:
                await link.close()
        raise failure

    def _learn(self, asked: Address, reply: Reply) -> None:
        if not isinstance(reply, bytes) or self._is_closing:
            return
        view = read_nodes(reply.decode(), asked)
        if self._topology.learn(view):
            self._apply()
        for member in view:
            if member.is_asked:
                self._limit(member, view)

    def _limit(self, member: Member, view: Sequence[Member]) -> None:
        """Take from a primary itself how many of its replicas are not called failed."""
        primary = self._primaries.get(member.node_id)
        if primary is not None:
            replicas = [other for other in view if other.primary_id == member.node_id]
            known = self._most_replicas.get(member.node_id, 0)
            self._most_replicas[member.node_id] = max(len(replicas), known)
            primary.limit(sum(not other.has_failed for other in replicas))
            self._consider_health()

    def _apply(self) -> None:
        """Connect to what is believed to be there, and to nothing else."""
        shards, before = self._topology.shards, self._owners
        self._owners = {p: owner for p, owner in self._topology.owners.items() if owner in shards}
        for node_id, primary in list(self._primaries.items()):
            shard = shards.get(node_id)
            if shard is None or shard.address != primary.address or node_id not in self._owners.values():
                del self._primaries[node_id]
                self._spawn(primary.close())
        for node_id in dict.fromkeys(self._owners.values()):
            if node_id not in self._primaries:
                self._primaries[node_id] = Primary(
                    shards[node_id].address,
                    self._tls,
                    deadline_s=self._deadline_s,
                    least=self._least,
                    came=self._came,
                    went=self._went,
                    changed=self._consider_health,
                )
        self._place_ears()
        moved = frozenset(p for p, owner in self._owners.items() if before.get(p, owner) != owner)
        for now, old in promoted(before, self._owners).items():
            # It has as many to look forward to as the one it replaces had.
            self._most_replicas[now] = max(self._most_replicas.get(now, 0), self._most_replicas.get(old, 0))
        if moved:
            _log.warning("partitions have another primary", extra={"partitions": len(moved)})
            self._spawn(self._settle(moved))
        self._changed.set()
        self._consider_health()

    def _place_ears(self) -> None:
        wanted: dict[Address, set[str]] = {}
        for shard in self._topology.shards.values():
            for address in (shard.address, *shard.replicas):
                wanted.setdefault(address, set()).add(shard.node_id)
        for address, ear in list(self._ears.items()):
            if address not in wanted:
                del self._ears[address]
                self._spawn(ear.close())
        for address in wanted:
            if address not in self._ears:
                self._ears[address] = Ear(
                    address,
                    self._tls,
                    deadline_s=self._deadline_s,
                    question=_NODES if self.is_cluster else ("PING",),
                    heard=self._has_heard,
                    listening=self._listening,
                    lost=self._lost,
                    beat=self._has_beaten,
                )
        for address, ear in self._ears.items():
            for partition, channels in self._channels.items():
                is_wanted = self._owners.get(partition) in wanted[address]
                if is_wanted and partition not in ear.partitions:
                    ear.subscribe(partition, channels)
                elif not is_wanted and partition in ear.partitions:
                    ear.unsubscribe(partition, list(channels))

    async def _settle(self, partitions: frozenset[int]) -> None:
        """Say that something may have been missed, once it is heard again; a link that was lost says so itself when it is back."""
        waiting = partitions - self._settling
        self._settling |= waiting
        try:
            while waiting:
                asked = list(waiting)
                results = await asyncio.gather(*map(self._hears, asked))
                heard = frozenset(p for p, is_heard in zip(asked, results, strict=True) if is_heard)
                self._settling -= heard
                if heard:
                    self._came_back(frozenset(p for p in heard if self.primary(p).is_up))
                # Who has not learned yet that a slot is his own refuses, on a link that stays.
                still = frozenset(filter(self._is_listened_to, waiting - heard))
                self._settling -= waiting - heard - still
                waiting = still
                if waiting:
                    await asyncio.sleep(RETRY_S)
        finally:
            self._settling -= waiting

    async def _hears(self, partition: int) -> bool:
        try:
            if channels := self._channels.get(partition):
                await asyncio.gather(*self._subscribe(partition, list(channels)))
        except Unavailable:
            return False
        return True

    def _is_listened_to(self, partition: int) -> bool:
        """Say whether the link to a partition's primary is there."""
        primary = self._primaries.get(self._owners.get(partition, ""))
        ear = None if primary is None else self._ears.get(primary.address)
        return ear is not None and ear.is_listening

    # ---- what they tell

    def _came(self, primary: Primary) -> None:
        _log.info("connected", extra={"server": str(primary.address)})
        self._noticed(primary.address)

    def _listening(self, ear: Ear) -> None:
        self._noticed(ear.address)

    def _noticed(self, address: Address) -> None:
        """A primary counts from the moment it is both commanded and listened to."""
        self._changed.set()
        self._consider_health()
        ear = self._ears.get(address)
        for node_id, primary in self._primaries.items():
            if (
                primary.address == address
                and primary.is_up
                and ear is not None
                and ear.is_listening
                and self._is_started
            ):
                self._came_back(frozenset(p for p, owner in self._owners.items() if owner == node_id))

    def _went(self, primary: Primary, reason: str) -> None:
        if not self._is_closing:
            _log.warning("connection lost", extra={"server": str(primary.address), "reason": reason})
        self._look_soon()

    def _lost(self, ear: Ear, reason: str) -> None:
        self._look_soon()

    def _look_soon(self) -> None:
        self._changed.set()
        self._consider_health()
        for ear in self._ears.values():
            ear.nudge()

    def _has_heard(self, ear: Ear, push: list[Reply]) -> None:
        if push and push[0] == b"sunsubscribe":
            # Asked for, or the slot has moved away.
            ear.nudge()
            partition = ear.lost_partition(push[1])
            if partition is not None:
                self._spawn(self._settle(frozenset({partition})))
        else:
            self._heard(push)

    def _has_beaten(self, ear: Ear, reply: Reply) -> None:
        if self.is_cluster:
            self._learn(ear.address, reply)

    # ---- health

    def _is_complete(self) -> bool:
        if not self._owners:
            return False
        for primary in self._primaries.values():
            ear = self._ears.get(primary.address)
            if not primary.is_up or ear is None or not ear.is_listening:
                return False
        return True

    def _missing(self) -> str:
        away = [primary.away for primary in self._primaries.values() if not primary.is_up]
        return "; ".join(away)

    def _consider_health(self) -> None:
        if not self._is_started or self._is_closing:
            return
        up = [primary for primary in self._primaries.values() if primary.is_up]
        few = []
        for node_id, primary in self._primaries.items():
            most = max(self._most_replicas.get(node_id, 0), primary.confirmations, self._least)
            self._most_replicas[node_id] = most
            have = min(primary.confirmations, primary.whole)
            if have < most:
                few.append(f"{primary.address} has {have} of {most} replicas")
        if not up:
            health = EngineHealth("unavailable", self._missing() or "no server is connected")
        elif len(up) < len(self._primaries) or len(self._owners) < PARTITIONS:
            health = EngineHealth("degraded", self._missing() or "the Cluster does not serve every slot")
        elif few:
            health = EngineHealth("degraded", "; ".join(few))
        else:
            health = EngineHealth("ok")
        if health != self._told:
            self._told = health
            self._tell_health(health)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
