"""Edits: every outcome, each answered once and for all, one after the other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.json import encode

from signtusk_realtime.documents.policy import SIGNING
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import Commit, Committed, LogName, Reused, Stale
from signtusk_realtime.operations.documents import records
from signtusk_realtime.protocol.edits import EditOutcome
from tests.support.desks import Desk, read_shelf

pytestmark = pytest.mark.virtual_clock


def told(outcome: EditOutcome) -> dict[str, Any]:
    """Give an outcome as it is on the wire."""
    value: dict[str, Any] = json.loads(encode(outcome))
    return value


async def test_creation_makes_version_one_and_repeats_as_noop(desk: Desk) -> None:
    """Base 0 creates; the same content again is a noop, another is already_exists, and neither makes a version."""
    await desk.create(title="NDA", n=1)
    same = await desk.edit("bob", baseVersion=0, changes={"n": 1.0, "title": "NDA"})
    other = await desk.edit("bob", baseVersion=0, changes={"title": "other"})
    assert (same.status, same.version, same.duplicate) == ("noop", 1, False)
    assert (other.status, other.code, other.version) == ("refused", "already_exists", 1)
    [created] = await desk.events()
    assert created["type"] == "document_created"
    assert created["payload"].keys() == {"documentId", "version", "changeId", "userId", "ops", "changes"}
    assert (await desk.read()).version == 1


async def test_an_unknown_document_is_only_created(desk: Desk) -> None:
    """Any edit but a creation of a document that is not there is refused, and says no version."""
    for body in ({"baseVersion": 1}, {}, {"base": {"title": "x"}}):
        outcome = await desk.edit(changes={"title": "x"}, **body)
        assert (outcome.code, outcome.version) == ("unknown_document", UNSET)
    outcome = await desk.edit(baseVersion=0, ifVersion=3, changes={})
    assert (outcome.code, outcome.reason) == ("version_mismatch", "precondition")
    outcome = await desk.edit(baseVersion=0, epoch="x", changes={})
    assert (outcome.code, outcome.reason) == ("version_mismatch", "epoch")
    assert (await read_shelf(desk.engine)).everything == {}


async def test_every_outcome_and_its_event(desk: Desk) -> None:
    """applied, merged, noop, parked, rejected and refused, each with its version, conflicts and operations."""
    await desk.create(title="NDA", note="a")
    assert (await desk.edit("bob", baseVersion=1, changes={"title": "B"})).status == "applied"
    merged = told(await desk.edit("cy", baseVersion=1, changes={"title": "C", "n": 1}))
    assert (merged["status"], merged["version"]) == ("merged", 3)
    [conflict] = merged["conflicts"]
    assert (conflict["userId"], conflict["incomingUserId"], conflict["status"]) == ("bob", "cy", "auto_resolved")
    assert merged["ops"] == [{"op": "set", "path": "/title", "value": "C"}, {"op": "set", "path": "/n", "value": 1}]
    noop = told(await desk.edit("cy", baseVersion=3, changes={"title": "C"}))
    assert (noop["status"], noop["version"], noop["ops"], noop["conflicts"]) == ("noop", 3, [], [])
    parked = told(await desk.edit("di", baseVersion=1, strategy="manual", changes={"title": "D", "m": 2}))
    assert (parked["status"], parked["version"], parked["ops"]) == (
        "parked",
        4,
        [{"op": "set", "path": "/m", "value": 2}],
    )
    [conflict] = parked["conflicts"]
    assert (conflict["status"], conflict["currentValue"], conflict["suggested"]) == ("open", "C", "D")
    before = await read_shelf(desk.engine)
    rejected = told(await desk.edit("ed", baseVersion=1, strategy="reject", changes={"title": "E", "o": 3}))
    assert (rejected["status"], rejected["code"], rejected["version"], rejected["ops"]) == (
        "rejected",
        "conflict",
        4,
        [],
    )
    assert "conflictId" not in rejected["conflicts"][0]
    refused = told(await desk.edit("ed", baseVersion=9, changes={"title": "E"}))
    assert (refused["status"], refused["reason"], refused["version"]) == ("refused", "future", 4)
    after = await read_shelf(desk.engine)
    assert after.events == before.events
    assert len(after.everything) == len(before.everything) + 1, "a rejection is remembered, and a refusal is not"
    assert await desk.data() == {"title": "C", "note": "a", "n": 1, "m": 2}
    types = [event["type"] for event in after.events]
    assert types == ["document_created", "document_updated"] + ["document_updated", "document_conflict"] * 2
    assert [e["payload"]["requiresResolution"] for e in after.events if e["type"] == "document_conflict"] == [
        False,
        True,
    ]


async def test_an_edit_that_loses_everything_is_told_all_the_same(desk: Desk) -> None:
    """A merge that leaves the document as it is makes no version; its conflicts are kept and told."""
    await desk.create(body="one two three", list=[1])
    await desk.edit("bob", baseVersion=1, deletes=["/body"])
    [outcome] = [await desk.edit("cy", baseVersion=1, strategy="manual", changes={"body": "one two four"})]
    assert (outcome.status, outcome.version, outcome.ops) == ("parked", 2, ())
    assert len(await desk.opened()) == 1
    [conflict] = await desk.events("document_conflict")
    assert conflict["payload"]["version"] == 2


async def test_a_merge_that_changes_nothing_keeps_its_conflicts(desk: Desk) -> None:
    """A noop with conflicts: the records and their event are stored, the version stays."""
    await desk.create(items=[{"id": "a"}, {"id": "b"}, {"id": "c"}])
    ids = ["a", "b", "c"]
    await desk.edit("bob", baseVersion=1, changes={"items": [{"id": "c"}, {"id": "a", "v": 1}, {"id": "b"}]})
    outcome = await desk.edit("cy", baseVersion=1, deletes=["/items/a"])
    assert (outcome.status, outcome.version) == ("noop", 2)
    [conflict] = told(outcome)["conflicts"]
    assert (conflict["reason"], conflict["winner"], conflict["absent"]) == ("delete_vs_edit", "edit", ["incoming"])
    [kept] = await desk.opened(with_decided=True)
    assert kept["conflictId"] == conflict["conflictId"]
    assert [e["payload"]["conflicts"][0]["conflictId"] for e in await desk.events("document_conflict")] == [
        kept["conflictId"]
    ]
    assert len(ids) == len((await desk.data())["items"])


async def test_a_repeated_change_has_its_first_answer(desk: Desk) -> None:
    """Whatever came since, and whatever the outcome was: the same answer with duplicate true, and nothing is done again."""
    await desk.create(title="NDA")
    bodies: list[dict[str, Any]] = [
        {"changeId": "applied", "baseVersion": 1, "changes": {"title": "B"}},
        {"changeId": "merged", "baseVersion": 1, "changes": {"title": "C"}, "clientId": "x"},
        {"changeId": "parked", "baseVersion": 1, "changes": {"title": "D"}, "clientId": "y", "strategy": "manual"},
        {"changeId": "rejected", "baseVersion": 1, "changes": {"title": "E"}, "clientId": "z", "strategy": "reject"},
        {"changeId": "noop", "baseVersion": 3, "changes": {"title": "C"}},
    ]
    first = [told(await desk.edit("bob", **body)) for body in bodies]
    assert [each["status"] for each in first] == ["applied", "merged", "parked", "rejected", "noop"]
    await desk.edit("ann", baseVersion=3, changes={"title": "later"})
    before = await read_shelf(desk.engine)
    again = [told(await desk.edit("bob", **body)) for body in bodies]
    assert again == [each | {"duplicate": True} for each in first]
    assert await read_shelf(desk.engine) == before


async def test_another_payload_under_a_known_change_is_refused(desk: Desk) -> None:
    """change_id_reused, with head's version; of another user or client it is another change."""
    await desk.create(title="NDA")
    body: dict[str, Any] = {"changeId": "c", "baseVersion": 1, "changes": {"title": "B"}}
    await desk.edit("bob", **body)
    other = await desk.edit("bob", **body | {"changes": {"title": "X"}})
    assert (other.code, other.version) == ("change_id_reused", 2)
    assert (await desk.edit("bob", **body | {"strategy": "merge"})).code == "change_id_reused"
    assert (await desk.edit("cy", **body)).status == "noop"
    assert (await desk.edit("bob", **body, clientId="k")).status == "noop"


