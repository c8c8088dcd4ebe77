"""What answers of a Redis server mean, and what is said of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from signtusk_realtime.config import LimitSettings, Settings
from signtusk_realtime.service.doctor import examine
from signtusk_realtime.service.doctor_redis import Finding, Reply, check_cluster, check_server, primaries

INFORMED = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.0",
    "role": "master",
    "connected_slaves": "1",
    "maxmemory": "0",
    "used_memory": "1000000",
    "maxmemory_policy": "noeviction",
}
FILE: list[Reply] = [b"appendonly", b"yes", b"appendfsync", b"always"]
NO_FILE: list[Reply] = [b"appendonly", b"no", b"appendfsync", b"everysec"]
INFO = b"cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_known_nodes:2\r\n"
NODES = (
    b"aa 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n"
    b"bb 10.0.0.2:6379@16379,host slave aa 0 0 1 connected\n"
)


def _judge(
    append_only: Reply = FILE, clock_s: float = 1000.0, round_trip_s: float = 0.001, **facts: str
) -> dict[str, str]:
    text = "".join(f"{name}:{value}\r\n" for name, value in {**INFORMED, **facts}.items() if value).encode()
    seconds = int(clock_s)
    clock: Reply = [b"%d" % seconds, b"%d" % round(1e6 * (clock_s - seconds))]
    found = check_server("s", info=text, append_only=append_only, clock=clock, now_s=1000.0, round_trip_s=round_trip_s)
    return {finding.check.removeprefix("s "): finding.level for finding in found}


def test_a_sound_server_passes() -> None:
    """Every check is made, and none complains."""
    checks = ("version", "durability", "eviction", "memory", "clock", "round trip")
    assert _judge() == dict.fromkeys(checks, "ok")


@pytest.mark.parametrize(
    ("check", "level", "facts"),
    [
        ("version", "fail", {"valkey_version": "7.2.5"}),
        ("version", "fail", {"valkey_version": "", "redis_version": "6.2.14"}),
        ("version", "ok", {"valkey_version": "", "redis_version": "7.0.15"}),
        ("version", "ok", {"valkey_version": "", "redis_version": "10.0.0"}),
        ("role", "fail", {"role": "slave"}),
        ("eviction", "fail", {"maxmemory_policy": "allkeys-lru"}),
        ("eviction", "fail", {"maxmemory_policy": ""}),
        ("memory", "warn", {"maxmemory": "1100000"}),
        ("memory", "ok", {"maxmemory": "2000000"}),
    ],
)
def test_faults_are_found(check: str, level: str, facts: dict[str, str]) -> None:
    """Old versions, replicas, eviction and memory that runs out."""
    assert _judge(**facts)[check] == level


@pytest.mark.parametrize(
    ("append_only", "level"),
    [
        (FILE, "ok"),
        ([b"appendonly", b"yes", b"appendfsync", b"everysec"], "warn"),
        (NO_FILE, "fail"),
        (PermissionError("NOPERM"), "warn"),
    ],
)
def test_without_a_replica_the_file_decides(append_only: Reply, level: str) -> None:
    """With one it does not matter; without, what was answered must be on the disk."""
    assert _judge(append_only, connected_slaves="0")["durability"] == level
    assert _judge(append_only, connected_slaves="1")["durability"] == "ok"


@pytest.mark.parametrize(("clock_s", "level"), [(1000.4, "ok"), (999.4, "warn"), (1004.0, "warn"), (994.0, "fail")])
def test_clocks_are_compared(clock_s: float, level: str) -> None:
    """Either may be ahead."""
    assert _judge(clock_s=clock_s)["clock"] == level


def test_a_slow_line_is_told() -> None:
    """Each commit pays for it."""
    assert _judge(round_trip_s=0.02)["round trip"] == "warn"


def _levels(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.level for finding in found}


def test_a_cluster_is_judged_by_its_slots_and_replicas() -> None:
    """A slot that nobody serves, or a primary without a replica, fails; who is in no Cluster is not judged."""
    assert _levels(list(check_cluster("s", INFO, NODES))) == {"s cluster": "ok", "10.0.0.1:6379 replicas": "ok"}
    holes = INFO.replace(b"slots_ok:16384", b"slots_ok:16000")
    assert _levels(list(check_cluster("s", holes, NODES)))["s cluster"] == "fail"
    lonely = NODES.replace(b"slave aa", b"slave,fail aa")
    assert _levels(list(check_cluster("s", INFO, lonely)))["10.0.0.1:6379 replicas"] == "fail"
    assert list(check_cluster("s", Exception("ERR This instance has cluster support disabled"), None)) == []
    assert primaries(NODES) == ["10.0.0.1:6379"]


def test_too_few_files_fail(tmp_path: Path) -> None:
    """A node that may have more connections than files cannot hold what it promises."""
    settings = Settings(database=str(tmp_path / "x.db"), limits=LimitSettings(connections=10_000_000))
    assert _levels(list(examine(settings, ())))["open files"] == "fail"
    few = replace_connections(settings, 10)
    assert _levels(list(examine(few, ())))["open files"] == "ok"


def replace_connections(settings: Settings, connections: int) -> Settings:
    return Settings(database=settings.database, limits=LimitSettings(connections=connections))


def test_addresses_never_show_a_password() -> None:
    """Whatever is wrong with an address, or whoever does not answer there."""
    for url in ("http://u:geheim@h", "redis://u:geheim@127.0.0.1:1", "redis://u:geheim@h:port"):
        found = list(examine(Settings(), [url]))
        assert "fail" in {finding.level for finding in found}
        assert all("geheim" not in finding.detail + finding.check for finding in found)
