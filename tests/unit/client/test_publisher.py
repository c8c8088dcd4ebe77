"""Calls are repeated until there is an answer, and publish once."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from signtusk_realtime.client import Publisher, Refused
from signtusk_realtime.errors import Unavailable
from tests.support.service import FakeService, Mishap, lost, refusal

pytestmark = pytest.mark.virtual_clock

EVENT = {"kind": "document_update", "organizationId": "o1"}


def publisher(service: FakeService, token: str | None = None, **more: float) -> Publisher:
    return Publisher("http://h", token, transport=service.transport, random=lambda: 1.0, **more)  # type: ignore[arg-type]


async def test_an_event_is_published() -> None:
    """One event is a body of one object, and its result comes back."""
    service = FakeService()
    async with publisher(service) as own:
        result = await own.publish({**EVENT, "id": "e1"})
        assert (result.event_id, result.cursor, result.duplicate) == ("e1", "c0", False)
        assert json.loads(result.text)["eventId"] == "e1"
        assert (await own.publish({**EVENT, "id": "e1"})).duplicate


async def test_a_batch_is_one_call() -> None:
    """Results are in the order of the events; no events are no call."""
    service = FakeService()
    async with publisher(service) as own:
        results = await own.publish_batch({**EVENT, "id": f"e{n}"} for n in range(3))
        assert [result.event_id for result in results] == ["e0", "e1", "e2"]
        assert await own.publish_batch([]) == ()
    assert service.calls == [3]


async def test_a_call_without_an_answer_is_repeated_with_the_same_ids() -> None:
    """Lost before it arrived, lost after it was carried out, refused for a while: published once."""
    service = FakeService()

    def answer_lost(request: httpx2.Request) -> httpx2.Response:
        service.carry_out(request)
        raise httpx2.ReadTimeout("no answer")

    service.mishaps = iter([lost, answer_lost, lambda _: refusal(503, "unavailable"), None])
    async with publisher(service) as own:
        result = await own.publish(EVENT)
    assert service.logs == {"o1": [result.event_id]}
    assert result.duplicate


async def test_it_waits_longer_each_time_and_as_long_as_is_asked() -> None:
    """Delays grow up to a bound; Retry-After is the least."""
    waits: list[float] = []
    reasons: list[str] = []

    def note(reason: str, delay_s: float) -> None:
        reasons.append(reason)
        waits.append(delay_s)

    mishaps: list[Mishap] = [lost, lost, lost, lambda _: refusal(503, "overloaded", Retry_After="9"), lost]
    service = FakeService(mishaps=iter(mishaps))
    async with Publisher(
        "http://h", on_retry=note, transport=service.transport, random=lambda: 1.0, patience_s=60
    ) as own:
        began = asyncio.get_running_loop().time()
        await own.publish(EVENT)
    assert waits == [0.5, 1.0, 2.0, 9.0, 5.0]
    assert asyncio.get_running_loop().time() - began == pytest.approx(sum(waits))
    assert reasons[0] == "connection reset"
    assert reasons[3] == "overloaded: overloaded it is"


async def test_it_gives_up_when_its_patience_ends() -> None:
    """A service that does not come back is told as such, with the last reason, and not after the time that was given."""
    service = FakeService(mishaps=iter([lost] * 1000))
    async with publisher(service, patience_s=20.0) as own:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="within 20 s; at last: connection reset"):
            await own.publish(EVENT)
        assert 10 < asyncio.get_running_loop().time() - began <= 20


async def test_a_refusal_is_told_at_once() -> None:
    """What would be refused again is not sent again."""
    service = FakeService()
    async with publisher(service) as own:
        with pytest.raises(Refused) as refused:
            await own.publish_batch([EVENT, {**EVENT, "bad": 1}])
    assert (refused.value.code, refused.value.index, refused.value.pointer) == ("invalid_event", 1, "/bad")
    assert service.calls == [2]
    assert service.logs == {}


@pytest.mark.parametrize("body", ["[]", '{"results":7}', '{"results":[]}', "<html>"])
async def test_an_answer_of_another_form_is_no_success(body: str) -> None:
    """A proxy that answers 200 to everything publishes nothing."""
    service = FakeService(mishaps=iter([lambda _: httpx2.Response(200, text=body)]))
    async with publisher(service) as own:
        with pytest.raises(Refused) as refused:
            await own.publish(EVENT)
    assert refused.value.code == "protocol_violation"


async def test_a_document_update_that_is_refused_by_itself_is_an_error() -> None:
    """In a batch its result says so, alone it is raised."""
    text = {"results": [{"eventId": "e1", "duplicate": False, "error": {"code": "conflict", "message": "no"}}]}
    service = FakeService(mishaps=iter([lambda _: httpx2.Response(200, json=text)] * 2))
    async with publisher(service) as own:
        (result,) = await own.publish_batch([EVENT])
        assert result.cursor is None
        assert result.error is not None
        assert result.error.code == "conflict"
        with pytest.raises(Refused, match="no"):
            await own.publish(EVENT)


async def test_the_token_travels_as_a_bearer() -> None:
    """In the header, and in no URL."""
    seen: list[httpx2.Request] = []

    def look(request: httpx2.Request) -> None:
        seen.append(request)

    service = FakeService(mishaps=iter([look]))
    async with publisher(service, "secret") as own:
        await own.publish(EVENT)
    assert seen[0].headers["Authorization"] == "Bearer secret"
    assert "secret" not in str(seen[0].url)
