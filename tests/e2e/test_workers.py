"""The parent of worker processes: who is started, told, started anew, and when all end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.command import DEADLINE_S, run
from tests.support.crew import RESTARTS

ROOT = Path(__file__).parents[2]


class Crew:
    """A parent and what its workers said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pids: dict[str, int] = {}

    async def says(self) -> list[str]:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            words = (await self.process.stdout.readline()).decode().split()
        if words[:1] == ["begun"]:
            self.pids[words[1]] = int(words[2])
        return words

    async def ended(self) -> tuple[int, str]:
        """Wait for the end of the parent; give its code and what it logged."""
        async with asyncio.timeout(DEADLINE_S):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


@asynccontextmanager
async def crew(*arguments: str) -> AsyncIterator[Crew]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.crew",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Crew(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_signals_are_passed_on() -> None:
    """SIGHUP reaches every worker, SIGTERM ends them all, and the exit code is theirs."""
    async with crew("3") as it:
        for _ in range(3):
            await it.says()
        assert sorted(it.pids) == ["0", "1", "2"]
        it.process.send_signal(signal.SIGHUP)
        assert sorted([await it.says() for _ in range(3)]) == [["SIGHUP", str(n)] for n in range(3)]
        it.process.send_signal(signal.SIGTERM)
        assert sorted([await it.says() for _ in range(3)]) == [["ended", str(n)] for n in range(3)]
        code, _ = await it.ended()
        assert code == 0


async def test_a_crashed_worker_is_started_anew() -> None:
    """Whether it was killed or failed: another takes its number, and the rest go on."""
    async with crew("2") as it:
        for _ in range(2):
            await it.says()
        first = dict(it.pids)
        os.kill(first["0"], signal.SIGKILL)
        assert (await it.says())[:2] == ["begun", "0"]
        os.kill(first["1"], signal.SIGUSR1)
        assert await it.says() == ["SIGUSR1", "1"]
        assert (await it.says())[:2] == ["begun", "1"]
        assert not set(first.values()) & set(it.pids.values())
        it.process.send_signal(signal.SIGTERM)
        code, errors = await it.ended()
        assert code == 0
        assert errors.count("worker ended") == 2


async def test_workers_that_crash_again_and_again_end_all() -> None:
    """Restarts are bounded: in the end the parent gives up, stops the others and fails."""
    async with crew("2") as it:
        for _ in range(2):
            await it.says()
        for _ in range(RESTARTS + 1):
            os.kill(it.pids["0"], signal.SIGKILL)
            if (await it.says())[0] == "ended":
                break
        else:
            raise AssertionError("it goes on for ever")
        code, errors = await it.ended()
        assert code == 1
        assert "again and again" in errors


async def test_workers_that_cannot_begin_end_all() -> None:
    """If none can serve, there is no second try: the reason is told and the exit code says so."""
    async with crew("2", "the server is away") as it:
        code, errors = await it.ended()
        assert code == 1
        assert "cannot serve" in errors
        assert "no worker could be started" in errors


async def test_the_embedded_database_has_one_process(tmp_path: Path) -> None:
    """Several workers over the embedded engine are refused before anything is bound, with the way out."""
    code, _, errors = await run("serve", "--port", "0", "--workers", "2", cwd=tmp_path)
    assert code == 2
    assert "workers: 2 processes cannot share the embedded database" in errors
    assert "redis" in errors
