"""`subscribe` against a real server: a line an event on both transports, and the ways it ends."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from select import PIPE_BUF

import pytest

from tests.support.command import DEADLINE_S, Api, Served, document_update, run, serving
from tests.support.pipes import piped
from tests.support.polling import until

EVENTS = 5000
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("server"), "--database", ":memory:") as served:
        yield served


def options(server: Served, organization: str, transport: str = "ws") -> tuple[str, ...]:
    return ("--url", server.url, "--user", "user123", "--organization", organization, "--transport", transport)


@BOTH
async def test_thousands_of_events_through_a_pipe(server: Served, tmp_path: Path, transport: str) -> None:
    """What `publish` reads from a pipe, `subscribe` writes to one: each event once, in order, and both end with 0."""
    organization = f"pipe-{transport}"
    lines = b"".join(
        json.dumps(document_update(f"d{n % 7}", organization, metadata={"n": n})).encode() + b"\n"
        for n in range(EVENTS)
    )
    follow = ("subscribe", *options(server, organization, transport), "--count", str(EVENTS))
    async with piped(*follow, cwd=tmp_path) as subscriber:
        await subscriber.subscribed()
        async with piped("publish", "--url", server.url, "--file", "-", cwd=tmp_path) as publisher:
            (code, published, err), (end, received, _) = await asyncio.gather(
                publisher.ended(lines), subscriber.ended()
            )
    assert (code, err, end) == (0, "", 0)
    entries = [json.loads(line) for line in received.splitlines()]
    assert [entry["event"]["metadata"]["n"] for entry in entries] == list(range(EVENTS))
    assert [entry["event"]["id"] for entry in entries] == [
        json.loads(line)["eventId"] for line in published.splitlines()
    ]
    async with Api(server.url) as api:
        assert await api.history(organization) == entries


@BOTH
async def test_a_terminal_is_told_nothing_to_obey(server: Served, tmp_path: Path, transport: str) -> None:
    """What somebody wrote into a title is printed as the same JSON, with its control characters and separators escaped; refusals likewise."""
    organization = f"obey-{transport}"
    hostile = "a\x1b[2J\x7f\x9b2J\x9d0;x\x07\u2028\u2029z"
    follow = ("subscribe", *options(server, organization, transport), "--count", "1")
    event = document_update("d1", organization, metadata={"title": hostile})
    refused = document_update("d1", organization, **{"\x1b]0;x\x07\x9b": 1})
    lines = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in (refused, event)).encode()
    async with piped(*follow, cwd=tmp_path) as subscriber:
        await subscriber.subscribed()
        async with piped("publish", "--url", server.url, "--file", "-", cwd=tmp_path) as publisher:
            (_, _, err), (_, received, said) = await asyncio.gather(publisher.ended(lines), subscriber.ended())
    assert json.loads(received)["event"]["metadata"]["title"] == hostile
    assert "\\x1b]0;x" in err
    for text in (received.decode() if isinstance(received, bytes) else received, err, said):
        assert not [each for each in text if each in "\x1b\x07\x7f\x9b\x9d\u2028\u2029"]


@BOTH
async def test_types_and_document_narrow_what_comes(server: Served, tmp_path: Path, transport: str) -> None:
    """Only what was asked for is printed; all else it has to say is on standard error."""
    organization = f"narrow-{transport}"
    arguments = (*options(server, organization, transport), "--types", "document_updates", "--document-id", "d2")
    async with Api(server.url) as api, piped("subscribe", *arguments, cwd=tmp_path) as subscriber:
        message = await subscriber.subscribed()
        assert message["subscriptions"] == [{"type": "document_updates", "filters": {"documentId": "d2"}}]
        await api.publish([document_update("d1", organization), document_update("d2", organization)])
        line = await subscriber.read()
        assert line.keys() == {"cursor", "event"}
        assert line["event"]["payload"]["documentId"] == "d2"  # type: ignore[index]
        subscriber.process.send_signal(signal.SIGTERM)
        code, out, said = await subscriber.ended()
    assert (code, out) == (0, "")
    assert [json.loads(message)["type"] for message in said.splitlines()] == ["connected", "subscribed"]


@BOTH
async def test_an_interrupt_ends_it_well(server: Served, tmp_path: Path, transport: str) -> None:
    """Ctrl-C is how one ends it."""
    async with piped("subscribe", *options(server, "quiet", transport), cwd=tmp_path) as subscriber:
        await subscriber.subscribed()
        subscriber.process.send_signal(signal.SIGINT)
        code, out, _ = await subscriber.ended()
    assert (code, out) == (0, "")


@BOTH
async def test_it_ends_when_nobody_reads_it(server: Served, tmp_path: Path, transport: str) -> None:
    """A closed pipe is noticed at once, without an event to write."""
    reader, writer = os.pipe()
    async with piped("subscribe", *options(server, "unread", transport), cwd=tmp_path, stdout=writer) as subscriber:
        os.close(writer)
        await subscriber.subscribed()
        os.close(reader)
        code, _, _ = await subscriber.ended()
    assert code == 0


@pytest.mark.real_time
async def test_a_stuck_reader_does_not_keep_it_from_ending(server: Served, tmp_path: Path) -> None:
    """Told to stop while its output is full, it stops."""
    reader, writer = os.pipe()
    async with (
        piped("subscribe", *options(server, "stuck"), cwd=tmp_path, stdout=writer) as subscriber,
        Api(server.url) as api,
    ):
        os.close(writer)
        await subscriber.subscribed()
        metadata = {"text": "x" * 50_000}
        await api.publish([document_update("d", "stuck", metadata=metadata) for _ in range(10)])
        full = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) - PIPE_BUF
        await until(lambda: holds_more(reader, full), within_s=DEADLINE_S)
        subscriber.process.send_signal(signal.SIGTERM)
        code, _, _ = await subscriber.ended()
    os.close(reader)
    assert code == 0


async def holds_more(fd: int, than: int) -> bool:
    """Say whether more bytes than that lie in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))
    return bool(count > than)


