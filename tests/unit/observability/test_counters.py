"""What is counted is what happened: each number beside the thing itself, on a node without sockets."""

from __future__ import annotations

import pytest

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Forbidden, InvalidInput, Unavailable
from signtusk_realtime.events.log import Commit, Committed, LogName, Reused, Stale
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.observability.counters import PEER_LEFT, SSE, WEBSOCKET, Counters, Histogram
from signtusk_realtime.operations.publish import Publish
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import Identity
from tests.support.clock import settle
from tests.support.delivery import NOW_MS, Node, Turns, member, started_node
from tests.support.outlets import Patient
from tests.support.samples import sample_event

pytestmark = pytest.mark.virtual_clock

DOCUMENTS = Subscription("document_updates")
NOTIFICATIONS = Subscription("notifications")


SERVICE = Identity(user_id="service", organization_id="*", scopes=member().scopes)


class Clock:
    """Shows what it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def publication(event_id: str, **changed: object) -> Publication:
    return Publication(sample_event("document_update", id=event_id, **changed), event_id.encode())


def publisher(node: Node) -> Publish:
    return Publish(node.engine, now_ms=lambda: NOW_MS, new_id=node.new_id, counters=node.hub.counters)


def test_a_value_counts_at_the_first_bound_that_is_not_below_it() -> None:
    """A bound includes itself, what lies above all has a place of its own, and a weight counts as that many values."""
    histogram = Histogram((1.0, 2.0))
    for value, weight in ((0.5, 1), (1.0, 2), (1.5, 4), (2.0, 8), (2.5, 16)):
        histogram.observe(value, weight)
    assert histogram.counts == [3, 12, 16]
    assert histogram.weight == 31
    assert histogram.total == pytest.approx(0.5 + 2 + 6 + 16 + 40)


async def test_deliveries_are_events_times_members() -> None:
    """An event that three connections get is one event and three deliveries; one that nobody wants is neither."""
    async with started_node() as node:
        for _ in range(3):
            (await node.client()).subscribe(DOCUMENTS)
        await node.happen()
        await node.happen("organization_activity")
        await settle()
        assert (node.hub.counters.events, node.hub.counters.deliveries) == (1, 3)


async def test_notifications_count_for_who_gets_them() -> None:
    """What is spliced in for one member counts once, beside what all members get."""
    async with started_node() as node:
        clients = [await node.client(member(user)) for user in ("user1", "user2", "user2")]
        for client in clients:
            client.subscribe(DOCUMENTS, NOTIFICATIONS)
        await node.happen("notification", userId="user2")
        await node.happen()
        await node.happen("notification", userId="user1")
        await settle()
        got = sum(len(client.event_ids()) for client in clients)
        assert (got, node.hub.counters.deliveries) == (6, 6)


async def test_a_flush_in_slices_counts_everything_once() -> None:
    """An audience that is written in several slices is counted once a member, and waits visibly until the last slice."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        clients = [await node.client() for _ in range(100)]
        for client in clients:
            client.subscribe(DOCUMENTS)
        turns.run()
        await node.happen()
        assert node.hub.pending == 1
        turns.turn(looks=2)
        counters = node.hub.counters
        assert 0 < counters.deliveries < 100
        assert counters.deliveries == sum(len(client.event_ids()) for client in clients)
        assert node.hub.pending == 1
        turns.run()
        assert (counters.deliveries, node.hub.pending) == (100, 0)


