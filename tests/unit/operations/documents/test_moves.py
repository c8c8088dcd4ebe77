"""The life of a document: transitions, locks, published facts, and the lease of a correction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Self

import pytest

from signtusk_realtime.documents.policy import PLAIN, pattern
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.documents.moves import MoveRefused
from signtusk_realtime.operations.documents.records import Statistics
from signtusk_realtime.sessions.session import SessionLimits
from tests.support.clock import elapse
from tests.support.delivery import FORMATS, Names
from tests.support.desks import Desk, member, read_shelf
from tests.support.outlets import Outlet

pytestmark = pytest.mark.virtual_clock


async def refusal(asked: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await asked
    return refused.value


async def test_the_way_of_a_document(desk: Desk) -> None:
    """Each transition is a version with its event; the content stays."""
    await desk.create(title="NDA")
    answer = await desk.move("sent", version=1)
    assert (answer.version, answer.state, answer.content_hash) == (2, "sent", (await desk.read()).content_hash)
    await desk.move("signing", "bob", contentHash=...)
    await desk.move("signing", "cy", contentHash=...)
    await desk.move("completed")
    events = [(e["type"], e["payload"].get("state"), e["userId"]) for e in await desk.events()]
    assert events == [
        ("document_created", None, "ann"),
        ("document_updated", "sent", "ann"),
        ("document_signed", "signing", "bob"),
        ("document_signed", "signing", "cy"),
        ("document_completed", "completed", "ann"),
    ]
    assert [(await desk.read(version=n)).state for n in range(1, 6)] == [
        "draft",
        "sent",
        "signing",
        "signing",
        "completed",
    ]
    assert {(await desk.read(version=n)).content_hash for n in range(1, 6)} == {answer.content_hash}


async def test_refused_transitions(desk: Desk) -> None:
    """What does not follow, another version, another content, none: each by its code with head's version and hash, nothing changed."""
    assert (await refusal(desk.move("sent"))).code == "unknown_document"
    await desk.create(title="NDA")
    before = await read_shelf(desk.engine)
    content_hash = (await desk.read()).content_hash
    for body, code in (
        ({"to": "completed"}, "invalid_transition"),
        ({"to": "sent", "version": 2}, "version_mismatch"),
        ({"to": "signing"}, "invalid_message"),
        ({"to": "signing", "contentHash": "0" * 64}, "content_changed"),
    ):
        error = await refusal(desk.move(**body))
        assert isinstance(error, MoveRefused)
        assert (error.code, error.version, error.content_hash) == (code, 1, content_hash)
    assert await read_shelf(desk.engine) == before


async def test_a_signature_stands_for_what_was_shown(desk: Desk) -> None:
    """An edit between showing and signing: content_changed; after a signature no edit, under any strategy."""
    await desk.create(title="NDA")
    shown = (await desk.read()).content_hash
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    assert (await refusal(desk.move("signing", contentHash=shown))).code == "content_changed"
    await desk.move("signing", contentHash=...)
    for strategy in ("merge", "overwrite", "reject", "manual"):
        outcome = await desk.edit("bob", baseVersion=2, strategy=strategy, changes={"title": "X"})
        assert (outcome.code, outcome.state, outcome.version) == ("document_locked", "signing", 3)
    record = {"userId": "app", "authority": "record", "changes": {"title": "X"}}
    with pytest.raises(Exception, match="signature"):
        await desk.update(**record)
    assert await desk.data() == {"title": "B"}


async def test_edit_and_signature_at_once(make_desk: Any) -> None:
    """On two nodes: either the edit comes first and the signature is refused, or the other way round."""
    one, two = make_desk(), make_desk()
    for n in range(6):
        name = f"d{n}"
        await one.create(name, title="NDA")
        shown = (await two.read(name)).content_hash
        asked = [
            one.edit("bob", name, baseVersion=1, changes={"title": "B"}),
            two.move("signing", "cy", name, contentHash=shown),
        ]
        if n % 2:
            asked.reverse()
        done = await asyncio.gather(*asked, return_exceptions=True)
        edited, moved = done if not n % 2 else reversed(done)
        assert not isinstance(edited, BaseException)
        if isinstance(moved, MoveRefused):
            assert (moved.code, edited.status) == ("content_changed", "applied")
        else:
            assert not isinstance(moved, BaseException), moved
            assert edited.code == "document_locked"


