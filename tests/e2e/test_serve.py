"""The real command: it starts, serves, refuses clearly and ends cleanly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.command import (
    DEADLINE_S,
    Api,
    Browsers,
    document_update,
    read_message,
    run,
    serving,
)

DOC123 = {"type": "document_updates", "filters": {"documentId": "doc123"}}


async def test_an_event_goes_all_the_way(tmp_path: Path) -> None:
    """Ready, published over HTTP, shown at once on both transports to whom it concerns, in the history; then a clean end."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        assert (await api.http.get("/readyz")).status_code == 200
        async with Browsers(served) as browsers:
            socket = await browsers.websocket(DOC123)
            stream = await browsers.event_stream()
            stranger = await browsers.websocket({"type": "document_updates"}, organization="org456")

            for document, organization in (("doc999", "org123"), ("doc123", "org456"), ("doc123", "org123")):
                (result,) = await api.publish(document_update(document, organization))

            message = await read_message(socket)
            event = message["event"]
            assert isinstance(event, dict)
            assert message["type"] == "event"
            assert event["id"] == result["eventId"]
            assert event["payload"]["documentId"] == "doc123"

            other, own = await stream.read(), await stream.read()
            assert json.loads(other.data)["payload"]["documentId"] == "doc999"
            assert own.type == "document_updated"
            assert json.loads(own.data) == event
            assert own.last_event_id == message["cursor"]

            foreign = (await read_message(stranger))["event"]
            assert isinstance(foreign, dict)
            assert foreign["organizationId"] == "org456"

            assert [entry["event"] for entry in await api.history()] == [json.loads(other.data), event]

            assert await served.terminate() == 0
            assert (await read_message(socket))["type"] == "reconnect"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            with pytest.raises(StopAsyncIteration):
                while True:
                    await stream.read()


async def test_the_log_says_what_runs_where(tmp_path: Path) -> None:
    """Every line is one JSON object; address, database and authentication are told at the start, the end at the end."""
    async with serving(tmp_path) as served:
        assert await served.terminate() == 0
        by_message = {line["message"]: line for line in served.lines}
        assert by_message["listening"]["host"] == "127.0.0.1"
        assert by_message["service started"]["database"] == "signtusk-realtime.db"
        assert by_message["service started"]["authentication"] == "development"
        assert served.lines[-1]["message"] == "stopped"
        assert {line["level"] for line in served.lines} == {"info"}


async def test_an_interrupt_ends_it_as_cleanly(tmp_path: Path) -> None:
    """Ctrl-C is a request to stop, not an error."""
    async with serving(tmp_path, "--database", ":memory:") as served:
        served.process.send_signal(signal.SIGINT)
        assert await served.ended() == 0
    assert list(tmp_path.iterdir()) == []


async def test_what_was_published_survives_a_restart(tmp_path: Path) -> None:
    """The next server on the same database goes on where the first ended."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        await api.publish(document_update("doc1"))
        before = await api.history()
        await served.terminate()
    async with serving(tmp_path) as served, Api(served.url) as api:
        assert await api.history() == before
        await api.publish(document_update("doc2"))
        cursor = before[-1]["cursor"]
        assert isinstance(cursor, str)
        (later,) = await api.history(after=cursor)
        assert (await api.history()) == [*before, later]
        await served.terminate()


async def test_a_second_server_on_a_database_is_refused(tmp_path: Path) -> None:
    """One process owns a database; the second is told which, ends with 1, and does the first no harm."""
    async with serving(tmp_path) as served, Api(served.url) as api:
        code, _, err = await run("serve", "--port", "0", cwd=tmp_path)
        assert code == 1
        line = json.loads(err.splitlines()[-1])
        assert (line["level"], line["message"]) == ("error", "cannot serve")
        assert f"in use by process {served.process.pid}" in line["reason"]
        await api.publish(document_update("doc1"))
        assert await served.terminate() == 0


async def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    """A port in use is named, and nothing stays behind: the same database can be served elsewhere."""
    async with serving(tmp_path, "--database", ":memory:") as served:
        code, _, err = await run("serve", "--port", str(served.port), cwd=tmp_path)
        assert code == 1
        line = json.loads(err.splitlines()[-1])
        assert line["reason"].startswith(f"cannot listen on 127.0.0.1:{served.port}: Address already in use; ")
        assert "take another port" in line["reason"]
        async with serving(tmp_path) as other:
            assert await other.terminate() == 0
        assert await served.terminate() == 0


async def test_a_wrong_configuration_lists_every_fault(tmp_path: Path) -> None:
    """Nothing is opened or bound before every fault was told; the exit code says it is the configuration."""
    (tmp_path / "c.toml").write_text("[limits]\nbatches = 1\n", encoding="utf-8")
    environment = {
        "SIGNTUSK_REALTIME_CONFIG": "c.toml",
        "SIGNTUSK_REALTIME_DURABILTY": "full",
        "SIGNTUSK_REALTIME_PORT": "tcp://10.0.0.1:8080",
    }
    code, _, err = await run("serve", "--host", "0.0.0.0", "--tail-bytes", "64M", cwd=tmp_path, environment=environment)
    assert code == 2
    assert [line.removeprefix("signtusk-realtime: ").split(";")[0] for line in err.splitlines()] == [
        "limits.batches is no setting",
        "environment variable SIGNTUSK_REALTIME_DURABILTY is no setting",
        "tail_bytes: '64M' is not allowed",
        "host: development authentication lets everybody in and is refused on '0.0.0.0'",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


async def test_settings_reach_the_running_server(tmp_path: Path) -> None:
    """A limit that was set is the limit that holds, and what was warned of is in the log."""
    environment = {"SIGNTUSK_REALTIME_LIMITS_BATCH": "2", "SIGNTUSK_REALTIME_SERVICE_HOST": "10.0.0.1"}
    options = ("--heartbeat-interval", "1234", "--limits-subscriptions", "1", "--database", ":memory:")
    async with serving(tmp_path, *options, environment=environment) as served, Api(served.url) as api:
        refused = await api.http.post("/api/realtime/events", json=[document_update("d")] * 3)
        assert (refused.status_code, refused.json()["code"]) == (413, "batch_too_large")
        async with Browsers(served) as browsers:
            socket = await browsers.websocket()
            await socket.send(json.dumps({"type": "subscribe", "subscriptions": [DOC123, DOC123]}))
            assert (await read_message(socket))["code"] == "too_many_subscriptions"
        assert "SIGNTUSK_REALTIME_SERVICE_HOST is ignored" in str(served.lines[0]["message"])
        assert await served.terminate() == 0


def test_the_console_script_is_the_command() -> None:
    """The installed `signtusk-realtime` is this command."""
    script = Path(sys.executable).parent / "signtusk-realtime"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert done.stdout.startswith("signtusk-realtime ")
