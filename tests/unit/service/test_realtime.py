"""The service begins whole or not at all, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.config import InvalidSettings, LimitSettings, Settings
from signtusk_realtime.errors import ConfigurationError, RealtimeError, Unavailable
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.operations.history import HistoryPage
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.service import RealtimeService, make_server
from tests.support.samples import sample_event

ORGANIZATION = "org123"


async def publish(service: RealtimeService, event_id: str) -> None:
    identity = await service.rooms.authenticator.authenticate(Credentials(purpose="publish"))
    event = sample_event("document_update", id=event_id, organizationId=ORGANIZATION)
    await service.rooms.publish(identity, [Publication(event, b"\0" * 32)])


async def history(service: RealtimeService) -> HistoryPage:
    credentials = Credentials(purpose="read", user_id="user123", organization_id=ORGANIZATION)
    identity = await service.rooms.authenticator.authenticate(credentials)
    return await service.rooms.history(identity, None, after=None, limit=10)


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
        identity = await service.rooms.authenticator.authenticate(Credentials(purpose="publish"))
        event = sample_event("document_update", organizationId=ORGANIZATION, changes={"text": "x" * 1024})
        with pytest.raises(RealtimeError, match="at most 1024 are allowed") as caught:
            await service.rooms.publish(identity, [Publication(event, b"\0" * 32)])
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
