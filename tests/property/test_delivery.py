"""The invariants of live delivery, over random lives of connections, between and within turns of the loop.

A program is a list of steps: connections of three formats in two organizations join, resume from cursors, change what they want, fill up
and drain, leave and end; events and announcements are committed; turns run whose slices end at any look at the clock. Afterwards each connection's messages are compared with
what the oracle of tests/support/delivery.py says it should have got, and when.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import to_builtins

from signtusk_realtime.delivery import announcer, audience
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.log import SYSTEM_LOG, Entry, LogName
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes, cursor
from signtusk_realtime.sessions.identity import Identity
from tests.support import clock, delivery
from tests.support.delivery import Client, JsonEvent, Node, Turns, started_node
from tests.support.outlets import Message
from tests.support.samples import sample_event

ORGANIZATIONS = ("one", "two")
LOGS = (*ORGANIZATIONS, SYSTEM_LOG)
ASKS = (
    *["publish"] * 6,
    *["turn"] * 4,
    *["subscribe"] * 3,
    *["unsubscribe"] * 2,
    *["loop"] * 2,
    *["pause", "drain"] * 2,
    "ping",
    "beat",
    "join",
    "resume",
    "end",
    "lost",
)


USUAL = [
    Subscription(name) for name in ("document_updates", "signing_updates", "notifications", "system_announcements")
]
OVERLAPPING = [
    delivery.subscription("document_updates", document_id="a"),
    delivery.subscription("document_updates", event_types=("document_updated",)),
]
"""Several clauses that one event matches: it comes once all the same."""


def _guest(organization: str) -> Identity:
    return delivery.guest(
        delivery.grant(document_id="a", recipient_id="b", types=tuple(delivery.EVENTS_OF)),
        delivery.grant(signing_request_id="b", recipient_id="a"),
        user_id="b",
        organization_id=organization,
    )


FIRST: list[tuple[Identity, str, list[Subscription]]] = [
    (delivery.member("a", "one", "a"), "frames", USUAL),
    (delivery.member("a", "one", "a"), "frames", USUAL),
    (delivery.member("b", "one", "b"), "frames", USUAL),
    (delivery.member("a", "one", "a"), "stream", OVERLAPPING),
    (_guest("one"), "frames", [Subscription("signing_updates"), Subscription("notifications")]),
    (delivery.member("b", "two"), "texts", USUAL),
]
"""Who is there from the beginning, and what they want at first."""


@pytest.fixture(scope="module", autouse=True)
def _a_look_at_the_clock_at_every_step() -> Iterator[None]:
    """Let slices end between any two writes or offers, which else takes an audience of dozens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audience, "WRITES_PER_LOOK", 1)
        patch.setattr(announcer, "OFFERS_PER_LOOK", 1)
        yield


FEW = ("a", "b")
HAPPENINGS: list[Published] = [
    *(sample_event("document_update", documentId=d, type=t, changes=None) for d in FEW for t in ("updated", "signed")),
    *(
        sample_event("signature_status", documentId=d, signingRequestId=s, recipientId=r)
        for d in FEW
        for s in FEW
        for r in FEW
    ),
    *(sample_event("notification", userId=u) for u in FEW * 2),
    *(sample_event("team_update", teamId=t) for t in FEW),
    *(sample_event("user_presence", userId=u, currentDocument=d) for u, d in ("ab", "ba")),
    *(sample_event("organization_activity", payload={"documentId": d}) for d in FEW),
]
WISHES: list[list[Subscription]] = [
    *([Subscription(name)] for name in delivery.EVENTS_OF),
    *([delivery.subscription("document_updates", document_id=d)] for d in FEW),
    *([delivery.subscription("signing_updates", signing_request_id=s)] for s in FEW),
    [delivery.subscription("organization_activity", document_id="a"), Subscription("notifications")],
    OVERLAPPING,
    [
        delivery.subscription("signing_updates", document_id="a"),
        delivery.subscription("signing_updates", signing_request_id="a"),
    ],
]
NEWCOMERS: list[tuple[Identity, str]] = [
    (identity, form)
    for form in delivery.FORMATS
    for organization in ORGANIZATIONS
    for identity in (delivery.member("a", organization, "b"), _guest(organization))
]


