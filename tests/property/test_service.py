"""What the original promised by its property tests, of the real service: ids, subscriptions, arbitrary events, any number of lives."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs, to_builtins
from msgspec.json import encode

from signtusk_realtime import RealtimeService, create_websocket_server
from signtusk_realtime.events.kinds import (
    DocumentUpdateEvent,
    NotificationEvent,
    OrganizationActivityEvent,
    Published,
    SignatureStatusEvent,
    SigningRequestEvent,
    SystemAnnouncementEvent,
    TeamUpdateEvent,
    UserPresenceEvent,
)
from signtusk_realtime.events.subscriptions import TYPES_OF, EventType, Filters, Subscription
from signtusk_realtime.operations.documents.documents import EditRefused
from tests.support.samples import ids, organization_ids, published_events
from tests.support.server import until

EVENT_TYPES: list[EventType] = sorted({name for names in TYPES_OF.values() for name in names})


class Socket:
    """Takes what it is given, or does as `behave` says."""

    def __init__(self, behave: Callable[[], Awaitable[None] | None] | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self._behave = behave

    def send(self, text: str) -> Awaitable[None] | None:
        self.messages.append(json.loads(text))
        return self._behave() if self._behave is not None else None

    def close(self, code: int, reason: str) -> None:
        self.messages.append({"type": "closed", "code": code})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


def subscriptions() -> st.SearchStrategy[Subscription]:
    maybe_id = st.one_of(st.just(UNSET), ids())
    filters = st.builds(
        Filters,
        document_id=maybe_id,
        signing_request_id=maybe_id,
        team_id=maybe_id,
        user_id=maybe_id,
        event_types=st.one_of(
            st.just(UNSET), st.lists(st.sampled_from(EVENT_TYPES), min_size=1, unique=True).map(tuple)
        ),
    )
    return st.builds(Subscription, type=st.sampled_from(sorted(TYPES_OF)), filters=filters)


@settings(max_examples=20)
@given(people=st.lists(st.tuples(ids(), organization_ids()), min_size=1, max_size=20))
def test_connection_ids_are_unique_and_well_formed(people: list[tuple[str, str]]) -> None:
    """Whoever connects, and however; each learns its own in `connected`."""

    async def play() -> None:
        async with RealtimeService() as service:
            given_ids = []
            sockets = []
            for user, organization in people:
                sockets.append(Socket())
                given_ids.append(service.handle_websocket_connection(sockets[-1], user, organization))
            await until(lambda: all(socket.messages for socket in sockets))
            assert len(set(given_ids)) == len(given_ids)
            assert all(re.fullmatch(r"conn_[0-9a-f]{32}", one) for one in given_ids)
            told = [(m["connectionId"], m["userId"], m["organizationId"]) for s in sockets for m in s.of("connected")]
            assert told == [(one, *person) for one, person in zip(given_ids, people, strict=True)]

    asyncio.run(play())


@settings(max_examples=20)
@given(wanted=st.lists(subscriptions(), min_size=1, max_size=15), data=st.data())
def test_subscriptions_add_and_remove(wanted: list[Subscription], data: st.DataObject) -> None:
    """Of every type with any filters, as a type or as a mapping: each has an id of its own, and what is left is what was not removed."""

    async def play() -> None:
        async with RealtimeService() as service:
            socket = Socket()
            connection_id = service.handle_websocket_connection(socket, "u", "o")
            if data.draw(st.booleans(), label="open already"):
                await until(lambda: bool(socket.messages))
            made = []
            for one in wanted:
                form = one if data.draw(st.booleans(), label="typed") else to_builtins(one)
                made.append(service.subscribe_websocket(connection_id, form))
            removed = data.draw(st.lists(st.sampled_from(made), unique=True), label="removed")
            for subscription_id in removed:
                service.unsubscribe_websocket(connection_id, subscription_id)
            assert len(set(made)) == len(made)
            assert all(re.fullmatch(r"sub_[0-9a-f]{32}", one) for one in made)
            await until(lambda: len(socket.messages) == 1 + len(made) + len(removed))
            assert [m["subscriptionId"] for m in socket.of("subscribed")] == made
            assert [m["subscription"] for m in socket.of("subscribed")] == [json.loads(encode(one)) for one in wanted]
            assert [m["subscriptionId"] for m in socket.of("unsubscribed")] == removed
            (connection,) = service.rooms.hub.connections.values()
            assert [one for one, _ in connection.session.subscriptions] == [one for one in made if one not in removed]
            assert service.get_metrics()["subscriptionCount"] == len(made) - len(removed)

    asyncio.run(play())


async def emit(service: RealtimeService, event: Published) -> str:
    """Publish an event by the verb of its kind."""
    match event:
        case DocumentUpdateEvent():
            return (await service.emit_document_update(event)).event_id
        case SignatureStatusEvent():
            return (await service.emit_signature_status_update(event)).event_id
        case SigningRequestEvent():
            return (await service.emit_signing_request(event)).event_id
        case NotificationEvent():
            return (await service.emit_notification(event)).event_id
        case UserPresenceEvent():
            return (await service.emit_user_presence(event)).event_id
        case OrganizationActivityEvent() | TeamUpdateEvent() | SystemAnnouncementEvent():
            return (await service.rooms.emit(type(event), event)).event_id


@settings(max_examples=30)
@given(events=st.lists(published_events(), min_size=1, max_size=8))
def test_arbitrary_events_are_delivered_once(events: list[Published]) -> None:
    """Whatever valid content: publishing does not throw, and each reaches its reader once, in order, beside readers that fail or block."""

    def failing() -> None:
        raise OSError

    async def play() -> None:
        is_over = asyncio.Event()

        async def blocked() -> None:
            await is_over.wait()

        async with RealtimeService() as service:
            socket = Socket()
            for one in (Socket(failing), Socket(blocked), socket):
                connection_id = service.handle_websocket_connection(one, "reader", "org", teams=["team"])
                for name in sorted(TYPES_OF):
                    service.subscribe_websocket(connection_id, {"type": name})
            published: dict[str, Published] = {}
            for number, event in enumerate(events):
                changes: dict[str, Any] = {"id": f"e{number}"}
                if not isinstance(event, SystemAnnouncementEvent):
                    changes["organization_id"] = "org"
                if isinstance(event, NotificationEvent):
                    changes["user_id"] = "reader"
                if isinstance(event, TeamUpdateEvent):
                    changes["team_id"] = "team"
                try:
                    published[await emit(service, structs.replace(event, **changes))] = event
                except EditRefused:
                    assert isinstance(event, DocumentUpdateEvent), "only a change of a document is refused"

            def told() -> list[str]:
                # Beside them come the versions of documents that a fact moved on, and conflicts.
                return [m["event"]["id"] for m in socket.of("event") if m["event"]["id"] in published]

            await until(lambda: len(told()) >= len(published))
            assert sorted(told()) == sorted(published)
            is_over.set()
            announced = {one for one, event in published.items() if isinstance(event, SystemAnnouncementEvent)}
            assert [one for one in told() if one not in announced] == [one for one in published if one not in announced]

    asyncio.run(play())


def open_files() -> list[str]:
    """List what this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()))
        except FileNotFoundError:  # the one that lists them
            continue
    return sorted(re.sub(r"\d+", "#", one) for one in found)


