"""Which source wins, and what is said about names that no setting has."""

from __future__ import annotations

from pathlib import Path

import pytest

from signtusk_realtime.config.sources import Found, read

PREFIX = "SIGNTUSK_REALTIME_"


def from_file(tmp_path: Path, text: str) -> Found:
    file = tmp_path / "realtime.toml"
    file.write_text(text, encoding="utf-8")
    return read({}, {}, file)


def test_option_beats_environment_beats_file(tmp_path: Path) -> None:
    """The nearer to the command line, the stronger; each value knows its origin."""
    file = tmp_path / "realtime.toml"
    file.write_text("port = 1\nheartbeat_interval = 1000\npong_timeout = 1000\n", encoding="utf-8")
    found = read(
        {"port": "3"},
        {PREFIX + "PORT": "2", PREFIX + "HEARTBEAT_INTERVAL": "2000", PREFIX + "CONFIG": str(file)},
        None,
    )
    assert found.faults == []
    assert found.values == {"port": 3, "heartbeat_interval": 2000, "pong_timeout": 1000}
    assert found.origins == {
        "port": "option --port",
        "heartbeat_interval": f"environment variable {PREFIX}HEARTBEAT_INTERVAL",
        "pong_timeout": f"file {file}",
    }


def test_the_option_names_the_file_before_the_variable(tmp_path: Path) -> None:
    """`--config` beats its variable, and only one file is read."""
    (tmp_path / "a.toml").write_text("port = 1\n", encoding="utf-8")
    (tmp_path / "b.toml").write_text("drain_timeout = 1\n", encoding="utf-8")
    found = read({}, {PREFIX + "CONFIG": str(tmp_path / "b.toml")}, tmp_path / "a.toml")
    assert found.values == {"port": 1}


def test_tables_and_dotted_keys_are_the_same(tmp_path: Path) -> None:
    """TOML has two ways to write a group; both are read."""
    found = from_file(tmp_path, 'auth.mode = "development"\n[limits]\nbatch = 5\n')
    assert (found.values, found.faults) == ({"auth.mode": "development", "limits.batch": 5}, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prot = 1", "prot is no setting; did you mean port? (file {file})"),
        ("[limits]\nbatches = 1", "limits.batches is no setting; did you mean limits.batch? (file {file})"),
        ("[auht]\nmode = 1", "auht is no table of settings; did you mean auth? (file {file})"),
        ("[limit]\nbatch = 1", "limit is no table of settings; did you mean limits? (file {file})"),
        ("[x]\nbatch = 1", "x is no table of settings (file {file})"),
        ("[tls]\nky = 'k'", "tls.ky is no setting; did you mean tls.key? (file {file})"),
        ("limits = 1", "limits is a table of settings, not a setting (file {file})"),
        ("[port]\nx = 1", "port: {{'x': 1}} is not allowed; allowed: an integer from 0 to 65535 (file {file})"),
        ('port = "80"', "port: '80' is not allowed; allowed: an integer from 0 to 65535 (file {file})"),
        ("port = true", "port: True is not allowed; allowed: an integer from 0 to 65535 (file {file})"),
    ],
)
def test_a_wrong_key_of_a_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    """What no setting is, or is of the wrong type, is a fault with its place and the nearest name."""
    assert from_file(tmp_path, text).faults == [fault.format(file=tmp_path / "realtime.toml")]


def test_an_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    """A file that is missing, not TOML or not UTF-8 is told as such."""
    file = tmp_path / "realtime.toml"
    assert read({}, {}, file).faults == [f"cannot read the configuration file {file}: No such file or directory"]
    (fault,) = from_file(tmp_path, "port = ").faults
    assert fault.startswith(f"the configuration file {file} is not TOML: ")
    file.write_bytes(b'host = "\xff"')
    (fault,) = read({}, {}, file).faults
    assert fault.startswith(f"the configuration file {file} is not TOML: ")


def test_none_is_written_the_same_everywhere(tmp_path: Path) -> None:
    """A bound that may be absent is taken away by `none` in a file as in the environment; another is not."""
    found = from_file(tmp_path, 'retention_count = "none"\nretention_bytes = "none"')
    assert found.values == {"retention_count": None}
    (fault,) = found.faults
    assert fault.startswith("retention_bytes: 'none' is not allowed")


def test_an_unknown_variable_is_named() -> None:
    """A mistyped variable is a fault with the nearest name; variables of others are left alone."""
    found = read({}, {PREFIX + "AUTH_MOD": "jwt", "SIGNTUSK_OTHER": "1", "PATH": "/bin"}, None)
    assert found.faults == [f"environment variable {PREFIX}AUTH_MOD is no setting; did you mean {PREFIX}AUTH_MODE?"]


# What Kubernetes gives to containers beside services named signtusk-realtime and signtusk-realtime-redis.
INJECTED = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8080",
    "SERVICE_PORT_HTTP": "8080",
    "PORT": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "PORT_8080_TCP_PROTO": "tcp",
    "PORT_8080_TCP_PORT": "8080",
    "PORT_8080_TCP_ADDR": "10.0.0.1",
    "REDIS_SERVICE_HOST": "10.0.0.2",
    "REDIS_PORT": "tcp://10.0.0.2:6379",
    "REDIS_PORT_6379_TCP": "tcp://10.0.0.2:6379",
    "DNS_PORT": "udp://10.0.0.3:53",
}


def test_what_kubernetes_injects_is_ignored_with_a_warning() -> None:
    """Variables that a cluster makes for a service of our name are no settings, and no faults."""
    found = read({}, {PREFIX + name: text for name, text in INJECTED.items()}, None)
    assert (found.values, found.faults) == ({}, [])
    assert found.warnings == [
        f"environment variable {PREFIX}{name} is ignored: it looks injected by Kubernetes" for name in sorted(INJECTED)
    ]


@pytest.mark.parametrize("name", ["PORT", "SERVICEPORT", "PORT_8080", "SERVICE"])
def test_what_only_resembles_an_injected_variable_is_not_ignored(name: str) -> None:
    """The forms Kubernetes has are passed over, and nothing else."""
    found = read({}, {PREFIX + name: "nonsense"}, None)
    assert len(found.faults) == 1
    assert found.warnings == []


def test_every_fault_is_kept(tmp_path: Path) -> None:
    """A fault does not hide those after it, of whatever source."""
    file = tmp_path / "realtime.toml"
    file.write_text("prot = 1\nport = 70000\n", encoding="utf-8")
    found = read({"durability": "fast", "tail_bytes": "-1"}, {PREFIX + "PONG_TIMEOUT": "soon"}, file)
    assert [fault.split(":")[0].split(" ")[0] for fault in found.faults] == [
        "prot",
        "port",
        "pong_timeout",
        "durability",
        "tail_bytes",
    ]
