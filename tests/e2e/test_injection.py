"""Line ends, NUL, escape sequences and separators in everything that strangers may write: an event stays one event, a log line one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tests.support.command import Served, serving
from tests.support.samples import KINDS, sample
from tests.support.server import UPGRADE, Peer, StreamPeer, WebSocketPeer, call, request

IDENTITY: Final = "userId=user123&organizationId=org123&teams=team123"
EVENTS: Final = f"/api/realtime/events?{IDENTITY}"
FORGED: Final = "a\r\n\r\nevent: forged\rdata: {}\nid: forged\x00\x1b[2J\x1b]0;forged\x07\x85\u2028\u2029\ufeffz"
"""May stand in texts."""
SEPARATED: Final = "a\u2028data: {}\u2029event: forged\u200b\U0001f680z"
"""May stand in ids, which have no control characters."""
JSON: Final = {"Content-Type": "application/json"}
LED_TO: Final = ("document_conflict", "document_signed")
"""Events of the service itself, which edits and signatures lead to."""
EVERYTHING: Final = [
    {"type": name}
    for name in (
        "document_updates",
        "signing_updates",
        "notifications",
        "organization_activity",
        "user_presence",
        "team_updates",
        "system_announcements",
    )
]


def variants(value: object, hostile: str) -> Iterator[object]:
    """Give a JSON value again and again, each time with another of its texts, or names of members, replaced."""
    match value:
        case str():
            yield hostile
        case dict():
            for name, member in value.items():
                for other in variants(member, hostile):
                    yield {**value, name: other}
                if name not in OWN:
                    yield {**{n: m for n, m in value.items() if n != name}, hostile: member}
        case list():
            for at, member in enumerate(value):
                for other in variants(member, hostile):
                    yield [*value[:at], other, *value[at + 1 :]]


OWN: Final = frozenset(name for kind in KINDS for name in sample(kind)) | {"id", "metadata", "signedAt", "ipAddress"}


async def _publish(served: Served, event: object) -> bool:
    body = json.dumps(event).encode()
    answer = await call(served.port, "POST", "/api/realtime/events", JSON, body)
    assert answer.status in (200, 400, 409, 422), answer.body
    return answer.status == 200


def hostile_events() -> Iterator[dict[str, Any]]:
    """Give publications of every kind with every text replaced by what could forge something."""
    number = 0
    for kind in KINDS:
        plain = sample(kind, metadata={"text": "t", "more": {"list": ["x"]}})
        if kind != "system_announcement":
            plain["organizationId"] = "org123"
        for hostile in (FORGED, SEPARATED):
            for event in variants(plain, hostile):
                assert isinstance(event, dict)
                if event.get("kind") == kind and event.get("organizationId") in (None, "org123", "*"):
                    number += 1
                    yield {**event, "id": event.get("id", "") if hostile in str(event.get("id")) else f"e{number}"}


async def test_an_event_stays_one_event(tmp_path: Path) -> None:
    """On both transports each event that was accepted is read as exactly one, of its own type and with its own texts."""
    async with serving(tmp_path, "--limits-messages-per-second", "10000") as served:
        async with (
            await WebSocketPeer.open(served.port, IDENTITY) as socket,
            await StreamPeer.open(served.port, f"{IDENTITY}&subscriptions={quote(json.dumps(EVERYTHING))}") as stream,
        ):
            await socket.subscribe(*EVERYTHING)
            await stream.message()
            await stream.message()
            accepted = dict.fromkeys(KINDS, 0)
            for event in hostile_events():
                if not await _publish(served, event):
                    continue
                accepted[event["kind"]] += 1
                # Whatever is not the event itself would come in its place.
                if event["kind"] == "notification" and event["userId"] != "user123":
                    continue
                if event["kind"] == "team_update" and event["teamId"] != "team123":
                    continue
                while (told := await _same(socket, stream))["id"] != event["id"]:
                    assert told["type"] in LED_TO, told
                assert event["kind"] == "user_presence" or told.get("metadata") == event.get("metadata")
            assert min(accepted.values()) >= 4, accepted
            assert stream.stream.unknown_fields == []
        assert await served.terminate() == 0
        check_log(served)


async def _same(socket: WebSocketPeer, stream: StreamPeer) -> dict[str, Any]:
    """Read one event from each; it is the same, and stands alone."""
    framed = await socket.message()
    told = framed["event"]
    assert isinstance(told, dict)
    assert framed["type"] == "event"
    streamed = await stream.event()
    assert (streamed.type, json.loads(streamed.data)) == (told["type"], told)
    assert streamed.last_event_id == framed["cursor"]
    return told


def check_log(served: Served) -> None:
    """See that nobody else's words stand where ours do; that each line is one JSON object was seen when it was read."""
    for line in served.lines:
        assert "forged" not in str(line["message"]), line
        assert line["level"] in ("info", "warning"), line


