"""`publish` against a real server: a result a line, refusals by line, exit codes."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.command import Api, Served, document_update, run, serving
from tests.support.pipes import piped


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("server"), "--database", ":memory:") as served:
        yield served


async def test_one_event(server: Served, tmp_path: Path) -> None:
    """The result is on standard output, nothing on standard error; it is in the log."""
    event = document_update("doc1", "one")
    code, out, err = await run("publish", "--url", server.url, json.dumps(event), cwd=tmp_path)
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result.keys() == {"eventId", "cursor", "duplicate"}
    async with Api(server.url) as api:
        (entry,) = await api.history("one")
    assert entry["event"]["id"] == result["eventId"]  # type: ignore[index]


async def test_a_file_and_a_token(server: Served, tmp_path: Path) -> None:
    """Lines of a file, by a token's identity; repeated, the same events are duplicates and that is success."""
    lines = [document_update(f"doc{n}", "filed", id=f"e{n}") for n in range(3)]
    (tmp_path / "events.ndjson").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "token").write_text("app@filed\n")
    arguments = ("publish", "--url", server.url, "--token-file", "token", "--file", "events.ndjson")
    for is_duplicate in (False, True):
        code, out, err = await run(*arguments, cwd=tmp_path)
        assert (code, err) == (0, "")
        results = [json.loads(line) for line in out.splitlines()]
        assert [(r["eventId"], r["duplicate"]) for r in results] == [(f"e{n}", is_duplicate) for n in range(3)]


async def test_refused_lines_are_named_and_the_others_published(server: Served, tmp_path: Path) -> None:
    """Exit code 1; line number, code and pointer on standard error; everything else is published in order, ids reused found too."""
    events = [
        document_update("a", "mixed", id="m1"),
        document_update("b", "mixed", id="m2", type="updatd"),
        document_update("c", "mixed", id="m3"),
        document_update("d", "mixed", id="m1"),
        document_update("e", "other", id="m5"),
        {"kind": "system_announcement", "id": "m6", "title": "t", "message": "m", "severity": "info"},
    ]
    async with piped("publish", "--url", server.url, "--file", "-", cwd=tmp_path) as command:
        code, out, err = await command.ended("\n".join(map(json.dumps, events)).encode())
    assert code == 1
    assert [json.loads(line)["eventId"] for line in out.splitlines()] == ["m1", "m3", "m5", "m6"]
    refused = err.splitlines()
    assert refused[0].startswith("signtusk-realtime: line 2: invalid_event: /type: ")
    assert refused[1].startswith("signtusk-realtime: line 4: event_id_reused: ")
    assert len(refused) == 2


async def test_lines_are_published_as_they_come(server: Served, tmp_path: Path) -> None:
    """A slow input is not waited for: each line's result is out before the next is written."""
    async with piped("publish", "--url", server.url, "--file", "-", cwd=tmp_path) as command:
        for n in range(3):
            await command.write(json.dumps(document_update("d", "slow", id=f"s{n}")).encode() + b"\n")
            assert (await command.read())["eventId"] == f"s{n}"
        assert await command.ended() == (0, "", "")


async def test_an_interrupt_says_how_far_it_got(server: Served, tmp_path: Path) -> None:
    """What was not published is not said to be done."""
    async with piped("publish", "--url", server.url, "--file", "-", cwd=tmp_path) as command:
        await command.write(json.dumps(document_update("d", "stopped")).encode() + b"\n")
        await command.read()
        command.process.send_signal(signal.SIGINT)
        assert (
            await command.hears("interrupted")
            == "signtusk-realtime: interrupted after 1 published lines; more may be\n"
        )
        code, out, _ = await command.ended()
    assert (code, out) == (1, "")


async def test_who_is_not_let_in_is_told_why(server: Served, tmp_path: Path) -> None:
    """Exit code 1, one line, and no result."""
    event = json.dumps(document_update("d"))
    code, out, err = await run("publish", "--url", server.url, "--token", "nobody", event, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("signtusk-realtime: unauthenticated: stopped at line 1: ")
