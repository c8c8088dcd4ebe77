"""The service as an ASGI application: to be mounted in a Starlette, FastAPI or Django application, or served by itself.

Owns: paths below a mount, which call is served by whom.   Not: WebSockets and event streams (asgi_peers.py), the rest of HTTP (http/), sockets
and TLS (the host's server), the service's life (service: it is begun and ended through `start` and `stop`).
Rule 1: the host's server may run us below any `root_path`.
Rule 2: development authentication serves this machine only: the address of the peer is looked at, since nobody here knows which was bound.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable

from starlette.types import Receive, Scope, Send

from signtusk_realtime.errors import Forbidden, RealtimeError
from signtusk_realtime.server.asgi_peers import AsgiEventStream, AsgiWebSocket, Doors
from signtusk_realtime.server.asgi_refusals import Denial, Response
from signtusk_realtime.server.http.app import EVENTS
from signtusk_realtime.server.http.openapi.served import MOUNTED_AT
from signtusk_realtime.server.problems import problem, problem_of


class Mount:
    """See the module. The ASGI application.

    `doors`: gives what is behind, beginning it if the host did not. Raises: RealtimeError.
    `start`, `stop`: the service's life, where a server runs this application by itself and tells it of its lifespan.
    `is_local_only`: whether peers must be on this machine.
    """

    def __init__(
        self,
        doors: Callable[[], Awaitable[Doors]],
        *,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
        websocket_path: str,
        is_local_only: bool,
    ) -> None:
        self._doors = doors
        self._start = start
        self._stop = stop
        self._websocket_path = websocket_path
        self._is_local_only = is_local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope, whichever it is."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._live(receive, send)
        elif kind in ("http", "websocket"):
            # Behind the mount there is no mount: paths are those of spec/protocol.md.
            inner = {**scope, "path": route_path(scope), "root_path": "", MOUNTED_AT: scope.get("root_path", "")}
            await self._serve(inner, receive, send)
        else:
            raise ValueError(f"this application serves no scope of type {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_socket = scope["type"] == "websocket"
        refuse = Denial(scope, receive, send) if is_socket else Response(send)
        try:
            if self._is_local_only:
                _check_local(scope.get("client"))
            doors = await self._doors()
        except RealtimeError as error:
            await refuse(problem_of(error))
            return
        if is_socket:
            if scope["path"] == self._websocket_path:
                await AsgiWebSocket(doors, scope, receive, send).serve()
            else:
                await refuse(problem("not_found", "nothing is served under this path"))
        elif scope["path"] == EVENTS and scope["method"] == "GET":
            await AsgiEventStream(doors, scope, receive, send).serve()
        else:
            await doors.api(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            which = message["type"].removeprefix("lifespan.")
            try:
                await (self._start() if which == "startup" else self._stop())
            except RealtimeError as error:
                await send({"type": f"lifespan.{which}.failed", "message": error.message})
                return
            await send({"type": f"lifespan.{which}.complete"})
            if which == "shutdown":
                return


def route_path(scope: Scope) -> str:
    """Give the path below the mount. Servers disagree on whether `path` contains `root_path`: where it does, it is taken away."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    return path.removeprefix(root) if path.startswith(root + "/") else path


def _check_local(client: Iterable[object] | None) -> None:
    """Refuse a peer that is elsewhere. One without an address came over a local socket or a test's client. Raises: Forbidden."""
    host = str(next(iter(client), "")) if client is not None else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if not (mapped or address).is_loopback:
        raise Forbidden(
            "without authentication configured, this machine alone is served; the request came from elsewhere",
            code="host_not_allowed",
        )
