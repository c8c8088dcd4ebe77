"""Published changes of documents: the same way as edits, and each publication names the event it became."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from signtusk_realtime.errors import EventIdReused
from signtusk_realtime.operations.documents.documents import EditRefused
from signtusk_realtime.operations.publish import PublishResult
from signtusk_realtime.protocol import cursor
from signtusk_realtime.protocol.edits import EditOutcome
from tests.support.desks import ORGANIZATION, Desk, read_shelf

pytestmark = pytest.mark.virtual_clock


def edit_of(result: PublishResult) -> EditOutcome:
    assert result.edit is not UNSET
    return result.edit


def offset_of(result: PublishResult) -> int:
    """Give where a publication stands in the log."""
    assert result.cursor is not UNSET
    position = cursor.decode(ORGANIZATION, result.cursor)
    assert position is not None
    assert position.organization is not None
    return position.organization.offset


async def test_each_publication_is_the_event_it_is_answered_with(desk: Desk) -> None:
    """A version, a noop at the unchanged version, a conflict that made none: the event at the answered place has the publication's id."""
    made = [
        await desk.update(type="created", id="e1", changes={"title": "NDA"}),
        await desk.update(type="created", id="e2", changes={"title": "NDA"}),
        await desk.update(id="e3", userId="bob", baseVersion=1, changes={"title": "B"}),
        await desk.update(id="e4", userId="cy", baseVersion=1, changes={"title": "C"}, strategy="manual"),
        await desk.update(id="e5", userId="di", baseVersion=2, changes={"title": "B"}),
    ]
    assert [(edit_of(each).status, edit_of(each).version) for each in made] == [
        ("applied", 1),
        ("noop", 1),
        ("applied", 2),
        ("parked", 2),
        ("noop", 2),
    ]
    events = await desk.events()
    assert [events[offset_of(each) - 1]["id"] for each in made] == ["e1", "e2", "e3", "e4", "e5"]
    assert [(event["type"], event["payload"]["version"]) for event in events] == [
        ("document_created", 1),
        ("document_created", 1),
        ("document_updated", 2),
        ("document_conflict", 2),
        ("document_updated", 2),
    ]


async def test_a_repetition_has_the_first_answer(desk: Desk, make_desk: Any) -> None:
    """On either node, whatever came since, and whatever the outcome was; nothing is published again."""
    await desk.create(title="NDA")
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    sent: list[dict[str, Any]] = [
        {"id": "e1", "userId": "cy", "baseVersion": 1, "changes": {"title": "C"}},
        {
            "id": "e2",
            "userId": "cy",
            "baseVersion": 1,
            "changes": {"title": "D"},
            "strategy": "manual",
            "clientId": "x",
        },
    ]
    first = [await desk.update(**each) for each in sent]
    rejected = {"id": "e3", "userId": "ed", "baseVersion": 1, "changes": {"title": "E"}, "strategy": "reject"}
    with pytest.raises(EditRefused) as refused:
        await desk.update(**rejected)
    await desk.edit("bob", baseVersion=3, changes={"title": "later"})
    before = await read_shelf(desk.engine)
    other = make_desk()
    for each, was in zip(sent, first, strict=True):
        again = await other.update(**each)
        assert (again.cursor, again.duplicate, edit_of(again).version) == (was.cursor, True, edit_of(was).version)
    with pytest.raises(EditRefused) as again_refused:
        await other.update(**rejected)
    assert (again_refused.value.outcome.version, again_refused.value.outcome.duplicate) == (3, True)
    assert refused.value.outcome.duplicate is False
    assert await read_shelf(desk.engine) == before


async def test_an_id_that_is_known_with_another_value_is_refused(desk: Desk) -> None:
    """Of the same change or of another: event_id_reused, and nothing is stored."""
    await desk.update(type="created", id="e1", changes={"title": "NDA"})
    await desk.edit("bob", baseVersion=1, changes={"title": "B"})
    before = await read_shelf(desk.engine)
    for more in ({}, {"changeId": "other"}, {"userId": "cy"}):
        with pytest.raises(EventIdReused):
            await desk.update(id="e1", changes={"title": "X"}, **more)
    assert await read_shelf(desk.engine) == before


async def test_a_client_and_its_server_may_both_send_a_change(desk: Desk) -> None:
    """The same changeId of the same user and client is one change, in whatever form it comes."""
    await desk.create(title="NDA")
    await desk.edit("bob", changeId="c", clientId="k", baseVersion=1, changes={"title": "B"})
    with pytest.raises(EditRefused) as refused:
        await desk.update(userId="bob", changeId="c", clientId="k", baseVersion=1, changes={"title": "X"})
    assert refused.value.code == "change_id_reused"
