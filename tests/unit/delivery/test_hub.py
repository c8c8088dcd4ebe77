"""The hub: what enters by its door reaches whom it concerns, connections end once, quiet ones are told how far the logs have got."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import CONTROL_LOG, ORIGIN_TAG, Commit, EngineHealth, LogName, Position
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes, cursor
from tests.support.clock import elapse, settle
from tests.support.delivery import FORMATS, Client, drafted, grant, guest, member, started_node, subscription
from tests.support.outlets import Outlet
from tests.support.samples import sample_event

pytestmark = pytest.mark.virtual_clock

DOCUMENTS = Subscription("document_updates")
INTERVAL_S = 30.0


def position_in(client: Client, text: str) -> tuple[int, int]:
    """Give the offsets of a cursor: of the organization's log and of the system log."""
    found = cursor.decode(client.connection.organization.organization_id, text)
    assert found is not None
    assert found.organization is not None
    assert found.system is not None
    return found.organization.offset, found.system.offset


@pytest.mark.parametrize("form", sorted(FORMATS))
async def test_an_event_reaches_who_wants_it(form: str) -> None:
    """In each format: the event with its cursor, to those whose subscription matches, and to nobody else."""
    async with started_node() as node:
        wants = await node.client(form=form)
        answer = wants.subscribe(subscription("document_updates", document_id="doc123"))
        assert position_in(wants, answer["cursor"]) == (0, 0)
        other = await node.client(form=form)
        other.subscribe(subscription("document_updates", document_id="another"))
        elsewhere = await node.client(member("user123", "org456"), form=form)
        elsewhere.subscribe(DOCUMENTS)
        event_id = await node.happen()
        await settle()
        [message] = wants.messages()
        assert message["event"]["id"] == event_id
        assert message["event"]["type"] == "document_updated"
        assert position_in(wants, message["cursor"]) == (1, 0)
        assert other.messages() == elsewhere.messages() == []


async def test_all_of_a_turn_is_one_write() -> None:
    """Events of one turn are joined: one write per connection, however many there are."""
    async with started_node() as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        writes = len(client.outlet.writes)
        ids = [await node.happen() for _ in range(16)]
        await settle()
        assert len(client.outlet.writes) == writes + 1
        assert client.event_ids() == ids


async def test_a_guest_sees_less_than_a_member() -> None:
    """One event, two views: the guest's signature data is cut, the member's is whole, each encoded once."""
    async with started_node() as node:
        signing = Subscription("signing_updates")
        whole, cut = await node.client(), await node.client(guest(grant(document_id="doc123")))
        for client in (whole, cut):
            client.subscribe(signing)
        await node.happen("signature_status")
        await settle()
        [seen], [less] = whole.messages(), cut.messages()
        assert set(seen["event"]["payload"]["signatureData"]) == {"signedAt", "ipAddress", "userAgent", "location"}
        assert set(less["event"]["payload"]["signatureData"]) == {"signedAt"}


async def test_a_notification_reaches_its_addressee_in_its_place() -> None:
    """Notifications go to the addressee's connections only, in log order among what everybody gets."""
    async with started_node() as node:
        ada, bob = await node.client(member("ada")), await node.client(member("bob"))
        for client in (ada, bob):
            client.subscribe(DOCUMENTS, Subscription("notifications"))
        ids = [
            await node.happen(kind, userId="ada", id=None if kind != "notification" else "ntf")
            for kind in ("document_update", "notification", "document_update")
        ]
        await settle()
        assert ada.event_ids() == ids
        assert bob.event_ids() == [ids[0], ids[2]]


async def test_unsubscribing_ends_delivery_after_what_was_pending() -> None:
    """What was appended before the unsubscribe is delivered, before the answer; what comes after is not."""
    async with started_node() as node:
        client = await node.client()
        [subscription_id] = client.subscribe(DOCUMENTS)["subscriptionIds"]
        event_id = await node.happen()
        client.receive({"type": "unsubscribe", "subscriptionId": subscription_id})
        await node.happen()
        await settle()
        assert [m["type"] for m in client.messages()] == ["event", "unsubscribed"]
        assert event_id


