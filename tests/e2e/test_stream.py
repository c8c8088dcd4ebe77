"""The native event stream over real sockets: selection, resume point, refusals, the ways it ends."""

from __future__ import annotations

import json
from urllib.parse import quote

import msgspec
import pytest

from tests.support.samples import sample
from tests.support.server import (
    IDENTITY,
    QUICK,
    Peer,
    StreamPeer,
    call,
    publish,
    request,
    serving,
    until,
)

pytestmark = pytest.mark.both_loops

EVENTS = f"/api/realtime/events?{IDENTITY}"


async def test_a_stream_begins_as_agreed() -> None:
    """Head, retry, `connected` without and `subscribed` with an id; then events named by their type, each with its cursor."""
    async with serving() as it, await StreamPeer.open(it.port) as peer:
        assert peer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert peer.headers["cache-control"] == "no-store"
        assert peer.headers["x-accel-buffering"] == "no"
        assert peer.headers["connection"] == "close"
        assert not {"content-length", "transfer-encoding"} & peer.headers.keys()
        first, second = await peer.event(), await peer.event()
        connected, subscribed = json.loads(first.data), json.loads(second.data)
        assert (first.type, first.last_event_id, connected["type"]) == ("message", "", "connected")
        assert connected["connectionId"].startswith("sse_")
        assert (second.type, subscribed["type"]) == ("message", "subscribed")
        assert second.last_event_id == subscribed["cursor"]
        assert "recovered" not in subscribed
        assert {s["type"] for s in subscribed["subscriptions"]} == {
            "document_updates",
            "signing_updates",
            "notifications",
            "organization_activity",
            "team_updates",
            "system_announcements",
        }
        assert peer.stream.retry == 2000
        await publish(it.port, sample("document_update", id="e1"))
        event = await peer.event()
        assert (event.type, json.loads(event.data)["id"]) == ("document_updated", "e1")
        assert event.last_event_id not in ("", second.last_event_id)
        assert not peer.stream.unknown_fields


async def test_http_1_0_is_served() -> None:
    """A proxy that speaks HTTP/1.0 to us gets the same stream."""
    async with serving() as it, await StreamPeer.connect(it.port) as peer:
        await peer.send(request("GET", EVENTS, version="1.0"))
        assert (await peer.head())[0] == 200
        assert (await peer.message())["type"] == "connected"


async def test_the_url_selects() -> None:
    """Types with filters, or subscriptions as JSON; a cache-buster passes."""
    async with serving() as it:
        wanted = quote(json.dumps([{"type": "user_presence", "filters": {"userId": "user123"}}]))
        by_types = await StreamPeer.open(it.port, f"{IDENTITY}&types=document_updates&documentId=d1&_=123")
        by_json = await StreamPeer.open(it.port, f"{IDENTITY}&subscriptions={wanted}")
        for peer in (by_types, by_json):
            await peer.message()
            await peer.message()
        await publish(
            it.port,
            sample("document_update", documentId="d2"),
            sample("user_presence", userId="other"),
            sample("user_presence"),
            sample("document_update", documentId="d1"),
        )
        assert (await by_types.message())["payload"]["documentId"] == "d1"
        assert (await by_json.message())["payload"]["userId"] == "user123"
        await by_types.end()
        await by_json.end()


@pytest.mark.parametrize(
    ("query", "header", "recovery"),
    [
        ("", "latest", (True, None)),
        ("&lastEventId=latest", None, (True, None)),
        ("&lastEventId=old", "latest", (True, None)),
        ("&lastEventId=latest", "", (True, None)),
        ("", "nonsense", (False, "unknown")),
        ("&lastEventId=nonsense", None, (False, "unknown")),
        ("", "\xff\xfe", (False, "unknown")),
        ("", "x" * 1024, (False, "unknown")),
    ],
)
async def test_the_resume_point_is_answered_in_band(
    query: str, header: str | None, recovery: tuple[bool, str | None]
) -> None:
    """The header beats the parameter; any string up to 1024 characters is answered by `recovered`, never by an error."""
    async with serving() as it:
        headers = None if header is None else {"Last-Event-ID": header}
        async with await StreamPeer.open(it.port, IDENTITY + query, headers) as peer:
            await peer.message()
            subscribed = await peer.message()
            assert (subscribed["recovered"], subscribed.get("reason")) == recovery


