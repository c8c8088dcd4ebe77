"""The service begins whole or not at all, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
from math import nan
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from signtusk_realtime import (
    ConnectionChange,
    DocumentUpdateEvent,
    InvalidInput,
    LimitExceeded,
    NotificationEvent,
    Published,
    create_websocket_server,
)
from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.config import AuthSettings, InvalidSettings, LimitSettings, Settings
from signtusk_realtime.errors import ConfigurationError, RealtimeError, Unavailable
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.operations.history import HistoryPage
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.service import RealtimeService, make_server
from tests.support.samples import sample, sample_event
from tests.support.server import until

ORGANIZATION = "org123"


async def publish(service: RealtimeService, event_id: str) -> None:
    identity = await service.rooms.verbs.authenticate.authenticate(Credentials(purpose="publish"))
    event = sample_event("document_update", id=event_id, organizationId=ORGANIZATION)
    await service.rooms.verbs.publish(identity, [Publication(event, b"\0" * 32)])


async def history(service: RealtimeService) -> HistoryPage:
    credentials = Credentials(purpose="read", user_id="user123", organization_id=ORGANIZATION)
    identity = await service.rooms.verbs.authenticate.authenticate(credentials)
    return await service.rooms.verbs.history(identity, None, after=None, limit=10)


def open_files() -> set[str]:
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{descriptor.name} {descriptor.readlink()}")
        except FileNotFoundError:  # the one that lists them
            continue
    return {one for one in found if "eventpoll" not in one}


def test_settings_are_checked_when_the_service_is_made() -> None:
    """What cannot work is refused before anything is opened, all of it at once."""
    with pytest.raises(InvalidSettings) as caught:
        RealtimeService(settings=Settings(port=-1, limits=LimitSettings(batch=0)))
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"port": 1}, "settings"),
        (Settings(limits=None), "limits"),  # type: ignore[arg-type]
        (Settings(auth={"mode": "jwt"}), "auth"),  # type: ignore[arg-type]
    ],
)
def test_settings_are_of_their_classes(settings: Any, named: str) -> None:
    """Something else in place of the settings, or of a group of them, is refused by its name."""
    with pytest.raises(InvalidSettings, match=f"^{named}: "):
        RealtimeService(settings=settings)


async def test_nothing_can_be_asked_of_a_service_that_does_not_run() -> None:
    """Before `initialize` and after `cleanup` there is a clear error."""
    service = RealtimeService()
    with pytest.raises(Unavailable, match="initialize"):
        _ = service.rooms
    async with service:
        assert service.rooms.hub.engine_health == EngineHealth("ok")
    with pytest.raises(Unavailable, match="initialize"):
        _ = service.rooms


async def test_initialize_and_cleanup_are_idempotent() -> None:
    """Called twice, or at once from two tasks, each happens once."""
    service = RealtimeService()
    await service.cleanup()
    await asyncio.gather(service.initialize(), service.initialize())
    rooms = service.rooms
    await service.initialize()
    assert service.rooms is rooms
    await asyncio.gather(service.cleanup(), service.cleanup())
    with pytest.raises(RealtimeError):
        await rooms.engine.logs(None, 1)


async def test_any_number_of_lives_leaves_nothing_but_the_log(tmp_path: Path) -> None:
    """A service can begin anew; what was published stays, no file stays open (tasks and threads: tests/support/leftovers.py)."""
    service = RealtimeService(settings=Settings(database=str(tmp_path / "log.db")))
    before = open_files()
    for life in range(3):
        async with service:
            await publish(service, f"evt_{life}")
            assert len((await history(service)).events) == life + 1
        assert open_files() == before


async def test_a_failed_start_leaves_nothing(tmp_path: Path) -> None:
    """A service whose database cannot be had holds nothing, and starts once it can be had."""
    settings = Settings(database=str(tmp_path / "log.db"))
    before = open_files()
    second = RealtimeService(settings=settings)
    async with RealtimeService(settings=settings):
        with_one = open_files()
        with pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"):
            await second.initialize()
        assert open_files() == with_one
        with pytest.raises(Unavailable):
            _ = second.rooms
    assert open_files() == before
    async with second:
        await publish(second, "evt_1")


async def test_limits_reach_their_rooms() -> None:
    """A setting has an effect: the size of an event is bounded by the service's own limit."""
    async with RealtimeService(settings=Settings(limits=LimitSettings(payload_bytes=1024))) as service:
        identity = await service.rooms.verbs.authenticate.authenticate(Credentials(purpose="publish"))
        event = sample_event("document_update", organizationId=ORGANIZATION, changes={"text": "x" * 1024})
        with pytest.raises(RealtimeError, match="at most 1024 are allowed") as caught:
            await service.rooms.verbs.publish(identity, [Publication(event, b"\0" * 32)])
        assert caught.value.code == "payload_too_large"


