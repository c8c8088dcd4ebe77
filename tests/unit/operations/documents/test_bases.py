"""What an edit was made on: versions, values seen, nothing at all; and what is no longer kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import UNSET, to_builtins

from signtusk_realtime.documents.policy import SHIPPED
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.operations.documents.commits import Keeping
from signtusk_realtime.operations.documents.documents import EditRefused
from tests.support.clock import elapse
from tests.support.desks import Desk, member, read_shelf

MEMBER = member("ann")

pytestmark = pytest.mark.virtual_clock


async def changed_by(desk: Desk, *users: str, **body: Any) -> None:
    """Let users set the title to their name, one after the other."""
    for user in users:
        at = (await desk.read()).version
        await desk.edit(user, baseVersion=at, changes={"title": user}, **body)


async def test_bases_that_cannot_be_used(desk: Desk) -> None:
    """future, epoch and precondition, each with head's version and nothing stored."""
    await desk.create(title="NDA")
    await changed_by(desk, "bob")
    before = await read_shelf(desk.engine)
    epoch = (await desk.read()).epoch
    for body, reason in (
        ({"baseVersion": 3}, "future"),
        ({"baseVersion": 2, "epoch": "another"}, "epoch"),
        ({"baseVersion": 1, "ifVersion": 1}, "precondition"),
        ({"ifVersion": 3}, "precondition"),
    ):
        outcome = await desk.edit(changes={"title": "x"}, **body)
        assert (outcome.code, outcome.reason, outcome.version) == ("version_mismatch", reason, 2)
    assert await read_shelf(desk.engine) == before
    assert (await desk.edit(changes={"title": "x"}, baseVersion=2, ifVersion=2, epoch=epoch)).status == "applied"


async def test_without_a_base_the_newest_old_version_is_inferred(desk: Desk) -> None:
    """What is younger than the window may not have been seen: suspected; what is older was."""
    await desk.create(title="NDA")
    await elapse(31)
    await changed_by(desk, "bob")
    young = await desk.edit("cy", changes={"title": "C"})
    assert young.status == "merged"
    assert to_builtins(young.conflicts)[0]["certainty"] == "suspected"
    await elapse(31)
    assert (await desk.edit("di", changes={"title": "D"})).status == "applied"


async def test_without_a_base_nobody_conflicts_with_himself(desk: Desk) -> None:
    """The newest of one's own commits is the base, whatever the client, if it is newer than what all have seen."""
    await desk.create(title="NDA")
    for n in range(3):
        assert (await desk.edit("bob", clientId=f"k{n}", changes={"title": f"b{n}"})).status == "applied"
    await changed_by(desk, "cy")
    conflicted = await desk.edit("bob", changes={"title": "b3"})
    assert (conflicted.status, to_builtins(conflicted.conflicts)[0]["certainty"]) == ("merged", "causal")
    assert to_builtins(conflicted.conflicts)[0]["baseVersion"] == 4


async def test_values_seen_stand_for_a_base(desk: Desk) -> None:
    """`base`: head with those values put in; another's change of them conflicts, and he is named."""
    await desk.create(title="NDA", note="n")
    await changed_by(desk, "bob", "cy")
    await desk.edit("di", baseVersion=3, changes={"note": "d"})
    assert (await desk.edit("ed", base={"title": "cy"}, changes={"title": "E"})).status == "applied"
    stale = await desk.edit("flo", base={"title": "cy"}, changes={"title": "F"})
    [conflict] = to_builtins(stale.conflicts)
    assert (stale.status, conflict["baseValue"], conflict["currentValue"]) == ("merged", "cy", "E")
    assert (conflict["certainty"], conflict["userId"]) == ("causal", "ed")


async def test_head_and_require(make_desk: Any) -> None:
    """The setting: head takes an edit without a base as made on head, require refuses it."""
    head = make_desk(versionless="head")
    await head.create(title="NDA")
    await changed_by(head, "bob")
    assert (await head.edit("cy", changes={"title": "C"})).status == "applied"
    require = make_desk(versionless="require")
    assert (await require.edit("cy", changes={"title": "D"})).code == "base_required"
    assert (await require.edit("cy", base={"title": "C"}, changes={"title": "D"})).status == "applied"
    result = await require.update(authority="record", changes={"title": "E"})
    assert result.edit is not UNSET
    assert result.edit.status == "applied"


