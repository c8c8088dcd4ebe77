"""Bad input of every sort: each a clear error by the contract, nothing published, the server unharmed.

Heads that are too long, half or not HTTP at all: test_front.py.
"""

from __future__ import annotations

import json

import pytest

from tests.support.samples import sample
from tests.support.server import (
    CLOSE,
    IDENTITY,
    PING,
    TEXT,
    Serving,
    WebSocketPeer,
    call,
    history,
    publish,
    serving,
)
from tests.support.wire import client_frame

EVENTS = f"/api/realtime/events?{IDENTITY}"
ALL = [{"type": name} for name in ("document_updates", "signing_updates", "organization_activity", "user_presence")]


def event(**changed: object) -> bytes:
    return json.dumps(sample("document_update", **changed)).encode()


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


DEEP = event(changes="@").replace(b'"@"', deep(1000).encode())
TWICE = event().replace(b'"documentId"', b'"documentId":"a","documentId"')
TWICE_BELOW = event(changes="@").replace(b'"@"', b'{"a":{"b":1,"b":2}}')


@pytest.mark.parametrize(
    ("body", "status", "code", "pointer"),
    [
        pytest.param(b"", 400, "invalid_json", None, id="nothing"),
        pytest.param(b"{", 400, "invalid_json", None, id="half an object"),
        pytest.param(event() + b"x", 400, "invalid_json", None, id="something behind it"),
        pytest.param(event().replace(b"doc123", b"doc\xff"), 400, "invalid_json", None, id="invalid UTF-8"),
        pytest.param(b"\xef\xbb\xbf" + event(), 400, "invalid_json", None, id="a byte order mark"),
        pytest.param(event().replace(b'"doc123"', b'"\\ud800"'), 400, "invalid_json", None, id="half a surrogate pair"),
        pytest.param(event(changes={"a": float("nan")}), 400, "invalid_json", None, id="NaN"),
        pytest.param(b"[" * 100_000, 400, "invalid_json", None, id="a hundred thousand brackets"),
        pytest.param(DEEP, 400, "invalid_json", None, id="depth 1000"),
        pytest.param(TWICE, 400, "invalid_json", None, id="a key twice"),
        pytest.param(TWICE_BELOW, 400, "invalid_json", None, id="a key twice, below"),
        pytest.param(b"17", 422, "invalid_event", "", id="a number"),
        pytest.param(b"null", 422, "invalid_event", "", id="null"),
        pytest.param(b"[]", 422, "invalid_event", "", id="an empty batch"),
        pytest.param(b"[17]", 422, "invalid_event", "/0", id="a batch of numbers"),
        pytest.param(event().replace(b"document_update", b"document_updated"), 422, "invalid_event", "/kind", id="unknown kind"),
        pytest.param(event().replace(b'"kind"', b'"Kind"'), 422, "invalid_event", "/kind", id="no kind"),
        pytest.param(event(documentId=None), 422, "invalid_event", "/documentId", id="missing field"),
        pytest.param(event(documentId=17), 422, "invalid_event", "/documentId", id="wrong type"),
        pytest.param(event(documentId=""), 422, "invalid_event", "/documentId", id="empty id"),
        pytest.param(event(documentId="x" * 129), 422, "invalid_event", "/documentId", id="long id"),
        pytest.param(event(type="renamed"), 422, "invalid_event", "/type", id="unknown value"),
        pytest.param(event(documentID="a"), 422, "invalid_event", "/documentID", id="unknown field"),
        pytest.param(event(timestamp="2026-11-22T18:49:22"), 422, "invalid_event", "/timestamp", id="no zone"),
        pytest.param(event(timestamp="yesterday"), 422, "invalid_event", "/timestamp", id="no instant"),
        pytest.param(event(type="signed"), 422, "invalid_event", "/changes", id="changes of a signed one"),
        pytest.param(event(organizationId="*"), 422, "invalid_event", "/organizationId", id="reserved organization"),
        pytest.param(event(organizationId="other"), 403, "forbidden", "/organizationId", id="another's organization"),
        pytest.param(b"[" + event() + b"," + event(userId=None) + b"]", 422, "invalid_event", "/1/userId", id="in a batch"),
        pytest.param(b"[" + event() + b"," + TWICE + b"]", 400, "invalid_json", "/1", id="twice in a batch"),
        pytest.param(b"[" + b",".join([event()] * 1001) + b"]", 413, "batch_too_large", None, id="1001 events"),
        pytest.param(event(changes={"a": "x" * 300 * 1024}), 413, "payload_too_large", None, id="300 KiB"),
        pytest.param(b"[" + event() + b"," + event(changes={"a": "x" * 300 * 1024}) + b"]", 413, "payload_too_large", "/1", id="300 KiB in a batch"),
    ],
)  # fmt: skip
async def test_bad_publications_are_refused(body: bytes, status: int, code: str, pointer: str | None) -> None:
    """Status, code and place are those of the contract; nothing of the call is published, and the next one is."""
    async with serving() as it:
        answer = await call(it.port, "POST", EVENTS, {"Content-Type": "application/json"}, body)
        assert (answer.status, answer.code) == (status, code), answer.body
        if pointer is not None:
            (fault,) = answer.json()["errors"]
            assert fault["pointer"] == pointer
            assert fault["detail"]
        assert len(answer.body) < 2000
        await unharmed(it)


