"""Requests that two parsers may cut differently, at the server itself and behind real proxies that share connections to it among all clients.

Whatever is hidden in a request, the next client's answer is its own, and what it publishes arrives once, in its own organization.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.command import serving
from tests.support.proxies import HIDDEN, NAMES, program, proxy
from tests.support.server import Peer, call, request
from tests.support.tokens import SECRET, token

EVENTS: Final = "/api/realtime/events"
OURS, THEIRS = "ours", "theirs"
QUIET_S: Final = 0.05
"""How long the attacker listens for more."""

pytestmark = pytest.mark.real_time


class Trick(NamedTuple):
    """`data` is sent as it is. `is_ambiguous`: who reads it by RFC 9112 must refuse it, and end the connection."""

    name: str
    data: bytes
    is_ambiguous: bool = True


def bearer(user: str, organization: str) -> dict[str, str]:
    """Give the header of a token that may publish."""
    text = token(SECRET, sub=user, org=organization, exp=int(time.time()) + 600, scope="realtime:publish")
    return {"Authorization": f"Bearer {text}"}


def event(event_id: str) -> bytes:
    """Give a publication."""
    told = {"kind": "organization_activity", "activityType": "a", "payload": {}, "id": event_id}
    return json.dumps(told).encode()


def post(head: bytes, body: bytes) -> bytes:
    """Give a publication's request with these header lines."""
    return (
        b"POST /api/realtime/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + head
        + b"\r\n\r\n"
        + body
    )


def tricks(authorization: bytes) -> Iterator[Trick]:
    """Give the corpus: each trick once with a whole request in hiding, and once with the beginning of one that waits for the next client's."""
    whole = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % HIDDEN.encode()
    smuggled = event("smuggled")
    publication = post(b"%b\r\nContent-Length: %d" % (authorization, len(smuggled)), smuggled)
    beginning = b"GET %b HTTP/1.1\r\nHost: localhost\r\nX-Swallowed: " % HIDDEN.encode()
    swallowing = post(b"%b\r\nContent-Length: 900" % authorization, b'{"kind":"organization_activity","activityType":"')
    for kind, hidden in (
        ("whole", whole),
        ("publication", publication),
        ("beginning", beginning),
        ("body", swallowing),
    ):
        for name, data, is_ambiguous in _tricks(hidden, authorization):
            yield Trick(f"{name} / {kind}", data, is_ambiguous)


