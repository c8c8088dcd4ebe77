"""What a document may take: open conflicts in number and bytes, memory of a node, an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.events.log import Commit, Exact, LogName, Range, Snapshot
from signtusk_realtime.operations.documents import commits, lanes, read, records, store
from tests.support.desks import ORGANIZATION, Desk, member

pytestmark = pytest.mark.virtual_clock


async def _clashing(desk: Desk, fields: int, value: Any = 2) -> Any:
    """Leave so many conflicts open, or try to."""
    names = [f"n{number}" for number in range(fields)]
    await desk.create(**dict.fromkeys(names, 0))
    await desk.edit("ann", baseVersion=1, changes=dict.fromkeys(names, 1))
    return await desk.edit("bob", baseVersion=1, changes=dict.fromkeys(names, value), strategy="manual")


async def test_more_open_conflicts_than_allowed_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that would leave too many open is refused, and leaves nothing; what is open stays what is counted."""
    monkeypatch.setattr(commits, "MAX_OPEN", 5)
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
    monkeypatch.setattr(commits, "MAX_OPEN_BYTES", 20_000)
    assert (await _clashing(desk, 1, "x" * 9000)).status == "parked"
    large = {"n0": "y" * 9000}
    refused = await desk.edit("eve", baseVersion=1, changes=large, strategy="manual")
    assert (refused.status, refused.code) == ("refused", "limit_exceeded")
    await desk.resolve(resolution="reject")
    assert (await desk.edit("eve", baseVersion=1, changes=large, strategy="manual")).status == "parked"


@pytest.mark.parametrize("by", ["edit", "decision"])
async def test_refreshing_open_records_is_bounded_by_bytes_as_opening_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Many open records of one place follow its value: a large one counts for each of them, and is refused as a whole."""
    monkeypatch.setattr(commits, "MAX_OPEN_BYTES", 14_000)
    await desk.create(n=0)
    await desk.edit("ann", baseVersion=1, changes={"n": 1})
    for number in range(20):
        outcome = await desk.edit("bob", baseVersion=1, changes={"n": f"v{number}"}, strategy="manual")
        assert outcome.status == "parked"
    before, head = await desk.opened(), await desk.read()
    large = "x" * 1000
    if by == "edit":
        refused = await desk.edit("ann", baseVersion=2, changes={"n": large})
        assert (refused.status, refused.code, refused.version) == ("refused", "limit_exceeded", 2)
    else:
        first = {"conflictId": before[0]["conflictId"], "rev": before[0]["rev"], "take": "value", "value": large}
        with pytest.raises(Refused) as caught:
            await desk.resolve(decisions=[first])
        assert caught.value.code == "limit_exceeded"
    assert (await desk.opened(), await desk.read()) == (before, head)
    assert (await desk.edit("ann", baseVersion=2, changes={"n": "small"})).status == "applied"
    assert [each["currentValue"] for each in await desk.opened()] == ["small"] * 20


async def test_what_grows_no_further_passes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more is open than may be, whatever the reason, an edit that leaves less is not held up; one that leaves more is."""
    assert (await _clashing(desk, 4, "x" * 1000)).status == "parked"
    monkeypatch.setattr(commits, "MAX_OPEN", 2)
    monkeypatch.setattr(commits, "MAX_OPEN_BYTES", 1000)
    refused = await desk.edit("ann", baseVersion=2, changes={"n0": "y" * 2000})
    assert (refused.status, refused.code) == ("refused", "limit_exceeded")
    assert (await desk.edit("ann", baseVersion=2, changes={"n0": 7, "n1": "x" * 1000})).status == "applied"
    assert len(await desk.opened()) == 3


async def test_what_commits_leave_in_memory_is_what_the_store_would_give(desk: Desk) -> None:
    """Opened, refreshed, superseded, decided: what a lane knows of a document and its sizes is what a fresh load would say."""
    await _clashing(desk, 4)
    await desk.edit("ann", baseVersion=2, changes={"n0": "longer", "n1": 2})
    first = (await desk.opened())[0]
    await desk.resolve(decisions=[{"conflictId": first["conflictId"], "rev": first["rev"], "take": "incoming"}])
    await desk.edit("ann", baseVersion=4, changes={"n2": 5})
    log, kept = LogName(ORGANIZATION), desk.documents.store
    async with desk.documents.edits._lanes.turn(log, "d1") as lane:
        held, stored, sizes = lane.loaded, await kept.load(log, "d1"), dict[int, int]()
        await kept.read_entries(log, "d1", 4, 5, sizes=sizes)
    assert held is not None
    assert (held.head, held.revision, held.size) == (stored.head, stored.revision, stored.size)
    assert {str(each.conflict_id): each for each in held.open_records} == {
        str(each.conflict_id): each for each in stored.open_records
    }
    assert held.open_sizes == stored.open_sizes
    assert len(held.open_sizes) == 2
    assert held.entry_sizes == sizes


async def test_entries_read_for_somebody_far_behind_are_counted_in_memory(desk: Desk) -> None:
    """What is held of a document's past counts as it is stored: few operations may hold much."""
    await desk.create(text="")
    for version in range(1, 20):
        await desk.edit("ann", baseVersion=version, changes={"text": f"{version % 10}" * 10_000})
    await desk.edit("ann", baseVersion=20, changes={"text": ""})
    held = desk.documents.edits._lanes
    held.forget(LogName(ORGANIZATION), "d1")
    await desk.edit("bob", baseVersion=21, changes={"title": "t"})
    (lane,) = held._lanes.values()
    assert lane.loaded is not None
    before = lane.size
    assert before < 20_000
    await desk.edit("bob", baseVersion=2, changes={"text": "another"})
    assert lane.size == lane.loaded.held_bytes > 8 * 19 * 10_000


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


