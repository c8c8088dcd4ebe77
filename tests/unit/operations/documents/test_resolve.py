"""Conflicts to their end: kept, brought up to date, superseded, decided once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.json import encode

from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.events.log import LogName
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.operations.documents.resolve import DecisionRefused
from signtusk_realtime.protocol.edits import ResolveBody
from signtusk_realtime.sessions.identity import Identity
from tests.support.desks import ORGANIZATION, Desk, read_shelf

pytestmark = pytest.mark.virtual_clock


async def parked(desk: Desk, **changes: Any) -> list[dict[str, Any]]:
    """Make a document with one change parked against another's; give its open records."""
    await desk.create(title="NDA", note="n", tags=["a"])
    await desk.edit("bob", baseVersion=1, changes={"title": "B", "note": "b"})
    outcome = await desk.edit("cy", baseVersion=1, strategy="manual", changes=changes or {"title": "C"})
    assert (outcome.status, outcome.version) == ("parked", 2)
    return await desk.opened()


async def counts(desk: Desk) -> Statistics:
    return (await desk.documents.store.statistics(LogName(ORGANIZATION)))[0]


async def refusal(asked: Any) -> Refused:
    """Wait for what must be refused."""
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value


@pytest.mark.parametrize(("word", "title"), [("merge", "C"), ("overwrite", "C"), ("reject", "B")])
async def test_one_word_decides_all(desk: Desk, word: str, title: str) -> None:
    """Always one version for all of them, also where the content stays, with both events; a second call finds nothing open."""
    await parked(desk, title="C", note="c")
    assert await counts(desk) == Statistics(2, 1, 1)
    answer = await desk.resolve("di", resolution=word)
    assert (answer.success, answer.resolution, answer.resolved_by, answer.version) == (True, word, "di", 3)
    assert (await desk.data())["title"] == title
    assert await desk.opened() == []
    assert await counts(desk) == Statistics()
    everything = await desk.opened(with_decided=True)
    assert {(r["status"], r["resolvedBy"]) for r in everything} == {("resolved", "di")}
    *_, version, resolved = await desk.events()
    assert (version["type"], version["payload"]["version"], version["userId"]) == ("document_updated", 3, "di")
    assert resolved["type"] == "document_conflict_resolved"
    assert resolved["payload"].keys() == {"documentId", "version", "resolution", "resolvedBy", "conflicts"}
    assert len(resolved["payload"]["conflicts"]) == 2
    again = await refusal(desk.resolve("ed", resolution=word))
    assert (again.code, again.message) == ("no_active_conflicts", "No active conflicts found for document d1")


async def test_manual_decides_nothing(desk: Desk) -> None:
    """The word manual answers with head's version, and everything stays open."""
    await parked(desk)
    before = await read_shelf(desk.engine)
    assert (await desk.resolve(resolution="manual")).version == 2
    assert await read_shelf(desk.engine) == before


async def test_decisions_one_by_one(desk: Desk) -> None:
    """Each as it is told, in one version; the rest stays open, and the whole change is kept for it."""
    records = {record["path"]: record for record in await parked(desk, title="C", note="c")}
    assert set(records) == {"/title", "/note"}
    decide = {"conflictId": records["/title"]["conflictId"], "rev": 1, "take": "value", "value": "between"}
    answer = await desk.resolve("di", decisions=[decide])
    assert (answer.resolution, answer.version) == ("manual", 3)
    assert (await desk.data())["title"] == "between"
    [left] = await desk.opened()
    assert left["path"] == "/note"
    assert await counts(desk) == Statistics(1, 1, 1)
    answer = await desk.resolve("di", decisions=[{"conflictId": left["conflictId"], "rev": 1, "take": "incoming"}])
    assert (answer.resolution, (await desk.data())["note"]) == ("overwrite", "c")


