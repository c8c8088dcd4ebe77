"""History: bounds of a page, cursors that continue exactly, and those that cannot be continued."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import CursorExpired, Forbidden
from signtusk_realtime.events.log import Commit, Draft, LogName, Page, Retention
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.history import History, HistoryPage
from signtusk_realtime.protocol import cursor
from signtusk_realtime.sessions.identity import ANY_ORGANIZATION, Grant, Identity
from tests.support.delivery import Node, grant, guest, member, started_node, subscription

ALL = None


@pytest.fixture
async def node() -> Any:
    async with started_node() as started:
        yield started


def ids(page: HistoryPage) -> list[str]:
    return [json.loads(bytes(e.event))["id"] for e in page.events]


async def read(
    node: Node, after: str | None = None, limit: int = 100, wanted: Any = ALL, identity: Identity | None = None
) -> HistoryPage:
    return await History(node.engine)(identity or member(), wanted, after=after, limit=limit)


async def refusal(node: Node, after: str, identity: Identity | None = None) -> CursorExpired:
    with pytest.raises(CursorExpired) as refused:
        await read(node, after, identity=identity)
    return refused.value


async def test_oldest_first_announcements_before_the_rest(node: Node) -> None:
    """All that the identity may see, in log order, the system log first; presence too, which a stream's default leaves out."""
    first = [await node.happen(kind) for kind in ("document_update", "user_presence", "organization_activity")]
    announced = await node.happen("system_announcement")
    await node.happen(organization_id="org456")
    await node.happen("notification", userId="somebody else")
    page = await read(node)
    assert ids(page) == [announced, *first]
    assert not page.more


async def test_a_page_has_so_many(node: Node) -> None:
    """`limit` bounds a page; `more` says whether there may be more; the cursor goes on exactly."""
    published = [await node.happen() for _ in range(5)]
    page = await read(node, limit=3)
    assert (ids(page), page.more) == (published[:3], True)
    rest = await read(node, page.cursor, limit=2)
    assert (ids(rest), rest.more) == (published[3:], False)
    assert ids(await read(node, rest.cursor)) == []
    late = await node.happen()
    assert ids(await read(node, rest.cursor)) == [late]
    assert ids(await read(node, page.events[0].cursor, limit=1)) == [published[1]]


async def test_filters_and_types(node: Node) -> None:
    """Subscriptions choose; what they do not match is passed over, and the cursor covers it."""
    await node.happen(documentId="other")
    wanted = await node.happen(documentId="mine")
    await node.happen("team_update")
    page = await read(node, wanted=(subscription("document_updates", document_id="mine"),))
    assert ids(page) == [wanted]
    assert ids(await read(node, page.cursor)) == []


async def test_a_call_reads_only_so_much(node: Node) -> None:
    """Bound by bytes of log read: fewer events than asked for, even none, with `more` and a cursor past what was read."""
    for _ in range(4):
        await node.happen(documentId="other")
    wanted = await node.happen(documentId="mine")
    entry = (await node.engine.read(LogName("org123"), 0, 1)).entries[0]
    history = History(node.engine, read_bytes=len(entry.body) * 2)
    asked = (subscription("document_updates", document_id="mine"),)
    found, after, calls, more = list[str](), "earliest", 0, True
    while more:
        page = await history(member(), asked, after=after, limit=100)
        found += ids(page)
        after, more = page.cursor, page.more
        calls += 1
    assert found == [wanted]
    assert calls == 3


async def test_what_a_guest_sees(node: Node) -> None:
    """Through the same selection and view as live delivery; what lies outside the grants is forbidden, not unknown."""
    await node.happen()
    await node.happen(documentId="other")
    await node.happen("signature_status", recipientId="me")
    await node.happen("signature_status", recipientId="she")
    await node.happen("system_announcement")
    identity = guest(grant(document_id="doc123", recipient_id="me"))
    page = await read(node, identity=identity)
    events = [json.loads(bytes(e.event)) for e in page.events]
    assert [e["type"] for e in events] == ["document_updated", "signature_completed", "signature_completed"]
    assert [len(e["payload"]["signatureData"]) for e in events[1:]] == [4, 1]
    for asked in (subscription("document_updates", document_id="other"), Subscription("user_presence")):
        with pytest.raises(Forbidden):
            await read(node, identity=identity, wanted=(asked,))
    # Whoever may see nothing is told so, as by an event stream; an empty page would say that nothing happened.
    for identity in (guest(), guest(Grant(actions=("edit",), document_id="doc123"))):
        with pytest.raises(Forbidden):
            await read(node, identity=identity)


async def test_a_service_reads_nothing(node: Node) -> None:
    """A service has no organization of its own to read."""
    with pytest.raises(Forbidden):
        await read(node, identity=Identity(user_id="s", organization_id=ANY_ORGANIZATION))