@pytest.mark.parametrize("looks", [None, 1, 2])
async def test_who_counts_for_himself_is_left_out(looks: int | None) -> None:
    """In one audience with others, in slices or not, with events of its own or settled early: told which events, and not counted here."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        patients = [Patient() for _ in range(20)]
        clients = [
            await node.client(member(f"user{n % 3}"), "stream", patients[n // 4] if n % 4 == 0 else None)
            for n in range(80)
        ]
        for client in clients:
            client.subscribe(DOCUMENTS, NOTIFICATIONS)
        turns.run()
        publish = publisher(node)
        for n in range(3):
            await publish(member(), [publication(f"e{n}")])
            await node.happen("notification", userId="user2")
        for client in clients[4:6]:
            client.receive({"type": "subscribe", "subscription": {"type": "organization_activity"}})
        while turns.turn(looks=looks):
            pass
        await publish(member(), [publication("e3")])
        node.hub.lost(clients[8].connection)
        while turns.turn(looks=looks):
            pass
        got = [len(client.event_ids()) for client in clients]
        own = [len(patient.events) for patient in patients]
        assert own == got[::4]
        assert 0 < sum(own) < sum(got)
        counters = node.hub.counters
        assert counters.deliveries == sum(got) - sum(own)
        assert counters.latency.weight == sum(3 + 1 for n in range(80) if n % 4)
        assert {is_from_log for patient in patients for _, is_from_log in patient.events} == {False}
        assert sum(at is not None for at, _ in patients[0].events) == 4


async def test_catching_up_is_told_to_who_counts_for_himself() -> None:
    """What it reads from the log is said to be from there, and counted by its outlet alone."""
    async with started_node() as node:
        first, outlet = await node.client(), Patient()
        cursor = first.subscribe(DOCUMENTS)["cursor"]
        await node.happen()
        second = await node.client(form="texts", outlet=outlet)
        second.receive({"type": "subscribe", "subscriptions": [{"type": "document_updates"}], "cursor": cursor})
        await settle()
        assert len(second.event_ids()) == 1
        assert outlet.events == [(None, True)]
        assert (node.hub.counters.deliveries, node.hub.counters.caught_up) == (1, 0)


async def test_what_is_written_early_counts_too() -> None:
    """A member that changes its subscriptions gets what is pending at once, and is counted then."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        turns.run()
        await node.happen()
        client.subscribe(NOTIFICATIONS)
        assert node.hub.counters.deliveries == 1
        turns.run()
        assert node.hub.counters.deliveries == 1


async def test_catching_up_is_counted_apart() -> None:
    """What a resumed connection reads from the log is delivered, says so, and has no latency."""
    async with started_node() as node:
        first = await node.client()
        cursor = first.subscribe(DOCUMENTS)["cursor"]
        node.hub.lost(first.connection)
        await node.happen()
        await node.happen()
        second = await node.client()
        second.receive(
            {"type": "subscribe", "subscriptions": [{"type": "document_updates"}], "cursor": cursor},
        )
        await settle()
        counters = node.hub.counters
        assert len(second.event_ids()) == 2
        assert (counters.deliveries, counters.caught_up) == (2, 2)
        assert (counters.catch_ups, counters.resumes, counters.resyncs) == (1, 1, 0)
        assert counters.latency.weight == 0


async def test_a_full_outlet_is_a_catch_up_that_is_no_resume() -> None:
    """A connection that does not take what it is given is left to the log, and counted as slow."""
    async with started_node() as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        node.hub.paused(client.connection)
        await node.happen()
        node.hub.drained(client.connection)
        await settle()
        counters = node.hub.counters
        assert (counters.catch_ups, counters.resumes, counters.caught_up) == (1, 0, 1)


async def test_those_who_must_reload_are_counted() -> None:
    """Each connection that is told `resync` counts once."""
    async with started_node() as node:
        clients = [await node.client() for _ in range(2)]
        for client in clients:
            client.subscribe(DOCUMENTS)
        start = clients[0].connection.organization.live
        await node.happen()
        await settle()
        node.hub.diverged(LogName("org123"), start)
        assert [client.messages()[-1]["type"] for client in clients] == ["resync", "resync"]
        assert node.hub.counters.resyncs == 2