async def test_refused_decisions_change_nothing(desk: Desk) -> None:
    """Unknown, stale, decided twice, without its value: all or none, and the fresh record is shown where there is one."""
    await parked(desk, title="C", note="c")
    note, title = sorted(await desk.opened(), key=lambda record: record["path"])
    await desk.edit("bob", baseVersion=2, changes={"title": "B2"})
    good = {"conflictId": note["conflictId"], "rev": 1, "take": "current"}
    before = await read_shelf(desk.engine)
    cases: list[tuple[dict[str, Any], str, int | None]] = [
        ({"conflictId": "nothing", "rev": 1, "take": "current"}, "unknown_conflict", None),
        ({"conflictId": title["conflictId"], "rev": 1, "take": "current"}, "conflict_changed", 2),
        ({"conflictId": title["conflictId"], "rev": 2, "take": "value"}, "invalid_message", 2),
        ({"conflictId": title["conflictId"], "rev": 2, "take": "current", "value": 1}, "invalid_message", 2),
        (good, "invalid_message", 1),
    ]
    for decision, code, rev in cases:
        error = await refusal(desk.resolve(decisions=[good, decision]))
        assert isinstance(error, DecisionRefused)
        assert (error.code, None if error.conflict is None else error.conflict.rev) == (code, rev)
    for body in ({}, {"decisions": []}, {"resolution": "merge", "decisions": [good]}):
        with pytest.raises(InvalidInput):
            await desk.resolve(**body)
    bad = await refusal(desk.resolve(decisions=[good | {"take": "value", "value": 2**60}]))
    assert bad.code == "invalid_value"
    assert (await refusal(desk.resolve(document="d9", resolution="merge"))).code == "unknown_document"
    assert await read_shelf(desk.engine) == before


async def test_an_edit_that_an_invariant_parked_is_decided_once(desk: Desk) -> None:
    """Dropped by one of its records it is dropped: the others are superseded, and none can apply it any more."""
    fields = [{"id": "f", "recipientId": "r1"}, {"id": "g", "recipientId": "r1"}]
    await desk.create(title="NDA", recipients=[{"id": "r1"}, {"id": "r2"}], signatureFields=fields)
    await desk.edit("bob", baseVersion=1, deletes=["/recipients/r2"])
    wanted = {"/signatureFields/f/recipientId": "r2", "/signatureFields/g/recipientId": "r2", "title": "Two"}
    await desk.edit("cy", baseVersion=1, changes=wanted)
    before = await desk.data()
    one, other = ({"conflictId": record["conflictId"], "rev": 1} for record in await desk.opened())
    mixed = await refusal(desk.resolve(decisions=[one | {"take": "incoming"}, other | {"take": "current"}]))
    assert (mixed.code, mixed.conflict_id) == ("invalid_message", other["conflictId"])
    await desk.resolve("ed", decisions=[one | {"take": "current"}])
    assert await desk.opened() == []
    late = await refusal(desk.resolve("ed", decisions=[other | {"take": "incoming"}]))
    assert isinstance(late, DecisionRefused)
    assert (late.code, late.conflict and late.conflict.status) == ("already_resolved", "superseded")
    assert await desk.data() == before
    *_, event = await desk.events()
    assert (event["payload"]["resolution"], len(event["payload"]["conflicts"])) == ("superseded", 1)


@pytest.mark.parametrize(
    "cleared", [{"changes": {"/signatureFields/f/recipientId": "r1"}}, {"deletes": ["/signatureFields/f"]}]
)
async def test_an_obstacle_that_is_cleared_away_leaves_the_edit_to_be_decided(desk: Desk, cleared: Any) -> None:
    """The one place of its record becomes what the edit wanted, or goes: what else the edit holds is lost only if somebody says so."""
    fields = [{"id": "f", "recipientId": "r1"}]
    await desk.create(title="NDA", recipients=[{"id": "r1"}, {"id": "r2"}], signatureFields=fields)
    await desk.edit("bob", baseVersion=1, changes={"/signatureFields/f/recipientId": "r2"})
    parked = await desk.edit("cy", baseVersion=1, deletes=["/recipients/r2"], changes={"title": "Two"})
    assert parked.status == "parked"
    await desk.edit("di", baseVersion=2, **cleared)
    [record] = await desk.opened()
    assert (record["rev"], record["incomingUserId"]) == (2, "cy")
    await desk.resolve("ed", decisions=[{"conflictId": record["conflictId"], "rev": 2, "take": "incoming"}])
    data = await desk.data()
    assert (data["title"], data["recipients"]) == ("Two", [{"id": "r1"}])
    assert await desk.opened() == []


