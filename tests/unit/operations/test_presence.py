"""Who is there: on one node and on several, told at the pace and in the form of spec/protocol.md §15."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from msgspec import Raw

from signtusk_realtime.cluster.registry import HEARTBEAT_S
from signtusk_realtime.errors import Forbidden, Unavailable
from signtusk_realtime.events.log import LogName, Range
from signtusk_realtime.operations.presence.presence import LEAVE_MS, METADATA_BYTES
from signtusk_realtime.operations.presence.shared import PRESENCE
from signtusk_realtime.operations.presence.sharing import FIRST_S, LOOK_S, PACE_S, RECHECK_S
from signtusk_realtime.operations.presence.watch import MOST_COMPARED, MOST_TOLD
from signtusk_realtime.operations.signal import DATA_BYTES, MOST_WAITING
from tests.support.clock import elapse, settle
from tests.support.delivery import grant, guest, member
from tests.support.people import PresenceClient, PresenceNode, Watcher, presence_nodes

pytestmark = pytest.mark.virtual_clock

LEAVE_S = LEAVE_MS / 1000
ONLINE = ("online", None)
TOLD_S = PACE_S + 3 * FIRST_S
"""Until whatever happened has been told, here and on other nodes."""


async def watch(node: PresenceNode, user_id: str = "watcher") -> Watcher:
    watcher = Watcher(await node.client(user_id))
    await elapse(TOLD_S)
    await watcher.look()
    watcher.told.clear()
    return watcher


async def told(watcher: Watcher) -> list[dict[str, Any]]:
    """Give the users of all messages since the last time."""
    await watcher.look()
    messages, watcher.told[:] = list(watcher.told), []
    return [user for message in messages for user in message["users"]]


async def test_who_connects_is_told_once() -> None:
    """The first connection of a user is `online`; a second says nothing new, nor does the end of one of two."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        first = await node.client("ann")
        await elapse(TOLD_S)
        [user] = await told(watcher)
        assert (user["userId"], user["status"]) == ("ann", "online")
        assert user.keys() == {"userId", "status", "lastSeen"}
        second = await node.client("ann")
        await elapse(TOLD_S)
        first.leave()
        await elapse(2 * LEAVE_S)
        assert await told(watcher) == []
        [ann, _] = (await node.verbs.presence.of("org123")).users
        assert (ann.user_id, ann.connections) == ("ann", 1)
        second.leave()


async def test_who_is_gone_is_told_after_the_delay() -> None:
    """Nobody is gone before the delay is over; then it is told with the time at which the last connection closed."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        ann = await node.client("ann")
        await elapse(5)
        ann.leave()
        await elapse(LEAVE_S - 0.1)
        assert [user["status"] for user in await told(watcher)] == ["online"]
        [found, _] = (await node.verbs.presence.of("org123")).users
        assert (found.user_id, found.connections) == ("ann", 0)
        await elapse(0.1 + TOLD_S)
        [gone] = await told(watcher)
        assert (gone["userId"], gone["status"], gone["lastSeen"]) == ("ann", "offline", found.last_seen)
        assert await node.there() == {"watcher": ONLINE}
        assert node.hub.counters.people == 1


async def test_loading_a_page_again_is_no_departure() -> None:
    """Who is back before the delay is over was never gone, however often; what was said before counts as long."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        ann = await node.client("ann")
        ann.declare(("busy", "d1"))
        await elapse(TOLD_S)
        assert [user["status"] for user in await told(watcher)] == ["busy"]
        for _ in range(5):
            ann.leave()
            await elapse(LEAVE_S - 1)
            ann = await node.client("ann")
            ann.declare(("busy", "d1"))
            await elapse(2)
        assert await told(watcher) == []
        ann.leave()
        ann = await node.client("ann")
        await elapse(LEAVE_S + TOLD_S)
        # The new page said nothing: what the old one had said ends with the delay.
        assert [(user["status"], user.get("currentDocument")) for user in await told(watcher)] == [ONLINE]


