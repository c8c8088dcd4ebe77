"""The control log, folded: whose access has ended, and closing what they have open on this node.

Owns: what counts as revoked, acting on notices.   Not: who may revoke (operations/revoke.py), the log (engines).
Rule 1: a revocation is a notice, which ends what is open, and a record, which keeps out who comes back; both are one commit.
Rule 2: records are read before anybody is let in, one for each user and one for each token, and kept as long as such a token may live: for good,
where that is not known. An organization has MOST_KEPT of them at most: who may revoke in one must not fill the memory of all.
Rule 3: a token that does not say when it was issued counts as issued before every revocation of its user.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from signtusk_realtime.cluster import notices
from signtusk_realtime.cluster.freshness import Freshness
from signtusk_realtime.cluster.notices import ConnectionsAsked, Disconnected, Notice, Renewed, Revoked
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.expel import expel
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import CONTROL_LOG, Entry, Epoch, Range
from signtusk_realtime.protocol import codes
from signtusk_realtime.sessions.identity import Identity

log = logging.getLogger(__name__)

REVOCATIONS: Final = "revocations"
"""The collection of their records in the control log, by `key_of`: what is revoked again stands in its former place."""
ENDED_KEPT: Final = 1024
MOST_KEPT: Final = 100_000
"""About 40 MB."""
_LAST_KEY: Final = "\U0010ffff"
_PAGE: Final = 1000


_Whom = tuple[str, Literal["user", "token"], str]
"""An organization, and one of its users or tokens."""


class _Kept(NamedTuple):
    issued_up_to: int
    until: int
    """In milliseconds since 1970; 0: for good."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Control:
    """See the module. Its `controlled` is what the hub calls with entries of the control log; `start` comes before anybody is let in.

    `now_ms`: wall clock.
    """

    def __init__(self, engine: Engine, *, now_ms: Callable[[], int] = _wall_ms) -> None:
        self.freshness = Freshness()
        self.told: Callable[[str, Notice, int], None] = lambda event_id, notice, closed: None
        """What answers other nodes' notices: their id, themselves, how many connections they closed here."""
        self._engine = engine
        self._now_ms = now_ms
        self._hub: Hub
        self._kept: dict[_Whom, _Kept] = {}
        self._ends: list[tuple[int, _Whom]] = []
        """A heap of those that are not kept for good, each once, by a time at which it is looked at."""
        self._counts: Counter[str] = Counter()
        """How many each organization has."""
        self._closed: dict[str, int] = {}
        """How many connections each awaited notice closed here."""
        self._ended: dict[tuple[str, str | None], None] = {}
        """The last connections that were revoked, for those that are being reopened in that moment."""

    async def start(self, hub: Hub) -> None:
        """Learn what was revoked before. The hub follows the control log already. Raises: Unavailable."""
        self._hub = hub
        await self.learn()

    def lost(self) -> None:
        """Notices were missed that are kept no longer: the registry's next look has everything learned anew."""
        self.freshness.lost()

    async def learn(self) -> None:
        """Learn what was revoked before; also anew, where notices were lost, and then end what should not be open. Raises: Unavailable."""
        first, reached = "", None
        while True:
            snapshot = await self._engine.records(CONTROL_LOG, [Range(REVOCATIONS, first, _LAST_KEY, _PAGE)])
            found = snapshot.results[0]
            if not first:
                # Ordering: what is revoked after this look comes as a notice.
                reached = snapshot.top
            for record in found:
                notice = notices.decode(record.value)
                if isinstance(notice, Revoked):
                    self._remember(notice)
            if len(found) < _PAGE:
                break
            first = found[-1].key + "\x00"
        for connection in [c for c in self._hub.connections.values() if self.is_revoked(c.session.identity)]:
            expel(self._hub, connection, codes.CLOSE_REVOKED)
        if reached is not None and self.freshness.epoch != reached.epoch:
            self.freshness.learned(reached.epoch, reached.offset)

    def controlled(self, epoch: Epoch, entries: Sequence[Entry]) -> None:
        """Act on notices, in their order."""
        for entry in entries:
            notice = notices.decode(entry.body)
            if notice is None:
                log.error("a notice of the control log is not understood", extra={"event_id": entry.event_id})
                continue
            closed = self._act(notice)
            if entry.event_id in self._closed:
                self._closed[entry.event_id] = closed
            else:
                self.told(entry.event_id, notice, closed)
        if entries:
            self.freshness.acted(epoch, entries[-1].offset)

    def is_revoked(self, identity: Identity, connection_id: str | None = None) -> bool:
        """Say whether what this identity came with was revoked, or the connection of this name that it is about to have again."""
        organization_id = identity.organization_id
        if (organization_id, connection_id) in self._ended:
            return True
        user = self._kept.get((organization_id, "user", identity.user_id))
        if user is not None and (identity.issued_at is None or identity.issued_at <= user.issued_up_to):
            return True
        return identity.token_id is not None and (organization_id, "token", identity.token_id) in self._kept

    def revoked_up_to(self, organization_id: str, user_id: str) -> int:
        """Give the second up to which a user's tokens are revoked; 0 if they are not."""
        kept = self._kept.get((organization_id, "user", user_id))
        return 0 if kept is None else kept.issued_up_to

    def has_room(self, notice: Revoked) -> bool:
        """Say whether one more can be remembered for its organization; one that is known already always can."""
        self._forget_old()
        whom = _whom(notice)
        return whom is None or whom in self._kept or self._counts[notice.organization_id] < MOST_KEPT

    def expect(self, event_id: str) -> None:
        """Count what a notice that is about to be committed closes here; `counted` gives it."""
        self._closed[event_id] = 0

    def counted(self, event_id: str) -> int:
        """Give how many connections an expected notice closed here, and forget it."""
        return self._closed.pop(event_id, 0)

    def connections(self, organization_id: str, user_id: str | None = None) -> list[Connection]:
        """Give this node's connections of an organization, or of one of its users."""
        found = self._hub.connections_of(organization_id)
        return [c for c in found if user_id is None or c.session.identity.user_id == user_id]

    def _act(self, notice: Notice) -> int:
        if isinstance(notice, Disconnected):
            concerned = self.connections(notice.organization_id, notice.user_id)
            for connection in concerned:
                self._hub.end(connection, codes.CLOSE_NORMAL, "disconnected")
            return len(concerned)
        if isinstance(notice, ConnectionsAsked | Renewed):
            return 0
        self._remember(notice)
        if isinstance(notice.connection_id, str):
            self._ended[notice.organization_id, notice.connection_id] = None
            if len(self._ended) > ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
            one = self._hub.connections.get(notice.connection_id)
            concerned = [one] if one is not None and one.organization.organization_id == notice.organization_id else []
        else:
            concerned = [c for c in self.connections(notice.organization_id) if self.is_revoked(c.session.identity)]
        for connection in concerned:
            expel(self._hub, connection, codes.CLOSE_REVOKED)
        return len(concerned)

    def _remember(self, notice: Revoked) -> None:
        whom = _whom(notice)
        if whom is None:
            return
        self._forget_old()
        known = self._kept.get(whom)
        if known is None:
            self._counts[notice.organization_id] += 1
            self._kept[whom] = _Kept(notice.issued_up_to, notice.kept_until)
            if notice.kept_until:
                heapq.heappush(self._ends, (notice.kept_until, whom))
            return
        until = 0 if 0 in (known.until, notice.kept_until) else max(known.until, notice.kept_until)
        self._kept[whom] = _Kept(max(notice.issued_up_to, known.issued_up_to), until)

    def _forget_old(self) -> None:
        now_ms = self._now_ms()
        while self._ends and self._ends[0][0] <= now_ms:
            _, whom = heapq.heappop(self._ends)
            until = self._kept[whom].until
            if until > now_ms:
                heapq.heappush(self._ends, (until, whom))
            elif until:
                del self._kept[whom]
                self._counts[whom[0]] -= 1
                if not self._counts[whom[0]]:
                    del self._counts[whom[0]]


def key_of(notice: Revoked) -> str:
    """Give the key of the record that keeps a user's or a token's revocation."""
    return hashlib.sha256(msgspec.json.encode(_whom(notice))).hexdigest()


def _whom(notice: Revoked) -> _Whom | None:
    if isinstance(notice.user_id, str):
        return notice.organization_id, "user", notice.user_id
    if isinstance(notice.token_id, str):
        return notice.organization_id, "token", notice.token_id
    return None
