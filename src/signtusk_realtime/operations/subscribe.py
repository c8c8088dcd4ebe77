"""Begin and end subscriptions.

Owns: the step from a request to live delivery, or to catching up from a cursor.   Not: the rules of asking (sessions), audiences (delivery).
Rule 1: all subscriptions of a request are accepted or none.   Rule 2: `subscribed` comes before any event by it.
Rule 3: a cursor that cannot be continued is answered by `recovered:false` and its reason, never by an error; nothing is skipped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from msgspec import UNSET, UnsetType

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.recovery import EARLIEST, LATEST, continued
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, Unavailable
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.cursor import Cursor, decode
from signtusk_realtime.protocol.messages import RecoveryFailure, Subscribe, Subscribed, Unsubscribe, Unsubscribed


class Subscriptions:
    """See the module. `new_id(prefix)`: a fresh id. `subscribed`: called with each connection that was just told so. `begins`: called with the
    id of an event stream, and the cursor that it begins with where it brought no place of its own, before it is told that.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        *,
        new_id: Callable[[str], str],
        subscribed: Callable[[Connection], None] = lambda connection: None,
        begins: Callable[[str, str], Coroutine[None, None, None]] | None = None,
    ) -> None:
        self._begins = begins
        self._subscribed = subscribed
        self._engine = engine
        self._hub = hub
        self._new_id = new_id

    def subscribe(
        self, connection: Connection, request: Subscribe, *, subscription_ids: tuple[str, ...] | None = None
    ) -> tuple[tuple[str, ...], Coroutine[None, None, None] | None]:
        """Begin what a request asks for, and answer it; give the subscription ids, fresh ones unless they were told to somebody before.

        Where the log must be asked about the cursor, the answer is still to come: the second value is what does it, to be awaited before
        the connection's next message. Raises: InvalidInput, LimitExceeded, Forbidden.
        """
        session = connection.session
        added = session.wanted(request)
        try:
            selection = session.preview(added)
        except Forbidden as error:
            is_single = request.subscription is not UNSET
            path = ("subscription",) if is_single else ("subscriptions", *(error.path or ()))
            raise Forbidden(error.message, path=path) from None
        subscription_ids = subscription_ids or tuple(self._new_id("sub") for _ in added)
        session.add(subscription_ids, added, selection)
        self._hub.counters.subscriptions[connection.transport] += len(added)
        place = self._place(connection, request.cursor)
        if isinstance(place, Cursor):
            return subscription_ids, self._look_up(connection, request, subscription_ids, added, place)
        self._answer(connection, request, subscription_ids, added, place)
        return subscription_ids, None

    async def subscribe_all(
        self, connection: Connection, subscriptions: tuple[Subscription, ...], cursor: str | None
    ) -> tuple[str, ...]:
        """Begin an event stream's subscriptions, chosen by its URL. Raises: as `subscribe`."""
        organization = connection.organization
        if self._begins is not None and (
            cursor is None or (cursor != EARLIEST and decode(organization.organization_id, cursor) is None)
        ):
            try:
                # Ordering: it begins here or later, and is told so when that is kept.
                await self._begins(connection.connection_id, organization.cursor_at(organization.here))
            except Unavailable:
                self._hub.end(connection, codes.CLOSE_TRY_LATER)
            if not connection.is_open:
                return ()
        request = Subscribe(subscriptions=subscriptions, cursor=UNSET if cursor is None else cursor)
        subscription_ids, answer = self.subscribe(connection, request)
        if answer is not None:
            await answer
        return subscription_ids

    def unsubscribe(self, connection: Connection, request: Unsubscribe) -> None:
        """End one subscription and answer. Raises: InvalidInput (unknown_subscription)."""
        connection.session.remove(request.subscription_id)
        self._hub.counters.subscriptions[connection.transport] -= 1
        self._hub.select(connection)
        self._hub.send(connection, Unsubscribed(request_id=request.request_id, subscription_id=request.subscription_id))

    def _place(self, connection: Connection, text: str | UnsetType) -> Place | RecoveryFailure | Cursor | UnsetType:
        """Give where to begin: a place, UNSET for now without a cursor, why not, or the cursor that the log must be asked about."""
        if text is UNSET:
            return UNSET
        organization = connection.organization
        if text == LATEST:
            return organization.here
        cursor = Cursor(None, None) if text == EARLIEST else decode(organization.organization_id, text)
        if cursor is None:
            return "unknown"
        found = self._hub.find_place(organization, cursor)
        return cursor if found is None else found

    async def _look_up(
        self,
        connection: Connection,
        request: Subscribe,
        subscription_ids: tuple[str, ...],
        added: tuple[Subscription, ...],
        cursor: Cursor,
    ) -> None:
        place: Place | RecoveryFailure | None = None
        divergences = self._hub.divergences
        try:
            # What was found out of a log that turned out to be another meanwhile is true no more.
            while place is None or divergences != self._hub.divergences:
                divergences = self._hub.divergences
                await self._hub.learn_floors(connection.organization)
                place = self._hub.find_place(connection.organization, cursor)
                if place is None:
                    place = await continued(self._engine, connection.organization.organization_id, cursor)
        except Unavailable:
            self._hub.end(connection, codes.CLOSE_TRY_LATER)
            return
        if connection.is_open:
            self._answer(connection, request, subscription_ids, added, place)

    def _answer(
        self,
        connection: Connection,
        request: Subscribe,
        subscription_ids: tuple[str, ...],
        added: tuple[Subscription, ...],
        place: Place | RecoveryFailure | UnsetType,
    ) -> None:
        recovered: bool | UnsetType = UNSET
        reason: RecoveryFailure | UnsetType = UNSET
        resumed: Place | None = None
        if isinstance(place, str):
            recovered, reason = False, place
        elif place is not UNSET:
            recovered = True
            resumed = place if place != connection.organization.here else None
        if resumed is None:
            self._hub.select(connection)
            cursor = self._hub.cursor_of(connection)
        else:
            cursor = connection.organization.cursor_at(resumed)
        if request.subscription is not UNSET:
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
        if resumed is not None:
            self._hub.resume(connection, resumed)
        self._subscribed(connection)
