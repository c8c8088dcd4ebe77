"""What every way in shares: whom to ask, what is allowed, and what is still open.

Owns: the order of admission, the count of open transports, the tasks of admissions, the deadlines of closings.   Not: bytes of any kind of
transport (websocket.py, stream.py), HTTP (front.py, http/).
Order: origin → where the token stands (carriers.py) → room → the gate (gate.py) → credentials → what is asked for → `connect.admit` → room → the transport's answer → `connect.open`.
Rule: who was admitted is opened or forgone, also if the peer has left or the server stops meanwhile.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Final

from msgspec import Struct

from signtusk_realtime.auth.authenticator import Authenticator, Credentials
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.authenticate import Authenticate
from signtusk_realtime.operations.connect import Admission
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.protocol.halfway import FrameLimits
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.server.carriers import HEADER_ONLY, Carriers
from signtusk_realtime.server.deadlines import Deadlines
from signtusk_realtime.server.gate import Gate, overloaded
from signtusk_realtime.server.origins import OriginPolicy
from signtusk_realtime.server.problems import HeaderPairs
from signtusk_realtime.server.proxies import NO_PROXIES, Proxies
from signtusk_realtime.server.request import RequestHead
from signtusk_realtime.server.selection import Asked
from signtusk_realtime.server.wanted import allowed, entitled
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.rates import RateLimits

SEND_BUFFER_BYTES: Final = 64 << 10
"""SO_SNDBUF of a connection. Measured: by the kernel's default a stalled reader swallows 4 MB before anybody notices."""


WRITE_BYTES: Final = 384 << 10
"""What one turn may add to an outbox that was not full: a share of 256 KiB and answers."""