async def test_a_record_is_applied_on_head_as_it_is(desk: Desk) -> None:
    """Authority record: what the publisher says holds, and clashes with nothing."""
    await desk.create(title="NDA")
    await changed_by(desk, "bob")
    result = await desk.update(userId="cy", changes={"title": "C"})
    assert result.edit is not UNSET
    assert result.edit.status == "merged"
    result = await desk.update(userId="di", authority="record", changes={"title": "D"})
    assert result.edit is not UNSET
    assert (result.edit.status, result.edit.version) == ("applied", 4)


@pytest.fixture
async def long(make_desk: Any) -> Desk:
    """A document of 170 versions, of which the newest 60 are kept, or those of the last minute."""
    desk: Desk = make_desk(keeping=Keeping(versions=60, age_ms=60_000))
    await desk.create(title="t1", note="n")
    for n in range(2, 121):
        await desk.edit("bob", baseVersion=n - 1, changes={"title": f"t{n}"})
    await elapse(61)
    for n in range(121, 171):
        await desk.edit("bob", baseVersion=n - 1, changes={"title": f"t{n}"})
    return desk


async def test_old_versions_go_when_both_bounds_are_passed(long: Desk, make_desk: Any) -> None:
    """Down to a snapshot; what is kept is read as it was, what is not is compacted, on a node that held it in memory too."""
    assert (await read_shelf(long.engine)).heads["d1"].oldest == 100
    for desk in (long, make_desk()):
        for version in (100, 101, 149, 150, 151, 170):
            assert (await desk.read(version=version)).data == {"title": f"t{version}", "note": "n"}
        for version, reason in ((99, "compacted"), (0, "compacted"), (171, "future")):
            with pytest.raises(Refused) as refused:
                await desk.read(version=version)
            assert (refused.value.code, refused.value.reason) == ("version_mismatch", reason)
        history = await desk.documents.history(MEMBER, "d1", after=0, limit=30)
        assert ([e.version for e in history.entries], history.next) == ([*range(101, 131)], 130)
        history = await desk.documents.history(MEMBER, "d1", after=160, limit=30)
        assert ([e.version for e in history.entries], history.next) == ([*range(161, 171)], UNSET)


async def test_the_state_of_a_version_outlives_the_transition(make_desk: Any) -> None:
    """Of what was corrected for longer than is kept, each version is still told as one of a correction; older states go."""
    desk = make_desk(keeping=Keeping(versions=50, age_ms=0))
    await desk.create(title="t1")
    head = 1
    for _ in range(2):
        await desk.move("sent", "bob")
        await desk.move("correcting", "bob")
        head += 2
        for _ in range(110):
            await elapse(0.002)
            outcome = await desk.edit("bob", baseVersion=head, changes={"title": f"t{head + 1}"})
            head = outcome.version
    shelf = await read_shelf(desk.engine)
    assert shelf.heads["d1"].oldest == 150
    assert shelf.states["d1"] == {115: "correcting"}
    for version in (150, 151, head):
        found = await make_desk().read(version=version)
        assert (found.state, found.data) == ("correcting", {"title": f"t{version}"})


async def test_young_versions_stay_however_many(make_desk: Any) -> None:
    """Beyond the number, but within the age: kept."""
    desk = make_desk(keeping=Keeping(versions=60, age_ms=60_000))
    await desk.create(title="t1")
    for n in range(2, 171):
        await desk.edit("bob", baseVersion=n - 1, changes={"title": f"t{n}"})
    assert (await read_shelf(desk.engine)).heads["d1"].oldest == 0