class Step(NamedTuple):
    """What happens next. `which` chooses among what there is: a log, a connection; `what` among what can be done with it."""

    verb: str
    which: int
    what: int


STEPS = st.builds(Step, st.sampled_from(ASKS), st.integers(0, 7), st.integers(0, 255))


class Span(NamedTuple):
    """What a connection wanted, and the offsets after which that began, in its organization's log and the system log."""

    wanted: tuple[Subscription, ...]
    begin: tuple[int, int]


class Seat:
    """A connection, what it asked for and what it was told."""

    def __init__(self, client: Client, identity: Identity) -> None:
        self.client = client
        self.identity = identity
        self.wanted: dict[str, Subscription] = {}
        self.spans: list[Span] = []
        self.messages: list[Message] = []
        self.end: tuple[int, int] | None = None
        """How far the logs were when it left; None if it stayed to the end."""

    @property
    def is_open(self) -> bool:
        return self.client.connection.is_open

    def change(self, place: cursor.Cursor | Place) -> None:
        """Note that what it wants now holds from this place on."""
        assert place.organization is not None
        assert place.system is not None
        self.spans.append(Span(tuple(self.wanted.values()), (place.organization.offset, place.system.offset)))

    def leave(self) -> None:
        """Note that it gets nothing of what comes now."""
        organization = self.client.connection.organization
        self.end = organization.live.offset, organization.system.offset


