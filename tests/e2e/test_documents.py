"""Documents on a real server: the worked cases from end to end, events on both transports and in replay, publishing, guests.

What is refused: test_document_refusals.py. In Chromium: test_browser_documents.py. Processes that are killed: tests/faults/test_document_hammer.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from msgspec import structs

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.documents.lease import GONE_MS
from signtusk_realtime.documents.policy import SHIPPED
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.operations.documents import read as reading
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.protocol.frames import CLOSE
from signtusk_realtime.sessions.identity import PUBLISH, Grant, Identity
from signtusk_realtime.sessions.rates import RateLimits
from tests.support.conflict_cases import DECISIONS, EDITS, ORDERS
from tests.support.desks import read_shelf
from tests.support.document_calls import (
    Body,
    Both,
    as_user,
    ask,
    decide,
    documents_served,
    edit,
    opened,
    read,
    update,
)
from tests.support.mounted import serving_mounted
from tests.support.server import QUICK, Serving, StreamPeer, WebSocketPeer, call, history, publish, serving
from tests.support.wire import client_frame

TOLD: Final = ("path", "conflictType", "reason", "status", "winner", "suggested", "absent", "hunks")
BUSY: Final = structs.replace(QUICK, rates=RateLimits(messages_per_second=10_000, message_burst=10_000))
"""Limits for a connection that plays hundreds of cases."""
EVERYTHING: Final = {"type": "document_updates"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    """A server on a file, which is judged in the end."""
    async with documents_served(tmp_path) as it:
        yield it


@pytest.mark.parametrize("policy", ["plain", "signing"])
async def test_the_worked_cases_from_end_to_end(policy: str) -> None:
    """Every one, in both orders, over both transports: status, version, document and conflicts are those of the table."""
    async with serving(rules=DocumentRules(policy=SHIPPED[policy]), limits=BUSY) as server, Both(server) as both:
        for number, case in enumerate(each for each in EDITS if each["policy"] == policy):
            for order, (stored, arriving) in enumerate(ORDERS):
                document = f"case-{number}-{order}"
                answer = await both.play(case, document, stored, arriving)
                wanted: Any = case["outcomes"][order]
                was = (await read(server, document))["version"] - wanted["version"]
                assert answer["status"] == wanted["status"], (case["title"], answer)
                found = await read(server, document)
                assert found["data"] == wanted["document"], (case["title"], stored)
                assert answer["version"] == found["version"] == was + wanted["version"]
                told = [
                    {name: each[name] for name in TOLD if each.get(name) not in (None, [])}
                    for each in answer["conflicts"]
                ]
                assert told == wanted["conflicts"], case["title"]
                is_open = [each for each in answer["conflicts"] if each["status"] == "open"]
                assert await opened(server, document) == is_open
        assert (await read_shelf(server.engine)).faults() == []


@pytest.mark.parametrize("policy", ["plain", "signing"])
async def test_the_worked_decisions_from_end_to_end(policy: str) -> None:
    """Every decision of the table over HTTP: what becomes of the document and of the record, or the refusal's code."""
    async with serving(rules=DocumentRules(policy=SHIPPED[policy]), limits=BUSY) as server, Both(server) as both:
        for number, case in enumerate(each for each in DECISIONS if each["policy"] == policy):
            document = f"case-{number}"
            await both.play(case, document, "first", "second")
            if "then" in case:
                at = (await read(server, document))["version"]
                assert (await edit(server, document, "u3", baseVersion=at, **case["then"])).status == 200
            (record,) = await opened(server, document, "all")
            decision = {"conflictId": record["conflictId"], "rev": case.get("rev", 1), "take": case["take"]}
            body: Body = {"decisions": [decision | ({"value": case["value"]} if "value" in case else {})]}
            if case["take"] == "merge":
                body = {"resolution": "merge"}
            for _ in range(2 if case.get("again") else 1):
                answer = await decide(server, document, body, "u4")
            wanted: Any = case["outcome"]
            (record,) = await opened(server, document, "all")
            found = {
                "document": (await read(server, document))["data"],
                "status": record["status"],
                "rev": record["rev"],
            }
            if "code" in wanted:
                # Only a decision that came too late is told what it was too late for.
                is_late = wanted["code"] != "invalid_value"
                assert (answer.status, answer.json().get("conflict")) == ((409, record) if is_late else (400, None))
                found["code"] = answer.code
            assert found == wanted, case["title"]
        assert (await read_shelf(server.engine)).faults() == []


