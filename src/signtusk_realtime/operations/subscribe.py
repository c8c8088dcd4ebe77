"""Begin and end subscriptions.

Owns: the step from a request to live delivery.   Not: the rules of asking (sessions), audiences (delivery).
Rule 1: all subscriptions of a request are accepted or none.   Rule 2: `subscribed` comes before any event by it.
Rule 3: until resuming is built, no cursor but `latest` can be continued, and the client is told so (`unknown`); nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, UnsetType

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.errors import Forbidden
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol.messages import RecoveryFailure, Subscribe, Subscribed, Unsubscribe, Unsubscribed

LATEST = "latest"


class Subscriptions:
    """See the module. `new_id(prefix)`: a fresh id."""

    def __init__(self, hub: Hub, *, new_id: Callable[[str], str]) -> None:
        self._hub = hub
        self._new_id = new_id

    def subscribe(self, connection: Connection, request: Subscribe) -> tuple[str, ...]:
        """Begin what a request asks for and answer it; give the subscription ids. Raises: InvalidInput, LimitExceeded, Forbidden."""
        session = connection.session
        added = session.wanted(request)
        is_single = request.subscription is not UNSET
        try:
            selection = session.preview(added)
        except Forbidden as error:
            path = ("subscription",) if is_single else ("subscriptions", *(error.path or ()))
            raise Forbidden(error.message, path=path) from None
        subscription_ids = tuple(self._new_id("sub") for _ in added)
        session.add(subscription_ids, added, selection)
        self._hub.select(connection, selection)
        cursor = self._hub.cursor_of(connection)
        recovered, reason = _recovery(request.cursor)
        if is_single:
            answer = Subscribed(
                request_id=request.request_id,
                subscription_id=subscription_ids[0],
                subscription=added[0],
                recovered=recovered,
                reason=reason,
                cursor=cursor,
            )
        else:
            answer = Subscribed(
                request_id=request.request_id,
                subscription_ids=subscription_ids,
                subscriptions=added,
                recovered=recovered,
                reason=reason,
                cursor=cursor,
            )
        self._hub.subscribed(connection, answer)
        return subscription_ids

    def subscribe_all(
        self, connection: Connection, subscriptions: tuple[Subscription, ...], cursor: str | None
    ) -> tuple[str, ...]:
        """Begin an event stream's subscriptions, chosen by its URL. Raises: as `subscribe`."""
        return self.subscribe(
            connection, Subscribe(subscriptions=subscriptions, cursor=UNSET if cursor is None else cursor)
        )

    def unsubscribe(self, connection: Connection, request: Unsubscribe) -> None:
        """End one subscription and answer. Raises: InvalidInput (unknown_subscription)."""
        session = connection.session
        session.remove(request.subscription_id)
        self._hub.select(connection, session.selection)
        self._hub.send(connection, Unsubscribed(request_id=request.request_id, subscription_id=request.subscription_id))


def _recovery(cursor: str | UnsetType) -> tuple[bool | UnsetType, RecoveryFailure | UnsetType]:
    if cursor is UNSET:
        return UNSET, UNSET
    if cursor == LATEST:
        return True, UNSET
    return False, "unknown"
