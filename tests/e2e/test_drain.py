"""A stop as people see it: who is told what and when, what is still answered, and that nothing published is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx2
import msgspec
import pytest
from websockets.asyncio.client import connect

from signtusk_realtime.server import gate
from tests.support.command import DEADLINE_S, Api, Served, document_update, read_message
from tests.support.command import serving as served_by_command
from tests.support.samples import sample
from tests.support.server import (
    CLOSE,
    IDENTITY,
    QUICK,
    UPGRADE,
    Peer,
    StreamPeer,
    WebSocketPeer,
    request,
    serving,
    until,
)
from tests.support.wire import client_frame

EVENTS = f"/api/realtime/events?{IDENTITY}"
DRAIN_S = 2.0
DRAINING = msgspec.structs.replace(QUICK, drain_timeout_s=DRAIN_S)
PEERS = 12


async def leave(peer: WebSocketPeer) -> tuple[float, float]:
    """Read to the end, and answer the close; give the announced wait and the real one, in seconds."""
    began = time.monotonic()
    while (message := await peer.message())["type"] != "reconnect":
        pass
    assert message["reason"] == "restarting"
    after_ms = message["afterMs"]
    assert isinstance(after_ms, int)
    assert await peer.closed() == (1012, "restarting")
    ended = time.monotonic()
    await peer.send(client_frame(CLOSE, (1012).to_bytes(2, "big")))
    assert await peer.rest() == b""
    return after_ms / 1000, ended - began


async def leave_stream(peer: StreamPeer) -> tuple[float, float]:
    """Read to the end; give the announced wait and the real one, and see that an EventSource is told to wait a little after it."""
    began = time.monotonic()
    after_ms = None
    with suppress(EOFError):
        while True:
            message = await peer.message()
            if message["type"] == "reconnect":
                after_ms = message["afterMs"]
    assert isinstance(after_ms, int)
    assert peer.stream.retry is not None
    assert 250 <= peer.stream.retry <= 1000
    return after_ms / 1000, time.monotonic() - began


@pytest.mark.both_loops
async def test_everybody_is_told_when_to_come_back() -> None:
    """Each connection of both transports gets `reconnect`, the first within a second and each for another time; it ends then, 1012."""
    async with serving(limits=DRAINING, stop=False) as it:
        sockets = [await WebSocketPeer.open(it.port) for _ in range(PEERS)]
        streams = [await StreamPeer.open(it.port) for _ in range(PEERS)]
        began = time.monotonic()
        stopping = asyncio.create_task(it.server.stop())
        left = await asyncio.gather(*map(leave, sockets), *map(leave_stream, streams))
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert time.monotonic() - began < DRAIN_S + 0.5
        waits = [announced for announced, _ in left]
        assert min(waits) < 1
        assert max(waits) <= DRAIN_S
        assert len(set(waits)) == 2 * PEERS
        assert all(-0.05 < real - announced < 1 for announced, real in left)
        for peer in (*sockets, *streams):
            await peer.end()


@pytest.mark.both_loops
async def test_what_is_asked_meanwhile_is_answered() -> None:
    """On connections that are open: not ready, publications are carried out and delivered, and each answer is the last. No new ones."""
    async with serving(limits=DRAINING, stop=False) as it:
        web_socket = await WebSocketPeer.open(it.port)
        await web_socket.subscribe({"type": "document_updates"})
        probe, publisher = await Peer.connect(it.port), await Peer.connect(it.port)
        for peer in (probe, publisher):
            await peer.send(request("GET", "/readyz"))
            assert (await peer.answer()).status == 200
        stopping = asyncio.create_task(it.server.stop())
        assert (await web_socket.message())["type"] == "reconnect"
        await probe.send(request("GET", "/readyz"))
        answer = await probe.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (503, "overloaded", "close")
        body = json.dumps(sample("document_update")).encode()
        await publisher.send(request("POST", EVENTS, {"Content-Type": "application/json"}, body))
        answer = await publisher.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert (await web_socket.message())["type"] == "event"
        for peer in (probe, publisher):
            assert await peer.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await Peer.connect(it.port)
        await web_socket.closed()
        await web_socket.end()
        await asyncio.wait_for(stopping, DEADLINE_S)
        for peer in (probe, publisher):
            await peer.end()


@pytest.mark.both_loops
async def test_an_event_stream_is_not_refused_but_cut() -> None:
    """On a connection that a browser kept open: it would take a refusal for final, and comes back after a connection that was lost."""
    async with serving(limits=DRAINING) as it:
        listener, kept = await StreamPeer.open(it.port), await Peer.connect(it.port)
        await kept.send(request("GET", "/readyz"))
        assert (await kept.answer()).status == 200
        stopping = asyncio.create_task(it.server.stop())
        while (await listener.message())["type"] != "reconnect":
            pass
        await kept.send(request("GET", EVENTS))
        assert await kept.rest() == b""
        for peer in (listener, kept):
            await peer.end()
        await asyncio.wait_for(stopping, DEADLINE_S)


@pytest.mark.both_loops
async def test_who_waits_to_be_let_in_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is let in by a server that stops; those in the queue are told at once."""
    monkeypatch.setattr(gate, "PER_TURN", 0)
    monkeypatch.setattr(gate, "PER_S", 0)
    async with serving(limits=DRAINING, stop=False) as it:
        peer = await Peer.connect(it.port)
        await peer.send(request("GET", f"/ws?{IDENTITY}", UPGRADE))
        await until(lambda: it.server._entrance.gate.waiting == 1)
        stopping = asyncio.create_task(it.server.stop())
        answer = await peer.answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert b"stopping" in answer.body
        await peer.end()
        await asyncio.wait_for(stopping, DEADLINE_S)
        assert it.server._entrance.gate.waiting == 0


