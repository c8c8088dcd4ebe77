"""The heads of connections: bounds in bytes and time, keep-alive, pipelining, and the hand-over to native protocols."""

from __future__ import annotations

import asyncio
import gc
import weakref

import msgspec
import pytest

from signtusk_realtime.server.front import TAKEN_BYTES, Front
from tests.support.samples import sample
from tests.support.server import (
    DEADLINE_S,
    IDENTITY,
    QUICK,
    TEXT,
    UPGRADE,
    Held,
    Peer,
    StreamPeer,
    WebSocketPeer,
    call,
    history,
    publish,
    request,
    serving,
    until,
)
from tests.support.wire import client_frame

pytestmark = pytest.mark.both_loops

HASTY = msgspec.structs.replace(QUICK, head_timeout_s=0.2, body_timeout_s=0.3, body_bytes=10_000)
JSON = {"Content-Type": "application/json"}
EVENTS = f"/api/realtime/events?{IDENTITY}"
SUBSCRIBE = client_frame(TEXT, b'{"type":"subscribe","subscription":{"type":"document_updates"}}')


async def test_two_megabytes_of_headers_are_refused() -> None:
    """A head beyond its bound is answered 431 while it comes in, and the server is unharmed."""
    async with serving() as it:
        for line in (b"X-A: " + b"a" * 2_000_000, b"X-A: b\r\n" * 250_000):
            async with await Peer.connect(it.port) as peer:
                peer.writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + line)
                answer = await peer.answer()
                assert (answer.status, answer.code) == (431, "head_too_large")
                assert answer.headers["connection"] == "close"
        assert (await call(it.port, "GET", "/livez")).status == 200


async def test_a_head_within_its_bound_passes_however_it_is_cut() -> None:
    """60 KiB of headers are answered, whole, in slices, and byte by byte at the end."""
    async with serving() as it:
        head = request("GET", "/livez", {f"X-{n}": "v" * 1000 for n in range(60)})
        for size in (len(head), 8000):
            async with await Peer.connect(it.port) as peer:
                for start in range(0, len(head) - 40, size):
                    await peer.send(head[start : min(start + size, len(head) - 40)])
                for place in range(len(head) - 40, len(head)):
                    await peer.send(head[place : place + 1])
                assert (await peer.answer()).status == 200


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n"], ids=["none", "two"])
@pytest.mark.parametrize("path", [b"/livez", b"/readyz", b"/openapi.json", b"/ws"])
async def test_http_1_1_names_one_host(path: bytes, hosts: bytes) -> None:
    """RFC 9112 section 3.2: without a Host, or with two, a request is 400, whatever it asks for."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        await peer.send(b"GET " + path + b" HTTP/1.1\r\n" + hosts + b"\r\n")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Origin", "no-store")


async def test_http_1_0_needs_no_host_for_a_probe() -> None:
    """Host came with HTTP/1.1; a probe of an old kind is answered, and all else is still asked for a name."""
    async with serving() as it:
        for path, status in ((b"/livez", 200), (b"/openapi.json", 403)):
            async with await Peer.connect(it.port) as peer:
                await peer.send(b"GET " + path + b" HTTP/1.0\r\n\r\n")
                assert (await peer.answer()).status == status


@pytest.mark.parametrize("path", ["/openapi.json", f"/ws?{IDENTITY}", EVENTS])
async def test_the_name_in_an_absolute_target_counts(path: str) -> None:
    """RFC 9112 section 3.2.2: the target's authority stands in the place of Host."""
    async with serving() as it:
        for authority, host in (
            ("example.org", "localhost"),
            ("localhost@example.org", "localhost"),
            ("example.org:80", "127.0.0.1"),
        ):
            answer = await call(it.port, "GET", f"http://{authority}{path}", host=host)
            assert (answer.status, answer.code) in ((403, "host_not_allowed"), (400, "invalid_request")), authority
        answer = await call(it.port, "GET", "http://localhost:8080/openapi.json", host="example.org")
        assert answer.status == 200


