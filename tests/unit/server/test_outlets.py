"""The outlet of transports that take one message a call: bounds, order, and objects that fail, block or lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.expel import expel
from signtusk_realtime.delivery.formats import STREAM, TEXTS, Format
from signtusk_realtime.protocol import codes
from signtusk_realtime.server.outlets import Message, PumpedOutlet, Pumps
from tests.support.clock import elapse, settle
from tests.support.delivery import Node, member, started_node

pytestmark = pytest.mark.virtual_clock


class Transport:
    """Takes messages while `gate` is open; fails with `error` if there is one."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.closed: list[tuple[int, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None

    async def send(self, message: Message) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(message)

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


class Pumped:
    """A connection of a node over a pumped outlet."""

    def __init__(self, node: Node, pumps: Pumps, transport: Transport, outlet: PumpedOutlet, connection: Connection):
        self.node = node
        self.pumps = pumps
        self.transport = transport
        self.outlet = outlet
        self.connection = connection


@asynccontextmanager
async def pumped(
    send: Any = None, finish: Any = None, *, max_messages: int = 1000, max_bytes: int = 1 << 20, **hub_options: Any
) -> AsyncIterator[Pumped]:
    transport = Transport()
    pumps = Pumps(max_messages=max_messages, max_bytes=max_bytes, close_timeout_s=5.0)
    async with started_node(**hub_options) as node:
        admission = await node.connect.admit(member())
        outlet = PumpedOutlet(send or transport.send, finish or transport.close, hub=node.hub, pumps=pumps)
        connection = node.connect.open(admission, outlet, TEXTS)
        outlet.attend(connection)
        yield Pumped(node, pumps, transport, outlet, connection)
        await node.hub.close()
        await pumps.close()


async def test_messages_arrive_in_order_and_the_task_ends() -> None:
    """Each message is one call, in order; where nothing waits there is no task."""
    async with pumped() as it:
        assert it.transport.taken == []
        it.outlet.write(["a", "b"])
        it.outlet.write(["c"])
        await settle()
        assert it.transport.taken[1:] == ["a", "b", "c"]
        assert it.outlet.unsent() == 0
        assert not it.pumps._tasks


@pytest.mark.parametrize("code", [codes.CLOSE_REVOKED, codes.CLOSE_TOKEN_EXPIRED, codes.CLOSE_GOING_AWAY])
async def test_who_lost_his_right_is_not_handed_what_waits(code: codes.CloseCode) -> None:
    """Of what waits for a peer that does not read, answers are kept and events are not; any other close hands all of it over."""
    async with pumped() as it:
        await settle()
        it.transport.gate.clear()
        it.outlet.write(["being handed over"])
        await settle()
        it.outlet.write(["answer"])
        it.outlet.write_events(["event 1", "event 2"], [None, None])
        if code is codes.CLOSE_GOING_AWAY:
            it.node.hub.end(it.connection, code)
        else:
            expel(it.node.hub, it.connection, code)
        assert it.pumps.waiting == (2 if code is codes.CLOSE_GOING_AWAY else 0)
        await elapse(4)
        it.transport.gate.set()
        await settle()
        events = ["event 1", "event 2"] if code is codes.CLOSE_GOING_AWAY else []
        assert it.transport.taken[1:] == ["being handed over", "answer", *events]
        assert it.transport.closed == [(code.number, code.name)]
        assert (it.outlet.unsent(), it.pumps.waiting) == (0, 0)


async def test_nothing_is_handed_over_within_a_write() -> None:
    """A synchronous object is called in a later turn too, so that delivery is never entered from within."""
    taken: list[Message] = []
    async with pumped(taken.append) as it:
        it.outlet.write(["a"])
        assert taken == []
        await settle()
        assert taken[-1:] == ["a"]


async def test_synchronous_objects_let_others_have_their_turn() -> None:
    """An object that never waits is not given everything in one turn of the loop."""
    taken: list[Message] = []
    async with pumped(taken.append) as it:
        it.outlet.write(["x"] * 300)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 0 < len(taken) < 200
        await settle()
        assert len(taken) == 301


@pytest.mark.parametrize(
    ("bounds", "message"),
    [({"max_messages": 20}, "x"), ({"max_bytes": 2000}, "x" * 100), ({"max_bytes": 2000}, "ü" * 50)],
    ids=["messages", "bytes", "bytes of text"],
)
async def test_a_full_outlet_says_so_and_says_when_it_has_drained(bounds: dict[str, int], message: str) -> None:
    """From half of either bound on the connection is paused, from a later turn; once it has drained it goes on."""
    async with pumped(**bounds) as it:
        await settle()
        it.transport.gate.clear()
        for _ in range(9):
            it.outlet.write([message])
        await settle()
        assert not it.connection.is_paused
        it.outlet.write([message])
        it.outlet.write([message])
        assert not it.connection.is_paused
        await settle()
        assert it.connection.is_paused
        it.transport.gate.set()
        await settle()
        assert not it.connection.is_paused
        assert it.transport.taken[1:] == [message] * 11


