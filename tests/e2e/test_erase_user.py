"""`erase-user`: a person's values are nowhere any more but where the documentation says."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.events.log import Commit, Draft, LogName, Range, Retention
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.commits import Keeping
from signtusk_realtime.operations.documents.erase import Erased
from signtusk_realtime.operations.documents.records import CHANGES, DOCUMENTS, HISTORY, SNAPSHOTS
from signtusk_realtime.protocol.json import encode
from signtusk_realtime.service.maintenance import erase_user_from, verify_document
from tests.support.command import run, serving
from tests.support.delivery import Names
from tests.support.desks import ORGANIZATION, Desk, member
from tests.support.engines import RecordingSink
from tests.support.server import call
from tests.support.valkey import fresh_prefix, shared_server

CANARY = "CANARY"
DAY_MS = 86_400_000
PARTIES: dict[str, Any] = {
    "recipients": [{"id": "r1"}, {"id": "r2"}],
    "signatureFields": [{"id": "f", "recipientId": "r1", "label": ""}, {"id": "g", "recipientId": "r1"}],
}


class Office:
    """A database that is opened, closed, and maintained in between."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "realtime.db"
        self._names = Names()

    @asynccontextmanager
    async def desk(
        self,
        rules: DocumentRules | None = None,
        retention: Retention = Retention(),
    ) -> AsyncIterator[Desk]:
        """Open it, as a server does."""
        engine = SqliteEngine(str(self.file), durability="normal", retention=retention, ballast_bytes=0)
        await engine.start(RecordingSink())
        desk = Desk(engine, lambda: time.time_ns() // 1_000_000, names=self._names, rules=rules)
        try:
            yield desk
        finally:
            await desk.close()
            await engine.close()

    async def erase(self, user: str = "ada") -> Erased:
        """Erase a user; whatever is left must agree with itself."""
        erased = await asyncio.to_thread(erase_user_from, self.file, ORGANIZATION, user)
        assert self.verified() in ("intact", "erased")
        return erased

    def verified(self, document: str = "d1") -> object:
        """Give what verifying says."""
        found = verify_document(self.file, ORGANIZATION, document)
        assert found["integrity"] != "broken", found
        return found["integrity"]

    def holding(self, word: str) -> dict[str, str]:
        """Give the records that hold a word, statistics and all."""
        with sqlite3.connect(self.file) as connection:
            return {
                f"{collection} {key}": value.decode()
                for collection, key, value in connection.execute("SELECT collection, key, value FROM records")
                if word.encode() in value
            }


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """One that is empty."""
    return Office(tmp_path)


async def clear(desk: Desk, document: str = "d1") -> None:
    """Have somebody else write anew whatever stands in a document."""
    data = await desk.data(document)
    version = (await desk.read(document)).version
    fresh = {name: "clean" for name, value in data.items() if CANARY in json.dumps(value)}
    await desk.edit("eve", document, baseVersion=version, changes={**fresh, "cleaned": True})


async def shown(desk: Desk, document: str = "d1") -> tuple[bytes, list[int]]:
    """Give all that is answered about a document, and the versions that can be read."""
    head = await desk.read(document)
    answers: list[Any] = [head]
    readable = []
    for version in range(1, head.version + 1):
        try:
            answers.append(await desk.read(document, version=version))
        except Refused as error:
            if error.reason != "compacted":
                raise
        else:
            readable.append(version)
    reader = member("eve")
    answers.append(await desk.documents.history(reader, document, after=0, limit=1000))
    answers.append(await desk.documents.conflicts(reader, document, with_decided=True))
    answers.append(await desk.documents.conflicts(reader, document, with_decided=False))
    return b"\n".join(encode(to_builtins(each)) for each in answers), readable


async def test_no_value_of_a_person_who_was_erased_is_left(office: Office) -> None:
    """His edits, his parked ones that others decided or nobody did, others' merges with his words, snapshots: no answer and no record has them."""
    async with office.desk() as desk:
        await desk.create(by="eve", title="T", note="one two\nthree", amount=1, tags=[], **PARTIES)
        await desk.edit("ada", baseVersion=1, changes={"note": f"one two {CANARY}1\nthree"})
        merged = await desk.edit("ben", baseVersion=1, changes={"note": "zero one two\nthree"}, changeId="b1")
        assert merged.status in ("applied", "merged")
        await desk.edit("eve", baseVersion=1, changes={"title": "E"})
        taken = await desk.edit("ada", baseVersion=1, changes={"title": f"{CANARY}2"}, strategy="manual")
        assert taken.status == "parked"
        await desk.resolve("eve", resolution="overwrite")
        lost = await desk.edit("ben", baseVersion=3, changes={"title": "B"}, strategy="merge", changeId="b2")
        assert lost.status == "merged"
        await desk.edit("ben", baseVersion=3, changes={"title": "B2"}, strategy="reject")
        version = (await desk.read()).version
        await desk.edit("ada", baseVersion=version, changes={"tags": [f"{CANARY}3"], "amount": f"{CANARY}4"})
        for number in range(60):
            await desk.edit("eve", baseVersion=(await desk.read()).version, changes={"n": number})
        version = (await desk.read()).version
        await desk.edit("ada", baseVersion=version, changes={"amount": f"{CANARY}5"})
        await desk.edit("eve", baseVersion=version + 1, changes={"amount": 7})
        open_one = await desk.edit("ada", baseVersion=version, changes={"amount": f"{CANARY}6"}, strategy="manual")
        assert open_one.status in ("parked", "applied")
        head = (await desk.read()).version
        await desk.edit("eve", baseVersion=head, deletes=["/recipients/r2"])
        changes = {"/signatureFields/f/recipientId": "r2", "/signatureFields/f/label": f"{CANARY}7"}
        whole = await desk.edit("ada", baseVersion=head, changes=changes)
        assert whole.status == "parked"
        await clear(desk)
        opened = await desk.opened()
        assert opened
        before = (await desk.read()).data
    assert len(office.holding(CANARY)) > 5

    erased = await office.erase()
    assert erased.conflicts >= len(opened)
    assert erased.snapshots == 1
    assert office.holding(CANARY) == {}
    assert office.verified() == "erased"
    assert await office.erase() == Erased()

    async with office.desk() as desk:
        answers, readable = await shown(desk)
        assert CANARY.encode() not in answers
        head = (await desk.read()).version
        assert readable == [1, head]
        assert (await desk.read()).data == before
        assert await desk.opened() == []
        figures, _ = await desk.documents.store.statistics(ORGANIZATION)  # type: ignore[arg-type]  # its log
        assert (figures.active_conflicts, figures.pending_changes, figures.documents_with_conflicts) == (0, 0, 0)
        told = (await desk.events("document_conflict_resolved"))[-1]["payload"]
        assert (told["resolution"], {each["status"] for each in told["conflicts"]}) == ("superseded", {"superseded"})
        # The document goes on: edits on what can be read, and later versions with it.
        assert (await desk.edit("eve", baseVersion=head, changes={"after": 1})).status == "applied"
        assert (await desk.edit("ben", baseVersion=head, changes={"later": 1})).status == "applied"
        assert (await desk.edit("ben", baseVersion=head - 1, changes={"x": 1})).reason == "compacted"
        partly = await desk.edit("ben", baseVersion=head - 1, base={"after": 0}, changes={"after": 2, "y": 1})
        assert partly.reason == "compacted"
        whole = await desk.edit("ben", baseVersion=head - 1, base={"after": 0}, changes={"after": 2})
        [conflict] = to_builtins(whole.conflicts)
        assert (whole.status, conflict["baseValue"], conflict["currentValue"]) == ("merged", 0, 1)
        assert (await desk.read(version=head + 1)).data == before | {"after": 1}
        assert (await desk.edit("ben", changeId="b1", baseVersion=1, changes={"note": "zero one two\nthree"})).duplicate
    assert office.verified() == "erased"


async def test_what_is_others_stays(office: Office) -> None:
    """Others' entries, conflicts, remembered answers and snapshots before he wrote are kept as they are."""
    async with office.desk() as desk:
        await desk.create(by="eve", title="T", note="N", mine="")
        for number in range(2, 56):
            await desk.edit("eve", baseVersion=number - 1, changes={"n": number})
        clash: dict[str, Any] = {"baseVersion": 1, "changes": {"title": "Ben"}, "changeId": "b1", "strategy": "manual"}
        await desk.edit("eve", baseVersion=55, changes={"title": "Eve"})
        assert (await desk.edit("ben", **clash)).status == "parked"
        await desk.edit("ada", baseVersion=56, changes={"mine": CANARY})
        await desk.edit("eve", baseVersion=57, changes={"mine": "other", "note": "late"})
        opened = await desk.opened()
    assert await office.erase() == Erased(entries=1, conflicts=0, changes=1, snapshots=0)
    async with office.desk() as desk:
        assert await desk.opened() == opened
        told = await desk.documents.history(member("eve"), "d1", after=0, limit=1000)
        assert [each.version for each in told.entries if "ops" not in to_builtins(each)] == [57]
        _, readable = await shown(desk)
        assert readable == [*range(1, 57), 58]
        again = await desk.edit("ben", **clash)
        assert again.duplicate
        assert to_builtins(again)["conflicts"][0]["currentValue"] == "Eve"


async def test_a_conflict_of_others_on_his_words_can_still_be_decided(office: Office) -> None:
    """What he had written is taken out of what two others saw; both their values are there to decide about."""
    async with office.desk() as desk:
        await desk.create(by="ada", title=f"{CANARY} title")
        await desk.edit("eve", baseVersion=1, changes={"title": "Eve"})
        await desk.edit("ben", baseVersion=1, changes={"title": "Ben"}, strategy="manual")
    assert (await office.erase()).conflicts == 1
    assert office.holding(CANARY) == {}
    async with office.desk() as desk:
        (conflict,) = await desk.opened()
        values = (conflict["baseValue"], conflict["currentValue"], conflict["incomingValue"])
        assert (values, conflict["absent"], conflict["rev"]) == ((None, "Eve", "Ben"), ["base"], 2)
        decision = {"conflictId": conflict["conflictId"], "rev": 2, "take": "incoming"}
        await desk.resolve("eve", decisions=[decision])
        assert await desk.data() == {"title": "Ben"}
    assert office.verified() == "erased"


async def test_what_came_back_is_erased_by_erasing_again(office: Office) -> None:
    """What a document held then was stored whole; edited away, it goes with the next time."""
    async with office.desk() as desk:
        await desk.create(by="ada", title=CANARY)
    await office.erase()
    assert {key.split()[0] for key in office.holding(CANARY)} == {"documents", "snapshots"}
    async with office.desk() as desk:
        await desk.edit("eve", baseVersion=1, changes={"title": "clean"})
    await office.erase()
    assert office.holding(CANARY) == {}


async def test_a_decision_names_whose_change_it_was_about(office: Office) -> None:
    """Also once the conflict itself is no longer kept, its decision is known to carry his value."""
    async with office.desk() as desk:
        await desk.create(by="eve", title="T")
        await desk.edit("eve", baseVersion=1, changes={"title": "E"})
        await desk.edit("ada", baseVersion=1, changes={"title": CANARY}, strategy="manual")
        await desk.resolve("eve", resolution="overwrite")
        await clear(desk)
    with sqlite3.connect(office.file) as connection:
        assert connection.execute("DELETE FROM records WHERE collection = 'conflicts.decided'").rowcount == 1
    await office.erase()
    assert office.holding(CANARY) == {}


async def test_a_conflict_with_him_keeps_no_value_at_all(office: Office) -> None:
    """A yes or no of his has no words to be recognised by; that he was a party is enough."""
    async with office.desk() as desk:
        await desk.create(by="eve", agreed="?")
        await desk.edit("ada", baseVersion=1, changes={"agreed": True})
        await desk.edit("eve", baseVersion=1, changes={"agreed": False})
    await office.erase()
    async with office.desk() as desk:
        (conflict,) = await desk.opened(with_decided=True)
    assert (conflict["userId"], conflict["status"]) == ("ada", "auto_resolved")
    assert (conflict["baseValue"], conflict["currentValue"], conflict["incomingValue"]) == (None, None, None)


async def test_what_erasing_stored_whole_goes_with_its_time(office: Office) -> None:
    """It lies between the regular snapshots, and is outlived as they are."""
    async with office.desk() as desk:
        await desk.create(by="ada", title="first")
        await desk.edit("eve", baseVersion=1, changes={"title": "mark"})
    await office.erase()
    assert "snapshots d1\x1f0000000000000002" in office.holding("mark")
    async with office.desk(DocumentRules(policy=PLAIN, keeping=Keeping(versions=50, age_ms=0))) as desk:
        for number in range(2, 110):
            await desk.edit("eve", baseVersion=number, changes={"title": f"t{number}"})
    assert [key for key in office.holding("mark") if key.startswith("snapshots")] == []
    assert office.verified() == "intact"


async def test_erasing_is_no_retention(office: Office) -> None:
    """How long events are kept is for who serves them to say: whoever erases takes no old ones along."""
    kept = Retention(age_ms=30 * DAY_MS)
    old = SqliteEngine(
        str(office.file), retention=kept, clock=lambda: time.time_ns() // 1_000_000 - 10 * DAY_MS, ballast_bytes=0
    )
    await old.start(RecordingSink())
    drafts = [Draft(f"evt_{number}", bytes(32), ("notification",), b"{}") for number in range(3)]
    await old.commit(LogName("another"), Commit(events=drafts))
    await old.close()
    async with office.desk(retention=kept) as desk:
        await desk.create(by="ada", title="T")
    await office.erase()
    engine = SqliteEngine(str(office.file), retention=kept, ballast_bytes=0)
    await engine.start(RecordingSink())
    try:
        assert len((await engine.read(LogName("another"), 0, 1 << 20)).entries) == 3
    finally:
        await engine.close()


async def test_an_organization_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A name that was mistyped erases nothing, says so, and makes no log."""
    office = Office(tmp_path)
    async with office.desk() as desk:
        await desk.create(title="x")
    code, out, err = await run(
        "erase-user", "ada", "--organization", "org12", "--database", str(office.file), cwd=tmp_path
    )
    assert (code, out) == (2, "")
    assert "there is no organization 'org12'" in err
    with sqlite3.connect(office.file) as connection:
        assert connection.execute("SELECT count(*) FROM logs WHERE name = 'org12'").fetchone() == (0,)


async def test_what_is_on_redis_is_verified_and_erased(tmp_path: Path) -> None:
    """By the settings that the nodes have: verified beside them, erased when all are gone; the values are in no record any more."""
    url, prefix = shared_server().url, fresh_prefix()
    redis = ("--redis", url, "--redis-prefix", prefix)
    verify = ("verify-document", "d1", "--organization", ORGANIZATION, *redis)
    erase = ("erase-user", "ada", "--organization", ORGANIZATION, *redis)
    async with serving(tmp_path, *redis) as node:
        target = f"/api/realtime/documents/d1/edits?userId=ada&organizationId={ORGANIZATION}"
        for number, title in enumerate((CANARY, "plain")):
            body = encode({"changeId": f"c{number}", "baseVersion": number, "changes": {"title": title}})
            answer = await call(node.port, "POST", target, {"Content-Type": "application/json"}, body)
            assert answer.status == 200, answer.body
        code, out, err = await run(*verify, cwd=tmp_path)
        assert code == 0, err
        assert (json.loads(out)["integrity"], json.loads(out)["version"]) == ("intact", 2)
        code, _, err = await run(*erase, cwd=tmp_path)
        assert code == 1
        assert "nodes use these servers" in err
        assert await node.terminate() == 0
    code, out, err = await run(*erase, cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["entries"] == 2
    code, out, err = await run(*verify, cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["integrity"] == "erased"
    engine = RedisEngine([url], prefix=prefix)
    await engine.start(RecordingSink())
    try:
        collections = [Range(name, "", "\U0010ffff", 100) for name in (HISTORY, SNAPSHOTS, CHANGES, DOCUMENTS)]
        snapshot = await engine.records(LogName(ORGANIZATION), collections)
        found = [record for result in snapshot.results for record in result]
        assert len(found) >= 3
        assert [record.key for record in found if CANARY.encode() in record.value] == []
    finally:
        await engine.close()
