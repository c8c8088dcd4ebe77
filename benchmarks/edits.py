"""Edits: how many a second, and what one costs, on one document and on a thousand, with and without others in the way.

    .venv/bin/python -m benchmarks.edits [--rounds 3] [--seconds 4]

Owns: sixteen authors who edit 4 KB documents, each waiting for its answer; in process and over HTTP.   Not: the pure core alone (merge.py).
Rule 1: authors know what they were answered and no more, so that others' edits lie between; without overlap each has a field of its own, with
overlap all write the title, and every edit merges and keeps a record of what lost.
Rule 2: an edit that is refused, or a document whose version is not the number of its edits, makes it no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Protocol

import uvloop
from msgspec import convert

from benchmarks import results
from benchmarks.claims import Claim, Column
from benchmarks.generator import Figures
from benchmarks.merge import document
from benchmarks.servers import HERE, OURS, Server, running
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.documents import Documents, make_documents
from signtusk_realtime.operations.ids import new_id, new_secret
from signtusk_realtime.protocol.edits import EditBody
from signtusk_realtime.sessions.identity import Identity

AUTHORS: Final = 16
ORGANIZATION: Final = "org-bench"
DOCUMENT: Final = document(4)
Storage = Literal["in memory", "normal", "full"]
STORAGES: Final[tuple[Storage, ...]] = ("in memory", "normal", "full")
"""SQLite in memory, or in a file with either durability."""
WORKS: Final = {
    f"{count:,} document{'s' if count > 1 else ''}, {'all at one field' if is_overlapping else 'fields of their own'}": (
        count,
        is_overlapping,
    )
    for count in (1, 1000)
    for is_overlapping in (False, True)
}


def _contestant(how: str, storage: Storage) -> Server:
    return replace(OURS, name=f"{how}, {storage}")


CLAIM: Final = Claim(
    name="edits",
    title="Edits of 4 KB documents by sixteen authors, each waiting for its answer",
    reference=_contestant("in process", "full"),
    columns=(
        Column("edits_per_s", "edits per second"),
        Column("cpu_us_per_edit", "CPU µs per edit"),
        Column("busy", "busy", "{:.2f}"),
        Column("answer_ms.p50", "p50 ms", "{:.2f}"),
        Column("answer_ms.p99", "p99 ms", "{:.2f}"),
        Column("behind", "versions behind, mean", "{:.1f}"),
    ),
    goals=(),
    works=lambda short: (),
)


class Desk(Protocol):
    """Where edits go."""

    async def edit(self, author: int, document_id: str, body: dict[str, object]) -> tuple[str, int]:
        """Edit; give status and version."""

    def cpu_s(self) -> float:
        """Give the CPU time that was used, of all threads."""


class InProcess:
    """The service's own parts, without a server."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._authors = [Identity(user_id=f"user-{n}", organization_id=ORGANIZATION) for n in range(AUTHORS)]

    async def edit(self, author: int, document_id: str, body: dict[str, object]) -> tuple[str, int]:
        """See Desk."""
        outcome = await self._documents.edit(self._authors[author], document_id, convert(body, EditBody))
        assert isinstance(outcome.version, int), outcome
        return outcome.status, outcome.version

    def cpu_s(self) -> float:
        """See Desk; the authors' own work is in it."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime


class OverHttp:
    """A server as a process; a connection per author."""

    def __init__(self, pid: int, streams: Sequence[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self._pid = pid
        self._streams = streams

    async def edit(self, author: int, document_id: str, body: dict[str, object]) -> tuple[str, int]:
        """See Desk."""
        reader, writer = self._streams[author]
        content = json.dumps(body).encode()
        head = (
            f"POST /api/realtime/documents/{document_id}/edits HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer user-{author}@{ORGANIZATION}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        answered = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answered.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        answer = json.loads(await reader.readexactly(int(length.split(b":")[1])))
        if "version" not in answer:
            raise RuntimeError(f"an edit was answered {answer}")
        return answer["status"], answer["version"]

    def cpu_s(self) -> float:
        """See Desk; the server's alone."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def in_process(storage: Storage) -> AsyncIterator[tuple[Desk, str]]:
    """Put the parts together over an engine of this kind."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = ":memory:" if storage == "in memory" else str(Path(folder) / "bench.db")
        engine = SqliteEngine(path, durability="normal" if storage == "normal" else "full")
        hub = Hub(engine, heartbeat_interval_s=3600)
        await engine.start(hub)
        made = make_documents(
            engine,
            hub,
            DocumentRules(policy=PLAIN),
            now_ms=lambda: time.time_ns() // 1_000_000,
            new_id=new_id,
            new_secret=new_secret,
        )
        try:
            yield InProcess(made), "in process"
        finally:
            await made.close()
            await engine.close()


@asynccontextmanager
async def over_http(storage: Storage) -> AsyncIterator[tuple[Desk, str]]:
    """Start the command, and connect."""
    server = OURS
    if storage == "in memory":
        command = OURS.command
        server = replace(
            OURS,
            command=lambda port, folder, durability: [*command(port, folder, durability)[:4], "--database", ":memory:"],
        )
    with running(server, None, "normal" if storage == "normal" else "full") as served:
        streams = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(AUTHORS)]
        try:
            yield OverHttp(served.pid, streams), served.command
        finally:
            for _, writer in streams:
                writer.close()


HOWS: Final = {"in process": in_process, "HTTP": over_http}


class Run:
    """One measured run."""

    def __init__(self, desk: Desk, count: int, *, is_overlapping: bool) -> None:
        self._desk = desk
        self._ids = [f"doc-{n}" for n in range(count)]
        self._is_overlapping = is_overlapping
        self._versions = dict.fromkeys(self._ids, 0)
        self._edits = dict.fromkeys(self._ids, 0)
        self._number = 0
        self._answer_s: list[float] = []
        self._behind: list[int] = []
        self._is_over = False

    async def __call__(self, seconds: float) -> Figures:
        """Create, warm up, measure."""
        await self._each(self._create)
        authors = [asyncio.ensure_future(self._author(author)) for author in range(AUTHORS)]
        await asyncio.sleep(0.5)
        self._answer_s, self._behind = [], []
        begun, cpu = time.perf_counter(), self._desk.cpu_s()
        await asyncio.sleep(seconds)
        took, used, answers = time.perf_counter() - begun, self._desk.cpu_s() - cpu, sorted(self._answer_s)
        self._is_over = True
        await asyncio.gather(*authors)
        wrong = [one for one in self._ids if self._versions[one] != self._edits[one]]
        if wrong:
            raise RuntimeError(
                f"{wrong[0]} is at version {self._versions[wrong[0]]} after {self._edits[wrong[0]]} edits"
            )
        return {
            "edits_per_s": len(answers) / took,
            "cpu_us_per_edit": used / len(answers) * 1e6,
            "busy": used / took,
            "answer_ms": {
                "p50": answers[len(answers) // 2] * 1000,
                "p99": answers[int(len(answers) * 0.99)] * 1000,
            },
            "behind": sum(self._behind) / len(self._behind),
        }

    async def _each(self, act: Callable[[int, str], Awaitable[None]]) -> None:
        async def some(author: int) -> None:
            for one in self._ids[author::AUTHORS]:
                await act(author, one)

        await asyncio.gather(*(some(author) for author in range(AUTHORS)))

    async def _create(self, author: int, document_id: str) -> None:
        await self._edit(author, document_id, 0, dict(DOCUMENT))

    async def _author(self, author: int) -> None:
        draw = random.Random(author)
        seen = dict.fromkeys(self._ids, 1)
        field = "title" if self._is_overlapping else f"/signatureFields/field-{author}/x"
        while not self._is_over:
            document_id = draw.choice(self._ids)
            self._number += 1
            change: dict[str, object] = {field: f"NDA {self._number}" if self._is_overlapping else self._number}
            begun = time.perf_counter()
            version = await self._edit(author, document_id, seen[document_id], change)
            self._answer_s.append(time.perf_counter() - begun)
            self._behind.append(version - 1 - seen[document_id])
            seen[document_id] = version

    async def _edit(self, author: int, document_id: str, base: int, changes: dict[str, object]) -> int:
        self._edits[document_id] += 1
        body = {"changeId": new_id("chg"), "baseVersion": base, "changes": changes, "clientId": f"client-{author}"}
        status, version = await self._desk.edit(author, document_id, body)
        if status not in ("applied", "merged"):
            raise RuntimeError(f"an edit was {status}")
        self._versions[document_id] = max(version, self._versions[document_id])
        return version


async def measure(how: str, storage: Storage, work: str, seconds: float) -> tuple[Figures, str]:
    """Measure one contestant at one work, from nothing."""
    count, is_overlapping = WORKS[work]
    async with HOWS[how](storage) as (desk, command):
        return await Run(desk, count, is_overlapping=is_overlapping)(seconds), command


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    about = results.circumstances(" ".join(["python -m benchmarks.edits", *sys.argv[1:]]))
    rows = {
        (work, how, storage): results.Row(work, _contestant(how, storage).name)
        for work in WORKS
        for how in HOWS
        for storage in STORAGES
    }
    for _ in range(options.rounds):
        for (work, how, storage), row in rows.items():
            figures, command = uvloop.run(measure(how, storage, work, options.seconds))
            row.commands = [command]
            row.runs.append(figures)
            print(work, row.server, json.dumps(figures), flush=True)
    result = results.document(CLAIM, list(rows.values()), about)
    results.write(options.results, result)
    print(results.markdown(result))


if __name__ == "__main__":
    main()
