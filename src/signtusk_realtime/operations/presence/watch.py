"""An organization whose presence somebody on this node follows.

Owns: who follows, what other nodes and the application say of its people, and what changed since it was last told.
Not: timing (presence.py), reading records (sharing.py).
Rule 1: before anything changes that a view follows from, `note` is called for the user; so a difference is between what was and what is told.
Rule 2: who was otherwise for a moment is told of though he is again as before: the presence call may have shown that moment to somebody.
Rule 3: who missed a message, for he was behind, is told so as soon as he is not: `truncated`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import UNSET, Raw

from signtusk_realtime.delivery import people
from signtusk_realtime.delivery.audience import Audience
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.ephemeral import Ephemeral
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.operations.presence.shared import Attendance
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.messages import PresenceChange, PresenceChanged
from signtusk_realtime.sessions.presence import Declared, View, combine, is_same

MOST_TOLD: Final = 200
"""Users that one message tells of."""
MOST_COMPARED: Final = 2000
"""Users whose differences are worked out at once; beyond it nobody is told but that there are many."""
MOST_BETWEEN: Final = 8
"""Of what a user was between two messages."""
_TYPE: Final = "user_presence"


class Changed(NamedTuple):
    """A user who is otherwise than before, or was meanwhile: `between`, the latest last."""

    user_id: str
    before: View | None
    now: View | None
    between: tuple[View | None, ...] = ()


class Watch:
    """See the module."""

    def __init__(self, organization: Organization) -> None:
        self.organization = organization
        self.watchers: set[Connection] = set()
        self.others: dict[str, Attendance] = {}
        """What other nodes said last, by their ids."""
        self.counted: set[str] = set()
        """Those of them that are there: what the others said counts no more, or not yet."""
        self.published: dict[str, Declared] = {}
        self.is_loaded = False
        self.is_loading = False
        self.is_stale = False
        """Whether what is known of other nodes has to be read again."""
        self.heard: set[str] = set()
        """Nodes that told something while the records are being read: they know better."""
        self.told_at = float("-inf")
        self.is_planned = False
        self.missed: set[Connection] = set()
        self._before: dict[str, View | None] = {}
        self._between: dict[str, tuple[View | None, ...]] = {}
        self._is_too_much = False
        self.version = 0
        """Rises with whatever may change an answer."""
        self.answers: dict[str | None, tuple[int, float, bytes]] = {}
        """Answers of the presence call, by document: of which version, since when."""

    @property
    def has_news(self) -> bool:
        return bool(self._before)

    def view(self, user_id: str) -> View | None:
        """Give how a user is by all that is known here."""
        own = people.seen(self.organization, user_id)
        seen = [] if own is None else [own]
        for node, attendance in self.others.items():
            found = attendance.people.get(user_id)
            if found is not None and node in self.counted:
                seen.append(found)
        return combine(seen, self.published.get(user_id))

    def note(self, user_id: str) -> None:
        """Remember how a user is, before that changes."""
        self.version += 1
        if user_id in self._before:
            between, view = self._between.get(user_id, ()), self.view(user_id)
            if not is_same(view, between[-1] if between else self._before[user_id]):
                self._between[user_id] = (*between[1 - MOST_BETWEEN :], view)
        elif not self._is_too_much:
            if len(self._before) < MOST_COMPARED:
                self._before[user_id] = self.view(user_id)
            else:
                self._is_too_much = True

    def changes(self) -> list[Changed] | None:
        """Give who is otherwise than when it was last asked; None if they are too many to be compared."""
        if self._is_too_much:
            self._before, self._between, self._is_too_much = {}, {}, False
            return None
        before, self._before = self._before, {}
        between, self._between = self._between, {}
        found = (
            Changed(user_id, view, self.view(user_id), between.get(user_id, ())) for user_id, view in before.items()
        )
        return [one for one in found if one.between or not is_same(one.before, one.now)]

    def users(self) -> set[str]:
        """Give all of whom anything is known here."""
        known = set(self.published)
        known.update(people.names(self.organization))
        for node in self.counted:
            known.update(self.others[node].people)
        return known

    def online(self) -> int:
        """Give how many users are there."""
        known, spoken = self.users(), set(self.published)
        spoken.update(people.spoken(self.organization))
        for node in self.counted:
            spoken.update(user_id for user_id, seen in self.others[node].people.items() if seen.declared is not None)
        # Who said nothing is there; that leaves few to be looked at.
        views = (self.view(user_id) for user_id in spoken)
        return len(known) - sum(1 for view in views if view is None or not view.is_there)

    def tell(self, changes: Iterable[Changed] | None, ephemeral: Ephemeral) -> None:
        """Tell those who follow what concerns them of these changes; None: that there are many."""
        if changes is None:
            told = json.encode(self.truncated())
            for audience in {watcher.audience for watcher in self.watchers if not is_away(watcher)}:
                if audience is not None:
                    ephemeral.offer_to(audience, told)
            return
        concerned: dict[Audience, list[Changed]] = {}
        for one in changes:
            for audience in dict.fromkeys(self.organization.wanting(_keys(one))):
                concerned.setdefault(audience, []).append(one)
        if not concerned:
            return
        truncated: bytes | None = None
        for audience, own in concerned.items():
            if len(own) <= MOST_TOLD:
                told = json.encode(PresenceChanged(users=tuple(map(_told, own))))
            else:
                truncated = told = truncated or json.encode(self.truncated())
            ephemeral.offer_to(audience, told)

    def truncated(self) -> PresenceChanged:
        """Make the message that says only how many are there."""
        return PresenceChanged(truncated=True, online=self.online())

    def settle_watchers(self) -> None:
        """Let go of those who follow no more, and note who could not be told just now."""
        for watcher in list(self.watchers):
            if not watcher.is_open or not follows_presence(watcher):
                self.watchers.discard(watcher)
                self.missed.discard(watcher)
            elif is_away(watcher):
                self.missed.add(watcher)


def is_away(watcher: Connection) -> bool:
    """Say whether a connection gets nothing live right now."""
    return watcher.audience is None or watcher.is_paused


def follows_presence(connection: Connection) -> bool:
    """Say whether a connection has a subscription to user_presence."""
    return any(_TYPE in clause.types for clause in connection.session.selection.clauses)


def _keys(one: Changed) -> tuple[str, ...]:
    # Where the user was counts too: who follows a document learns that somebody went away from it.
    documents = {view.current_document for view in (one.before, *one.between, one.now) if view is not None}
    return (_TYPE, *sorted(f"d:{document}" for document in documents if document is not None), f"u:{one.user_id}")


def _told(one: Changed) -> PresenceChange:
    view = one.now
    if view is None:
        # Somebody who is gone was there before: else it is no change.
        last_seen = max((was.last_seen for was in (one.before, *one.between) if was is not None), default=0)
        return PresenceChange(user_id=one.user_id, status="offline", last_seen=format_milliseconds(last_seen))
    return PresenceChange(
        user_id=one.user_id,
        status=view.status,
        last_seen=format_milliseconds(view.last_seen),
        current_document=UNSET if view.current_document is None else view.current_document,
        metadata=UNSET if view.metadata is None else Raw(view.metadata.encode()),
    )