async def test_the_delay_begins_with_the_last_departure() -> None:
    """Who came back and left again is there for as long from then on."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        (await node.client("ann")).leave()
        await elapse(LEAVE_S / 2)
        (await node.client("ann")).leave()
        await elapse(LEAVE_S / 2 + TOLD_S)
        assert [user["status"] for user in await told(watcher)] == ["online"]
        await elapse(LEAVE_S / 2)
        assert [user["status"] for user in await told(watcher)] == ["offline"]


async def test_the_newest_word_counts() -> None:
    """Of several connections the newest message counts, until its connection has closed; then the one before."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        one, two = await node.client("ann"), await node.client("ann")
        one.declare(("away", "d1"))
        await elapse(TOLD_S)
        two.declare(("busy", None), metadata={"page": 3})
        await elapse(TOLD_S)
        first, second = await told(watcher)
        assert (first["status"], first["currentDocument"]) == ("away", "d1")
        assert (second["status"], second["metadata"]) == ("busy", {"page": 3})
        assert "currentDocument" not in second
        two.leave()
        await elapse(LEAVE_S + TOLD_S)
        assert [(user["status"], user["currentDocument"]) for user in await told(watcher)] == [("away", "d1")]
        one.declare(("offline", None))
        await elapse(TOLD_S)
        assert [user["status"] for user in await told(watcher)] == ["offline"]
        assert await node.there() == {"watcher": ONLINE}


async def test_an_organization_is_told_at_most_once_a_second() -> None:
    """What changes within a second is one message; what changes back within it is none."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        ann, ben = await node.client("ann"), await node.client("ben")
        times: list[float] = []
        began = asyncio.get_running_loop().time()
        for step in range(50):
            ann.declare(("away", f"d{step}"))
            ben.declare(("away", f"d{step}"))
            ben.declare(("online", None))
            await elapse(0.1)
            await watcher.look()
            if watcher.told:
                times.append(asyncio.get_running_loop().time() - began)
                watcher.told.clear()
        assert len(times) in (5, 6)
        assert all(later - earlier > PACE_S - 0.11 for earlier, later in pairwise(times))
        await elapse(TOLD_S)
        await watcher.look()
        assert watcher.people["ann"] == ("away", "d49")
        assert watcher.people["ben"] == ONLINE


async def test_more_than_fit_are_counted() -> None:
    """Above 200 users in one message there is only their number, and the call says who they are."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        clients = [await node.client(f"user{number}") for number in range(MOST_TOLD)]
        await elapse(TOLD_S)
        assert len(await told(watcher)) == MOST_TOLD
        clients += [await node.client(f"more{number}") for number in range(MOST_TOLD + 1)]
        await elapse(TOLD_S)
        await watcher.look()
        assert [message for message in watcher.told if "users" in message] == []
        assert watcher.told[-1] == {"type": "presence", "truncated": True, "online": 2 * MOST_TOLD + 2}
        assert len(watcher.people) == 2 * MOST_TOLD + 2


async def test_very_many_at_once_are_not_compared() -> None:
    """Where thousands come in a moment, everybody who follows is told their number, whatever his filters."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        of_one = await node.client("w2")
        of_one.say(type="subscribe", subscription={"type": "user_presence", "filters": {"userId": "user7"}})
        hidden = await node.client("hid")
        hidden.declare(("offline", None))
        await node.publish("pub", ("busy", None))
        await node.publish("gone", ("offline", None))
        await elapse(TOLD_S)
        await watcher.look()
        watcher.told.clear()
        of_one.messages()
        for number in range(MOST_COMPARED + 1):
            await node.client(f"user{number}")
        await elapse(TOLD_S)
        await watcher.look()
        expected = {"type": "presence", "truncated": True, "online": MOST_COMPARED + 4}
        assert watcher.told == of_one.messages() == [expected]
        assert len(watcher.people) == MOST_COMPARED + 4


async def test_an_answer_is_kept_until_something_changes() -> None:
    """Who asks after a change is told of it; who asks again is given the same, for a second."""
    async with presence_nodes(2) as [a, b]:
        ann = member("ann")
        for node in (a, b):
            await watch(node, f"watcher-{node.name}")
        reads = 0
        records = a.engine.records

        async def counted(*what: Any) -> Any:
            nonlocal reads
            reads += what[0] == "org123"
            return await records(*what)

        a.engine.records = counted  # type: ignore[method-assign]  # counts what goes on to be done
        first = await a.verbs.presence.get(ann)
        assert await a.verbs.presence.get(ann) is first
        assert reads == 1
        ben = await b.client("ben")
        await elapse(TOLD_S)
        assert b'"ben"' in (await a.verbs.presence.get(ann))
        await a.client("cleo")
        assert b'"cleo"' in (await a.verbs.presence.get(ann))
        ben.declare(("away", "d1"))
        await elapse(TOLD_S)
        assert b'"ben"' in (await a.verbs.presence.get(ann, "d1"))
        await a.publish("dan", ("busy", None))
        assert b'"dan"' in (await a.verbs.presence.get(ann))


async def test_filters_narrow_what_is_told() -> None:
    """By document: who comes to it, is otherwise there, or leaves it; by user: that user."""
    async with presence_nodes(1) as [node]:
        at_d1 = await node.client("w1")
        at_d1.say(type="subscribe", subscription={"type": "user_presence", "filters": {"documentId": "d1"}})
        of_ann = await node.client("w2")
        of_ann.say(type="subscribe", subscription={"type": "user_presence", "filters": {"userId": "ann"}})
        await elapse(TOLD_S)
        at_d1.messages(), of_ann.messages()
        ann, ben = await node.client("ann"), await node.client("ben")
        found: list[tuple[list[str], list[str]]] = []
        for how in (None, ("away", "d1"), ("busy", "d1"), ("busy", "d2"), ("online", "d2")):
            for client in (ann, ben):
                if how is not None:
                    client.declare(how)
            await elapse(TOLD_S)
            told_of = [
                sorted(f"{u['userId']} {u['status']}" for m in one.messages("presence") for u in m["users"])
                for one in (at_d1, of_ann)
            ]
            found.append((told_of[0], told_of[1]))
        assert found == [
            ([], ["ann online"]),
            (["ann away", "ben away"], ["ann away"]),
            (["ann busy", "ben busy"], ["ann busy"]),
            (["ann busy", "ben busy"], ["ann busy"]),
            ([], ["ann online"]),
        ]


async def test_nothing_crosses_organizations() -> None:
    """People of another organization are in no message and no answer."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(a)
        for node in (a, b):
            other = await node.client("ann", "other")
            other.declare(("busy", "d1"))
            other.say(type="signal", signal="typing", documentId="d1")
        await elapse(RECHECK_S + TOLD_S)
        assert await told(watcher) == []
        assert await a.there() == {"watcher": ONLINE}
        assert await b.there("other") == {"ann": ("busy", "d1")}