async def test_room_is_awaited_while_it_is_full() -> None:
    """Whoever listens to the peer waits meanwhile, and no longer than until the connection's end."""
    async with pumped(max_messages=2) as it:
        await it.outlet.room()
        it.transport.gate.clear()
        it.outlet.write(["a", "b"])
        waiting = asyncio.create_task(it.outlet.room())
        await settle()
        assert not waiting.done()
        it.transport.gate.set()
        await settle()
        assert waiting.done()
        it.transport.gate.clear()
        it.outlet.write(["a", "b"])
        waiting = asyncio.create_task(it.outlet.room())
        it.outlet.abandon()
        await settle()
        assert waiting.done()


@pytest.mark.parametrize(
    "error", [OSError("gone"), RuntimeError("closed"), TimeoutError(), asyncio.CancelledError()], ids=repr
)
async def test_an_object_that_fails_ends_its_connection(error: BaseException) -> None:
    """Whatever it raises, a cancellation of its own included: the connection is gone, others live, its end is asked for once."""
    async with pumped() as it:
        other = await it.node.client()
        it.transport.error = error
        it.outlet.write(["a", "b"])
        await settle()
        assert it.node.closed == [(it.connection.connection_id, None)]
        assert not it.connection.is_open
        assert it.transport.closed == [(1011, "internal")]
        it.outlet.write(["c"])
        await settle()
        assert it.transport.taken == []
        other.receive({"type": "ping"})
        assert other.messages()[-1]["type"] == "pong"


async def test_an_object_that_blocks_is_found_without_progress() -> None:
    """One that never takes a message is closed after connection_timeout, and its close does not wait for it."""
    async with pumped(connection_timeout_s=300.0) as it:
        other = await it.node.client(form="texts")
        it.transport.gate.clear()
        it.outlet.write(["x"])
        await elapse(30 + 300 + 300 / 8 + 5)
        assert it.node.closed == [(it.connection.connection_id, codes.CLOSE_HEARTBEAT_TIMEOUT)]
        assert it.transport.closed == [(4400, "heartbeat_timeout")]
        assert other.connection.is_open


async def test_slow_is_not_blocked() -> None:
    """One that takes a message now and then makes progress, and stays."""

    async def send(message: Message) -> None:
        await asyncio.sleep(100)

    async with pumped(send, connection_timeout_s=300.0) as it:
        for _ in range(20):
            it.outlet.write(["x"])
        await elapse(1900)
        assert it.connection.is_open
        it.outlet.abandon()


async def test_a_close_comes_after_what_was_written() -> None:
    """What waits is handed over first; nothing after; a second close is none."""
    async with pumped() as it:
        it.outlet.write(["a"])
        it.outlet.close(1001, "going_away")
        it.outlet.close(1011, "internal")
        it.outlet.write(["b"])
        await settle()
        assert it.transport.taken[-1] == "a"
        assert it.transport.closed == [(1001, "going_away")]
        assert it.outlet.is_ended


async def test_a_close_waits_only_so_long() -> None:
    """An object that blocks is closed all the same; one whose close blocks too is left."""

    async def close(code: int, reason: str) -> None:
        await asyncio.Event().wait()

    for finish in (None, close):
        async with pumped(finish=finish) as it:
            it.transport.gate.clear()
            it.outlet.write(["a"])
            it.node.hub.end(it.connection, codes.CLOSE_GOING_AWAY)
            await elapse(5)
            assert it.transport.closed == ([(1001, "going_away")] if finish is None else [])
            await elapse(5)
            assert it.outlet.is_ended
            assert not it.pumps._tasks


@pytest.mark.parametrize("error", [OSError(), asyncio.CancelledError()], ids=repr)
async def test_a_close_that_fails_is_an_end_too(error: BaseException) -> None:
    """Whatever the object's close raises, the connection is over."""

    def close(code: int, reason: str) -> None:
        raise error

    async with pumped(finish=close) as it:
        it.outlet.close(1000, "normal")
        await settle()
        assert it.outlet.is_ended


async def test_an_object_that_swallows_its_cancellation_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """The end of all does not wait for it for ever, and names it."""
    go = asyncio.Event()

    async def send(message: Message) -> None:
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    async with pumped(send) as it:
        it.outlet.write(["a"])
        await settle()
        await it.node.hub.close()
        await it.pumps.close()
        assert it.transport.closed == [(1001, "going_away")]
        assert [record.message for record in caplog.records] == ["transports handed in do not end"]
        go.set()


