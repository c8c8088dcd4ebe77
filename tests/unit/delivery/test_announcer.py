"""Announcements: paced over organizations, in order, each organization's cursor covering only what it took."""

from __future__ import annotations

import pytest

from signtusk_realtime.delivery.announcer import OFFERS_PER_LOOK, Announcer
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch, Position
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import cursor
from tests.support.clock import settle
from tests.support.delivery import Turns, drafted, member, started_node
from tests.support.samples import sample_event

pytestmark = pytest.mark.virtual_clock

EPOCH = Epoch("0" * 16)


def at(offset: int) -> Position:
    return Position(EPOCH, offset, bytes([offset] * 5) if offset else ORIGIN_TAG)


def announcement(offset: int) -> Entry:
    draft = drafted(sample_event("system_announcement"), f"evt_{offset}", "*")
    return Entry(offset, at(offset).tag, 0, draft.event_id, draft.keys, draft.body)


def organizations(count: int) -> list[Organization]:
    made = [Organization(str(n), at(0), lambda connection, place: None) for n in range(count)]
    for organization in made:
        organization.begin(at(0))
    return made


def test_organizations_are_offered_a_slice_at_a_time() -> None:
    """A slice that ends leaves the other organizations for the next one, with their positions where they were."""
    turns, woken, moved = Turns(), list[Organization](), list[Organization]()
    announcer = Announcer(woken.append, moved.append)
    everybody = organizations(OFFERS_PER_LOOK * 3)
    announcer.announce(announcement(1), at(1), everybody)
    announcer.announce(announcement(2), at(2), everybody)
    slices = []

    def flush() -> None:
        done = announcer.flush(turns.clock, 1.0)
        slices.append([organization.system.offset for organization in everybody].count(0))
        if not done:
            turns.waiting.append(flush)

    turns.waiting.append(flush)
    while turns.turn(looks=0):
        assert {o.system.offset for o in everybody} <= {0, 1, 2}
    assert slices[:3] == [OFFERS_PER_LOOK * 2, OFFERS_PER_LOOK, 0]
    assert {o.system.offset for o in everybody} == {2}
    assert woken == []  # nobody subscribed
    assert [moved.count(organization) for organization in everybody] == [2] * len(everybody)


def test_an_organization_that_is_about_to_be_followed_moves_on() -> None:
    """Nobody is in it yet; whoever comes begins after the announcement."""
    announcer = Announcer(lambda organization: None, lambda organization: None)
    coming = Organization("org123", at(0), lambda connection, place: None)
    announcer.announce(announcement(1), at(1), [coming])
    assert announcer.flush(lambda: 0.0, 1.0)
    assert coming.system == at(1)
    assert coming.position is None


async def test_an_announcement_reaches_every_organization_once() -> None:
    """Every organization's subscribers get it, with a cursor of their own organization; those who come later do not."""
    async with started_node() as node:
        wanted = Subscription("system_announcements")
        clients = [await node.client(member("user123", name)) for name in ("one", "two")]
        for client in clients:
            client.subscribe(wanted)
        event_id = await node.happen("system_announcement")
        await settle()
        for client, name in zip(clients, ("one", "two"), strict=True):
            [message] = client.messages()
            assert message["event"]["id"] == event_id
            decoded = cursor.decode(name, message["cursor"])
            assert decoded is not None
            assert decoded.system is not None
            assert decoded.system.offset == 1
        late = await node.client(member("user123", "three"))
        late.subscribe(wanted)
        await settle()
        assert late.event_ids() == []


async def test_a_cursor_covers_only_the_announcements_offered() -> None:
    """Who subscribes while an announcement is on its way begins before it, and gets it."""
    turns = Turns()
    async with started_node(flusher=turns.flusher()) as node:
        client = await node.client()
        event_id = await node.happen("system_announcement")
        answer = client.subscribe(Subscription("system_announcements"))
        decoded = cursor.decode("org123", answer["cursor"])
        assert decoded is not None
        assert decoded.system is not None
        assert decoded.system.offset == 0
        turns.run()
        assert client.event_ids() == [event_id]