async def test_guests_are_seen_and_see_nobody() -> None:
    """The subscription and the call are forbidden to them, and so is a document outside their grants."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        own = guest(grant(actions=("subscribe",), document_id="d1"), user_id="gil")
        gil = await node.admit(own)
        gil.declare(("busy", "d1"))
        gil.say(type="presence", status="busy", currentDocument="d2", requestId="r")
        gil.say(type="subscribe", subscription={"type": "user_presence"})
        gil.say(type="signal", signal="typing", documentId="d2")
        refused = gil.messages("error")
        assert [(one["code"], one["path"]) for one in refused] == [
            ("forbidden", "$.currentDocument"),
            ("forbidden", "$.subscription"),
            ("forbidden", "$.documentId"),
        ]
        await elapse(TOLD_S)
        assert [(user["userId"], user["currentDocument"]) for user in await told(watcher)] == [("gil", "d1")]
        assert gil.messages("presence") == []
        for identity in (own, member("service", "*")):
            with pytest.raises(Forbidden):
                await node.verbs.presence.get(identity)


async def test_too_much_beside_is_refused() -> None:
    """Metadata and a signal's data are bounded; what is refused changes nothing."""
    async with presence_nodes(1) as [node]:
        ann = await node.client("ann")
        ann.declare(("busy", None), metadata={"x": "y" * METADATA_BYTES})
        ann.say(type="signal", signal="focus", documentId="d1", data={"x": "y" * DATA_BYTES})
        assert [one["path"] for one in ann.messages("error")] == ["$.metadata", "$.data"]
        assert await node.there() == {"ann": ONLINE}


async def test_who_was_behind_is_told_to_ask_again() -> None:
    """A watcher whose socket is full gets no difference, and `truncated` once it has drained."""
    async with presence_nodes(1) as [node]:
        watcher = await watch(node)
        slow = await watch(node, "slow")
        connection = slow.client.connection
        node.hub.paused(connection)
        ann = await node.client("ann")
        await elapse(3 * TOLD_S)
        await slow.look()
        assert slow.told == []
        assert watcher.client.messages("presence") != []
        node.hub.drained(connection)
        await elapse(2 * TOLD_S)
        await slow.look()
        assert slow.told == [{"type": "presence", "truncated": True, "online": 3}]
        assert slow.people["ann"] == ONLINE
        ann.declare(("away", None))
        await elapse(TOLD_S)
        await slow.look()
        assert slow.people["ann"] == ("away", None)


