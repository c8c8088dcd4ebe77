"""A service with authentication, over real sockets: tokens on every way in, their end and their renewal, whose organization it is, and no secrets told."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from signtusk_realtime import RealtimeService, create_websocket_server
from signtusk_realtime.config import AuthSettings, Settings
from signtusk_realtime.server.entrance import Entrance
from signtusk_realtime.server.gate import MOST_UNDER_WAY
from tests.support import command
from tests.support.samples import sample
from tests.support.server import UPGRADE, Answer, Peer, StreamPeer, WebSocketPeer, call, request, until
from tests.support.tokens import SECRET, ec_key, ed_key, jwk, jwks, public_pem
from tests.support.tokens import token as make
from tests.support.wire import ServerFrames

EVENTS = "/api/realtime/events"
HISTORY = "/api/realtime/history"
DOCUMENTS = {"type": "document_updates"}
PAGE = "https://app.example.com"
AUTH = AuthSettings(mode="jwt", secret=SECRET)


def token(user: str = "user123", organization: str = "org123", *, lives_s: float = 3600, **claims: object) -> str:
    now = time.time()
    return make(sub=user, org=organization, iat=int(now), exp=now + lives_s, **claims)


def bearer(text: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token() if text is None else text}"}


PUBLISHER = {"scope": "realtime:publish realtime:admin"}


@asynccontextmanager
async def serving(auth: AuthSettings = AUTH, **settings: Any) -> AsyncIterator[int]:
    """Serve with authentication; give the port."""
    async with (
        RealtimeService(settings=Settings(auth=auth, allowed_origins=(PAGE,), **settings)) as service,
        create_websocket_server(service, port=0) as server,
    ):
        yield server.port


async def publish(port: int, event: Mapping[str, object], text: str) -> Answer:
    body = json.dumps(event).encode()
    return await call(port, "POST", EVENTS, {**bearer(text), "Content-Type": "application/json"}, body)


def update(document_id: str = "doc123", **more: object) -> dict[str, object]:
    return {"kind": "document_update", "documentId": document_id, "type": "updated", "userId": "ada", **more}


async def refused_socket(port: int, headers: Mapping[str, str], query: str = "") -> Answer:
    async with await Peer.connect(port) as peer:
        await peer.send(request("GET", f"/ws?{query}", {**UPGRADE, **headers}))
        return await peer.answer()


async def closed_at_once(port: int, headers: Mapping[str, str]) -> tuple[int, str]:
    """Give the close code of a client that offered the subprotocol."""
    async with await Peer.connect(port) as peer:
        await peer.send(request("GET", "/ws", {**UPGRADE, **headers}))
        answer = await peer.answer()
        assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "signtusk.v1")
        frames = ServerFrames()
        while not (found := frames.feed(await peer.read())):
            pass
        return int.from_bytes(found[0].payload[:2], "big"), found[0].payload[2:].decode()


# ---- where tokens travel


async def test_a_token_opens_every_way_in() -> None:
    """As a header everywhere, as a subprotocol for a browser's WebSocket; `connected` says whom it stands for and until when."""
    text = token()
    async with serving() as port:
        async with await WebSocketPeer.open(port, "", bearer(text)) as peer:
            connected = await peer.message()
            assert (connected["userId"], connected["organizationId"]) == ("user123", "org123")
            assert str(connected["expiresAt"]).endswith("Z")
        headers = {"Sec-WebSocket-Protocol": f"signtusk.v1, bearer.{text}", "Origin": PAGE}
        async with await WebSocketPeer.open(port, "", headers) as peer:
            assert (await peer.message())["userId"] == "user123"
        async with await StreamPeer.open(port, "", bearer(text)) as stream:
            assert "expiresAt" in await stream.message()
        assert (await call(port, "GET", HISTORY, bearer(text))).status == 200


