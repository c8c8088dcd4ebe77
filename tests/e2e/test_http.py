"""The HTTP API over real sockets: publishing, history, health, origins."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.cluster.freshness import WITHHELD_S
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, EngineHealth, LogName, Reused, Stale
from tests.support.samples import sample
from tests.support.server import IDENTITY, Answer, Peer, Serving, call, history, publish, request, serving

EVENTS = f"/api/realtime/events?{IDENTITY}"
HISTORY = f"/api/realtime/history?{IDENTITY}"
JSON = {"Content-Type": "application/json"}


async def post(it: Serving, body: bytes, headers: dict[str, str] | None = None, target: str = EVENTS) -> Answer:
    return await call(it.port, "POST", target, JSON if headers is None else headers, body)


def results(answer: Answer) -> list[dict[str, object]]:
    assert answer.status == 200, answer.body
    found = answer.json()["results"]
    assert isinstance(found, list)
    return found


async def test_an_event_is_published_and_found() -> None:
    """One object in, one result out; history shows it with a cursor from which nothing follows."""
    async with serving() as it:
        (result,) = results(await publish(it.port, sample("document_update")))
        assert result["duplicate"] is False
        page = (await call(it.port, "GET", HISTORY)).json()
        (found,) = page["events"]
        assert found["event"]["id"] == result["eventId"]
        assert page["more"] is False
        after = (await call(it.port, "GET", f"{HISTORY}&after={page['cursor']}")).json()
        assert after["events"] == []


async def test_a_batch_is_answered_in_its_order() -> None:
    """An array in, a result for each; an array of one is still an array."""
    async with serving() as it:
        ids = [f"e{n}" for n in range(5)]
        answer = await publish(it.port, *[sample("document_update", id=name) for name in ids])
        assert [result["eventId"] for result in results(answer)] == ids
        answer = await publish(it.port, sample("document_update", id="single"), batch=True)
        assert [result["eventId"] for result in results(answer)] == ["single"]
        assert [event["id"] for event in await history(it.port)] == [*ids, "single"]


async def test_repeating_an_id_publishes_once() -> None:
    """The same value is a duplicate with the first cursor; another value is 409 for the whole call."""
    async with serving() as it:
        first = results(await publish(it.port, sample("document_update", id="e1")))
        again = results(await publish(it.port, sample("document_update", id="e1")))
        assert again == [{**first[0], "duplicate": True, "edit": {**first[0]["edit"], "duplicate": True}}]
        other = sample("document_update", id="e1", documentId="other")
        answer = await publish(it.port, sample("document_update", id="e2"), other)
        assert (answer.status, answer.code) == (409, "event_id_reused")
        assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/1/id"]
        assert [event["id"] for event in await history(it.port)] == ["e1"]


async def test_an_idempotency_key_stands_for_ids() -> None:
    """K for one event, K/0, K/1 … for a batch; repeating the call repeats the answer."""
    async with serving() as it:
        body = json.dumps(sample("document_update")).encode()
        headers = {**JSON, "Idempotency-Key": "K"}
        first, again = results(await post(it, body, headers)), results(await post(it, body, headers))
        assert (first[0]["eventId"], again[0]["duplicate"]) == ("K", True)
        batch = json.dumps([sample("document_update")] * 2).encode()
        assert [result["eventId"] for result in results(await post(it, batch, headers))] == ["K/0", "K/1"]
        for key in ("", "x" * 129, "\xff"):
            answer = await post(it, body, {**JSON, "Idempotency-Key": key})
            assert (answer.status, answer.code) == (400, "invalid_request")
            assert str(answer.json()["detail"]).startswith("Idempotency-Key: ")
            assert "errors" not in answer.json()


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=UTF-8", "application/x+json"])
async def test_json_is_taken(content_type: str) -> None:
    """application/json and its relatives, in UTF-8."""
    async with serving() as it:
        answer = await post(it, json.dumps(sample("document_update")).encode(), {"Content-Type": content_type})
        assert answer.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
async def test_anything_else_is_not(headers: dict[str, str]) -> None:
    """What a foreign page's form could send without asking is 415, and not published."""
    async with serving() as it:
        answer = await post(it, json.dumps(sample("document_update")).encode(), headers)
        assert (answer.status, answer.code) == (415, "unsupported_media_type")
        assert await history(it.port) == []


