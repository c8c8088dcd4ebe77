"""The authenticator port: from credentials to an identity.

Owns: what a request may carry to say who it is, and the contract of checking it.   Not: where in a request credentials stand (server), what
an identity may do (sessions, operations).
Rule 1: the identity comes from the credentials alone.   Rule 2: no message repeats a secret.   Rule 3: fail closed.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from signtusk_realtime.sessions.identity import Identity

Purpose = Literal["connect", "read", "publish", "operate"]
"""What a request is for. operate: to look after the service, not after an organization's things."""


class Credentials(Struct, frozen=True, kw_only=True):
    """What came with a request. `user_id`, `organization_id`, `teams` are what its query claims; `bearer` is a token.

    `ticket` is a one-time ticket (operations/tickets.py); with it count `selection`, what an event stream asks for (None: a WebSocket), and
    `cursor`, from where it resumes.
    """

    purpose: Purpose
    bearer: str | None = None
    user_id: str | None = None
    organization_id: str | None = None
    teams: tuple[str, ...] = ()
    ticket: str | None = None
    selection: str | None = None
    cursor: str | None = None


class Authenticator(Protocol):
    """Checks credentials."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        """Give the identity. Raises: Unauthenticated (none, or none accepted), Forbidden (accepted, but claims to be another's)."""


@runtime_checkable
class AsksOthers(Protocol):
    """An authenticator that must ask somebody else before it can check some credentials."""

    def awaited(self, credentials: Credentials) -> Awaitable[None] | None:
        """Give what is to be waited for before `authenticate` can answer by itself; None if it can now.

        Who holds anything that others need lets go of it meanwhile. Raises, as what is given does: Unauthenticated, Unavailable.
        """
