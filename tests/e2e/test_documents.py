"""Documents on a real server: the worked cases from end to end, each refusal with its status, events on both transports, guests.

In Chromium: test_browser_documents.py. Processes that are killed: tests/faults/test_document_hammer.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
from msgspec import structs

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.documents.policy import PLAIN, SHIPPED
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.commits import Keeping
from signtusk_realtime.sessions.identity import PUBLISH, Grant, Identity
from signtusk_realtime.sessions.rates import RateLimits
from tests.support.conflict_cases import CHANGE, DECISIONS, EDITS, ORDERS, Case
from tests.support.desks import read_shelf
from tests.support.server import QUICK, Answer, Serving, StreamPeer, WebSocketPeer, call, history, publish, serving

DOCUMENTS: Final = "/api/realtime/documents"
TOLD: Final = ("path", "conflictType", "reason", "status", "winner", "suggested", "absent", "hunks")
BUSY: Final = structs.replace(QUICK, rates=RateLimits(messages_per_second=10_000, message_burst=10_000))
"""Limits for a connection that plays hundreds of cases."""
EVERYTHING: Final = {"type": "document_updates"}
Body = dict[str, Any]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    """A server on a file; in the end what is stored must agree with itself."""
    engine = SqliteEngine(str(tmp_path / "realtime.db"), durability="normal", ballast_bytes=0)
    async with serving(engine=engine) as it:
        yield it
        assert (await read_shelf(engine)).faults() == []


def as_user(user: str) -> str:
    return f"userId={user}&organizationId=org123"


async def ask(server: Serving, method: str, path: str, body: object = None, user: str = "ann", **more: Any) -> Answer:
    """Call a document's endpoint."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    query = "&".join([as_user(user), *(f"{name}={value}" for name, value in more.items())])
    return await call(server.port, method, f"{DOCUMENTS}/{path}?{query}", {"Content-Type": "application/json"}, sent)


async def edit(server: Serving, document: str, user: str = "ann", **body: Any) -> Answer:
    """Edit over HTTP; a changeId is made from what is sent if none is given."""
    body = {"changeId": f"{user} {json.dumps(body)}"[:120]} | body
    return await ask(server, "POST", f"{document}/edits", body, user)


async def read(server: Serving, document: str, **more: Any) -> Body:
    answer = await ask(server, "GET", document, **more)
    assert answer.status == 200, answer.body
    return answer.json()


async def decide(server: Serving, document: str, body: Body, user: str = "ann") -> Answer:
    head = {"Content-Type": "application/json"}
    target = f"/api/realtime/conflicts/{document}/resolve?{as_user(user)}"
    return await call(server.port, "POST", target, head, json.dumps(body).encode())


async def opened(server: Serving, document: str, status: str = "open") -> list[Body]:
    answer = await ask(server, "GET", f"{document}/conflicts", status=status)
    found = answer.json()["conflicts"]
    assert isinstance(found, list)
    return found


def pointers(base: Any) -> Body:
    return {"/" + name.replace("~", "~0").replace("/", "~1"): value for name, value in base.items()}