class ServerLimits(Struct, frozen=True, kw_only=True):
    """Bounds of one server; the names are those of the settings (config/settings.py), the times are seconds.

    `head_timeout_s`: from connecting, or a later head's first byte, to its end. `body_timeout_s`: from there to the end of the body.
    `close_timeout_s`: how long a closing connection may take.
    `retry_ms`: what event streams tell their clients to wait. `connections`: of the whole node, however they came in.
    `compression`: whether WebSocket messages may be compressed.
    """

    message_bytes: int = 65_536
    json_depth: int = 32
    batch: int = 1000
    payload_bytes: int = 256 << 10
    body_bytes: int = 8 << 20
    outbox_bytes: int = 1 << 20
    subscriptions: int = 100
    rates: RateLimits = RateLimits()
    connections: int = 10_000
    head_bytes: int = 64 << 10
    head_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    keep_alive_timeout_s: int = 75
    close_timeout_s: float = 5.0
    drain_timeout_s: float = 10.0
    retry_ms: int = 2000
    compression: bool = True

    @property
    def high_water_bytes(self) -> int:
        """Where a transport says that it is full: below the outbox, for what one write may add to it (delivery/audience.py)."""
        return max(self.outbox_bytes // 2, self.outbox_bytes - WRITE_BYTES)


class NativeProtocol(asyncio.Protocol, ABC):
    """A peer on a raw transport, from the end of its request's head to the end of its connection; fulfils delivery's Outlet.

    Its bound is the transport's high-water mark. While it is full nothing is read from the peer: what it asks for could not be answered.
    """

    __slots__ = ("_connection", "_entrance", "_transport")

    _connection: Connection | None
    _entrance: Entrance
    _transport: asyncio.Transport

    @abstractmethod
    def begin(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take the transport over; `rest` came in after the head."""

    def unsent(self) -> int:
        """See the Outlet port."""
        return self._transport.get_write_buffer_size()

    def withdraw(self) -> None:
        """See the Outlet port. What the transport holds cannot be taken back."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """More waits than the outbox may hold. Ordering: this comes from within `write`, and delivery must not be called back from there."""
        if self._connection is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._entrance.hub.paused, self._connection)

    def resume_writing(self) -> None:
        """The peer has taken enough of what waited."""
        if self._connection is not None:
            asyncio.get_running_loop().call_soon(self._entrance.hub.drained, self._connection)
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    @abstractmethod
    def abort(self) -> None:
        """End at once, whatever is unsent."""


class Entrance:
    """See the module. `changed` is called whenever something that was open has ended."""

    def __init__(
        self,
        *,
        hub: Hub,
        verbs: Verbs,
        policy: OriginPolicy,
        limits: ServerLimits,
        changed: Callable[[], None],
        always: HeaderPairs = (),
        proxies: Proxies = NO_PROXIES,
        carriers: Carriers = HEADER_ONLY,
    ) -> None:
        self.hub = hub
        self.proxies = proxies
        self.carriers = carriers
        self.connect = verbs.connect
        self.subscriptions = verbs.subscriptions
        self.receive = verbs.receive
        self.authorize = verbs.authorize
        self.nodes = verbs.nodes
        self.policy = policy
        self.always = always
        """Headers of every answer, refusals too."""
        self.limits = limits
        self.frame_limits = FrameLimits(max_message_bytes=limits.message_bytes)
        self.deflated_frame_limits = FrameLimits(max_message_bytes=limits.message_bytes, deflate=True)
        self.closings: Deadlines[NativeProtocol] = Deadlines(limits.close_timeout_s, _abort)
        self.gate = Gate(lambda: hub.catching_up)
        self.authenticator: Authenticator = _AtTheGate(verbs.authenticate, self.gate)
        """For those who are in the gate."""
        self.tasks: set[asyncio.Task[None]] = set()
        self._admissions: dict[NativeProtocol, asyncio.Task[None]] = {}
        """Of those that are not open yet."""
        self.is_stopping = False
        self.natives: set[NativeProtocol] = set()
        """Those that took a transport over and did not lose it yet."""
        self._changed = changed

    def address_of(self, peer: object, headers: Headers) -> str | None:
        """Give where a request comes from, where that is counted. `peer`: the socket's address, host first."""
        if not self.connect.census.counts_addresses or not isinstance(peer, (tuple, list)):
            return None
        return self.proxies.client_of(str(peer[0]), headers)

    async def permitted(self, asked: Asked, identity: Identity) -> tuple[Subscription, ...]:
        """Give what is asked for if the identity may have it, from within an admission; while the application is asked, its place is somebody else's.

        Raises: Forbidden; LimitExceeded as on entering the gate.
        """
        subscriptions = entitled(asked, identity)
        if not self.authorize.is_asked:
            return subscriptions
        async with self.gate.aside():
            return await allowed(asked, subscriptions, identity, self.authorize)

    def check_room(self, admission: Admission | None = None) -> None:
        """Refuse a connection that cannot be taken now. Raises: LimitExceeded (overloaded; rate_limited: for who was admitted).

        Asked twice: before an admission begins, to refuse cheaply, and in the step that opens the connection, to keep the bound exactly.
        """
        if self.is_stopping:
            raise overloaded("this server is stopping", self.nodes.elsewhere())
        if len(self.hub.connections) >= self.limits.connections:
            raise overloaded(
                f"this node has {self.limits.connections} connections, as many as it may have", self.nodes.elsewhere()
            )
        if admission is not None:
            self.connect.census.check(admission.identity, admission.address)

    def spawn(self, work: Coroutine[None, None, None], one: NativeProtocol | None = None) -> None:
        """Run an admission; the server knows of it until it is done. `one`: whose it is; should that be lost, it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        if one is not None:
            self._admissions[one] = task

    def admitted(self, one: NativeProtocol) -> None:
        """Note that a connection was opened: what its admission still does ends by itself."""
        self._admissions.pop(one, None)

    def lost(self, one: NativeProtocol) -> None:
        """Note that a transport that was taken over is no more."""
        self.natives.discard(one)
        self.closings.discard(one)
        admission = self._admissions.pop(one, None)
        if admission is not None:
            admission.cancel()
        self._changed()

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._changed()


class _AtTheGate:
    """Says who asks, from within an admission; while others must be asked, its place is somebody else's."""

    def __init__(self, authenticate: Authenticate, gate: Gate) -> None:
        self._authenticate = authenticate
        self._gate = gate

    async def authenticate(self, credentials: Credentials) -> Identity:
        awaited = self._authenticate.awaited(credentials)
        if awaited is not None:
            async with self._gate.aside():
                await awaited
        return await self._authenticate.authenticate(credentials)


def _abort(one: NativeProtocol) -> None:
    one.abort()