async def test_a_server_is_made_of_a_running_service() -> None:
    """The native server listens where the settings say, and ends without the service ending."""
    async with RealtimeService(settings=Settings(port=0)) as service:
        server = make_server(service)
        await server.start()
        assert server.port != 0
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await writer.wait_closed()
        await server.stop()
        await publish(service, "evt_1")


class Socket:
    """A WebSocket of the application's own."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None

    async def send(self, text: str) -> None:
        self.messages.append(json.loads(text))

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    async def events(self, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self._events) >= count)
        return self._events

    @property
    def _events(self) -> list[dict[str, Any]]:
        return [message["event"] for message in self.messages if message["type"] == "event"]


EVERYTHING = (
    "document_updates",
    "signing_updates",
    "notifications",
    "organization_activity",
    "user_presence",
    "team_updates",
    "system_announcements",
)


async def test_every_verb_reaches_whom_it_should_and_nobody_else() -> None:
    """Each emit verb, by class or mapping; another organization sees announcements alone, another user no notification."""
    async with RealtimeService() as service:
        own, colleague, stranger = Socket(), Socket(), Socket()
        for socket, user, organization in (
            (own, "user123", ORGANIZATION),
            (colleague, "user456", ORGANIZATION),
            (stranger, "user123", "org456"),
        ):
            connection_id = service.handle_websocket_connection(socket, user, organization, teams=["team123"])
            for name in EVERYTHING:
                service.subscribe_websocket(connection_id, {"type": name})
        published = [
            await service.emit_document_update(
                DocumentUpdateEvent(document_id="d1", type="signed", user_id="u", organization_id=ORGANIZATION)
            ),
            await service.emit_signature_status_update({**sample("signature_status"), "organizationId": ORGANIZATION}),
            await service.emit_signing_request({**sample("signing_request"), "organizationId": ORGANIZATION}),
            await service.emit_notification({**sample("notification"), "organizationId": ORGANIZATION}),
            await service.emit_user_presence({**sample("user_presence"), "organizationId": ORGANIZATION}),
            await service.emit_organization_activity(ORGANIZATION, "shared", {"a": 1}, user_id="u"),
            await service.emit_organization_activity(ORGANIZATION, "shared", {}),
            await service.emit_team_update(ORGANIZATION, "team123", "renamed", {"name": "x"}),
            await service.emit_system_announcement("Maintenance", "at noon", severity="warning"),
        ]
        ids = [result.event_id for result in published]
        assert [event["id"] for event in await own.events(9)] == ids
        assert [event["type"] for event in await own.events(9)] == [
            "document_signed",
            "signature_completed",
            "signing_request_created",
            "notification",
            "user_presence",
            "organization_activity",
            "organization_activity",
            "team_update",
            "system_announcement",
        ]
        assert [event["id"] for event in await colleague.events(8)] == ids[:3] + ids[4:]
        assert [event["id"] for event in await stranger.events(1)] == ids[-1:]
        repeated = await service.emit_notification({**sample("notification"), "organizationId": ORGANIZATION})
        assert repeated == Published(published[3].event_id, published[3].cursor, duplicate=True)


@pytest.mark.parametrize(
    ("event", "path"),
    [
        ({}, ("documentId",)),
        ({"documentId": "d", "type": "updated", "userId": "u"}, ("organizationId",)),
        ({"documentId": "d", "type": "updated", "userId": "u", "organizationId": "*"}, ("organizationId",)),
        ({"documentId": "d", "type": "x", "userId": "u", "organizationId": "o"}, ("type",)),
        ({"documentId": "d", "type": "updated", "userId": "u", "organizationId": "o", "x": 1}, ("x",)),
        (
            {"documentId": "d", "type": "updated", "userId": "u", "organizationId": "o", "kind": "notification"},
            ("kind",),
        ),
        (
            {"documentId": "d", "type": "updated", "userId": "u", "organizationId": "o", "changes": {"a": {"b": nan}}},
            ("changes", "a", "b"),
        ),
        ("document", ()),
        (NotificationEvent(id="n", title="", message="", type="info", user_id="u", organization_id="o"), ()),
        (DocumentUpdateEvent(document_id=" ", type="updated", user_id="u", organization_id="o"), ("documentId",)),
    ],
)
async def test_a_malformed_event_is_refused_with_its_place(event: Any, path: tuple[str, ...]) -> None:
    """By the wire's name of the field, whichever way the event was made; nothing is published."""
    async with RealtimeService() as service:
        with pytest.raises(InvalidInput) as refused:
            await service.emit_document_update(event)
        assert (refused.value.code, refused.value.path) == ("invalid_event", path)
        assert not (await history(service)).events


