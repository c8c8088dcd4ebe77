"""The proxies' configurations that we ship (deploy/), run by the real programs before nodes of a test.

Owns: putting a test's addresses in the place of the sample's, starting, awaiting and ending the program.   Not: what is sent through.
Rule: nothing else of a sample is changed, and each change must find its line.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.polling import until

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
NAMES: Final = ("nginx", "haproxy")
_PROGRAMS: Final = "/usr/sbin:/usr/local/sbin:/usr/bin"
_AROUND_NGINX: Final = """
daemon off; master_process off; worker_processes 1;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {site}
}}
"""


def program(name: str) -> str | None:
    """Give the program, if it is installed."""
    return shutil.which(name) or shutil.which(name, path=_PROGRAMS)


@asynccontextmanager
async def deployed(name: str, nodes: Sequence[int], folder: Path) -> AsyncIterator[int]:
    """Run a proxy with our sample before the two nodes on those ports; give its own port."""
    found = program(name)
    assert found is not None
    port = _free_port()
    config = folder / f"{name}.conf"
    config.write_text(_configuration(name, nodes, port, folder))
    options = ("-e", f"{folder}/error.log", "-p", str(folder), "-c") if name == "nginx" else ("-db", "-f")
    process = await asyncio.create_subprocess_exec(
        found, *options, str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: _listens(process, port), within_s=20)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _configuration(name: str, nodes: Sequence[int], port: int, folder: Path) -> str:
    text = next(DEPLOY.glob(f"{name}.*")).read_text(encoding="utf-8")
    for number, node in enumerate(nodes, 1):
        text = _changed(text, rf"10\.0\.0\.1{number}:8080", f"127.0.0.1:{node}")
    if name == "haproxy":
        return _changed(text, r"bind :8443 ssl .*", f"bind 127.0.0.1:{port}")
    text = _changed(text, r"listen 8443 ssl;", f"listen 127.0.0.1:{port};")
    text = _changed(text, r" *ssl_certificate .*\n *ssl_certificate_key .*\n", "")
    return _AROUND_NGINX.format(folder=folder, site=text)


def _changed(text: str, pattern: str, by: str) -> str:
    text, count = re.subn(pattern, by, text)
    assert count == 1, f"the sample has {count} places for {by}"
    return text


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    assert process.returncode is None, "the proxy ended"
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
