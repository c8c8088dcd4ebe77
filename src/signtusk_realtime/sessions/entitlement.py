"""What an identity may see of what it asks for: subscriptions compiled with grants.

Owns: the one function that live delivery, replay and history go through.   Not: index keys (events/matching.py), delivery.
Rule 1: grants are compiled in here, at subscribe and refresh; nothing is checked per delivery.
Rule 2: a subscription is narrowed to the grants; one wholly outside them is forbidden. A filter can only narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import combinations
from operator import or_
from typing import Final, NamedTuple

from msgspec import UNSET

from signtusk_realtime.errors import Forbidden
from signtusk_realtime.events.matching import Clause, clause, index_keys
from signtusk_realtime.events.subscriptions import TYPES_OF, Subscription, SubscriptionType
from signtusk_realtime.sessions.identity import Grant, Identity
from signtusk_realtime.sessions.shelf import Shelf

View = frozenset[tuple[str, ...]] | None
"""How much of an event is shown: None is the full view; a set is the guest view, full only for events that have all keys of one member."""
FULL: Final[View] = None

DOCUMENT_TYPES: Final[tuple[SubscriptionType, ...]] = ("document_updates", "signing_updates")
SIGNING_TYPES: Final[tuple[SubscriptionType, ...]] = ("signing_updates",)


SELECTIONS_BYTES: Final = 8 << 20
"""About how much is kept of compiled selections, for others who ask for the same."""
_FEW_CLAUSES: Final = 4
"""So many are looked at sooner one by one."""
_PART_BYTES: Final = 400
"""About what a subscription, a clause or a grant weighs without its texts."""


class Selection(NamedTuple):
    """Compiled subscriptions. Connections with equal selections see the same bytes.

    `clauses` are shared by all who asked for the same; `notifications_of` is the user whose notifications are wanted, kept apart because
    it would make every selection one person's own.
    """

    clauses: tuple[Clause, ...]
    notifications_of: str | None
    view: View

    def matches(self, keys: Sequence[str]) -> bool:
        """Say whether an event with these matching keys is wanted and may be seen."""
        if any(c.matches(keys) for c in self.clauses):
            return True
        return self._is_own_notification(keys)

    def matcher(self) -> Callable[[Sequence[str]], bool]:
        """Give what says the same of many events, at a cost for each that does not grow with the clauses."""
        if len(self.clauses) <= _FEW_CLAUSES:
            return self.matches
        wanted = frozenset(key for c in self.clauses for key in c.index_keys())
        shapes = reduce(or_, (1 << c.shape() for c in self.clauses))
        return lambda keys: not wanted.isdisjoint(index_keys(keys, shapes)) or self._is_own_notification(keys)

    def _is_own_notification(self, keys: Sequence[str]) -> bool:
        return self.notifications_of is not None and keys[0] == "notification" and f"u:{self.notifications_of}" in keys


NOTHING: Final = Selection((), None, FULL)


def sees_whole(view: View, keys: Sequence[str]) -> bool:
    """Say whether a view shows the full body of an event with these matching keys, rather than the guest's."""
    return view is None or any(all(key in keys for key in required) for required in view)


def default_subscriptions(identity: Identity) -> tuple[Subscription, ...]:
    """Give every subscription that the identity may have, but for user_presence: what an event stream without a selection gets."""
    wanted = (Subscription(name) for name in TYPES_OF if name != "user_presence")
    return tuple(s for s in wanted if may_subscribe(s, identity))


def may_subscribe(subscription: Subscription, identity: Identity) -> bool:
    """Say whether `compile_selection` would accept this subscription."""
    if identity.grants is None:
        return True
    return bool(_scopes(subscription, identity))


def compile_selection(subscriptions: Iterable[Subscription], identity: Identity, *, keep: bool = True) -> Selection:
    """Compile subscriptions with the identity's grants.

    Equal wishes give one and the same selection, as far as it is kept: ten thousand clients of one page ask for the same. `keep`: whether this
    one may be asked for again. Raises: Forbidden, with `path` (index,) of the first subscription that lies wholly outside the grants.
    """
    wanted = tuple(subscriptions)
    # Only notifications depend on who asks.
    user_id = identity.user_id if any(s.type == "notifications" for s in wanted) else ""
    key = wanted, user_id, identity.teams, identity.grants
    selection = _compiled.get(key)
    if selection is None:
        selection = _compile(wanted, identity)
        if keep:
            _compiled.put(key, selection, _weight(wanted, identity, selection))
    return selection


_Key = tuple[tuple[Subscription, ...], str, tuple[str, ...], tuple[Grant, ...] | None]
_compiled: Final[Shelf[_Key, Selection]] = Shelf(SELECTIONS_BYTES)


def _weight(subscriptions: tuple[Subscription, ...], identity: Identity, selection: Selection) -> int:
    parts = len(subscriptions) + len(selection.clauses)
    texts = sum(weigh(subscription) for subscription in subscriptions)
    texts += sum(len(key.encode()) for clause_ in selection.clauses for key in clause_.required)
    return _PART_BYTES * parts + texts + weigh_rights(identity)


def weigh(subscription: Subscription) -> int:
    """Give about how many bytes a subscription's texts have."""
    filters = subscription.filters
    texts = filters.document_id, filters.signing_request_id, filters.team_id, filters.user_id
    return sum(len(text.encode()) for text in texts if text is not UNSET)