async def test_connections_and_subscriptions_come_back_to_nothing() -> None:
    """They are counted by transport; every way of ending one is counted by its code, and takes its subscriptions with it."""
    async with started_node() as node:
        counters = node.hub.counters
        frames, stream, texts = [await node.client(form=form) for form in ("frames", "stream", "texts")]
        frames.subscribe(DOCUMENTS, NOTIFICATIONS)
        stream.subscribe(DOCUMENTS)
        answer = texts.ask({"type": "subscribe", "subscription": {"type": "document_updates"}})
        assert counters.connections == {WEBSOCKET: 2, SSE: 1}
        assert counters.subscriptions == {WEBSOCKET: 3, SSE: 1}
        texts.receive({"type": "unsubscribe", "subscriptionId": answer["subscriptionId"]})
        texts.receive(
            {"type": "unsubscribe", "subscriptionId": answer["subscriptionId"]}
        )  # an error: there is none left
        assert counters.subscriptions == {WEBSOCKET: 2, SSE: 1}
        node.hub.lost(frames.connection)
        node.hub.end(stream.connection, codes.CLOSE_OVERLOADED)
        node.hub.lost(stream.connection)  # its socket, after the end: not a second end
        node.hub.end(texts.connection, codes.CLOSE_NORMAL)
        assert counters.connections == counters.subscriptions == {WEBSOCKET: 0, SSE: 0}
        assert counters.opened == {WEBSOCKET: 2, SSE: 1}
        assert counters.closes == {PEER_LEFT: 1, "4430": 1, "1000": 1}


async def test_messages_and_refusals_are_counted() -> None:
    """Every message counts, and every one that is answered by an error, by its code."""
    async with started_node() as node:
        client = await node.client()
        client.receive({"type": "ping"})
        client.receive(b"{")
        client.receive({"type": "unsubscribe", "subscriptionId": "sub_nobody"})
        assert node.hub.counters.messages == 3
        assert node.hub.counters.messages_refused == {"invalid_json": 1, "unknown_subscription": 1}


class Slow(MemoryEngine):
    """An engine that takes two seconds to store and deliver."""

    clock: Clock

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        self.clock.now_s += 2
        return await super().commit(log, commit)


async def test_latency_is_from_acceptance_to_the_sockets() -> None:
    """It holds storing and waiting for the flush, and weighs as much as there are members."""
    clock, turns, engine = Clock(), Turns(), Slow()
    engine.clock = clock
    async with started_node(engine=engine, flusher=turns.flusher(), counters=Counters(clock)) as node:
        for _ in range(3):
            (await node.client()).subscribe(DOCUMENTS)
        turns.run()
        await publisher(node)(member(), [publication("evt_1")])
        clock.now_s += 1
        turns.run()
        counters = node.hub.counters
        assert (counters.latency.weight, counters.latency.total) == (3, 9.0)
        assert (counters.commits.weight, counters.commits.total) == (1, 2.0)


async def test_publications_are_counted_while_they_are_stored() -> None:
    """They are in the queue until the engine answered, and nothing of them is kept afterwards."""
    seen: list[tuple[int, int]] = []

    class Watched(MemoryEngine):
        async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
            seen.append((node.hub.counters.publishing, len(node.hub.counters.accepted)))
            return await super().commit(log, commit)

    async with started_node(engine=Watched()) as node:
        publish = publisher(node)
        await publish(member(), [publication("evt_1"), publication("evt_2")])
        counters = node.hub.counters
        assert seen == [(2, 2)]
        assert (counters.publications, counters.publishing, counters.accepted) == (2, 0, {})
        assert not counters.publications_refused


async def test_refused_publications_are_counted_by_code() -> None:
    """Whoever refuses, we or the engine: every event of the call counts, and none stays in the queue."""

    class Away(MemoryEngine):
        async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
            raise Unavailable("the disk is full")

    async with started_node(engine=Away()) as node:
        publish = publisher(node)
        with pytest.raises(Unavailable):
            await publish(member(), [publication("evt_1"), publication("evt_2")], is_batch=True)
        with pytest.raises(Forbidden):
            await publish(Identity(user_id="user123", organization_id="org123"), [publication("evt_3")])
        with pytest.raises(InvalidInput):
            await publish(SERVICE, [publication("evt_4", organizationId="~")])
        counters = node.hub.counters
        assert counters.publications == 4
        assert counters.publications_refused == {"unavailable": 2, "forbidden": 1, "invalid_event": 1}
        assert (counters.publishing, counters.accepted) == (0, {})
