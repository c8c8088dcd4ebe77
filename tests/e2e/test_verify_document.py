"""`verify-document` and `erase-user`: a history that can be trusted, and one from which a person was taken."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.support.command import Api, document_update, run, serving

OURS = ("--organization", "org123")


async def six_versions(api: Api) -> None:
    """Make a document that two people changed in turn."""
    for number, user in enumerate("aabbab"):
        more = {"type": "created"} if number == 0 else {"baseVersion": number}
        await api.publish(document_update("d", **{"userId": user, "changes": {"title": f"t{number}"}, **more}))


async def verified(folder: Path) -> tuple[int, dict[str, object]]:
    """Verify the document and give exit code and answer."""
    code, out, _ = await run("verify-document", "d", *OURS, cwd=folder)
    return code, json.loads(out)


async def test_a_history_is_verified_beside_its_server(tmp_path: Path) -> None:
    """While the server serves: intact, to the version that is answered over HTTP."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await six_versions(api)
        code, found = await verified(tmp_path)
        assert (code, found["integrity"], found["version"], found["from"]) == (0, "intact", 6, 1)
        code, out, err = await run("verify-document", "nothing", *OURS, cwd=tmp_path)
        assert (code, out) == (2, "")
        assert "no document 'nothing'" in err
        assert await served.terminate() == 0


def _in_head(old: str, new: str) -> str:
    return f"UPDATE records SET value = CAST(replace(CAST(value AS TEXT), '{old}', '{new}') AS BLOB) WHERE collection = 'documents'"  # noqa: S608 - the words are this file's own


async def test_whatever_is_changed_in_it_is_found(tmp_path: Path) -> None:
    """A value, a name, an entry that is missing, a head that says something else: each is told with its version, and exit code 1."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await six_versions(api)
        assert await served.terminate() == 0
    changes = [
        ("UPDATE records SET value = CAST(replace(CAST(value AS TEXT), 't2', 'X2') AS BLOB) WHERE key LIKE '%3'", 3),
        (
            'UPDATE records SET value = CAST(replace(CAST(value AS TEXT), \'"userId":"b"\', \'"userId":"c"\') AS BLOB) WHERE key LIKE \'%4\'',
            4,
        ),
        ("DELETE FROM records WHERE key LIKE '%5'", 5),
        ("DELETE FROM records WHERE key LIKE '%6'", 6),
        (
            "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), '\"header\"', '\"headex\"') AS BLOB) WHERE key LIKE '%3'",
            3,
        ),
        (_in_head("t5", "X5"), 6),
        (_in_head('"start":1', '"start":0'), 1),
        (_in_head('"state":"draft"', '"state":"sent"'), 6),
        (_in_head('"state":"draft"', '"state":"drapt"'), None),
    ]
    for statement, version in changes:
        with sqlite3.connect(tmp_path / "signtusk-realtime.db") as connection:
            connection.execute("SAVEPOINT before")
            connection.execute("CREATE TABLE kept AS SELECT * FROM records")
            where = "" if "documents" in statement else " AND collection = 'history'"
            assert connection.execute(statement + where).rowcount == 1
        code, found = await verified(tmp_path)
        assert (code, found["integrity"], found["broken"]) == (1, "broken", version), statement
        with sqlite3.connect(tmp_path / "signtusk-realtime.db") as connection:
            connection.execute("DELETE FROM records")
            connection.execute("INSERT INTO records SELECT * FROM kept")
            connection.execute("DROP TABLE kept")
    assert (await verified(tmp_path))[1]["integrity"] == "intact"


async def test_a_snapshot_that_was_changed_is_found(tmp_path: Path) -> None:
    """What old versions are rebuilt from is held against the history too."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        for number in range(51):
            more = {"type": "created"} if number == 0 else {"baseVersion": number}
            await api.publish(document_update("d", **{"userId": "a", "changes": {"title": f"t{number}"}, **more}))
        assert await served.terminate() == 0
    assert (await verified(tmp_path))[1]["integrity"] == "intact"
    with sqlite3.connect(tmp_path / "signtusk-realtime.db") as connection:
        changed = connection.execute(
            "UPDATE records SET value = CAST(replace(CAST(value AS TEXT), 't49', 'X49') AS BLOB) WHERE collection = 'snapshots'"
        )
        assert changed.rowcount == 1
    code, found = await verified(tmp_path)
    assert (code, found["integrity"], found["broken"]) == (1, "broken", 50)


async def test_what_others_were_answered_is_erased_too(tmp_path: Path) -> None:
    """An answer that is kept for repetitions holds what the other had written, where the two clashed; the answer itself stays."""
    other = document_update("d", userId="b", changes={"title": "mine"}, baseVersion=1, changeId="c1")
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish(document_update("d", userId="b", type="created", changes={"title": "first"}))
        await api.publish(document_update("d", userId="a", changes={"title": "SECRET"}, baseVersion=1))
        await api.publish(other)
        assert await served.terminate() == 0
    assert (await run("erase-user", "a", *OURS, cwd=tmp_path))[0] == 0
    with sqlite3.connect(tmp_path / "signtusk-realtime.db") as connection:
        kept = dict(connection.execute("SELECT collection, value FROM records WHERE instr(value, 'SECRET')"))
        answers = [v for (v,) in connection.execute("SELECT value FROM records WHERE collection = 'changes'")]
    assert not kept
    assert any(b'"status":"merged"' in each and b"conflictId" in each for each in answers)


async def test_a_person_is_erased_and_the_history_holds(tmp_path: Path) -> None:
    """What a user wrote is nowhere in the history any more, who did what still is, and verifying says erased, not broken."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await six_versions(api)
        code, _, err = await run("erase-user", "a", *OURS, cwd=tmp_path)
        assert code != 0
        assert "in use" in err or "lock" in err
        assert await served.terminate() == 0
    code, out, err = await run("erase-user", "a", *OURS, cwd=tmp_path)
    assert (code, err, json.loads(out)["entries"]) == (0, "", 3)
    code, found = await verified(tmp_path)
    assert (code, found["integrity"], found["erased"]) == (0, "erased", [1, 2, 5])
    with sqlite3.connect(tmp_path / "signtusk-realtime.db") as connection:
        values = b"".join(
            value for (value,) in connection.execute("SELECT value FROM records WHERE collection != 'documents'")
        )
    assert b"t0" not in values
    assert b"t4" not in values
    assert b"t3" in values
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish(document_update("d", userId="b", changes={"title": "t6"}, baseVersion=6))
        assert await served.terminate() == 0
    assert (await verified(tmp_path))[1]["integrity"] == "erased"
