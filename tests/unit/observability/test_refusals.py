"""What is told of credentials that are refused: a burst, once a minute, and nothing of what came in."""

from __future__ import annotations

import logging

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.observability.refusals import MANY, QUIET_S, RefusedCredentials
from signtusk_realtime.operations.authenticate import Authenticate
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.identity import Identity


class Times:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def told(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Give what each line said of how many were refused."""
    lines = [record for record in caplog.records if record.getMessage() == "many credentials are refused"]
    assert all(record.levelno == logging.WARNING for record in lines)
    return [vars(record)["refused"] for record in lines]


def test_a_burst_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """However many are refused; and again where it goes on."""
    clock = Times()
    refused = RefusedCredentials(clock)
    for _ in range(MANY - 1):
        refused.note()
    assert told(caplog) == []
    for _ in range(10 * MANY):
        refused.note()
    assert told(caplog) == [MANY]
    clock.now += QUIET_S - 1
    for _ in range(10 * MANY):
        refused.note()
    assert told(caplog) == [MANY]
    clock.now += 1
    for _ in range(10 * MANY):
        refused.note()
    assert told(caplog) == [MANY, MANY]


def test_who_tries_now_and_then_is_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Pages whose tokens have expired are refused all day long."""
    clock = Times()
    refused = RefusedCredentials(clock)
    for _ in range(10 * MANY):
        refused.note()
        clock.now += QUIET_S / (MANY - 2)
    assert told(caplog) == []


class Nobody:
    """Knows no token."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        raise Unauthenticated("no token is known")


async def test_tokens_and_tickets_that_are_refused_count(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they open; who brings none tries nothing. No line repeats one."""
    engine, clock = MemoryEngine(), Times()
    tickets = Tickets(engine, now_ms=lambda: 0, monotonic_s=clock, new_secret=str)
    control = Control(engine)
    control.freshness.acted("e", 0)
    authenticate = Authenticate(Nobody(), tickets, control, now_ms=lambda: 0, monotonic_s=clock)
    tried = [Credentials(purpose="read", bearer="canary"), Credentials(purpose="connect", ticket="canary")]
    for number in range(2 * MANY):
        with pytest.raises(Unauthenticated):
            await authenticate.authenticate(Credentials(purpose="read") if number < MANY else tried[number % 2])
    assert told(caplog) == [MANY]
    assert "canary" not in caplog.text + "".join(str(vars(record)) for record in caplog.records)