async def test_two_clients_of_a_user_leave_one_change_of_a_name_to_decide(desk: Desk) -> None:
    """The second would be kept where the first is: it is refused, nothing is lost, and another name or the decision lets it in."""
    await desk.create(title="x", note="x")
    await desk.edit("ann", baseVersion=1, changes={"title": "A", "note": "A"})
    first = await desk.edit(
        "bob", changeId="1", clientId="one", baseVersion=1, changes={"title": "B"}, strategy="manual"
    )
    assert first.status == "parked"
    second: dict[str, Any] = {"clientId": "two", "baseVersion": 1, "changes": {"note": "B"}, "strategy": "manual"}
    refused = await desk.edit("bob", changeId="1", **second)
    assert (refused.status, refused.code) == ("refused", "change_id_reused")
    assert (await desk.edit("cy", changeId="1", **second)).status == "parked"
    assert [(one["incomingUserId"], one["path"]) for one in await desk.opened()] == [("cy", "/note"), ("bob", "/title")]
    await desk.resolve(decisions=[{"conflictId": first.conflicts[0].conflict_id, "rev": 1, "take": "incoming"}])
    assert (await desk.edit("bob", changeId="1", **second)).status == "parked"


async def test_a_refusal_leaves_the_change_free(desk: Desk) -> None:
    """A change that was refused may come again, and with another payload."""
    await desk.create(title="NDA")
    assert (await desk.edit("bob", changeId="c", baseVersion=5, changes={"title": "B"})).status == "refused"
    assert (await desk.edit("bob", changeId="c", baseVersion=1, changes={"title": "C"})).status == "applied"


