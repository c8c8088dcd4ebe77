"""The package as an application installs it that only embeds it: without any extra.

The library of another interpreter is the test's own, but everything that the package's core does not ask for is kept from it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "signtusk-realtime"
EXTRAS = {"httptools", "uvloop", "uvicorn", "cyclopts", "rich", "structlog", "httpx2", "websockets"}

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}: not installed with the core alone", name=name)
sys.meta_path.insert(0, Blocked())
"""

EMBEDDED = """
import asyncio
import json

import signtusk_realtime
from starlette.applications import Starlette
from starlette.routing import Mount

for name in signtusk_realtime.__all__:
    getattr(signtusk_realtime, name)
from signtusk_realtime import ConfigurationError, RealtimeService, create_websocket_server

service = RealtimeService()
app = Starlette(routes=[Mount("/rt", service.asgi)], lifespan=service.lifespan)


class Call:
    def __init__(self, kind, path, query=b"", **scope):
        self.scope = {"type": kind, "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "",
                      "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
                      "subprotocols": [], "extensions": {}, **scope}
        self.came_in, self.sent = asyncio.Queue(), asyncio.Queue()
        self.task = asyncio.create_task(app(self.scope, self.came_in.get, self.sent.put))

    async def next(self, kind):
        while True:
            message = await asyncio.wait_for(self.sent.get(), 10)
            if message["type"] == kind:
                return message


async def main():
    async with service:
        for method, path in (("GET", "/rt/api/realtime/health"), ("GET", "/rt/openapi.json"), ("GET", "/rt/asyncapi.json"),
                             ("GET", "/rt/metrics"), ("GET", "/rt/api/realtime/metrics"), ("GET", "/rt/livez")):
            call = Call("http", path, method=method, http_version="1.1", scheme="http")
            call.came_in.put_nowait({"type": "http.request", "body": b"", "more_body": False})
            assert (await call.next("http.response.start"))["status"] == 200, path
            await call.task
        identity = b"userId=user123&organizationId=org123"
        socket = Call("websocket", "/rt/ws", identity, scheme="ws")
        socket.came_in.put_nowait({"type": "websocket.connect"})
        await socket.next("websocket.accept")
        stream = Call("http", "/rt/api/realtime/events", identity, method="GET", http_version="1.1", scheme="http")
        assert (await stream.next("http.response.start"))["status"] == 200
        subscribe = {"type": "subscribe", "subscription": {"type": "organization_activity"}}
        socket.came_in.put_nowait({"type": "websocket.receive", "text": json.dumps(subscribe)})
        assert json.loads((await socket.next("websocket.send"))["text"])["type"] == "connected"
        assert json.loads((await socket.next("websocket.send"))["text"])["type"] == "subscribed"
        while b'"subscribed"' not in (await stream.next("http.response.body"))["body"]:
            pass
        await service.emit_organization_activity("org123", "shared", {})
        assert json.loads((await socket.next("websocket.send"))["text"])["event"]["type"] == "organization_activity"
        while b"event: organization_activity" not in (await stream.next("http.response.body"))["body"]:
            pass
        for call, left in ((socket, "websocket.disconnect"), (stream, "http.disconnect")):
            call.came_in.put_nowait({"type": left, "code": 1000})
            await call.task
        try:
            await create_websocket_server(service, port=0).start()
        except ConfigurationError as error:
            assert "signtusk-realtime[server]" in str(error), error
        else:
            raise AssertionError("a server started without its libraries")


asyncio.run(main())
"""


def core() -> set[str]:
    """Give the distributions that are there after `pip install` without extras: what the core requires, and what that requires."""
    found: set[str] = set()
    waiting = [PACKAGE]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            extras = needed.extras or {""}
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)
                for option in metadata.requires(needed.name) or ():
                    wanted = Requirement(option)
                    if wanted.marker is not None and any(wanted.marker.evaluate({"extra": one}) for one in extras):
                        waiting.append(wanted.name)
    return found


def others() -> set[str]:
    """Give the modules of every distribution at hand that the core does not bring."""
    wanted = core()
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if not any(canonicalize_name(one) in wanted for one in distributions)
    }


def run_without_extras(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program that finds nothing but the core's own requirements."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED.format(names=others()) + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
    )


def test_the_core_alone_embeds_the_service() -> None:
    """Every public name is there; a mount serves HTTP, WebSocket and event stream; what needs an extra says which."""
    assert others() >= EXTRAS, "what is to be missing is there to be kept away"
    done = run_without_extras(EMBEDDED)
    assert done.returncode == 0, done.stderr


def test_the_command_says_what_it_needs() -> None:
    """Without its extra it ends with the line that installs it, and no traceback."""
    done = run_without_extras(
        "sys.argv = ['signtusk-realtime', 'serve']\nfrom signtusk_realtime.cli import main\nmain()"
    )
    assert done.returncode == 1
    assert "signtusk-realtime[server]" in done.stderr
    assert "Traceback" not in done.stderr
