"""Catching up, where the random plays of tests/property found single cases worth naming."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.catch_up import AT_A_TIME, KEPT_S
from signtusk_realtime.delivery.encoded import ITEMS_BYTES, PAGES_BYTES
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import LogName, Page, Retention
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes, cursor
from tests.support.clock import elapse, settle
from tests.support.delivery import Turns, grant, guest, member, started_node
from tests.support.engines import ManualClock

pytestmark = pytest.mark.virtual_clock

DOCUMENTS, ANNOUNCEMENTS = Subscription("document_updates"), Subscription("system_announcements")
SIGNING = Subscription("signing_updates")


async def test_a_place_reached_by_either_log_is_two_events() -> None:
    """The same cursor may belong to an event of the one log for one reader and of the other log for another."""
    async with started_node() as node:
        live = await node.client()
        beginning = live.subscribe(DOCUMENTS, ANNOUNCEMENTS)["cursor"]
        document = await node.happen()
        await settle()
        [message] = live.messages()
        announcement = await node.happen("system_announcement")
        await settle()
        after_document, from_beginning = await node.client(), await node.client()
        after_document.receive(_subscribe(ANNOUNCEMENTS, message["cursor"]))
        await settle()
        from_beginning.receive(_subscribe(DOCUMENTS, beginning))
        await settle()
        assert after_document.event_ids() == [announcement]
        assert from_beginning.event_ids() == [document]


async def test_an_announcement_is_not_replayed_before_it_is_offered() -> None:
    """An organization that an announcement has not come to yet is not shown it by catching up; it gets it with the others."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        client = await node.client()
        client.subscribe(ANNOUNCEMENTS)
        node.hub.paused(client.connection)
        first = await node.happen("system_announcement")
        turns.run()
        second = await node.happen("system_announcement")
        node.hub.drained(client.connection)
        await settle()
        assert client.event_ids() == [first]
        covered = cursor.decode("org123", client.ask({"type": "ping"})["cursor"])
        assert covered is not None
        assert covered.system is not None
        assert covered.system.offset == 1
        turns.run()
        await settle()
        assert client.event_ids() == [second]


async def test_what_is_replayed_goes_through_the_same_view() -> None:
    """A guest that catches up sees no more than it would have seen live."""
    async with started_node() as node:
        identity = guest(grant(document_id="doc123"))
        live = await node.client(identity)
        beginning = live.subscribe(Subscription("signing_updates"))["cursor"]
        await node.happen("signature_status")
        await settle()
        late = await node.client(identity)
        late.receive(_subscribe(Subscription("signing_updates"), beginning))
        await settle()
        [seen], [_, replayed] = live.messages(), late.messages()
        assert replayed == seen
        assert set(replayed["event"]["payload"]["signatureData"]) == {"signedAt"}


async def test_no_cursor_goes_back() -> None:
    """What a connection was told stands, also when it falls behind with an event pending since."""
    async with started_node() as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        await node.happen("team_update")
        told = client.ask({"type": "ping"})["cursor"]
        await node.happen()
        node.hub.paused(client.connection)
        assert client.ask({"type": "ping"})["cursor"] == told


async def test_who_stands_at_the_same_place_is_written_the_same_bytes() -> None:
    """A page is put together once for all who read the same from the same place, and for nobody else."""
    async with started_node() as node:
        live = await node.client()
        beginning = live.subscribe(DOCUMENTS)["cursor"]
        for _ in range(3):
            await node.happen()
            await node.happen("signature_status")
        written = []
        for wanted, form in ((DOCUMENTS, "frames"), (DOCUMENTS, "frames"), (SIGNING, "frames"), (DOCUMENTS, "stream")):
            client = await node.client(form=form)
            client.receive(_subscribe(wanted, beginning))
            await settle()
            written.append(client.outlet.writes[-1])
            assert len(client.event_ids()) == 3
        one, another, signing, stream = written
        assert one is another
        assert signing != one != stream


async def test_a_page_is_not_found_by_who_is_elsewhere() -> None:
    """What was kept for one place is no answer for another, nor once more has come in."""
    async with started_node() as node:
        live = await node.client()
        beginning = live.subscribe(DOCUMENTS)["cursor"]
        events = [await node.happen() for _ in range(3)]
        await settle()
        cursors = [message["cursor"] for message in live.messages()]
        for after, due in ((beginning, events), (cursors[0], events[1:]), (cursors[1], events[2:])):
            late = await node.client()
            late.receive(_subscribe(DOCUMENTS, after))
            await settle()
            assert late.event_ids() == due
        events.append(await node.happen())
        late = await node.client()
        late.receive(_subscribe(DOCUMENTS, beginning))
        await settle()
        assert late.event_ids() == events