async def test_an_empty_resume_point_is_none() -> None:
    """What a browser sends after an empty id was set: no resume was asked for."""
    query, headers = f"{IDENTITY}&lastEventId=", {"Last-Event-ID": ""}
    async with serving() as it, await StreamPeer.open(it.port, query, headers) as peer:
        await peer.message()
        assert "recovered" not in await peer.message()


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/api/realtime/events", {}, 401, "unauthenticated"),
        (f"{EVENTS}&type=document_updates", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&types=documents", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&types=notifications&subscriptions=[]", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&documentId=", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&documentId=a&documentId=b", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&documentId=%FF", {}, 400, "invalid_parameter"),
        (f"{EVENTS}&lastEventId={'x' * 1025}", {}, 400, "invalid_parameter"),
        (EVENTS, {"Last-Event-ID": "x" * 1025}, 400, "invalid_request"),
        (EVENTS, {"Accept": "application/json"}, 406, "not_acceptable"),
        (EVENTS, {"Accept": "text/html, text/event-stream;q=0.0"}, 406, "not_acceptable"),
        (EVENTS, {"Origin": "https://example.org"}, 403, "origin_not_allowed"),
        (EVENTS, {"Authorization": "Bearer x@*"}, 403, "forbidden"),
        ("/api/realtime/events", {"Authorization": "Bearer x@*"}, 403, "forbidden"),
    ],
)
async def test_refusals_come_before_the_stream(target: str, headers: dict[str, str], status: int, code: str) -> None:
    """Whatever is wrong is a problem, never a stream that says so."""
    async with serving() as it:
        answer = await call(it.port, "GET", target, headers)
        assert (answer.status, answer.code) == (status, code)
        assert not it.hub.connections


async def test_the_pointer_names_the_parameter() -> None:
    """`errors` says which parameter, and where in its JSON."""
    async with serving() as it:
        wanted = quote('[{"type":"notifications"},{"type":"x"}]')
        answer = await call(it.port, "GET", f"{EVENTS}&subscriptions={wanted}")
        (fault,) = answer.json()["errors"]
        assert fault["pointer"] == "?subscriptions/1/type"


@pytest.mark.parametrize("accept", ["*/*", "text/*", "Text/Event-Stream; q=0.5", "text/html, text/event-stream"])
async def test_what_accepts_a_stream_gets_one(accept: str) -> None:
    """Every form of Accept that allows text/event-stream."""
    async with serving() as it, await StreamPeer.open(it.port, headers={"Accept": accept}) as peer:
        assert (await peer.message())["type"] == "connected"


async def test_other_methods_are_refused() -> None:
    """Neither HEAD nor DELETE opens a stream or a WebSocket; `Allow` names what does."""
    async with serving() as it:
        for path, allowed in ((EVENTS, "GET, POST"), (f"/ws?{IDENTITY}", "GET")):
            answer = await call(it.port, "DELETE", path)
            assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", allowed)
        assert (await call(it.port, "HEAD", EVENTS)).status == 405
        assert (await call(it.port, "HEAD", f"/ws?{IDENTITY}")).status in (405, 426)


async def test_a_page_on_another_loopback_port_may_read() -> None:
    """The stream's head and its refusals carry the CORS headers of an allowed origin."""
    origin = {"Origin": "http://127.0.0.1:5173"}
    async with serving() as it:
        async with await StreamPeer.open(it.port, headers=origin) as peer:
            assert peer.headers["access-control-allow-origin"] == origin["Origin"]
            assert peer.headers["access-control-allow-credentials"] == "true"
            assert peer.headers["vary"] == "Origin"
        answer = await call(it.port, "GET", "/api/realtime/events", origin)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, origin["Origin"])


async def test_a_reader_that_leaves_is_forgotten() -> None:
    """An ended or reset connection frees its place; what it sends meanwhile is thrown away."""
    async with serving() as it:
        async with await StreamPeer.open(it.port) as peer:
            await peer.message()
            await peer.send(b"GET / HTTP/1.1\r\n\r\n" * 1000)
            await publish(it.port, sample("document_update"))
            await peer.message()
            assert (await peer.event()).type == "document_updated"
        await until(lambda: not it.hub.connections and not it.server._entrance.natives)


async def test_a_slow_reader_misses_nothing() -> None:
    """A stream that is not read waits within its bound, and goes on where it stopped."""
    limits = msgspec.structs.replace(QUICK, outbox_bytes=500_000)
    async with serving(limits=limits) as it, await StreamPeer.open(it.port) as peer:
        for _ in range(2):
            await peer.message()
        peer.writer.transport.pause_reading()
        total, after = 0, 0
        while after < 20:
            event = sample("document_update", id=f"e{total}", changes=None, metadata={"text": "x" * 100_000})
            assert (await publish(it.port, event)).status == 200
            total += 1
            assert total < 300, "the outbox is never full"
            after += any(connection.is_paused for connection in it.hub.connections.values())
            assert all(native.unsent() <= limits.outbox_bytes for native in it.server._entrance.natives)
        peer.writer.transport.resume_reading()
        for number in range(total):
            assert (await peer.message())["id"] == f"e{number}"


async def test_bytes_behind_the_request_are_no_request() -> None:
    """A second request on the connection of a stream is not answered, for the stream is its last response."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", EVENTS))
        assert (await peer.head())[0] == 200
        await peer.send(
            request(
                "POST", EVENTS, {"Content-Type": "application/json"}, json.dumps(sample("document_update")).encode()
            )
        )
        answer = await call(it.port, "GET", f"/api/realtime/history?{IDENTITY}")
        assert answer.json()["events"] == []
