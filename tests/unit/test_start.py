"""What a start does without."""

from __future__ import annotations

import json
import subprocess
import sys

LOADED = "import json, sys, signtusk_realtime.cli, {more}; print(json.dumps(sorted(sys.modules)))"


def loaded(more: str) -> set[str]:
    """Give what the command has loaded once it has also imported `more`."""
    done = subprocess.run([sys.executable, "-c", LOADED.format(more=more)], capture_output=True, check=True, timeout=60)
    return {name.partition(".")[0] if not name.startswith("signtusk") else name for name in json.loads(done.stdout)}


def test_a_server_starts_without_what_it_may_need_later() -> None:
    """A restart is as long as its imports: no library for terminals, for scraping or for being a client."""
    found = loaded("signtusk_realtime.serving, signtusk_realtime.server.server")
    assert {"signtusk_realtime.server.front", "uvloop"} <= found, "it is the server that was looked at"
    assert not found & {"structlog", "rich", "prometheus_client", "httpx2", "websockets", "signtusk_realtime.client"}


def test_a_client_starts_without_a_server() -> None:
    """A publisher in a script, a hundred times an hour, does not load what serves."""
    found = loaded("signtusk_realtime.commands.running")
    assert "signtusk_realtime.client" in found
    assert not found & {"uvicorn", "starlette", "sqlite3", "structlog", "signtusk_realtime.service"}
