"""A feed across lost connections: what it asks for, what it hands out, what it tells."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from signtusk_realtime.client.address import parse_address
from signtusk_realtime.client.failures import Lost, Refused, failure_of_close
from signtusk_realtime.client.feed import REMEMBERED_EVENTS, Feed, Gap, subscribe
from signtusk_realtime.client.link import Wanted
from signtusk_realtime.client.messages import Received, read_message
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.events.subscriptions import Subscription
from tests.support.clock import elapse, settle

pytestmark = pytest.mark.virtual_clock

Message = dict[str, object]
Step = Message | Lost | Refused
CONNECTED: Message = {"type": "connected", "connectionId": "conn_1", "heartbeatInterval": 30_000}


def event(number: int, organization: str = "o1") -> Message:
    body = {"id": f"e{number}", "type": "document_updated", "organizationId": organization, "payload": {}}
    return {"type": "event", "cursor": f"c{number}", "event": body}


def subscribed(cursor: str, **more: object) -> Message:
    return {"type": "subscribed", "subscriptionIds": ["sub_1"], "cursor": cursor, **more}


class FakeLink:
    """Says what it was given, then nothing."""

    def __init__(self, steps: Sequence[Step], *, answers_pings: bool = False) -> None:
        self.steps = list(steps)
        self.probes = 0
        self.is_closed = False
        self._answers_pings = answers_pings

    async def receive(self) -> Received:
        assert not self.is_closed
        if not self.steps:
            await asyncio.get_running_loop().create_future()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return read_message(json.dumps(step).encode())

    def silence_s(self, heartbeat_s: float) -> float:
        return heartbeat_s

    async def probe(self) -> bool:
        self.probes += 1
        if self._answers_pings:
            self.steps.append({"type": "pong", "timestamp": "…", "cursor": f"ping{self.probes}"})
        return True

    async def close(self) -> None:
        self.is_closed = True


@dataclass
class FakeService:
    """Links or failures, one for each time it is connected to; after the last it is down."""

    script: list[FakeLink | Lost | Refused]
    wanted: list[Wanted] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    retries: list[tuple[str, float]] = field(default_factory=list)

    async def open(self, wanted: Wanted) -> FakeLink:
        self.wanted.append(wanted)
        self.at_s.append(asyncio.get_running_loop().time())
        step = self.script.pop(0) if self.script else Lost("nobody is there")
        if isinstance(step, Exception):
            raise step
        return step

    def feed(self, cursor: str | None = None, connect_within_s: float | None = 10.0, url: str = "http://h") -> Feed:
        return Feed(
            self.open,
            parse_address(url),
            (Subscription("document_updates"),),
            cursor=cursor,
            token="t",
            connect_within_s=connect_within_s,
            on_gap=self.gaps.append,
            on_retry=lambda reason, delay_s: self.retries.append((reason, delay_s)),
            random=lambda: 1.0,
        )


async def take(feed: Feed, count: int) -> list[str]:
    return [(await anext(feed)).event.id for _ in range(count)]


async def test_events_are_handed_out_with_their_cursors() -> None:
    """The feed's cursor is that of what was handed out, no further."""
    link = FakeLink([CONNECTED, subscribed("c0"), event(1), event(2)])
    async with FakeService([link]).feed() as feed:
        cursor, received = await anext(feed)
        assert (cursor, received.id, received.type, received.organization_id) == ("c1", "e1", "document_updated", "o1")
        assert received.decoded() == event(1)["event"]
        assert feed.cursor == "c1"
    assert link.is_closed
    with pytest.raises(StopAsyncIteration):
        await anext(feed)


