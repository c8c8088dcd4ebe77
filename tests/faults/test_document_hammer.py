"""I5, I9: four processes hammer one document over HTTP and WebSocket while the server is killed again and again, over its own file and over Valkey.

Each repeats what got no answer, on the other transport, against the next life of the server. In the end there is one history: versions unique and
without gaps, each answered change in it exactly once, at the version that was answered and with those operations, nothing that nobody asked for,
and everything that is stored agrees with itself. `HAMMER_EDITS=1000 HAMMER_KILLS=20` in the environment makes it a long run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from msgspec import to_builtins

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from tests.support.command import DEADLINE_S, a_free_port, run, serving
from tests.support.desks import Shelf, read_shelf
from tests.support.engines import RecordingSink
from tests.support.hammer import DOCUMENT, ORGANIZATION
from tests.support.valkey import fresh_prefix, shared_server

EDITS: Final = int(os.environ.get("HAMMER_EDITS", "40"))
KILLS: Final = int(os.environ.get("HAMMER_KILLS", "2"))
CLIENTS: Final = {"ann": "http", "bob": "ws", "cy": "http", "di": "ws"}
ROOT: Final = Path(__file__).parents[2]
VERSIONED: Final = ("applied", "merged", "parked")

pytestmark = pytest.mark.timeout(120 + 20 * KILLS + EDITS)


class Crowd:
    """The processes, and what they were answered, by changeId."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.moved = asyncio.Event()

    async def listen(self, process: asyncio.subprocess.Process) -> None:
        """Take one client's answers to its end, which must be a good one."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            answer = json.loads(line)
            assert answer["changeId"] not in self.answers, "a client asks once"
            self.answers[answer["changeId"]] = answer
            self.moved.set()
        assert await process.wait() == 0

    async def until(self, count: int) -> None:
        """Wait until so many changes were answered."""
        async with asyncio.timeout(DEADLINE_S + EDITS):
            while len(self.answers) < count:
                self.moved.clear()
                await self.moved.wait()


@asynccontextmanager
async def clients(port: str) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Start the processes; whoever still runs at the end is ended."""
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.hammer", port, name, str(EDITS), transport),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdout=asyncio.subprocess.PIPE,
        )
        for name, transport in CLIENTS.items()
    ]
    try:
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
                await process.wait()


def stores(kind: str, folder: Path) -> tuple[tuple[str, ...], Engine]:
    """Give the options that name a store, and an engine that reads it when the server is gone."""
    if kind == "sqlite":
        return (), SqliteEngine(str(folder / "signtusk-realtime.db"))
    url, prefix = shared_server().url, fresh_prefix()
    return ("--redis", url, "--redis-prefix", prefix), RedisEngine([url], prefix=prefix)


async def read_stored(engine: Engine) -> Shelf:
    """Read everything that a server left."""
    await engine.start(RecordingSink())
    try:
        return await read_shelf(engine)
    finally:
        await engine.close()


@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
async def test_one_history_through_every_kill(kind: str, tmp_path: Path) -> None:
    """See the module."""
    port, crowd = await a_free_port(tmp_path), Crowd()
    stored, engine = stores(kind, tmp_path)
    options = (*stored, "--port", port, "--limits-messages-per-second", "10000", "--limits-message-burst", "10000")
    begin = {"changeId": "begin", "baseVersion": 0, "changes": {"title": "", "rows": []}}
    target = f"http://127.0.0.1:{port}/api/realtime/documents/{DOCUMENT}/edits?userId=ann&organizationId={ORGANIZATION}"
    async with serving(tmp_path, *options) as served, httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.post(target, json=begin)).json()["version"] == 1
        await served.kill()
    async with clients(port) as processes, asyncio.TaskGroup() as tasks:
        listening = [tasks.create_task(crowd.listen(process)) for process in processes]
        for life in range(KILLS + 1):
            async with serving(tmp_path, *options) as served:
                if life == KILLS:
                    await asyncio.gather(*listening)
                    assert await served.terminate() == 0
                    break
                share = EDITS * len(CLIENTS) // (KILLS + 1)
                await crowd.until(life * share + random.randint(1, share))
                await served.kill()
    shelf = await read_stored(engine)
    assert shelf.faults() == []
    check(shelf, crowd.answers)
    code, out, _ = await run("verify-document", DOCUMENT, "--organization", ORGANIZATION, *stored, cwd=tmp_path)
    assert (code, json.loads(out)["integrity"]) == (0, "intact")


def check(shelf: Shelf, answers: dict[str, dict[str, Any]]) -> None:
    """Hold what was answered against the history: every change was answered, and is there exactly as it was answered."""
    entries = {entry.header.change_id: entry for entry in shelf.histories[DOCUMENT]}
    assert len(entries) == len(shelf.histories[DOCUMENT]) == shelf.heads[DOCUMENT].version, "a change has one version"
    assert set(answers) == {f"{name}-{number}" for name in CLIENTS for number in range(1, EDITS + 1)}
    made = {change: answer for change, answer in answers.items() if answer["status"] in VERSIONED and answer["ops"]}
    assert entries.keys() == {"begin", *made}
    for change, answer in made.items():
        entry = entries[change]
        assert entry.body is not None
        assert (entry.header.version, entry.header.status) == (answer["version"], answer["status"])
        assert json.loads(json.dumps(to_builtins(entry.body.ops))) == answer["ops"]
    others = [answer for change, answer in answers.items() if change not in made]
    assert {answer["status"] for answer in others} <= {"rejected"}, others[:3]
    assert any(answer["duplicate"] for answer in answers.values()), "nobody repeated what had been carried out"
    rows: Any = shelf.heads[DOCUMENT].data["rows"]
    assert {row["id"] for row in rows} == set(made)
    last = {name: max(int(change.split("-")[1]) for change in made if change.startswith(name)) for name in CLIENTS}
    assert {name: shelf.heads[DOCUMENT].data[name] for name in CLIENTS} == last
