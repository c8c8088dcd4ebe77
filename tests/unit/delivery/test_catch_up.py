"""Catching up, where the random plays of tests/property found single cases worth naming."""

from __future__ import annotations

import pytest

from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor
from tests.support.clock import settle
from tests.support.delivery import Turns, grant, guest, started_node

pytestmark = pytest.mark.virtual_clock

DOCUMENTS, ANNOUNCEMENTS = Subscription("document_updates"), Subscription("system_announcements")


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


def _subscribe(wanted: Subscription, after: str) -> dict[str, object]:
    return {"type": "subscribe", "subscription": {"type": wanted.type}, "cursor": after}