def _tricks(hidden: bytes, authorization: bytes) -> Iterator[tuple[str, bytes, bool]]:
    ended = b"0\r\n\r\n" + hidden
    length = b"Content-Length: %d\r\n" % len(ended)
    chunked = b"Transfer-Encoding: chunked"
    hex_size = b"%x\r\n" % len(hidden)
    yield "CL.TE", post(length + chunked, ended), True
    yield "TE.CL", post(b"Content-Length: %d\r\n" % len(hex_size) + chunked, hex_size + hidden + b"\r\n0\r\n\r\n"), True
    for number, coding in enumerate(
        (
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding:\tchunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: \x00chunked",
            b"Transfer-Encoding\r\n : chunked",
            b"Transfer-Encoding:\r\n chunked",
            b"X: y\nTransfer-Encoding: chunked",
            b"X: y\rTransfer-Encoding: chunked",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: Chunked",
        )
    ):
        yield f"TE.TE {number}", post(length + coding, ended), True
        # Without a length these two are what RFC 9112 allows, and what follows the last chunk is a request of its own.
        is_sound = coding in (b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: Chunked")
        yield f"TE {number}", post(coding, ended), not is_sound
    both = b"Content-Length: %d" % len(hidden)
    for number, lines in enumerate(
        (
            b"Content-Length: 0\r\n" + both,
            both + b"\r\nContent-Length: 0",
            b"Content-Length: 0, %d" % len(hidden),
            b"Content-Length: +%d" % len(hidden),
            b"Content-Length: -1",
            b"Content-Length: 0x%x" % len(hidden),
            b"Content-Length: %d 0" % len(hidden),
            b"Content-Length: 99999999999999999999999",
            b"Content-Length : %d" % len(hidden),
            b"Content-Length:\r\n %d" % len(hidden),
            b"X: y\r\n " + both,
            b"X: y\n" + both + b"\nContent-Length: 0",
            b"X: y\r" + both,
            b"\x00" + both,
            b" " + both,
        )
    ):
        yield f"CL {number}", post(lines, hidden), True
    for number, chunks in enumerate(
        (
            b"0x0\r\n\r\n",
            b"-1\r\n\r\n",
            b"10000000000000000\r\n\r\n",
            b"1\r\nab\r\n0\r\n\r\n",
            b" 0\r\n\r\n",
            b"1\rX\r\n0\r\n\r\n",
            b"g\r\n\r\n",
        )
    ):
        yield f"chunks {number}", post(chunked, chunks + hidden), True
    yield "chunk ended by LF", post(chunked, b"2\n{}\n0\n\n" + hidden), True
    yield "chunk extension with LF", post(chunked, b"2;a\nb\r\n{}\r\n0\r\n\r\n" + hidden), True
    yield "head ended by LF", b"GET /livez HTTP/1.1\nHost: localhost\n\n" + hidden, False
    for number, target in enumerate((b"http://other.example", b"http://localhost", b"https://localhost:1")):
        line = b"GET %b%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (target, HIDDEN.encode())
        yield f"absolute {number}", line + hidden, False
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    for number, (line, lines) in enumerate(
        (
            (b"GET /ws", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n" + key),
            (b"GET /ws", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" + key),
            (b"GET /livez", b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"),
            (b"POST /livez", b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"),
        )
    ):
        upgrade = line + b" HTTP/1.1\r\nHost: localhost\r\n" + lines
        yield f"upgrade {number}", upgrade + b"\r\n" + hidden, False
    yield "GET with a body", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + both + b"\r\n\r\n" + hidden, False
    yield "expectation", post(b"Expect: 100-continue\r\n" + authorization + b"\r\n" + both, hidden), False
    yield "HTTP/1.0 in chunks", post(chunked, ended).replace(b"HTTP/1.1", b"HTTP/1.0", 1), False
    yield "two hosts", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n" + hidden, True
    yield "other version", b"GET /livez HTTP/1.2\r\nHost: localhost\r\n\r\n" + hidden, True


class Victim:
    """Another organization's client, who publishes and must get its own answers."""

    def __init__(self, port: int) -> None:
        self.ids: list[str] = []
        self._port = port
        self._headers = {**bearer("ada", OURS), "Content-Type": "application/json"}

    async def publish(self, trick: Trick) -> None:
        """Publish three events, each on a connection of its own."""
        for _ in range(3):
            event_id = f"v{len(self.ids)}"
            self.ids.append(event_id)
            async with await Peer.connect(self._port) as peer:
                await peer.send(request("POST", EVENTS, self._headers, event(event_id)))
                answer = await peer.answer()
            assert answer.status == 200, (trick.name, answer)
            results = answer.json()["results"]
            assert isinstance(results, list)
            assert [one["eventId"] for one in results] == [event_id], trick.name


async def said(peer: Peer) -> bytes:
    """Give what came until nothing more comes."""
    data = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while chunk := await asyncio.wait_for(peer.reader.read(65_536), QUIET_S):
            data += chunk
    return data


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[int]:
    """Serve with authentication."""
    environment = {"SIGNTUSK_REALTIME_AUTH_MODE": "jwt", "SIGNTUSK_REALTIME_AUTH_SECRET": SECRET}
    async with serving(folder, environment=environment) as served:
        yield served.port
        assert await served.terminate() == 0
        assert not [line for line in served.lines if line["level"] == "error"]


async def events_of(port: int, user: str, organization: str) -> list[str]:
    """Give the ids of an organization's events."""
    answer = await call(port, "GET", "/api/realtime/history?limit=1000", bearer(user, organization))
    events = answer.json()["events"]
    assert isinstance(events, list)
    return [one["event"]["id"] for one in events]


def authorization() -> bytes:
    """Give the attacker's own header line."""
    return b"Authorization: " + bearer("mallory", THEIRS)["Authorization"].encode()


async def test_what_is_ambiguous_is_refused(tmp_path: Path) -> None:
    """By the server itself: one answer, a refusal, and the end; what was hidden is not carried out."""
    async with server(tmp_path) as port:
        for trick in tricks(authorization()):
            if trick.is_ambiguous:
                async with await Peer.connect(port) as peer:
                    await peer.send(trick.data)
                    status, headers = await peer.head()
                    assert (status, headers["connection"]) == (400, "close"), trick.name
                    await peer.reader.readexactly(int(headers["content-length"]))
                    assert await peer.rest() == b"", trick.name
        assert await events_of(port, "mallory", THEIRS) == []


@pytest.mark.parametrize("name", NAMES)
async def test_nobody_gets_anothers_answer_behind_a_proxy(name: str, tmp_path: Path) -> None:
    """Whatever an attacker hides, others' answers are their own, once each, and what the proxy refuses stays refused."""
    if program(name) is None:
        pytest.skip(
            f"{name} IS NOT INSTALLED, so nothing is known of smuggling behind it; scripts/proxies.sh installs it"
        )
    async with server(tmp_path) as port, proxy(name, port, tmp_path) as front:
        victim = Victim(front)
        for trick in tricks(authorization()):
            async with await Peer.connect(front) as peer:
                await peer.send(trick.data)
                await victim.publish(trick)
                heard = await said(peer)
            assert b'"checks"' not in heard, (trick.name, heard)
            assert OURS.encode() not in heard, (trick.name, heard)
        assert await events_of(port, "ada", OURS) == victim.ids
        stolen = set(await events_of(port, "mallory", THEIRS)) - {"smuggled"}
        assert not stolen