class Play:
    """Runs a program and knows what happened."""

    def __init__(self, node: Node, turns: Turns) -> None:
        self.node = node
        self.turns = turns
        self.seats: list[Seat] = []
        self.logs: dict[str, list[tuple[Entry, JsonEvent]]] = {log: [] for log in LOGS}

    async def run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.verb == "join":
                await self.join(*NEWCOMERS[step.what % len(NEWCOMERS)])
            elif step.verb == "publish":
                places = [step.what + at for at in range(step.what % 3 + 1)]
                await self.publish(LOGS[step.which % len(LOGS)], [HAPPENINGS[at % len(HAPPENINGS)] for at in places])
            elif step.verb == "turn":
                self.turns.turn(step.what % 6 or None)
            elif step.verb == "loop":
                for _ in range(step.what % 4):
                    await asyncio.sleep(0)
            elif self.seats:
                seat = self.seats[step.which % len(self.seats)]
                if step.verb == "resume":
                    await self.resume(seat, step.what)
                elif seat.is_open:
                    await self.act(seat, step)
            self.listen()

    async def join(self, identity: Identity, form: str) -> Seat:
        seat = Seat(await self.node.client(identity, form), identity)
        self.seats.append(seat)
        return seat

    async def resume(self, old: Seat, what: int) -> None:
        """Come back as somebody who was here, with a cursor he once got and other wishes, perhaps."""
        known = [m["cursor"] for m in old.messages if "cursor" in m]
        if known:
            seat = await self.join(old.identity, old.client.connection.form.name)
            wishes = WISHES[what % len(WISHES)] if what % 2 else list(old.spans[0].wanted)
            await self.subscribe(seat, wishes, known[what % len(known)])

    async def finish(self) -> None:
        """Let everybody who is still there get everything."""
        for seat in self.seats:
            if seat.is_open:
                self.node.hub.drained(seat.client.connection)
        self.turns.run()
        await clock.settle()
        self.turns.run()
        self.listen()

    async def publish(self, log: str, happenings: Sequence[Published]) -> None:
        if log == SYSTEM_LOG:
            happenings = [sample_event("system_announcement") for _ in happenings]
        for entry in await self.node.publish(*happenings, organization_id=log):
            self.logs[log].append((entry, json.loads(entry.body)))

    async def act(self, seat: Seat, step: Step) -> None:
        match step.verb:
            case "subscribe":
                await self.subscribe(seat, WISHES[step.what % len(WISHES)])
            case "unsubscribe":
                if seat.wanted:
                    subscription_id = list(seat.wanted)[step.what % len(seat.wanted)]
                    seat.client.receive({"type": "unsubscribe", "subscriptionId": subscription_id})
                    del seat.wanted[subscription_id]
                    seat.change(self.node.hub.place_of(seat.client.connection))
            case "ping":
                seat.client.receive({"type": "ping"})
            case "beat":
                self.node.hub._heartbeats._beat(seat.client.connection)
            case "pause":
                self.node.hub.paused(seat.client.connection)
            case "drain":
                self.node.hub.drained(seat.client.connection)
            case "end":
                seat.leave()
                self.node.hub.end(seat.client.connection, codes.CLOSE_NORMAL)
            case "lost":
                seat.leave()
                self.node.hub.lost(seat.client.connection)
                seat.client.outlet.close(1006, "gone")

    async def subscribe(self, seat: Seat, wishes: list[Subscription], after: str | None = None) -> None:
        request = {"type": "subscribe", "subscriptions": to_builtins(wishes)}
        seat.client.receive(request if after is None else {**request, "cursor": after})
        while seat.client.connection.inbox is not None:
            await asyncio.sleep(0)
        self.listen()
        answer = next(m for m in reversed(seat.messages) if m["type"] in ("subscribed", "error"))
        if answer["type"] == "error":
            assert any(delivery.is_outside(seat.identity, wish) for wish in wishes)
            return
        assert (answer.get("recovered"), answer["cursor"] if after else None) == (True if after else None, after)
        seat.wanted.update(zip(answer["subscriptionIds"], wishes, strict=True))
        place = cursor.decode(seat.identity.organization_id, answer["cursor"])
        assert place is not None
        seat.change(place)

    def listen(self) -> None:
        for seat in self.seats:
            seat.messages += seat.client.messages()

    def due(self, seat: Seat, half: int) -> list[tuple[int, str, JsonEvent]]:
        """Give what a seat should get of one of its two logs: offset, event id, the event as it sees it."""
        log = self.logs[SYSTEM_LOG if half else seat.identity.organization_id]
        found = []
        for entry, event in log:
            span = next((s for s in reversed(seat.spans) if s.begin[half] < entry.offset), None)
            if span is None or (seat.end is not None and entry.offset > seat.end[half]):
                continue
            if any(delivery.gets(seat.identity, wanted, event) for wanted in span.wanted):
                found.append((entry.offset, entry.event_id, delivery.as_seen(seat.identity, event)))
        return found


def _play(steps: Sequence[Step]) -> Play:
    async def program() -> Play:
        turns = Turns()
        async with started_node(flusher=turns.flusher()) as node:
            play = Play(node, turns)
            for identity, form, wishes in FIRST:
                await play.subscribe(await play.join(identity, form), wishes)
            await play.run(steps)
            await play.finish()
            return play

    return clock.run(program())


PROGRAMS = st.lists(STEPS, min_size=15, max_size=40)
PLAYED = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(PROGRAMS)
@PLAYED
def test_i2_each_match_once_in_log_order_and_none_missed(steps: list[Step]) -> None:
    """I2: a connection gets each matching event once, in log order, exactly those after its join and before its leaving."""
    play = _play(steps)
    for seat in play.seats:
        events = [m["event"] for m in seat.messages if m["type"] == "event"]
        for half in (0, 1):
            got = [(e["id"], e) for e in events if (e["organizationId"] == SYSTEM_LOG) == bool(half)]
            due = [(event_id, event) for _, event_id, event in play.due(seat, half)]
            if seat.end is None:
                assert got == due
            else:
                assert got == due[: len(got)]