@pytest.mark.parametrize(("word", "left"), [("overwrite", ["r1"]), ("merge", ["r1", "r2"])])
async def test_a_parked_deletion_that_is_taken_deletes(desk: Desk, word: str, left: list[str]) -> None:
    """Also what somebody edited since: he who decides has taken the change as it was sent. A merge lets the edit win, as ever."""
    fields = [{"id": "f", "recipientId": "r1"}]
    await desk.create(title="NDA", recipients=[{"id": "r1"}, {"id": "r2", "name": "Bo"}], signatureFields=fields)
    await desk.edit("bob", baseVersion=1, changes={"/signatureFields/f/recipientId": "r2"})
    await desk.edit("cy", baseVersion=1, deletes=["/recipients/r2"], changes={"title": "Two"})
    await desk.edit("di", baseVersion=2, changes={"/recipients/r2/name": "Bob"})
    await desk.resolve("ed", resolution=word)
    data = await desk.data()
    assert (data["title"], [each["id"] for each in data["recipients"]]) == ("Two", left)


async def test_a_record_suggests_nothing_that_was_made_of_another_value(desk: Desk) -> None:
    """What stands there changes: the old suggestion would undo that. Taking the merge makes it anew."""
    await desk.create(body="one two three four")
    await desk.edit("bob", baseVersion=1, changes={"body": "1 two three four"})
    await desk.edit("cy", baseVersion=1, strategy="manual", changes={"body": "one two 3 four"})
    [first] = await desk.opened()
    assert first["suggested"] == "1 two 3 four"
    await desk.edit("bob", baseVersion=2, changes={"body": "1 two three IV"})
    [second] = await desk.opened()
    assert (second["currentValue"], "suggested" in second, "hunks" in second) == ("1 two three IV", False, False)
    await desk.resolve("ed", resolution="merge")
    assert (await desk.data())["body"] == "1 two 3 IV"


async def test_decisions_are_carried_out_in_their_order(desk: Desk) -> None:
    """Of three about one place the last one counts, whoever's changes they are."""
    await desk.create(title="NDA")
    await desk.edit("ann", baseVersion=1, changes={"title": "A"})
    for by, title in (("bob", "B1"), ("cy", "C"), ("bob", "B2")):
        await desk.edit(by, baseVersion=1, strategy="manual", changes={"title": title})
    by_value = {record["incomingValue"]: record for record in await desk.opened()}
    decisions = [
        {"conflictId": by_value[title]["conflictId"], "rev": 1, "take": "incoming"} for title in ("B1", "C", "B2")
    ]
    await desk.resolve("ed", decisions=decisions)
    assert (await desk.data())["title"] == "B2"


ROWS: Any = [{"id": "a", "name": "A"}, {"id": "b", "name": "B"}, {"id": "c", "name": "C"}]
FIELD: Any = {"id": "f", "page": 1, "x": 1, "y": 1, "label": "l"}


@pytest.mark.parametrize(
    ("by_ann", "by_bob", "by_cy", "path"),
    [
        (
            {"/recipients/a/name": "Ann's"},
            {"recipients": [ROWS[1], ROWS[0] | {"name": "Ann's"}, ROWS[2]]},
            {"/recipients/a/name": "Cy's"},
            "/recipients/a/name",
        ),
        (
            {"/signatureFields/f/x": 2},
            {"/signatureFields/f/label": "other"},
            {"/signatureFields/f/y": 3},
            "/signatureFields/f/(page,x,y)",
        ),
        (
            {"recipients": [ROWS[2], ROWS[0], ROWS[1]]},
            {"/recipients/a/name": "Bob's"},
            {"recipients": [ROWS[1], ROWS[0], ROWS[2]]},
            "/recipients/#order",
        ),
    ],
    ids=["a leaf, and an order since", "a group, and another member since", "an order, and an element since"],
)
async def test_a_conflict_names_who_changed_its_place(
    desk: Desk, by_ann: Any, by_bob: Any, by_cy: Any, path: str
) -> None:
    """The last who changed the path itself, not one who changed something beside it later."""
    await desk.create(recipients=ROWS, signatureFields=[FIELD])
    assert (await desk.edit("ann", baseVersion=1, changes=by_ann)).version == 2
    assert (await desk.edit("bob", baseVersion=2, changes=by_bob)).version == 3
    outcome = await desk.edit("cy", baseVersion=1, strategy="manual", changes=by_cy)
    assert [(each.path, each.user_id) for each in outcome.conflicts] == [(path, "ann")]


