"""Who serves what in a Cluster, by what its servers say."""

from __future__ import annotations

from signtusk_realtime.engines.redis.address import Address
from signtusk_realtime.engines.redis.keys import PARTITIONS, slot_of
from signtusk_realtime.engines.redis.topology import Topology, promoted, read_nodes

ASKED = Address("10.0.0.9", 7000, "user", "secret")
LOW, HIGH = "0-8191", "8192-16383"


def line(node_id: str, flags: str, epoch: int, *slots: str, of: str = "-", where: str | None = None) -> str:
    where = where or f"10.0.0.{ord(node_id)}:7000@17000,"
    return " ".join([node_id, where, flags, of, "0", "0", str(epoch), "connected", *slots])


def view(*lines: str) -> Topology:
    topology = Topology()
    learn(topology, *lines)
    return topology


def learn(topology: Topology, *lines: str) -> bool:
    return topology.learn(read_nodes("\n".join(lines) + "\n", ASKED))


WHOLE = (
    line("a", "myself,master", 1, LOW),
    line("b", "master", 2, HIGH),
    line("c", "slave", 1, of="a"),
    line("d", "slave", 2, of="b"),
)


def test_every_partition_has_its_slots_owner() -> None:
    """With the addresses of the owner's replicas, credentials and all."""
    topology = view(*WHOLE)
    assert len(topology.owners) == PARTITIONS
    assert all(owner == ("a" if slot_of(partition) < 8192 else "b") for partition, owner in topology.owners.items())
    shard = topology.shards["a"]
    assert (shard.address, shard.replicas, shard.healthy) == (
        Address("10.0.0.97", 7000),
        (Address("10.0.0.99", 7000),),
        1,
    )
    assert shard.address.password == "secret"
    assert not learn(topology, *WHOLE)


def test_the_higher_epoch_is_right() -> None:
    """A primary that was replaced still claims its slots, and is not believed; nor is a view that has not heard of it."""
    topology = view(*WHOLE)
    after = (
        line("a", "master,fail", 1),
        line("b", "myself,master", 2, HIGH),
        line("c", "master", 3, LOW),
        line("d", "slave", 2, of="b"),
    )
    assert learn(topology, *after)
    assert topology.owners[0] in {"b", "c"}
    assert set(topology.owners.values()) == {"b", "c"}
    assert not learn(topology, *WHOLE)
    assert set(topology.owners.values()) == {"b", "c"}
    assert set(topology.shards) == {"b", "c"}


def test_only_the_majoritys_word_counts_against_a_replica() -> None:
    """One that is only suspected (`fail?`) counts, one that failed does not."""
    for flags, healthy in (("slave,fail?", 1), ("slave,fail", 0)):
        assert view(WHOLE[0], WHOLE[1], line("c", flags, 1, of="a"), WHOLE[3]).shards["a"].healthy == healthy


def test_slots_that_move_belong_to_who_had_them() -> None:
    """Until the move is done."""
    moving = (line("a", "myself,master", 1, LOW, "[100->-b]"), line("b", "master", 2, HIGH, "[100-<-a]"))
    assert view(*moving).owners == view(*WHOLE[:2]).owners


def test_a_cluster_made_anew_is_believed() -> None:
    """Where nobody knows the owner any more, its epoch says nothing."""
    topology = view(line("a", "myself,master", 9, LOW, HIGH))
    assert learn(topology, line("x", "myself,master", 0, LOW, HIGH))
    assert set(topology.owners.values()) == {"x"}
    assert set(topology.shards) == {"x"}


def test_a_server_that_does_not_know_its_address_is_the_one_that_was_asked() -> None:
    """And one that is not joined yet is none; a name is taken where a certificate has to fit."""
    (member,) = read_nodes(line("a", "myself,master", 1, LOW, where=":7005@17005"), ASKED)
    assert member.address == Address("10.0.0.9", 7005)
    assert read_nodes(line("a", "handshake", 0) + "\n" + line("b", "master,noaddr", 0), ASKED) == []
    named = line("a", "myself,master", 1, LOW, where="10.0.0.1:7000@17000,redis-1.example")
    assert read_nodes(named, ASKED)[0].address.host == "10.0.0.1"
    assert read_nodes(named, Address("x", is_tls=True))[0].address.host == "redis-1.example"


def test_who_takes_slots_over_is_not_who_takes_a_place_over() -> None:
    """A replica that was promoted has no owner beside it that it came from; a shard that was given slots, or is new, has."""
    before = {0: "a", 1: "a", 2: "b"}
    assert promoted(before, {0: "c", 1: "c", 2: "b"}) == {"c": "a"}
    assert promoted(before, {0: "b", 1: "b", 2: "b"}) == {}
    assert promoted(before, {0: "new", 1: "a", 2: "b"}) == {}
    assert promoted(before, {2: "b"}) == promoted(before, before) == promoted({}, before) == {}