async def test_numbers_rise_without_gaps(desk: Desk) -> None:
    """Outcomes use their number up, refusals do not; a gap or a step back says what is expected, and lastSeq is read back."""
    await desk.create(title="NDA")

    async def go(seq: int, change: str, **body: Any) -> EditOutcome:
        asked: dict[str, Any] = {"baseVersion": 1, "changes": {"title": change}} | body
        return await desk.edit("bob", clientId="k", seq=seq, changeId=change, **asked)

    gap = await go(2, "a")
    assert (gap.code, gap.expected_seq, gap.version) == ("seq_gap", 1, 1)
    assert (await go(1, "a")).status == "applied"
    assert (await go(2, "b", baseVersion=7)).code == "version_mismatch"
    await desk.edit("ann", baseVersion=2, changes={"title": "ann"})
    assert (await go(2, "b", strategy="reject")).status == "rejected"
    assert (await go(3, "b2", baseVersion=3)).status == "applied"
    again = await go(1, "a")
    assert (again.status, again.duplicate) == ("applied", True)
    back = await go(2, "new")
    assert (back.code, back.expected_seq) == ("seq_gap", 4)
    assert (await desk.edit("cy", clientId="k", seq=1, baseVersion=4, changes={"t": 1})).status == "applied"
    assert (await desk.read(by="bob", client_id="k")).last_seq == 3
    assert (await desk.read(by="bob", client_id="other")).last_seq == 0
    assert (await desk.read(by="bob")).last_seq is UNSET


async def test_nobody_conflicts_with_himself(desk: Desk) -> None:
    """Edits in flight on one base: one client's own, by clientId or by connection, are part of what he saw; nobody's over HTTP."""
    await desk.create(title="NDA")
    for n in range(3):
        outcome = await desk.edit("bob", clientId="k", seq=n + 1, baseVersion=1, changes={"title": f"k{n}"})
        assert outcome.status == "applied"
    assert (await desk.edit("bob", clientId="other", baseVersion=1, changes={"title": "o"})).status == "merged"
    at = (await desk.read()).version
    for n in range(3):
        outcome = await desk.edit("bob", connection="conn_1", baseVersion=at, changes={"title": f"c{n}"})
        assert outcome.status == "applied"
    assert (await desk.edit("bob", connection="conn_2", baseVersion=at, changes={"title": "d"})).status == "merged"
    assert (await desk.edit("bob", baseVersion=at, changes={"title": "e"})).status == "merged"
    assert (await desk.edit("bob", baseVersion=at, changes={"title": "f"})).status == "merged"


