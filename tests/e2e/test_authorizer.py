"""An application's own authorizer: asked at subscribe, before replay and history, on both transports; silence and failure mean no."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.events.log import LogName, Page
from signtusk_realtime.events.subscriptions import Filters, Subscription
from signtusk_realtime.operations.authorize import KEPT_S, TIMEOUT_S, Authorize
from signtusk_realtime.server.gate import MOST_UNDER_WAY
from signtusk_realtime.sessions.identity import Identity
from tests.support.samples import sample
from tests.support.server import (
    DEADLINE_S,
    IDENTITY,
    Answer,
    Peer,
    StreamPeer,
    WebSocketPeer,
    call,
    history,
    publish,
    request,
    serving,
)

OPEN = {"type": "document_updates", "filters": {"documentId": "open"}}
SECRET = {"type": "document_updates", "filters": {"documentId": "secret"}}
EVENTS = "/api/realtime/events"
WHO = Identity(user_id="user123", organization_id="org123")


class Asked:
    """Answers by a function, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Subscription], Awaitable[bool]]) -> None:
        self.asked: list[Subscription] = []
        self._answer = answer

    async def may_subscribe(self, identity: Identity, subscription: Subscription, /) -> bool:
        self.asked.append(subscription)
        return await self._answer(subscription)


async def _all_but_secret(subscription: Subscription) -> bool:
    return subscription.type == "document_updates" and subscription.filters.document_id != "secret"


async def test_a_subscription_is_asked_about() -> None:
    """What is not allowed is forbidden with its place, the rest is served, and later messages wait their turn."""
    async with serving(authorizer=Asked(_all_but_secret)) as it, await WebSocketPeer.open(it.port) as peer:
        await peer.message()
        await peer.ask({"type": "subscribe", "requestId": "r1", "subscriptions": [OPEN, SECRET]})
        await peer.ask({"type": "ping", "requestId": "r2"})
        refused, pong = await peer.message(), await peer.message()
        assert (refused["code"], refused["path"], refused["requestId"]) == ("forbidden", "$.subscriptions[1]", "r1")
        assert (pong["type"], pong["requestId"]) == ("pong", "r2")
        assert "cursor" not in pong
        await peer.ask({"type": "subscribe", "subscription": SECRET})
        assert (await peer.message())["path"] == "$.subscription"
        await peer.ask({"type": "subscribe", "subscription": OPEN})
        await peer.ask({"type": "ping"})
        assert [(await peer.message())["type"] for _ in range(2)] == ["subscribed", "pong"]
        await publish(it.port, sample("document_update", id="e1", documentId="secret"))
        await publish(it.port, sample("document_update", id="e2", documentId="open"))
        assert (await peer.message())["event"]["id"] == "e2"  # type: ignore[index]  # JSON


async def test_a_stream_and_the_history_are_asked_about() -> None:
    """A chosen selection is refused whole; without one what is allowed of all is served."""
    async with serving(authorizer=Asked(_all_but_secret)) as it:
        await publish(it.port, sample("document_update", id="e1"))
        await publish(it.port, sample("organization_activity", id="e2"))
        chosen = f"{IDENTITY}&types=document_updates&documentId=secret"
        assert (await call(it.port, "GET", f"{EVENTS}?{chosen}")).code == "forbidden"
        assert (await call(it.port, "GET", f"/api/realtime/history?{chosen}")).code == "forbidden"
        async with await StreamPeer.open(it.port, f"{IDENTITY}&lastEventId=earliest") as peer:
            await peer.message()
            subscribed = await peer.message()
            assert subscribed["subscriptions"] == [{"type": "document_updates"}]
            assert (await peer.message())["id"] == "e1"
        assert [event["id"] for event in await history(it.port)] == ["e1"]


async def test_an_authorizer_never_widens() -> None:
    """Who may not have something by its grants does not get it because the application says yes."""

    async def yes(_: Subscription) -> bool:
        return True

    async with serving(authorizer=Asked(yes)) as it, await StreamPeer.open(it.port, IDENTITY) as peer:
        await peer.message()
        await peer.message()
        await publish(it.port, sample("notification", id="n1", userId="somebody else"))
        await publish(it.port, sample("document_update", id="e1"))
        assert (await peer.message())["id"] == "e1"


async def _fails(_: Subscription) -> bool:
    raise ValueError("the application's database is away")


async def _says_maybe(_: Subscription) -> bool:
    return "yes"  # type: ignore[return-value]  # an application without types


async def _never(_: Subscription) -> bool:
    await asyncio.get_running_loop().create_future()
    return True