class Publisher:
    """Publishes one event after the other, until the server ends; knows which were answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answered: list[str] = []
        self.open: str | None = None
        self.has_begun = asyncio.Event()

    async def run(self, served: Served) -> None:
        async with Api(served.url) as api:
            for number in count():
                self.open = f"{self.name}-{number}"
                try:
                    answer = await api.http.post("/api/realtime/events", json=document_update("doc", id=self.open))
                except httpx2.TransportError:
                    return
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 503:
                    return
                self.answered.append(self.open)
                if len(self.answered) == 5:
                    self.has_begun.set()


async def test_publications_under_way_are_answered_or_safe_to_repeat(tmp_path: Path) -> None:
    """What was answered at a SIGTERM is in the history after the restart; what was not, repeated with its id, is there once."""
    publishers = [Publisher(f"p{number}") for number in range(8)]
    async with served_by_command(tmp_path) as served:
        runs = [asyncio.create_task(publisher.run(served)) for publisher in publishers]
        await asyncio.wait_for(asyncio.gather(*(publisher.has_begun.wait() for publisher in publishers)), DEADLINE_S)
        assert await served.terminate() == 0
        await asyncio.gather(*runs)
    async with served_by_command(tmp_path) as served, Api(served.url) as api:
        ids = [entry["event"]["id"] for entry in await api.history()]
        assert len(ids) == len(set(ids))
        assert set(ids) >= {event_id for publisher in publishers for event_id in publisher.answered}
        for publisher in publishers:
            assert publisher.open is not None
            await api.publish(document_update("doc", id=publisher.open))
        ids = [entry["event"]["id"] for entry in await api.history()]
        assert sorted(ids) == sorted(i for p in publishers for i in {*p.answered, p.open})
        assert await served.terminate() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(tmp_path: Path, second: signal.Signals) -> None:
    """However long the drain may take, a second signal waits for nobody; the exit is as clean."""
    async with served_by_command(tmp_path, "--drain-timeout", "600000", "--database", ":memory:") as served:
        url = f"ws://127.0.0.1:{served.port}/ws?{IDENTITY}"
        async with connect(url, proxy=None, compression=None) as socket:
            assert (await read_message(socket))["type"] == "connected"
            # A peer that never answers the closing handshake would be waited for.
            silent = await WebSocketPeer.open(served.port)
            served.process.send_signal(signal.SIGTERM)
            assert (await read_message(socket))["type"] == "reconnect"
            began = time.monotonic()
            served.process.send_signal(second)
            assert await served.ended() == 0
            assert time.monotonic() - began < 3
            await silent.end()


async def test_a_signal_that_comes_too_late_changes_nothing(tmp_path: Path) -> None:
    """When all are gone and the log is being closed, a further signal does not cut that off: the exit is as clean."""
    async with served_by_command(tmp_path) as served:
        served.process.send_signal(signal.SIGTERM)
        await served.says("stopped")
        with suppress(ProcessLookupError):
            served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