async def test_an_awaitable_that_is_no_coroutine_is_awaited() -> None:
    """Futures count, and a result that is no awaitable is passed over."""
    taken: list[Message] = []

    def send(message: Message) -> Awaitable[None] | str:
        taken.append(message)
        if len(taken) % 2:
            future = asyncio.get_running_loop().create_future()
            future.get_loop().call_later(1, future.set_result, None)
            return future
        return "sent"

    async with pumped(send) as it:
        it.outlet.write(["a", "b"])
        await settle()
        assert taken[-1] != "b"
        await elapse(2)
        assert taken[-2:] == ["a", "b"]


async def test_what_a_full_outlet_missed_comes_from_the_log() -> None:
    """Events published meanwhile are neither kept in memory nor lost."""
    async with pumped(max_messages=40) as it:
        it.node.receive(it.connection, b'{"type":"subscribe","subscription":{"type":"document_updates"}}')
        await settle()
        it.transport.gate.clear()
        ids = []
        for _ in range(200):
            ids.append(await it.node.happen())
            await settle()
        assert it.connection.is_paused
        assert len(it.outlet._waiting) <= 40
        it.transport.gate.set()
        await settle()
        await elapse(1)
        got = [text for text in it.transport.taken if isinstance(text, str) and '"type":"event"' in text]
        assert len(got) == 200
        assert all(event_id in text for event_id, text in zip(ids, got, strict=True))


class Own(BaseException):
    """Something that no `except Exception` takes."""


@pytest.mark.parametrize("failure", [Own, GeneratorExit, asyncio.CancelledError, "cancels the task"])
async def test_whatever_ends_the_handing_over_leaves_no_hole(failure: type[BaseException] | str) -> None:
    """Nothing is handed over after what was not taken: the connection is lost and its object closed, whatever it raised."""
    taken: list[Message] = []

    async def send(message: Message) -> None:
        if message == "b":
            if isinstance(failure, str):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            else:
                raise failure
        taken.append(message)

    closed: list[tuple[int, str]] = []
    async with pumped(send, lambda code, reason: closed.append((code, reason))) as it:
        it.outlet.write(["a", "b", "c"])
        await settle()
        it.outlet.write(["d"])
        await settle()
        assert taken[1:] == ["a"]
        assert not it.connection.is_open
        assert closed == [(1011, "internal")]


async def test_an_object_that_never_took_anything_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Who hands in something that is no socket learns what is wrong with it; a peer that is gone is no news."""

    def no_socket(message: Message) -> None:
        raise TypeError("string indices must be integers")

    def gone(message: Message) -> None:
        raise BrokenPipeError

    for send, count in ((no_socket, 1), (gone, 0)):
        caplog.clear()
        async with pumped(send):
            await settle()
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == count
        assert all(record.exc_info for record in warnings)


async def test_a_later_failure_is_an_ordinary_end(caplog: pytest.LogCaptureFixture) -> None:
    """An object that took something before is a socket whose peer left, whichever error its library has for that."""
    async with pumped() as it:
        await settle()
        it.transport.error = RuntimeError("closed")
        it.outlet.write(["a"])
        await settle()
        assert not it.connection.is_open
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("form", [TEXTS, STREAM], ids=["texts", "stream"])
async def test_an_event_counts_when_it_was_taken(form: Format) -> None:
    """Delivered, and its latency, is what the object has taken; what waits is in the queue, until it is given up."""
    async with started_node() as node:
        pumps = Pumps(max_messages=1000, max_bytes=1 << 20, close_timeout_s=5.0)
        counters, transport = node.hub.counters, Transport()
        outlet = PumpedOutlet(transport.send, transport.close, hub=node.hub, pumps=pumps)
        connection = node.connect.open(await node.connect.admit(member()), outlet, form)
        outlet.attend(connection)
        await settle()
        transport.gate.clear()
        at = counters.clock()
        outlet.write_events(form.join([b"a", b"b"] if form is STREAM else ["a", "b"]), [at - 3, None])
        await settle()
        assert (counters.deliveries, counters.latency.weight, pumps.waiting) == (0, 0, 2)
        transport.gate.set()
        await settle()
        assert (counters.deliveries, counters.latency.weight, pumps.waiting) == (2, 1, 0)
        assert counters.latency.total >= 3
        outlet.write_events(form.join([b"c"] if form is STREAM else ["c"]), [None], is_from_log=True)
        await settle()
        assert (counters.deliveries, counters.caught_up) == (3, 1)
        transport.gate.clear()
        outlet.write_events(form.join([b"d"] if form is STREAM else ["d"]), [None])
        await settle()
        assert pumps.waiting == 1
        outlet.abandon()
        assert pumps.waiting == 0
        await node.hub.close()
        await pumps.close()
