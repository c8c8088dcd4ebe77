"""What a query asks to be told: `types` and filters, or `subscriptions` as JSON (spec/protocol.md §8).

Owns: reading both forms for event stream and history.   Not: what the identity may have of it (sessions/entitlement.py).
Rule: empty values and unknown names are refused; not a thing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar, get_args

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.ids import ID_RULE, is_id
from signtusk_realtime.events.subscriptions import NO_FILTERS, EventType, Filters, Subscription, SubscriptionType
from signtusk_realtime.protocol import json
from signtusk_realtime.server.request import invalid_parameter
from signtusk_realtime.sessions.entitlement import default_subscriptions
from signtusk_realtime.sessions.identity import Identity

T = TypeVar("T")

SELECTION_PARAMETERS: Final = frozenset(
    {"types", "documentId", "signingRequestId", "teamId", "eventTypes", "subscriptions"}
)
_TYPES: Final[dict[str, SubscriptionType]] = {name: name for name in get_args(SubscriptionType)}
_EVENT_TYPES: Final[dict[str, EventType]] = {name: name for name in get_args(EventType)}
_MAX_QUOTED: Final = 64
_VALUES_OF_ONE: Final = 50
"""At most, of a subscription: its fields, its filters, and every event type there is."""
_subscriptions: Final = Decoder(tuple[Subscription, ...])


class Asked(Struct, frozen=True):
    """What a query selects: whole subscriptions, or types (None: all there are) under common filters."""

    subscriptions: tuple[Subscription, ...] | None = None
    types: tuple[SubscriptionType, ...] | None = None
    filters: Filters = NO_FILTERS

    @property
    def is_everything(self) -> bool:
        return self.subscriptions is None and self.types is None and self.filters is NO_FILTERS

    def of(self, identity: Identity, *, presence: bool) -> tuple[Subscription, ...]:
        """Give the subscriptions. Where no type was named: all the identity may have, user_presence only if `presence`."""
        if self.subscriptions is not None:
            return self.subscriptions
        if self.types is not None:
            return tuple(Subscription(name, self.filters) for name in self.types)
        found = tuple(Subscription(s.type, self.filters) for s in default_subscriptions(identity))
        if presence and not identity.is_guest:
            found += (Subscription("user_presence", self.filters),)
        return found


def parse_selection(query: Mapping[str, str], *, depth: int, max_subscriptions: int) -> Asked:
    """Read the selection of a query. Raises: InvalidInput (invalid_parameter)."""
    text = query.get("subscriptions")
    filters = _filters(query)
    if text is None:
        types = None
        if "types" in query:
            types = tuple(dict.fromkeys(_known(_TYPES, name, "types") for name in query["types"].split(",")))
        return Asked(types=types, filters=filters)
    both = sorted((SELECTION_PARAMETERS - {"subscriptions"}) & query.keys())
    if both:
        raise invalid_parameter("subscriptions", f"give either subscriptions or {', '.join(both)}, not both")
    try:
        # A stranger may have sent it: who asks is not known yet.
        json.check_values(text.encode(), max_subscriptions * _VALUES_OF_ONE)
        subscriptions = json.decode(text, _subscriptions, depth=depth)
    except InvalidInput as error:
        raise invalid_parameter("subscriptions", error.message, *(error.path or ())) from None
    if not 1 <= len(subscriptions) <= max_subscriptions:
        raise invalid_parameter(
            "subscriptions", f"{len(subscriptions)} subscriptions; 1 to {max_subscriptions} are allowed"
        )
    return Asked(subscriptions=subscriptions)


def _filters(query: Mapping[str, str]) -> Filters:
    event_types: tuple[EventType, ...] | UnsetType = UNSET
    if "eventTypes" in query:
        event_types = tuple(
            dict.fromkeys(_known(_EVENT_TYPES, name, "eventTypes") for name in query["eventTypes"].split(","))
        )
    filters = Filters(
        document_id=_id(query, "documentId"),
        signing_request_id=_id(query, "signingRequestId"),
        team_id=_id(query, "teamId"),
        event_types=event_types,
    )
    # The same object, so that an answer leaves the member out as the client did.
    return NO_FILTERS if filters == NO_FILTERS else filters


def _id(query: Mapping[str, str], name: str) -> str | UnsetType:
    value = query.get(name)
    if value is None:
        return UNSET
    if not is_id(value):
        raise invalid_parameter(name, f"not an id: {ID_RULE}")
    return value


def _known(table: Mapping[str, T], name: str, parameter: str) -> T:
    try:
        return table[name]
    except KeyError:
        shown = repr(name[:_MAX_QUOTED])
        raise invalid_parameter(parameter, f"unknown value {shown}; known are {', '.join(table)}") from None
