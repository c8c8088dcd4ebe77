"""What a server must be to keep what was answered, and how it is addressed."""

from __future__ import annotations

import pytest

from signtusk_realtime.engines.redis.address import Address, read_address
from signtusk_realtime.engines.redis.conditions import read_info, risks, version_fault
from signtusk_realtime.errors import ConfigurationError


@pytest.mark.parametrize(
    ("info", "fault"),
    [
        (b"redis_version:7.0.15\r\n", None),
        (b"redis_version:6.2.7\r\n", "Redis 6.2.7 is too old"),
        (b"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0\r\n", None),
        (b"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.9\r\n", "Valkey 7.2.9 is too old"),
        (b"# Server\r\n", None),
        (None, None),
    ],
)
def test_versions(info: bytes | None, fault: str | None) -> None:
    """Redis from 7.0 on, Valkey from 8.0 on; whoever does not say is taken."""
    assert (version_fault(read_info(info)) or "").startswith(fault or "")
    assert (fault is None) == (version_fault(read_info(info)) is None)


def test_risks() -> None:
    """A second copy or a file is enough, and nothing may be thrown away; what cannot be found out is no risk."""
    well = {"maxmemory_policy": "noeviction", "aof_enabled": "1", "connected_slaves": "0"}
    assert risks(well) == risks(well | {"aof_enabled": "0", "connected_slaves": "1"}) == risks({}) == []
    assert len(risks(well | {"aof_enabled": "0", "maxmemory_policy": "volatile-lru"})) == 2


def test_addresses() -> None:
    """User and password are decoded, and shown nowhere."""
    address = read_address("rediss://us%40er:p%3Aw@redis.example:7000/2")
    assert address == Address("redis.example", 7000, is_tls=True, database=2)
    assert (address.username, address.password) == ("us@er", "p:w")
    assert "p:w" not in f"{address} {address!r}"
    assert read_address("redis://h").port == 6379


@pytest.mark.parametrize(
    "url", ["http://h", "redis://", "redis://u:secret@h:x", "redis://u:secret@h/a", "redis://h?x=1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    """Without repeating it."""
    with pytest.raises(ConfigurationError) as refused:
        read_address(url)
    assert "secret" not in str(refused.value)
