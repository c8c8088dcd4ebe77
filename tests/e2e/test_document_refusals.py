"""What documents refuse on a real server: each with its code and status, over HTTP and WebSocket, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.values import MAX_VALUES
from signtusk_realtime.engines.sqlite.engine import SqliteEngine
from signtusk_realtime.events.log import Commit, LogName, Stale
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.commits import Keeping
from tests.support.desks import read_shelf
from tests.support.document_calls import (
    DOCUMENTS,
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
from tests.support.server import Answer, Serving, WebSocketPeer, call, publish, serving


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    """A server on a file, which is judged in the end."""
    async with documents_served(tmp_path) as it:
        yield it


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


async def test_contention_is_an_answer_too(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was overtaken sixteen times is told like of any refusal, on both transports, and when to come again; then the same is taken."""
    async with Both(server) as both:
        await edit(server, "d1", baseVersion=0, changes={"title": "NDA"})
        epoch = (await read(server, "d1"))["epoch"]
        sent: Body = {"changeId": "c", "baseVersion": 1, "changes": {"title": "B"}}

        async def overtaken(engine: SqliteEngine, log: LogName, commit: Commit) -> Stale:
            return Stale((await engine.records(log, [])).top, [key for key, _ in commit.expect[:1]])

        with monkeypatch.context() as patched:
            patched.setattr(SqliteEngine, "commit", overtaken)
            answer = await edit(server, "d1", "bob", **sent)
            told = await both.over_websocket("d1", "bob", **sent)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.json() == told
        wanted = {"status": "refused", "code": "contention", "version": 1, "epoch": epoch, "changeId": "c", "ops": []}
        assert told.items() >= wanted.items()
        assert (await edit(server, "d1", "bob", **sent)).json()["version"] == 2


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
        (good | {"seq": 1}, 400, "invalid_message"),
        (good | {"strategy": "guess"}, 400, "invalid_message"),
        (good | {"documentId": "d2"}, 400, "invalid_message"),
        (json.dumps(good).replace('"x"', "[" * 40 + "]" * 40).encode(), 400, "limit_exceeded"),
        (good | {"changes": {"many": [0] * MAX_VALUES}}, 400, "limit_exceeded"),
        (good | {"changes": {"blob": "y" * (2 << 20)}}, 413, "payload_too_large"),
    ]
    for body, status, code in cases:
        answer = await ask(server, "POST", "d1/edits", body)
        assert (answer.status, answer.code) == (status, code), answer.body
    large = await edit(server, "d1", baseVersion=1, changes={"blob": "y" * (1 << 20)})
    assert (large.status, large.json()["code"], large.json()["version"]) == (413, "document_too_large", 1)
    half = [0] * (MAX_VALUES // 2)
    fits = await edit(server, "d2", baseVersion=0, changes={"one": half})
    assert (fits.status, fits.json()["version"]) == (200, 1)
    before = await read_shelf(server.engine)
    many = await edit(server, "d2", baseVersion=1, changes={"other": half}, changeId="half")
    assert (many.status, many.json()["code"], many.json()["version"]) == (400, "limit_exceeded", 1)
    nowhere = await edit(server, "d2", baseVersion=1, changes={"/a~1b/c": 1}, changeId="nowhere")
    assert (nowhere.status, nowhere.json()["code"], nowhere.json()["path"]) == (400, "invalid_path", "/a~1b/c")
    unknown = await ask(server, "POST", "d9/edits", good)
    assert (unknown.status, unknown.code) == (404, "unknown_document")
    async with Both(server) as both:
        answer = await both.over_websocket("d9", "ann", **good)
        assert (answer["status"], answer["code"]) == ("refused", "unknown_document")
        answer = await both.over_websocket("d1", "ann", **good, seq=1)
        assert (answer["status"], answer["code"]) == ("refused", "invalid_message")
        assert "clientId" in answer["message"]
        deep = json.loads("[" * 33 + "]" * 33)
        assert (await edit(server, "d1", baseVersion=1, changes={"x": deep})).json()["code"] == "limit_exceeded"
    async with await WebSocketPeer.open(server.port, as_user("ann")) as socket:
        await socket.message()
        for text in ({"type": "edit"}, {"type": "edit", "documentId": "d1", **good, "seq": "1"}):
            await socket.ask(text)
            error = await socket.message()
            assert (error["type"], error["code"]) == ("error", "invalid_message")
    assert await read_shelf(server.engine) == before


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
    stale = await move("sent", version=7)
    assert (stale.status, stale.code, stale.json()["reason"]) == (409, "version_mismatch", "precondition")
    assert (stale.json()["contentHash"], stale.json()["version"]) == (shown, 1)
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
