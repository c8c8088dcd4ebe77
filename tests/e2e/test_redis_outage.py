"""A node whose Redis goes away: what its clients, publishers and load balancer see, and how it goes on."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.engines.redis import RedisEngine
from tests.support.samples import sample
from tests.support.server import IDENTITY, Answer, Serving, WebSocketPeer, call, publish, serving, until
from tests.support.valkey import Valkey, running

pytestmark = pytest.mark.real_time

EVERYTHING = {"type": "document_updates"}


async def status(served: Serving) -> tuple[int, object, int]:
    """Give what health and readiness say."""
    health = await call(served.port, "GET", "/api/realtime/health")
    return health.status, health.json()["status"], (await call(served.port, "GET", "/readyz")).status


def event(number: int) -> dict[str, object]:
    """Make an event whose id a publisher would repeat."""
    return sample("document_update", id=f"evt_{number}", organizationId="org123")


def shown(message: dict[str, object]) -> object:
    """Give the id of the event that a message shows."""
    event = message["event"]
    assert isinstance(event, dict)
    return event["id"]


async def test_clients_outlast_an_outage() -> None:
    """Publications get 503 and no false answer, clients stay and are told nothing wrong; afterwards what was repeated arrives once."""
    with running(Valkey(("appendonly", "yes"))) as server:
        async with serving(engine=RedisEngine([server.url])) as served, await WebSocketPeer.open(served.port) as peer:
            await peer.subscribe(EVERYTHING)
            assert (await publish(served.port, event(1))).status == 200
            assert shown(await peer.message()) == "evt_1"
            assert await status(served) == (200, "ok", 200)

            server.kill()
            await until(lambda: served.hub.engine_health.status == "unavailable")
            assert await status(served) == (503, "unavailable", 503)
            refused = await publish(served.port, event(2))
            assert (refused.status, refused.code) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) > 0

            server.start()
            await until(lambda: served.hub.engine_health.status == "ok")
            assert await status(served) == (200, "ok", 200)
            for number in (2, 2, 3):
                assert (await publish(served.port, event(number))).status == 200
            assert [shown(await peer.message()) for _ in range(2)] == ["evt_2", "evt_3"]


async def test_a_server_that_comes_back_empty_is_told_to_clients() -> None:
    """Who was shown what is gone is told to reload, and goes on with what is new."""
    with running(Valkey()) as server:
        engine = RedisEngine([server.url], allow_unsafe=True)
        async with serving(engine=engine) as served, await WebSocketPeer.open(served.port) as peer:
            await peer.subscribe(EVERYTHING)
            await publish(served.port, event(1))
            assert shown(await peer.message()) == "evt_1"
            server.kill()
            await until(lambda: served.hub.engine_health.status == "unavailable")
            server.start()
            # Once for the organization's log and once for the announcements'.
            for _ in range(2):
                told = await peer.message()
                assert (told["type"], told["reason"]) == ("resync", "diverged")
            await publish(served.port, event(2))
            assert shown(await peer.message()) == "evt_2"


async def test_documents_get_another_epoch() -> None:
    """An edit of a document that was lost with its log is refused, also where a new document has got that far again."""
    target = f"/api/realtime/documents/d1{{}}?{IDENTITY}"

    async def edit(served: Serving, number: int, **more: object) -> Answer:
        body = json.dumps({"changeId": f"c{number}", "changes": {"title": str(number)}, **more}).encode()
        headers = {"Content-Type": "application/json"}
        return await call(served.port, "POST", target.format("/edits"), headers, body)

    with running(Valkey()) as server:
        async with serving(engine=RedisEngine([server.url], allow_unsafe=True)) as served:
            before = (await edit(served, 1, baseVersion=0)).json()
            server.kill()
            await until(lambda: served.hub.engine_health.status == "unavailable")
            server.start()
            await until(lambda: served.hub.engine_health.status == "ok")
            assert (await call(served.port, "GET", target.format(""))).status == 404
            refused = await edit(served, 2, baseVersion=1, epoch=before["epoch"])
            assert (refused.status, refused.code) == (404, "unknown_document")
            anew = (await edit(served, 2, baseVersion=0)).json()
            assert (anew["version"], anew["duplicate"]) == (before["version"], False)
            assert anew["epoch"] != before["epoch"]
            refused = await edit(served, 3, baseVersion=1, epoch=before["epoch"])
            assert (refused.status, refused.json()["reason"]) == (409, "epoch"), refused.body
            assert (await call(served.port, "GET", target.format(""))).json()["epoch"] == anew["epoch"]
