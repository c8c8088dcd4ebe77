"""Real proxies before a server: nginx and haproxy, as operators run them, with few connections to the server that all clients share.

Owns: starting, awaiting and ending them.   Not: what is sent through them (tests/e2e/test_smuggling.py).
Rule 1: every process started here is ended here.   Rule 2: each refuses `HIDDEN` by itself, so that whoever gets an answer from there came past it.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.polling import until

HIDDEN: Final = "/api/realtime/health"
NAMES: Final = ("nginx", "haproxy")

_NGINX: Final = """
daemon off; master_process off; worker_processes 1;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream server {{ server 127.0.0.1:{server}; keepalive 1; }}
  server {{
    listen 127.0.0.1:{port};
    location = {hidden} {{ return 403; }}
    location / {{
      proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_buffering off; proxy_request_buffering off;
    }}
  }}
}}
"""
_HAPROXY: Final = """
global
  maxconn 64
  nbthread 1
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  timeout tunnel 20s
frontend all
  bind 127.0.0.1:{port}
  http-request deny if {{ path {hidden} }}
  default_backend server
backend server
  server one 127.0.0.1:{server} pool-max-conn 1
"""


def is_installed(name: str) -> bool:
    """Say whether a proxy can be started here."""
    return _program(name) is not None


@asynccontextmanager
async def proxy(name: str, server: int, folder: Path) -> AsyncIterator[int]:
    """Run a proxy before the server on that port; give its own port."""
    program = _program(name)
    assert program is not None
    port = _free_port()
    config = folder / f"{name}.conf"
    text = _NGINX if name == "nginx" else _HAPROXY
    config.write_text(text.format(folder=folder, server=server, port=port, hidden=HIDDEN))
    options = ("-e", f"{folder}/error.log", "-p", str(folder), "-c") if name == "nginx" else ("-db", "-f")
    process = await asyncio.create_subprocess_exec(
        program, *options, str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await until(lambda: _listens(process, port), within_s=20)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    assert process.returncode is None, "the proxy ended"
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
