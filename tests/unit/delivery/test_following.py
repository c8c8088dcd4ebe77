"""Following: nobody is let in before the log is followed, and nothing is followed for ever."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.following import LINGER_S, Following
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import LogName
from tests.support.clock import elapse, settle
from tests.support.delivery import GatedEngine, Node, started_node
from tests.support.samples import sample_event

pytestmark = pytest.mark.virtual_clock


def following_of(node: Node) -> Following:
    return node.hub._following


async def test_an_organization_is_followed_before_anybody_is_let_in() -> None:
    """`hold` answers after `follow` did, for the first and for those who come while it waits."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        engine.gate = asyncio.Event()
        holds = [asyncio.create_task(following_of(node).hold("org123")) for _ in range(3)]
        await settle()
        assert not any(hold.done() for hold in holds)
        engine.gate.set()
        first, *others = await asyncio.gather(*holds)
        assert all(other is first for other in others)
        assert first.holders == 3
        assert engine.is_following("org123")


async def test_entries_that_come_before_follow_answers() -> None:
    """An entry that reaches the sink while `follow` waits moves the position on, and lets nobody in early."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        engine.gate = asyncio.Event()
        hold = asyncio.create_task(following_of(node).hold("org123"))
        await settle()
        [entry] = await node.publish(sample_event("document_update"))
        late = asyncio.create_task(following_of(node).hold("org123"))
        await settle()
        assert not hold.done()
        assert not late.done()
        engine.gate.set()
        organization = await hold
        assert organization.live.offset == entry.offset == 1
        assert organization.live.tag == entry.tag
        await late


async def test_a_top_beyond_what_came_is_taken() -> None:
    """What `follow` answers counts where it lies beyond the entries that came meanwhile."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        [first] = await node.publish(sample_event("document_update"))
        top = await engine.follow(LogName("org123"))
        await engine.unfollow(LogName("org123"))
        engine.gate = asyncio.Event()
        hold = asyncio.create_task(following_of(node).hold("org123"))
        await settle()
        [second] = await node.publish(sample_event("document_update"))
        following_of(node).organizations["org123"].position = top.position
        await node.engine.unfollow(LogName("org123"))
        engine.gate.set()
        organization = await hold
        assert (first.offset, second.offset) == (1, 2)
        assert organization.live.offset == 1
        organization.begin(top.position._replace(offset=7))
        assert organization.live.offset == 7
        organization.begin(top.position._replace(offset=3))
        assert organization.live.offset == 7


async def test_a_follow_that_fails_lets_nobody_in_and_is_tried_again() -> None:
    """Who wanted in is told Unavailable; the next one follows anew; a failed organization is let go like any other."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        engine.failure = Unavailable("gone")
        with pytest.raises(Unavailable):
            await following_of(node).hold("org123")
        assert following_of(node).organizations["org123"].holders == 0
        engine.failure = None
        assert (await following_of(node).hold("org123")).live.offset == 0
        engine.failure = Unavailable("gone")
        with pytest.raises(Unavailable):
            await following_of(node).hold("other")
        await elapse(LINGER_S)
        assert list(following_of(node).organizations) == ["org123"]
        assert following_of(node)._unfollowed == set()


async def test_a_cancelled_hold_holds_nothing() -> None:
    """A peer that leaves while its organization is being followed leaves no holder behind."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        engine.gate = asyncio.Event()
        hold = asyncio.create_task(following_of(node).hold("org123"))
        await settle()
        hold.cancel()
        await asyncio.gather(hold, return_exceptions=True)
        assert following_of(node).organizations["org123"].holders == 0
        await elapse(LINGER_S)
        assert following_of(node).organizations == {}


async def test_it_lingers_after_the_last_one_left() -> None:
    """An organization is followed for a while after its last connection, so that a reload costs no second follow."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        following = following_of(node)
        organization = await following.hold("org123")
        following.release(organization)
        await elapse(LINGER_S - 1)
        assert await following.hold("org123") is organization
        await elapse(LINGER_S * 2)
        assert engine.unfollowed == []
        following.release(organization)
        await elapse(LINGER_S - 1)
        assert engine.unfollowed == []
        await elapse(1)
        assert engine.unfollowed == ["org123"]
        assert following.organizations == {}
        assert engine.followed.count("org123") == 1


async def test_each_is_let_go_at_its_own_time() -> None:
    """One that is held and left again goes later than one that was left in between."""
    engine = GatedEngine()
    async with started_node(engine=engine) as node:
        following = following_of(node)
        a, b = await following.hold("a"), await following.hold("b")
        following.release(a)
        await elapse(5)
        following.release(b)
        await elapse(5)
        await following.hold("a")
        following.release(a)
        await elapse(LINGER_S - 5)
        assert engine.unfollowed == ["b"]
        await elapse(5)
        assert engine.unfollowed == ["b", "a"]


async def test_a_follow_during_unfollow_stays_in_force() -> None:
    """Who comes while the organization is being let go is followed anew, and what is published then arrives."""

    class Slow(GatedEngine):
        async def unfollow(self, log: LogName) -> None:
            await super().unfollow(log)
            await asyncio.sleep(5)

    engine = Slow()
    async with started_node(engine=engine) as node:
        following = following_of(node)
        first = await following.hold("org123")
        following.release(first)
        await elapse(LINGER_S + 1)
        assert engine.unfollowed == ["org123"]
        second = await following.hold("org123")
        assert second is not first
        await elapse(10)
        assert engine.is_following("org123")
        await node.publish(sample_event("document_update"))
        assert second.live.offset == 1


async def test_an_unfollow_that_fails_stops_nothing() -> None:
    """The others are let go all the same, and following again works."""

    class Failing(GatedEngine):
        async def unfollow(self, log: LogName) -> None:
            await super().unfollow(log)
            raise Unavailable("gone")

    engine = Failing()
    async with started_node(engine=engine) as node:
        following = following_of(node)
        for name in ("a", "b"):
            following.release(await following.hold(name))
        await elapse(LINGER_S + 1)
        assert engine.unfollowed == ["a", "b"]
        assert following.organizations == {}


async def test_close_leaves_nothing() -> None:
    """I7 in part: after `close` there is no timer, no task, nothing held, and nobody is let in any more."""

    class Hanging(GatedEngine):
        async def unfollow(self, log: LogName) -> None:
            await super().unfollow(log)
            await asyncio.Event().wait()

    engine = Hanging()
    await engine.start(hub := Hub(engine))
    await hub.start()
    following = hub._following
    for name in ("a", "b"):
        following.release(await following.hold(name))
    await elapse(1)
    held = await following.hold("c")
    following.release(await following.hold("d"))
    await elapse(LINGER_S - 0.5)
    assert engine.unfollowed == ["a"]
    engine.gate = asyncio.Event()
    waiting = asyncio.create_task(following.hold("e"))
    await settle()
    await hub.close()
    assert following._timer is None
    assert following.organizations == {}
    following.release(held)
    engine.gate.set()
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await following.hold("f")
    assert following._timer is None
    assert following._idle == {}
    assert following._letting_go is None
    await engine.close()