@pytest.mark.parametrize("answer", [_fails, _says_maybe, _never])
async def test_anything_but_yes_means_no(answer: Callable[[Subscription], Awaitable[bool]]) -> None:
    """An error, another value than True, and silence beyond the time limit refuse; errors and silence are asked again."""
    authorizer = Asked(answer)
    authorize = Authorize(authorizer, monotonic_s=lambda: 0.0, timeout_s=0.01)
    wanted = (Subscription("document_updates"),)
    assert await authorize.allowed(WHO, wanted) == ()
    assert await authorize.allowed(WHO, wanted) == ()
    assert len(authorizer.asked) == (1 if answer is _says_maybe else 2)


async def test_an_authorizer_that_hangs_keeps_nobody_else_out() -> None:
    """While it is asked for as many streams as may be let in at once, others are let in, a stream that it answers for among them."""
    released, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def answer(subscription: Subscription) -> bool:
        if subscription.filters.document_id == "slow":
            asked.release()
            await released.wait()
        return True

    async with serving(authorizer=Asked(answer)) as it, AsyncExitStack() as opened:
        slow = [await Peer.connect(it.port) for _ in range(MOST_UNDER_WAY)]
        for number, peer in enumerate(slow):
            opened.push_async_callback(peer.end)
            identity = f"userId=user{number}&organizationId=org123"
            await peer.send(request("GET", f"{EVENTS}?types=document_updates&documentId=slow&{identity}"))
        for _ in slow:
            await asked.acquire()
        async with asyncio.timeout(TIMEOUT_S / 2):
            socket = await WebSocketPeer.open(it.port)
            opened.push_async_callback(socket.end)
            await socket.message()
            stream = await StreamPeer.open(it.port, f"types=document_updates&documentId=open&{IDENTITY}")
            opened.push_async_callback(stream.end)
        released.set()
        for peer in slow:
            status, _ = await peer.head()
            assert status == 200


async def test_an_answer_counts_for_a_minute_at_most() -> None:
    """It is remembered for one identity and one subscription, and asked again after its time, whatever was configured."""
    now = 1000.0
    authorizer = Asked(_all_but_secret)
    authorize = Authorize(authorizer, monotonic_s=lambda: now, kept_s=3600)
    wanted = (Subscription("document_updates"),)
    for _ in range(3):
        assert await authorize.allowed(WHO, wanted) == wanted
    assert len(authorizer.asked) == 1
    await authorize.allowed(Identity(user_id="another", organization_id="org123"), wanted)
    await authorize.allowed(WHO, (Subscription("document_updates", Filters(document_id="d")),))
    assert len(authorizer.asked) == 3
    now += KEPT_S
    await authorize.allowed(WHO, wanted)
    assert len(authorizer.asked) == 4


# ---- while the application is asked


class Slow:
    """Says yes once it is let go, to user123; to everybody else at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self.go = asyncio.Event()

    async def until_asked(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._asked.wait()

    async def may_subscribe(self, identity: Identity, _: Subscription, /) -> bool:
        if identity.user_id == "user123":
            self._asked.set()
            await self.go.wait()
        return True


async def _revoke(port: int) -> None:
    body = b'{"userId":"user123","organizationId":"org123"}'
    answer = await call(port, "POST", "/api/realtime/revocations", {"Content-Type": "application/json"}, body)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["history", "presence", "events"])
async def test_who_is_revoked_while_the_application_is_asked_is_told_nothing(path: str) -> None:
    """What is published after the revocation's answer reaches nobody by a call that began before it."""
    slow = Slow()
    async with serving(authorizer=slow) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", f"/api/realtime/{path}?{IDENTITY}"))
        await slow.until_asked()
        await _revoke(it.port)
        await publish(it.port, sample("document_update", id="late"))
        slow.go.set()
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert b"late" not in answer.body


async def test_who_expires_while_the_application_is_asked_is_told_nothing() -> None:
    """The end of a token counts like its revocation; what the application says of it then is not heeded."""
    ended = [False]

    def holds(_: Identity) -> None:
        if ended[0]:
            raise Unauthenticated("the token's time is over")

    async def answer(_: Subscription) -> bool:
        ended[0] = True
        return True

    authorize = Authorize(Asked(answer), monotonic_s=lambda: 0.0, holds=holds)
    wanted = (Subscription("document_updates"),)
    with pytest.raises(Unauthenticated):
        await authorize.check(WHO, wanted)
    with pytest.raises(Unauthenticated):
        await authorize.allowed(WHO, wanted)


