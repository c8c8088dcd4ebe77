"""People come, go, load their pages again, say how they are; nodes are killed or leave; messages between nodes get lost.

Whatever happens: what a watcher folds from the answer and the differences is what is so, on every node that lives, and so is the presence call.
Nobody who was away for less than the delay was ever called gone, and nobody is left who is gone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from signtusk_realtime.cluster.registry import HEARTBEAT_S
from signtusk_realtime.operations.presence.presence import LEAVE_MS
from signtusk_realtime.operations.presence.sharing import RECHECK_S
from tests.support.clock import elapse, run
from tests.support.people import How, PresenceClient, PresenceNode, Watcher, presence_nodes

LEAVE_S: Final = LEAVE_MS / 1000
USERS: Final = ("ann", "ben", "cleo")
MOMENTS_S: Final = (0.01, 0.3, 1.1, 4.0, LEAVE_S + 1)


class Step(NamedTuple):
    """What happens, to whom, where; and how long it is until the next."""

    act: str
    user: str
    node: int
    how: How
    wait_s: float


ACTS: Final = (
    "connect",
    "connect",
    "declare",
    "declare",
    "close",
    "reload",
    "publish",
    "deaf",
    "hear",
    "kill",
    "leave",
)
HOWS: Final[tuple[How, ...]] = (("online", None), ("away", "d1"), ("busy", "d2"), ("offline", None))
steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(ACTS),
        user=st.sampled_from(USERS),
        node=st.integers(0, 2),
        how=st.sampled_from(HOWS),
        wait_s=st.sampled_from(MOMENTS_S),
    ),
    max_size=25,
)


class World:
    """The nodes, and what is so."""

    def __init__(self, nodes: list[PresenceNode]) -> None:
        self.nodes = list(nodes)
        self.watchers: dict[str, Watcher] = {}
        self.open: dict[str, list[PresenceClient]] = {user: [] for user in USERS}
        self.said: dict[PresenceClient, tuple[int, How]] = {}
        """By connection: when it said so, and what."""
        self.published: dict[str, tuple[int, How]] = {}
        self.time = 0

    async def begin(self) -> None:
        for node in self.nodes:
            self.watchers[node.name] = Watcher(await node.client("watcher"))

    def node(self, step: Step) -> PresenceNode:
        return self.nodes[step.node % len(self.nodes)]

    async def take(self, step: Step) -> None:
        self.time += 1
        clients = self.open[step.user]
        match step.act:
            case "connect":
                clients.append(await self.node(step).client(step.user))
            case "declare" if clients:
                clients[-1].declare(step.how)
                self.said[clients[-1]] = (self.time, step.how)
            case "close" if clients:
                clients.pop(0).leave()
            case "reload" if clients:
                await self._reload(step, clients)
            case "publish":
                await self.node(step).publish(step.user, step.how)
                self.published[step.user] = (self.time, step.how)
            case "deaf" | "hear":
                self.node(step).engine.is_deaf = step.act == "deaf"
            case "kill" | "leave" if len(self.nodes) > 1:
                node = self.node(step)
                self.nodes.remove(node)
                del self.watchers[node.name]
                for user, clients in self.open.items():
                    self.open[user] = [client for client in clients if client.node is not node]
                await (node.kill() if step.act == "kill" else node.leave())
            case _:
                pass
        await elapse(step.wait_s)
        for watcher in self.watchers.values():
            await watcher.look()

    async def _reload(self, step: Step, clients: list[PresenceClient]) -> None:
        """Load a page again, on another node as it may be: nobody is told of a departure that was none."""
        await elapse(2.0)
        for watcher in self.watchers.values():
            await watcher.look()
            watcher.told.clear()
        is_hidden = step.user not in self.model()
        clients.pop().leave()
        clients.append(await self.node(step).client(step.user))
        await elapse(2.0)
        for watcher in self.watchers.values():
            await watcher.look()
            assert is_hidden or "offline" not in watcher.seen(step.user)

    def model(self) -> dict[str, How]:
        """Say who is there: everybody with a connection, by the newest word; and who is published to be."""
        found: dict[str, How] = {"watcher": ("online", None)}
        for user, clients in self.open.items():
            words = [self.said[client] for client in clients if client in self.said]
            if user in self.published:
                words.append(self.published[user])
            if words:
                how = max(words)[1]
                if how[0] != "offline":
                    found[user] = how
            elif clients:
                found[user] = ("online", None)
        return found


@settings(max_examples=60)
@given(steps, st.integers(1, 3))
def test_watchers_know_who_is_there(taken: list[Step], count: int) -> None:
    """Once everything has been told, each watcher and each node's answer is the model: no ghosts, and nobody missing."""

    async def live() -> None:
        async with presence_nodes(count) as nodes:
            world = World(nodes)
            await world.begin()
            for step in taken:
                await world.take(step)
            await elapse(LEAVE_S + 2 * HEARTBEAT_S + RECHECK_S + 3)
            for node in world.nodes:
                watcher = world.watchers[node.name]
                await watcher.look()
                assert await node.there() == world.model()
                assert watcher.people == world.model()
                assert node.hub.counters.people == len(
                    {c.session.identity.user_id for c in node.hub.connections.values()}
                )

    run(live())