async def test_organizations_are_not_mixed() -> None:
    """A service's batch of two organizations, or of one and an announcement, is refused whole."""
    async with serving() as it:
        for other in (sample("document_update", organizationId="b"), sample("system_announcement")):
            first = sample("document_update", organizationId="org123")
            answer = await publish(it.port, first, other, query="")
            assert (answer.status, answer.code) == (422, "mixed_organizations")
            assert answer.json()["errors"][0]["pointer"] == "/1/organizationId"
        await unharmed(it)


async def test_no_body_at_all_is_refused() -> None:
    """A call without a body is no JSON."""
    async with serving() as it:
        answer = await call(it.port, "POST", EVENTS, {"Content-Type": "application/json", "Content-Length": "0"})
        assert (answer.status, answer.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(client_frame(TEXT, b"{}", mask=None), 1002, id="unmasked"),
        pytest.param(client_frame(TEXT, b"", announced=65_537), 1009, id="oversized"),
        pytest.param(client_frame(TEXT, b"", announced=1 << 62), 1009, id="vastly oversized"),
        pytest.param(client_frame(TEXT, b"x" * 65_000, final=False) + client_frame(0, b"x" * 1000), 1009, id="oversized by parts"),
        pytest.param(client_frame(PING, b"x" * 126), 1002, id="126-byte ping"),
        pytest.param(client_frame(PING, b"", final=False), 1002, id="fragmented ping"),
        pytest.param(client_frame(TEXT, b"\xff\xfe"), 1007, id="invalid UTF-8"),
        pytest.param(client_frame(2, b"{}"), 1003, id="binary"),
        pytest.param(client_frame(3, b""), 1002, id="reserved opcode"),
        pytest.param(client_frame(TEXT, b"{}", rsv=4), 1002, id="compressed without agreement"),
        pytest.param(client_frame(0, b"{}"), 1002, id="continuation of nothing"),
        pytest.param(client_frame(CLOSE, b"\x03"), 1002, id="half a close code"),
        pytest.param(client_frame(CLOSE, (1005).to_bytes(2, "big")), 1002, id="a close code that is none"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="HTTP"),
    ],
)  # fmt: skip
async def test_frames_against_the_protocol_close(data: bytes, code: int) -> None:
    """A violation closes with its code; what follows is not acted on, and the server serves on."""
    async with serving() as it:
        async with await WebSocketPeer.open(it.port) as peer:
            await peer.message()
            await peer.send(data + client_frame(PING, b"late"))
            number, reason = await peer.closed()
            assert number == code
            assert reason
            peer.writer.write_eof()
            assert await peer.rest() == b""
        await unharmed(it)


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        pytest.param("", "invalid_json", None, id="nothing"),
        pytest.param("{", "invalid_json", None, id="half an object"),
        pytest.param('{"type":"ping","type":"ping"}', "invalid_json", None, id="a key twice"),
        pytest.param('{"type":"ping","timestamp":' + deep(1000) + "}", "too_deep", None, id="depth 1000"),
        pytest.param("[" * 60_000, "too_deep", None, id="brackets"),
        pytest.param("[]", "invalid_message", "$", id="a list"),
        pytest.param("{}", "invalid_message", "$.type", id="no type"),
        pytest.param('{"type":"shout"}', "invalid_message", "$.type", id="unknown type"),
        pytest.param('{"type":"ping","x":1}', "invalid_message", "$.x", id="unknown field"),
        pytest.param('{"type":"subscribe"}', "invalid_message", "$.subscription", id="nothing to subscribe"),
        pytest.param('{"type":"subscribe","subscriptions":[]}', "invalid_message", "$.subscriptions", id="an empty list"),
        pytest.param(
            '{"type":"subscribe","subscription":{"type":"x"}}', "invalid_message", "$.subscription.type", id="unknown subscription"
        ),
        pytest.param(
            '{"type":"subscribe","subscriptions":[{"type":"notifications","filters":{"documentId":""}}]}',
            "invalid_message",
            "$.subscriptions[0].filters.documentId",
            id="empty filter",
        ),
        pytest.param('{"type":"unsubscribe","subscriptionId":"sub_x"}', "unknown_subscription", "$.subscriptionId", id="not subscribed"),
    ],
)  # fmt: skip
async def test_bad_messages_are_answered(text: str, code: str, path: str | None) -> None:
    """An error with its code, and the connection lives on."""
    async with serving() as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        await peer.send(client_frame(TEXT, text.encode()))
        error = await peer.message()
        assert (error["type"], error["code"]) == ("error", code), error
        if path is not None:
            assert error["path"] == path
        await peer.ask({"type": "ping", "requestId": "r"})
        assert (await peer.message())["requestId"] == "r"


async def test_too_many_subscriptions_are_refused() -> None:
    """Above limits.subscriptions nothing of the request is accepted."""
    async with serving() as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        await peer.ask({"type": "subscribe", "subscriptions": [{"type": "document_updates"}] * 101})
        assert (await peer.message())["code"] == "too_many_subscriptions"
        assert len((await peer.subscribe(*[{"type": "document_updates"}] * 100))["subscriptionIds"]) == 100


async def unharmed(it: Serving) -> None:
    """Nothing was published; a new event is, and is delivered."""
    assert await history(it.port) == []
    async with await WebSocketPeer.open(it.port) as peer:
        await peer.subscribe(*ALL)
        assert (await publish(it.port, sample("document_update", id="fine"))).status == 200
        message = await peer.message()
        assert message["event"]["id"] == "fine"
    assert [found["id"] for found in await history(it.port)] == ["fine"]