async def test_who_is_revoked_while_the_log_is_read_is_told_nothing() -> None:
    """Whether an application is asked or not: a page that was read before the revocation is not handed out after it."""
    reading, go = asyncio.Event(), asyncio.Event()

    class SlowLog(MemoryEngine):
        async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
            if log == "org123":
                reading.set()
                await go.wait()
            return await super().read(log, after, max_bytes)

    async with serving(engine=SlowLog()) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", f"/api/realtime/history?{IDENTITY}"))
        await reading.wait()
        await _revoke(it.port)
        go.set()
        assert (await peer.answer()).code == "unauthenticated"


async def test_a_signal_of_who_is_revoked_while_the_application_is_asked_reaches_nobody() -> None:
    """The connection is closed, and what it had sent goes no further."""
    slow = Slow()
    async with (
        serving(authorizer=slow) as it,
        await WebSocketPeer.open(it.port, "userId=other&organizationId=org123") as other,
        await WebSocketPeer.open(it.port) as peer,
    ):
        await other.subscribe(OPEN)
        await peer.ask({"type": "signal", "signal": "typing", "documentId": "open"})
        await slow.until_asked()
        await _revoke(it.port)
        assert await peer.closed() == (4504, "revoked")
        slow.go.set()
        await other.ask({"type": "signal", "signal": "typing", "documentId": "open"})
        await other.ask({"type": "ping"})
        assert (await other.message())["type"] == "pong"
        assert it.hub.counters.signals == 1


# ---- documents

EDIT = {"changeId": "c2", "baseVersion": 1, "changes": {"title": "other"}}
DOCUMENT_CALLS = [
    ("GET", "documents/{}", None),
    ("GET", "documents/{}/history", None),
    ("GET", "documents/{}/conflicts", None),
    ("POST", "documents/{}/edits", EDIT),
    ("POST", "documents/{}/transitions", {"to": "completed"}),
    ("POST", "conflicts/{}/resolve", {"resolution": "merge"}),
]


async def _create(port: int, document: str) -> None:
    made = sample("document_update", id=f"made-{document}", documentId=document, type="created", changeId="c1")
    assert (await publish(port, {**made, "changes": {"title": "CANARY"}})).status == 200


async def _ask(port: int, method: str, path: str, body: object) -> Answer:
    content = b"" if body is None else json.dumps(body).encode()
    return await call(port, method, f"/api/realtime/{path}?{IDENTITY}", {"Content-Type": "application/json"}, content)


@pytest.mark.parametrize(("method", "path", "body"), DOCUMENT_CALLS)
async def test_a_document_that_the_application_closes_is_closed_to_every_call(
    method: str, path: str, body: object
) -> None:
    """It is asked as for the updates of that document, whether that exists or not; another one is open."""
    authorizer = Asked(_all_but_secret)
    async with serving(authorizer=authorizer) as it:
        await _create(it.port, "secret")
        await _create(it.port, "open")
        assert authorizer.asked == []
        refused = await _ask(it.port, method, path.format("secret"), body)
        assert (refused.status, refused.json()["code"]) == (403, "forbidden")
        assert b"CANARY" not in refused.body
        assert {(s.type, s.filters.document_id) for s in authorizer.asked} == {("document_updates", "secret")}
        assert (await it.verbs.documents.reads.document("org123", "secret", user_id="user123")).version == 1
        assert (await _ask(it.port, method, path.format("open"), body)).status != 403


async def test_an_edit_over_a_websocket_is_asked_about() -> None:
    """What is closed is answered as a refused edit, in its turn; the connection lives on, and another document is edited."""
    async with serving(authorizer=Asked(_all_but_secret)) as it, await WebSocketPeer.open(it.port) as peer:
        await _create(it.port, "secret")
        await _create(it.port, "open")
        await peer.message()
        for document, status in (("secret", "refused"), ("open", "applied")):
            await peer.ask({"type": "edit", "documentId": document, **EDIT})
            result = await peer.message()
            assert (result["type"], result["status"]) == ("edit_result", status)
            assert result.get("code") == ("forbidden" if status == "refused" else None)


async def test_who_is_revoked_while_the_application_is_asked_edits_and_reads_no_document() -> None:
    """As with everything else that waits for its answer."""
    for method, path, body in DOCUMENT_CALLS[:4]:
        slow = Slow()
        async with serving(authorizer=slow) as it, await Peer.connect(it.port) as peer:
            await _create(it.port, "open")
            content = b"" if body is None else json.dumps(body).encode()
            head = {"Content-Type": "application/json"}
            await peer.send(request(method, f"/api/realtime/{path.format('open')}?{IDENTITY}", head, content))
            await slow.until_asked()
            await _revoke(it.port)
            slow.go.set()
            assert (await peer.answer()).code == "unauthenticated"
            assert (await it.verbs.documents.reads.document("org123", "open", user_id="user123")).version == 1
