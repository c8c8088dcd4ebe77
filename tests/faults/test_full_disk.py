"""A disk that is really full under a real server: nothing is answered that is not kept, all that can go on does, and room heals it.

The disk is a small tmpfs, so this needs root and the right to mount; without them it is skipped, and says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection

from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Retention
from signtusk_realtime.protocol import cursor as cursors
from tests.support.command import Api, Browsers, JsonObject, document_update, read_message, serving
from tests.support.engines import LOG, ManualClock, RecordingSink, draft
from tests.support.history import Attempt, Observed
from tests.support.polling import until

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(150)]

MIB = 1 << 20
DISK_BYTES = 28 * MIB
FILLER_BYTES = 8 * MIB
PUBLISHERS = 4
RECOVERY_S = 30.0
FEW = 20
ORGANIZATION = "org123"
SUBSCRIPTION: JsonObject = {"type": "document_updates"}
TEXT = {"text": "x" * 30_000}


def mounted(folder: Path) -> str | None:
    """Put a small disk under a folder; give why that cannot be done."""
    if os.geteuid() != 0:
        return "only root can mount a small disk to fill"
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        return f"there is no mount command: {error}"
    return None if done.returncode == 0 else f"this machine does not let us mount a tmpfs: {done.stderr.strip()}"


def unmount(folder: Path) -> None:
    """Take the disk away, though somebody should still be on it."""
    if subprocess.run(["umount", str(folder)], capture_output=True, timeout=20, check=False).returncode != 0:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, timeout=20, check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    reason = mounted(folder)
    if reason is not None:
        pytest.skip(f"NOT TESTED, the behaviour on a full disk: {reason}")
    with ExitStack() as after:
        after.callback(unmount, folder)
        yield folder


@pytest.fixture
def filler(disk: Path) -> Path:
    """Give a file of somebody else's on that disk."""
    file = disk / "somebody-elses"
    file.write_bytes(bytes(FILLER_BYTES))
    return file


def place_of(cursor: object) -> int:
    """Give the offset that a cursor names. Nobody else may look into one."""
    assert isinstance(cursor, str)
    found = cursors.decode(ORGANIZATION, cursor)
    assert found is not None
    assert found.organization is not None
    return found.organization.offset


async def send(api: Api, attempt: Attempt) -> httpx2.Response:
    """Publish what an attempt is about, and note the answer if it was accepted."""
    events = [document_update("d", ORGANIZATION, id=event_id, metadata=TEXT) for event_id in attempt.ids]
    answer = await api.http.post("/api/realtime/events", json=events)
    if answer.status_code == 200:
        results = answer.json()["results"]
        assert [result["eventId"] for result in results] == list(attempt.ids)
        attempt.offsets = tuple(place_of(result["cursor"]) for result in results)
    return answer


async def publish_until_refused(api: Api, observed: Observed) -> list[httpx2.Response]:
    """Let publishers work, each one call after the other, until each was refused; give the refusals."""

    async def publish(name: str, attempts: list[Attempt]) -> httpx2.Response:
        while True:
            # What was refused before comes first, as a publisher that keeps its order sends it.
            if not attempts or attempts[-1].offsets is not None:
                number = len(attempts)
                attempts.append(Attempt(tuple(f"{name}-{number}-{part}" for part in range(1 + number % 3))))
            answer = await send(api, attempts[-1])
            if answer.status_code != 200:
                return answer

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(publish(name, attempts)) for name, attempts in observed.publishers.items()]
    return [task.result() for task in running]


def take_all(filler: Path) -> int:
    """Let the other file take what is left of the disk; give how much that was."""
    taken = 0
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            taken += file.write(bytes(4096))
    return taken


async def exhaust(api: Api, observed: Observed, filler: Path) -> list[httpx2.Response]:
    """Fill the disk from both sides until it stays full; give the refusals."""
    refusals = await publish_until_refused(api, observed)
    # What the service released to go on deleting is taken away from it too.
    while take_all(filler):
        refusals += await publish_until_refused(api, observed)
    return refusals


async def read_log(api: Api) -> list[tuple[int, str]]:
    """Give the history: offsets with the events' ids."""
    log: list[tuple[int, str]] = []
    for entry in await api.history(ORGANIZATION):
        event = entry["event"]
        assert isinstance(event, dict)
        log.append((place_of(entry["cursor"]), event["id"]))
    return log


async def listen(socket: ClientConnection, count: int) -> list[object]:
    """Take events until there were `count`."""
    ids: list[object] = []
    while len(ids) < count:
        event = (await read_message(socket))["event"]
        assert isinstance(event, dict)
        ids.append(event["id"])
    return ids