async def test_a_lost_connection_is_resumed_from_the_newest_cursor() -> None:
    """Cursors of events, of quiet times and of answers count alike; what comes twice is handed out once."""
    service = FakeService(
        [
            FakeLink([subscribed("c0"), event(1), event(2), {"type": "cursor", "cursor": "c9"}, Lost("gone")]),
            FakeLink([subscribed("c9", recovered=True), event(2), event(10), Lost("gone")]),
            FakeLink([subscribed("c10", recovered=True), event(11)]),
        ]
    )
    async with service.feed(cursor="start") as feed:
        assert await take(feed, 4) == ["e1", "e2", "e10", "e11"]
    assert [wanted.cursor for wanted in service.wanted] == ["start", "c9", "c10"]
    assert service.gaps == []


async def test_an_id_of_another_log_is_no_repetition() -> None:
    """An announcement may bear the id of an event."""
    service = FakeService(
        [FakeLink([subscribed("c0"), event(1), Lost("gone")]), FakeLink([subscribed("c1"), event(1, "*"), event(1)])]
    )
    async with service.feed() as feed:
        await take(feed, 1)
        assert (await anext(feed)).event.organization_id == "*"


async def test_only_the_last_events_are_remembered() -> None:
    """Memory stays flat however long a feed lives."""
    events = [event(n) for n in range(REMEMBERED_EVENTS + 1)]
    service = FakeService(
        [FakeLink([subscribed("c"), *events, Lost("gone")]), FakeLink([subscribed("c"), event(1), event(0)])]
    )
    async with service.feed() as feed:
        await take(feed, len(events))
        assert await take(feed, 1) == ["e0"]


async def test_a_gap_is_told_before_the_next_event() -> None:
    """After `recovered: false` and `resync` delivery goes on from the told cursor, and events may come anew."""
    service = FakeService(
        [
            FakeLink([subscribed("c0"), event(1), Lost("gone")]),
            FakeLink([subscribed("x0", recovered=False, reason="epoch"), event(1), Lost("gone")]),
            FakeLink(
                [subscribed("c1", recovered=True), {"type": "resync", "reason": "expired", "cursor": "x7"}, event(8)]
            ),
        ]
    )
    async with service.feed() as feed:
        assert await take(feed, 1) == ["e1"]
        assert service.gaps == []
        assert await take(feed, 1) == ["e1"]
        assert service.gaps == [Gap("epoch", "x0")]
        assert await take(feed, 1) == ["e8"]
        assert service.gaps[1:] == [Gap("expired", "x7")]


async def test_a_first_connection_that_never_comes_is_told() -> None:
    """It is tried with growing delays for as long as was said, and not longer."""
    service = FakeService([])
    async with service.feed(connect_within_s=10.0) as feed:
        with pytest.raises(Unavailable, match="within 10 s; at last: nobody is there"):
            await anext(feed)
    assert [delay_s for _, delay_s in service.retries] == [0.5, 1.0, 2.0, 4.0]
    assert service.at_s[-1] - service.at_s[0] == 7.5


async def test_once_connected_it_comes_back_whatever_it_takes() -> None:
    """Delays grow to their longest, and begin anew after a connection that lasted."""
    service = FakeService(
        [
            FakeLink([subscribed("c0"), event(1), Lost("gone")]),
            *[Lost("nobody is there")] * 9,
            FakeLink([subscribed("c1")]),
        ]
    )
    async with service.feed() as feed:
        await take(feed, 1)
        waiting = asyncio.ensure_future(anext(feed))
        await elapse(152)
        assert [delay_s for _, delay_s in service.retries] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]
        service.script.append(FakeLink([subscribed("c1"), event(2)]))
        await elapse(40)  # neither a word nor a pong
        assert service.retries[10:] == [("no sign of life for 10 s", 0.5)]
        assert (await waiting).event.id == "e2"


async def test_delays_do_not_begin_anew_after_a_connection_that_did_not_last() -> None:
    """A service that accepts and ends each connection at once is not asked in a tight loop."""
    service = FakeService([FakeLink([subscribed("c0"), failure]) for failure in [Lost("closed with 4430")] * 5])
    async with service.feed(connect_within_s=None) as feed:
        waiting = asyncio.ensure_future(anext(feed))
        await elapse(20)
        assert [delay_s for _, delay_s in service.retries][:5] == [0.5, 1, 2, 4, 8]
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_it_waits_as_long_as_a_refusing_service_asks() -> None:
    """Retry-After is the least delay."""
    service = FakeService([Lost("overloaded", not_before_s=7.0), FakeLink([subscribed("c0"), event(1)])])
    async with service.feed() as feed:
        await take(feed, 1)
    assert service.retries == [("overloaded", 7.0)]


