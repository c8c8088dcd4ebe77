"""The examples do what they say, each as a process of its own."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.command import DEADLINE_S
from tests.support.command import serving as serving_command

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
IDENTITY = "userId=user123&organizationId=org123"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@asynccontextmanager
async def running(*command: str, ready: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command until the block ends; it must say that it is ready, and end well at Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ
    )
    assert process.stdout is not None
    told = ""
    try:
        async with asyncio.timeout(2 * DEADLINE_S):
            while ready not in told:
                line = (await process.stdout.readline()).decode()
                assert line, told
                told += line
        yield process
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(DEADLINE_S):
            told += (await process.communicate())[0].decode()
        assert process.returncode in (0, -signal.SIGINT, 130), told
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@asynccontextmanager
async def running_script(name: str, tmp_path: Path) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """Run an example as it is, but for the port."""
    port = free_port()
    script = tmp_path / name
    script.write_text((EXAMPLES / name).read_text().replace("8080", str(port)))
    async with running(str(script), ready="serving on port") as process:
        yield port, process


def uvicorn(target: str, port: int) -> list[str]:
    return ["-m", "uvicorn", f"examples.{target}", "--port", str(port)]


async def messages(url: str, *subscriptions: str, **headers: str) -> AsyncIterator[dict[str, object]]:
    """Subscribe, and give what comes."""
    async with asyncio.timeout(DEADLINE_S), connect(url, additional_headers=headers) as client:
        wanted = [{"type": name} for name in subscriptions]
        if wanted:
            await client.send(json.dumps({"type": "subscribe", "subscriptions": wanted}))
        async for text in client:
            yield json.loads(text)


async def test_quick_start(tmp_path: Path) -> None:
    """A client of the server sees all five sorts; one of another organization sees none of them."""
    subscriptions = ("document_updates", "signing_updates", "notifications", "user_presence", "organization_activity")
    async with running_script("quick_start.py", tmp_path) as (port, _):
        url = f"ws://localhost:{port}/ws?"
        elsewhere = messages(f"{url}userId=user123&organizationId=org456", *subscriptions)
        assert [(await anext(elsewhere))["type"] for _ in range(2)] == ["connected", "subscribed"]
        own = messages(url + IDENTITY, *subscriptions)
        assert [(await anext(own))["type"] for _ in range(2)] == ["connected", "subscribed"]
        seen = [(await anext(own))["event"] for _ in range(5)]
        assert {event["type"] for event in seen} == {  # type: ignore[index]
            "document_updated",
            "signature_completed",
            "notification",
            "user_presence",
            "organization_activity",
        }
        waiting = asyncio.ensure_future(anext(elsewhere))
        await asyncio.wait([waiting, asyncio.ensure_future(anext(own))], return_when=asyncio.FIRST_COMPLETED)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await own.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["fastapi_app:app", "django_asgi:application"])
async def test_applications(target: str) -> None:
    """What the application saves, its followers under /rt see."""
    port = free_port()
    async with running(*uvicorn(target, port), ready="running on"), httpx2.AsyncClient() as http:
        followed = messages(f"ws://localhost:{port}/rt/ws?{IDENTITY}", "document_updates")
        assert [(await anext(followed))["type"] for _ in range(2)] == ["connected", "subscribed"]
        answer = await http.put(f"http://localhost:{port}/documents/doc123", json={"title": "NDA v2"})
        assert answer.status_code == 200, answer.text
        event = (await anext(followed))["event"]
        assert isinstance(event, dict)
        assert event["id"] == answer.json()["eventId"]
        assert event["payload"]["changes"] == {"title": "NDA v2"}
        await followed.aclose()  # type: ignore[attr-defined]


def test_the_fastapi_application_is_short() -> None:
    """A stranger can write it: about twenty lines."""
    assert len((EXAMPLES / "fastapi_app.py").read_text().splitlines()) <= 25


async def test_publish_http(tmp_path: Path) -> None:
    """It publishes once, however often it is run."""
    async with serving_command(tmp_path) as served:
        script = tmp_path / "publish_http.py"
        script.write_text((EXAMPLES / "publish_http.py").read_text().replace("8080", str(served.port)))
        for is_duplicate in (False, True):
            process = await asyncio.create_subprocess_exec(sys.executable, script, stdout=subprocess.PIPE)
            out, _ = await process.communicate()
            (result,) = json.loads(out)["results"]
            assert (result["eventId"], result["duplicate"]) == ("contract-draft-2", is_duplicate)
        assert await served.terminate() == 0


async def test_handed_in_socket(tmp_path: Path) -> None:
    """Who the application knows gets its notifications and nobody else's; a stranger is turned away; comings and goings are told."""
    async with running_script("handed_in_socket.py", tmp_path) as (port, process):
        url = f"ws://localhost:{port}"
        stranger = messages(url)
        with pytest.raises(ConnectionClosed) as closed:
            await anext(stranger)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4501
        ada = messages(url, Authorization="Bearer ada's secret")
        assert [(await anext(ada))["type"] for _ in range(2)] == ["connected", "subscribed"]
        event = (await anext(ada))["event"]
        assert isinstance(event, dict)
        assert event["payload"]["title"] == "Tick"
        await ada.aclose()  # type: ignore[attr-defined]
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert (await process.stdout.readline()).startswith(b"ada came from ('127.0.0.1'")
            assert (await process.stdout.readline()) == b"ada left\n"


def python_blocks(page: str) -> list[str]:
    """Give a page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/how-to/embed-in-fastapi.md",
        "docs/how-to/embed-in-django.md",
        "docs/how-to/embed-in-a-program.md",
    ],
)
def test_pages_show_the_examples_as_they_are(page: str) -> None:
    """The Python that a page shows stands in a file that was just run."""
    blocks = python_blocks(page)
    texts = [file.read_text() for file in EXAMPLES.glob("*.py")]
    assert blocks
    assert [block for block in blocks if not any(block in text for text in texts)] == []


async def test_the_python_reference_holds() -> None:
    """Its blocks are run from the top, as one session."""
    names: dict[str, object] = {}
    for block in python_blocks("docs/reference/python.md"):
        outcome = eval(compile(block, "docs/reference/python.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # noqa: S307 - our own page
        if inspect.isawaitable(outcome):
            await outcome
