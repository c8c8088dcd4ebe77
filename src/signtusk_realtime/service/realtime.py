"""The service as an application embeds it: the original's verbs over the rooms.

Owns: its life, the verbs, the ASGI application.   Not: what a verb does (rooms.py names who does it), native servers (servers.py).
Rule 1: nothing is begun before `initialize`; after `cleanup` nothing is left, and `initialize` begins anew.
Rule 2: every verb is called on the event loop that runs the service; elsewhere it is refused before anything is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from msgspec import to_builtins

from signtusk_realtime.auth.authorizer import Authorizer
from signtusk_realtime.config import InvalidSettings, Settings, check
from signtusk_realtime.config.check import check_parts
from signtusk_realtime.delivery.formats import STREAM, TEXTS
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.events.ids import check_id, check_organization_id
from signtusk_realtime.events.kinds import (
    DocumentUpdateEvent,
    JsonObject,
    NotificationEvent,
    OrganizationActivityEvent,
    SignatureStatusEvent,
    SigningRequestEvent,
    SystemAnnouncementEvent,
    TeamUpdateEvent,
    UserPresenceEvent,
)
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.observability.metrics import MetricsMapping
from signtusk_realtime.operations.negotiate import Negotiated
from signtusk_realtime.operations.presence.presence import PresenceAnswer
from signtusk_realtime.protocol import json, messages
from signtusk_realtime.protocol.messages import Subscribe, Unsubscribe
from signtusk_realtime.service.documents import ConflictResolution, resolve_in_process
from signtusk_realtime.service.emitter import Published
from signtusk_realtime.service.handed import NO_METADATA, Response, Socket
from signtusk_realtime.service.listeners import Callback, Listeners
from signtusk_realtime.service.mount import make_doors
from signtusk_realtime.service.rooms import Rooms, begin, wall_ms
from signtusk_realtime.service.scaling import ScalingConfig, combined
from signtusk_realtime.sessions.identity import Identity, latest_issue_s

if TYPE_CHECKING:
    from signtusk_realtime.server.asgi import Mount
    from signtusk_realtime.server.asgi_peers import Doors

log = logging.getLogger(__name__)

SubscriptionObject = Subscription | Mapping[str, object]
"""A subscription, or the same as a mapping in the wire's names: `{"type": "document_updates", "filters": {"documentId": "d1"}}`."""


class Server(Protocol):
    """Something that listens for a service, and is stopped by its end if its owner did not."""

    async def stop(self) -> None: ...