async def test_a_refusal_ends_it() -> None:
    """At the door, in answer to the request, by a close code, by an announced end: it does not come back."""
    refusal = Refused("no", code="forbidden")
    closed = failure_of_close(4504, "")
    assert isinstance(closed, Refused)
    for script in (
        [refusal],
        [FakeLink([CONNECTED, {"type": "error", "code": "forbidden", "message": "no"}])],
        [FakeLink([CONNECTED, subscribed("c0"), closed])],
        [FakeLink([CONNECTED, subscribed("c0"), {"type": "error", "code": "revoked", "message": "no"}])],
        [
            FakeLink(
                [CONNECTED, subscribed("c0"), {"type": "unsubscribed", "subscriptionId": "s", "reason": "forbidden"}]
            )
        ],
        [FakeLink([CONNECTED, {"type": "event", "event": {}}])],
        [FakeLink([CONNECTED, {"type": "event", "cursor": "c", "event": {}}])],
    ):
        service = FakeService(list(script))
        feed = service.feed()
        with pytest.raises(Refused):
            await anext(feed)
        assert len(service.wanted) == 1
        assert all(not isinstance(link, FakeLink) or link.is_closed for link in script)


async def test_errors_that_pass_do_not_end_it() -> None:
    """An unavailable service is asked again; a request of ours that was one too many changes nothing."""
    expired = {"type": "error", "code": "token_expired", "message": "over"}
    service = FakeService(
        [
            FakeLink([CONNECTED, {"type": "error", "code": "unavailable", "message": "not now"}]),
            FakeLink(
                [
                    CONNECTED,
                    subscribed("c0"),
                    {"type": "error", "code": "rate_limited"},
                    event(1),
                    expired,
                    Lost("ended"),
                ]
            ),
            FakeLink([CONNECTED, subscribed("c1"), event(2)]),
        ]
    )
    async with service.feed() as feed:
        assert await take(feed, 2) == ["e1", "e2"]
    assert [reason for reason, _ in service.retries] == ["unavailable: not now", "ended"]


async def test_a_fresh_token_is_asked_for_each_connection() -> None:
    """Who gives tokens by a function is asked again when the old one's time is over."""
    tokens = iter(["t1", "t2"])
    service = FakeService([FakeLink([Lost("closed with 4401")]), FakeLink([subscribed("c0"), event(1)])])
    async with service.feed() as feed:
        feed._token = lambda: next(tokens)
        await take(feed, 1)
    assert [wanted.credentials.token for wanted in service.wanted] == ["t1", "t2"]


async def test_a_quiet_connection_is_asked_for_life_and_kept() -> None:
    """A pong is enough, and moves the cursor."""
    link = FakeLink([CONNECTED, subscribed("c0")], answers_pings=True)
    service = FakeService([link])
    async with service.feed() as feed:
        waiting = asyncio.ensure_future(anext(feed))
        await elapse(301)
        assert link.probes == 10
        assert feed.cursor == "ping10"
        assert service.retries == []
        link.steps.append(event(1))
        await elapse(30)
        assert (await waiting).event.id == "e1"


async def test_a_service_that_does_not_answer_is_left() -> None:
    """Neither the answer to the request nor a connection is waited for without end."""

    async def never(_: Wanted) -> FakeLink:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    service = FakeService([FakeLink([CONNECTED])])
    feed = service.feed(connect_within_s=15.0)
    with pytest.raises(Unavailable):
        await anext(feed)
    assert service.retries[0] == ("no sign of life for 10 s", 0.5)
    feed = service.feed(connect_within_s=15.0)
    feed._opener = never
    with pytest.raises(Unavailable, match="no answer within 10 s"):
        await anext(feed)


