"""The command as a process among others: its input, its output and what it says can be held and let go.

Owns: starting, feeding, reading and ending it.   Not: the server (command.py).
Rule: every process started here is ended here, by its own id.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.command import COMMAND, DEADLINE_S, JsonObject


class Piped:
    """A running command with all three of its streams on pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def hears(self, word: str) -> str:
        """Wait for a line on standard error that holds a word."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended without {word!r}: {self.said}"
                self.said.append(line)
                if word in line:
                    return line

    async def subscribed(self) -> JsonObject:
        """Wait until it is live; give the message that says so."""
        message: JsonObject = json.loads(await self.hears('"type":"subscribed"'))
        return message

    async def read(self) -> JsonObject:
        """Wait for a line of output."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            value: JsonObject = json.loads(await self.process.stdout.readline())
        return value

    async def write(self, data: bytes) -> None:
        """Feed its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def ended(self, data: bytes = b"") -> tuple[int, str, str]:
        """Feed it the last of its input and wait for its end; give exit code, what was left of its output, and all it said."""
        async with asyncio.timeout(DEADLINE_S):
            out, err = await self.process.communicate(data)
        assert self.process.returncode is not None
        return self.process.returncode, (out or b"").decode(), "".join(self.said) + err.decode()


@asynccontextmanager
async def piped(*arguments: str, cwd: Path, stdout: int = asyncio.subprocess.PIPE) -> AsyncIterator[Piped]:
    """Start the command; at the end it is killed if it still runs."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("SIGNTUSK_REALTIME_")}
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Piped(process)
    finally:
        if process.returncode is None:
            process.kill()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.read()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