async def test_the_nesting_allowed_is_the_services_in_python_too() -> None:
    """As deep as the highest that `limits.json_depth` may say."""
    deep: dict[str, object] = {}
    for _ in range(250):
        deep = {"a": deep}
    async with RealtimeService(settings=Settings(limits=LimitSettings(json_depth=256))) as service:
        await service.emit_organization_activity("o", "x", deep)
        for _ in range(10):
            deep = {"a": deep}
        with pytest.raises(InvalidInput, match="256"):
            await service.emit_organization_activity("o", "x", deep)


async def test_too_deep_and_too_large_events_are_refused() -> None:
    """By the service's own limits."""
    deep: dict[str, object] = {}
    for _ in range(20):
        deep = {"a": deep}
    settings = Settings(limits=LimitSettings(json_depth=16, payload_bytes=1024))
    async with RealtimeService(settings=settings) as service:
        with pytest.raises(InvalidInput):
            await service.emit_organization_activity("o", "x", deep)
        with pytest.raises(LimitExceeded, match="1024"):
            await service.emit_organization_activity("o", "x", {"text": "x" * 1024})


@pytest.mark.parametrize(
    "subscription",
    [
        {},
        {"type": "x"},
        {"type": "document_updates", "filters": {"documentId": ""}},
        {"type": "notifications", "x": 1},
        object(),
    ],
)
async def test_a_malformed_subscription_raises(subscription: Any) -> None:
    """At once, and the connection is as it was."""
    async with RealtimeService() as service:
        socket = Socket()
        connection_id = service.handle_websocket_connection(socket, "u", "o")
        with pytest.raises(InvalidInput):
            service.subscribe_websocket(connection_id, subscription)
        assert await service.receive(connection_id, '{"type":"ping"}')
        await until(lambda: len(socket.messages) == 2)
        assert "cursor" not in socket.messages[1]


@pytest.mark.parametrize(("user", "organization"), [("", "o"), ("u", ""), ("u", "*"), ("u", "~"), (" u", "o")])
async def test_who_is_handed_in_must_be_somebody(user: str, organization: str) -> None:
    """Ids that are none are refused at once."""
    async with RealtimeService() as service:
        with pytest.raises(InvalidInput):
            service.handle_websocket_connection(Socket(), user, organization)
        with pytest.raises(InvalidInput):
            service.handle_sse_connection(Response(), user, organization)


class Response:
    """A response of the application's own, whose peer may be gone."""

    def __init__(self) -> None:
        self.written = b""
        self.is_gone = False
        self.has_ended = False

    def write(self, data: bytes) -> None:
        if self.is_gone:
            raise BrokenPipeError
        self.written += data

    def end(self) -> None:
        self.has_ended = True