@BOTH
async def test_a_cursor_is_where_it_goes_on(server: Served, tmp_path: Path, transport: str) -> None:
    """What was missed comes first; or it is told that it cannot be had."""
    organization = f"resume-{transport}"
    async with Api(server.url) as api:
        await api.publish([document_update("d", organization, id=f"e{n}") for n in range(3)])
        first, *rest = await api.history(organization)
        arguments = (*options(server, organization, transport), "--cursor", str(first["cursor"]), "--count", "2")
        async with piped("subscribe", *arguments, cwd=tmp_path) as subscriber:
            message = await subscriber.subscribed()
            if message["recovered"]:
                code, out, _ = await subscriber.ended()
                assert [json.loads(line) for line in out.splitlines()] == rest
            else:
                await subscriber.hears("events may have been missed (unknown)")
                await api.publish([document_update("d", organization, id=f"e{n}") for n in (3, 4)])
                code, out, _ = await subscriber.ended()
                assert [json.loads(line)["event"]["id"] for line in out.splitlines()] == ["e3", "e4"]
            assert code == 0


@BOTH
async def test_it_comes_back_to_a_server_that_comes_back(tmp_path: Path, transport: str) -> None:
    """It says that it was cut off and resumes; what was published since comes, or a gap is told."""
    async with serving(tmp_path, "--drain-timeout", "200") as served:
        port, arguments = str(served.port), options(served, "org123", transport)
        async with piped("subscribe", *arguments, cwd=tmp_path) as subscriber:
            await subscriber.subscribed()
            await served.terminate()
            await subscriber.hears("trying again")
            async with serving(tmp_path, "--port", port) as again, Api(again.url) as api:
                message = await subscriber.subscribed()
                assert "recovered" in message
                await api.publish(document_update("later"))
                assert (await subscriber.read())["event"]["payload"]["documentId"] == "later"  # type: ignore[index]
                subscriber.process.send_signal(signal.SIGTERM)
                assert (await subscriber.ended())[0] == 0
                await again.terminate()


@BOTH
async def test_who_is_not_let_in_is_told_why(server: Served, tmp_path: Path, transport: str) -> None:
    """Exit code 1 and the service's reason, at once: what is refused is not tried again."""
    arguments = ("--url", server.url, "--transport", transport)
    code, out, err = await run("subscribe", *arguments, cwd=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("signtusk-realtime: unauthenticated: userId and organizationId are required")
    assert len(err.splitlines()) == 1