def weigh_rights(identity: Identity) -> int:
    """Give about how many bytes an identity's teams and grants have."""
    size = sum(_PART_BYTES // 4 + len(team.encode()) for team in identity.teams)
    for grant in identity.grants or ():
        texts = grant.document_id, grant.signing_request_id, grant.recipient_id
        size += _PART_BYTES + sum(len(text.encode()) for text in texts if text is not None)
    return size


def _compile(subscriptions: tuple[Subscription, ...], identity: Identity) -> Selection:
    clauses: dict[Clause, None] = {}
    notifications_of: str | None = None
    for index, subscription in enumerate(subscriptions):
        if not may_subscribe(subscription, identity):
            raise Forbidden(f"{subscription.type} is outside what was granted to this identity", path=(str(index),))
        required, types = _conditions(subscription)
        if subscription.type == "notifications":
            if _reaches_own_notifications(subscription, types, identity):
                notifications_of = identity.user_id
            continue
        for scope in _scopes(subscription, identity):
            compiled = clause(subscription.type, types, (*required, *scope))
            if compiled is not None:
                clauses[compiled] = None
    return Selection(_without_covered(tuple(clauses)), notifications_of, _view(identity))


def _view(identity: Identity) -> View:
    if identity.grants is None:
        return FULL
    # Each recipient together with the scope of its own grant: another document may have another recipient of the same id.
    scopes = [(_scope_of(grant, "signing_updates"), grant.recipient_id) for grant in _subscribing(identity.grants)]
    return frozenset((*scope, "r:" + recipient) for scope, recipient in scopes if scope is not None and recipient)


def _conditions(subscription: Subscription) -> tuple[list[str], frozenset[str]]:
    filters = subscription.filters
    required = [
        facet + value
        for facet, value in (
            ("d:", filters.document_id),
            ("s:", filters.signing_request_id),
            ("m:", filters.team_id),
            ("u:", filters.user_id),
        )
        if value is not UNSET
    ]
    types: frozenset[str] = TYPES_OF[subscription.type]
    if filters.event_types is not UNSET:
        types = types & frozenset(filters.event_types)
    return required, types


def _reaches_own_notifications(subscription: Subscription, types: frozenset[str], identity: Identity) -> bool:
    # A notification has no document, signing request or team: such a filter leaves nothing. Its userId is the addressee.
    filters = subscription.filters
    fields = (filters.document_id, filters.signing_request_id, filters.team_id)
    own = filters.user_id is UNSET or filters.user_id == identity.user_id
    return bool(types) and own and all(field is UNSET for field in fields)


def _scopes(subscription: Subscription, identity: Identity) -> list[tuple[str, ...]]:
    """Give the alternatives of keys that an event must have for this identity to see it; an empty alternative demands nothing."""
    if identity.grants is None:
        if subscription.type == "team_updates":
            return [("m:" + team,) for team in identity.teams]
        return [()]
    return [
        scope
        for grant in _subscribing(identity.grants)
        if (scope := _scope_of(grant, subscription.type)) is not None and not _is_apart(grant, subscription)
    ]


def _is_apart(grant: Grant, subscription: Subscription) -> bool:
    """Say whether the subscription's filters name another document or signing request than the grant."""
    filters = subscription.filters
    pairs = ((grant.document_id, filters.document_id), (grant.signing_request_id, filters.signing_request_id))
    return any(own is not None and asked is not UNSET and own != asked for own, asked in pairs)


def _subscribing(grants: Iterable[Grant]) -> list[Grant]:
    return [grant for grant in grants if "subscribe" in grant.actions]


def _scope_of(grant: Grant, subscription_type: SubscriptionType) -> tuple[str, ...] | None:
    if grant.types is not None and subscription_type not in grant.types:
        return None
    if subscription_type == "notifications":
        return () if grant.types is not None else None
    covered = DOCUMENT_TYPES if grant.signing_request_id is None else SIGNING_TYPES
    if subscription_type not in covered or (grant.document_id is None and grant.signing_request_id is None):
        return None
    keys = ("d:" + grant.document_id,) if grant.document_id is not None else ()
    return keys if grant.signing_request_id is None else (*keys, "s:" + grant.signing_request_id)


def _without_covered(clauses: tuple[Clause, ...]) -> tuple[Clause, ...]:
    """Drop clauses that another one covers, and sort, so that equal wishes share an audience.

    A clause is covered by one of fewer conditions: they are looked for among the few parts of its own, for a hundred subscriptions under a
    hundred grants are ten thousand clauses.
    """
    if len(clauses) < 2:
        return clauses
    types_by_required: dict[tuple[str, ...], list[frozenset[str]]] = {}
    for c in clauses:
        types_by_required.setdefault(c.required, []).append(c.types)
    kept = [c for c in clauses if not _is_covered(c, types_by_required)]
    return tuple(sorted(kept, key=lambda c: (sorted(c.types), c.required)))


def _is_covered(c: Clause, types_by_required: dict[tuple[str, ...], list[frozenset[str]]]) -> bool:
    if any(c.types < types for types in types_by_required[c.required]):
        return True
    return any(
        c.types <= types
        for size in range(len(c.required))
        for part in combinations(c.required, size)
        for types in types_by_required.get(part, ())
    )
