"""Native servers over a service.

Owns: making them.   Not: sockets and their lives (server/server.py).
Why apart from realtime.py: an application that only embeds the service is installed without what a native server needs.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from signtusk_realtime import __version__
from signtusk_realtime.config import TlsSettings
from signtusk_realtime.errors import ConfigurationError, InvalidInput
from signtusk_realtime.server.http.app import ASYNCAPI, LIVE, OPENAPI, OPENMETRICS, READY
from signtusk_realtime.service.mount import WEBSOCKET_PATH
from signtusk_realtime.service.realtime import RealtimeService

if TYPE_CHECKING:
    from signtusk_realtime.server.server import RealtimeServer
    from signtusk_realtime.server.tls import Tls

_API: Final = "/api/"
_TAKEN: Final = frozenset({LIVE, READY, OPENMETRICS, OPENAPI, ASYNCAPI})
_foreign: Final = re.compile(r"[?#{}%\s\x00-\x1f\x7f]").search


def make_server(
    service: RealtimeService,
    *,
    port: int | None = None,
    websocket_path: str = WEBSOCKET_PATH,
    shares_port: bool = False,
) -> RealtimeServer:
    """Make the native server of a running service, on the address its settings name. Who asked starts it, and stops it before `cleanup`.

    `shares_port`: other processes listen on the same one.

    Raises: Unavailable if the service does not run, ConfigurationError if the package was installed without what a native server needs.
    """
    settings, rooms = service.settings, service.rooms
    try:
        from signtusk_realtime.server.server import Address, RealtimeServer  # noqa: PLC0415 - see the module
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("signtusk_realtime"):
            raise
        raise ConfigurationError(
            f"the service's own server needs {error.name}: install signtusk-realtime[server], or mount service.asgi"
        ) from error
    return RealtimeServer(
        hub=rooms.hub,
        verbs=rooms.verbs,
        policy=rooms.policy,
        version=__version__,
        host=settings.host,
        port=settings.port if port is None else port,
        limits=rooms.limits,
        metrics=rooms.metrics,
        tls=_tls(settings.tls),
        administration=None if settings.admin_port is None else Address(settings.admin_host, settings.admin_port),
        administration_policy=rooms.operators_policy,
        websocket_path=websocket_path,
        proxies=rooms.proxies,
        carriers=rooms.carriers,
        shares_port=shares_port,
    )


def _tls(settings: TlsSettings) -> Tls | None:
    from signtusk_realtime.server.tls import Tls  # noqa: PLC0415 - see the module

    if settings.certificate is None or settings.key is None:
        return None
    return Tls(Path(settings.certificate), Path(settings.key))


class WebSocketServer:
    """A native server of a service, WebSocket and all the rest. Starts, stops, and starts again."""

    def __init__(self, service: RealtimeService, port: int, path: str) -> None:
        self._service = service
        self._port = port
        self._path = path
        self._running: RealtimeServer | None = None

    @property
    def port(self) -> int:
        """The port listened on; the one asked for until then."""
        return self._port if self._running is None else self._running.port

    async def start(self) -> None:
        """Listen. Does nothing if it does. Raises: Unavailable before the service's `initialize`, ConfigurationError if the port cannot be had."""
        if self._running is None:
            server = make_server(self._service, port=self._port, websocket_path=self._path)
            await server.start()
            self._running = server
            self._service.servers.add(self)

    async def stop(self) -> None:
        """End every connection that came in through it, and listen no more. Does nothing if it does not listen."""
        running, self._running = self._running, None
        self._service.servers.discard(self)
        if running is not None:
            await running.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


def create_websocket_server(service: RealtimeService, port: int = 8080, path: str = WEBSOCKET_PATH) -> WebSocketServer:
    """Make a server on the settings' host; port 0 takes a free one, `path` is where WebSockets are opened. Raises: InvalidInput."""
    if not _is_path(path):
        raise InvalidInput(
            f"not a path: {path!r}; it begins with / and has no query, blank or escape",
            code="invalid_request",
            path=("path",),
        )
    if path.startswith(_API) or path in _TAKEN:
        raise InvalidInput(f"another call is served under {path}", code="invalid_request", path=("path",))
    if not _is_port(port):
        raise InvalidInput(f"not a port: {port!r}; 0 to 65535 are allowed", code="invalid_request", path=("port",))
    return WebSocketServer(service, port, path)


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith("/") and value.isascii() and _foreign(value) is None


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65_535
