"""Metrics of a real server: what is told is what clients and publishers did."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import Kind
from signtusk_realtime.sessions.identity import ADMINISTER, PUBLISH, Identity
from tests.support.samples import sample
from tests.support.server import (
    IDENTITY,
    UPGRADE,
    Peer,
    StreamPeer,
    WebSocketPeer,
    call,
    publish,
    request,
    serving,
    until,
)

METRICS = "/api/realtime/metrics"
DOCUMENTS = {"type": "document_updates"}
PREFIX = "signtusk_realtime_"
OF_THE_PROCESS = ("memoryUsage", "cpuUsage", "requestsRefused")


async def figures(port: int) -> Mapping[str, object]:
    answer = await call(port, "GET", METRICS)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


async def counted(port: int) -> dict[str, float]:
    """Give every OpenMetrics sample by its name and the values of its labels."""
    answer = await call(port, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return {
        " ".join([sample_.name.removeprefix(PREFIX), *sample_.labels.values()]): sample_.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample_ in family.samples
    }


async def test_figures_follow_what_happens() -> None:
    """Connections, subscriptions, deliveries, latency and refusals of two WebSockets, an event stream and a publisher."""
    async with serving() as it:
        before = await figures(it.port)
        assert {name: before[name] for name in before if name not in OF_THE_PROCESS} == {
            "activeConnections": 0,
            "sseConnections": 0,
            "sseSubscriptions": 0,
            "subscriptionCount": 0,
            "messagesPerSecond": 0,
            "averageLatency": 0,
            "errorRate": 0,
            "eventQueueSize": 0,
            "conflictStatistics": {"activeConflicts": 0, "pendingChanges": 0, "documentsWithConflicts": 0},
        }
        assert isinstance(before["memoryUsage"], int)
        assert before["memoryUsage"] > 10 << 20
        one, two = await WebSocketPeer.open(it.port), await WebSocketPeer.open(it.port)
        stream = await StreamPeer.open(it.port, f"{IDENTITY}&types=document_updates,signing_updates")
        await one.subscribe(DOCUMENTS)
        await two.subscribe(DOCUMENTS, {"type": "notifications"})
        assert [(await stream.message())["type"] for _ in range(2)] == ["connected", "subscribed"]
        assert (await publish(it.port, *(sample("document_update", id=f"evt_{n}") for n in range(4)))).status == 200
        for _ in range(4):
            assert [m["type"] for m in (await one.message(), await two.message())] == ["event", "event"]
            await stream.message()
        assert (
            await call(it.port, "POST", "/api/realtime/events", {"Content-Type": "application/json"}, b"{")
        ).status == 400
        now = await figures(it.port)
        assert (now["activeConnections"], now["sseConnections"]) == (2, 1)
        assert (now["subscriptionCount"], now["sseSubscriptions"]) == (5, 2)
        assert isinstance(now["messagesPerSecond"], float)
        assert 1 <= now["messagesPerSecond"] <= 12
        assert isinstance(now["averageLatency"], float)
        assert 0 < now["averageLatency"] < 10_000
        # Received: four publications, a body that is none, two messages.
        assert now["errorRate"] == 1 / 7
        text = await counted(it.port)
        assert text["deliveries_total"] == 12
        assert text["events_total"] == 4
        assert text["delivery_latency_seconds_count"] == 12
        assert text["commit_duration_seconds_count"] == 4, "each change of a document is a commit of its own"
        assert text["publications_refused_total invalid_json"] == 1
        for peer in (one, two, stream):
            await peer.end()
        await until(lambda: not it.hub.connections)
        after = await figures(it.port)
        assert [after[name] for name in list(after)[:4]] == [0, 0, 0, 0]
        assert (await counted(it.port))["connections_closed_total peer"] == 3


class Visitors:
    """Lets everybody in, without the scope of an administrator."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        return Identity(user_id="user123", organization_id="org123", scopes=frozenset({PUBLISH}))


async def test_figures_are_for_administrators() -> None:
    """Without the scope 403, for both forms; in development everybody has it."""
    async with serving(authenticator=Visitors()) as it:
        for path in (METRICS, "/metrics"):
            answer = await call(it.port, "GET", path)
            assert (answer.status, answer.code) == (403, "forbidden")
    async with serving() as it:
        for path in (METRICS, "/metrics"):
            assert (await call(it.port, "GET", f"{path}?{IDENTITY}")).status == 200
            assert (await call(it.port, "GET", f"{path}?names=all")).code == "invalid_parameter"


class Suspicious:
    """Knows `good` and `poor`, who may publish and no more; `mine` alone may read the figures."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        scopes = {"mine": {ADMINISTER}, "good": {PUBLISH}, "poor": set[str]()}.get(credentials.bearer or "")
        if scopes is None:
            raise Unauthenticated("not known")
        return Identity(user_id="user123", organization_id="org123", scopes=frozenset(scopes))


async def test_every_refusal_is_counted_by_its_code() -> None:
    """Calls, handshakes and event streams, also those that are told by a close code; what is answered is not counted."""
    mine = {"Authorization": "Bearer mine"}
    in_band = {**UPGRADE, "Sec-WebSocket-Protocol": "signtusk.v1, bearer.forged"}
    async with serving(authenticator=Suspicious()) as it:

        async def refused() -> Counter[str]:
            text = (await call(it.port, "GET", "/metrics", mine)).body.decode()
            samples = re.findall(r'requests_refused_total\{code="(\w+)"\} (\d+)', text)
            found = Counter({code: int(count) for code, count in samples})
            report = (await call(it.port, "GET", METRICS, mine)).json()["requestsRefused"]
            assert report == found
            assert found.keys() <= {code.name for code in codes.of_kind(Kind.PROBLEM)}
            return found

        before = await refused()
        forged, poor = {"Authorization": "Bearer forged"}, {"Authorization": "Bearer poor"}
        assert (await call(it.port, "GET", "/api/realtime/history", forged)).status == 401
        assert (await call(it.port, "GET", "/api/realtime/events", forged)).status == 401
        assert (await call(it.port, "GET", "/ws", {**UPGRADE, **forged})).status == 401
        async with await WebSocketPeer.open(it.port, "", in_band) as peer:
            assert await peer.closed() == (4501, "unauthenticated")
        assert (await publish(it.port, sample("document_update"), query="", headers=poor)).status == 403
        assert (await call(it.port, "GET", METRICS, poor)).status == 403
        assert (await call(it.port, "GET", "/nowhere", mine)).status == 404
        assert (await call(it.port, "GET", "/api/realtime/history", mine)).status == 200
        assert await refused() - before == {"unauthenticated": 4, "forbidden": 2, "not_found": 1}


async def test_scraping_on_one_connection() -> None:
    """A scraper keeps its connection; HEAD tells the length and no more."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", "/metrics") + request("HEAD", "/metrics") + request("GET", "/metrics"))
        assert (await peer.answer()).status == 200
        assert int((await peer.answer(to_head=True)).headers["content-length"]) > 1000
        assert (await peer.answer()).body.endswith(b"# EOF\n")
