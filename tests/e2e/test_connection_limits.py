"""How many connections may be open for whom."""

from __future__ import annotations

import pytest

from signtusk_realtime.operations.census import ConnectionLimits, network_of
from tests.support.samples import sample
from tests.support.server import StreamPeer, WebSocketPeer, call, publish, serving, until

EVENTS = "/api/realtime/events"


async def _refused(port: int, query: str) -> object:
    answer = await call(port, "GET", f"{EVENTS}?{query}")
    if answer.status == 429:
        assert int(answer.headers["retry-after"]) >= 1
    return answer.code


@pytest.mark.parametrize(
    ("limits", "refused", "allowed"),
    [
        (ConnectionLimits(per_user=2), "userId=a&organizationId=o1", "userId=a&organizationId=o2"),
        (ConnectionLimits(per_organization=2), "userId=b&organizationId=o1", "userId=a&organizationId=o2"),
        (ConnectionLimits(per_address=2), "userId=b&organizationId=o2", None),
    ],
)
async def test_one_too_many_is_refused_and_a_place_is_given_back(
    limits: ConnectionLimits, refused: str, allowed: str | None
) -> None:
    """Both transports count together; others are not concerned; who leaves makes room."""
    async with serving(connection_limits=limits) as it:
        own = "userId=a&organizationId=o1"
        async with await WebSocketPeer.open(it.port, own) as socket, await StreamPeer.open(it.port, own) as stream:
            await socket.message()
            await stream.event()
            assert await _refused(it.port, refused) == "rate_limited"
            if allowed is not None:
                async with await StreamPeer.open(it.port, allowed) as other:
                    await other.event()
            await socket.end()
            await until(lambda: len(it.hub.connections) == 1)
            async with await StreamPeer.open(it.port, refused) as again:
                await again.event()
                await publish(it.port, sample("document_update", id="e1"))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_what_counts_as_one_address(address: str, network: str) -> None:
    """An IPv4 address, however it is written; of IPv6 the /64."""
    assert network_of(address) == network