async def test_a_head_behind_a_body_is_counted_by_itself() -> None:
    """What came in one piece with the end of the request before is not held against a head."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update", changes={"text": "x" * 55_000}))
        head = request("GET", "/livez", {"X-A": "v" * 20_000})
        data = request("POST", EVENTS, JSON, body) + head
        await peer.send(data[: 64 << 10])
        assert (await peer.answer()).status == 200
        await peer.send(data[64 << 10 :])
        assert (await peer.answer()).status == 200


async def test_a_trailer_is_no_header() -> None:
    """What comes behind a chunked body cannot change what its head said."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        head = request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked", "Trailer": "Idempotency-Key"})
        await peer.send(head + b"%x\r\n%b\r\n0\r\nIdempotency-Key: trailed\r\n\r\n" % (len(body), body))
        assert (await peer.answer()).status == 200
        assert [event["id"] for event in await history(it.port)] != ["trailed"]


async def test_who_still_sends_is_let_finish() -> None:
    """After a refusal what still comes is read and thrown away: a reset could overtake the refusal."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("POST", EVENTS, {**JSON, "Content-Length": "10001"}))
        await until(lambda: len(it.server._fronts.endings) == 1)
        for _ in range(100):
            await peer.send(b" " * 10_000)
        assert (await peer.answer()).code == "payload_too_large"
        peer.writer.write_eof()
        assert await peer.rest() == b""
        await until(lambda: not len(it.server._fronts.endings))


async def test_query_strings_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """No log line holds what may hold a token."""
    caplog.set_level("DEBUG")
    async with serving() as it:
        await call(it.port, "GET", "/api/realtime/history?userId=sesame&organizationId=sesame")
        await call(it.port, "GET", "/api/realtime/nowhere?userId=sesame", {"Authorization": "Bearer sesame"})
        async with await Peer.connect(it.port) as peer:
            await peer.send(b"GET /\xff?sesame HTTP/1.1\r\n\r\n")
            await peer.answer()
    assert caplog.records
    assert "sesame" not in caplog.text + str([record.__dict__ for record in caplog.records])


async def test_half_a_head_is_cut() -> None:
    """A head that does not come to its end in time is answered 408; the deadline runs from connecting."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        await peer.send(b"GET /livez HTTP/1.1\r\nHost: lo")
        answer = await peer.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await peer.rest() == b""


async def test_a_silent_connection_is_ended_without_an_answer() -> None:
    """Who never asks gets no 408, which a browser would take for the answer to its next request."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        assert await peer.rest() == b""


async def test_empty_lines_do_not_keep_a_connection() -> None:
    """Line ends before a request line are no request: the head's deadline runs on, also behind a keep-alive answer."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", "/livez"))
        assert (await peer.answer()).status == 200
        await peer.send(b"\r\n")
        assert await peer.rest() == b""


async def test_half_a_body_is_cut() -> None:
    """A body that stops coming is answered 408, and nothing of it is published."""
    async with serving(limits=HASTY) as it:
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("POST", EVENTS, {**JSON, "Content-Length": "100"}) + b'{"kind":')
            answer = await peer.answer()
            assert (answer.status, answer.code) == (408, "request_timeout")
        assert await history(it.port) == []


async def test_a_body_is_bounded_by_what_it_announces() -> None:
    """A Content-Length beyond the bound is answered 413 before any of the body is read."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("POST", EVENTS, {**JSON, "Content-Length": "10001"}))
        answer = await peer.answer()
        assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_a_chunked_body_is_bounded_as_it_comes() -> None:
    """A body that announces nothing is answered 413 at its first byte too many, while the client is still sending."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked"}))
        chunk = b"%x\r\n%b\r\n" % (4096, b" " * 4096)
        for _ in range(400):
            peer.writer.write(chunk)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_what_is_no_body_is_bounded_within_one() -> None:
    """Endless chunk extensions and trailers end in 400, and a trailer is no header."""
    async with serving() as it:
        for endless in (b"1;" + b"a" * 300_000, b"0\r\nX-A: " + b"a" * 300_000):
            async with await Peer.connect(it.port) as peer:
                await peer.send(request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked"}))
                peer.writer.write(endless)
                answer = await peer.answer()
                assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /liv\xffez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked"}) + b"zz\r\n",
    ],
)
async def test_what_is_not_http_is_told_so(garbage: bytes) -> None:
    """Malformed requests get 400 as a problem, and the connection ends."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        await peer.send(garbage)
        answer = await peer.answer()
        assert (answer.status, answer.code) == (400, "invalid_request")
        peer.writer.write_eof()
        assert await peer.rest() == b""


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    """Requests in one write, bodies included, are answered one by one; a malformed one behind them comes last."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        await peer.send(
            request("GET", "/livez")
            + request("POST", EVENTS, JSON, body)
            + request("GET", f"/api/realtime/history?{IDENTITY}")
            + b"nonsense\r\n\r\n"
        )
        answers = [await peer.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 400]
        events = answers[2].json()["events"]
        assert isinstance(events, list)
        assert len(events) == 1
        assert await peer.rest() == b""