async def test_a_compacted_base(long: Desk) -> None:
    """Refused, unless `base` gives what was seen at every path."""
    outcome = await long.edit("cy", baseVersion=99, changes={"title": "x", "note": "y"})
    assert (outcome.code, outcome.reason) == ("version_mismatch", "compacted")
    partly = await long.edit("cy", baseVersion=99, base={"title": "t99"}, changes={"title": "x", "note": "y"})
    assert partly.reason == "compacted"
    outcome = await long.edit(
        "cy", baseVersion=99, base={"title": "t99", "note": "n"}, changes={"title": "x", "note": "y"}
    )
    [conflict] = to_builtins(outcome.conflicts)
    assert (outcome.status, conflict["baseValue"], conflict["userId"]) == ("merged", "t99", "bob")
    assert (await long.edit("cy", baseVersion=100, changes={"note": "z"})).status == "merged"


async def test_no_base_on_a_document_of_which_all_that_is_kept_is_young(make_desk: Any) -> None:
    """The oldest that is kept is the base, then."""
    desk = make_desk(keeping=Keeping(versions=50, age_ms=0), window_ms=3_600_000)
    await desk.create(title="t1")
    for n in range(2, 131):
        await elapse(0.002)
        await desk.edit("bob", baseVersion=n - 1, changes={"title": f"t{n}"})
    assert (await read_shelf(desk.engine)).heads["d1"].oldest == 50
    for reader in (desk, make_desk(window_ms=3_600_000)):
        outcome = await reader.edit("cy", strategy="reject", changes={"title": "C"})
        [conflict] = to_builtins(outcome.conflicts)
        assert (conflict["baseVersion"], conflict["baseValue"], conflict["certainty"]) == (50, "t50", "suspected")


async def test_an_adopted_document_begins_with_nothing(desk: Desk) -> None:
    """A published update of a document that is not held begins it: version 1 on the empty version 0, told by the published type."""
    result = await desk.update(changes={"title": "NDA"}, id="e1", metadata={"from": "app"})
    assert result.edit is not UNSET
    assert (result.edit.status, result.edit.version, result.edit.change_id) == ("applied", 1, "e1")
    [event] = await desk.events()
    assert (event["id"], event["type"], event["metadata"]) == ("e1", "document_updated", {"from": "app"})
    assert "type" not in event["payload"]
    assert (await desk.read(version=0)).data == {}
    [entry] = (await read_shelf(desk.engine)).histories["d1"]
    assert (entry.header.kind, entry.header.base_version) == ("adopt", 0)
    assert (await desk.edit("bob", baseVersion=0, changes={"title": "x"})).code == "already_exists"
    suspected = await desk.edit("bob", changes={"title": "B"})
    assert to_builtins(suspected.conflicts)[0]["reason"] == "add_add"
    with pytest.raises(EditRefused) as refused:
        await desk.update("d2", changes={"title": "x"}, baseVersion=3)
    assert (refused.value.outcome.code, refused.value.outcome.reason) == ("version_mismatch", "future")


async def test_who_last_changed_what_a_broken_reference_names(make_desk: Any) -> None:
    """A record by an invariant names him, also where that was before the base."""
    desk = make_desk(policy=SHIPPED["plain"])
    await desk.create(recipients=[{"id": "r1"}], signatureFields=[], by="ann")
    await desk.edit("bob", baseVersion=1, changes={"/recipients/r2": {"id": "r2"}})
    await desk.edit("cy", baseVersion=2, changes={"title": "x"})
    await desk.edit("di", baseVersion=3, changes={"/signatureFields/f1": {"id": "f1", "recipientId": "r2"}})
    parked = await desk.edit("ed", baseVersion=3, deletes=["/recipients/r2"])
    [conflict] = to_builtins(parked.conflicts)
    assert (parked.status, conflict["reason"], conflict["path"]) == (
        "parked",
        "dangling_reference",
        "/signatureFields/f1/recipientId",
    )
    assert conflict["userId"] == "bob"


async def test_no_base_while_others_edit(desk: Desk) -> None:
    """Edits in flight without a base: the lane puts them in order, and each is answered."""
    await desk.create(title="NDA")
    outcomes = await asyncio.gather(*(desk.edit(f"u{n}", changes={f"f{n}": n}) for n in range(20)))
    assert {each.status for each in outcomes} == {"applied"}
