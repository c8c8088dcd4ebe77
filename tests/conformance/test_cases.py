"""Our own cases of the Autobahn groups, over a socket: what is sent, and every frame that comes back.

Each case runs whole, and again in pieces of one byte. They run everywhere; the suite itself needs its folder (test_autobahn.py).
"""

from __future__ import annotations

import asyncio
import importlib.util
import zlib
from pathlib import Path

import pytest

from tests.support.wire import ServerFrame, ServerFrames, client_frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

specification = importlib.util.spec_from_file_location("echo_server", Path(__file__).parent / "echo_server.py")
assert specification is not None
assert specification.loader is not None
echo_server = importlib.util.module_from_spec(specification)
specification.loader.exec_module(echo_server)


def text(payload: bytes) -> ServerFrame:
    return ServerFrame(TEXT, payload, final=True)


def binary(payload: bytes) -> ServerFrame:
    return ServerFrame(BINARY, payload, final=True)


def pong(payload: bytes) -> ServerFrame:
    return ServerFrame(PONG, payload, final=True)


def closed(code: int | None = None, payload: bytes = b"") -> ServerFrame:
    return ServerFrame(CLOSE, (code.to_bytes(2, "big") if code is not None else b"") + payload, final=True)


def code_of(frame: ServerFrame) -> int:
    return int.from_bytes(frame.payload[:2], "big")


BYE = client_frame(CLOSE, (1000).to_bytes(2, "big"))
GOODBYE = closed(1000)
KAPPA = "κόσμε".encode()
LENGTHS = (0, 1, 125, 126, 127, 128, 65_535, 65_536)

ANSWERED: list[tuple[str, bytes, list[ServerFrame]]] = [
    *[(f"1.1 text of {n}", client_frame(TEXT, b"*" * n) + BYE, [text(b"*" * n), GOODBYE]) for n in LENGTHS],
    *[(f"1.2 binary of {n}", client_frame(BINARY, b"\xfe" * n) + BYE, [binary(b"\xfe" * n), GOODBYE]) for n in LENGTHS],
    ("2.1 ping without payload", client_frame(PING) + BYE, [pong(b""), GOODBYE]),
    ("2.4 ping of 125 bytes", client_frame(PING, b"\xfe" * 125) + BYE, [pong(b"\xfe" * 125), GOODBYE]),
    ("2.7 unsolicited pong", client_frame(PONG, b"unasked") + BYE, [GOODBYE]),
    (
        "2.10 ten pings",
        b"".join(client_frame(PING, b"%d" % n) for n in range(10)) + BYE,
        [*[pong(b"%d" % n) for n in range(10)], GOODBYE],
    ),
    (
        "5.3 text in two fragments",
        client_frame(TEXT, b"frag", final=False) + client_frame(CONTINUATION, b"ment") + BYE,
        [text(b"fragment"), GOODBYE],
    ),
    (
        "5.6 ping between fragments",
        client_frame(TEXT, b"frag", final=False) + client_frame(PING, b"?") + client_frame(CONTINUATION, b"ment") + BYE,
        [pong(b"?"), text(b"fragment"), GOODBYE],
    ),
    (
        "6.1 empty fragments",
        client_frame(TEXT, b"", final=False)
        + client_frame(CONTINUATION, b"", final=False)
        + client_frame(CONTINUATION, b"")
        + BYE,
        [text(b""), GOODBYE],
    ),
    (
        "6.2 text cut inside a character",
        client_frame(TEXT, KAPPA[:1], final=False) + client_frame(CONTINUATION, KAPPA[1:]) + BYE,
        [text(KAPPA), GOODBYE],
    ),
    (
        "6.5 the last code point",
        client_frame(TEXT, "\U0010ffff".encode()) + BYE,
        [text("\U0010ffff".encode()), GOODBYE],
    ),
    ("7.1 a message after close", BYE + client_frame(TEXT, b"late"), [GOODBYE]),
    ("7.1 a ping after close", BYE + client_frame(PING, b"late"), [GOODBYE]),
    ("7.3 close without a code", client_frame(CLOSE), [closed(1000)]),
    ("7.3 close with a long reason", client_frame(CLOSE, (1000).to_bytes(2, "big") + b"*" * 123), [GOODBYE]),
    *[
        (f"7.7 close code {code}", client_frame(CLOSE, code.to_bytes(2, "big")), [closed(code)])
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    ],
    (
        "10.1 automatic fragmentation",
        client_frame(TEXT, b"*" * 1_300, final=False) + client_frame(CONTINUATION, b"*" * 64_236) + BYE,
        [text(b"*" * 65_536), GOODBYE],
    ),
]

