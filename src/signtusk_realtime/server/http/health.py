"""Whether this server lives, is ready, and how it is.

Owns: the three answers.   Not: what the engine says of itself (engines), who asks (probes are exempt from the origin policy).
Rule: alive is who answers at all; ready is who takes new work: not while stopping, not without the engine, nor where nobody can be let in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.errors import LimitExceeded, Unavailable
from signtusk_realtime.events.log import EngineHealth
from signtusk_realtime.protocol import json

_CUT_OFF: Final = "this node cannot learn who was revoked, and lets nobody in until it can"

Status = Annotated[str, Meta(extra_json_schema={"enum": ["ok", "degraded", "unavailable"]})]


class Probe(Struct, frozen=True):
    """Yes; no is a problem."""

    status: Literal["ok"] = "ok"


class Check(Struct, frozen=True, omit_defaults=True):
    """How one part is."""

    status: Status
    detail: str = ""


class HealthReport(Struct, frozen=True):
    """How the service is: the worst of its checks."""

    status: Status
    version: str
    checks: dict[str, Check]


class Health:
    """See the module."""

    def __init__(
        self,
        health: Callable[[], EngineHealth],
        is_stopping: Callable[[], bool],
        version: str,
        *,
        is_cut_off: Callable[[], bool] = lambda: False,
    ) -> None:
        self._health = health
        self._is_cut_off = is_cut_off
        self._is_stopping = is_stopping
        self._version = version

    async def live(self, request: Request) -> Response:
        """Say that the process runs."""
        return _json(Probe())

    async def ready(self, request: Request) -> Response:
        """Say whether to send work here. Raises: LimitExceeded, Unavailable."""
        if self._is_stopping():
            raise LimitExceeded("this server is stopping", code="overloaded")
        if self._health().status == "unavailable":
            raise Unavailable("the log cannot be reached")
        if self._is_cut_off():
            raise Unavailable(_CUT_OFF)
        return _json(Probe())

    async def health(self, request: Request) -> Response:
        """Report every check; 503 if the service is of no use."""
        engine = self._health()
        checks = {
            "engine": Check(engine.status, engine.detail),
            "control": Check("unavailable", _CUT_OFF) if self._is_cut_off() else Check("ok"),
            "server": Check("unavailable", "stopping") if self._is_stopping() else Check("ok"),
        }
        statuses = {check.status for check in checks.values()}
        status = next((s for s in ("unavailable", "degraded") if s in statuses), "ok")
        return _json(HealthReport(status, self._version, checks), 503 if status == "unavailable" else 200)


def _json(value: object, status: int = 200) -> Response:
    return Response(json.encode(value), status_code=status, media_type="application/json")