async def test_who_may_publish_where() -> None:
    """Without credentials a service, which names the organization and may announce; a member publishes in his own only."""
    async with serving() as it:
        event = sample("document_update")
        assert (await publish(it.port, event, query="")).code == "invalid_event"
        assert (await publish(it.port, {**event, "organizationId": "org123"}, query="")).status == 200
        assert (await publish(it.port, sample("system_announcement"), query="")).status == 200
        assert (await publish(it.port, sample("system_announcement"))).code == "forbidden"
        answer = await publish(it.port, event, {**event, "organizationId": "other"})
        assert (answer.status, answer.code) == (403, "forbidden")
        assert answer.json()["errors"][0]["pointer"] == "/1/organizationId"
        answer = await publish(it.port, event, query="userId=a")
        assert (answer.status, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")
        assert len(await history(it.port)) == 2


async def test_the_answer_to_an_unknown_sender_does_not_wait_for_his_body() -> None:
    """401 comes before a body is read."""
    async with serving() as it, await Peer.connect(it.port) as peer:
        await peer.send(request("POST", "/api/realtime/events?userId=a", {**JSON, "Content-Length": "1000"}))
        assert (await peer.answer()).status == 401


async def test_history_is_read_in_pages_and_by_selection() -> None:
    """`limit`, `after`, types and filters as on a stream; the pages joined are the whole."""
    async with serving() as it:
        for n in range(3):
            await publish(
                it.port, sample("document_update", id=f"d{n}", documentId=f"doc{n}"), sample("team_update", id=f"t{n}")
            )
        cursor, found = "earliest", []
        for _ in range(4):
            page = (await call(it.port, "GET", f"{HISTORY}&limit=2&types=document_updates&after={cursor}")).json()
            cursor = str(page["cursor"])
            found += [item["event"]["id"] for item in page["events"]]
            if not page["more"]:
                break
        assert found == ["d0", "d1", "d2"]
        page = (await call(it.port, "GET", f"{HISTORY}&documentId=doc1")).json()
        assert [item["event"]["id"] for item in page["events"]] == ["d1"]


async def test_a_cursor_that_cannot_go_on_is_told() -> None:
    """410 with the reason and the top."""
    async with serving() as it:
        await publish(it.port, sample("document_update"))
        answer = await call(it.port, "GET", f"{HISTORY}&after=nonsense")
        assert (answer.status, answer.code) == (410, "cursor_expired")
        problem = answer.json()
        assert problem["reason"] == "unknown"
        page = (await call(it.port, "GET", f"{HISTORY}&after={problem['cursor']}")).json()
        assert page["events"] == []


@pytest.mark.parametrize(
    ("parameter", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=1001", "?limit"),
        ("limit=ten", "?limit"),
        ("limit=", "?limit"),
        ("after=", "?after"),
        (f"after={'x' * 1025}", "?after"),
        ("lastEventId=x", "?lastEventId"),
        ("types=x", "?types"),
    ],
)
async def test_parameters_of_history_are_checked(parameter: str, pointer: str) -> None:
    """400 invalid_parameter with the parameter's name."""
    async with serving() as it:
        answer = await call(it.port, "GET", f"{HISTORY}&{parameter}")
        assert (answer.status, answer.code) == (400, "invalid_parameter")
        assert answer.json()["errors"][0]["pointer"] == pointer


async def test_health_is_told() -> None:
    """Alive, ready and well; without the engine alive only."""
    async with serving() as it:
        for path in ("/livez", "/readyz"):
            assert (await call(it.port, "GET", path)).json() == {"status": "ok"}
            assert (await call(it.port, "HEAD", path)).status == 200
        report = (await call(it.port, "GET", "/api/realtime/health")).json()
        assert (report["status"], report["version"]) == ("ok", "0.0.0-test")
        it.hub.health(EngineHealth("degraded", "slow"))
        report = (await call(it.port, "GET", "/api/realtime/health")).json()
        assert report["status"] == "degraded"
        assert report["checks"]["engine"] == {"status": "degraded", "detail": "slow"}
        assert (await call(it.port, "GET", "/readyz")).status == 200
        assert report["checks"]["control"] == {"status": "ok"}
        it.hub.health(EngineHealth("unavailable"))
        assert (await call(it.port, "GET", "/livez")).status == 200
        answer = await call(it.port, "GET", "/readyz")
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "1")
        assert (await call(it.port, "GET", "/api/realtime/health")).status == 503


async def test_who_lets_nobody_in_is_not_ready() -> None:
    """A node that cannot learn who was revoked is no place to send anybody, however its log is."""
    async with serving() as it:
        freshness = it.verbs.nodes._control.freshness
        freshness.watch()
        freshness._good_at -= WITHHELD_S
        answer = await call(it.port, "GET", "/readyz")
        assert (answer.status, answer.code) == (503, "unavailable")
        answer = await call(it.port, "GET", "/api/realtime/health")
        assert (answer.status, answer.json()["checks"]["control"]["status"]) == (503, "unavailable")
        assert (await call(it.port, "GET", "/livez")).status == 200