async def test_reading(server: Serving) -> None:
    """A document as it is and was, its history in pages, its conflicts; parameters that are none are refused by name."""
    await edit(server, "d1", baseVersion=0, changes={"title": "NDA"})
    for n in range(1, 5):
        await edit(server, "d1", "bob", baseVersion=n, changes={"title": f"t{n}"}, clientId="k", seq=n)
    found = await read(server, "d1", user="bob", clientId="k")
    assert found.keys() == {
        "documentId",
        "version",
        "epoch",
        "state",
        "data",
        "contentHash",
        "openConflicts",
        "cursor",
        "lastSeq",
    }
    assert (found["version"], found["state"], found["lastSeq"], found["openConflicts"]) == (5, "draft", 4, 0)
    old = await read(server, "d1", user="bob", clientId="k", version=3)
    # What belongs to the newest version does not stand beside an old state.
    assert old.keys() == found.keys() - {"openConflicts", "cursor"}
    assert (old["version"], old["data"]) == (3, {"title": "t2"})
    assert (await read(server, "d1", version=5)).keys() == found.keys() - {"lastSeq"}
    page = (await ask(server, "GET", "d1/history", limit=2)).json()
    assert ([e["version"] for e in page["entries"]], page["next"]) == ([1, 2], 2)
    rest = (await ask(server, "GET", "d1/history", after=2)).json()
    assert ([e["version"] for e in rest["entries"]], rest.get("next")) == ([3, 4, 5], None)
    assert (await ask(server, "GET", "d1/conflicts")).json() == {"documentId": "d1", "conflicts": []}
    for path, more, status, code in (
        ("d1", {"version": 6}, 404, "not_found"),
        ("d1", {"version": "x"}, 400, "invalid_parameter"),
        ("d1", {"verison": 1}, 400, "invalid_parameter"),
        ("d1/history", {"limit": 0}, 400, "invalid_parameter"),
        ("d1/conflicts", {"status": "closed"}, 400, "invalid_parameter"),
        ("d1/conflicts", {"after": "cfl_1"}, 400, "invalid_parameter"),
        ("d9", {}, 404, "unknown_document"),
        ("d9/history", {}, 404, "unknown_document"),
        ("d9/conflicts", {}, 404, "unknown_document"),
    ):
        answer = await ask(server, "GET", path, **more)
        assert (answer.status, answer.code) == (status, code)