@pytest.mark.parametrize("kind", ["document_update", "system_announcement"])
async def test_who_is_ahead_of_this_node_waits_for_what_comes(kind: str) -> None:
    """A client that saw more elsewhere goes on in the step in which this node has heard of it too, and misses and doubles nothing."""
    async with started_node() as node:
        client, other = await node.client(), await node.client()
        for one in (client, other):
            one.subscribe(DOCUMENTS, ANNOUNCEMENTS)
        here = client.connection.organization.here
        seen = Place(here.organization._replace(offset=2), here.system)
        if kind == "system_announcement":
            seen = Place(here.organization, here.system._replace(offset=2))
        for one in (client, other):
            node.hub.resume(one.connection, seen)
        began = asyncio.get_running_loop().time()
        await settle()
        node.hub.lost(other.connection)
        for _ in range(2):
            await settle()
            assert client.connection.is_behind
            await node.happen(kind)
        await settle()
        assert not client.connection.is_behind
        assert client.event_ids() == []
        following = await node.happen(kind)
        await settle()
        assert client.event_ids() == [following]
        assert asyncio.get_running_loop().time() < began + 0.001
        assert not node.hub._catch_up._ahead


def _subscribe(wanted: Subscription, after: str) -> dict[str, object]:
    return {"type": "subscribe", "subscription": {"type": wanted.type}, "cursor": after}


class SlowReads(MemoryEngine):
    """A MemoryEngine whose reads wait while `gate` is closed, and fail by our own fault while `is_broken`."""

    def __init__(self, retention: Retention | None = None, clock: ManualClock | None = None) -> None:
        super().__init__(retention=retention or Retention(), clock=clock or ManualClock())
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_broken = False
        self.reads = 0

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        self.reads += 1
        await self.gate.wait()
        if self.is_broken:
            raise ZeroDivisionError
        return await super().read(log, after, max_bytes)


async def test_i0_no_cursor_before_the_answer() -> None:
    """While the log is asked about a cursor, no heartbeat tells another one: whoever came back with that would miss what lies between."""
    engine = SlowReads()
    async with started_node(engine=engine) as node:
        missed = [await node.happen() for _ in range(3)]
        client = await node.client(form="stream")
        engine.gate.clear()
        client.receive(_subscribe(DOCUMENTS, "earliest"))
        await settle()
        node.hub._heartbeats._beat(client.connection)
        assert client.messages() == []
        engine.gate.set()
        await settle()
        answer, *events = client.messages()
        assert answer["type"] == "subscribed"
        assert [m["event"]["id"] for m in events] == missed


async def test_who_is_far_behind_keeps_nobody_waiting() -> None:
    """Those who miss one event get it, and go live, while others still have pages to read."""
    async with started_node(engine=SlowReads()) as node:
        for _ in range(40):
            await node.happen(changes={"text": "x" * 30_000})
        await node.happen(organization_id="org456")
        far = [await node.client() for _ in range(2 * AT_A_TIME)]
        near = await node.client(member("user456", "org456"))
        for client in (*far, near):
            client.receive(_subscribe(DOCUMENTS, "earliest"))
        rounds = 0
        while near.connection.audience is None:
            await asyncio.sleep(0)
            rounds += 1
            assert rounds < 10_000
        assert len(near.event_ids()) == 1
        assert all(client.connection.is_behind for client in far)
        await settle()
        assert [len(client.event_ids()) for client in far] == [40] * len(far)


async def test_what_was_encoded_for_others_is_bounded_and_let_go() -> None:
    """Encoded events are kept while somebody catches up and a little longer, within their bytes."""
    async with started_node() as node:
        for _ in range(8):
            await node.happen(changes={"text": "x" * 200_000})
        kept = node.hub._catch_up
        first, second = await node.client(), await node.client()
        for client in (first, second):
            client.receive(_subscribe(DOCUMENTS, "earliest"))
        most = 0
        while not kept._workers:
            await asyncio.sleep(0)
        while kept._workers:
            most = max(most, kept._encoded.kept_bytes)
            await asyncio.sleep(0)
        assert 0 < most <= ITEMS_BYTES + PAGES_BYTES
        await elapse(KEPT_S)
        assert kept._encoded.kept_bytes == 0


async def test_retention_bites_in_memory_too() -> None:
    """What retention took out of the log is not shown from memory, and a cursor before it has expired."""
    now = ManualClock()
    async with started_node(engine=SlowReads(Retention(age_ms=1000), now)) as node:
        holder = await node.client()
        beginning = holder.subscribe(DOCUMENTS)["cursor"]
        await node.happen()
        await node.happen()
        await settle()
        assert len(holder.event_ids()) == 2
        now.now += 5000
        await elapse(5)
        late = await node.client()
        late.receive(_subscribe(DOCUMENTS, beginning))
        await settle()
        [answer] = late.messages()
        assert (answer["recovered"], answer["reason"]) == (False, "expired")


async def test_our_own_error_ends_one_connection() -> None:
    """Reading on that fails by a fault of ours closes that connection, so that it comes back; others go on."""
    engine = SlowReads()
    async with started_node(engine=engine) as node:
        client, other = await node.client(), await node.client()
        client.subscribe(DOCUMENTS)
        other.subscribe(DOCUMENTS)
        node.hub.paused(client.connection)
        await node.happen()
        node.hub._tails.forget("org123")
        engine.is_broken = True
        node.hub.drained(client.connection)
        await settle()
        assert client.outlet.closed is not None
        assert client.outlet.closed[0] == codes.CLOSE_INTERNAL.number
        assert len(other.event_ids()) == 1
        assert not node.hub._catch_up._workers