async def test_a_connection_is_known_after_memory_forgot(desk: Desk, make_desk: Any) -> None:
    """Whose connection made a version stands in its history, not in memory that goes with the document."""
    await desk.create(title="NDA")
    assert (await desk.edit("bob", connection="conn_1", baseVersion=1, changes={"title": "B"})).version == 2
    other = make_desk()
    assert (await other.edit("bob", connection="conn_1", baseVersion=1, changes={"title": "C"})).status == "applied"


async def test_a_later_number_is_no_part_of_what_was_seen(desk: Desk) -> None:
    """An author's view has his commits with smaller numbers; numbers and their author are told apart by client."""
    await desk.create(title="NDA", note="n")
    await desk.edit("bob", clientId="k", seq=1, baseVersion=1, changes={"title": "k1"})
    await desk.edit("ann", baseVersion=2, changes={"title": "ann"})
    outcome = await desk.edit("bob", clientId="k", seq=2, baseVersion=1, changes={"title": "k2"})
    assert outcome.status == "merged"
    [conflict] = told(outcome)["conflicts"]
    assert (conflict["baseValue"], conflict["currentValue"], conflict["userId"]) == ("k1", "ann", "ann")


async def test_what_another_node_committed_is_seen(make_desk: Any) -> None:
    """Two nodes hold the same document; neither accepts an edit, refuses one, or answers noop from what it remembers."""
    one, two = make_desk(), make_desk()
    await one.create(title="NDA")
    assert (await two.edit("bob", baseVersion=1, changes={"title": "B"})).version == 2
    assert (await one.edit("ann", baseVersion=2, changes={"title": "A"})).version == 3, (
        "a base that node one has not seen"
    )
    rejected = await two.edit("bob", baseVersion=2, strategy="reject", changes={"title": "X"})
    assert (rejected.status, rejected.version) == ("rejected", 3)
    await one.move("sent")
    locked = await two.edit("bob", baseVersion=3, changes={"title": "X"})
    assert (locked.code, locked.state, locked.version) == ("document_locked", "sent", 4)
    reused = await one.edit("bob", changeId="r", baseVersion=1, changes={"title": "A"})
    assert (reused.code, reused.version) == ("document_locked", 4)


async def test_a_refusal_has_the_version_of_the_head(make_desk: Any) -> None:
    """Also of a reused change on a node that was left behind, and of an edit that is malformed."""
    one, two = make_desk(), make_desk()
    await one.create(title="NDA")
    await one.edit("ann", changeId="c", baseVersion=1, changes={"title": "A"})
    await two.edit("bob", baseVersion=2, changes={"title": "B"})
    assert (await one.edit("ann", changeId="c", baseVersion=1, changes={"title": "Z"})).version == 3
    for changes, code in (
        ({"__proto__": 1}, "invalid_path"),
        ({"/a/": 1, "/a": 2}, "invalid_path"),
        ({"n": 2**60}, "invalid_value"),
    ):
        outcome = await one.edit(baseVersion=1, changes=changes)
        assert (outcome.code, outcome.version) == (code, 3)


async def test_two_nodes_at_once_make_one_history(make_desk: Any) -> None:
    """Edits of both nodes in flight together: each is answered once, with a version of its own."""
    desks = [make_desk(), make_desk()]
    await desks[0].create(count=0)
    outcomes = await asyncio.gather(
        *(desks[n % 2].edit(f"u{n}", baseVersion=1, changes={f"f{n}": n, "count": n}) for n in range(12))
    )
    assert sorted(each.version for each in outcomes) == list(range(2, 14))
    data = await desks[0].data()
    assert {f"f{n}" for n in range(12)} < data.keys()


