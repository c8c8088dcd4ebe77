"""What is undecided on all nodes: told by who counts it, asked for hardly ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import convert

from signtusk_realtime.delivery.ephemeral import between_nodes
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import CONTROL_LOG, Commit, LogName
from signtusk_realtime.operations.documents.records import CONFLICT_STATISTICS, Statistics, put
from signtusk_realtime.operations.documents.statistics import PACE_S, PAGE, PAGE_PAUSE_S, SWEEP_S
from signtusk_realtime.protocol.edits import EditBody, ResolveBody
from tests.support.clock import elapse, settle
from tests.support.delivery import member
from tests.support.people import PresenceNode, presence_nodes

pytestmark = pytest.mark.virtual_clock

ONE = Statistics(1, 1, 1)
NOTHING = Statistics()


@asynccontextmanager
async def counting(count: int) -> AsyncIterator[list[PresenceNode]]:
    async with presence_nodes(count) as nodes:
        for node in nodes:
            await node.verbs.documents.statistics.start()
        yield nodes


async def edit(node: PresenceNode, organization: str, change: str, by: str = "ann", **body: Any) -> None:
    asked = convert({"changeId": change} | body, EditBody)
    await node.verbs.documents.edit(member(by, organization), "d1", asked, connection_id=None)


async def disagree(node: PresenceNode, organization: str = "org123") -> None:
    """Leave one conflict open."""
    await edit(node, organization, "c1", baseVersion=0, changes={"title": "x"})
    await edit(node, organization, "c2", baseVersion=1, changes={"title": "A"})
    await edit(node, organization, "c3", by="bob", baseVersion=1, changes={"title": "B"}, strategy="manual")


async def decide(node: PresenceNode, organization: str = "org123") -> None:
    asked = convert({"resolution": "overwrite"}, ResolveBody)
    await node.verbs.documents.resolve(member("cy", organization), "d1", asked)


def totals(nodes: list[PresenceNode]) -> list[Statistics]:
    return [node.verbs.documents.statistics.total for node in nodes]


async def test_what_one_counts_all_count() -> None:
    """At once where it happened; elsewhere when it is told."""
    async with counting(3) as nodes:
        await disagree(nodes[0])
        await disagree(nodes[1], "other")
        assert [total.active_conflicts for total in totals(nodes)] == [1, 1, 0]
        await settle()
        assert totals(nodes) == [Statistics(2, 2, 2)] * 3
        await decide(nodes[2])
        await elapse(PACE_S)
        assert totals(nodes) == [ONE] * 3


async def test_what_changes_often_is_told_at_a_pace() -> None:
    """The last figures are told, and once a second."""
    async with counting(2) as [a, b]:
        heard: list[bytes] = []
        hear = b.hub.ephemeral.heard_by_all
        b.hub.ephemeral.heard_by_all = lambda body: (heard.append(body), hear(body))[1]
        for number in range(5):
            await disagree(a, f"org{number}")
            await settle()
        await decide(a, "org0")
        await elapse(PACE_S)
        assert len(heard) == 2
        assert totals([b]) == [Statistics(4, 4, 4)]


async def test_nothing_is_asked_while_nothing_happens() -> None:
    """However many organizations there are: what a node reads until the next sweep does not grow with them."""
    async with counting(1) as [node]:
        for number in range(100):
            await edit(node, f"org{number}", "c1", baseVersion=0, changes={"title": "x"})
        node.engine.asked.clear()
        await elapse(300)
        assert [log for log in node.engine.asked if log.startswith("org")] == []


async def test_a_sweep_finds_what_was_not_heard() -> None:
    """A node that was cut off counts right again, a page of organizations a second, and what it had heard of a log that is gone no more."""
    async with counting(2) as [a, b]:
        b.engine.is_deaf = True
        for number in range(PAGE + 1):
            await disagree(a, f"org{number:04}")
        b.hub.ephemeral.heard_by_all(
            b'{"kind":"conflicts","counted":{"gone":[{"activeConflicts":9,"pendingChanges":9,"documentsWithConflicts":9},9]}}'
        )
        assert totals([b]) == [Statistics(9, 9, 9)]
        await elapse(SWEEP_S + PAGE_PAUSE_S / 2)
        assert 9 < totals([b])[0].active_conflicts <= PAGE + 9
        await elapse(2 * PAGE_PAUSE_S)
        assert totals([a, b]) == [Statistics(PAGE + 1, PAGE + 1, PAGE + 1)] * 2


async def test_a_sweep_lists_once() -> None:
    """A listing may cost an engine as much as it has partitions, however few names it gives: one has all, and one the end."""
    async with counting(1) as [node]:
        for number in range(3 * PAGE):
            await edit(node, f"org{number}", "c1", baseVersion=0, changes={"title": "x"})
        node.engine.listed = 0
        await elapse(SWEEP_S + 5 * PAGE_PAUSE_S)
        assert node.engine.listed == 2


async def test_what_could_not_be_told_is_told_later() -> None:
    """An engine that was away for a moment keeps no other node in the dark; what has changed meanwhile is told as it is then."""
    async with counting(2) as [a, b]:
        away = a.engine.stuck[CONTROL_LOG] = asyncio.get_running_loop().create_future()
        away.set_exception(Unavailable("away"))
        await disagree(a)
        await disagree(a, "other")
        await elapse(2 * PACE_S)
        await decide(a, "other")
        assert totals([b]) == [NOTHING]
        del a.engine.stuck[CONTROL_LOG]
        await elapse(2 * PACE_S)
        assert totals([a, b]) == [ONE] * 2


async def test_who_tells_late_changes_nothing() -> None:
    """The newer record counts, in whichever order two nodes tell of it; what is not understood is passed over."""
    async with counting(2) as [a, b]:
        late: list[bytes] = []
        hear, b.hub.ephemeral.heard_by_all = b.hub.ephemeral.heard_by_all, late.append
        await disagree(a)
        await settle()
        b.hub.ephemeral.heard_by_all = hear
        await decide(b)
        await settle()
        assert late
        for body in (*late, b"{}", b"nonsense"):
            await a.engine.signal(CONTROL_LOG, between_nodes(body))
        await settle()
        assert totals([a, b]) == [NOTHING] * 2


async def test_a_log_that_begins_anew_counts_from_its_beginning() -> None:
    """Its record's version is lower than what was known of the lost one."""
    async with counting(1) as [node]:
        await disagree(node)
        await node.engine.commit(LogName("org123"), Commit(put=[put(CONFLICT_STATISTICS, NOTHING, version=1)]))
        await elapse(SWEEP_S + PAGE_PAUSE_S)
        assert totals([node]) == [NOTHING]