@settings(max_examples=10)
@given(lives=st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=1, max_size=5))
def test_any_number_of_lives_leaves_nothing(lives: list[tuple[int, bool, bool]]) -> None:
    """However it is used, and whether or not its server was stopped: no task, thread, socket, file or connection is left."""

    async def play() -> None:
        service = RealtimeService()
        before = asyncio.all_tasks()
        files, threads = open_files(), threading.active_count()
        for connections, has_server, is_stopped in lives:
            await service.initialize()
            server = create_websocket_server(service, port=0)
            if has_server:
                await server.start()
            sockets = [Socket() for _ in range(connections)]
            for number, socket in enumerate(sockets):
                connection_id = service.handle_websocket_connection(socket, "u", f"o{number}")
                service.subscribe_websocket(connection_id, {"type": "organization_activity"})
                if number % 2:
                    await service.emit_organization_activity(f"o{number}", "x", {})
            if is_stopped:
                await server.stop()
            await service.cleanup()
            # One that was let in is told everything before its end, and the end once.
            assert all(len(socket.of("closed")) == 1 for socket in sockets)
            assert all(socket.messages[-1]["type"] == "closed" for socket in sockets)
            assert asyncio.all_tasks() == before
            assert open_files() == files
            assert threading.active_count() == threads

    asyncio.run(play())