async def test_comings_and_goings_are_told() -> None:
    """Each with what was handed in; a failing callback changes nothing, and neither does a response whose peer is gone."""
    told: list[tuple[str, ConnectionChange]] = []
    service = RealtimeService()

    def fail(_: object) -> None:
        raise ValueError("the application's own")

    for name in ("ws_connection_added", "ws_connection_removed", "sse_connection_added", "sse_connection_removed"):
        service.on(name, fail)
        service.on(name, lambda change, name=name: told.append((name, change)))
    async with service:
        response = Response()
        ids = [
            service.handle_websocket_connection(Socket(), "u", "o", {"device": "phone"}),
            service.handle_sse_connection(response, "u", "o"),
        ]
        service.subscribe_sse(ids[1], {"type": "organization_activity"})
        await service.emit_organization_activity("o", "x", {})
        await until(lambda: b"organization_activity" in response.written)
        assert response.written.startswith(b"retry: ")
        response.is_gone = True
        await service.emit_organization_activity("o", "x", {})
        await until(lambda: len(told) == 3)
        assert response.has_ended
        assert service.get_metrics()["sseConnections"] == 0
    assert [name for name, _ in told] == [
        "ws_connection_added",
        "sse_connection_added",
        "sse_connection_removed",
        "ws_connection_removed",
    ]
    assert [change.connection_id for _, change in told] == [*ids, ids[1], ids[0]]
    assert [change.code for _, change in told] == [None, None, None, 1001]
    assert told[-1][1].metadata == {"device": "phone"}


async def test_figures_are_told_and_move() -> None:
    """`metrics_updated` comes by itself; deliveries count."""
    service, told = RealtimeService(), list[Any]()
    service.on("metrics_updated", told.append)
    async with service:
        connection_id = service.handle_websocket_connection(Socket(), "u", "o")
        service.subscribe_websocket(connection_id, {"type": "organization_activity"})
        for _ in range(20):
            await service.emit_organization_activity("o", "x", {})
        await until(lambda: bool(told))
        assert told[-1]["messagesPerSecond"] > 0
        assert (told[-1]["activeConnections"], told[-1]["subscriptionCount"]) == (1, 1)


async def test_figures_are_of_what_was_taken() -> None:
    """A socket that takes nothing is no delivery: what waits for it is in the queue; an event refused before it is stored is refused."""
    service, gate = RealtimeService(), asyncio.Event()

    class Gated(Socket):
        async def send(self, text: str) -> None:
            await gate.wait()
            await super().send(text)

    async with service:
        socket = Gated()
        connection_id = service.handle_websocket_connection(socket, "u", "o")
        service.subscribe_websocket(connection_id, {"type": "organization_activity"})
        for _ in range(20):
            await service.emit_organization_activity("o", "x", {})
        figures = service.get_metrics()
        assert (figures["messagesPerSecond"], figures["averageLatency"], figures["eventQueueSize"]) == (0, 0, 20)
        gate.set()
        await socket.events(20)
        figures = service.get_metrics()
        assert figures["messagesPerSecond"] > 0
        assert figures["averageLatency"] > 0
        assert figures["eventQueueSize"] == 0
        for _ in range(20):
            with pytest.raises(InvalidInput):
                await service.emit_notification({"title": "x"})
        assert service.get_metrics()["errorRate"] == 0.5


async def test_a_server_starts_stops_and_starts_again() -> None:
    """On a port of its own and under its path; `cleanup` stops what its owner did not."""
    service = RealtimeService()
    server = create_websocket_server(service, port=0, path="/live")
    with pytest.raises(Unavailable):
        await server.start()
    for _ in range(2):
        await service.initialize()
        await server.start()
        await server.start()
        async with connect(f"ws://127.0.0.1:{server.port}/live?userId=u&organizationId=o") as socket:
            assert json.loads(await socket.recv())["type"] == "connected"
            await service.cleanup()
            assert not service.servers
        await server.stop()


@pytest.mark.parametrize(
    ("port", "path", "named"),
    [(port, "/ws", "port") for port in (-1, 65_536, "8080", None, True, 80.5)]
    + [(0, path, "path") for path in ("ws", "/ws?x", "/%77s", "/w s", "/w\n", None, 5)]
    + [(0, path, "path") for path in ("/livez", "/metrics", "/openapi.json", "/asyncapi.json", "/api/realtime/events")],
)
def test_a_server_takes_a_port_and_a_path_of_its_own(port: Any, path: Any, named: str) -> None:
    """What is none, or is served already, is refused when the server is made, and the error names the argument."""
    with pytest.raises(InvalidInput) as refusal:
        create_websocket_server(RealtimeService(), port, path)
    assert refusal.value.path == (named,)


