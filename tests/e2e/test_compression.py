"""permessage-deflate over real sockets: agreed on, shared, bounded, and switched off."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.support.samples import sample
from tests.support.server import IDENTITY, QUICK, TEXT, Serving, WebSocketPeer, publish, serving
from tests.support.wire import ServerFrames, client_frame

pytestmark = pytest.mark.both_loops

ACTIVITY = {"type": "organization_activity"}
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
LONG = {"text": "The parties agree as follows. " * 100}


async def deflating(
    it: Serving, offer: str = OFFER["Sec-WebSocket-Extensions"], window_bits: int = 12
) -> WebSocketPeer:
    peer = await WebSocketPeer.open(it.port, headers={"Sec-WebSocket-Extensions": offer})
    peer.frames = ServerFrames(window_bits)
    return peer


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("server_bits", [None, 9, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9])
async def test_a_library_client_speaks_it(server_bits: int | None, client_bits: bool | int | None) -> None:
    """A client that we did not write agrees on it, whatever windows it asks for, and both sides understand one another."""
    factory = ClientPerMessageDeflateFactory(
        server_max_window_bits=server_bits, client_max_window_bits=client_bits, compress_settings={"level": 9}
    )
    async with (
        serving() as it,
        connect(f"ws://127.0.0.1:{it.port}/ws?{IDENTITY}", compression=None, extensions=[factory]) as socket,
    ):
        assert len(socket.protocol.extensions) == 1
        await socket.recv()
        for n in range(3):
            await socket.send(json.dumps({"type": "ping", "timestamp": "x" * 5_000 * n}))
            assert json.loads(await socket.recv())["type"] == "pong"
        await socket.send(json.dumps({"type": "subscribe", "subscription": ACTIVITY}))
        assert json.loads(await socket.recv())["type"] == "subscribed"
        for _ in range(3):
            await publish(it.port, sample("organization_activity", payload=LONG))
            assert json.loads(await socket.recv())["event"]["payload"]["text"] == LONG["text"]


async def test_long_events_are_compressed_and_short_ones_are_not() -> None:
    """Whoever agreed on nothing gets the same events plain, at the same time."""
    async with serving() as it, await deflating(it) as one, await WebSocketPeer.open(it.port) as other:
        for peer in (one, other):
            await peer.subscribe(ACTIVITY)
        for payload in ({"title": "short"}, LONG, {"title": "short"}, LONG):
            await publish(it.port, sample("organization_activity", payload=payload))
        received = [[await peer.message() for _ in range(4)] for peer in (one, other)]
        assert received[0] == received[1]
        assert len(one.frames.deflated) == 2
        assert max(one.frames.deflated) < 600


async def test_what_is_read_from_the_log_is_compressed_too() -> None:
    """Who comes back pays no more than who stayed."""
    async with serving() as it:
        async with await deflating(it) as first:
            cursor = (await first.subscribe(ACTIVITY))["cursor"]
        for _ in range(3):
            await publish(it.port, sample("organization_activity", payload=LONG))
        async with await deflating(it) as peer:
            await peer.ask({"type": "subscribe", "subscriptions": [ACTIVITY], "cursor": cursor})
            kinds = [(await peer.message())["type"] for _ in range(5)]
            assert kinds == ["connected", "subscribed", "event", "event", "event"]
            assert len(peer.frames.deflated) == 3


async def test_messages_may_come_compressed_at_once() -> None:
    """Also glued to the handshake, in fragments, and mixed with plain ones."""
    ping = b'{"type":"ping","timestamp":1}'
    packed = deflated(ping)
    glued = client_frame(TEXT, packed[:5], final=False, rsv=4) + client_frame(0, packed[5:]) + client_frame(TEXT, ping)
    async with serving() as it:
        peer = await WebSocketPeer.open(it.port, headers=OFFER, glued=glued)
        async with peer:
            assert [(await peer.message())["type"] for _ in range(3)] == ["connected", "pong", "pong"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (client_frame(TEXT, deflated(b" " * 65_537), rsv=4), 1009),
        (client_frame(TEXT, deflated(b"\x00" * (32 << 20)), rsv=4), 1009),
        (client_frame(TEXT, b"\xff" * 20, rsv=4), 1007),
        (client_frame(TEXT, deflated(b"\xff"), rsv=4), 1007),
        (client_frame(9, b"x", rsv=4), 1002),
        (client_frame(TEXT, b"", final=False, rsv=4) + client_frame(0, deflated(b"x"), rsv=4), 1002),
    ],
    ids=["one byte too long", "a bomb", "no deflate", "no text", "a control frame", "a continuation"],
)
async def test_compressed_messages_keep_the_rules(sent: bytes, code: int) -> None:
    """Limits and UTF-8 hold for what a message was before; the bit stands where it may."""
    async with serving() as it, await deflating(it) as peer:
        await peer.send(sent)
        assert (await peer.closed())[0] == code


@pytest.mark.parametrize(
    "offer", ["permessage-deflate; server_max_window_bits=8", "permessage-deflate; mode=fast", "x-webkit-deflate-frame"]
)
async def test_an_offer_that_cannot_be_taken_is_declined(offer: str) -> None:
    """The connection is opened all the same, without compression: then the bit is a fault."""
    async with serving() as it, await deflating(it, offer, window_bits=0) as peer:
        assert (await peer.message())["type"] == "connected"
        await peer.send(client_frame(TEXT, deflated(b"{}"), rsv=4))
        assert (await peer.closed())[0] == 1002


async def test_it_can_be_switched_off() -> None:
    """With `compression` off no offer is taken."""
    async with (
        serving(limits=replace(QUICK, compression=False)) as it,
        connect(f"ws://127.0.0.1:{it.port}/ws?{IDENTITY}", compression="deflate") as socket,
    ):
        assert socket.protocol.extensions == []
        await asyncio.wait_for(socket.recv(), 10)