async def test_open_conflicts_stand_in_the_way(desk: Desk) -> None:
    """sent, signing and completed are refused; deciding them is refused after a signature."""
    await desk.create(title="NDA")
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    await desk.edit("cy", baseVersion=1, strategy="manual", changes={"title": "C"})
    assert (await refusal(desk.move("sent"))).code == "open_conflicts"
    assert (await refusal(desk.move("signing", contentHash=...))).code == "open_conflicts"
    await desk.resolve(resolution="merge")
    await desk.move("sent")
    assert (await refusal(desk.resolve(resolution="merge"))).code == "no_active_conflicts"


async def test_a_transition_repeats_its_answer(desk: Desk) -> None:
    """By its changeId, whatever came since."""
    await desk.create(title="NDA")
    first = await desk.move("sent", changeId="m")
    await desk.move("correcting")
    assert await desk.move("sent", changeId="m") == first
    assert (await refusal(desk.move("draft", changeId="m"))).code == "change_id_reused"


async def test_a_deleted_document_is_gone_for_edits(desk: Desk) -> None:
    """document_deleted for edits, creations and transitions; it is still read."""
    await desk.create(title="NDA")
    await desk.move("deleted")
    assert (await desk.edit("bob", baseVersion=2, changes={"title": "B"})).code == "document_deleted"
    assert (await desk.edit("bob", baseVersion=0, changes={"title": "NDA"})).code == "document_deleted"
    assert (await refusal(desk.move("draft"))).code == "document_deleted"
    assert (await desk.read()).state == "deleted"
    assert [e["type"] for e in await desk.events()] == ["document_created", "document_deleted"]


async def test_published_facts_move_a_document(desk: Desk) -> None:
    """The fact as it was published, then the event of the version it made, in one step; a repetition does nothing."""
    fact = {"kind": "document_update", "documentId": "d1", "userId": "bob", "type": "signed", "id": "e1"}
    status = {
        "kind": "signature_status",
        "documentId": "d1",
        "signingRequestId": "s",
        "recipientId": "r",
        "userId": "cy",
    }
    plain = await desk.publish(fact | {"id": "e0"})
    assert plain[0].duplicate is False
    await desk.create(title="NDA")
    first = await desk.publish(fact)
    again = await desk.publish(fact)
    assert (again[0].cursor, again[0].duplicate) == (first[0].cursor, True)
    await desk.publish(status | {"status": "signed", "id": "e2"})
    await desk.publish(status | {"status": "pending", "id": "e3"})
    await desk.publish(fact | {"type": "deleted", "id": "e4"})
    await desk.publish(status | {"status": "declined", "id": "e5"})
    await desk.publish(status | {"status": "expired", "id": "e6"})
    events = [(e["type"], e["payload"].get("version"), e["payload"].get("state")) for e in await desk.events()]
    assert events == [
        ("document_signed", None, None),
        ("document_created", 1, None),
        ("document_signed", None, None),
        ("document_signed", 2, "signing"),
        ("signature_completed", None, None),
        ("document_signed", 3, "signing"),
        ("signing_request_updated", None, None),
        ("document_deleted", None, None),
        ("signature_declined", None, None),
        ("document_updated", 4, "declined"),
        ("signature_expired", None, None),
    ]


@pytest.mark.parametrize("to", ["signed", "completed", "deleted"])
async def test_a_fact_ends_what_is_open(desk: Desk, to: str) -> None:
    """A fact is not held up by open conflicts: where nobody may decide them any more they are superseded with it, told, and count no more."""
    await desk.create(title="NDA", note="n")
    await desk.edit("bob", baseVersion=1, changes={"title": "B", "note": "b"})
    outcome = await desk.edit("cy", baseVersion=1, strategy="manual", changes={"title": "C", "note": "c"})
    assert outcome.status == "parked"
    fact = {"kind": "document_update", "documentId": "d1", "userId": "di"}
    if to == "completed":
        await desk.publish(fact | {"type": "signed"})
        await desk.publish(fact | {"type": "completed"})
    else:
        await desk.publish(fact | {"type": to})
    shelf = await read_shelf(desk.engine)
    assert (shelf.opened["d1"], shelf.statistics, shelf.heads["d1"].open_conflicts) == ([], Statistics(), 0)
    decided = await desk.opened(with_decided=True)
    assert [(r["path"], r["status"], r["rev"], r["incomingValue"], r["resolvedBy"]) for r in decided] == [
        ("/note", "superseded", 2, "c", "di"),
        ("/title", "superseded", 2, "C", "di"),
    ]
    told = [e for e in shelf.events if e["type"] == "document_conflict_resolved"]
    (payload,) = [e["payload"] for e in told]
    assert (payload["resolution"], payload["version"], payload["resolvedBy"]) == ("superseded", 3, "di")
    assert payload["conflicts"] == decided
    decision = {"conflictId": decided[0]["conflictId"], "rev": 1, "take": "incoming"}
    for body in ({"resolution": "merge"}, {"decisions": [decision]}):
        refused = await refusal(desk.resolve(**body))
        assert refused.code == ("document_deleted" if to == "deleted" else "document_locked")
    if to == "signed":
        assert (await desk.move("signing", "ed", contentHash=...)).version == 4, "a second signer is not stuck"


