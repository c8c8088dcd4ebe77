"""Certificate authorities are read once, not at every connection."""

from __future__ import annotations

import pytest

from signtusk_realtime.client import trust
from signtusk_realtime.client.address import parse_address
from signtusk_realtime.client.event_stream import open_event_stream
from signtusk_realtime.client.failures import Lost
from signtusk_realtime.client.link import Credentials, Opener, Wanted
from signtusk_realtime.client.websocket import open_websocket
from signtusk_realtime.events.subscriptions import Subscription


@pytest.mark.parametrize(
    ("opener", "url", "reads"),
    [
        (open_event_stream, "http://127.0.0.1:1", [1, 0]),
        (open_event_stream, "https://127.0.0.1:1", [1, 0]),
        (open_websocket, "http://127.0.0.1:1", [0, 0]),
        (open_websocket, "https://127.0.0.1:1", [0, 1]),
    ],
)
async def test_tries_share_what_they_trust(opener: Opener, url: str, reads: list[int]) -> None:
    """However often a client tries to come back, on either transport, encrypted or not."""
    readers = (trust.for_http, trust.for_websockets)
    for reader in readers:
        reader.cache_clear()
    wanted = Wanted(parse_address(url), Credentials(), (Subscription("document_updates"),), None)
    for _ in range(3):
        with pytest.raises(Lost):
            await opener(wanted)
    assert [reader.cache_info().misses for reader in readers] == reads
    assert [reader.cache_info().hits for reader in readers] == [2 * count for count in reads]


def test_the_environment_is_trusted_where_it_may_be() -> None:
    """What checks a service on this machine is not what the environment names for others."""
    assert trust.for_http(trust_env=True) is not trust.for_http(trust_env=False)