async def test_a_planned_end_is_followed_as_it_was_told() -> None:
    """It comes again when it was told and where it was told, whether or not the service hangs up first; resuming as ever."""
    for ending in ([Lost("closed with 1012")], []):
        service = FakeService(
            [
                FakeLink(
                    [
                        subscribed("c0"),
                        event(1),
                        {"type": "reconnect", "reason": "drain", "afterMs": 3000, "url": "http://other"},
                        *ending,
                    ]
                ),
                FakeLink([subscribed("c1"), event(2), Lost("gone")]),
                FakeLink([subscribed("c2"), event(3)]),
            ]
        )
        async with service.feed() as feed:
            assert await take(feed, 3) == ["e1", "e2", "e3"]
        assert service.at_s[1] - service.at_s[0] == pytest.approx(3.0)
        assert [wanted.address.websocket for wanted in service.wanted] == ["ws://h/ws", "ws://other/ws", "ws://h/ws"]
        assert service.wanted[1].cursor == "c1"


@pytest.mark.parametrize(
    "told",
    [
        [{"type": "reconnect", "reason": "restarting", "afterMs": 100}, Lost("the stream ended", not_before_s=0.6)],
        [failure_of_close(1012, "")],
    ],
    ids=["reconnect", "1012"],
)
async def test_a_service_that_restarts_is_tried_again_soon(told: list[Step]) -> None:
    """However it was announced: in the first seconds tries do not grow apart, so that its return is noticed at once."""
    service = FakeService([FakeLink([subscribed("c0"), event(1), *told]), *[Lost("nobody is there")] * 8])
    service.script.append(FakeLink([subscribed("c1", recovered=True), event(2)]))
    async with service.feed() as feed:
        assert await take(feed, 2) == ["e1", "e2"]
    first_s, *others_s = (delay_s for _, delay_s in service.retries)
    assert first_s == pytest.approx(0.1 if len(told) == 2 else 0.5)
    assert others_s == [0.5] * 8


@pytest.mark.parametrize("url", ["http://h2", "nonsense"])
async def test_a_token_is_not_sent_where_it_could_be_read(url: str) -> None:
    """From TLS the service cannot send us to where there is none; nor to what is no address."""
    service = FakeService(
        [
            FakeLink([subscribed("c0"), {"type": "reconnect", "afterMs": 0, "url": url}, Lost("x")]),
            FakeLink([subscribed("c0"), event(1)]),
        ]
    )
    async with service.feed(url="https://h") as feed:
        await take(feed, 1)
    assert [wanted.address.websocket for wanted in service.wanted] == ["wss://h/ws", "wss://h/ws"]


async def test_an_impatient_caller_misses_nothing() -> None:
    """Cancelling a wait for the next event leaves the feed as it was."""
    link = FakeLink([CONNECTED, subscribed("c0")])
    async with FakeService([link]).feed() as feed:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anext(feed)
        link.steps.append(event(1))
        assert await take(feed, 1) == ["e1"]


async def test_closing_while_it_waits_leaves_nothing() -> None:
    """Cancelled between two tries, it ends with its connection closed and no timer left."""
    link = FakeLink([subscribed("c0"), Lost("gone")])
    async with FakeService([link]).feed() as feed:
        waiting = asyncio.ensure_future(anext(feed))
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert link.is_closed


def test_what_is_asked_wrongly_is_told_at_once() -> None:
    """A URL or a subscription that cannot be meant is refused before anything is connected."""
    with pytest.raises(InvalidInput):
        subscribe("nonsense", [{"type": "document_updates"}])
    with pytest.raises(InvalidInput):
        subscribe("http://h", [{"type": "document_update"}])
    assert subscribe("http://h", [{"type": "document_updates", "filters": {"documentId": "d"}}]).cursor is None
