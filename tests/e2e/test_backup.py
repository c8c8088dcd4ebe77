"""Backup and restore by the real commands, beside a real server: nothing stops, and nobody goes on in a life that ended."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.command import Api, Browsers, JsonObject, document_update, read_message, run, serving

SUBSCRIPTION = {"type": "document_updates"}
PUBLISHERS = 4


def ids(history: list[JsonObject]) -> list[str]:
    """Give the ids of a history's events."""
    found = []
    for entry in history:
        event = entry["event"]
        assert isinstance(event, dict)
        found.append(event["id"])
    return found


async def publish_on(api: Api, name: str, answered: list[str], enough: asyncio.Event) -> None:
    """Publish one event after the other until it is enough."""
    number = 0
    while not enough.is_set():
        event_id = f"{name}-{number}"
        await api.publish(document_update("d", id=event_id, metadata={"text": "x" * 500}))
        answered.append(event_id)
        number += 1


async def test_a_backup_is_taken_while_people_publish(tmp_path: Path) -> None:
    """It holds all that was answered before it began, and a beginning of what came after; the server goes on without a refusal."""
    backups = tmp_path / "backups"
    backups.mkdir()
    answered: list[str] = []
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish([document_update("d", id=f"old{n}", metadata={"text": "x" * 2000}) for n in range(1000)])
        enough = asyncio.Event()
        before: list[int] = []
        async with asyncio.TaskGroup() as tasks:
            for number in range(PUBLISHERS):
                tasks.create_task(publish_on(api, f"p{number}", answered, enough))
            for number in range(2):
                before.append(len(answered))
                code, out, err = await run("backup", f"backups/{number}.db", cwd=tmp_path)
                assert (code, err) == (0, "")
                told = json.loads(out)
                assert told["target"] == str(backups / f"{number}.db")
                assert told["bytes"] == (backups / f"{number}.db").stat().st_size
                assert told["events"] >= 1000 + before[number]
            enough.set()
        whole = await api.history()
        assert len(whole) == 1000 + len(answered)
        assert await served.terminate() == 0
    assert {line["level"] for line in served.lines} == {"info"}
    assert sorted(path.name for path in backups.iterdir()) == ["0.db", "1.db"]
    assert before[1] > before[0], "nobody published meanwhile"
    # A backup is a database: a server can be started on it to look into it.
    async with serving(tmp_path, "--database", "backups/1.db") as served, Api(served.url) as api:
        kept = await api.history()
        assert kept == whole[: len(kept)]
        assert set(answered[: before[1]]) <= set(ids(kept))
        assert await served.terminate() == 0


async def test_a_restore_ends_the_life_it_replaces(tmp_path: Path) -> None:
    """Every cursor of before is answered `epoch`, on each way; the backup's history is there, and ids may be repeated."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        (first,) = await api.publish(document_update("d", id="kept"))
        await api.publish({"kind": "system_announcement", "id": "a", "title": "t", "message": "m", "severity": "info"})
        assert (await run("backup", "b.db", cwd=tmp_path))[0] == 0
        (lost,) = await api.publish(document_update("d", id="lost"))
        before = await api.history()
        code, out, err = await run("restore", "b.db", cwd=tmp_path)
        assert (code, out) == (1, "")
        assert f"in use by process {served.process.pid}" in err
        assert await api.history() == before
        assert await served.terminate() == 0

    code, out, err = await run("restore", "b.db", cwd=tmp_path)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["database"], told["events"]) == (str(tmp_path / "signtusk-realtime.db"), 2)
    assert Path(told["replaced"]).parent == tmp_path

    async with serving(tmp_path) as served, Api(served.url) as api:
        assert ids(await api.history()) == ["a", "kept"]
        cursors = [str(cursor) for cursor in (first["cursor"], lost["cursor"], *(entry["cursor"] for entry in before))]
        for cursor in cursors:
            query = {"userId": "u", "organizationId": "org123", "after": cursor}
            answer = await api.http.get("/api/realtime/history", params=query)
            assert (answer.status_code, answer.json()["reason"]) == (410, "epoch")
            assert await api.history(after=answer.json()["cursor"]) == []
        async with Browsers(served) as browsers:
            sockets = [await browsers.websocket() for _ in cursors]
            for socket, cursor in zip(sockets, cursors, strict=True):
                await socket.send(json.dumps({"type": "subscribe", "subscriptions": [SUBSCRIPTION], "cursor": cursor}))
                subscribed = await read_message(socket)
                assert (subscribed["type"], subscribed["recovered"], subscribed["reason"]) == (
                    "subscribed",
                    False,
                    "epoch",
                )
            # What its publisher repeats: the backup's is known, at its place in the new life; what came later is stored again.
            known, again = await api.publish([document_update("d", id="kept"), document_update("d", id="lost")])
            assert (known["duplicate"], again["duplicate"]) == (True, False)
            assert known["cursor"] != first["cursor"]
            message = await read_message(sockets[0])
            event = message["event"]
            assert isinstance(event, dict)
            assert event["id"] == "lost"
            assert ids(await api.history(after=str(known["cursor"]))) == ["a", "lost"]
            assert await api.history(after=str(message["cursor"])) == []
        assert await served.terminate() == 0