async def test_ending_is_done_once() -> None:
    """However often and in which order a connection is ended and lost, it is told and reported once."""
    async with started_node() as node:
        ended, lost = await node.client(), await node.client()
        for client in (ended, lost):
            client.subscribe(DOCUMENTS)
        node.hub.end(ended.connection, codes.CLOSE_REVOKED)
        node.hub.lost(lost.connection)
        for client in (ended, lost):
            node.hub.lost(client.connection)
            node.hub.end(client.connection, codes.CLOSE_NORMAL)
            node.hub.paused(client.connection)
            node.hub.drained(client.connection)
        assert ended.outlet.closed == (4504, "revoked")
        assert lost.outlet.closed is None
        assert node.closed == [
            (ended.connection.connection_id, codes.CLOSE_REVOKED),
            (lost.connection.connection_id, None),
        ]
        assert node.hub.connections == {}
        assert ended.connection.organization.holders == 0
        await node.happen()
        await settle()
        assert ended.messages() == lost.messages() == []


async def test_a_quiet_client_is_told_when_its_place_moved() -> None:
    """At a heartbeat, `cursor` comes if the position moved since the last cursor sent, and only then."""
    async with started_node() as node:
        for form in FORMATS:
            client = await node.client(member("ada", form), form)
            client.subscribe(subscription("document_updates", document_id="doc123"), Subscription("notifications"))

            async def told(client: Client = client) -> list[dict[str, Any]]:
                await elapse(INTERVAL_S / 2)
                node.hub.heard(client.connection)
                await elapse(INTERVAL_S / 2)
                node.hub.heard(client.connection)
                return client.messages()

            assert await told() == []
            await node.happen(organization_id=form, documentId="another")
            [moved] = await told()
            assert moved["type"] == "cursor"
            assert position_in(client, moved["cursor"])[0] == 1
            assert await told() == []
            await node.happen(organization_id=form)
            assert [m["type"] for m in await told()] == ["event"]
            assert await told() == []
            await node.happen("notification", organization_id=form, userId="ada")
            assert [m["type"] for m in await told()] == ["event"]
            assert await told() == []
            await node.happen("system_announcement")
            [moved] = await told()
            assert moved["type"] == "cursor"
            # What unsubscribing covers without a word is told at the next heartbeat.
            await node.happen(organization_id=form, documentId="another")
            [subscription_id, _] = [pair[0] for pair in client.connection.session.subscriptions]
            client.ask({"type": "unsubscribe", "subscriptionId": subscription_id})
            [moved] = await told()
            assert position_in(client, moved["cursor"])[0] == 4
            assert await told() == []
            await node.happen(organization_id=form)
            [moved] = await told()
            assert position_in(client, moved["cursor"])[0] == 5


async def test_before_subscribing_no_cursor_is_told() -> None:
    """A connection that asked for nothing was promised nothing: pings only, and pongs without a cursor."""
    async with started_node() as node:
        client = await node.client(form="texts")
        await node.happen()
        await elapse(INTERVAL_S)
        assert client.messages() == []
        assert "cursor" not in client.ask({"type": "ping"})


async def test_who_answers_no_ping_is_closed() -> None:
    """WebSocket frames: silent beyond interval and pong timeout is closed 4400; formats that answer no pings are left alone."""
    async with started_node() as node:
        silent, alive = await node.client(), await node.client()
        stream, texts = await node.client(form="stream"), await node.client(form="texts")
        for _ in range(9):
            await elapse(5.0)
            node.hub.heard(alive.connection)
        assert silent.outlet.closed == (4400, "heartbeat_timeout")
        assert [c.outlet.closed for c in (alive, stream, texts)] == [None] * 3


async def test_who_was_not_asked_owes_no_answer() -> None:
    """A peer that had something unsent when its ping was due is not called silent because it has taken that since."""
    async with started_node(heartbeat_interval_s=30.0, pong_timeout_s=40.0) as node:
        client = await node.client()
        client.outlet.backlog = 1
        await elapse(35.0)
        client.outlet.backlog = 0
        await elapse(35.0)
        assert client.outlet.closed is None
        await elapse(40.0)
        assert client.outlet.closed == (4400, "heartbeat_timeout"), "it was asked by now"


async def test_who_drained_lives() -> None:
    """Answers are not read while an outlet is full, so that draining it is a sign of life of its own."""
    async with started_node() as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        await elapse(INTERVAL_S)
        node.hub.paused(client.connection)
        await elapse(5.0)
        node.hub.drained(client.connection)
        await elapse(5.0)
        assert client.outlet.closed is None