@given(PROGRAMS)
@PLAYED
def test_i0_cursor_honesty(steps: list[Step]) -> None:
    """I0: whatever carries a cursor stands after every entry that the cursor covers and the connection wants; cursors never go back."""
    play = _play(steps)
    for seat in play.seats:
        due = [{event_id: offset for offset, event_id, _ in play.due(seat, half)} for half in (0, 1)]
        seen: set[str] = set()
        last = (0, 0)
        for message in seat.messages:
            if message["type"] == "event":
                seen.add(message["event"]["id"])
            if "cursor" not in message:
                continue
            decoded = cursor.decode(seat.identity.organization_id, message["cursor"])
            assert decoded is not None
            covered = (_offset(play, seat, decoded.organization, 0), _offset(play, seat, decoded.system, 1))
            if message["type"] == "event":
                half = int(message["event"]["organizationId"] == SYSTEM_LOG)
                assert covered[half] == due[half][message["event"]["id"]], "an event's cursor names its own place"
            for half in (0, 1):
                missing = [i for i, offset in due[half].items() if offset <= covered[half] and i not in seen]
                assert missing == [], message
                assert covered[half] >= last[half]
            if message["type"] == "cursor":
                assert sum(covered) >= sum(last)
            last = covered


def _offset(play: Play, seat: Seat, position: Any, half: int) -> int:
    """Give a cursor's offset, checked to be a place of the log as it is."""
    log = play.logs[SYSTEM_LOG if half else seat.identity.organization_id]
    if position.offset:
        assert position.tag == log[position.offset - 1][0].tag
    offset: int = position.offset
    return offset


@given(PROGRAMS)
@PLAYED
def test_i4_nothing_of_another_organization(steps: list[Step]) -> None:
    """I4: what a connection is shown belongs to its organization or to all, and a guest's view is cut."""
    play = _play(steps)
    for seat in play.seats:
        for message in seat.messages:
            if message["type"] != "event":
                continue
            event = message["event"]
            assert event["organizationId"] in (seat.identity.organization_id, SYSTEM_LOG)
            assert event == delivery.as_seen(seat.identity, event)


@given(PROGRAMS)
@PLAYED
def test_nothing_is_kept_for_who_left(steps: list[Step]) -> None:
    """I7 in part: when everybody has left, no audience, index entry, reader or pending item is left."""

    async def program() -> None:
        turns = Turns()
        async with started_node(flusher=turns.flusher()) as node:
            play = Play(node, turns)
            await play.run(steps)
            organizations = list(node.hub._following.organizations.values())
            for seat in play.seats:
                if seat.is_open:
                    node.hub.lost(seat.client.connection)
            turns.run()
            await clock.settle()
            assert node.hub.connections == {}
            for organization in organizations:
                assert organization.holders == 0
                assert not organization._audiences
                assert organization._index._found_by == {}
                assert not organization._readers
                assert not organization._queued
            assert all(not slot for slot in node.hub._heartbeats.wheel._slots)

    clock.run(program())


def test_a_direct_source_is_as_good_as_an_engine() -> None:
    """The hub delivers whatever its sink is given: entries of several commits in one call, of a log nobody follows, of another epoch."""

    async def program() -> None:
        async with started_node() as node:
            client = await node.client()
            client.subscribe(Subscription("document_updates"))
            engine_top = await node.engine.follow(LogName("org123"))
            drafts = [delivery.drafted(sample_event("document_update"), f"evt_{n}", "org123") for n in range(3)]
            entries = [
                Entry(n + 1, bytes([n] * 5), delivery.NOW_MS, d.event_id, d.keys, d.body) for n, d in enumerate(drafts)
            ]
            node.hub.appended(LogName("org123"), engine_top.epoch, entries)
            node.hub.appended(LogName("elsewhere"), engine_top.epoch, entries)
            await clock.settle()
            assert client.event_ids() == ["evt_0", "evt_1", "evt_2"]

    clock.run(program())
