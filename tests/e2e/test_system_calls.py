"""How many system calls a delivery takes, counted by strace on the real command: each is most of what a delivery costs."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.command import DEADLINE_S, Api, Browsers, document_update, read_message, serving

SOCKETS = 40
EVENTS = 10
SUBSCRIPTION: dict[str, object] = {"type": "document_updates"}

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: system calls go uncounted"
)


@asynccontextmanager
async def traced(pid: int, into: Path) -> AsyncIterator[None]:
    """Count the system calls of a process, by name, into a file."""
    strace = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-c", "-p", str(pid), "-o", str(into)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert strace.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = await strace.stderr.readline()
        if b"attached" not in line:
            pytest.skip(f"strace may not look at another process here: {line.decode().strip()}")
        yield
    finally:
        if strace.returncode is None:
            strace.send_signal(signal.SIGINT)
        await strace.stderr.read()
        await strace.wait()


def counts(file: Path) -> Counter[str]:
    """Read what strace counted."""
    found: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        if match := re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)", line):
            found[match[2]] = int(match[1])
    del found["total"]
    return found


async def test_a_delivery_is_one_system_call(tmp_path: Path) -> None:
    """An event that comes alone is written to each subscriber by one call; what came in one turn of the loop too, however much it is."""
    async with (
        serving(tmp_path, "--database", ":memory:") as served,
        Browsers(served) as browsers,
        Api(served.url) as api,
    ):
        sockets = [await browsers.websocket(SUBSCRIPTION) for _ in range(SOCKETS)]
        streams = [await browsers.event_stream("&types=document_updates") for _ in range(SOCKETS)]
        readers = len(sockets) + len(streams)

        async def read(events: int) -> None:
            for _ in range(events):
                for socket in sockets:
                    await read_message(socket)
                for stream in streams:
                    await stream.read()

        await api.publish(document_update("doc-0"))
        await read(1)

        async with traced(served.process.pid, tmp_path / "alone"):
            for number in range(EVENTS):
                await api.publish(document_update(f"doc-{number}"))
                await read(1)
        alone = counts(tmp_path / "alone")
        deliveries = EVENTS * readers
        written = alone["sendto"] + alone["sendmsg"] + alone["write"] + alone["writev"]
        assert deliveries <= written <= deliveries * 1.1 + 5 * EVENTS
        assert alone.total() <= deliveries * 1.1 + 60 * EVENTS

        async with traced(served.process.pid, tmp_path / "together"):
            await api.publish([document_update(f"doc-{number}") for number in range(EVENTS)])
            await read(EVENTS)
        together = counts(tmp_path / "together")
        written = together["sendto"] + together["sendmsg"] + together["write"] + together["writev"]
        assert readers <= written <= readers * 1.1 + 20


async def test_an_answer_is_one_system_call(tmp_path: Path) -> None:
    """Head and body of what a publisher is told go together: its process is woken once."""
    async with serving(tmp_path, "--database", ":memory:") as served, Api(served.url) as api:
        await api.publish(document_update("doc-0"))
        async with traced(served.process.pid, tmp_path / "answers"):
            for number in range(EVENTS):
                await api.publish(document_update(f"doc-{number}"))
        answers = counts(tmp_path / "answers")
    # Beside it the database's thread wakes the loop with each commit.
    written = answers["sendto"] + answers["sendmsg"] + answers["write"] + answers["writev"]
    assert EVENTS <= written <= 2.2 * EVENTS