class Weighed:
    """An engine that says how many bytes of records the largest answer had."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        snapshot = await self._engine.records(log, queries)
        self.most = max(self.most, sum(len(each.value) for found in snapshot.results for each in found))
        return snapshot


async def _pages_of_conflicts(desk: Desk, **asked: bool) -> list[list[ConflictRecord]]:
    pages: list[list[ConflictRecord]] = []
    after: str | None = None
    while True:
        page = await desk.documents.conflicts(member("ann"), "d1", after=after, **asked)
        pages.append(list(page.conflicts))
        if page.next is UNSET:
            return pages
        after = page.next


@pytest.mark.parametrize("reads", ["at once", "by and by"])
async def test_conflicts_come_in_pages_of_bytes(desk: Desk, monkeypatch: pytest.MonkeyPatch, reads: str) -> None:
    """An answer ends with the conflict that makes it too large, the next goes on behind it, open ones first; no more is read than that."""
    await _clashing(desk, 12, "x" * 6000)
    opened = await desk.opened()
    monkeypatch.setattr(read, "MAX_ANSWER_BYTES", 45_000)
    if reads == "by and by":
        monkeypatch.setattr(store, "PAGE_BYTES", 15_000)
        monkeypatch.setattr(store, "PAGE", 3)
    taken = [{"conflictId": each["conflictId"], "rev": each["rev"], "take": "current"} for each in opened[::2]]
    await desk.resolve(decisions=taken)
    desk.documents.store.engine = weighed = Weighed(desk.engine)  # type: ignore[assignment]  # it delegates
    for with_decided, wanted in ((False, opened[1::2]), (True, opened[1::2] + opened[::2])):
        pages = await _pages_of_conflicts(desk, with_decided=with_decided)
        assert [each.conflict_id for page in pages for each in page] == [each["conflictId"] for each in wanted]
        # Each has its value twice: wanted, and suggested.
        assert {len(page) for page in pages[:-1]} == {4}
    assert weighed.most < (15_000 if reads == "by and by" else 45_000) + 13_000


async def test_conflicts_go_on_where_one_was_decided_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decided between two pages is missed by nobody who asks for all."""
    await _clashing(desk, 4)
    opened = await desk.opened()
    monkeypatch.setattr(read, "MAX_CONFLICTS", 2)
    first = await desk.documents.conflicts(member("ann"), "d1", with_decided=True)
    await desk.resolve(resolution="reject")
    assert first.next is not UNSET
    rest = await desk.documents.conflicts(member("ann"), "d1", with_decided=True, after=first.next)
    assert [each.conflict_id for each in first.conflicts] == [each["conflictId"] for each in opened[:2]]
    assert [each.conflict_id for each in rest.conflicts] == [each["conflictId"] for each in opened[:2]]
    assert rest.next is not UNSET
    rest = await desk.documents.conflicts(member("ann"), "d1", with_decided=True, after=rest.next)
    assert [(each.conflict_id, each.status) for each in rest.conflicts] == [
        (each["conflictId"], "resolved") for each in opened[2:]
    ]


@pytest.mark.parametrize(
    "after", ["", "open", "open:", "closed:cfl-1", "open:cfl 1", "open:\x1f", "decided:" + "c" * 129]
)
async def test_a_place_that_no_answer_named_is_refused(desk: Desk, after: str) -> None:
    """`after` of conflicts is what an answer said; anything else is the caller's mistake."""
    await desk.create()
    with pytest.raises(InvalidInput) as caught:
        await desk.documents.conflicts(member("ann"), "d1", with_decided=True, after=after)
    assert (caught.value.code, caught.value.path) == ("invalid_parameter", ("after",))


async def test_reading_a_document_reads_nothing_that_is_open_of_it(desk: Desk) -> None:
    """Who looks at a document, its past or its conflicts is answered with what is shown, whatever is open."""
    await _clashing(desk, 4, "x" * 10_000)
    desk.documents.store.engine = weighed = Weighed(desk.engine)  # type: ignore[assignment]  # it delegates
    assert (await desk.read()).open_conflicts == 4
    await desk.read(version=1)
    assert (await desk.edit("bob", baseVersion=2, changes={"/__proto__": 1})).version == 2
    assert weighed.most < 2000
    await desk.opened()
    assert weighed.most > 40_000


async def test_who_misses_open_conflicts_goes_no_further(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Where fewer are found than the document counts nothing is committed on it, and the log says so; it can still be read."""
    await _clashing(desk, 3)
    first = (await desk.opened())[0]
    key = records.open_key("d1", first["conflictId"])
    log, engine = LogName(ORGANIZATION), desk.engine
    ((kept,),) = (await engine.records(log, [records.exact(key)])).results
    await engine.commit(log, Commit(delete=[key]))
    desk.documents.edits._lanes.forget(log, "d1")
    for act in (
        desk.edit("ann", baseVersion=2, changes={"n1": 9}),
        desk.move("voided"),
        desk.resolve(resolution="reject"),
    ):
        with pytest.raises(Unavailable, match="2 open conflicts were found of a document that counts 3"):
            await act
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 3
    assert (told[0].document, told[0].counted, told[0].found) == ("d1", 3, 2)  # type: ignore[attr-defined]  # extra fields
    assert (await desk.read()).version == 2
    await engine.commit(log, Commit(put=[kept]))
    assert (await desk.edit("ann", baseVersion=2, changes={"n1": 9})).status == "applied"