async def test_a_body_too_large_behind_a_pending_answer_waits() -> None:
    """The refusal of a pipelined request comes after the answer before it."""
    async with serving(limits=HASTY) as it, await Peer.connect(it.port) as peer:
        chunked = request("POST", EVENTS, {**JSON, "Transfer-Encoding": "chunked"})
        await peer.send(request("GET", "/livez") + chunked + b"%x\r\n%b\r\n" % (10_001, b" " * 10_001))
        assert [(await peer.answer()).status for _ in range(2)] == [200, 413]


async def test_an_upgrade_that_nobody_takes_up_is_http() -> None:
    """Offers of other protocols are passed over (RFC 9110 §7.8), and the connection lives on."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        offer = {
            "Connection": "Upgrade, HTTP2-Settings",
            "Upgrade": "h2c",
            "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA",
        }
        await peer.send(request("GET", "/livez", offer) * 3 + request("GET", "/livez", {"Connection": "close"}))
        assert [(await peer.answer()).status for _ in range(4)] == [200] * 4


async def test_frames_glued_to_the_head_are_read() -> None:
    """What a client sends together with its upgrade is not lost."""
    async with serving() as it, await WebSocketPeer.open(it.port, glued=SUBSCRIBE * 2) as peer:
        types = [(await peer.message())["type"] for _ in range(3)]
        assert types == ["connected", "subscribed", "subscribed"]


async def test_a_head_may_come_byte_by_byte() -> None:
    """How a head and the first frames are cut changes nothing."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        for byte in request("GET", f"/ws?{IDENTITY}", UPGRADE) + SUBSCRIBE:
            await peer.send(bytes([byte]))
        assert (await peer.answer()).status == 101
        web_socket = WebSocketPeer(peer.reader, peer.writer)
        assert [(await web_socket.message())["type"] for _ in range(2)] == ["connected", "subscribed"]


async def test_a_connection_in_use_can_be_handed_over() -> None:
    """After answers on a kept connection the same may become a WebSocket, or an event stream."""
    async with serving() as it:
        async with await WebSocketPeer.connect(it.port) as peer:
            for _ in range(2):
                await peer.send(request("GET", "/livez"))
                assert (await peer.answer()).status == 200
            await peer.send(request("GET", f"/ws?{IDENTITY}", UPGRADE))
            assert (await peer.answer()).status == 101
            assert (await peer.message())["type"] == "connected"
        async with await StreamPeer.connect(it.port) as stream:
            await stream.send(request("GET", "/livez"))
            assert (await stream.answer()).status == 200
            await stream.send(request("GET", EVENTS))
            assert (await stream.head())[0] == 200
            assert (await stream.message())["type"] == "connected"


async def test_a_hand_over_waits_for_the_answers_before_it() -> None:
    """An upgrade pipelined behind requests is answered after them, with the frames that came along."""
    async with serving() as it, await WebSocketPeer.connect(it.port) as peer:
        body = msgspec.json.encode([sample("document_update")] * 20)
        await peer.send(
            request("POST", EVENTS, JSON, body)
            + request("GET", "/readyz")
            + request("GET", f"/ws?{IDENTITY}", UPGRADE)
            + SUBSCRIBE
        )
        assert [(await peer.answer()).status for _ in range(3)] == [200, 200, 101]
        assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]


async def test_what_comes_while_a_hand_over_waits_is_kept() -> None:
    """Frames that arrive while an earlier request is still worked on are read after the upgrade."""
    engine = Held()
    async with serving(engine=engine) as it, await WebSocketPeer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        await peer.send(request("POST", EVENTS, JSON, body) + request("GET", f"/ws?{IDENTITY}", UPGRADE))
        await asyncio.wait_for(engine.asked.wait(), DEADLINE_S)
        (front,) = it.server._fronts.state.connections
        assert isinstance(front, Front)
        front.flow.resume_reading()
        await peer.send(SUBSCRIBE)
        await until(lambda: front._rest == SUBSCRIBE)
        engine.go.set()
        assert [(await peer.answer()).status for _ in range(2)] == [200, 101]
        assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]