async def test_what_an_application_publishes_counts() -> None:
    """It counts without a connection, the newest word wins, and those who follow get the event and no difference."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        await a.publish("ann", ("busy", "d1"))
        await elapse(TOLD_S)
        await watcher.look()
        assert watcher.people["ann"] == ("busy", "d1")
        assert watcher.told == []
        assert await b.there() == {"ann": ("busy", "d1"), "watcher": ONLINE}
        ann = await a.client("ann")
        await elapse(TOLD_S)
        assert await told(watcher) == []
        ann.declare(("away", None))
        await elapse(TOLD_S)
        assert [user["status"] for user in await told(watcher)] == ["away"]
        await b.publish("ann", ("offline", None))
        await elapse(TOLD_S)
        await watcher.look()
        assert "ann" not in watcher.people
        assert await a.there() == {"watcher": ONLINE}


async def test_nodes_know_each_others_people() -> None:
    """Connections are counted over all nodes; who moves from one to another was never gone."""
    async with presence_nodes(3) as [a, b, c]:
        watcher = await watch(c)
        ann = await a.client("ann")
        await elapse(TOLD_S)
        assert [user["status"] for user in await told(watcher)] == ["online"]
        again = await b.client("ann")
        await elapse(TOLD_S)
        assert [user.connections for user in (await c.verbs.presence.of("org123")).users] == [2, 1]
        ann.leave()
        await elapse(TOLD_S)
        assert [user.connections for user in (await c.verbs.presence.of("org123")).users] == [1, 1]
        await elapse(LEAVE_S + TOLD_S)
        assert await told(watcher) == []
        again.declare(("away", "d1"), metadata={"page": 3})
        await elapse(TOLD_S)
        assert [(user["status"], user["metadata"]) for user in await told(watcher)] == [("away", {"page": 3})]
        [found, _] = (await c.verbs.presence.of("org123")).users
        assert isinstance(found.metadata, Raw)
        assert bytes(found.metadata) == b'{"page":3}'
        assert await a.verbs.presence.connected("org123") == {"ann", "watcher"}
        again.leave()
        await elapse(2 * TOLD_S)
        assert "ann" in await a.there(), "for a while, although no connection is left"
        assert await a.verbs.presence.connected("org123") == {"watcher"}
        assert await b.verbs.presence.connected("org124") == set()
        await elapse(LEAVE_S)
        assert [user["status"] for user in await told(watcher)] == ["offline"]


async def test_a_killed_nodes_people_are_gone_within_two_heartbeats() -> None:
    """No ghosts: neither in the call nor for those who follow; who is elsewhere too stays."""
    async with presence_nodes(3) as [a, b, c]:
        watcher = await watch(c)
        for user_id in ("ann", "ben"):
            await a.client(user_id)
        await b.client("ben")
        await elapse(2 * TOLD_S)
        assert (await c.there()).keys() == {"ann", "ben", "watcher"}
        await a.kill()
        await elapse(2 * HEARTBEAT_S)
        assert (await b.there()).keys() == (await c.there()).keys() == {"ben", "watcher"}
        await elapse(LOOK_S + TOLD_S)
        await watcher.look()
        assert watcher.people.keys() == {"ben", "watcher"}
        assert watcher.seen("ben") == ["online"]


async def test_a_node_that_leaves_gives_its_people_time() -> None:
    """Who comes back on another node before the delay is over was never gone; who does not is."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        for user_id in ("ann", "ben"):
            await a.client(user_id)
        await elapse(2 * TOLD_S)
        await watcher.look()
        watcher.told.clear()
        await a.leave()
        await elapse(3)
        assert (await b.there()).keys() == {"ann", "ben", "watcher"}
        await b.client("ann")
        await elapse(LEAVE_S + LOOK_S + TOLD_S)
        assert [(user["userId"], user["status"]) for user in await told(watcher)] == [("ben", "offline")]
        assert (await b.there()).keys() == {"ann", "watcher"}


