"""An id publishes once: over HTTP, at the same time, and after the server was killed and started anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx2

from tests.support.command import Api, JsonObject, document_update, serving

EVENTS = "/api/realtime/events"


async def post(api: Api, body: JsonObject | list[JsonObject] | bytes, key: str | None = None) -> httpx2.Response:
    """Publish, with an `Idempotency-Key` if one is given."""
    headers = {"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key})}
    if isinstance(body, bytes):
        return await api.http.post(EVENTS, content=body, headers=headers)
    return await api.http.post(EVENTS, json=body, headers=headers)


def results(answer: httpx2.Response) -> list[JsonObject]:
    """Give the results of an answer."""
    assert answer.status_code == 200, answer.text
    found: list[JsonObject] = answer.json()["results"]
    return found


def repeated(first: list[JsonObject]) -> list[JsonObject]:
    """Give what a repetition is answered."""
    return [
        {**result, "duplicate": True, **({"edit": {**result["edit"], "duplicate": True}} if "edit" in result else {})}
        for result in first
    ]


async def test_the_same_id_has_the_same_answer_after_a_restart(tmp_path: Path) -> None:
    """Single, batch, announcement and by key: each repetition gets the first cursor, before and after a stop and a kill."""
    announcement: JsonObject = {
        "kind": "system_announcement",
        "id": "a1",
        "title": "t",
        "message": "m",
        "severity": "info",
    }
    calls: list[tuple[JsonObject | list[JsonObject], str | None]] = [
        (document_update("d", id="one"), None),
        ([document_update("d", id=f"part{n}") for n in range(3)], None),
        (announcement, None),
        (document_update("d"), "key-of-one"),
        ([document_update("d"), document_update("d", id="own"), document_update("d")], "key-of-many"),
    ]
    async with serving(tmp_path) as served, Api(served.url) as api:
        first = [results(await post(api, *call)) for call in calls]
        assert [[result["duplicate"] for result in each] for each in first] == [
            [False],
            [False] * 3,
            [False],
            [False],
            [False] * 3,
        ]
        assert [result["eventId"] for result in first[3] + first[4]] == [
            "key-of-one",
            "key-of-many/0",
            "own",
            "key-of-many/2",
        ]
        history = await api.history()
        assert [results(await post(api, *call)) for call in calls] == [repeated(each) for each in first]
        await post(api, document_update("d", id="between"))
        assert await served.terminate() == 0
    for life in ("stopped", "killed"):
        async with serving(tmp_path) as served, Api(served.url) as api:
            assert [results(await post(api, *call)) for call in calls] == [repeated(each) for each in first], life
            assert (await api.history())[: len(history)] == history
            assert len(await api.history()) == len(history) + 1
            await served.kill()


async def test_an_id_with_another_value_is_refused_whole(tmp_path: Path) -> None:
    """409 for the whole call, naming the event; nothing of it is published; also after a restart, also by key."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish(document_update("d", id="one"))
        results(await post(api, document_update("d"), "key"))
        assert await served.terminate() == 0
    async with serving(tmp_path) as served, Api(served.url) as api:
        before = await api.history()
        other = document_update("other", id="one")
        for body, key in (
            (other, None),
            ([document_update("d", id="new"), other], None),
            (document_update("other"), "key"),
            ([document_update("d", id="twice"), document_update("other", id="twice")], None),
        ):
            refused = await post(api, body, key)
            assert (refused.status_code, refused.json()["code"]) == (409, "event_id_reused"), body
            assert refused.headers["content-type"] == "application/problem+json"
        assert await api.history() == before
        assert await served.terminate() == 0


async def test_the_value_counts_and_not_how_it_is_written(tmp_path: Path) -> None:
    """Order of keys, white space, 1 or 1.0 or 1e0, and escapes make no other value; a default written out does, and so does `null`."""
    head = b'"kind":"document_update","type":"updated","userId":"u","organizationId":"org123"'
    first = b'{"id":"e",%s,"documentId":"d","changes":{"a":1,"b":"\xc3\xa9","c":[1,2]}}' % head
    same = (
        b'{%s, "changes" : {"c":[1.0,2],"b":"\\u00e9","a":1.0},\n "documentId":"d", "id":"e"}' % head,
        b'{"id":"\\u0065",%s,"documentId":"d","changes":{"a":1e0,"b":"\xc3\xa9","c":[1,2]}}' % head,
    )
    other = (
        first.replace(b"[1,2]", b"[2,1]"),
        first.replace(b'"a":1,', b'"a":"1",'),
        first.replace(b'"a":1,', b'"a":true,'),
        first.replace(b'"a":1,', b'"a":null,'),
        first.replace(b'"id":"e",', b'"id":"e","timestamp":"2026-11-22T18:49:22.123Z",'),
    )
    async with serving(tmp_path) as served, Api(served.url) as api:
        placed = results(await post(api, first))
        for text in same:
            assert results(await post(api, text)) == repeated(placed), text
        for text in other:
            assert (await post(api, text)).status_code == 409, text
        assert len(await api.history()) == 1
        assert await served.terminate() == 0


async def test_repeating_at_the_same_time_publishes_once(tmp_path: Path) -> None:
    """Of many calls with one id at once, by several connections, one publishes; all are answered the same place."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        for round_ in range(5):
            event = document_update("d", id=f"e{round_}")
            calls = [post(api, event) for _ in range(20)]
            batch = [post(api, [document_update("d"), event], f"k{round_}") for _ in range(5)]
            answers = [results(answer) for answer in await asyncio.gather(*calls, *batch)]
            of_event = [each[-1] for each in answers]
            assert sum(not result["duplicate"] for result in of_event) == 1
            assert len({str(result["cursor"]) for result in of_event}) == 1
            assert sum(not each[0]["duplicate"] for each in answers[20:]) == 1
        assert len(await api.history()) == 10
        assert await served.terminate() == 0


async def test_an_id_belongs_to_its_organization(tmp_path: Path) -> None:
    """Two organizations may use the same id, and the same key; neither learns of the other's."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        for organization in ("org123", "org456"):
            (result,) = results(await post(api, document_update("d", organization, id="e")))
            assert result["duplicate"] is False
            (result,) = results(await post(api, document_update("d", organization), "key"))
            assert result["duplicate"] is False
        assert await served.terminate() == 0


async def test_an_id_of_another_value_is_told_before_anything_else(tmp_path: Path) -> None:
    """Also where the change itself could not be made: a publisher is not sent after the wrong fault."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish(document_update("held", id="first", changes={"title": "x"}))
        await api.publish(
            {
                "kind": "organization_activity",
                "id": "used",
                "activityType": "a",
                "payload": {},
                "organizationId": "org123",
            }
        )
        for more in ({"type": "created"}, {"baseVersion": 7}):
            body = json.dumps(document_update("held", id="used", changes={"title": "y"}, **more)).encode()
            answer = await post(api, body)
            assert (answer.status_code, answer.json()["code"]) == (409, "event_id_reused")
        assert await served.terminate() == 0