async def test_conflicts_in_pages(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one answer would be too large it names what to ask for the rest."""
    names = [f"n{number}" for number in range(5)]
    await edit(server, "d1", baseVersion=0, changes=dict.fromkeys(names, 0))
    await edit(server, "d1", baseVersion=1, changes=dict.fromkeys(names, 1))
    await edit(server, "d1", "bob", baseVersion=1, changes=dict.fromkeys(names, 2), strategy="manual")
    whole = (await ask(server, "GET", "d1/conflicts")).json()
    assert whole.keys() == {"documentId", "conflicts"}
    first = whole["conflicts"][0]
    take = {"conflictId": first["conflictId"], "rev": first["rev"], "take": "current"}
    assert (await decide(server, "d1", {"decisions": [take]})).status == 200
    monkeypatch.setattr(reading, "MAX_CONFLICTS", 2)
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = (await ask(server, "GET", "d1/conflicts", status="all", **more)).json()
        found += [each["conflictId"] for each in page["conflicts"]]
        if "next" not in page:
            break
        more = {"after": quote(page["next"])}
    assert found == [each["conflictId"] for each in [*whole["conflicts"][1:], first]]


async def test_events_on_both_transports_and_in_replay(server: Serving) -> None:
    """Who subscribes from the cursor of what he read misses nothing and sees nothing twice; applying the operations gives what is read."""
    await edit(server, "d1", baseVersion=0, changes={"title": "NDA", "n": 1})
    read_before = await read(server, "d1")
    await edit(server, "d1", "bob", baseVersion=1, changes={"title": "B"})
    query = as_user("eve")
    async with (
        await WebSocketPeer.open(server.port, query) as socket,
        await StreamPeer.open(
            server.port, f"{query}&types=document_updates&lastEventId={read_before['cursor']}"
        ) as stream,
    ):
        await socket.ask({"type": "subscribe", "subscriptions": [EVERYTHING], "cursor": read_before["cursor"]})
        await edit(server, "d1", "cy", baseVersion=1, changes={"title": "C"}, strategy="manual")
        await edit(server, "d1", "bob", baseVersion=2, changes={"title": "B2"})
        await decide(server, "d1", {"resolution": "overwrite"}, "di")
        await publish(server.port, update(changes={"n": 2}, baseVersion=4, userId="ed"))
        await ask(server, "POST", "d1/transitions", {"to": "sent"})
        expected = [
            ("document_updated", 2),
            ("document_conflict", 2),
            ("document_updated", 3),
            ("document_conflict", 3),
            ("document_updated", 4),
            ("document_conflict_resolved", 4),
            ("document_updated", 5),
            ("document_updated", 6),
        ]
        over_socket: list[Body] = []
        while len(over_socket) < len(expected):
            message = await socket.message()
            if message["type"] == "event":
                over_socket.append(message["event"])
        over_stream: list[Body] = []
        while len(over_stream) < len(expected):
            told = await stream.event()
            if told.type.startswith("document_"):
                over_stream.append(json.loads(told.data))
    replayed = [event for event in await history(server.port) if event["type"] != "document_created"]
    assert over_socket == over_stream == replayed
    assert [(e["type"], e["payload"]["version"]) for e in over_socket] == expected
    data = dict(read_before["data"])
    for event in over_socket:
        if event["type"] == "document_updated":
            data |= event["payload"]["changes"]
    now = await read(server, "d1")
    assert (data, now["version"], now["state"]) == (now["data"], 6, "sent")


async def test_publishing_goes_the_same_way(server: Serving) -> None:
    """A published change has `edit` in its result and the status of the table alone, or its error in a batch; repeated, the first answer."""
    created = await publish(server.port, update(type="created", changes={"title": "NDA"}, id="e1"))
    assert created.json()["results"][0]["edit"]["version"] == 1
    again = await publish(server.port, update(type="created", changes={"title": "NDA"}, id="e1"))
    assert again.json()["results"][0] | {"duplicate": False} == created.json()["results"][0] | {
        "edit": again.json()["results"][0]["edit"]
    }
    reused = await publish(server.port, update(type="created", changes={"title": "other"}, id="e1"))
    assert (reused.status, reused.code) == (409, "event_id_reused")
    for body, status, code in (
        (update(changes={"title": "B"}, baseVersion=7), 409, "version_mismatch"),
        (update(changes={"__proto__": 1}, baseVersion=1), 400, "invalid_path"),
        (update(changes={"x": 2**60}, baseVersion=1), 400, "invalid_value"),
        (update("d9", changes={"title": "B"}, baseVersion=7), 409, "version_mismatch"),
    ):
        answer = await publish(server.port, body)
        assert (answer.status, answer.code, answer.json()["edit"]["status"]) == (status, code, "refused")
    batch = await publish(
        server.port,
        update(changes={"title": "B"}, baseVersion=1),
        update(changes={"title": "C"}, baseVersion=1, strategy="reject", userId="bob"),
        update("d5"),
        update(changes={"title": "D"}, baseVersion=2),
    )
    results: Any = batch.json()["results"]
    assert [each.get("error", {}).get("code") for each in results] == [None, "conflict", None, None]
    assert ["cursor" in each for each in results] == [True, False, True, True]
    assert (await read(server, "d1"))["data"] == {"title": "D"}


class Guests:
    """Lets in by name; a guest may do with d1 what his name says."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        if credentials.bearer is None:
            raise Unauthenticated("a token is needed")
        if credentials.bearer == "app":
            return Identity(user_id="app", organization_id="org123", scopes=frozenset({PUBLISH}))
        grant = Grant(actions=tuple(credentials.bearer.split("-")), document_id="d1")
        return Identity(user_id=credentials.bearer, organization_id="org123", grants=(grant,))


async def test_guests_do_what_they_were_granted() -> None:
    """Outside of it 403, whether the document exists or not; overwrite is an action of its own; a guest moves nothing on."""
    async with serving(authenticator=Guests()) as server:

        async def go(who: str, path: str, body: object = None, method: str = "POST") -> int:
            head = {"Content-Type": "application/json", "Authorization": f"Bearer {who}"}
            sent = b"" if body is None else json.dumps(body).encode()
            answer = await call(server.port, method, f"/api/realtime/{path}", head, sent)
            assert answer.status != 403 or answer.code == "forbidden"
            return answer.status

        number = itertools.count()

        def change(**more: Any) -> Body:
            return {"changeId": f"c{next(number)}", "baseVersion": 1, "changes": {"title": "x"}, **more}

        assert await go("app", "documents/d1/edits", change(baseVersion=0)) == 200
        assert await go("app", "documents/d2/edits", change(baseVersion=0)) == 200
        assert await go("edit", "documents/d1/edits", change()) == 200
        assert await go("edit", "documents/d1/edits", change(strategy="overwrite")) == 403
        assert await go("edit-overwrite", "documents/d1/edits", change(strategy="overwrite")) == 200
        assert await go("subscribe", "documents/d1/edits", change()) == 403
        for document in ("d2", "d9"):
            assert await go("edit", f"documents/{document}/edits", change()) == 403
            assert await go("subscribe", f"documents/{document}", method="GET") == 403
        assert await go("subscribe", "documents/d1", method="GET") == 200
        assert await go("subscribe", "documents/d1/history", method="GET") == 200
        assert await go("edit", "documents/d1/conflicts", method="GET") == 403
        assert await go("edit-subscribe", "conflicts/d1/resolve", {"resolution": "merge"}) == 403
        assert await go("resolve", "conflicts/d1/resolve", {"resolution": "merge"}) == 404
        assert await go("resolve", "conflicts/d1/resolve", {"resolution": "merge", "resolvedBy": "app"}) == 403
        assert await go("resolve", "conflicts/d2/resolve", {"resolution": "merge"}) == 403
        for who in ("edit-resolve-subscribe", "edit-overwrite"):
            assert await go(who, "documents/d1/transitions", {"to": "sent"}) == 403
        assert await go("app", "documents/d1/transitions", {"to": "sent"}) == 200


async def test_a_guest_who_may_not_read_learns_no_value() -> None:
    """By either way the answer to his edit, and its repetition, says where it clashes, and not with what."""
    async with serving(authenticator=Guests()) as server:
        sent: Body = {"changeId": "c1", "baseVersion": 1, "changes": {"salary": "?"}, "strategy": "manual"}
        for who, body in (
            ("app", {"changeId": "a", "baseVersion": 0, "changes": {"salary": "SECRET 1"}}),
            ("app", {"changeId": "b", "baseVersion": 1, "changes": {"salary": "SECRET 2"}}),
            ("edit", sent),
            ("edit", sent),
            ("edit", {**sent, "changeId": "c2", "strategy": "reject"}),
        ):
            head = {"Content-Type": "application/json", "Authorization": f"Bearer {who}"}
            found = await call(server.port, "POST", "/api/realtime/documents/d1/edits", head, json.dumps(body).encode())
            if who == "edit":
                assert b"/salary" in found.body
                assert b"SECRET" not in found.body
        async with await WebSocketPeer.open(server.port, "", {"Authorization": "Bearer edit"}) as guest:
            await guest.message()
            for change in ("c1", "c3"):
                await guest.ask({"type": "edit", "documentId": "d1", **sent, "changeId": change})
                (conflict,) = (await guest.message())["conflicts"]
                assert (conflict["path"], conflict["currentValue"], conflict["baseValue"]) == ("/salary", None, None)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8bye"], ids=["no code", "1000"])
@pytest.mark.parametrize("served", [serving, serving_mounted], ids=["native", "mounted"])
async def test_a_goodbye_ends_a_correction(served: Any, payload: bytes) -> None:
    """By a close frame the holder lets go: the document is sent again before 5 s have passed, and others are told."""
    async with (
        served() as server,
        await WebSocketPeer.open(server.port, as_user("ann")) as ann,
        await WebSocketPeer.open(server.port, as_user("bob")) as bob,
    ):
        await edit(server, "d1", baseVersion=0, changes={"n": 0})
        await ann.message()
        await ann.subscribe(EVERYTHING)
        await bob.message()
        told: list[Any] = []
        for to in ("sent", "correcting"):
            assert (await ask(server, "POST", "d1/transitions", {"to": to}, "bob")).status == 200
            told.append((await ann.message())["event"])
        await bob.send(client_frame(CLOSE, payload))
        told.append((await ann.message())["event"])
    assert [(each["payload"]["state"], each["userId"]) for each in told] == [
        ("sent", "bob"),
        ("correcting", "bob"),
        ("sent", "bob"),
    ]
    corrected = datetime.fromisoformat(told[2]["timestamp"]) - datetime.fromisoformat(told[1]["timestamp"])
    assert corrected < timedelta(milliseconds=GONE_MS)


async def test_edits_of_one_connection_are_answered_in_order(server: Serving) -> None:
    """Sent without waiting, all on the same base: each is its author's own, and none conflicts."""
    await edit(server, "d1", baseVersion=0, changes={"n": 0})
    async with await WebSocketPeer.open(server.port, as_user("bob")) as socket:
        await socket.message()
        for n in range(20):
            await socket.ask(
                {"type": "edit", "documentId": "d1", "changeId": f"c{n}", "baseVersion": 1, "changes": {"n": n}}
            )
        answers = [await socket.message() for _ in range(20)]
    assert [(each["changeId"], each["status"]) for each in answers] == [
        (f"c{n}", "noop" if n == 0 else "applied") for n in range(20)
    ]
    lone = await asyncio.gather(*(edit(server, "d1", f"u{n}", baseVersion=20, changes={"m": n}) for n in range(10)))
    assert sorted(each.json()["version"] for each in lone) == list(range(21, 31))
