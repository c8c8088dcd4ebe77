"""Those whom the application vouches for, beside revocations: it says so at that moment, as a token says when it was made."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.cluster.notices import Revoked
from signtusk_realtime.config import AuthSettings, Settings
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.operations.administer import Revocation
from signtusk_realtime.service import RealtimeService, realtime
from signtusk_realtime.sessions.identity import ADMINISTER, Identity
from tests.support.server import until

ADMIN = Identity(user_id="admin", organization_id="o", scopes=frozenset({ADMINISTER}))
SETTINGS = Settings(public_url="https://one.example.com", auth=AuthSettings(mode="jwt", secret="x" * 32))


class Socket:
    """One of the application's own."""

    def __init__(self) -> None:
        self.types: list[str] = []
        self.closed: int | None = None

    def send(self, text: str) -> None:
        message: dict[str, Any] = json.loads(text)
        self.types.append(message["type"])

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    @property
    def is_told(self) -> bool:
        return bool(self.types) or self.closed is not None


async def by_ticket(service: RealtimeService, ticket: str) -> str:
    """Say who comes with a ticket."""
    credentials = Credentials(purpose="connect", ticket=ticket)
    return (await service.rooms.verbs.authenticate.authenticate(credentials)).user_id


async def test_a_revocation_bars_nobody_for_whom_the_application_vouches_later() -> None:
    """What was revoked a minute ago was made before; sockets handed in now, and tickets of now, are let in."""
    async with RealtimeService(settings=SETTINGS) as service:
        minute_ago = int(time.time()) - 60
        await service.rooms.verbs.asking.tell(Revoked(organization_id="o", user_id="u", issued_up_to=minute_ago))
        socket = Socket()
        service.handle_websocket_connection(socket, "u", "o")
        await until(lambda: socket.is_told)
        assert (socket.types, socket.closed) == (["connected"], None)
        assert await by_ticket(service, (await service.negotiate("u", "o")).ticket) == "u"


async def test_clocks_that_may_differ_bar_nobody_for_whom_the_application_vouches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A revocation ends tokens as far ahead as `auth.leeway` accepts them; who is vouched for in the next second is not meant."""
    settings = replace(SETTINGS, auth=AuthSettings(mode="jwt", secret="x" * 32, leeway=60_000))
    async with RealtimeService(settings=settings) as service:
        await service.rooms.verbs.administer.revoke(ADMIN, Revocation(user_id="u"))
        after = realtime.wall_ms() + 1000
        monkeypatch.setattr(realtime, "wall_ms", lambda: after)
        assert await by_ticket(service, (await service.negotiate("u", "o")).ticket) == "u"


async def test_a_revocation_ends_what_the_application_vouched_for_before() -> None:
    """The socket that is open, and the ticket that nobody has used."""
    async with RealtimeService(settings=SETTINGS) as service:
        socket = Socket()
        service.handle_websocket_connection(socket, "u", "o")
        await until(lambda: socket.is_told)
        ticket = (await service.negotiate("u", "o")).ticket
        answer = await service.rooms.verbs.administer.revoke(ADMIN, Revocation(user_id="u"))
        assert answer.closed == 1
        await until(lambda: socket.closed is not None)
        assert socket.closed == 4504
        with pytest.raises(Unauthenticated, match="revoked"):
            await by_ticket(service, ticket)
