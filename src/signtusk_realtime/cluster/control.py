"""The control log, folded: whose access has ended, and closing what they have open on this node.

Owns: what counts as revoked, acting on notices.   Not: who may revoke (operations/revoke.py), the log (engines).
Rule 1: a revocation is a notice, which ends what is open, and a record, which keeps out who comes back; both are one commit.
Rule 2: records are read before anybody is let in, and kept for good, one for each user and one for each token: a token may live for any time.
Rule 3: a token that does not say when it was issued counts as issued before every revocation of its user.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from signtusk_realtime.cluster import notices
from signtusk_realtime.cluster.notices import Disconnected, Notice, Revoked
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
_LAST_KEY: Final = "\U0010ffff"
_PAGE: Final = 1000


class Control:
    """See the module. Its `controlled` is what the hub calls with entries of the control log; `start` comes before anybody is let in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hub: Hub
        self._users: dict[tuple[str, str], int] = {}
        self._tokens: set[tuple[str, str]] = set()
        self._closed: dict[str, int] = {}
        """How many connections each awaited notice closed here."""
        self._ended: dict[tuple[str, str | None], None] = {}
        """The last connections that were revoked, for those that are being reopened in that moment."""

    async def start(self, hub: Hub) -> None:
        """Learn what was revoked before. The hub follows the control log already. Raises: Unavailable."""
        self._hub = hub
        first = ""
        while True:
            snapshot = await self._engine.records(CONTROL_LOG, [Range(REVOCATIONS, first, _LAST_KEY, _PAGE)])
            found = snapshot.results[0]
            for record in found:
                notice = notices.decode(record.value)
                if isinstance(notice, Revoked):
                    self._remember(notice)
            if len(found) < _PAGE:
                return
            first = found[-1].key + "\x00"

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

    def is_revoked(self, identity: Identity, connection_id: str | None = None) -> bool:
        """Say whether what this identity came with was revoked, or the connection of this name that it is about to have again."""
        organization_id = identity.organization_id
        if (organization_id, connection_id) in self._ended:
            return True
        issued_up_to = self._users.get((organization_id, identity.user_id))
        if issued_up_to is not None and (identity.issued_at is None or identity.issued_at <= issued_up_to):
            return True
        return identity.token_id is not None and (organization_id, identity.token_id) in self._tokens

    def revoked_up_to(self, organization_id: str, user_id: str) -> int:
        """Give the second up to which a user's tokens are revoked; 0 if they are not."""
        return self._users.get((organization_id, user_id), 0)

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
        if isinstance(notice.user_id, str):
            key = (notice.organization_id, notice.user_id)
            self._users[key] = max(notice.issued_up_to, self._users.get(key, 0))
        if isinstance(notice.token_id, str):
            self._tokens.add((notice.organization_id, notice.token_id))


def key_of(notice: Revoked) -> str:
    """Give the key of the record that keeps a user's or a token's revocation."""
    whom = ("user", notice.user_id) if isinstance(notice.user_id, str) else ("token", notice.token_id)
    return hashlib.sha256(msgspec.json.encode((notice.organization_id, *whom))).hexdigest()