async def test_without_a_good_token_nothing_opens() -> None:
    """401 before anything begins, on every call but the probes; whoever offered the subprotocol is told by a close code."""
    bad = make(key="x" * 32, exp=time.time() + 60)
    async with serving() as port:
        for headers in (
            {},
            bearer("user123@org123"),
            bearer(bad),
            bearer(token(lives_s=-1)),
            {"Authorization": "Basic x"},
        ):
            for query in ("", "userId=user123&organizationId=org123"):
                answer = await refused_socket(port, headers, query)
                assert (answer.status, answer.code) == (401, "unauthenticated")
                assert answer.headers["www-authenticate"].startswith("Bearer")
                for method, path in (
                    ("GET", EVENTS),
                    ("GET", HISTORY),
                    ("POST", EVENTS),
                    ("POST", "/api/realtime/tickets"),
                    ("POST", "/api/realtime/revocations"),
                    ("GET", "/api/realtime/connections"),
                    ("GET", "/api/realtime/metrics"),
                    ("GET", "/metrics"),
                ):
                    answer = await call(port, method, f"{path}?{query}", headers, b"{}" if method == "POST" else b"")
                    assert (path, answer.status, answer.code) == (path, 401, "unauthenticated")
        assert await closed_at_once(port, {"Sec-WebSocket-Protocol": "signtusk.v1"}) == (4501, "unauthenticated")
        offered = {"Sec-WebSocket-Protocol": f"signtusk.v1, bearer.{bad}"}
        assert await closed_at_once(port, offered) == (4501, "unauthenticated")
        service = token(organization="*", scope="realtime:publish")
        offered = {"Sec-WebSocket-Protocol": f"signtusk.v1, bearer.{service}"}
        assert await closed_at_once(port, offered) == (4503, "forbidden")
        assert (await call(port, "GET", "/livez")).status == 200


async def test_a_cookie_counts_with_an_allowed_origin_only() -> None:
    """Where one is configured: for pages that are named, on sockets, streams and calls."""
    cookie = {"Cookie": f"a=b; session={token(**PUBLISHER)}"}
    async with serving(AuthSettings(mode="jwt", secret=SECRET, cookie="session")) as port:
        async with await WebSocketPeer.open(port, "", {**cookie, "Origin": PAGE}) as peer:
            assert (await peer.message())["userId"] == "user123"
        async with await StreamPeer.open(port, "", {**cookie, "Origin": PAGE}) as stream:
            assert stream.headers["access-control-allow-origin"] == PAGE
        assert (await call(port, "GET", HISTORY, {**cookie, "Origin": PAGE})).status == 200
        # A page that is served by the address itself is ours; one whose name somebody pointed here may only share its cookies' domain.
        own = f"127.0.0.1:{port}"
        for host, status in ((own, 200), ("evil.example.com", 403)):
            answer = await call(port, "GET", HISTORY, {**cookie, "Origin": f"http://{host}"}, host=host)
            assert answer.status == status
        for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            for answer in (
                await refused_socket(port, {**cookie, **origin}),
                await call(port, "GET", EVENTS, {**cookie, **origin}),
                await call(port, "POST", EVENTS, {**cookie, **origin, "Content-Type": "application/json"}, b"{}"),
            ):
                assert (answer.status, answer.code) == (403, "origin_not_allowed")
                assert "access-control-allow-origin" not in answer.headers
    async with serving() as port:
        assert (await refused_socket(port, {**cookie, "Origin": PAGE})).status == 401


async def test_a_token_in_the_query_counts_where_that_is_allowed() -> None:
    """On sockets and streams; otherwise the parameter is an unknown one."""
    text = token()
    async with serving(AuthSettings(mode="jwt", secret=SECRET, query_token=True)) as port:
        async with await WebSocketPeer.open(port, f"token={text}") as peer:
            assert (await peer.message())["userId"] == "user123"
        async with await StreamPeer.open(port, f"types=document_updates&token={text}") as stream:
            assert (await stream.message())["userId"] == "user123"
        assert (await call(port, "GET", f"{HISTORY}?token={text}")).code == "invalid_parameter"
    async with serving() as port:
        assert (await refused_socket(port, {}, f"token={text}")).status == 401
        assert (await call(port, "GET", f"{EVENTS}?token={text}")).code == "invalid_parameter"