class RealtimeService:
    """See the module. `config` is the original's object, `settings` has every name there is. `authorizer`: the application's own word on who may
    subscribe to what, beside grants. Raises: InvalidSettings, with every fault.
    """

    def __init__(
        self,
        config: ScalingConfig | None = None,
        *,
        settings: Settings | None = None,
        authorizer: Authorizer | None = None,
    ) -> None:
        if config is not None and not isinstance(config, ScalingConfig):
            raise InvalidSettings([f"config: a ScalingConfig is expected, not {type(config).__name__}"])
        settings = Settings() if settings is None else settings
        check_parts(settings)
        self.settings = settings if config is None else combined(config, settings)
        check(self.settings)
        self._authorizer = authorizer
        self._rooms: Rooms | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The one that runs the service, or last did."""
        self._ending = AsyncExitStack()
        self._changing = asyncio.Lock()
        self._is_ending = False
        self._has_ended = False
        self._listeners = Listeners()
        self.servers: set[Server] = set()
        """Native servers that listen; they enter and leave themselves."""
        self._doors: Doors | None = None
        self._mount: Mount | None = None

    # ---- its life

    @property
    def rooms(self) -> Rooms:
        """What is running. Raises: Unavailable before `initialize` and after `cleanup`, and on another event loop than the service's."""
        if self._rooms is None:
            raise Unavailable("the service is not running; await initialize() first")
        self._check_loop()
        return self._rooms

    async def initialize(self) -> None:
        """Open the log and begin delivery. Does nothing if that was done.

        Raises: ConfigurationError, Unavailable; then nothing is left. Unavailable too if the service runs on another event loop.
        """
        async with self._change():
            if self._rooms is not None:
                return
            async with AsyncExitStack() as begun:
                rooms = await begin(self.settings, self._listeners, begun, authorizer=self._authorizer)
                self._ending = begun.pop_all()
            self._rooms = rooms
            self._has_ended = False

    async def cleanup(self) -> None:
        """Stop the servers made of it, end every connection, let go of everything. Does nothing if nothing runs.

        A callback of `on` may await it, and is not waited for then; one that is called while it is under way finds it done. Others it waits
        for, and for sockets and responses that do not close: for either at most 5 seconds, and as long again once they were cancelled.

        Raises: Unavailable if the service runs on another event loop.
        """
        if self._is_ending and self._listeners.is_telling():
            return
        async with self._change():
            self._has_ended = self._is_ending = True
            try:
                for server in list(self.servers):
                    await server.stop()
                if self._doors is not None:
                    self._doors.entrance.is_stopping = True
                    self._doors.entrance.gate.close()
                self._rooms = self._doors = None
                await self._ending.aclose()
            finally:
                self._is_ending = False

    def _change(self) -> asyncio.Lock:
        """Give what lets one at a time begin or end the service. Raises: Unavailable."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._rooms is not None or (self._changing.locked() and not _has_stopped(self._loop)):
                self._check_loop()
            # A lock belongs to a loop, a service to one after the other.
            self._changing = asyncio.Lock()
            self._loop = loop
        return self._changing

    def _check_loop(self) -> None:
        if self._loop is _running_loop():
            return
        if _has_stopped(self._loop):
            raise Unavailable("the event loop that ran the service was closed before cleanup(); make another service")
        raise Unavailable(
            "the service runs on another event loop than this call; from a thread of FastAPI's use"
            " anyio.from_thread.run(service.emit_…, …), of Django's async_to_sync(service.emit_…)(…), elsewhere"
            " asyncio.run_coroutine_threadsafe(service.emit_…(…), loop)"
        )

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.cleanup()

    # ---- publishing

    async def emit_document_update(self, event: DocumentUpdateEvent | JsonObject) -> Published:
        """Publish what happened to a document. An answer means: durable, and delivered to everybody here who wants it.

        Each of the emit verbs takes the event's class, or a mapping with its fields in the wire's names.
        Raises, as all of them: InvalidInput (invalid_event, with the path of the field), LimitExceeded, EventIdReused, Unavailable.
        """
        return await self.rooms.emit(DocumentUpdateEvent, event)

    async def emit_signature_status_update(self, event: SignatureStatusEvent | JsonObject) -> Published:
        """Publish that a recipient's signature moved on."""
        return await self.rooms.emit(SignatureStatusEvent, event)

    async def emit_signing_request(self, event: SigningRequestEvent | JsonObject) -> Published:
        """Publish that a signing request was made or changed."""
        return await self.rooms.emit(SigningRequestEvent, event)

    async def emit_notification(self, event: NotificationEvent | JsonObject) -> Published:
        """Publish a notification; it reaches its `user_id` alone."""
        return await self.rooms.emit(NotificationEvent, event)

    async def emit_user_presence(self, event: UserPresenceEvent | JsonObject) -> Published:
        """Publish where a user is."""
        return await self.rooms.emit(UserPresenceEvent, event)

    async def emit_organization_activity(
        self, organization_id: str, activity_type: str, payload: JsonObject, user_id: str | None = None
    ) -> Published:
        """Publish that something happened in an organization."""
        fields = {"organizationId": organization_id, "activityType": activity_type, "payload": payload}
        return await self.rooms.emit(
            OrganizationActivityEvent, fields if user_id is None else {**fields, "userId": user_id}
        )

    async def emit_team_update(
        self, organization_id: str, team_id: str, update_type: str, payload: JsonObject, user_id: str | None = None
    ) -> Published:
        """Publish that something happened to a team; it reaches the team's members."""
        fields = {"organizationId": organization_id, "teamId": team_id, "updateType": update_type, "payload": payload}
        return await self.rooms.emit(TeamUpdateEvent, fields if user_id is None else {**fields, "userId": user_id})

    async def emit_system_announcement(
        self, title: str, message: str, severity: Literal["info", "warning", "critical"] = "info"
    ) -> Published:
        """Tell everybody in every organization."""
        fields = {"title": title, "message": message, "severity": severity}
        return await self.rooms.emit(SystemAnnouncementEvent, fields)

    # ---- connections over the application's own objects

    def handle_websocket_connection(
        self,
        socket: Socket,
        user_id: str,
        organization_id: str,
        metadata: Mapping[str, object] = NO_METADATA,
        *,
        teams: Sequence[str] = (),
    ) -> str:
        """Let a WebSocket in whose user the application vouches for; give the connection's id at once.

        The application hands what comes in to `receive`, and says `disconnect` when it has ended. `metadata` comes back with the events
        of `on`. Raises: InvalidInput for ids that are none, or an object without `send` or `close`; Unavailable if nothing runs.
        """
        return self.rooms.handed.socket(
            socket, _member(user_id, organization_id, teams, self.settings.auth.leeway), metadata
        )

    def handle_sse_connection(
        self,
        response: Response,
        user_id: str,
        organization_id: str,
        metadata: Mapping[str, object] = NO_METADATA,
        *,
        teams: Sequence[str] = (),
    ) -> str:
        """Let an event stream in, whose head the application has sent; give the connection's id at once. It begins without subscriptions.

        Raises: as `handle_websocket_connection`.
        """
        return self.rooms.handed.response(
            response, _member(user_id, organization_id, teams, self.settings.auth.leeway), metadata
        )

    async def receive(self, connection_id: str, text: str | bytes | bytearray | memoryview) -> bool:
        """Act on a message that came in; say whether the connection is still open. A client that does not read its answers is waited for."""
        return await self.rooms.handed.receive(connection_id, text)

    def disconnect(self, connection_id: str) -> None:
        """End a connection, or note that its peer has left. Does nothing for one that is gone."""
        self.rooms.handed.disconnect(connection_id)

    def subscribe_websocket(self, connection_id: str, subscription: SubscriptionObject) -> str:
        """Begin a subscription for a WebSocket; give its id at once. What is emitted from now on is delivered; `subscribed` is told first.

        Raises: InvalidInput (malformed, or no such connection), Forbidden, LimitExceeded.
        """
        return self.rooms.handed.subscribe(connection_id, self._subscribe(subscription), TEXTS.name)

    def unsubscribe_websocket(self, connection_id: str, subscription_id: str) -> None:
        """End a subscription of a WebSocket. Raises: InvalidInput (no such connection; unknown_subscription)."""
        self.rooms.handed.unsubscribe(connection_id, Unsubscribe(subscription_id=subscription_id), TEXTS.name)

    def subscribe_sse(self, connection_id: str, subscription: SubscriptionObject) -> str:
        """Begin a subscription for an event stream; as `subscribe_websocket`."""
        return self.rooms.handed.subscribe(connection_id, self._subscribe(subscription), STREAM.name)

    def unsubscribe_sse(self, connection_id: str, subscription_id: str) -> None:
        """End a subscription of an event stream; as `unsubscribe_websocket`."""
        self.rooms.handed.unsubscribe(connection_id, Unsubscribe(subscription_id=subscription_id), STREAM.name)

    def _subscribe(self, subscription: SubscriptionObject) -> Subscribe:
        try:
            text = json.encode({"type": "subscribe", "subscription": subscription})
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"cannot be written as JSON: {error}", path=("subscription",)) from None
        request = messages.decode(text, depth=self.settings.limits.json_depth)
        assert isinstance(request, Subscribe), "it was tagged so"
        return request

    async def negotiate(self, user_id: str, organization_id: str, *, teams: Sequence[str] = ()) -> Negotiated:
        """Choose a node for a user the application vouches for: its address, and a ticket that opens one connection there.

        Raises: InvalidInput (ids that are none), LimitExceeded (no node has room), Unavailable (also: nobody said how it is reached).
        """
        return await self.rooms.verbs.negotiate(_member(user_id, organization_id, teams, self.settings.auth.leeway))

    # ---- what it tells of itself

    def on(self, event: str, callback: Callback) -> Callable[[], None]:
        """Call `callback` (sync or async) with each event of the service's own life; give what ends that.

        `ws_connection_added`, `ws_connection_removed`, `sse_connection_added`, `sse_connection_removed` come with a `ConnectionChange`,
        `metrics_updated` with the figures. Raises: InvalidInput for an event there is not.
        """
        return self._listeners.on(event, callback)

    def get_metrics(self) -> MetricsMapping:
        """Give the figures of this node by their camelCase names, rates over the last 10 seconds. All are measured."""
        return self.rooms.metrics.get()

    async def get_presence(self, organization_id: str, document_id: str | None = None) -> PresenceAnswer:
        """Say who is there in an organization, or who of it has this as the current document. Raises: InvalidInput, Unavailable."""
        check_organization_id(organization_id, path=("organizationId",))
        if document_id is not None:
            check_id(document_id, path=("documentId",))
        return await self.rooms.verbs.presence.of(organization_id, document_id)

    # ---- documents

    async def resolve_conflicts(
        self,
        document_id: str,
        resolution: Literal["merge", "overwrite", "reject", "manual"],
        resolved_by: str,
        organization_id: str | None = None,
    ) -> ConflictResolution:
        """Decide all open conflicts of a document by one word. Without an organization all are searched.

        Raises: InvalidInput (an unknown word; several organizations hold such a document), Refused (`no_active_conflicts`: "No active
        conflicts found for document …"; document_locked …), Unavailable.
        """
        return await resolve_in_process(
            self.rooms.verbs.documents, self.rooms.engine, document_id, resolution, resolved_by, organization_id
        )

    def get_conflict_statistics(self) -> dict[str, int]:
        """Give what is undecided, of all organizations: activeConflicts, pendingChanges, documentsWithConflicts.

        Of this node at once, of others as they tell it, within a second or two; docs/reference/python.md says what a node that was cut off has.
        """
        figures: dict[str, int] = to_builtins(self.rooms.verbs.documents.statistics.total)
        return figures

    # ---- in an application of somebody else's

    @property
    def asgi(self) -> Mount:
        """The service as an ASGI application, to be mounted; give its host `lifespan` too, or it begins at the first request."""
        from signtusk_realtime.server.asgi import Mount  # noqa: PLC0415 - a service that is not mounted needs none of it

        if self._mount is None:
            self._mount = Mount(
                self._open_doors,
                start=self.initialize,
                stop=self.cleanup,
                websocket_path="/ws",
                is_local_only=self.settings.auth.mode == "development",
            )
        return self._mount

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Run the service as long as the host: `Starlette(lifespan=service.lifespan)`, `FastAPI(lifespan=service.lifespan)`."""
        async with self:
            yield

    async def _open_doors(self) -> Doors:
        if self._rooms is None:
            if self._has_ended:
                raise Unavailable("the service has ended")
            if not self._changing.locked():
                log.warning(
                    "service started by its first request, since the application runs no lifespan of it;"
                    " pass lifespan=service.lifespan, so that it begins and ends with the application"
                )
            await self.initialize()
        rooms = self.rooms
        if self._doors is None:
            self._doors = make_doors(rooms)
        return self._doors


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _has_stopped(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is None or loop.is_closed()


def _member(user_id: str, organization_id: str, teams: Sequence[str], leeway_ms: int) -> Identity:
    """Make the identity of a user the application vouches for: as of now, so that a revocation ends what is open and bars nobody for ever.

    As late as a token may say: a revocation ends all up to then, and who is vouched for in a later second is not meant by it.
    """
    check_id(user_id, path=("userId",))
    check_organization_id(organization_id, path=("organizationId",))
    if isinstance(teams, str) or not isinstance(teams, Sequence):
        raise InvalidInput(f"a list of ids is expected, not {type(teams).__name__}", path=("teams",))
    for team in teams:
        check_id(team, path=("teams",))
    issued_at = latest_issue_s(wall_ms(), leeway_ms)
    return Identity(user_id=user_id, organization_id=organization_id, teams=tuple(teams), issued_at=issued_at)
