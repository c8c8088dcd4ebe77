"""Who serves which partition: what the servers of a Cluster say of themselves, and what to believe of it.

Owns: reading `CLUSTER NODES`, choosing among views.   Not: asking, connecting (servers.py).
Rule 1: no I/O, no clock.   Rule 2: of two views the one with the higher config epoch is right about a slot: a primary that was cut off still
claims its slots by the old one.   Rule 3: who owned a slot is disbelieved at once where nobody knows him any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.keys import PARTITIONS, slot_of

_BY_SLOT: Final = sorted((slot_of(partition), partition) for partition in range(PARTITIONS))


class Member(NamedTuple):
    """A server as another (or itself) describes it. `primary_id` is empty for a primary."""

    node_id: str
    address: Address
    is_asked: bool
    is_primary: bool
    has_failed: bool
    primary_id: str
    config_epoch: int
    partitions: tuple[int, ...]


class Shard(NamedTuple):
    """A primary with the addresses of its replicas, and how many of these the Cluster does not call failed."""

    node_id: str
    address: Address
    replicas: tuple[Address, ...]
    healthy: int


def read_nodes(text: str, asked: Address) -> list[Member]:
    """Read the answer to `CLUSTER NODES`. Credentials and TLS are those of the server that was asked."""
    members = []
    for line in text.splitlines():
        node_id, where, flags, primary_id, _, _, config_epoch, _, *slots = line.split(" ")
        marks = set(flags.split(","))
        if marks & {"noaddr", "handshake"}:
            continue
        members.append(
            Member(
                node_id,
                _address(where, asked),
                "myself" in marks,
                "master" in marks,
                "fail" in marks,
                "" if primary_id == "-" else primary_id,
                int(config_epoch),
                tuple(_partitions(slots)),
            )
        )
    return members


def _address(where: str, asked: Address) -> Address:
    place, _, rest = where.partition("@")
    host, _, port = place.rpartition(":")
    # `cport,hostname,…`: a certificate names hosts rather than addresses. Without an address it is the server that was asked.
    names = rest.split(",")[1:2]
    if names and names[0] and (asked.is_tls or not host):
        host = names[0]
    return replace(asked, host=host or asked.host, port=int(port))


def _partitions(slots: Sequence[str]) -> Iterator[int]:
    for part in slots:
        # `[93-<-id]` and `[77->-id]` tell of slots that are moving; they belong to their old owner until they do not.
        if part.startswith("["):
            continue
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        yield from (partition for slot, partition in _BY_SLOT if low <= slot <= high)


def promoted(before: Mapping[int, str], now: Mapping[int, str]) -> dict[str, str]:
    """Give who took a primary's place, and whose, by the owners of partitions: who was none before, of one that has none any more.

    Where slots move from shard to shard nobody does.
    """
    former, present = set(before.values()), set(now.values())
    return {
        now[partition]: old
        for partition, old in before.items()
        if partition in now and now[partition] not in former and old not in present
    }


class Topology:
    """What is believed. Call `learn` with each view."""

    def __init__(self) -> None:
        self.shards: dict[str, Shard] = {}
        self.owners: dict[int, str] = {}
        """By partition, the shard that has it; none where no server claims its slot."""
        self._epochs: dict[int, int] = {}
        self._newest = 0

    def learn(self, view: Sequence[Member]) -> bool:
        """Take a view; say whether anything changed."""
        before = (self.shards.copy(), self.owners.copy())
        newest = max((member.config_epoch for member in view), default=0)
        known = {member.node_id for member in view}
        for member in view:
            if member.is_primary:
                for partition in member.partitions:
                    owner = self.owners.get(partition)
                    if owner is None or member.config_epoch >= self._epochs[partition] or owner not in known:
                        self.owners[partition] = member.node_id
                        self._epochs[partition] = member.config_epoch
        if newest >= self._newest or not known & set(self.shards):
            self._newest = newest
            self._describe(view)
        return before != (self.shards, self.owners)

    def _describe(self, view: Sequence[Member]) -> None:
        owners = set(self.owners.values())
        shards = {}
        for member in view:
            if not member.is_primary or member.node_id not in owners:
                continue
            replicas = [other for other in view if other.primary_id == member.node_id]
            known = self.shards.get(member.node_id)
            healthy = sum(not replica.has_failed for replica in replicas)
            # Ordering: a primary knows best who follows it; others may not have heard yet.
            if known is not None and not member.is_asked:
                healthy = known.healthy
            shards[member.node_id] = Shard(
                member.node_id, member.address, tuple(sorted(replica.address for replica in replicas)), healthy
            )
        for node_id in owners - set(shards):
            if node_id in self.shards:
                shards[node_id] = self.shards[node_id]
        self.shards = shards
