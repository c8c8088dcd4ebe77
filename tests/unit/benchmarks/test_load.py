"""The C programs compile, count rightly, and notice what is wrong. Nothing here looks at times."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers.contestants import NATS
from benchmarks.servers import FLOOR, HERE, Running, running

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("make") is None,
    reason="NO C COMPILER: the load generator and the floor are not tested",
)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile both programs, a warning being an error, into a folder of the test's own."""
    folder = tmp_path_factory.mktemp("build")
    flags = "CFLAGS=-O1 -Werror"
    done = subprocess.run(
        ["make", "-C", str(HERE / "load"), f"BUILD={folder}", flags],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["send", "joined"])
def floor(request: pytest.FixtureRequest, build: Path) -> Iterator[Running]:
    """A floor in each of its modes."""
    mode = str(request.param)
    server = replace(FLOOR, command=lambda port, _folder, _durability: [str(build / "floor"), str(port), mode])
    with running(server, None, "full") as target:
        yield target


def load(build: Path, floor: Running, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the generator against the floor with 20 subscribers."""
    command = [str(build / "load"), "--port", str(floor.port), "--pids", str(floor.pid), "--connections", "20"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "options",
    [
        ("--size", "60"),
        ("--size", "60000", "--window", "6", "--burst", "6", "--event", "{pad}stamp={t}"),
        ("--size", "300", "--window", "8"),
        ("--size", "300", "--window", "16", "--burst", "16"),
        ("--size", "300", "--window", "16", "--burst", "16", "--sse"),
        ("--rate", "500"),
    ],
    ids=" ".join,
)
def test_every_event_reaches_every_subscriber_once(build: Path, floor: Running, options: tuple[str, ...]) -> None:
    """Deliveries are events times subscribers, for short and long frames, bursts, streams and the open loop."""
    done = load(build, floor, "--warm", "0", "--duration", "0.1", *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["sound"] is True
    assert figures["events"] > 0
    assert figures["deliveries"] == 20 * figures["events"]


def test_what_belongs_to_others_is_extra(build: Path, floor: Running) -> None:
    """The floor knows no organizations: what it gives to the wrong ones makes the run no result."""
    done = load(build, floor, "--warm", "0", "--duration", "0.1", "--organizations", "2")
    assert done.returncode == 1
    figures = json.loads(done.stdout)
    assert figures["sound"] is False
    assert figures["extra"] > 0


def test_held_connections_are_proven_alive(build: Path, floor: Running) -> None:
    """Holding ends with events that every connection must get."""
    done = load(build, floor, "--hold", "0.05", "--warm-connections", "5", "--checks", "3")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"] == 60


def test_a_dialogue_that_never_ends_is_no_result(build: Path, floor: Running) -> None:
    """A server that never says what is waited for ends the run in time, with words."""
    done = load(build, floor, "--await", "never said", "--timeout", "1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "0 of 20 connections ready in time" in done.stderr


@pytest.mark.parametrize("options", [("--nonsense",), ("--rate", "fast"), ("--burst", "2", "--organizations", "2")])
def test_what_makes_no_sense_is_refused(build: Path, floor: Running, options: tuple[str, ...]) -> None:
    """Usage errors end with 2 before anything is connected."""
    assert load(build, floor, *options).returncode == 2


@pytest.mark.skipif(NATS.missing() is not None, reason="NO nats-server: its protocol is not spoken to")
@pytest.mark.parametrize(
    "loop", [(), ("--window", "16"), ("--window", "16", "--burst", "16"), ("--rate", "500")], ids=" ".join
)
def test_every_operation_in_a_frame_of_nats_counts(build: Path, loop: tuple[str, ...]) -> None:
    """NATS puts what it has at hand into one frame: each event in it is a delivery, as long as was asked for."""
    with running(NATS, None, "full") as target:
        options = [*NATS.generator_options("websocket", 480), "--publish-port", str(target.port + 1), *loop]
        done = load(build, target, "--warm", "0", "--duration", "0.1", *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["deliveries"] == 20 * figures["events"] > 0
    assert figures["message_bytes"] == 480


@pytest.mark.skipif(NATS.missing() is not None, reason="NO nats-server: its protocol is not spoken to")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--say", "HELLO\r\n"), "-ERR 'Unknown Protocol Operation'"),
        (("--publish-path", "not one subject"), "the server closed a publisher's connection"),
    ],
    ids=["subscription", "publication"],
)
def test_what_nats_refuses_is_no_result(build: Path, options: tuple[str, ...], words: str) -> None:
    """What NATS refuses ends the run, with words."""
    with running(NATS, None, "full") as target:
        usual = [*NATS.generator_options("websocket", 480), "--publish-port", str(target.port + 1)]
        done = load(build, target, *usual, *options, "--timeout", "2")
    assert done.returncode == 1
    assert words in done.stderr
