"""Our listener: sockets, their lives, and a clean end.

Owns: listening sockets, start and stop, signals.   Not: what is behind the doors (operations, engines): it is handed in and outlives us.
Rule 1: stopping is in this order: not ready, no new connections, peers are told and let go (operations/drain.py), what was asked is answered,
everybody is waited for; all of it within `drain_timeout_s`.
Rule 2 (I7): after `stop` no task, timer or socket of ours is left, however the stop went.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from uvicorn.config import Config

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.operations.drain import Drain
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.protocol import codes
from signtusk_realtime.server.carriers import HEADER_ONLY, Carriers
from signtusk_realtime.server.entrance import SEND_BUFFER_BYTES, Entrance, NativeProtocol, ServerLimits
from signtusk_realtime.server.fronts import Fronts
from signtusk_realtime.server.http.app import EVENTS, HttpApi, Part
from signtusk_realtime.server.origins import OriginPolicy
from signtusk_realtime.server.proxies import NO_PROXIES, Proxies
from signtusk_realtime.server.stream import EventStream
from signtusk_realtime.server.tls import HSTS, Tls
from signtusk_realtime.server.websocket import WebSocket

log = logging.getLogger(__name__)

BACKLOG: Final = 4096
ACCEPTED_PER_TURN: Final = 16
"""How often a listening socket is watched: uvloop accepts one connection per turn of the loop and watched descriptor, and who comes in a storm waits
in the kernel's queue until that overflows. Each costs a connection that comes alone one call that finds nothing, half a microsecond."""
DEPARTURE_SHARE: Final = 0.8
"""Of the drain's time; the rest is for closing handshakes and answers."""
ABORT_TIMEOUT_S: Final = 2.0
"""For what was cut to be gone: a turn or two of the loop, and an application that catches its cancellation."""
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_ANY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int