class Both:
    """Edits over HTTP, and over one WebSocket for each user."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self._sockets: dict[str, WebSocketPeer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self._sockets.values():
            await socket.end()

    async def over_websocket(self, document: str, user: str, **body: Any) -> Body:
        """Edit over WebSocket; the answer is that of HTTP with a type."""
        if user not in self._sockets:
            self._sockets[user] = await WebSocketPeer.open(self.server.port, as_user(user))
            assert (await self._sockets[user].message())["type"] == "connected"
        await self._sockets[user].ask({"type": "edit", "documentId": document, "requestId": "r", **body})
        answer = await self._sockets[user].message()
        assert (answer.pop("type"), answer.pop("requestId")) == ("edit_result", "r")
        return answer

    async def play(self, case: Case, document: str, stored: str, arriving: str) -> Body:
        """Store one edit of a case, let the other arrive; the first author uses HTTP, the second WebSocket. Gives the answer to the second."""
        made = await edit(self.server, document, baseVersion=0, changes=pointers(case["base"]))
        assert made.status == 200, made.body
        answer: Body = {}
        for name, change, strategy in (
            ("first", case.get("own"), None),
            (stored, case[stored], None),
            (arriving, case[arriving], case["strategy"]),
        ):
            if change is None:
                continue
            body: Body = {"changeId": f"{name}{strategy}", "clientId": name, "baseVersion": 1, **change}
            if change == case.get("own"):
                body["changeId"] = "own"
            if strategy is not None:
                body |= {"strategy": strategy, "changeId": CHANGE}
            if name == "first":
                answer = (await edit(self.server, document, "u-first", **body)).json()
            else:
                answer = await self.over_websocket(document, "u-second", **body)
        return answer


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
                assert answer.status == 409
                assert answer.json()["conflict"] == record
                found["code"] = answer.code
            assert found == wanted, case["title"]
        assert (await read_shelf(server.engine)).faults() == []


async def test_the_statuses_of_the_table(server: Serving) -> None:
    """Each outcome and refusal has its status over HTTP, the answer is the same as over WebSocket, and a refusal changes nothing."""
    async with Both(server) as both:
        assert (await edit(server, "d1", baseVersion=0, changes={"title": "NDA", "note": "n"})).status == 200
        assert (await edit(server, "d1", "bob", baseVersion=1, changes={"title": "B"})).json()["status"] == "applied"
        first = {"changeId": "known", "baseVersion": 2, "clientId": "k", "seq": 1, "changes": {"note": "k"}}
        assert (await edit(server, "d1", "cy", **first)).status == 200
        epoch = (await read(server, "d1"))["epoch"]
        before = await read_shelf(server.engine)
        cases: list[tuple[Body, int, Body]] = [
            (
                {"baseVersion": 1, "changes": {"title": "C"}, "strategy": "reject"},
                409,
                {"status": "rejected", "code": "conflict"},
            ),
            ({"baseVersion": 9, "changes": {"title": "C"}}, 409, {"code": "version_mismatch", "reason": "future"}),
            (
                {"baseVersion": 3, "epoch": "x", "changes": {"title": "C"}},
                409,
                {"code": "version_mismatch", "reason": "epoch"},
            ),
            (
                {"baseVersion": 3, "epoch": epoch, "ifVersion": 2, "changes": {"title": "C"}},
                412,
                {"code": "version_mismatch", "reason": "precondition"},
            ),
            (first | {"changes": {"note": "other"}}, 409, {"code": "change_id_reused"}),
            (
                {"baseVersion": 3, "clientId": "k", "seq": 3, "changes": {"note": "x"}},
                409,
                {"code": "seq_gap", "expectedSeq": 2},
            ),
            (
                {"baseVersion": 3, "clientId": "k", "seq": 1, "changes": {"note": "x"}},
                409,
                {"code": "seq_gap", "expectedSeq": 2},
            ),
            ({"baseVersion": 0, "changes": {"title": "C"}}, 409, {"code": "already_exists"}),
            (
                {"baseVersion": 3, "changes": {"/nothing/there": 1}},
                400,
                {"code": "invalid_path", "path": "/nothing/there"},
            ),
            ({"baseVersion": 3, "changes": {"/title/deeper": 1}}, 400, {"code": "invalid_path"}),
            ({"baseVersion": 3, "changes": {"__proto__": {"x": 1}}}, 400, {"code": "invalid_path"}),
            ({"baseVersion": 3, "changes": {"/a/constructor": 1}}, 400, {"code": "invalid_path"}),
            ({"baseVersion": 3, "changes": {"x": {"__proto__": 1}}}, 400, {"code": "invalid_value"}),
            ({"baseVersion": 3, "changes": {"x": 1, "/x/y": 1}}, 400, {"code": "invalid_path"}),
            ({"baseVersion": 3, "changes": {"/a~2": 1}}, 400, {"code": "invalid_path"}),
            ({"baseVersion": 3, "changes": {"x": 2**53 + 2}}, 400, {"code": "invalid_value"}),
            ({"baseVersion": 3, "changes": {f"f{n}": n for n in range(6000)}}, 400, {"code": "limit_exceeded"}),
        ]
        for number, (body, status, wanted) in enumerate(cases):
            sent = {"changeId": f"c{number}"} | body
            answer = await edit(server, "d1", "cy", **sent)
            found = answer.json()
            assert (answer.status, found["version"]) == (status, 3), (body, found)
            assert found.items() >= ({"status": "refused"} | wanted).items(), (body, found)
            if len(json.dumps(sent)) < 60_000:
                again = await both.over_websocket("d1", "cy", **sent)
                assert again | {"duplicate": False, "message": ""} == found | {"duplicate": False, "message": ""}
        after = await read_shelf(server.engine)
        assert after.events == before.events
        assert len(after.everything) == len(before.everything) + 1, "only the rejection is remembered"


async def test_what_is_malformed_is_a_problem(server: Serving) -> None:
    """Over HTTP problem+json with its code; over WebSocket a well-formed edit has its edit_result, and all else an error."""
    assert (await edit(server, "d1", baseVersion=0, changes={"title": "NDA"})).status == 200
    before = await read_shelf(server.engine)
    good = {"changeId": "c", "baseVersion": 1, "changes": {"title": "x"}}
    cases: list[tuple[object, int, str]] = [
        (b"{", 400, "invalid_json"),
        (json.dumps(good).replace('"x"', "NaN").encode(), 400, "invalid_json"),
        (json.dumps(good).replace('"x"', "1e999").encode(), 400, "invalid_message"),
        (json.dumps(good).replace('"x"', '"\\ud800"').encode(), 400, "invalid_json"),
        (b"[]", 400, "invalid_message"),
        ({"baseVersion": 1}, 400, "invalid_message"),
        (good | {"unknown": 1}, 400, "invalid_message"),
        (good | {"baseVersion": -1}, 400, "invalid_message"),
        (good | {"seq": 0}, 400, "invalid_message"),
        (good | {"strategy": "guess"}, 400, "invalid_message"),
        (good | {"documentId": "d2"}, 400, "invalid_message"),
        (json.dumps(good).replace('"x"', "[" * 40 + "]" * 40).encode(), 400, "limit_exceeded"),
        (good | {"changes": {"blob": "y" * (2 << 20)}}, 413, "payload_too_large"),
    ]
    for body, status, code in cases:
        answer = await ask(server, "POST", "d1/edits", body)
        assert (answer.status, answer.code) == (status, code), answer.body
    large = await edit(server, "d1", baseVersion=1, changes={"blob": "y" * (1 << 20)})
    assert (large.status, large.json()["code"], large.json()["version"]) == (413, "document_too_large", 1)
    unknown = await ask(server, "POST", "d9/edits", good)
    assert (unknown.status, unknown.code) == (404, "unknown_document")
    async with Both(server) as both:
        answer = await both.over_websocket("d9", "ann", **good)
        assert (answer["status"], answer["code"]) == ("refused", "unknown_document")
        deep = json.loads("[" * 33 + "]" * 33)
        assert (await edit(server, "d1", baseVersion=1, changes={"x": deep})).json()["code"] == "limit_exceeded"
    async with await WebSocketPeer.open(server.port, as_user("ann")) as socket:
        await socket.message()
        for text in ({"type": "edit"}, {"type": "edit", "documentId": "d1", **good, "seq": "1"}):
            await socket.ask(text)
            error = await socket.message()
            assert (error["type"], error["code"]) == ("error", "invalid_message")
    assert await read_shelf(server.engine) == before


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
    assert (await read(server, "d1", version=3))["data"] == {"title": "t2"}
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
        ("d9", {}, 404, "unknown_document"),
        ("d9/history", {}, 404, "unknown_document"),
        ("d9/conflicts", {}, 404, "unknown_document"),
    ):
        answer = await ask(server, "GET", path, **more)
        assert (answer.status, answer.code) == (status, code)


async def test_another_organizations_document_is_unknown(server: Serving) -> None:
    """To read, to edit, to decide and to move on; and a document of the same name is another one."""
    await edit(server, "d1", baseVersion=0, changes={"title": "NDA"})
    other = "userId=eve&organizationId=other"
    head = {"Content-Type": "application/json"}
    for method, target, body in (
        ("GET", f"{DOCUMENTS}/d1?{other}", {}),
        ("GET", f"{DOCUMENTS}/d1/history?{other}", {}),
        ("POST", f"{DOCUMENTS}/d1/edits?{other}", {"changeId": "c", "baseVersion": 1, "changes": {"title": "x"}}),
        ("POST", f"{DOCUMENTS}/d1/transitions?{other}", {"to": "sent"}),
        ("POST", f"/api/realtime/conflicts/d1/resolve?{other}", {"resolution": "merge"}),
    ):
        answer = await call(server.port, method, target, head, json.dumps(body).encode() if body else b"")
        assert (answer.status, answer.code) == (404, "unknown_document")
    assert (await read(server, "d1"))["version"] == 1


async def test_a_compacted_base() -> None:
    """410 for an edit on it and for reading it; `base` for every path stands for it."""
    rules = DocumentRules(policy=PLAIN, keeping=Keeping(versions=50, age_ms=0))
    async with serving(rules=rules) as server:
        await edit(server, "d1", baseVersion=0, changes={"n": 0})
        for n in range(1, 130):
            await edit(server, "d1", "bob", baseVersion=n, changes={"n": n})
        answer = await edit(server, "d1", baseVersion=3, changes={"n": 5})
        assert (answer.status, answer.json()["code"], answer.json()["reason"]) == (410, "version_mismatch", "compacted")
        old = await ask(server, "GET", "d1", version=3)
        assert (old.status, old.code) == (410, "version_mismatch")
        saved = await edit(server, "d1", baseVersion=3, base={"n": 2}, changes={"n": 5})
        assert (saved.status, saved.json()["status"]) == (200, "merged")


async def test_locked_and_deleted(server: Serving) -> None:
    """423 with the state after it was sent and after a signature, 410 after it was deleted; transitions say what they found."""
    await edit(server, "d1", baseVersion=0, changes={"title": "NDA"})
    body: Body = {"changeId": "late", "baseVersion": 1, "changes": {"title": "x"}, "strategy": "overwrite"}
    shown = (await read(server, "d1"))["contentHash"]

    async def move(to: str, **more: Any) -> Answer:
        return await ask(server, "POST", "d1/transitions", {"to": to, **more})

    changed = await move("signing", contentHash="0" * 64)
    assert (changed.status, changed.code) == (409, "content_changed")
    assert (changed.json()["contentHash"], changed.json()["version"]) == (shown, 1)
    for to, code in (("completed", "invalid_transition"), ("signing", "invalid_message")):
        answer = await move(to)
        assert (answer.status, answer.code) == (400 if code == "invalid_message" else 409, code)
    assert (await move("sent", version=7)).code == "version_mismatch"
    assert (await move("sent", nothing=7)).code == "invalid_message"
    for to, state in (("sent", "sent"), ("signing", "signing")):
        moved = await move(to, **({"contentHash": shown} if to == "signing" else {}))
        assert moved.json().keys() == {"documentId", "version", "state", "contentHash"}
        locked = await edit(server, "d1", **body)
        assert (locked.status, locked.json()["code"], locked.json()["state"]) == (423, "document_locked", state)
    assert (await publish(server.port, update(changes={"title": "x"}))).status == 423
    await move("voided")
    await move("deleted")
    gone = await edit(server, "d1", **body)
    assert (gone.status, gone.json()["code"], gone.json()["version"]) == (410, "document_deleted", 5)
    assert (await read(server, "d1"))["data"] == {"title": "NDA"}


async def test_deciding_has_its_refusals(server: Serving) -> None:
    """404, 409 with the fresh record, 423; malformed 400; nothing changes."""
    for number, document in enumerate(("d1", "d2")):
        await edit(server, document, baseVersion=0, changes={"title": "NDA"})
        await edit(server, document, "bob", baseVersion=1, changes={"title": "B"})
        assert number == 0 or (await decide(server, document, {"resolution": "merge"})).code == "no_active_conflicts"
        await edit(server, document, "cy", baseVersion=1, changes={"title": "C"}, strategy="manual")
    (record,) = await opened(server, "d1")
    one = {"conflictId": record["conflictId"], "rev": 1, "take": "incoming"}
    for body, status, code in (
        ({}, 400, "invalid_message"),
        ({"decisions": []}, 400, "invalid_message"),
        ({"resolution": "guess"}, 400, "invalid_message"),
        ({"decisions": [one | {"take": "value"}]}, 400, "invalid_message"),
        ({"decisions": [one | {"conflictId": "x"}]}, 404, "unknown_conflict"),
        ({"decisions": [one | {"rev": 2}]}, 409, "conflict_changed"),
        ({"decisions": [one], "changeId": "x", "resolvedBy": "boss"}, 200, None),
        ({"decisions": [one]}, 409, "already_resolved"),
        ({"decisions": [one], "changeId": "x"}, 409, "already_resolved"),
        ({"resolution": "merge"}, 404, "no_active_conflicts"),
    ):
        answer = await decide(server, "d1", body)
        assert answer.status == status, (body, answer.body)
        if code is None:
            assert answer.json() == {
                "success": True,
                "documentId": "d1",
                "resolution": "overwrite",
                "resolvedBy": "boss",
                "version": 3,
            }
        else:
            assert answer.code == code, (body, answer.body)
            if status == 409:
                (fresh,) = await opened(server, "d1", "all")
                assert answer.json()["conflict"] == fresh
    assert (await decide(server, "d9", {"resolution": "merge"})).status == 404
    await publish(server.port, update("d2", type="signed"))
    locked = await decide(server, "d2", {"resolution": "merge"})
    assert (locked.status, locked.code) == (423, "document_locked")


def update(document: str = "d1", **more: Any) -> Body:
    return {
        "kind": "document_update",
        "type": "updated",
        "documentId": document,
        "userId": "app",
        "organizationId": "org123",
        **more,
    }


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