async def test_arguments_of_another_kind_are_refused_by_name() -> None:
    """No bare TypeError, and nothing is left behind of what was refused."""
    async with RealtimeService() as service:
        for arguments, named in (
            ((Socket(), 5, "o"), "userId"),
            ((Socket(), "u", None), "organizationId"),
            ((Socket(), "u", ["o"]), "organizationId"),
            ((Socket(), "u", "o", "meta"), "metadata"),
            ((Socket(), "u", "o", None), "metadata"),
        ):
            with pytest.raises(InvalidInput) as refusal:
                service.handle_websocket_connection(*arguments)  # type: ignore[arg-type]
            assert refusal.value.path == (named,)
        for teams in (None, "legal", [5]):
            with pytest.raises(InvalidInput) as refusal:
                service.handle_sse_connection(Response(), "u", "o", teams=teams)  # type: ignore[arg-type]
            assert refusal.value.path == ("teams",)
        assert not service.rooms.handed._outlets
        connection_id = service.handle_websocket_connection(Socket(), "u", "o")
        for text in (None, 5, 2**40, ["x"]):
            with pytest.raises(InvalidInput) as refusal:
                await service.receive(connection_id, text)  # type: ignore[arg-type]
            assert refusal.value.path == ("text",)
        assert await service.receive(connection_id, bytearray(b'{"type":"ping"}'))


async def test_a_loop_that_is_not_its_own_is_refused() -> None:
    """A request on another event loop than the service's is answered 503, and not served by the wrong loop."""
    async with RealtimeService() as service:

        def elsewhere() -> int:
            async def get() -> int:
                transport = httpx2.ASGITransport(service.asgi)
                async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
                    return (await http.get("/livez")).status_code

            return asyncio.run(get())

        assert await asyncio.to_thread(elsewhere) == 503


async def test_calls_from_elsewhere_are_refused_before_anything_is_done() -> None:
    """From a thread without a loop, or with another: nothing is stored or let in, and the error says how it is done."""
    async with RealtimeService() as service:
        loop = asyncio.get_running_loop()
        connection_id = service.handle_websocket_connection(Socket(), "u", ORGANIZATION)

        def verbs() -> list[str]:
            refused = []
            for verb in (
                lambda: asyncio.run(asyncio.wait_for(service.emit_organization_activity(ORGANIZATION, "x", {}), 5)),
                lambda: service.handle_websocket_connection(Socket(), "u", ORGANIZATION),
                lambda: service.subscribe_websocket(connection_id, {"type": "notifications"}),
                lambda: service.disconnect(connection_id),
                lambda: asyncio.run(service.cleanup()),
                lambda: asyncio.run(service.initialize()),
            ):
                with pytest.raises(Unavailable, match="run_coroutine_threadsafe") as refusal:
                    verb()
                refused.append(refusal.value.message)
            return refused

        assert len(await asyncio.to_thread(verbs)) == 6
        assert (await history(service)).events == []
        assert len(service.rooms.handed._outlets) == 1

        def as_advised() -> Published:
            emitting = service.emit_organization_activity(ORGANIZATION, "x", {})
            return asyncio.run_coroutine_threadsafe(emitting, loop).result(10)

        assert (await asyncio.to_thread(as_advised)).event_id in bytes(
            (await history(service)).events[0].event
        ).decode()


def test_a_service_lives_on_one_loop_after_the_other() -> None:
    """Also where several begin and end it at once; one whose loop was closed before its end says so."""
    service = RealtimeService()

    async def live() -> None:
        await asyncio.gather(service.initialize(), service.initialize())
        await service.emit_organization_activity(ORGANIZATION, "x", {})
        await asyncio.gather(service.cleanup(), service.cleanup())

    for _ in range(2):
        asyncio.run(live())

    left = asyncio.new_event_loop()
    left.run_until_complete(service.initialize())

    async def take_over() -> None:
        with pytest.raises(Unavailable, match="another event loop"):
            await service.initialize()

    asyncio.run(take_over())
    left.run_until_complete(service.cleanup())
    left.close()