async def test_a_field_that_goes_and_comes_back_stays_in_its_place(desk: Desk) -> None:
    """One decision takes it away, the next, of another author, brings it back: the document is what replicas have, in the order of its fields too."""
    await desk.create(title="NDA", note="n")
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    await desk.edit("cy", baseVersion=1, strategy="manual", deletes=["title"])
    await desk.edit("di", baseVersion=1, strategy="manual", changes={"title": "D"})
    by = {record["incomingUserId"]: record for record in await desk.opened()}
    decisions = [{"conflictId": by[user]["conflictId"], "rev": 1, "take": "incoming"} for user in ("cy", "di")]
    await desk.resolve("ed", decisions=decisions)
    assert list((await desk.data()).items()) == [("title", "D"), ("note", "n")]


async def test_the_second_resolver_is_told(desk: Desk, make_desk: Any) -> None:
    """already_resolved with the record as it was decided, on either node; at once, one of two wins."""
    [record] = await parked(desk)
    other = make_desk()
    decision = {"conflictId": record["conflictId"], "rev": 1, "take": "incoming"}
    results = await asyncio.gather(
        desk.resolve("di", decisions=[decision]),
        other.resolve("ed", decisions=[decision | {"take": "current"}]),
        return_exceptions=True,
    )
    [lost] = [each for each in results if isinstance(each, DecisionRefused)]
    [won] = [each for each in results if not isinstance(each, BaseException)]
    assert lost.code == "already_resolved"
    assert lost.conflict is not None
    assert (lost.conflict.status, lost.conflict.resolved_by) == ("resolved", won.resolved_by)
    assert (await desk.read()).version == 3


async def test_the_same_call_has_the_same_answer(desk: Desk) -> None:
    """By its changeId; with another content it is reused."""
    await parked(desk)
    first = await desk.resolve("di", changeId="x", resolution="overwrite")
    before = await read_shelf(desk.engine)
    assert await desk.resolve("di", changeId="x", resolution="overwrite") == first
    assert (await refusal(desk.resolve("di", changeId="x", resolution="merge"))).code == "change_id_reused"
    assert (await desk.edit("di", changeId="x", baseVersion=3, changes={"n": 1})).code == "change_id_reused"
    assert await read_shelf(desk.engine) == before


async def test_an_open_record_follows_the_field(desk: Desk) -> None:
    """An up-to-date edit of the path: rev + 1, the value of now, told again; a further conflict opens its own record."""
    [record] = await parked(desk)
    await desk.edit("bob", baseVersion=2, changes={"title": "B2"})
    [fresh] = await desk.opened()
    assert (fresh["conflictId"], fresh["rev"], fresh["currentValue"]) == (record["conflictId"], 2, "B2")
    told = (await desk.events("document_conflict"))[-1]["payload"]
    assert (told["conflicts"], told["requiresResolution"], told["version"]) == ([fresh], True, 3)
    await desk.edit("di", baseVersion=2, strategy="manual", changes={"title": "D"})
    assert {r["incomingValue"] for r in await desk.opened()} == {"C", "D"}
    assert await counts(desk) == Statistics(2, 2, 1)
    answer = await desk.resolve("ed", decisions=[{"conflictId": record["conflictId"], "rev": 2, "take": "incoming"}])
    [left] = await desk.opened()
    assert (answer.version, left["rev"], left["currentValue"]) == (4, 2, "C")


@pytest.mark.parametrize("edit", [{"changes": {"title": "C"}}, {"deletes": ["title"]}])
async def test_a_record_with_nothing_left_to_decide_is_superseded(desk: Desk, edit: dict[str, Any]) -> None:
    """The values became equal, or the path went: told as resolved, open no more, not to be decided."""
    [record] = await parked(desk)
    await desk.edit("bob", baseVersion=2, **edit)
    assert await desk.opened() == []
    assert await counts(desk) == Statistics()
    [told] = [event["payload"] for event in await desk.events("document_conflict_resolved")]
    assert (told["resolution"], told["resolvedBy"], told["conflicts"][0]["status"]) == (
        "superseded",
        "bob",
        "superseded",
    )
    error = await refusal(desk.resolve(decisions=[{"conflictId": record["conflictId"], "rev": 1, "take": "current"}]))
    assert error.code == "already_resolved"