class RealtimeServer:
    """See the module. Serves one service on one address; `start` and `stop`, or `run` until a signal.

    `health`: how the engine is (default: as the hub was told). `port` 0 lets the system choose.
    `metrics`: what is told of this node (default: the hub's counters, with rates since the server was made).
    `tls`: what all listeners speak. `administration`: where operators ask, apart from everybody else; the metrics are open to them there, by the
    names that `administration_policy` allows (default: `policy`). `shares_port`: other processes listen on the same one (SO_REUSEPORT).
    """

    def __init__(
        self,
        *,
        hub: Hub,
        verbs: Verbs,
        policy: OriginPolicy,
        version: str,
        host: str = "127.0.0.1",
        port: int = 8080,
        limits: ServerLimits | None = None,
        websocket_path: str = "/ws",
        health: Callable[[], EngineHealth] | None = None,
        metrics: Metrics | None = None,
        tls: Tls | None = None,
        administration: Address | None = None,
        administration_policy: OriginPolicy | None = None,
        proxies: Proxies = NO_PROXIES,
        carriers: Carriers = HEADER_ONLY,
        shares_port: bool = False,
    ) -> None:
        self.host = host
        self._port = port
        self._limits = limits or ServerLimits()
        self._tls = tls
        self._always = () if tls is None else (HSTS,)
        self._administration = administration
        self._hub = hub
        self._servers: list[asyncio.Server] = []
        self._stopping: asyncio.Task[None] | None = None
        self._is_hurried = False
        self._nodes = verbs.nodes
        self._shares_port = shares_port
        self._drain = Drain(hub, random=random.random, elsewhere=verbs.nodes.elsewhere)
        self._waiter: asyncio.Future[None] | None = None
        """Resolved when everybody is gone."""
        self._entrance = Entrance(
            hub=hub,
            verbs=verbs,
            policy=policy,
            limits=self._limits,
            changed=self._changed,
            always=self._always,
            proxies=proxies,
            carriers=carriers,
        )
        api = partial(
            HttpApi,
            verbs=verbs,
            limits=self._limits,
            health=health or (lambda: hub.engine_health),
            metrics=metrics or Metrics(hub.counters, pending=lambda: hub.pending),
            is_stopping=lambda: self._entrance.is_stopping,
            always=self._always,
            version=version,
            websocket_path=websocket_path,
            carriers=carriers,
        )
        self._fronts = self._fronts_of(
            api(part=Part.WHOLE if administration is None else Part.PUBLIC, policy=policy),
            {
                websocket_path: lambda: WebSocket(self._entrance),
                EVENTS: lambda: EventStream(self._entrance),
            },
        )
        self._all_fronts = [self._fronts]
        if administration is not None:
            apart = api(part=Part.ADMINISTRATION, policy=administration_policy or policy)
            self._all_fronts.append(self._fronts_of(apart, {}))

    def _fronts_of(self, api: HttpApi, natives: Mapping[str, Callable[[], NativeProtocol]]) -> Fronts:
        return Fronts(
            # No log configuration, no proxy headers, no lifespan: a library configures nothing, trusts nobody, and is run by its owner.
            # `access_log=False` would silence the logger of the whole process, which may be an application's under uvicorn; front.py does
            # without it.
            Config(
                api,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                lifespan="off",
                ws="none",
                interface="asgi3",
                timeout_keep_alive=self._limits.keep_alive_timeout_s,
            ),
            limits=self._limits,
            natives=natives,
            changed=self._changed,
            always=self._always,
        )

    @property
    def port(self) -> int:
        """The port listened on; the one asked for until then."""
        return self._port

    @property
    def administration(self) -> Address | None:
        """Where operators ask, if that is apart; its port is the one asked for until it is listened on."""
        return self._administration

    async def start(self) -> None:
        """Listen. Raises: ConfigurationError if an address cannot be had."""
        assert not self._servers, "a server is started once"
        apart = self._administration
        try:
            if apart is not None:
                self._administration = apart._replace(port=await self._listen(apart, self._all_fronts[-1]))
            self._port = await self._listen(Address(self.host, self._port), self._fronts)
        except BaseException:
            for server in self._servers:
                server.close()
            raise
        if self._administration is not None:
            log.info("listening for operators", extra=self._administration._asdict())
        self._nodes.listens(self._url)
        log.info("listening", extra={"host": self.host, "port": self._port})

    @property
    def _url(self) -> str | None:
        """How clients reach it; None where it listens on all addresses, which is none to go to."""
        if self.host in _ANY_ADDRESS:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self._port}"

    async def _listen(self, address: Address, fronts: Fronts) -> int:
        """Listen on every address of a host; give the port."""
        loop = asyncio.get_running_loop()
        bound = bind(*address, shares_port=self._shares_port)
        port: int = bound[0].getsockname()[1]
        sockets = [*bound, *(one.dup() for one in bound for _ in range(ACCEPTED_PER_TURN - 1))]
        limits = self._limits
        try:
            while sockets:
                server = await loop.create_server(
                    fronts.make,
                    sock=sockets[0],
                    backlog=BACKLOG,
                    ssl=None if self._tls is None else self._tls.context,
                    ssl_handshake_timeout=None if self._tls is None else limits.head_timeout_s,
                    ssl_shutdown_timeout=None if self._tls is None else limits.close_timeout_s,
                )
                self._servers.append(server)
                sockets.pop(0)
        except BaseException:
            for one in sockets:
                one.close()
            raise
        return port

    async def stop(self) -> None:
        """Stop as the module says; a call while stopping waits for the same end."""
        if self._stopping is None:
            self._entrance.is_stopping = True
            self._nodes.leaves(self._url)
            self._stopping = asyncio.get_running_loop().create_task(self._stop())
        await asyncio.shield(self._stopping)

    def hurry(self) -> None:
        """Wait for nobody any longer."""
        self._is_hurried = True
        self._drain.hurry()
        self._changed()

    async def run(self, *, ends_process: bool = False, started: Callable[[], object] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then stop; a second signal ends the waiting. SIGHUP has the certificate read again.

        `ends_process`: the process ends with it, and signals until then cut nothing off. `started`: called once it listens.
        """
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[None] = loop.create_future()

        def on_signal() -> None:
            if asked.done():
                self.hurry()
            else:
                asked.set_result(None)

        await self.start()
        for number in SIGNALS:
            loop.add_signal_handler(number, on_signal)
        if self._tls is not None:
            loop.add_signal_handler(signal.SIGHUP, self._tls.reload)
        if started is not None:
            started()
        try:
            await asked
        finally:
            try:
                await self.stop()
            finally:
                if not ends_process:
                    for number in (*SIGNALS, signal.SIGHUP):
                        loop.remove_signal_handler(number)

    async def _stop(self) -> None:
        entrance, loop = self._entrance, asyncio.get_running_loop()
        deadline = loop.time() + self._limits.drain_timeout_s
        for server in self._servers:
            server.close()
        for fronts in self._all_fronts:
            fronts.stop()
        entrance.gate.close()
        ours = self._our_connections()
        log.info("stopping", extra={"port": self._port, "connections": len(ours)})
        await self._drain.run(ours, DEPARTURE_SHARE * self._limits.drain_timeout_s)
        for fronts in self._all_fronts:
            fronts.end_idle()
        # In a hurry nobody had to be let go yet.
        for connection in self._our_connections():
            self._hub.end(connection, codes.CLOSE_RESTARTING)
        await self._everybody_gone(max(0.0, deadline - loop.time()))
        for fronts in self._all_fronts:
            fronts.abort()
        for task in entrance.tasks:
            task.cancel()
        for native in list(entrance.natives):
            native.abort()
        self._is_hurried = False
        await self._everybody_gone(ABORT_TIMEOUT_S)
        for fronts in self._all_fronts:
            fronts.close()
        entrance.closings.close()
        for server in self._servers:
            await server.wait_closed()
        log.info("stopped", extra={"port": self._port})

    def _our_connections(self) -> list[Connection]:
        """Give what came in through us; other outlets of the same hub are their owners'."""
        natives: set[object] = set(self._entrance.natives)
        return [connection for connection in self._hub.connections.values() if connection.outlet in natives]

    async def _everybody_gone(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, _resolve, waiter)
        self._changed()
        await waiter
        timer.cancel()
        self._waiter = None

    def _changed(self) -> None:
        if self._waiter is not None and (self._is_hurried or not self._is_anybody_here):
            _resolve(self._waiter)

    @property
    def _is_anybody_here(self) -> bool:
        entrance, states = self._entrance, [fronts.state for fronts in self._all_fronts]
        return bool(entrance.natives or entrance.tasks or any(state.connections or state.tasks for state in states))


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "; another program listens there: stop it, or take another port (0 is any free one)"
    if error.errno == errno.EACCES:
        return "; take a port from 1024 on, or have the system allow this one"
    return ""


def bind(host: str, port: int, *, shares_port: bool) -> list[socket.socket]:
    """Bind every address of a host to one port; 0 takes a free one. Raises: ConfigurationError."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            sockets.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shares_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Accepted sockets inherit both: no call per connection.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], port or sockets[0].getsockname()[1], *address[2:]))
    except OSError as error:
        for one in sockets:
            one.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror or error}{_remedy(error)}") from None
    return sockets