async def test_pages_are_told_apart_by_their_origin() -> None:
    """A named page may ask, with what browsers need to hear; any other is refused, with a good token too. Who is no page needs no Origin."""
    async with serving() as port:
        answer = await call(port, "GET", HISTORY, {**bearer(), "Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in answer.headers["vary"]
        asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        answer = await call(port, "OPTIONS", EVENTS, asks)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, PAGE)
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        refused = {**asks, "Origin": "https://evil.example"}
        for answer in (
            await call(port, "OPTIONS", EVENTS, refused),
            await call(port, "GET", HISTORY, {**bearer(), **refused}),
            await refused_socket(port, {**bearer(), **refused}),
        ):
            assert (answer.status, answer.code) == (403, "origin_not_allowed")
            assert not [name for name in answer.headers if name.startswith("access-control")]
        answer = await call(port, "GET", HISTORY, bearer(), host="anything.example")
        assert answer.status == 200


# ---- whose organization


async def test_the_organization_comes_from_the_token_alone() -> None:
    """Neither a parameter nor a body leads elsewhere; what is published is seen at home only."""
    ours, theirs = token(**PUBLISHER), token("mallory", "org456", **PUBLISHER)
    async with serving() as port:
        async with await WebSocketPeer.open(port, "", bearer(theirs)) as peer:
            await peer.subscribe(DOCUMENTS)
            assert (await publish(port, update(), ours)).status == 200
            assert (await publish(port, update("doc456"), theirs)).status == 200
            event = await peer.message()
            assert isinstance(event["event"], dict)
            assert (event["event"]["organizationId"], event["event"]["payload"]["documentId"]) == ("org456", "doc456")
        for method, target, body in (
            ("GET", f"{HISTORY}?organizationId=org456", b""),
            ("GET", f"{EVENTS}?organizationId=org456", b""),
            ("GET", f"{HISTORY}?userId=mallory", b""),
            ("POST", EVENTS, json.dumps(update(organizationId="org456")).encode()),
            ("POST", f"{EVENTS}?organizationId=org456", json.dumps(update()).encode()),
        ):
            answer = await call(port, method, target, {**bearer(ours), "Content-Type": "application/json"}, body)
            assert (target, answer.status, answer.code) == (target, 403, "forbidden")
        assert (await refused_socket(port, bearer(ours), "organizationId=org456")).code == "forbidden"
        assert (await call(port, "GET", f"{HISTORY}?organizationId=org123&userId=user123", bearer(ours))).status == 200


async def test_scopes_are_needed() -> None:
    """A member reads; publishing and looking after the service need a scope, and announcing a service."""
    member, service = token(), token("backend", "*", scope="realtime:publish")
    announcement = {"kind": "system_announcement", "title": "t", "message": "m", "severity": "info"}
    async with serving() as port:
        assert (await publish(port, update(), member)).code == "forbidden"
        assert (await call(port, "GET", "/metrics", bearer(member))).code == "forbidden"
        assert (await call(port, "GET", "/api/realtime/connections", bearer(member))).code == "forbidden"
        assert (await publish(port, announcement, token(**PUBLISHER))).code == "forbidden"
        assert (await call(port, "GET", "/metrics", bearer(token(**PUBLISHER)))).status == 200
        assert (await publish(port, announcement, service)).status == 200
        assert (await publish(port, update(organizationId="org123"), service)).status == 200
        assert (await publish(port, update(), service)).code == "invalid_event"
        assert (await call(port, "GET", HISTORY, bearer(service))).code == "forbidden"


async def test_a_body_of_who_may_not_publish_is_not_read() -> None:
    """He is told so by his head, before a byte of his body came: reading eight megabytes costs everybody."""
    async with serving() as port, await Peer.connect(port) as peer:
        headers = {**bearer(token()), "Content-Type": "application/json", "Content-Length": str(8 << 20)}
        await peer.send(request("POST", "/api/realtime/events", headers))
        answer = await peer.answer()
        assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_guest_sees_what_was_granted() -> None:
    """One document, whose signature data is cut for everybody but the guest's own recipient; nothing else, live and read again."""
    grants = [{"actions": ["subscribe"], "documentId": "doc123", "recipientId": "r1"}]
    guest, publisher = token("guest", grants=grants), token(**PUBLISHER)
    async with serving() as port:
        async with await WebSocketPeer.open(port, "", bearer(guest)) as peer:
            await peer.subscribe(DOCUMENTS, {"type": "signing_updates"})
            await peer.ask({"type": "subscribe", "subscription": {"type": "user_presence"}})
            assert (await peer.message())["code"] == "forbidden"
            for recipient, document in (("r2", "doc123"), ("r1", "doc123"), ("r1", "doc456")):
                data = {"signedAt": "2026-11-22T18:49:22.123Z", "ipAddress": f"canary-{recipient}"}
                event = {**sample("signature_status"), "documentId": document, "recipientId": recipient}
                answer = await publish(port, {**event, "signatureData": data, "organizationId": "org123"}, publisher)
                assert answer.status == 200, answer.body
            assert (await publish(port, update(), publisher)).status == 200
            seen = [(await peer.message())["event"] for _ in range(3)]
        answer = await call(port, "GET", f"{HISTORY}?types=document_updates,signing_updates", bearer(guest))
        events = answer.json()["events"]
        assert isinstance(events, list)
        for found in (seen, [one["event"] for one in events]):
            assert [one["payload"]["documentId"] for one in found] == ["doc123"] * 3
            assert "canary-r2" not in json.dumps(found)
            assert found[1]["payload"]["signatureData"]["ipAddress"] == "canary-r1"
        assert (await call(port, "GET", f"{EVENTS}?types=organization_activity", bearer(guest))).code == "forbidden"
        assert (await publish(port, update(), guest)).code == "forbidden"


# ---- the life of a token


async def test_a_token_ends_and_the_connection_with_it() -> None:
    """Told at once where less than a minute is left, closed with 4401; a stream is told by a message. Nothing goes out afterwards."""
    async with serving() as port:
        text = token(lives_s=1.0)
        async with (
            await WebSocketPeer.open(port, "", bearer(text)) as peer,
            await StreamPeer.open(port, "types=document_updates", bearer(text)) as stream,
        ):
            connected = await peer.message()
            assert await peer.message() == {"type": "token_expiring", "expiresAt": connected["expiresAt"]}
            assert await peer.closed() == (4401, "token_expired")
            told = [await stream.message() for _ in range(4)]
            assert [one["type"] for one in told] == ["connected", "token_expiring", "subscribed", "error"]
            assert told[3]["code"] == "token_expired"
            with pytest.raises(EOFError):
                await stream.event()


async def test_a_refreshed_connection_outlives_its_first_token() -> None:
    """It goes on as it was: the same subscriptions, nothing missed; the answer says until when."""
    async with serving() as port, await WebSocketPeer.open(port, "", bearer(token(lives_s=1.0))) as peer:
        ends_at = (await peer.message())["expiresAt"]
        assert (await peer.message())["type"] == "token_expiring"
        await peer.subscribe(DOCUMENTS)
        await peer.ask({"type": "refresh", "requestId": "r", "token": token(lives_s=3600)})
        refreshed = await peer.message()
        assert (refreshed["type"], refreshed["requestId"]) == ("refreshed", "r")
        assert str(refreshed["expiresAt"]) > str(ends_at)
        async with await WebSocketPeer.open(port, "", bearer(token(lives_s=1.2))) as witness:
            assert await witness.closed() == (4401, "token_expired")
        assert (await publish(port, update(), token(**PUBLISHER))).status == 200
        assert (await peer.message())["type"] == "event"


async def test_a_stream_is_renewed_by_a_call() -> None:
    """By whoever has a token of the same user, and by nobody else; other connections are unknown whosoever they are."""
    async with serving() as port:

        async def renew(connection_id: object, text: str) -> Answer:
            body = json.dumps({"token": text}).encode()
            path = f"/api/realtime/connections/{connection_id}/refresh"
            return await call(port, "POST", path, {"Content-Type": "application/json"}, body)

        first = token(lives_s=1.5)
        async with await StreamPeer.open(port, "types=document_updates", bearer(first)) as stream:
            connected = await stream.message()
            own = connected["connectionId"]
            for other in (token("user456"), token("user123", "org456"), token("b", "*", scope="realtime:publish")):
                answer = await renew(own, other)
                assert (answer.status, answer.code) == (404, "not_found")
            assert (await renew("sse_unknown", token())).code == "not_found"
            assert (await renew("sse_unknown", "nonsense")).code == "unauthenticated"
            assert (await renew(own, "nonsense")).code == "unauthenticated"
            answer = await renew(own, token(lives_s=3600))
            assert answer.status == 200
            assert str(answer.json()["expiresAt"]) > str(connected["expiresAt"])
            async with await StreamPeer.open(port, "", bearer(first)) as witness:
                while (await witness.message())["type"] != "error":
                    pass
            assert (await publish(port, update(), token(**PUBLISHER))).status == 200
            while (message := await stream.event()).type != "document_updated":
                assert "token_expired" not in message.data


async def test_what_the_new_token_does_not_cover_ends() -> None:
    """Told for each subscription that ends; the others go on, and nothing outside the new grants comes through."""
    async with serving() as port, await WebSocketPeer.open(port, "", bearer()) as peer:
        assert (await peer.message())["type"] == "connected"
        subscribed = await peer.subscribe(DOCUMENTS, {"type": "user_presence"}, {"type": "organization_activity"})
        ids = subscribed["subscriptionIds"]
        assert isinstance(ids, list)
        await peer.ask({"type": "refresh", "token": token(grants=[{"actions": ["subscribe"], "documentId": "doc123"}])})
        ended = [await peer.message() for _ in range(2)]
        assert ended == [{"type": "unsubscribed", "subscriptionId": one, "reason": "forbidden"} for one in ids[1:]]
        assert (await peer.message())["type"] == "refreshed"
        for document in ("doc456", "doc123"):
            assert (await publish(port, update(document), token(**PUBLISHER))).status == 200
        event = (await peer.message())["event"]
        assert isinstance(event, dict)
        assert event["payload"]["documentId"] == "doc123"


async def test_a_token_of_somebody_else_changes_nothing() -> None:
    """Nor does one that is none: the old token stays, and the connection with it."""
    async with serving() as port, await WebSocketPeer.open(port, "", bearer()) as peer:
        assert (await peer.message())["type"] == "connected"
        for text, code in (
            (token("user456"), "identity_mismatch"),
            (token("user123", "org456"), "identity_mismatch"),
            (token("user123", "*", scope="realtime:publish"), "identity_mismatch"),
            (token(lives_s=-1), "invalid_token"),
            ("nonsense", "invalid_token"),
            ("", "invalid_message"),
        ):
            await peer.ask({"type": "refresh", "requestId": "r", "token": text})
            error = await peer.message()
            assert (error["type"], error["code"], error["requestId"]) == ("error", code, "r")
        await peer.subscribe(DOCUMENTS)
        assert (await publish(port, update(), token(**PUBLISHER))).status == 200
        assert (await peer.message())["type"] == "event"


async def test_a_revoked_token_refreshes_nothing() -> None:
    """What was revoked is no token any more, on an open connection either."""
    async with serving() as port, await WebSocketPeer.open(port, "", bearer()) as peer:
        assert (await peer.message())["type"] == "connected"
        body = json.dumps({"tokenId": "t1"}).encode()
        headers = {**bearer(token(**PUBLISHER)), "Content-Type": "application/json"}
        assert (await call(port, "POST", "/api/realtime/revocations", headers, body)).status == 200
        await peer.ask({"type": "refresh", "token": token(jti="t1")})
        assert (await peer.message())["code"] == "invalid_token"


# ---- keys


async def test_keys_that_are_published_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens of a new key come in as soon as it is published; a provider that is away is answered by 503, not by a no."""
    published = [jwks(jwk(ed_key("a"), "a"))]
    is_well = [True]
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        body = published[0]
        status = b"200 OK" if is_well[0] else b"503 Service Unavailable"
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body))
        writer.write(head + body)
        writer.close()

    def signed(name: str) -> str:
        return make(ed_key(name), "EdDSA", {"kid": name}, exp=time.time() + 60)

    # Keys of this machine are asked for on this machine: whoever stands between could put in his own.
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as provider:
        port_of_keys = provider.sockets[0].getsockname()[1]
        auth = AuthSettings(mode="jwt", jwks_url=f"http://127.0.0.1:{port_of_keys}/keys.json")
        async with serving(auth) as port:
            assert (await call(port, "GET", HISTORY, bearer(signed("a")))).status == 200
            published[0] = jwks(jwk(ed_key("a"), "a"), jwk(ed_key("b"), "b"))
            answers = await asyncio.gather(*(call(port, "GET", HISTORY, bearer(signed(n))) for n in "ab" * 20))
            assert {one.status for one in answers} == {200}
            assert asked == 2
            unknown = make(ed_key("b"), "EdDSA", {"kid": "c"}, exp=time.time() + 60)
            assert (await call(port, "GET", HISTORY, bearer(unknown))).status == 401
            assert asked == 3
        is_well[0] = False
        async with serving(auth) as port:
            away = await call(port, "GET", HISTORY, bearer(signed("a")))
            assert (away.status, away.code) == (503, "unavailable")
            assert "retry-after" in away.headers


class Keyed(NamedTuple):
    """A server whose keys a key server publishes, `a` alone, which hangs while it is not well."""

    port: int
    entrance: Entrance
    is_well: asyncio.Event


@asynccontextmanager
async def keyed() -> AsyncIterator[Keyed]:
    is_well = asyncio.Event()
    is_well.set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await is_well.wait()
        body = jwks(jwk(ed_key("a"), "a"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as provider:
        url = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}/keys.json"
        async with (
            RealtimeService(settings=Settings(auth=AuthSettings(mode="jwt", jwks_url=url))) as service,
            create_websocket_server(service, port=0) as server,
        ):
            assert server._running is not None
            assert (await call(server.port, "GET", HISTORY, _named("a"))).status == 200
            is_well.clear()
            yield Keyed(server.port, server._running._entrance, is_well)
            is_well.set()


def _named(name: str) -> dict[str, str]:
    return bearer(make(ed_key("a"), "EdDSA", {"kid": name}, exp=time.time() + 60))


async def test_a_key_server_that_hangs_shuts_nobody_out() -> None:
    """While it is waited for by more than may be let in at a time, tokens of a known key open sockets, streams and calls."""
    async with keyed() as it:
        async with AsyncExitStack() as crowd:
            for number in range(MOST_UNDER_WAY + 50):
                path, headers = ("/ws", UPGRADE) if number % 2 else (EVENTS, {})
                peer = await crowd.enter_async_context(await Peer.connect(it.port))
                await peer.send(request("GET", path, {**headers, **_named(f"x{number}")}))
            async with await WebSocketPeer.open(it.port, "", _named("a")) as socket:
                assert (await socket.message())["type"] == "connected"
            async with await StreamPeer.open(it.port, "", _named("a")) as stream:
                assert (await stream.message())["type"] == "connected"
            assert (await call(it.port, "GET", HISTORY, _named("a"))).status == 200
        await until(lambda: not it.entrance.natives)


@pytest.mark.parametrize(("path", "headers"), [(EVENTS, {}), ("/ws", UPGRADE)], ids=["event stream", "WebSocket"])
async def test_the_admission_of_who_left_ends(path: str, headers: dict[str, str]) -> None:
    """Whoever leaves while keys are waited for is waited with no longer."""
    async with keyed() as it:
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", path, {**headers, **_named("x")}))
            await until(lambda: bool(it.entrance.tasks))
            admission = next(iter(it.entrance.tasks))
        await until(lambda: not it.entrance.tasks)
        assert admission.cancelled()


async def test_a_public_key_in_a_setting_proves_tokens() -> None:
    """The service has nothing with which it could make them."""
    async with serving(AuthSettings(mode="jwt", public_key=public_pem(ec_key()))) as port:
        good = make(ec_key(), "ES256", exp=time.time() + 60)
        assert (await call(port, "GET", HISTORY, bearer(good))).status == 200
        assert (await call(port, "GET", HISTORY, bearer(token()))).status == 401


# ---- nothing secret is told


async def test_no_secret_is_told(tmp_path: Path) -> None:
    """Neither a key nor a token, good or bad, wherever it stands, appears in a log line, an answer or a metric of the real command."""
    secret = "canary-" + "s" * 40
    good = make(secret, exp=time.time() + 600, **PUBLISHER, jti="canaryjti")
    expired = make(secret, exp=1, jti="canaryold")
    cookie_page = "http://page.example"
    options = (
        "--auth-mode",
        "jwt",
        "--auth-cookie",
        "session",
        "--auth-query-token",
        "true",
        "--allowed-origins",
        cookie_page,
    )
    told: list[str] = []
    async with command.serving(tmp_path, *options, environment={"SIGNTUSK_REALTIME_AUTH_SECRET": secret}) as served:
        for text in (good, expired, good[:-3], "canary.canary.canary", "canary canary"):
            for headers in (
                {"Authorization": f"Bearer {text}"},
                {"Authorization": f"Canary {text}"},
                {"Cookie": f"session={text}", "Origin": cookie_page},
                {"Cookie": f"session={text}"},
                {},
            ):
                for query in ("", f"token={text.replace(' ', '%20')}", f"ticket={text.replace(' ', '%20')}"):
                    answer = await call(served.port, "GET", f"{HISTORY}?{query}", headers)
                    told.append(f"{answer.headers} {answer.body.decode()}")
                    answer = await call(served.port, "GET", f"{EVENTS}?{query}&x=y", headers)
                    told.append(f"{answer.headers} {answer.body.decode()}")
                    if (query or headers) and text is not good:
                        answer = await refused_socket(served.port, headers, query)
                        told.append(f"{answer.headers} {answer.body.decode()}")
        async with await WebSocketPeer.open(served.port, "", bearer(good)) as peer:
            for message in (
                {"type": "refresh", "token": expired},
                {"type": "refresh", "token": good, "x": 1},
                {"token": good},
            ):
                told.append(json.dumps(await peer.message()))
                await peer.ask(message)
        paths = ("/metrics", "/api/realtime/metrics", "/api/realtime/connections", "/api/realtime/health")
        told += [(await call(served.port, "GET", path, bearer(good))).body.decode() for path in paths]
        assert await served.terminate() == 0
        told += [json.dumps(line) for line in served.lines]
    everything = "\n".join(told)
    assert "signtusk_realtime_" in everything
    assert "service started" in everything
    for piece in ("canary", *good.split("."), *expired.split(".")[1:]):
        assert piece not in everything, piece


async def test_no_secret_is_told_in_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The provider's address may carry one; where fetching fails, the log says why without it."""
    caplog.set_level(logging.DEBUG)
    async with serving(AuthSettings(mode="jwt", jwks_url="http://127.0.0.1:9/keys?key=canary")) as port:
        assert (await call(port, "GET", HISTORY, bearer(make(ed_key(), "EdDSA")))).status == 503
    own = [record for record in caplog.records if record.name.startswith("signtusk_realtime")]
    assert [record for record in own if "could not be fetched" in record.message]
    assert "canary" not in " ".join(f"{record.getMessage()} {record.__dict__}" for record in own)