async def test_a_parked_edit_does_not_outlast_a_signature_at_an_open_place(make_desk: Any) -> None:
    """What an invariant parked is applied as a whole, beyond the place of its record: that this one is open for edits keeps nothing alive."""
    desk = make_desk(policy=replace(PLAIN, open=(pattern("/signatureFields"),)))
    await desk.create(recipients=[{"id": "r1"}, {"id": "r2"}], signatureFields=[{"id": "f"}], title="NDA")
    await desk.edit("bob", baseVersion=1, deletes=["/recipients/r2"])
    parked = {"/signatureFields/f/recipientId": "r2", "title": "Two"}
    assert (await desk.edit("cy", baseVersion=1, changes=parked)).status == "parked"
    [record] = await desk.opened()
    await desk.publish({"kind": "document_update", "documentId": "d1", "userId": "di", "type": "signed"})
    decision = {"conflictId": record["conflictId"], "rev": 1, "take": "incoming"}
    assert (await refusal(desk.resolve(decisions=[decision]))).code == "document_locked"
    assert (await desk.data())["title"] == "NDA"
    assert await desk.opened() == []


@pytest.mark.parametrize("strategy", ["merge", "overwrite", "manual", "reject"])
async def test_an_edit_of_an_open_place_brings_nothing_back_after_a_signature(make_desk: Any, strategy: str) -> None:
    """An edit that would win against a deletion restores the whole element, of which the open place is a part only."""
    desk = make_desk(policy=replace(PLAIN, open=(pattern("/rows/*/note"),)))
    await desk.create(rows=[{"id": "a", "text": "t", "note": "x"}, {"id": "b", "note": ""}])
    await desk.edit("bob", baseVersion=1, deletes=["/rows/a"])
    await desk.move("signing", "di", contentHash=...)
    before = await desk.data()
    late = await desk.edit("cy", baseVersion=1, strategy=strategy, changes={"/rows/a/note": "y"})
    assert (late.status, late.code, late.state) == ("refused", "document_locked", "signing")
    assert await desk.data() == before


async def test_a_deleted_document_has_nothing_open(desk: Desk) -> None:
    """A draft may be deleted while a conflict is open, which ends with it."""
    await desk.create(title="NDA")
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    await desk.edit("cy", baseVersion=1, strategy="manual", changes={"title": "C"})
    await desk.move("deleted")
    shelf = await read_shelf(desk.engine)
    assert (shelf.opened["d1"], shelf.statistics) == ([], Statistics())
    assert [r["status"] for r in await desk.opened(with_decided=True)] == ["superseded"]


async def test_what_is_open_waits_for_a_reopening(correcting: Desk) -> None:
    """In a declined document nothing is decided, and nothing ends: once it is a draft again, it is."""
    desk = correcting
    await desk.edit("bob", baseVersion=3, changes={"title": "B"})
    parked = await desk.edit("bob", baseVersion=3, strategy="manual", changes={"title": "C"}, clientId="k")
    assert parked.status == "parked"
    await desk.publish(
        {
            "kind": "signature_status",
            "documentId": "d1",
            "signingRequestId": "s",
            "recipientId": "r",
            "userId": "cy",
            "status": "declined",
        }
    )
    assert (await refusal(desk.resolve(resolution="overwrite"))).code == "document_locked"
    assert len(await desk.opened()) == 1
    await desk.move("draft")
    await desk.resolve(resolution="overwrite")
    assert await desk.data() == {"title": "C"}


async def test_a_batch_is_carried_out_in_its_order(desk: Desk) -> None:
    """A creation, a change, a refused change and a signature in one call; the refused one has its error, the others stand."""
    base = {"kind": "document_update", "documentId": "d1", "userId": "bob"}
    results = await desk.publish(
        base | {"type": "created", "changes": {"title": "NDA"}},
        base | {"type": "updated", "changes": {"title": "B"}, "baseVersion": 1},
        base | {"type": "updated", "changes": {"title": "C"}, "baseVersion": 1, "userId": "cy", "strategy": "reject"},
        base | {"type": "signed"},
        base | {"type": "updated", "changes": {"title": "D"}, "baseVersion": 3},
    )
    assert [None if not each.error else each.error.code for each in results] == [
        None,
        None,
        "conflict",
        None,
        "document_locked",
    ]
    assert [each.edit.status if each.edit else None for each in results] == [
        "applied",
        "applied",
        "rejected",
        None,
        "refused",
    ]
    assert (await desk.read()).state == "signing"


