"""What a document may take: open conflicts in number and bytes, memory of a node, an answer."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from signtusk_realtime.operations.documents import edit as editing
from signtusk_realtime.operations.documents import lanes, read
from tests.support.desks import Desk, member

pytestmark = pytest.mark.virtual_clock


async def _clashing(desk: Desk, fields: int, value: Any = 2) -> Any:
    """Leave so many conflicts open, or try to."""
    names = [f"n{number}" for number in range(fields)]
    await desk.create(**dict.fromkeys(names, 0))
    await desk.edit("ann", baseVersion=1, changes=dict.fromkeys(names, 1))
    return await desk.edit("bob", baseVersion=1, changes=dict.fromkeys(names, value), strategy="manual")


async def test_more_open_conflicts_than_allowed_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that would leave too many open is refused, and leaves nothing; what is open stays what is counted."""
    monkeypatch.setattr(editing, "MAX_OPEN", 5)
    assert (await _clashing(desk, 4)).status == "parked"
    before = await desk.documents.conflicts(member("ann"), "d1", with_decided=False)
    refused = await desk.edit("eve", baseVersion=1, changes=dict.fromkeys(("n0", "n1"), 3), strategy="manual")
    assert (refused.status, refused.code) == ("refused", "limit_exceeded")
    assert await desk.documents.conflicts(member("ann"), "d1", with_decided=False) == before
    assert (await desk.documents.read(member("ann"), "d1")).open_conflicts == len(before.conflicts) == 4
    fits = await desk.edit("eve", baseVersion=1, changes={"n0": 3}, strategy="manual")
    assert fits.status == "parked"


async def test_open_conflicts_are_bounded_in_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few that hold much are as much work as many; once decided they count no more."""
    monkeypatch.setattr(editing, "MAX_OPEN_BYTES", 20_000)
    assert (await _clashing(desk, 1, "x" * 9000)).status == "parked"
    large = {"n0": "y" * 9000}
    refused = await desk.edit("eve", baseVersion=1, changes=large, strategy="manual")
    assert (refused.status, refused.code) == ("refused", "limit_exceeded")
    await desk.resolve(resolution="reject")
    assert (await desk.edit("eve", baseVersion=1, changes=large, strategy="manual")).status == "parked"


@pytest.mark.parametrize("how", ["refused", "repeated", "applied"])
async def test_what_documents_take_in_memory_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """However a document came to be held, those that are held stay within the bound."""
    held = desk.documents.edits._lanes
    monkeypatch.setattr(lanes, "KEPT_BYTES", 400_000)
    for number in range(12):
        name = f"d{number}"
        await desk.create(name, text="x" * 10_000)
        match how:
            case "refused":
                outcome = await desk.edit("ann", name, baseVersion=9, changes={"text": "y"})
                assert outcome.status == "refused"
            case "repeated":
                for _ in range(2):
                    await desk.edit("ann", name, baseVersion=1, changeId="chg-same", changes={"title": "t"})
            case _:
                await desk.edit("ann", name, baseVersion=1, changes={"title": "t"})
    in_memory = [lane.loaded for lane in held._lanes.values() if lane.loaded is not None]
    assert 0 < sum(loaded.held_bytes for loaded in in_memory) <= 400_000
    assert len(in_memory) < 12


async def test_an_answer_ends_behind_what_is_large(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """History comes in pages of bytes too, and each goes on where the last ended."""
    monkeypatch.setattr(read, "MAX_ANSWER_BYTES", 30_000)
    await desk.create(text="")
    for version in range(1, 30):
        await desk.edit("ann", baseVersion=version, changes={"text": f"{version}" * 5000})
    seen: list[int] = []
    after, pages = 0, 0
    while True:
        page = await desk.documents.history(member("ann"), "d1", after=after, limit=1000)
        seen += [entry.version for entry in page.entries]
        pages += 1
        if page.next is UNSET:
            break
        after = page.next
    assert seen == list(range(1, 31))
    assert pages > 3
