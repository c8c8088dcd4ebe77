"""One client's session: what it asked for, and whether what it sends makes sense.

Owns: its subscriptions and their ids, the rules of asking (spec/protocol.md §7.1), how much it sends, the count of malformed messages.   Not: bytes, sockets, logs.
Rule 1: no clock, no randomness: `now` (monotonic seconds) and new ids are arguments.
Rule 2: a refused request changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

from msgspec import UNSET

from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded, RealtimeError
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol.messages import ClientMessage, Subscribe, decode
from signtusk_realtime.sessions.entitlement import NOTHING, Selection, compile_selection, may_subscribe
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.rates import REFUSED_AT_MOST, REFUSED_WITHIN_S, RateLimits, take

MALFORMED_PER_MINUTE = 20
MINUTE_S = 60.0


class SessionLimits:
    """What one client may ask for; shared by all sessions of a server."""

    __slots__ = ("json_depth", "rates", "subscriptions")

    def __init__(
        self,
        *,
        subscriptions: int = 100,
        json_depth: int = 32,
        rates: RateLimits = RateLimits(),  # noqa: B008  # frozen
    ) -> None:
        self.subscriptions = subscriptions
        self.json_depth = json_depth
        self.rates = rates


class Session:
    """The state of one client between its connection's beginning and end."""

    __slots__ = (
        "_bytes_full_at",
        "_limits",
        "_malformed",
        "_malformed_since",
        "_messages_full_at",
        "_refused",
        "_refused_since",
        "has_subscribed",
        "identity",
        "selection",
        "subscriptions",
    )

    def __init__(self, identity: Identity, limits: SessionLimits) -> None:
        self.identity = identity
        self.subscriptions: tuple[tuple[str, Subscription], ...] = ()
        """Pairs of id and subscription, oldest first. Why not a dict: an empty one costs more than all else here."""
        self.selection: Selection = NOTHING
        self.has_subscribed = False
        self._limits = limits
        self._malformed = 0
        self._malformed_since = 0.0
        self._messages_full_at = 0.0
        self._bytes_full_at = 0.0
        self._refused = 0
        self._refused_since = 0.0

    def may_send(self, size: int, now: float) -> bool:
        """Count a message of `size` bytes; say whether it is within the rates."""
        rates = self._limits.rates
        messages = take(
            self._messages_full_at, now, 1.0, per_second=rates.messages_per_second, burst=rates.message_burst
        )
        data = take(self._bytes_full_at, now, size, per_second=rates.bytes_per_second, burst=rates.byte_burst)
        if messages is None or data is None:
            return False
        self._messages_full_at, self._bytes_full_at = messages, data
        return True

    def is_refused_too_often(self, now: float) -> bool:
        """Count a message beyond the rates; say whether that makes more than 200 within ten seconds (close 4429)."""
        if self._refused == 0 or now - self._refused_since >= REFUSED_WITHIN_S:
            self._refused, self._refused_since = 0, now
        self._refused += 1
        return self._refused > REFUSED_AT_MOST

    def read(self, text: bytes) -> ClientMessage:
        """Decode one message. Raises: InvalidInput (invalid_json, too_deep, invalid_message with a path)."""
        return decode(text, depth=self._limits.json_depth)

    def is_malformed_too_often(self, now: float) -> bool:
        """Count one malformed message; say whether that makes more than 20 within a minute (close 4509)."""
        if self._malformed == 0 or now - self._malformed_since >= MINUTE_S:
            self._malformed_since = now
            self._malformed = 0
        self._malformed += 1
        return self._malformed > MALFORMED_PER_MINUTE

    def wanted(self, request: Subscribe) -> tuple[Subscription, ...]:
        """Give what a subscribe request asks for, checked against the rules of asking.

        Raises: InvalidInput (neither or both of the two forms, an empty list, cursor_not_first), LimitExceeded (too_many_subscriptions).
        """
        single, several = request.subscription, request.subscriptions
        if single is not UNSET and several is not UNSET:
            raise InvalidInput("give either subscription or subscriptions, not both", path=("subscriptions",))
        if several is not UNSET:
            wanted = several
        elif single is not UNSET:
            wanted = (single,)
        else:
            raise InvalidInput("subscription or subscriptions is required", path=("subscription",))
        if not wanted:
            raise InvalidInput("subscriptions is empty; at least one is required", path=("subscriptions",))
        if request.cursor is not UNSET and self.has_subscribed:
            raise InvalidInput(
                "a cursor is accepted in a connection's first subscribe only", code="cursor_not_first", path=("cursor",)
            )
        total = len(self.subscriptions) + len(wanted)
        if total > self._limits.subscriptions:
            raise LimitExceeded(
                f"{total} subscriptions; at most {self._limits.subscriptions} are allowed",
                code="too_many_subscriptions",
            )
        return wanted

    def preview(self, added: Sequence[Subscription]) -> Selection:
        """Compile what is subscribed and `added` together; changes nothing. Raises: Forbidden, with `path` (index in `added`,)."""
        try:
            return compile_selection([*(s for _, s in self.subscriptions), *added], self.identity)
        except Forbidden as error:
            index = int(error.path[0]) - len(self.subscriptions) if error.path else 0
            raise Forbidden(error.message, path=(str(index),)) from None

    def add(self, subscription_ids: Sequence[str], added: Sequence[Subscription], selection: Selection) -> None:
        """Take in what `preview` compiled."""
        self.subscriptions += tuple(zip(subscription_ids, map(_shared, added), strict=True))
        self.selection = selection
        self.has_subscribed = True

    def remove(self, subscription_id: str) -> None:
        """End one subscription and compile the rest anew. Raises: InvalidInput (unknown_subscription)."""
        rest = tuple(pair for pair in self.subscriptions if pair[0] != subscription_id)
        if len(rest) == len(self.subscriptions):
            raise InvalidInput(
                "this connection has no subscription with that id",
                code="unknown_subscription",
                path=("subscriptionId",),
            )
        self.subscriptions = rest
        self.selection = compile_selection([s for _, s in rest], self.identity)

    def renew(self, identity: Identity, allowed: Collection[Subscription]) -> tuple[str, ...]:
        """Go on as `identity`; give the ids of the subscriptions that end, for it may not have them or they are not among `allowed`."""
        kept = [pair for pair in self.subscriptions if pair[1] in allowed and may_subscribe(pair[1], identity)]
        ended = tuple(pair[0] for pair in self.subscriptions if pair not in kept)
        self.selection = compile_selection([s for _, s in kept], identity)
        self.identity = identity
        self.subscriptions = tuple(kept)
        return ended


@lru_cache(maxsize=4096)
def _shared(subscription: Subscription) -> Subscription:
    """Give one object for equal subscriptions, as far as it is kept: most clients ask for what others ask for.

    Bounded by number, for a subscription has four ids at most.
    """
    return subscription


def is_malformed(error: RealtimeError) -> bool:
    """Say whether an error counts as a malformed message (spec/protocol.md §7.8): it could not be read at all or breaks the message's form."""
    return error.code in {"invalid_json", "invalid_message", "too_deep"}