async def test_earliest_and_latest(node: Node) -> None:
    """Both are cursors, answered with the position they stood for."""
    published = [await node.happen() for _ in range(2)]
    assert ids(await read(node, "earliest")) == published == ids(await read(node))
    page = await read(node, "latest")
    assert page.events == []
    late = await node.happen()
    assert ids(await read(node, page.cursor)) == [late]


async def test_a_published_events_cursor_continues(node: Node) -> None:
    """The cursor of a publication's result names the beginning of the system log: announcements come, then what followed it."""
    await node.happen()
    announced = await node.happen("system_announcement")
    entries = (await node.engine.read(LogName("org123"), 0, 1000)).entries
    top = (await node.engine.read(LogName("org123"), 0, 1)).top
    after = cursor.encode("org123", top.position._replace(offset=1, tag=entries[0].tag), None)
    late = await node.happen()
    assert ids(await read(node, after)) == [announced, late]


async def test_what_is_not_ours_is_unknown(node: Node) -> None:
    """Malformed, damaged or another organization's cursors are `unknown`, with the top to go on from."""
    await node.happen()
    page = await read(node)
    for text in ("", "nonsense", page.cursor[:-1], page.cursor[:-1] + ("A" if page.cursor[-1] != "A" else "B")):
        error = await refusal(node, text)
        assert error.reason == "unknown"
        assert ids(await read(node, error.cursor)) == []
    assert (await refusal(node, page.cursor, member("ada", "org456"))).reason == "unknown"


async def test_another_life_of_the_log_is_told(node: Node) -> None:
    """An epoch that ended, a tag that is not the log's, a place beyond its top: `epoch`."""
    for _ in range(3):
        await node.happen()
    top = (await node.engine.read(LogName("org123"), 0, 1)).top
    system = (await node.engine.read(LogName("*"), 0, 1)).top.position
    here = top.position
    for place in (
        here._replace(tag=b"other"),
        here._replace(offset=2),
        here._replace(offset=4),
        here._replace(epoch="f" * 16),
        top.floor._replace(tag=b"other"),
    ):
        assert (await refusal(node, cursor.encode("org123", place, system))).reason == "epoch"
    assert (await refusal(node, cursor.encode("org123", here, system._replace(offset=1)))).reason == "epoch"
    page = await read(node)
    await node.engine.forget(LogName("org123"))
    await node.happen()
    assert (await refusal(node, page.cursor)).reason == "epoch"


async def test_what_retention_took_is_told() -> None:
    """A cursor below the floor is `expired`; one at the floor, or at the top of a log that was emptied, has missed nothing."""
    engine = MemoryEngine(retention=Retention(count=2))
    async with started_node(engine=engine) as node:
        cursors = []
        for _ in range(4):
            await node.happen()
            cursors.append((await read(node, "latest")).cursor)
        assert len(ids(await read(node))) == 2
        error = await refusal(node, cursors[0])
        assert error.reason == "expired"
        assert len(ids(await read(node, cursors[1]))) == 2
        assert ids(await read(node, error.cursor)) == []
    now = [1000]
    engine = MemoryEngine(retention=Retention(age_ms=10), clock=lambda: now[0])
    async with started_node(engine=engine) as node:
        await node.happen()
        page = await read(node)
        now[0] += 100
        assert ids(await read(node, page.cursor)) == []
        late = await node.happen()
        assert ids(await read(node, page.cursor)) == [late]


async def test_the_earliest_is_what_is_still_there() -> None:
    """Whoever asks for all there is gets that, though retention takes the beginning while it is looked for."""

    class Overtaken(MemoryEngine):
        """Loses its oldest entries between two reads of the organization's log, once."""

        reads = 0

        async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
            page = await super().read(log, after, max_bytes)
            self.reads += log == "org123"
            if self.reads == 1 and log == "org123":
                now[0] += 100
                await super().commit(log, Commit([Draft("late", b"", ("document_updated",), page.entries[0].body)]))
            return page

    now = [1000]
    engine = Overtaken(retention=Retention(age_ms=10), clock=lambda: now[0])
    async with started_node(engine=engine) as node:
        await node.happen()
        engine.reads = 0
        page = await read(node)
        assert len(page.events) == 1
        assert not page.more
        assert ids(await read(node, page.cursor)) == []


async def test_many_wishes_cost_an_entry_no_more_than_one() -> None:
    """An entry is found by what it is, and not compared with all that was asked for: a member may ask for a hundred things."""
    looks = 0

    class Keys(tuple[str, ...]):
        __slots__ = ()

        def __contains__(self, key: object) -> bool:
            nonlocal looks
            looks += 1
            return super().__contains__(key)

    class Watched(MemoryEngine):
        async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
            page = await super().read(log, after, max_bytes)
            return page._replace(entries=[entry._replace(keys=Keys(entry.keys)) for entry in page.entries])

    async with started_node(engine=Watched()) as node:
        for number in range(20):
            await node.happen(documentId=f"d{number}")
        wanted = tuple(subscription("document_updates", document_id=f"d{number}") for number in range(10, 110))
        assert len((await read(node, wanted=wanted)).events) == 10
        assert looks <= 2 * 20
