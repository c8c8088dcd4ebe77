"""Progress: who takes nothing of what waits for him is noticed, whoever takes a little is not, and no timer runs for nobody."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.progress import LOOKS_PER_TIMEOUT, Progress
from signtusk_realtime.events.log import ORIGIN_TAG, Epoch, Position
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.clock import elapse
from tests.support.delivery import member
from tests.support.outlets import Outlet

pytestmark = pytest.mark.virtual_clock

TIMEOUT_S = 80.0
LOOK_S = TIMEOUT_S / LOOKS_PER_TIMEOUT
ORGANIZATION = Organization("org123", Position(Epoch("0" * 16), 0, ORIGIN_TAG), lambda connection, place: None)


class Peer:
    """A connection that is not read from."""

    def __init__(self, unsent: int) -> None:
        self.outlet = Outlet()
        self.outlet.backlog = unsent
        session = Session(member(), SessionLimits())
        self.connection = Connection("conn_1", session, self.outlet, FRAMES, ORGANIZATION, 0)


class Watch:
    """A Progress, and whom it reported when."""

    def __init__(self) -> None:
        self.stalled: list[tuple[Connection, float]] = []
        self.began = asyncio.get_running_loop().time()
        self.progress = Progress(TIMEOUT_S, self._stalled)

    def _stalled(self, connection: Connection) -> None:
        self.stalled.append((connection, asyncio.get_running_loop().time() - self.began))


async def test_who_takes_nothing_is_reported_once() -> None:
    """After the timeout, within one look more; never again, and others watched go on being watched."""
    watch, dead, slow = Watch(), Peer(1000), Peer(1000)
    watch.progress.watch(dead.connection)
    watch.progress.watch(slow.connection)
    for _ in range(3 * LOOKS_PER_TIMEOUT):
        await elapse(LOOK_S)
        slow.outlet.backlog -= 1
    [(connection, at)] = watch.stalled
    assert connection is dead.connection
    assert TIMEOUT_S <= at <= TIMEOUT_S + LOOK_S + 0.01
    watch.progress.stop()


async def test_any_change_is_progress() -> None:
    """More that is unsent shows that the peer was read from, too: only what stands still counts, from its last change on."""
    watch, peer = Watch(), Peer(1000)
    watch.progress.watch(peer.connection)
    await elapse(TIMEOUT_S - LOOK_S)
    peer.outlet.backlog = 2000
    watch.progress.watch(peer.connection)
    await elapse(TIMEOUT_S - LOOK_S)
    assert watch.stalled == []
    await elapse(3 * LOOK_S)
    assert [connection for connection, _ in watch.stalled] == [peer.connection]


async def test_who_has_taken_everything_is_watched_no_more() -> None:
    """With nothing unsent a peer answers pings, and no timer runs here; one that is still full is watched on."""
    watch, drained, full = Watch(), Peer(1000), Peer(0)
    full.connection.is_paused = True
    watch.progress.watch(drained.connection)
    drained.outlet.backlog = 0
    await elapse(LOOK_S)
    assert watch.progress._timer is None
    watch.progress.watch(full.connection)
    await elapse(TIMEOUT_S + LOOK_S)
    assert [connection for connection, _ in watch.stalled] == [full.connection]
    assert watch.progress._timer is None


@pytest.mark.parametrize("how", ["forget", "stop"])
async def test_who_is_gone_is_not_reported(how: str) -> None:
    """A closed connection is forgotten, and a stopped watch lets go of all, its timer too."""
    watch, peer = Watch(), Peer(1000)
    watch.progress.watch(peer.connection)
    if how == "forget":
        watch.progress.forget(peer.connection)
        watch.progress.forget(peer.connection)
    else:
        watch.progress.stop()
    await elapse(2 * TIMEOUT_S)
    assert watch.stalled == []
    assert watch.progress._timer is None
