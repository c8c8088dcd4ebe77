"""The look at whether the server that runs us is about to stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from signtusk_realtime.protocol import codes
from signtusk_realtime.server.host import HostWatch, is_leaving
from tests.support.clock import elapse
from tests.support.delivery import started_node

pytestmark = pytest.mark.virtual_clock


class Server:
    """What uvicorn shows of itself: a method of the server handles the signal."""

    def __init__(self) -> None:
        self.should_exit = False

    def handle_exit(self, *_: object) -> None:
        self.should_exit = True


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    yield server
    signal.signal(signal.SIGTERM, before)


def test_only_what_is_known_is_believed(server: Server) -> None:
    """A server that was asked to stop is leaving; any other handler says nothing."""
    assert not is_leaving()
    server.should_exit = True
    assert is_leaving()
    for handler in (signal.SIG_DFL, signal.SIG_IGN, print):
        signal.signal(signal.SIGTERM, handler)
        assert not is_leaving()


async def test_streams_are_ended_soon_and_nothing_ticks_without_any(server: Server) -> None:
    """Those that are looked after, within a moment; the timer goes with the last."""
    async with started_node() as node:
        clients = [await node.client(form="stream") for _ in range(3)]
        watch = HostWatch(node.hub)
        for client in clients[:2]:
            watch.add(client.connection)
        watch.discard(clients[0].connection)
        await elapse(1)
        assert not node.closed
        server.should_exit = True
        await elapse(1)
        assert node.closed == [(clients[1].connection.connection_id, codes.CLOSE_RESTARTING)]
        watch.discard(clients[1].connection)
        assert watch._timer is None