async def test_heads_and_targets_forge_nothing(tmp_path: Path) -> None:
    """Bytes that lines are not made of, in every header we read, every parameter, every path: no header of an answer and no log line is made of them."""
    raw = ["\x00", "\x1b[2Jforged", "\x85forged", "\x0b\x0c", "a\rforged: yes", "a\nforged: yes", "\xe2\x80\xa8forged"]
    quoted = [quote(FORGED), quote(SEPARATED), "%0d%0aforged:%20yes", "%00", "%ff%fe", "%E2%80%A8"]
    headers = (
        "Authorization",
        "Origin",
        "Last-Event-ID",
        "Idempotency-Key",
        "Content-Type",
        "User-Agent",
        "X-Forwarded-For",
        "Sec-WebSocket-Protocol",
        "Sec-WebSocket-Extensions",
        "Cookie",
        "X-Forged",
    )
    async with serving(tmp_path) as served:
        for text in raw:
            for name in headers:
                for target, more in (
                    (EVENTS + "&types=notifications", {}),
                    (f"/ws?{IDENTITY}", UPGRADE),
                    ("/livez", {}),
                ):
                    await _ask(served.port, request("GET", target, {**more, name: text}))
                await _ask(served.port, request("POST", EVENTS, {**JSON, name: text}, b"[]"))
        for text in quoted:
            for path in (
                f"/{text}",
                f"/api/realtime/{text}",
                f"/api/realtime/documents/{text}?{IDENTITY}",
                f"/api/realtime/documents/{text}/history?{IDENTITY}",
                f"/api/realtime/history?{IDENTITY}&after={text}",
                f"/api/realtime/history?{IDENTITY}&types={text}",
                f"/api/realtime/history?{IDENTITY}&{text}=1",
                f"/api/realtime/history?userId={text}&organizationId=org123",
                f"/api/realtime/history?userId=user123&organizationId={text}",
                f"/api/realtime/connections?user={text}",
                f"{EVENTS}&ticket={text}",
                f"{EVENTS}&lastEventId={text}",
                f"{EVENTS}&documentId={text}",
            ):
                await _ask(served.port, request("GET", path))
        async with await WebSocketPeer.open(served.port, IDENTITY) as peer:
            await peer.message()
            for text in (FORGED, SEPARATED):
                for message in (
                    {"type": text},
                    {"type": "ping", "requestId": text[:20]},
                    {"type": "subscribe", "subscription": {"type": "document_updates", "filters": {text: text}}},
                    {"type": "subscribe", "subscription": {"type": "document_updates"}, "cursor": text},
                    {"type": "edit", "documentId": text, "changeId": text, "changes": {text: text}},
                ):
                    await peer.ask(message)
                    assert (await peer.message())["type"] in ("error", "pong", "subscribed", "edit_result")
        assert await served.terminate() == 0
        check_log(served)


async def _ask(port: int, data: bytes) -> None:
    """Send a request as it is; look at the heads of what comes back."""
    async with await Peer.connect(port) as peer:
        await peer.send(data)
        status, headers = await peer.head()
        assert 100 < status < 500, (data, status)
        assert not [name for name in headers if "forged" in name], headers
        if status == 200 and headers.get("content-type", "").startswith("text/event-stream"):
            stream = StreamPeer(peer.reader, peer.writer)
            assert json.loads((await stream.event()).data)["type"] == "connected"