async def test_a_lost_message_is_made_good() -> None:
    """A difference that got lost between nodes is found out by the next one, or by looking again."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        b.engine.is_deaf = True
        await a.client("ann")
        await elapse(TOLD_S)
        assert await told(watcher) == []
        b.engine.is_deaf = False
        await a.client("ben")
        await elapse(2 * TOLD_S)
        assert {user["userId"] for user in await told(watcher)} == {"ann", "ben"}
        b.engine.is_deaf = True
        await a.client("cleo")
        await elapse(RECHECK_S + TOLD_S)
        assert [user["userId"] for user in await told(watcher)] == ["cleo"]


async def test_who_is_cut_off_from_others_calls_nobody_gone() -> None:
    """A node that sees no other keeps what it knew of them, and takes up what changed once it is back."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        ann = await a.client("ann")
        await elapse(TOLD_S)
        await told(watcher)
        b.engine.cut_off()
        await elapse(30)
        assert await told(watcher) == []
        b.engine.mend()
        await elapse(3)
        assert await told(watcher) == []
        ann.declare(("busy", None))
        await elapse(RECHECK_S)
        assert [user["status"] for user in await told(watcher)] == ["busy"]
        await watcher.look()
        assert (await a.there()).keys() == {"ann", "watcher"}


async def test_an_outage_for_all_shows_nobody_as_gone() -> None:
    """Nodes that come back together see one another's records as over until each has told again: nobody was offline."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        await a.client("ann")
        await elapse(TOLD_S)
        await told(watcher)
        for one in (a, b):
            one.engine.cut_off()
        await elapse(30)
        b.engine.mend()
        await elapse(1.5)
        a.engine.mend()
        await elapse(10)
        assert await told(watcher) == []
        assert (await b.there()).keys() == {"ann", "watcher"}


async def test_an_engine_that_refuses_writes_shows_nobody_as_gone() -> None:
    """No node can say that it lives: that is no death. Once they can again, whoever does not is gone."""
    async with presence_nodes(2) as [a, b]:
        watcher = await watch(b)
        await a.client("ann")
        await elapse(TOLD_S)
        await told(watcher)

        async def refused(log: LogName, what: Any) -> Any:
            raise Unavailable("no room")

        commits = {one: one.engine.commit for one in (a, b)}
        for one in commits:
            one.engine.commit = refused  # type: ignore[method-assign]  # as a full Redis would
        await elapse(60)
        assert await told(watcher) == []
        b.engine.commit = commits[b]  # type: ignore[method-assign]
        await elapse(3)
        assert await told(watcher) == []
        await elapse(10)
        assert [(user["userId"], user["status"]) for user in await told(watcher)] == [("ann", "offline")]


async def test_a_node_writes_one_record_for_an_organization() -> None:
    """Whatever comes and goes: one record, one commit a second at most, none where nobody is left, and none on a node alone."""
    async with presence_nodes(2) as [a, b]:
        commits = 0
        commit = a.engine.commit

        async def counted(log: LogName, what: Any) -> Any:
            nonlocal commits
            commits += log == "org123"
            return await commit(log, what)

        a.engine.commit = counted  # type: ignore[method-assign]  # counts what goes on to be done
        for step in range(100):
            await a.client(f"user{step}")
            await elapse(0.05)
        assert 4 <= commits <= 7
        [records] = (await b.engine.records(LogName("org123"), [Range(PRESENCE, "", "~", 100)])).results
        assert [record.key for record in records] == [a.name]
        for connection in list(a.hub.connections.values()):
            a.hub.lost(connection)
        await elapse(LEAVE_S + 2 * TOLD_S)
        [records] = (await b.engine.records(LogName("org123"), [Range(PRESENCE, "", "~", 100)])).results
        assert records == []
    async with presence_nodes(1) as [alone]:
        await alone.client("ann")
        await elapse(TOLD_S)
        [records] = (await alone.engine.records(LogName("org123"), [Range(PRESENCE, "", "~", 100)])).results
        assert records == []


async def test_a_moment_that_the_call_showed_is_put_right() -> None:
    """Who was there for a moment is told to be gone, for whoever asked meanwhile; also to those who follow the document of that moment."""
    async with presence_nodes(1) as [node]:
        watcher, reader = await watch(node), await follow(node, "reader", documentId="d2")
        reader.say(type="subscribe", subscription={"type": "user_presence", "filters": {"documentId": "d2"}})
        ann = await node.client("ann")
        ann.declare(("away", "d1"))
        await elapse(TOLD_S)
        await watcher.look()
        reader.messages()
        ann.declare(("busy", "d2"))
        await settle()
        assert (await node.there())["ann"] == ("busy", "d2")
        ann.declare(("away", "d1"))
        ben = await node.client("ben")
        await settle()
        assert (await node.there())["ben"] == ONLINE
        ben.declare(("offline", None))
        watcher.told.clear()
        await elapse(TOLD_S)
        await watcher.look()
        assert (watcher.seen("ann"), watcher.seen("ben")) == (["away"], ["offline"])
        assert [user["userId"] for one in reader.messages("presence") for user in one["users"]] == ["ann"]


async def follow(node: PresenceNode, user_id: str, organization_id: str = "org123", **filters: str) -> PresenceClient:
    client = await node.client(user_id, organization_id)
    client.say(type="subscribe", subscription={"type": "document_updates", "filters": filters})
    await settle()
    client.messages()
    return client


async def test_signals_reach_others_who_follow_the_document() -> None:
    """On every node, also the same user's other windows; not who sent it, not who follows something else."""
    async with presence_nodes(2) as [a, b]:
        sender, own = await follow(a, "ann", documentId="d1"), await follow(b, "ann")
        here, there = await follow(a, "ben", documentId="d1"), await follow(b, "ben", documentId="d1")
        apart, silent = await follow(b, "cleo", documentId="d2"), await a.client("dan")
        silent.messages()
        sender.say(type="signal", signal="pointer", documentId="d1", data={"x": 1}, requestId="r")
        await settle()
        expected = {"type": "signal", "signal": "pointer", "documentId": "d1", "data": {"x": 1}, "userId": "ann"}
        assert [one.messages() for one in (own, here, there)] == [[expected]] * 3
        assert [one.messages() for one in (sender, apart, silent)] == [[], [], []]
        silent.say(type="signal", signal="typing", documentId="d2")
        await settle()
        assert [one["userId"] for one in apart.messages("signal")] == ["dan"]