class People:
    """Users who connect to a hub, and go."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        hub = self.hub = desk.hub
        self.connect = Connect(
            hub, limits=SessionLimits(), heartbeat_interval_ms=30_000, now_ms=lambda: 0, new_id=Names()
        )

    async def __aenter__(self) -> Self:
        await self.hub.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.close()

    async def come(self, user: str) -> Any:
        return self.connect.open(await self.connect.admit(member(user)), Outlet(), FORMATS["frames"])

    def go(self, connection: Any) -> None:
        """Be cut off."""
        self.hub.lost(connection)

    def leave(self, connection: Any) -> None:
        """Say goodbye."""
        self.hub.lost(connection)
        self.desk.documents.leases.left("org123", connection.session.identity.user_id)


@pytest.fixture
async def correcting(make_desk: Any) -> Desk:
    """A document that was sent and that bob corrects."""
    desk: Desk = make_desk()
    await desk.create(title="NDA")
    await desk.move("sent")
    assert (await desk.edit("bob", baseVersion=2, changes={"title": "B"})).code == "document_locked"
    await desk.move("correcting", "bob")
    return desk


async def test_one_corrects(correcting: Desk) -> None:
    """The holder edits, others are refused and take nothing back; he goes back to sent, or to draft."""
    desk = correcting
    assert (await desk.edit("bob", baseVersion=3, changes={"title": "B"})).status == "applied"
    outcome = await desk.edit("ann", baseVersion=4, changes={"title": "A"})
    assert (outcome.code, outcome.state) == ("document_locked", "correcting")
    assert (await refusal(desk.move("sent", "ann"))).code == "document_locked"
    assert (await refusal(desk.move("correcting", "ann"))).code == "invalid_transition"
    await desk.move("sent", "bob")
    assert (await desk.edit("bob", baseVersion=5, changes={"title": "C"})).code == "document_locked"


async def test_edits_prolong_a_correction(correcting: Desk) -> None:
    """Each accepted edit begins the minute anew; a minute after the last it is over."""
    desk = correcting
    for n in range(4):
        await elapse(50)
        assert (await desk.edit("bob", baseVersion=3 + n, changes={"n": n})).status == "applied"
    await elapse(59)
    assert (await desk.read()).state == "correcting"
    await elapse(3)
    assert (await desk.read()).state == "sent"
    assert (await desk.edit("bob", baseVersion=7, changes={"title": "late"})).code == "document_locked"


async def test_whoever_comes_first_takes_an_ended_correction_back(correcting: Desk, make_desk: Any) -> None:
    """The node that looked after it is gone: an edit, a transition, a fact or a look by anybody ends it before it is answered."""
    await correcting.close()
    other = make_desk()
    await elapse(59)
    assert (await other.edit("ann", baseVersion=3, changes={"t": 1})).code == "document_locked"
    await elapse(2)
    answer = await other.read()
    assert (answer.state, answer.version) == ("sent", 4)
    [*_, last] = await other.events()
    assert (last["userId"], last["payload"]["state"]) == ("bob", "sent")
    await other.move("correcting", "cy")
    await other.documents.leases.close()
    await elapse(61)
    refused = await other.edit("cy", baseVersion=5, changes={"t": 1})
    assert (refused.code, refused.state, refused.version) == ("document_locked", "sent", 6)
    await other.move("correcting", "cy")
    await elapse(61)
    await other.publish({"kind": "document_update", "documentId": "d1", "userId": "di", "type": "signed"})
    assert [(e["type"], e["payload"].get("state")) for e in (await other.events())[-3:]] == [
        ("document_updated", "sent"),
        ("document_signed", None),
        ("document_signed", "signing"),
    ]


async def test_an_open_connection_prolongs_a_correction(correcting: Desk) -> None:
    """While its holder is connected it goes on; 5 s after he is gone it ends; coming back in time saves it."""
    async with People(correcting) as people:
        bob = await people.come("bob")
        await people.come("ann")
        await elapse(200)
        assert (await correcting.read()).state == "correcting"
        people.go(bob)
        await elapse(4)
        bob = await people.come("bob")
        await elapse(100)
        assert (await correcting.read()).state == "correcting"
        people.go(bob)
        await elapse(7.5)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "sent", "the node itself took it back"


async def test_leaving_ends_a_correction_at_once(correcting: Desk) -> None:
    """When the holder's last connection says goodbye; another of his, another user's goodbye, or a cut connection do not."""
    async with People(correcting) as people:
        bob, elsewhere, ann = [await people.come(user) for user in ("bob", "bob", "ann")]
        await elapse(1.5)
        people.leave(ann)
        people.leave(bob)
        await elapse(3)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "correcting"
        people.leave(elsewhere)
        await elapse(0)
        shelf = await read_shelf(correcting.engine)
        assert shelf.heads["d1"].state == "sent"
        assert (shelf.events[-1]["userId"], shelf.events[-1]["payload"]["state"]) == ("bob", "sent")
        await correcting.move("correcting", "bob")
        bob = await people.come("bob")
        await elapse(1.5)
        people.go(bob)
        await elapse(4)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "correcting"


async def test_who_leaves_and_comes_back_corrects_on(correcting: Desk) -> None:
    """A new connection that is there before the old one's goodbye was seen to holds the correction."""
    async with People(correcting) as people:
        bob = await people.come("bob")
        await elapse(1.5)
        people.leave(bob)
        await people.come("bob")
        await elapse(100)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "correcting"