async def test_what_is_not_there_is_told() -> None:
    """404 and 405 are problems, too."""
    async with serving() as it:
        for target in ("/", "/livez/", "/api/realtime/events/", "/ws/"):
            answer = await call(it.port, "GET", target)
            assert (answer.status, answer.code) == (404, "not_found"), target
        answer = await call(it.port, "POST", "/livez")
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert "GET" in answer.headers["allow"]
        answer = await call(it.port, "GET", "/ws")
        assert (answer.status, answer.code) == (426, "upgrade_required")


async def test_foreign_hosts_and_pages_are_kept_out() -> None:
    """403 for every path but the probes, without any CORS header."""
    async with serving() as it:
        for headers, host, code in (
            ({}, "example.org", "host_not_allowed"),
            ({"Origin": "https://example.org"}, "localhost", "origin_not_allowed"),
            ({"Origin": "null"}, "localhost", "origin_not_allowed"),
            ({"X-Forwarded-For": "203.0.113.9"}, "localhost", "host_not_allowed"),
        ):
            for method, target in (("GET", HISTORY), ("POST", EVENTS), ("OPTIONS", EVENTS), ("GET", "/nowhere")):
                answer = await call(it.port, method, target, headers, host=host)
                assert (answer.status, answer.code) == (403, code)
                assert not [name for name in answer.headers if name.startswith("access-control")]
                assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Origin", "no-store")
            # Behind a mount uvicorn takes what a proxy says for the peer's address, and strangers are not even told whether we are well.
            for probe in ("/livez", "/readyz") if "X-Forwarded-For" not in headers else ():
                assert (await call(it.port, "GET", probe, headers, host=host)).status == 200


async def test_pages_on_other_loopback_ports_may_publish() -> None:
    """The preflight is answered 204 for exactly that origin, and so is the call, refused or not."""
    origin = {"Origin": "http://localhost:5173"}
    async with serving() as it:
        asking = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        answer = await call(it.port, "OPTIONS", EVENTS, asking)
        assert answer.status == 204
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "Content-Type" in answer.headers["access-control-allow-headers"]
        for given in (answer, await post(it, b"{", {**JSON, **origin}), await call(it.port, "GET", HISTORY, origin)):
            assert given.headers["access-control-allow-origin"] == origin["Origin"]
            assert given.headers["access-control-allow-credentials"] == "true"
            assert given.headers["vary"] == "Origin"


class Away(MemoryEngine):
    """An engine that cannot commit."""

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        raise Unavailable("the disk is full")


async def test_a_log_that_is_away_is_told() -> None:
    """503 with Retry-After: nothing was answered that did not happen."""
    async with serving(engine=Away()) as it:
        answer = await publish(it.port, sample("document_update"))
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "unavailable", "1")


class Broken(MemoryEngine):
    """An engine with a defect."""

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        raise RuntimeError("secret internals")


async def test_a_defect_is_told_barely(caplog: pytest.LogCaptureFixture) -> None:
    """500 without internals, one line in our log, and the connection serves on."""
    async with serving(engine=Broken()) as it, await Peer.connect(it.port) as peer:
        body = json.dumps(sample("document_update")).encode()
        await peer.send(request("POST", EVENTS, JSON, body) + request("GET", "/livez"))
        answer = await peer.answer()
        assert (answer.status, answer.code) == (500, "internal")
        assert b"secret" not in answer.body
        assert (await peer.answer()).status == 200
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.message for record in errors] == ["request failed"]


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/livez", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", HISTORY, {}, 200),
        ("GET", f"{HISTORY}&limit=x", {}, 400),
        ("GET", "/nowhere", {}, 404),
        ("DELETE", HISTORY, {}, 405),
        ("OPTIONS", HISTORY, {"Origin": "http://localhost", "Access-Control-Request-Method": "GET"}, 204),
        ("GET", HISTORY, {"Origin": "https://example.org"}, 403),
        ("GET", "/ws", {}, 426),
        ("GET", EVENTS, {"Accept": "text/html"}, 406),
        ("GET", HISTORY, {"Host": "twice"}, 400),
    ],
)
async def test_no_answer_is_taken_for_what_it_is_not(
    method: str, target: str, headers: dict[str, str], status: int
) -> None:
    """Every answer that is not a stream forbids browsers to guess its type, whoever writes it; none is said twice."""
    async with serving() as it:
        answer = await call(it.port, method, target, headers)
        assert (answer.status, answer.headers["x-content-type-options"]) == (status, "nosniff")
        assert answer.headers["cache-control"] == "no-store"
