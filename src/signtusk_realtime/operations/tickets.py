"""One-time tickets: for browsers, which can send no header when they open a connection.

Owns: making them, and taking each once.   Not: where a ticket stands in a request (server).
Rule 1: a ticket stands for the identity that asked for it, with what its token may and no longer than its token lives.
Rule 2: it opens one connection; of several that use it at once one wins. On an event stream the same ticket reopens that stream, with the same
selection and a cursor: a browser repeats the URL it was given. Such a stream has one name as long as it is reopened, and is open once. It is
reopened no further back than where it began: an address that stood in a log shows nobody what happened before.
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

from signtusk_realtime.delivery.recovery import EARLIEST
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, LimitExceeded, Unauthenticated, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import ABSENT, CONTROL_LOG, Commit, Committed, Exact, Key, Position, Record
from signtusk_realtime.protocol.cursor import Cursor, decode
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
_BEGUN: Final = 3
"""The same, once it is known where a stream began that was opened without a cursor."""
_REFUSED: Final = "the ticket is unknown, used or expired"


class TicketAnswer(Struct, rename="camel", frozen=True):
    """A ticket, and until when it opens a connection."""

    ticket: str
    expires_at: str


class _Kept(Struct, frozen=True):
    identity: Identity
    selection: str | None = None
    """What the stream it opened asked for."""
    since: str | None = EARLIEST
    """The cursor that it began with; None while nobody was told one; `earliest` for no bound, as of those that were opened before it was kept."""


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

    async def take(self, ticket: str, *, selection: str | None = None, cursor: str | None = None) -> Identity:
        """Use a ticket and give the identity it stands for.

        `selection`: what an event stream asks for, in any form that is the same for the same; None for a WebSocket. `cursor`: from
        where it resumes. Raises: Unauthenticated, LimitExceeded (rate_limited; the ticket is not used), Unavailable.
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
            if selection is None or cursor is None or kept.selection != _digest(selection):
                raise Unauthenticated(_REFUSED)
            if _goes_back(kept.identity.organization_id, cursor, kept.since):
                raise Unauthenticated("the stream that this ticket opened began later than the cursor")
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
            since = cursor if cursor is not None and _names_a_place(kept.identity.organization_id, cursor) else None
            opened = Record(TICKETS, key.key, _encode(_Kept(kept.identity, _digest(selection), since)), _OPENED, until)
            use = Commit(expect=((key, _FRESH),), put=(opened,))
        if not await self._commit(use):
            raise Unauthenticated(_REFUSED)
        return kept.identity

    async def begins(self, connection_id: str, cursor: str) -> None:
        """Keep where a stream begins that comes without a place of its own, before it is told; of one that has no ticket nothing. Raises: Unavailable."""
        if _STREAM_FORM.fullmatch(connection_id) is None:
            return
        key = Key(TICKETS, connection_id.removeprefix(_STREAM))
        found = (await self._engine.records(CONTROL_LOG, [Exact(TICKETS, key.key)])).results[0]
        if not found or found[0].version != _OPENED:
            return
        kept = _decode(found[0].value)
        if kept.since is None:
            begun = _encode(_Kept(kept.identity, kept.selection, cursor))
            record = Record(TICKETS, key.key, begun, _BEGUN, found[0].expires_at)
            await self._commit(Commit(expect=((key, _OPENED),), put=(record,)))

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


def _names_a_place(organization_id: str, cursor: str) -> bool:
    """Say whether a cursor names something that happened before; `latest` and what is not ours start now."""
    return cursor == EARLIEST or decode(organization_id, cursor) is not None


def _goes_back(organization_id: str, cursor: str, since: str | None) -> bool:
    """Say whether a cursor lies before another one. Those of another epoch cannot be known from before: its log began later, or is no more."""
    if since == EARLIEST or not _names_a_place(organization_id, cursor):
        return False
    began = None if since is None else decode(organization_id, since)
    asked = Cursor(None, None) if cursor == EARLIEST else decode(organization_id, cursor)
    if began is None or asked is None:
        return True
    return any(_lies_before(*halves) for halves in zip(asked, began, strict=True))


def _lies_before(asked: Position | None, began: Position | None) -> bool:
    if began is None:
        return False
    return asked is None or (asked.epoch == began.epoch and asked.offset < began.offset)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
