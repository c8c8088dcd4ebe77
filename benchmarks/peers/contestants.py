"""The peers of `make bench-all`: how each is started, and what must be installed for it.

Owns: their commands.   Not: installing (scripts/peers.sh), what is measured (claims).
Rule 1: each runs as its documentation recommends for speed, without compression, in one process.
Rule 2: one that is not installed is named as missing in the results; it is not left out silently.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.servers import SOCKETIO_SUBSCRIBING, Server, plain_publishing, socketio_publishing

_HERE: Final = Path(__file__).resolve().parent
_NODE: Final = _HERE / "node"
_NCHAN_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")

_NGINX: Final = """\
load_module {module};
daemon off;
master_process off;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 32768; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_time 1d;
    tcp_nodelay on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /publish {{
            client_max_body_size 1m;
            nchan_publisher;
            nchan_channel_id all;
        }}
        location = /subscribe {{
            nchan_subscriber websocket eventsource;
            nchan_channel_id all;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""

_NATS: Final = """\
listen: "127.0.0.1:{publish_port}"
websocket {{ listen: "127.0.0.1:{port}", no_tls: true, compression: false }}
"""
_NATS_SUBSCRIBE: Final = 'CONNECT {"verbose":false,"pedantic":false}\r\nSUB doc-{f} 1\r\nPING\r\n'


def _python(script: str, module: str) -> tuple[Callable[[int, Path, str], list[str]], Callable[[], str | None]]:
    def missing() -> str | None:
        return None if importlib.util.find_spec(module) else f"{module} is not installed (make bench-all installs it)"

    return lambda port, _folder, _durability: [sys.executable, str(_HERE / script), str(port), str(port + 1)], missing


def _node(script: str, module: str) -> tuple[Callable[[int, Path, str], list[str]], Callable[[], str | None]]:
    is_bun = module == "bun"
    program = str(_NODE / "node_modules" / ".bin" / "bun") if is_bun else "node"

    def missing() -> str | None:
        if not is_bun and shutil.which("node") is None:
            return "node is not installed"
        is_there = (_NODE / "node_modules" / module).is_dir()
        return None if is_there else f"{module} is not installed (make bench-all installs it)"

    return lambda port, _folder, _durability: [program, str(_NODE / script), str(port)], missing


def _nchan(port: int, folder: Path, _durability: str) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(module=_NCHAN_MODULE, folder=folder, port=port))
    return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c", str(config)]


def _nchan_missing() -> str | None:
    return None if _NCHAN_MODULE.exists() else "nginx with nchan is not installed (Debian: libnginx-mod-nchan)"


def _nchan_publishing(message_bytes: int) -> tuple[str, ...]:
    return ("--publish-path", "/publish", *plain_publishing(message_bytes))


def _nats_server() -> str | None:
    return shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")


def _nats(port: int, folder: Path, _durability: str) -> list[str]:
    config = folder / "nats.conf"
    config.write_text(_NATS.format(port=port, publish_port=port + 1))
    return [_nats_server() or "nats-server", "-c", str(config)]


def _nats_missing() -> str | None:
    return None if _nats_server() else "NATS is not installed (Debian: nats-server)"


def _nats_publishing(message_bytes: int) -> tuple[str, ...]:
    around = len(f"MSG doc-0 1 {message_bytes}\r\n\r\n")
    return ("--publish-path", "doc-{f}", *plain_publishing(message_bytes - around))


def _plain(name: str, parts: tuple[Callable[[int, Path, str], list[str]], Callable[[], str | None]]) -> Server:
    command, missing = parts
    return Server(name, command, (), None, plain_publishing, missing=missing)


NCHAN: Final = Server(
    name="nchan",
    command=_nchan,
    websocket=("--path", "/subscribe"),
    event_stream=("--sse", "--path", "/subscribe"),
    publishing=_nchan_publishing,
    missing=_nchan_missing,
)
NATS: Final = Server(
    name="NATS",
    command=_nats,
    websocket=("--nats", "--path", "/", "--await", "INFO", "--say", _NATS_SUBSCRIBE, "--await", "PONG"),
    event_stream=None,
    publishing=_nats_publishing,
    publishes_apart=True,
    missing=_nats_missing,
)
UWEBSOCKETS: Final = _plain("uWebSockets (socketify)", _python("socketify_server.py", "socketify"))
BUN: Final = _plain("Bun", _node("bun_server.mjs", "bun"))
WS: Final = _plain("ws on node", _node("ws_server.mjs", "ws"))
_command, _missing = _node("socketio_server.mjs", "socket.io")
SOCKETIO_NODE: Final = Server(
    "socket.io on node", _command, SOCKETIO_SUBSCRIBING, None, socketio_publishing, missing=_missing
)
_command, _missing = _python("websockets_server.py", "websockets")
WEBSOCKETS: Final = Server(
    "websockets, broadcast", _command, (), None, plain_publishing, publishes_apart=True, missing=_missing
)
_command, _missing = _python("starlette_server.py", "sse_starlette")
STARLETTE: Final = Server("Starlette on uvicorn", _command, (), None, plain_publishing, missing=_missing)
SSE_STARLETTE: Final = Server(
    "sse-starlette", _command, (), ("--sse", "--path", "/stream"), plain_publishing, missing=_missing
)

ON_WEBSOCKET: Final = (NCHAN, NATS, UWEBSOCKETS, BUN, WS, SOCKETIO_NODE, WEBSOCKETS, STARLETTE)
ON_EVENT_STREAM: Final = (NCHAN, SSE_STARLETTE)
"""nchan publishes one message a request: it takes no part where a request has several."""