async def test_an_invariant_parks_the_whole_edit(desk: Desk) -> None:
    """Incoming applies the parked change, also after an up-to-date edit and on another node; current drops it."""
    for document, take in (("d1", "incoming"), ("d2", "current")):
        await desk.create(document, recipients=[{"id": "r1"}, {"id": "r2"}], signatureFields=[])
        await desk.edit(
            "bob", document, baseVersion=1, changes={"/signatureFields/f1": {"id": "f1", "recipientId": "r2"}}
        )
        outcome = await desk.edit("cy", document, baseVersion=1, changes={"title": "x"}, deletes=["/recipients/r2"])
        assert (outcome.status, outcome.version, outcome.ops) == ("parked", 2, ())
        await desk.edit("bob", document, baseVersion=2, changes={"note": "after"})
        [record] = await desk.opened(document)
        await desk.resolve(
            document=document, decisions=[{"conflictId": record["conflictId"], "rev": record["rev"], "take": take}]
        )
        data = await desk.data(document)
        assert ("title" in data, len(data["recipients"])) == ((True, 1) if take == "incoming" else (False, 2))
        assert data["note"] == "after"


async def test_in_whose_name(desk: Desk) -> None:
    """Another's name needs the scope to publish; a guest needs the action."""
    await parked(desk)
    answer = await desk.resolve("di", resolution="merge", resolvedBy="boss")
    assert answer.resolved_by == "boss"
    plain = Identity(user_id="di", organization_id=ORGANIZATION)
    with pytest.raises(Forbidden):
        await desk.documents.resolve(plain, "d1", ResolveBody(resolution="merge", resolved_by="boss"))
    assert (
        await refusal(desk.documents.resolve(plain, "d1", ResolveBody(resolution="merge")))
    ).code == "no_active_conflicts"


async def test_conflicts_survive_the_node(desk: Desk, make_desk: Any) -> None:
    """Another node that never saw them lists, counts and decides them."""
    [record] = await parked(desk)
    other = make_desk()
    assert await other.opened() == [record]
    await other.documents.statistics.start()
    assert other.documents.statistics.total == Statistics(1, 1, 1)
    assert (await other.resolve(resolution="overwrite")).version == 3
    assert other.documents.statistics.total == Statistics()
    assert json.loads(encode(await other.read()))["openConflicts"] == 0


@pytest.mark.parametrize("word", ["merge", "overwrite"])
async def test_a_part_of_a_parked_edit_that_has_no_place_is_not_lost(desk: Desk, word: str) -> None:
    """Another part of what an invariant parked lost what it lay in: the decision is refused, all stays open, and `reject` still drops it."""
    fields = [{"id": "f1", "recipientId": "r1"}, {"id": "f2", "label": "x"}]
    await desk.create(recipients=[{"id": "r1"}, {"id": "r2"}], signatureFields=fields)
    await desk.edit("bob", baseVersion=1, deletes=["/recipients/r2"])
    changes = {"/signatureFields/f1/recipientId": "r2", "/signatureFields/f2/label": "dear"}
    assert (await desk.edit("ann", baseVersion=1, changes=changes)).status == "parked"
    await desk.edit("cy", baseVersion=2, deletes=["/signatureFields/f2"])
    error = await refusal(desk.resolve("di", resolution=word))
    assert (error.code, error.path) == ("invalid_path", ("signatureFields", "f2", "label"))
    assert len(await desk.opened()) == 1
    assert (await desk.resolve("di", resolution="reject")).success
    assert await desk.opened() == []


@pytest.mark.parametrize("word", ["merge", "overwrite"])
async def test_what_cannot_stand_there_is_not_decided(desk: Desk, word: str) -> None:
    """The parent of a parked value is gone: a decision that would change nothing is refused, and the value stays open."""
    await desk.create(a={"b": {"x": 1}})
    await desk.edit("bob", baseVersion=1, deletes=["/a/b"])
    assert (await desk.edit("ann", baseVersion=1, changes={"/a/b/x": 2}, strategy="manual")).status == "parked"
    await desk.edit("cy", baseVersion=2, deletes=["/a"])
    before = (await desk.read()).version
    assert (await refusal(desk.resolve("di", resolution=word))).code == "invalid_path"
    assert (await desk.read()).version == before
    assert len(await desk.opened()) == 1


async def test_so_many_decisions_are_taken_at_once(desk: Desk) -> None:
    """As many as conflicts may be open."""
    await parked(desk)
    decisions = [{"conflictId": f"c{number}", "rev": 1, "take": "current"} for number in range(10_001)]
    assert (await refusal(desk.resolve("di", decisions=decisions))).code == "limit_exceeded"
