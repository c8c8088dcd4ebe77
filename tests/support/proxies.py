"""Real proxies before a server: nginx and haproxy, as operators run them.

Owns: starting, awaiting and ending them; one that shares few connections to the server among all clients (`proxy`).   Not: what is sent
through them, the configurations that we ship (deployed.py).
Rule 1: every process started here is ended here.   Rule 2: `proxy` refuses `HIDDEN` by itself, so that whoever gets an answer from there came past it.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.polling import until

HIDDEN: Final = "/api/realtime/health"
NAMES: Final = ("nginx", "haproxy")

AROUND_NGINX: Final = """
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
"""What nginx needs around a site to run by itself and write nowhere but into `folder`."""
_PROGRAMS: Final = "/usr/sbin:/usr/local/sbin:/usr/bin"
_SHARING_NGINX: Final = """
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
"""
_SHARING_HAPROXY: Final = """
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


def program(name: str) -> str | None:
    """Give the program, if it is installed."""
    return shutil.which(name) or shutil.which(name, path=_PROGRAMS)


def proxy(name: str, server: int, folder: Path) -> AbstractAsyncContextManager[int]:
    """Run a proxy before the server on that port; give its own port."""
    port = free_port()
    text = (_SHARING_NGINX if name == "nginx" else _SHARING_HAPROXY).format(server=server, port=port, hidden=HIDDEN)
    return running(name, AROUND_NGINX.format(folder=folder, site=text) if name == "nginx" else text, port, folder)


@asynccontextmanager
async def running(name: str, configuration: str, port: int, folder: Path) -> AsyncIterator[int]:
    """Run a proxy that is configured to listen on that port; give the port."""
    found = program(name)
    assert found is not None
    config = folder / f"{name}.conf"
    config.write_text(configuration)
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


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    assert process.returncode is None, "the proxy ended"
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
