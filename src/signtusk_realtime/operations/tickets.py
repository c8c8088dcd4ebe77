"""One-time tickets: for browsers, which can send no header when they open a connection.

Owns: making them, and taking each once.   Not: where a ticket stands in a request (server).
Rule 1: a ticket stands for the identity that asked for it, with what its token may and no longer than its token lives.
Rule 2: it opens one connection; of several that use it at once one wins. On an event stream the same ticket reopens that stream, with the same
selection and a cursor: a browser repeats the URL it was given. Such a stream has one name as long as it is reopened, and is open once.
Rule 3: what is stored is a digest; who reads the store cannot use it.
Rule 4: what one user can have stored is bounded: a ticket that opened a stream is kept as long as its token lives, so streams are opened more
slowly than tickets are made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, LimitExceeded, Unauthenticated, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import ABSENT, CONTROL_LOG, Commit, Committed, Exact, Key, Record
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.rates import RateOfEach

TICKETS: Final = "tickets"
PREFIX: Final = "tkt_"
SECRET_BYTES: Final = 16
PER_SECOND: Final = 50
BURST: Final = 500
"""Tickets of one user, on one node: each is a record until it is used or expires."""
STREAMS_PER_SECOND: Final = 0.2
STREAM_BURST: Final = 500
"""Event streams that one user opens by tickets, on one node; to reopen one counts nothing."""
STREAM_KEPT_MS: Final = 86_400_000
"""How long a stream may be reopened whose identity does not expire."""
_STREAM: Final = "sse_"
_STREAM_FORM: Final = re.compile(r"sse_[0-9a-f]{64}", re.ASCII)
_FORM: Final = re.compile(r"tkt_[A-Za-z0-9_-]{22}", re.ASCII)
_FRESH: Final = 1
_OPENED: Final = 2
_REFUSED: Final = "the ticket is unknown, used or expired"


class TicketAnswer(Struct, rename="camel", frozen=True):
    """A ticket, and until when it opens a connection."""

    ticket: str
    expires_at: str


class _Kept(Struct, frozen=True):
    identity: Identity
    selection: str | None = None
    """What the stream it opened asked for."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Kept).decode


class Tickets:
    """See the module. `now_ms`: wall clock; `monotonic_s`: a clock that never goes back; `new_secret()`: text of 128 random bits in base64url;
    `lifetime_ms`: of a fresh ticket.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float],
        new_secret: Callable[[], str],
        lifetime_ms: int = 30_000,
    ) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._new_secret = new_secret
        self._lifetime_ms = lifetime_ms
        self._issued = RateOfEach(monotonic_s, PER_SECOND, BURST)
        self._opened = RateOfEach(monotonic_s, STREAMS_PER_SECOND, STREAM_BURST)

    async def issue(self, identity: Identity) -> TicketAnswer:
        """Make a ticket. Raises: Forbidden, LimitExceeded (rate_limited), Unavailable."""
        if identity.is_service:
            raise Forbidden("a service opens no connection")
        if not self._issued.take(identity):
            raise LimitExceeded(f"{PER_SECOND} tickets a second are made for one user", retry_after_s=1)
        expires_at = self._now_ms() + self._lifetime_ms
        if identity.expires_at is not None:
            expires_at = min(expires_at, identity.expires_at)
        ticket = PREFIX + self._new_secret()
        key = Key(TICKETS, _digest(ticket))
        record = Record(TICKETS, key.key, _encode(_Kept(identity)), _FRESH, expires_at)
        await self._commit(Commit(expect=((key, ABSENT),), put=(record,)))
        return TicketAnswer(ticket, format_milliseconds(expires_at))

    async def take(self, ticket: str, *, selection: str | None = None, resumes: bool = False) -> Identity:
        """Use a ticket and give the identity it stands for.

        `selection`: what an event stream asks for, in any form that is the same for the same; None for a WebSocket. `resumes`: whether it
        comes with a cursor. Raises: Unauthenticated, LimitExceeded (rate_limited; the ticket is not used), Unavailable.
        """
        if _FORM.fullmatch(ticket) is None:
            raise Unauthenticated(_REFUSED)
        key = Key(TICKETS, _digest(ticket))
        snapshot = await self._engine.records(CONTROL_LOG, [Exact(TICKETS, key.key)])
        found = snapshot.results[0]
        if not found:
            raise Unauthenticated(_REFUSED)
        kept = _decode(found[0].value)
        if found[0].version != _FRESH:
            if selection is None or not resumes or kept.selection != _digest(selection):
                raise Unauthenticated(_REFUSED)
            return kept.identity
        if selection is None:
            use = Commit(expect=((key, _FRESH),), delete=(key,))
        elif not self._opened.take(kept.identity):
            pause = round(1 / STREAMS_PER_SECOND)
            raise LimitExceeded(
                f"one stream in {pause} seconds is opened by a ticket for one user", retry_after_s=pause
            )
        else:
            until = kept.identity.expires_at or self._now_ms() + STREAM_KEPT_MS
            opened = Record(TICKETS, key.key, _encode(_Kept(kept.identity, _digest(selection))), _OPENED, until)
            use = Commit(expect=((key, _FRESH),), put=(opened,))
        if not await self._commit(use):
            raise Unauthenticated(_REFUSED)
        return kept.identity

    async def reopens(self, organization_id: str, connection_id: str) -> Key | None:
        """Give what must be deleted so that nobody can reopen a stream of this organization; None if it has no ticket. Raises: Unavailable."""
        if _STREAM_FORM.fullmatch(connection_id) is None:
            return None
        key = Key(TICKETS, connection_id.removeprefix(_STREAM))
        snapshot = await self._engine.records(CONTROL_LOG, [Exact(TICKETS, key.key)])
        found = snapshot.results[0]
        return key if found and _decode(found[0].value).identity.organization_id == organization_id else None

    async def _commit(self, commit: Commit) -> bool:
        """Commit; say whether it happened, and not another's first."""
        outcome = await self._engine.commit(CONTROL_LOG, commit)
        if isinstance(outcome, Committed):
            return True
        if commit.expect[0][1] == ABSENT:
            raise Unavailable("a ticket of this name exists; repeat the call")
        return False


def stream_id(ticket: str) -> str:
    """Name the stream that a ticket opens and reopens. The name tells nothing of the ticket."""
    return _STREAM + _digest(ticket)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
