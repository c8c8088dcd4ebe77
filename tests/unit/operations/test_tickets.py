"""How many tickets one user gets, and what is remembered for that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count

import pytest

from signtusk_realtime.errors import LimitExceeded, Unauthenticated
from signtusk_realtime.events.log import CONTROL_LOG, Commit, Epoch, Exact, Position
from signtusk_realtime.operations.tickets import (
    BURST,
    PER_SECOND,
    STREAM_BURST,
    STREAMS_PER_SECOND,
    TICKETS,
    Tickets,
    stream_id,
)
from signtusk_realtime.protocol.cursor import encode
from tests.support.delivery import Node, member, started_node
from tests.support.server import now_ms

pytestmark = pytest.mark.virtual_clock


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with started_node() as one:
        yield one


class Window:
    """Makes tickets at a time that is told."""

    def __init__(self, node: Node) -> None:
        self.now = 1000.0
        numbers = count()
        self.tickets = Tickets(
            node.engine,
            now_ms=now_ms,
            monotonic_s=lambda: self.now,
            new_secret=lambda: f"{next(numbers):022}",
        )

    async def made(self, user: str, most: int) -> int:
        for number in range(most):
            try:
                await self.tickets.issue(member(user))
            except LimitExceeded:
                return number
        return most


async def test_a_user_gets_so_many_tickets(node: Node) -> None:
    """Some at once, then so many a second; others are not concerned."""
    window = Window(node)
    assert await window.made("ada", BURST + 10) == BURST
    with pytest.raises(LimitExceeded) as refusal:
        await window.tickets.issue(member("ada"))
    assert (refusal.value.code, refusal.value.retry_after_s) == ("rate_limited", 1)
    assert await window.made("bob", 10) == 10
    window.now += 1
    assert await window.made("ada", BURST) == PER_SECOND


async def test_only_those_who_asked_lately_are_remembered(node: Node) -> None:
    """Who has not asked for a while is as somebody who never did, and costs nothing."""
    window = Window(node)
    for number in range(200):
        await window.made(f"user{number}", 1)
        window.now += 0.001
    assert len(window.tickets._issued.full_at) < 50
    assert await window.made("ada", BURST + 1) == BURST
    window.now += BURST / PER_SECOND + 0.001
    assert await window.made("bob", 1) == 1
    assert list(window.tickets._issued.full_at) == [("org123", "bob")]


async def test_who_asked_first_and_again_keeps_nobody_else_remembered(node: Node) -> None:
    """Those are forgotten first whose rate is whole again first, however long others go on."""
    window = Window(node)
    await window.made("ada", 10)
    await window.made("bob", 10)
    await window.made("ada", 10)
    window.now += 12 / PER_SECOND
    await window.made("eve", 1)
    assert [user for _, user in window.tickets._issued.full_at] == ["ada", "eve"]


async def test_a_user_opens_so_many_streams(node: Node) -> None:
    """What a ticket that opened a stream leaves behind stays as long as its token lives: some at once, then slowly; who waits loses nothing."""
    window = Window(node)

    async def opened(user: str, most: int) -> tuple[int, str]:
        for number in range(most):
            window.now += 1 / PER_SECOND
            ticket = (await window.tickets.issue(member(user))).ticket
            try:
                await window.tickets.take(ticket, selection="all")
            except LimitExceeded:
                return number, ticket
        return most, ""

    meanwhile = int(STREAM_BURST / PER_SECOND * STREAMS_PER_SECOND)
    many, refused = await opened("ada", 2 * STREAM_BURST)
    assert many == pytest.approx(STREAM_BURST + meanwhile, abs=1)
    with pytest.raises(LimitExceeded) as refusal:
        await window.tickets.take(refused, selection="all")
    assert (refusal.value.code, refusal.value.retry_after_s) == ("rate_limited", 1 / STREAMS_PER_SECOND)
    assert await opened("bob", 10) == (10, "")
    window.now += 1 / STREAMS_PER_SECOND
    assert await window.tickets.take(refused, selection="all") == member("ada")


async def test_to_reopen_a_stream_or_a_socket_counts_nothing(node: Node) -> None:
    """Only a stream that is opened leaves something behind."""
    window = Window(node)
    ticket = (await window.tickets.issue(member("ada"))).ticket
    await window.tickets.take(ticket, selection="all")
    for _ in range(STREAM_BURST):
        await window.tickets.take(ticket, selection="all", cursor="latest")
    for _ in range(STREAM_BURST):
        window.now += 1 / PER_SECOND
        await window.tickets.take((await window.tickets.issue(member("ada"))).ticket)
    assert window.tickets._opened.full_at == {("org123", "ada"): 1000.0 + 1 / STREAMS_PER_SECOND}


async def test_what_was_opened_before_its_beginning_was_kept_is_reopened(node: Node) -> None:
    """A record of an earlier version says nothing of where its stream began, and stays as good as it was."""
    window = Window(node)
    ticket = (await window.tickets.issue(member("ada"))).ticket
    await window.tickets.take(ticket, selection="all")
    key = stream_id(ticket).removeprefix("sse_")
    [record] = (await node.engine.records(CONTROL_LOG, [Exact(TICKETS, key)])).results[0]
    former = json.loads(record.value)
    assert former.pop("since") is None
    await node.engine.commit(CONTROL_LOG, Commit(put=[record._replace(value=json.dumps(former).encode())]))
    assert await window.tickets.take(ticket, selection="all", cursor="earliest") == member("ada")


async def test_where_a_stream_begins_is_kept_once(node: Node) -> None:
    """By its first beginning; a stream without a ticket, and one whose ticket was taken away, have nothing to keep it in."""
    window = Window(node)
    ticket = (await window.tickets.issue(member("ada"))).ticket
    await window.tickets.take(ticket, selection="all")
    began, later = (encode("org123", Position(Epoch("a" * 16), offset, b"12345"), None) for offset in (5, 9))
    await window.tickets.begins(stream_id(ticket), began)
    await window.tickets.begins(stream_id(ticket), later)
    assert await window.tickets.take(ticket, selection="all", cursor=began) == member("ada")
    with pytest.raises(Unauthenticated):
        await window.tickets.take(ticket, selection="all", cursor="earliest")
    await window.tickets.begins("sse_0192f0c1", began)
    await window.tickets.begins("sse_" + "0" * 64, began)