async def test_signals_of_one_turn_are_one_write() -> None:
    """A member is written to once, however many signals came in; a sender gets those of others among them."""
    async with presence_nodes(1) as [node]:
        everybody = [await follow(node, f"user{number}") for number in range(5)]
        before = [len(one.outlet.writes) for one in everybody]
        for one in everybody[:3]:
            one.say(type="signal", signal="typing", documentId="d1")
        await settle()
        assert [len(one.outlet.writes) for one in everybody] == [count + 1 for count in before]
        found = [[message["userId"] for message in one.messages()] for one in everybody]
        assert found == [["user1", "user2"], ["user0", "user2"], ["user0", "user1"], *[["user0", "user1", "user2"]] * 2]


async def test_signals_go_nowhere_while_the_engine_is_away() -> None:
    """They are dropped without a word, and the next go again once it is back."""
    async with presence_nodes(2) as [a, _]:
        ann, ben = await follow(a, "ann"), await follow(a, "ben")
        a.engine.cut_off()
        ann.say(type="signal", signal="typing", documentId="d1")
        await settle()
        a.engine.mend()
        ann.say(type="signal", signal="focus", documentId="d1")
        await settle()
        assert [one["signal"] for one in ben.messages()] == ["focus"]
        assert ann.messages() == []


async def test_no_organization_waits_for_anothers_signals() -> None:
    """Nor loses its own where another's server fails; of one that waits the newest are kept."""
    async with presence_nodes(1) as [node]:
        ann, ben = await follow(node, "ann"), await follow(node, "ben")
        cleo, dan = await follow(node, "cleo", "other"), await follow(node, "dan", "other")
        log, late = LogName("org123"), asyncio.get_running_loop().create_future()
        node.engine.stuck[log] = late
        for speaker in (ann, cleo, ann, cleo):
            speaker.say(type="signal", signal="typing", documentId="d1")
            await settle()
        assert [one["userId"] for one in dan.messages()] == ["cleo"] * 2
        late.set_exception(Unavailable("away"))
        cleo.say(type="signal", signal="focus", documentId="d1")
        await settle()
        assert [one["signal"] for one in dan.messages()] == ["focus"]
        del node.engine.stuck[log]
        ann.say(type="signal", signal="focus", documentId="d1")
        await settle()
        assert [one["signal"] for one in ben.messages()] == ["focus"]


async def test_of_signals_that_wait_the_newest_are_kept() -> None:
    """An engine that answers late costs a bounded number of them, for each organization."""
    async with presence_nodes(1) as [node]:
        ben = await follow(node, "ben")
        speakers = [await follow(node, f"user{number}") for number in range(8)]
        log, late = LogName("org123"), asyncio.get_running_loop().create_future()
        node.engine.stuck[log] = late
        for number in range(8 * 50):
            speakers[number // 50].say(type="signal", signal="pointer", documentId="d1", data={"at": number})
        await settle()
        late.set_result(None)
        await elapse(1)
        assert [one["data"]["at"] for one in ben.messages()] == [*range(8 * 50)][-MOST_WAITING:]