async def replayed(browsers: Browsers, count: int) -> tuple[list[object], list[object]]:
    """Resume from the beginning on both transports; give what each is shown."""
    socket = await browsers.websocket()
    await socket.send(json.dumps({"type": "subscribe", "subscriptions": [SUBSCRIPTION], "cursor": "earliest"}))
    assert (await read_message(socket))["recovered"] is True
    stream = await browsers.event_stream("&types=document_updates&lastEventId=earliest")
    streamed = [json.loads((await stream.read()).data)["id"] for _ in range(count)]
    return await listen(socket, count), streamed


async def is_ready(api: Api) -> bool:
    """Say whether the server would be sent work."""
    return (await api.http.get("/readyz")).status_code == 200


async def test_a_full_disk_loses_nothing_and_heals(disk: Path, filler: Path) -> None:
    """What was answered is kept and shown, all else is refused as `unavailable`; reading goes on, also after a crash; room heals it."""
    observed = Observed({f"p{number}": [] for number in range(PUBLISHERS)})
    async with serving(disk) as served, Api(served.url) as api, Browsers(served) as browsers:
        socket = await browsers.websocket(SUBSCRIPTION)
        for refusal in await exhaust(api, observed, filler):
            assert (refusal.status_code, refusal.json()["code"]) == (503, "unavailable"), refusal.text
            assert int(refusal.headers["retry-after"]) > 0
        log = await read_log(api)
        assert observed.faults(log) == []
        assert len(log) == observed.answered > PUBLISHERS, "what was refused for want of room is not there"

        assert not await is_ready(api)
        assert (await api.http.get("/livez")).status_code == 200
        assert (await api.http.get("/api/realtime/health")).json()["checks"]["engine"]["status"] == "unavailable"
        ids = [event_id for _, event_id in log]
        assert await listen(socket, len(ids)) == ids
        assert await replayed(browsers, len(ids)) == (ids, ids)
        known = observed.publishers["p0"][0]
        assert (await send(api, known)).json()["results"][0]["duplicate"] is True
        await served.kill()

    async with serving(disk) as served, Api(served.url) as api, Browsers(served) as browsers:
        assert await read_log(api) == log
        assert await replayed(browsers, len(ids)) == (ids, ids)
        # Starting anew gave back a little room.
        refusals = await exhaust(api, observed, filler)
        assert {refusal.status_code for refusal in refusals} == {503}
        assert not await is_ready(api)
        before, log = log, await read_log(api)
        assert observed.faults(log) == []
        assert log[: len(before)] == before

        socket = await browsers.websocket(SUBSCRIPTION)
        filler.unlink()
        await until(lambda: is_ready(api), within_s=RECOVERY_S)
        for attempt in observed.unanswered():
            answer = await send(api, attempt)
            assert answer.status_code == 200, answer.text
            assert not any(result["duplicate"] for result in answer.json()["results"])
        healed = await read_log(api)
        assert observed.faults(healed) == []
        assert healed[: len(log)] == log
        later = [event_id for _, event_id in healed[len(log) :]]
        assert await listen(socket, len(later)) == later
        assert await served.terminate() == 0

    async with serving(disk) as served, Api(served.url) as api:
        assert await read_log(api) == healed
        assert await served.terminate() == 0


async def test_retention_alone_makes_room(disk: Path) -> None:
    """Deletion needs space too: what was kept back for it lets a disk that the log filled by itself heal without anybody's help."""
    clock, sink = ManualClock(), RecordingSink()
    engine = SqliteEngine(str(disk / "realtime.db"), clock=clock, retention=Retention(age_ms=1000))
    await engine.start(sink)
    published = 0

    async def publish_until_full(limit: int) -> int:
        nonlocal published
        for count in range(limit):
            try:
                await engine.commit(LOG, Commit([draft(f"e{published}", bytes(30_000))]))
            except Unavailable:
                return count
            published += 1
        return limit

    try:
        await publish_until_full(1_000_000)
        # What is written twice, in the journal and in its place, gives some room back each time; in the end none.
        for _ in range(20):
            await engine.upkeep()
            if await publish_until_full(1_000_000) < FEW:
                break
        else:
            pytest.fail("the disk is never full")
        assert sink.healths[-1].status == "unavailable"
        page = await engine.read(LOG, published - 1, 1)
        assert (page.top.offset, page.top.floor_offset) == (published, 0)

        clock.now += 1001
        await engine.upkeep()
        assert sink.healths[-1].status == "ok"
        assert await publish_until_full(10 * FEW) == 10 * FEW
        page = await engine.read(LOG, published - 1, 1)
        assert (page.top.offset, page.top.floor_offset) == (published, published - 10 * FEW)
    finally:
        await engine.close()