async def test_nothing_is_answered_behind_a_hand_over() -> None:
    """Requests that follow one for an event stream are not acted on."""
    async with serving() as it, await StreamPeer.connect(it.port) as peer:
        body = msgspec.json.encode(sample("document_update"))
        await peer.send(request("GET", EVENTS) + request("POST", EVENTS, JSON, body) + b"\0\0\0")
        assert (await peer.head())[0] == 200
        assert [(await peer.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
        assert await history(it.port) == []


async def test_the_target_may_be_absolute_or_escaped() -> None:
    """Native paths are known in every form RFC 9112 §3.2 has for them."""
    async with serving() as it:
        for target in (f"http://localhost/ws?{IDENTITY}", f"/%77s?{IDENTITY}"):
            async with await Peer.connect(it.port) as peer:
                await peer.send(request("GET", target, UPGRADE))
                assert (await peer.answer()).status == 101


async def test_nothing_of_front_is_left_after_a_hand_over() -> None:
    """The HTTP side of a connection is freed at once, without the garbage collector; no timer holds it."""
    async with serving() as it:
        made: list[weakref.ref[Front]] = []
        make = it.server._fronts.make

        def noting() -> Front:
            front = make()
            made.append(weakref.ref(front))
            return front

        for server in it.server._servers:
            server.close()
        server = await asyncio.get_running_loop().create_server(noting, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        gc.disable()
        try:
            async with await WebSocketPeer.open(port) as peer:
                await peer.message()
                async with await StreamPeer.open(port) as stream:
                    await stream.message()
                    assert len(made) == 2
                    assert [front() for front in made] == [None, None]
        finally:
            gc.enable()
            server.close()
        assert not it.server._fronts.state.connections
        assert not len(it.server._fronts.heads)


async def test_a_publisher_that_leaves_halfway_harms_nobody() -> None:
    """A connection that ends within its body is forgotten, and nothing is published."""
    async with serving() as it:
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("POST", EVENTS, {**JSON, "Content-Length": "1000"}) + b"{")
        assert (await publish(it.port, sample("document_update"))).status == 200
        assert len(await history(it.port)) == 1


async def fill(port: int) -> None:
    """Publish what makes a long answer."""
    for _ in range(12):
        event = sample("document_update", changes=None, metadata={"text": "x" * 250_000})
        assert (await publish(port, *[event] * 2)).status == 200


HISTORY = f"/api/realtime/history?{IDENTITY}"


@pytest.mark.parametrize(
    ("headers", "requests"),
    [({}, 1), ({"Connection": "close"}, 1), ({}, 2), ({}, 8)],
    ids=["kept", "closed", "two", "eight"],
)
async def test_an_answer_that_nobody_takes_does_not_stay(headers: dict[str, str], requests: int) -> None:
    """A peer that asks for much and reads nothing is cut, whether its connection was to be kept or closed, or more is asked behind it."""
    limits = msgspec.structs.replace(HASTY, body_bytes=8 << 20, keep_alive_timeout_s=1)
    async with serving(limits=limits) as it:
        await fill(it.port)
        async with await Peer.connect(it.port) as peer:
            peer.writer.transport.pause_reading()
            await peer.send(request("GET", HISTORY, headers) * requests)
            await until(lambda: bool(it.server._fronts.state.connections))
            await until(lambda: not it.server._fronts.state.connections)
            peer.writer.transport.abort()


async def test_who_takes_an_answer_slowly_is_let_go_on() -> None:
    """What counts is that something was taken since the last look; nothing is the end."""
    async with serving(limits=msgspec.structs.replace(QUICK, body_bytes=8 << 20)) as it:
        await fill(it.port)
        async with await Peer.connect(it.port) as peer:
            peer.writer.transport.pause_reading()
            await peer.send(request("GET", HISTORY))
            answers = it.server._fronts.answers
            await until(lambda: bool(answers))
            front = next(iter(answers))
            waiting = front.transport.get_write_buffer_size()
            peer.writer.transport.resume_reading()
            while waiting - front.transport.get_write_buffer_size() < TAKEN_BYTES:
                assert await peer.read()
            peer.writer.transport.pause_reading()
            front.answer_late()
            assert not front.transport.is_closing()
            assert front in answers
            front._untaken_bytes = front.transport.get_write_buffer_size()
            front.answer_late()
            assert front.transport.is_closing()
            peer.writer.transport.abort()