@pytest.mark.parametrize("event", ["ws_connection_added", "ws_connection_removed"])
async def test_a_callback_may_end_the_service(event: str) -> None:
    """Whether it is told of a connection or by the end itself; the service can begin anew."""
    service, ended = RealtimeService(), list[str]()

    async def end(change: ConnectionChange) -> None:
        await service.cleanup()
        ended.append(change.connection_id)

    service.on(event, end)
    for _ in range(2):
        await service.initialize()
        connection_id = service.handle_websocket_connection(Socket(), "u", "o")
        if event == "ws_connection_removed":
            await service.cleanup()
        await until(lambda: bool(ended))
        assert ended == [connection_id]
        ended.clear()
        with pytest.raises(Unavailable):
            service.get_metrics()


async def test_a_socket_may_end_the_service_when_it_is_closed() -> None:
    """Its `close` is not waited for by the end that it asked for."""
    service, has_ended = RealtimeService(), asyncio.Event()

    class Last(Socket):
        async def close(self, code: int, reason: str) -> None:  # type: ignore[override]
            await service.cleanup()
            has_ended.set()

    await service.initialize()
    connection_id = service.handle_websocket_connection(Last(), "u", "o")
    await service.emit_organization_activity("o", "x", {})
    service.disconnect(connection_id)
    async with asyncio.timeout(4):
        await has_ended.wait()


async def test_a_socket_that_blocks_is_closed_in_time() -> None:
    """After connection_timeout, and told so; the others never wait for it."""
    told: list[ConnectionChange] = []
    service = RealtimeService(settings=Settings(connection_timeout=200, heartbeat_interval=100))
    service.on("ws_connection_removed", told.append)

    is_over = asyncio.Event()

    class Blocked(Socket):
        async def send(self, text: str) -> None:
            await is_over.wait()

    async with service:
        blocked, quick = Blocked(), Socket()
        for socket in (blocked, quick):
            connection_id = service.handle_websocket_connection(socket, "u", "o")
            service.subscribe_websocket(connection_id, {"type": "organization_activity"})
        await service.emit_organization_activity("o", "x", {})
        await quick.events(1)
        await until(lambda: bool(told))
        assert told[0].code == 4400
        is_over.set()


async def test_the_end_waits_for_what_was_begun() -> None:
    """Sockets whose close takes a while are closed when `cleanup` returns, and no timer goes on."""

    class Slow(Socket):
        async def close(self, code: int, reason: str) -> None:  # type: ignore[override]
            await asyncio.sleep(0.05)
            self.closed = (code, reason)

    service = RealtimeService()
    await service.initialize()
    rooms, sockets = service.rooms, [Slow() for _ in range(3)]
    for number, socket in enumerate(sockets):
        service.handle_websocket_connection(socket, "u", "o")
        if not number:
            await until(lambda: bool(sockets[0].messages))
    await service.cleanup()
    assert [socket.closed for socket in sockets] == [(1001, "going_away")] * 3
    assert rooms.metrics._timer is None


async def test_an_application_sends_its_users_to_a_node() -> None:
    """The address is where the service listens, or what the settings say, and the ticket opens a connection; unknown, it is refused."""
    async with RealtimeService() as service:
        with pytest.raises(Unavailable, match="public_url"):
            await service.negotiate("ada", ORGANIZATION)
        async with create_websocket_server(service, port=0) as server:
            told = await service.negotiate("ada", ORGANIZATION)
            assert told.url == f"http://127.0.0.1:{server.port}"
            async with connect(f"ws://127.0.0.1:{server.port}/ws?ticket={told.ticket}") as socket:
                assert json.loads(await socket.recv())["userId"] == "ada"
    auth = AuthSettings(mode="jwt", secret="x" * 32)
    async with RealtimeService(settings=Settings(public_url="https://one.example.com", auth=auth)) as service:
        assert (await service.negotiate("ada", ORGANIZATION)).url == "https://one.example.com"
        with pytest.raises(InvalidInput):
            await service.negotiate("", ORGANIZATION)