class Overtaken:
    """An engine before which, on every commit of a document, somebody else was faster."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asked = 0
        self.times: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        self.asked += 1
        if self.times is None or self.asked <= self.times:
            top = (await self._engine.records(log, [])).top
            return Stale(top, [key for key, _ in commit.expect[:1]])
        return await self._engine.commit(log, commit)


async def test_sixteen_stale_answers_are_contention(engine: Engine, make_desk: Any, clock: Any) -> None:
    """The sixteenth stale answer ends it, nothing is stored, and the same change may come again; fifteen are borne."""
    await make_desk().create(title="NDA")
    before = await read_shelf(engine)
    overtaken = Overtaken(engine)
    desk = Desk(overtaken, clock)
    refused = await desk.edit("bob", changeId="c", baseVersion=1, changes={"title": "B"})
    assert (refused.status, refused.code, refused.version, overtaken.asked) == ("refused", "contention", 1, 16)
    assert await read_shelf(engine) == before
    overtaken.asked, overtaken.times = 0, 15
    assert (await desk.edit("bob", changeId="c", baseVersion=1, changes={"title": "B"})).version == 2
    await desk.close()


async def test_conflicts_of_many_documents_at_once(make_desk: Any) -> None:
    """The organization's count is one record: who opens conflicts on other documents at the same time is not turned away for it."""
    desks = [make_desk(), make_desk()]
    names = [f"d{n}" for n in range(30)]
    for name in names:
        await desks[0].create(name, title="NDA")
        await desks[0].edit("ann", name, baseVersion=1, changes={"title": "A"})
    edits = [
        desks[n % 2].edit("bob", name, baseVersion=1, strategy="manual", changes={"title": "B"})
        for n, name in enumerate(names)
    ]
    assert {each.status for each in await asyncio.gather(*edits)} == {"parked"}
    assert (await desks[0].documents.store.statistics(LogName("org123")))[0] == records.Statistics(30, 30, 30)


async def test_a_large_document_is_worked_on_elsewhere(desk: Desk) -> None:
    """Beyond some size the loop goes on meanwhile; outcome and limit are the same."""
    text = "word " * 60_000
    await desk.create(body=text, **{f"f{n}": "x" * 100 for n in range(100)})
    assert (await desk.edit("bob", baseVersion=1, changes={"body": "A " + text})).status == "applied"
    outcome = await desk.edit("cy", baseVersion=1, changes={"f1": "C"})
    assert (outcome.status, outcome.version) == ("applied", 3)
    assert (await desk.data()).items() > {"body": "A " + text, "f1": "C"}.items()
    large = await desk.edit("cy", baseVersion=3, changes={"blob": "y" * (1 << 20)})
    assert (large.code, large.version) == ("document_too_large", 3)
    created = await desk.edit("cy", "d2", baseVersion=0, changes={"blob": "y" * (1 << 20)})
    assert created.code == "document_too_large"
    events = await desk.events("document_updated")
    assert events[0]["payload"]["truncated"] is True
    assert "changes" not in events[0]["payload"]


async def test_events_say_what_assign_needs(desk: Desk) -> None:
    """`changes` holds each touched top-level field whole, after the merge; `removed` the fields that are gone."""
    await desk.create(meta={"a": 1, "b": 2}, title="x")
    await desk.edit("bob", baseVersion=1, changes={"/meta/a": 5}, deletes=["title"])
    payload = (await desk.events("document_updated"))[0]["payload"]
    assert payload["changes"] == {"meta": {"a": 5, "b": 2}}
    assert payload["removed"] == ["title"]
    assert payload["ops"] == [{"op": "set", "path": "/meta/a", "value": 5}, {"op": "delete", "path": "/title"}]


async def test_a_policy_is_stricter_than_the_request(make_desk: Any) -> None:
    """Where the policy guards, its word holds; the members of the rest go their own way."""
    desk = make_desk(policy=SIGNING)
    await desk.create(recipients=[{"id": "r1", "email": "a@x", "order": 1}], title="t", amount=1)
    at = {"baseVersion": 1}
    await desk.edit("bob", **at, changes={"/recipients/r1/email": "b@x", "title": "B"})
    parked = told(
        await desk.edit("cy", **at, strategy="overwrite", changes={"/recipients/r1/email": "c@x", "title": "C"})
    )
    assert parked["status"] == "parked"
    assert {c["path"]: c["status"] for c in parked["conflicts"]} == {
        "/recipients/r1/email": "open",
        "/title": "auto_resolved",
    }
    assert json.dumps(await desk.data()).count("b@x") == 1


async def test_another_spelling_is_no_change(desk: Desk) -> None:
    """1.0 for 1 beside a real change, on an up-to-date base: what is stored is what the operations make, as replicas have it."""
    await desk.create(title="NDA", n=1)
    outcome = await desk.edit("bob", baseVersion=1, changes={"title": "B", "n": 1.0})
    assert told(outcome)["ops"] == [{"op": "set", "path": "/title", "value": "B"}]
    assert json.dumps((await desk.data())["n"]) == "1"
