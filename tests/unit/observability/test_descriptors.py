"""What is told of open files: how many there are, and a line before there are too many."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from signtusk_realtime.observability import descriptors as module
from signtusk_realtime.observability.descriptors import LOOK_S, QUIET_S, Descriptors, DescriptorWatch, descriptors


def test_each_open_file_counts(tmp_path: Path) -> None:
    """As the system has it, and the limit as it is now."""
    before = descriptors()
    assert before is not None
    files = [(tmp_path / str(number)).open("w") for number in range(5)]
    after = descriptors()
    for file in files:
        file.close()
    assert after is not None
    assert after.open == before.open + 5
    assert after.most == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_where_the_system_does_not_tell_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no such folder, or no descriptor left to read it."""
    monkeypatch.setattr(module, "_OWN", tmp_path / "absent")
    assert descriptors() is None


def test_few_that_are_left_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """From nine tenths of the limit on; without a limit never."""
    now, found = [0.0], Descriptors(89, 100)
    watch = DescriptorWatch(clock=lambda: now[0], count=lambda: found)
    watch.look()
    found = Descriptors(90, 100)
    watch.look()
    assert caplog.records == []
    now[0] += LOOK_S
    watch.look()
    [line] = caplog.records
    assert (line.levelname, vars(line)["open"], vars(line)["most"]) == ("WARNING", 90, 100)
    for _ in range(int(QUIET_S) - 1):
        now[0] += 1
        watch.look()
    assert len(caplog.records) == 1
    now[0] += 1
    watch.look()
    assert len(caplog.records) == 2
    found = Descriptors(10**6, None)
    now[0] += QUIET_S
    watch.look()
    assert len(caplog.records) == 2
