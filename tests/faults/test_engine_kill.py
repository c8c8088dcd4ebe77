"""Invariant I9 for the embedded engine: what was answered survives kill -9, and a second process is kept out meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import ConfigurationError
from tests.support.engines import LOG, RecordingSink, publish, read_all

ROOT = Path(__file__).parents[2]

# Commits from several tasks without end; prints what is delivered and what is answered.
COMMITTER = """
import asyncio, sys
from signtusk_realtime.engines.sqlite import SqliteEngine
from tests.support.engines import LOG, RecordingSink, publish

async def committer(engine, number):
    turn = 0
    while True:
        answer = await publish(engine, *(f"{number}-{turn}-{n}" for n in range(turn % 4 + 1)))
        for place in answer.placed:
            print("answered", place.offset, place.event_id, flush=True)
        turn += 1

async def main():
    engine, sink = SqliteEngine(sys.argv[1], durability=sys.argv[2]), RecordingSink()
    await engine.start(sink)
    await engine.follow(LOG)
    def tell():
        for entry in sink.told[-1].entries:
            print("delivered", entry.offset, entry.event_id, flush=True)
    sink.on_appended = tell
    await asyncio.gather(*(committer(engine, number) for number in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_answered_commits_survive_kill_9(tmp_path: Path, durability: str) -> None:
    """After kill -9 in a loop of commits, what was answered or delivered is in the log, in order, once, and offsets go on."""
    path = tmp_path / "realtime.db"
    seen: dict[int, str] = {}
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", COMMITTER, str(path), durability],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            text=True,
        )
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(300)]
            with pytest.raises(ConfigurationError, match=f"process {process.pid}"):
                await SqliteEngine(str(path)).start(RecordingSink())
        finally:
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
            process.stdout.close()
            process.wait()
        whole = "".join(lines) + rest
        for line in whole[: whole.rfind("\n")].splitlines():
            _, offset, event_id = line.split()
            assert seen.setdefault(int(offset), event_id) == event_id

        engine = SqliteEngine(str(path))
        await engine.start(RecordingSink())
        try:
            entries = await read_all(engine)
            assert [entry.offset for entry in entries] == list(range(1, len(entries) + 1))
            assert seen.items() <= {entry.offset: entry.event_id for entry in entries}.items()
            again = await publish(engine, entries[0].event_id)
            assert again.placed[0].duplicate
        finally:
            await engine.close()


async def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A lock file left behind by a process that is gone locks nobody out."""
    (tmp_path / "realtime.db.lock").write_text("1\n")
    engine = SqliteEngine(str(tmp_path / "realtime.db"))
    await engine.start(RecordingSink())
    await asyncio.gather(publish(engine, "a"), engine.follow(LOG))
    await engine.close()