REFUSED: list[tuple[str, bytes, list[ServerFrame], int]] = [
    ("2.5 ping of 126 bytes", client_frame(PING, b"\xfe" * 126), [], 1002),
    ("3.1 reserved bit", client_frame(TEXT, b"x", rsv=4), [], 1002),
    (
        "3.2 reserved bit after a message",
        client_frame(TEXT, b"x") + client_frame(TEXT, b"y", rsv=2),
        [text(b"x")],
        1002,
    ),
    ("3.5 reserved bit of a ping", client_frame(PING, b"x", rsv=1), [], 1002),
    *[(f"4.1 opcode {opcode}", client_frame(opcode, b"x"), [], 1002) for opcode in range(3, 8)],
    *[(f"4.2 opcode {opcode}", client_frame(opcode, b"x"), [], 1002) for opcode in range(11, 16)],
    ("5.1 ping in two fragments", client_frame(PING, b"x", final=False), [], 1002),
    ("5.9 continuation of nothing", client_frame(CONTINUATION, b"x"), [], 1002),
    ("5.18 message inside a message", client_frame(TEXT, b"x", final=False) + client_frame(TEXT, b"y"), [], 1002),
    ("6.3 invalid UTF-8", client_frame(TEXT, KAPPA + b"\xed\xa0\x80" + b"edited"), [], 1007),
    ("6.4 fails before the message ends", client_frame(TEXT, KAPPA + b"\xf4\x90", final=False), [], 1007),
    ("6.4 fails before the frame ends", client_frame(TEXT, KAPPA + b"\xf4\x90", announced=100), [], 1007),
    ("6.8 text ends inside a character", client_frame(TEXT, b"\xce"), [], 1007),
    ("7.3 close with half a code", client_frame(CLOSE, b"\x03"), [], 1002),
    ("7.5 close with a reason that is not UTF-8", client_frame(CLOSE, b"\x03\xe8\xce\xba\xff"), [], 1007),
    *[
        (f"7.9 close code {code}", client_frame(CLOSE, code.to_bytes(2, "big")), [], 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    ],
    ("unmasked frame", client_frame(TEXT, b"x", mask=None), [], 1002),
    ("length of 16 bits for 125", client_frame(TEXT, b"x" * 125, length_bytes=2), [], 1002),
    ("length of 64 bits for 65535", client_frame(TEXT, b"x" * 65_535, length_bytes=8), [], 1002),
    ("length with its highest bit set", client_frame(TEXT, announced=1 << 63, length_bytes=8), [], 1002),
    ("length beyond the limit", client_frame(TEXT, announced=1 << 40, length_bytes=8), [], 1009),
]


async def converse(sent: bytes, *, piecewise: bool, offer: bytes = b"", window_bits: int = 0) -> list[ServerFrame]:
    """Open a connection, send, and give every frame until the server ends it. `offer`: of extensions; the window it leads to."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: echo_server.Echo(echo_server.LIMITS), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(HANDSHAKE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: " + offer + b"\r\n\r\n"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        for piece in [sent[at : at + 1] for at in range(len(sent))] if piecewise else [sent]:
            writer.write(piece)
            if piecewise:
                await asyncio.sleep(0)
        assert (b"Sec-WebSocket-Extensions" in head) is bool(window_bits)
        try:
            received = await reader.read()
        finally:
            writer.close()
    frames = ServerFrames(window_bits)
    result = frames.feed(received)
    assert not frames.rest, "the server ends between frames"
    return result


@pytest.mark.parametrize("sent,expected", [case[1:] for case in ANSWERED], ids=[case[0] for case in ANSWERED])
async def test_what_is_allowed_is_answered(sent: bytes, expected: list[ServerFrame]) -> None:
    """Every message comes back as one frame, every ping as a pong, and a close as a close."""
    assert await converse(sent, piecewise=False) == expected


@pytest.mark.parametrize("sent,before,code", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
async def test_what_is_not_allowed_ends_the_connection(sent: bytes, before: list[ServerFrame], code: int) -> None:
    """What came before the violation is answered, the violation by its code, and what follows not at all."""
    frames = await converse(sent, piecewise=False)
    assert frames[:-1] == before
    assert frames[-1].opcode == CLOSE
    assert code_of(frames[-1]) == code
    assert frames[-1].payload[2:].decode()


SHORT = [(name, sent, expected) for name, sent, expected in ANSWERED if len(sent) < 300]


@pytest.mark.parametrize("sent,expected", [case[1:] for case in SHORT], ids=[case[0] for case in SHORT])
async def test_pieces_of_one_byte_change_nothing(sent: bytes, expected: list[ServerFrame]) -> None:
    """A client may send its bytes one at a time."""
    assert await converse(sent, piecewise=True) == expected


def deflated(payload: bytes, window_bits: int = 15) -> bytes:
    compressor = zlib.compressobj(wbits=-window_bits)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


OFFERS = [
    ("13.1", b"permessage-deflate; client_max_window_bits", 12),
    ("13.2", b"permessage-deflate; server_no_context_takeover", 12),
    ("13.3", b"permessage-deflate; server_max_window_bits=9; client_max_window_bits", 9),
    ("13.4", b"permessage-deflate; server_max_window_bits=15; client_max_window_bits", 12),
    ("13.5", b"permessage-deflate; server_no_context_takeover; server_max_window_bits=9", 9),
    ("13.7", b"permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9", 9),
]
JSON = b'{"type":"event","text":"%b"}' % (b"The parties agree as follows. " * 90)
PACKED = deflated(JSON)
COMPRESSED = (
    client_frame(TEXT, deflated(b""), rsv=4)
    + client_frame(TEXT, PACKED, rsv=4)
    + client_frame(BINARY, deflated(bytes(range(256)) * 20), rsv=4)
    + client_frame(TEXT, b"plain")
    + client_frame(TEXT, PACKED[:7], final=False, rsv=4)
    + client_frame(PING, b"?")
    + client_frame(CONTINUATION, PACKED[7:])
    + BYE
)
INFLATED = [text(b""), text(JSON), binary(bytes(range(256)) * 20), text(b"plain"), pong(b"?"), text(JSON), GOODBYE]


@pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize("offer,window_bits", [case[1:] for case in OFFERS], ids=[case[0] for case in OFFERS])
async def test_compressed_messages_come_back(offer: bytes, window_bits: int, piecewise: bool) -> None:
    """Groups 12 and 13: whatever was offered, each message by itself, with a window that the client asked for."""
    assert await converse(COMPRESSED, piecewise=piecewise, offer=offer, window_bits=window_bits) == INFLATED