async def test_close_leaves_nothing() -> None:
    """I7 in part: every connection is ended, no timer or task is left, and who is opened later is ended at once."""
    engine = MemoryEngine()
    async with started_node(engine=engine) as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        admission = await node.connect.admit(member("late"))
        await node.happen()
        await node.hub.close()
        assert client.outlet.closed == (1001, "going_away")
        late = Outlet()
        late.write = lambda joined: None  # type: ignore[method-assign]  # `connected` goes to a transport that is closing
        connection = node.connect.open(admission, late, FORMATS["frames"])
        assert not connection.is_open
        assert late.closed == (1001, "going_away")
        with pytest.raises(Unavailable):
            await node.connect.admit(member())
        await node.happen()
        assert node.hub.connections == {}
        assert not any(node.hub._heartbeats.wheel._slots)
        timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]  # asyncio's own list
        assert timers == []
        await node.hub.close()


async def test_an_admission_that_is_given_back_holds_nothing() -> None:
    """Between `admit` and `open` a peer may leave."""
    async with started_node() as node:
        admission = await node.connect.admit(member())
        assert admission.organization.holders == 1
        node.connect.forgo(admission)
        assert admission.organization.holders == 0


async def test_a_full_outlet_is_left_to_the_log() -> None:
    """Nothing is written to an outlet that is full; drained, it gets what it missed, once and in order, and is live again."""
    async with started_node() as node:
        client, other = await node.client(), await node.client()
        for one in (client, other):
            one.subscribe(DOCUMENTS)
        before = [await node.happen()]
        node.hub.paused(client.connection)
        missed = [await node.happen() for _ in range(3)]
        await settle()
        assert client.event_ids() == []
        assert other.event_ids() == before + missed
        pong = client.ask({"type": "ping"})
        assert position_in(client, pong["cursor"]) == (0, 0)
        node.hub.drained(client.connection)
        await settle()
        assert client.event_ids() == before + missed
        after = await node.happen()
        await settle()
        assert client.event_ids() == [after]


async def test_what_is_void_is_told() -> None:
    """When the log diverged below what was shown, subscribers are told to reload and go on from the common place; others are not."""
    async with started_node() as node:
        shown, elsewhere, idle = await node.client(), await node.client(member("ada", "org456")), await node.client()
        for client in (shown, elsewhere):
            client.subscribe(DOCUMENTS)
        await node.happen()
        await settle()
        shown.messages()
        common = Position(shown.connection.organization.live.epoch, 0, ORIGIN_TAG)
        node.hub.diverged(LogName("org123"), common)
        await settle()
        [told] = shown.messages()
        assert told["type"] == "resync"
        assert position_in(shown, told["cursor"]) == (0, 0)
        assert elsewhere.messages() == idle.messages() == []
        node.hub.diverged(LogName("org123"), common)
        node.hub.diverged(LogName("nobody's"), common)
        await settle()
        assert shown.messages() == []


async def test_an_announcement_that_is_void_is_not_offered() -> None:
    """When the system log diverged, announcements still on their way are dropped and those who saw them are told."""
    async with started_node() as node:
        client = await node.client()
        client.subscribe(Subscription("system_announcements"))
        await node.happen("system_announcement")
        await settle()
        assert len(client.event_ids()) == 1
        await node.happen("system_announcement")
        node.hub.diverged(LogName("*"), node.hub.system._replace(offset=0, tag=ORIGIN_TAG))
        await settle()
        assert [m["type"] for m in client.messages()] == ["resync"]
        assert node.hub.system.offset == 0


async def test_control_entries_and_health_go_to_who_asked() -> None:
    """The control log reaches a callback and no connection; the engine's health is kept and passed on."""
    controlled: list[str] = []
    health: list[EngineHealth] = []
    async with started_node(
        controlled=lambda epoch, entries: controlled.extend(e.event_id for e in entries),
        health_changed=health.append,
    ) as node:
        client = await node.client()
        client.subscribe(DOCUMENTS)
        draft = drafted(sample_event("document_update"), "evt_1", "~")
        await node.engine.commit(CONTROL_LOG, Commit([draft]))
        await settle()
        assert controlled == ["evt_1"]
        assert client.messages() == []
        node.hub.health(EngineHealth("degraded", "slow"))
        assert health == [node.hub.engine_health] == [EngineHealth("degraded", "slow")]


async def test_connections_of_an_organization_may_be_ended_while_listed() -> None:
    """`connections_of` gives the open connections of one organization, also to who ends them one by one."""
    async with started_node() as node:
        mine = [await node.client() for _ in range(3)]
        other = await node.client(member("ada", "org456"))
        for connection in node.hub.connections_of("org123"):
            node.hub.end(connection, codes.CLOSE_NORMAL)
        assert [c.connection.is_open for c in mine] == [False] * 3
        assert other.connection.is_open


async def test_a_hub_that_was_not_started_closes() -> None:
    """`close` may come before anything else."""
    await Hub(MemoryEngine()).close()