async def test_leaving_waits_for_the_edit_on_its_way(correcting: Desk) -> None:
    """What the holder sent before he left is carried out, and then the correction ends."""
    async with People(correcting) as people:
        bob = await people.come("bob")
        await elapse(1.5)
        edit = asyncio.ensure_future(correcting.edit("bob", baseVersion=3, changes={"title": "B"}))
        await asyncio.sleep(0)
        people.leave(bob)
        assert (await edit).status == "applied"
        await elapse(0)
        shelf = await read_shelf(correcting.engine)
        assert (shelf.heads["d1"].state, shelf.heads["d1"].data) == ("sent", {"title": "B"})


async def test_a_correction_outlives_the_node_it_began_on(correcting: Desk, make_desk: Any) -> None:
    """After a restart the holder's connection prolongs it as before, once anybody has met the document."""
    await correcting.close()
    other = make_desk()
    async with People(other) as people:
        await people.come("bob")
        assert (await other.read()).state == "correcting"
        await elapse(200)
        assert (await other.read()).state == "correcting"


class OtherNodes:
    """Who is connected to nodes that cannot be seen from here."""

    def __init__(self, desk: Desk) -> None:
        self.users: set[str] = set()
        self.asked = 0
        desk.documents.moves.connected = self.connected

    async def connected(self, organization_id: str) -> frozenset[str]:
        assert organization_id == "org123"
        self.asked += 1
        return frozenset(self.users)


async def test_a_connection_to_another_node_prolongs_a_correction(correcting: Desk) -> None:
    """It began over HTTP here, and its holder's socket is there: it goes on until that is gone, and nobody is asked every second."""
    others = OtherNodes(correcting)
    others.users = {"bob", "ann"}
    await elapse(200)
    assert (await correcting.edit("bob", baseVersion=3, changes={"title": "B"})).status == "applied"
    assert others.asked < 75
    others.users = {"ann"}
    await elapse(10)
    assert (await read_shelf(correcting.engine)).heads["d1"].state == "sent"


async def test_leaving_one_node_for_another_ends_no_correction(correcting: Desk) -> None:
    """A goodbye here ends nothing while another connection is open there; a goodbye here after that one's end does."""
    others = OtherNodes(correcting)
    async with People(correcting) as people:
        bob = await people.come("bob")
        await elapse(1.5)
        others.users = {"bob"}
        people.leave(bob)
        await elapse(100)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "correcting"
        bob = await people.come("bob")
        await elapse(1.5)
        others.users = set()
        people.leave(bob)
        await elapse(0)
        assert (await read_shelf(correcting.engine)).heads["d1"].state == "sent"


async def test_a_correction_nobody_looked_after_goes_on_while_its_holder_is_there(
    correcting: Desk, make_desk: Any
) -> None:
    """The node that renewed it was killed, and nobody met the document for two minutes: its holder corrects on, another's edit is refused as before."""
    await correcting.close()
    other = make_desk()
    others = OtherNodes(other)
    others.users = {"bob"}
    await elapse(120)
    assert (await other.edit("ann", baseVersion=3, changes={"t": 1})).state == "correcting"
    assert (await other.edit("bob", baseVersion=3, changes={"t": 1})).status == "applied"
    others.users = set()
    await elapse(70)
    assert (await other.read()).state == "sent"
