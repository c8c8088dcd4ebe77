"""What nodes know of one another, on a virtual clock: heartbeats, deaths, and a node that is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.nodes import NODES, Node
from signtusk_realtime.cluster.registry import HEARTBEAT_S, LOOK_S, Registry
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.events.log import CONTROL_LOG, Commit, Draft, Record
from tests.support.clock import elapse, settle
from tests.support.shared import NodeEngine, SharedMemory

pytestmark = pytest.mark.virtual_clock


class One(NamedTuple):
    registry: Registry
    control: Control
    engine: NodeEngine


def _memory() -> SharedMemory:
    loop = asyncio.get_running_loop()
    return SharedMemory(lambda: int(loop.time() * 1000))


@asynccontextmanager
async def node(memory: SharedMemory, name: str, *, heartbeat_s: float = HEARTBEAT_S) -> AsyncIterator[One]:
    engine = memory.engine()
    control = Control(engine)
    hub = Hub(engine, controlled=control.controlled)
    await engine.start(hub)
    await hub.start()
    await control.start(hub)
    here = Node(node_id=name, url=f"http://{name}", capacity=10)
    registry = Registry(engine, hub, control, here, heartbeat_s=heartbeat_s, is_shared=True)
    await registry.start()
    try:
        yield One(registry, control, engine)
    finally:
        engine.mend()
        await registry.close()
        await hub.close()
        await engine.close()


def _seen(one: One) -> list[str]:
    return sorted(other.node_id for other in one.registry.others)


async def test_nodes_come_and_go() -> None:
    """A node that starts is known after one look of the others, and one that leaves is gone after the next."""
    memory = _memory()
    async with node(memory, "a") as a:
        assert _seen(a) == []
        async with node(memory, "b") as b:
            assert _seen(b) == ["a"]
            await elapse(LOOK_S)
            assert _seen(a) == ["b"]
        await elapse(LOOK_S)
        assert _seen(a) == []


@pytest.mark.parametrize("heartbeat_s", [HEARTBEAT_S, 0.5, 60.0])
async def test_a_dead_node_is_gone_after_two_heartbeats(heartbeat_s: float) -> None:
    """Living ones stay, however long; one that says nothing any more is known for two heartbeats and no longer."""
    memory, beat_s = _memory(), min(heartbeat_s, HEARTBEAT_S)
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(node(memory, "a", heartbeat_s=heartbeat_s))
        b = await stack.enter_async_context(node(memory, "b", heartbeat_s=heartbeat_s))
        await elapse(100 * beat_s)
        assert _seen(a) == ["b"]
        b.engine.cut_off()
        await elapse(beat_s * 0.5)
        assert _seen(a) == ["b"]
        await elapse(beat_s * 1.5 + 0.001)
        assert _seen(a) == []
        b.engine.mend()
        await elapse(LOOK_S)
        await elapse(LOOK_S)
        assert _seen(a) == ["b"]


async def test_a_node_that_is_cut_off_is_stale_after_a_second() -> None:
    """It lets nobody in and replays nothing from then on, and does so again once it looks."""
    memory = _memory()
    async with node(memory, "a") as a:
        await elapse(60)
        assert not a.control.freshness.is_stale
        a.engine.cut_off()
        await elapse(0.4)
        assert not a.control.freshness.is_stale
        await elapse(0.7)
        assert a.control.freshness.is_stale
        a.engine.mend()
        await elapse(LOOK_S)
        assert not a.control.freshness.is_stale


async def test_a_node_that_misses_a_notice_is_stale() -> None:
    """To reach the log is not enough: what it finds there must have been acted upon."""
    memory = _memory()
    async with node(memory, "a") as a, node(memory, "b") as b:
        a.engine.is_deaf = True
        await b.engine.commit(CONTROL_LOG, Commit(events=(Draft("e1", bytes(32), (), b"{}"),)))
        await elapse(2)
        assert a.control.freshness.is_stale
        assert not b.control.freshness.is_stale


async def test_a_lost_control_log_is_learned_anew() -> None:
    """A control log that begins a new life leaves nobody stale for good."""
    memory = _memory()
    async with node(memory, "a") as a:
        await a.engine.forget(CONTROL_LOG)
        await elapse(2)
        assert not a.control.freshness.is_stale


async def test_records_of_other_versions_are_passed_over() -> None:
    """A record that cannot be read is no node, and members that a newer node adds are passed over."""
    memory = _memory()
    async with node(memory, "a") as a:
        newer = b'{"nodeId":"new","url":"http://new","capacity":1,"mood":"good"}'
        records = (Record(NODES, "new", newer, 1, None), Record(NODES, "odd", b"\xff", 1, None))
        await a.engine.commit(CONTROL_LOG, Commit(put=records))
        await elapse(LOOK_S)
        await settle()
        assert _seen(a) == ["new"]
