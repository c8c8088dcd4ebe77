"""Publish events.

Owns: who may publish what, where it goes, and the one commit that makes it so.   Not: the kinds (events), storing and delivering (engines).
Rule 1: all of a call or nothing.   Rule 2: an answer means durable, and delivered to every live connection that wants it.
Rule 3: the organization is the identity's own; only a service names one, and only a service announces to all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import (
    EventIdReused,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    RealtimeError,
    Unavailable,
)
from signtusk_realtime.events.event import prepare
from signtusk_realtime.events.ids import ID_RULE, is_id
from signtusk_realtime.events.kinds import DocumentUpdateEvent, Published, SystemAnnouncementEvent, UserPresenceEvent
from signtusk_realtime.events.log import (
    SYSTEM_LOG,
    Commit,
    Committed,
    Draft,
    Key,
    LogName,
    Position,
    Reused,
    Stale,
)
from signtusk_realtime.events.validation import check
from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.operations.documents.asking import from_publication
from signtusk_realtime.operations.documents.documents import Documents, EditRefused
from signtusk_realtime.operations.documents.edit import refusal
from signtusk_realtime.operations.documents.facts import (
    CHANGE,
    PLAIN,
    by_document,
    fact_of,
    held_of,
    is_change,
    none_held,
)
from signtusk_realtime.operations.presence.presence import Presence
from signtusk_realtime.protocol.cursor import CursorWriter, encode
from signtusk_realtime.protocol.edits import EditOutcome
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import PUBLISH, Identity


class ResultError(Struct, frozen=True):
    """Why one event of a batch was not published."""

    code: str
    detail: str


class PublishResult(Struct, rename="camel", frozen=True, kw_only=True):
    """Where a published event stands. `cursor` names its place in its own log and the beginning of the other one.

    `edit`: what became of a change of a document. `error`: in place of `cursor`, for a change in a batch that was refused.
    """

    event_id: str
    cursor: str | UnsetType = UNSET
    duplicate: bool = False
    error: ResultError | UnsetType = UNSET
    edit: EditOutcome | UnsetType = UNSET


class _Call(NamedTuple):
    """One call, read and found well-formed."""

    log: LogName
    publications: Sequence[Publication]
    drafts: list[Draft]
    is_batch: bool
    accepted_at: float

    def reused(self, outcome: Reused) -> EventIdReused:
        """Make the refusal of ids that are known with another value."""
        index = _first_reused(outcome, self.drafts)
        event_ids = dict.fromkeys((self.drafts[index].event_id, *outcome.event_ids))
        # An id that was made from a key is no member of the event.
        member = () if self.publications[index].event.id is UNSET else ("id",)
        return EventIdReused(tuple(event_ids), (str(index), *member) if self.is_batch else member)


class Publish:
    """See the module. `now_ms`: wall clock; `new_id(prefix)`: a fresh, time-ordered id; `max_payload_bytes` bounds an event's body.

    `counters`: where it counts; by default its own. `documents`: where changes of documents go; without them every event is a plain one.
    `presence`: keeps what is published of who is there.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[str], str],
        max_payload_bytes: int = 256 << 10,
        counters: Counters | None = None,
        documents: Documents | None = None,
        presence: Presence | None = None,
    ) -> None:
        self._presence = presence
        self._documents = documents
        self.counters = Counters() if counters is None else counters
        self._engine = engine
        self._now_ms = now_ms
        self._new_id = new_id
        self._max_payload_bytes = max_payload_bytes

    @staticmethod
    def check_scope(identity: Identity) -> None:
        """See that somebody may publish at all, before it is read what. Raises: Forbidden."""
        if PUBLISH not in identity.scopes:
            raise Forbidden(f"publishing needs the scope {PUBLISH}")

    async def __call__(
        self,
        identity: Identity,
        publications: Sequence[Publication],
        *,
        idempotency_key: str | None = None,
        is_batch: bool = False,
    ) -> tuple[PublishResult, ...]:
        """Publish one or several events of one organization (or announcements only), in their order.

        `is_batch`: paths of faults begin with the event's index, and ids made from `idempotency_key` are K/0, K/1 …
        Raises: Forbidden, InvalidInput (invalid_event, mixed_organizations, invalid_request: the key), LimitExceeded
        (payload_too_large), EventIdReused, Unavailable.
        """
        accepted_at = self.counters.clock()
        self.counters.publications += len(publications)
        try:
            results = await self._publish(identity, publications, idempotency_key, is_batch, accepted_at)
        except RealtimeError as error:
            self.counters.publications_refused[error.code] += len(publications)
            raise
        await self._remember_presence(identity, publications, results)
        return results

    async def _remember_presence(
        self, identity: Identity, publications: Sequence[Publication], results: Sequence[PublishResult]
    ) -> None:
        if self._presence is None:
            return
        told = [
            (event, result.duplicate)
            for (event, _), result in zip(publications, results, strict=True)
            if isinstance(event, UserPresenceEvent)
        ]
        if told:
            named = told[0][0].organization_id
            await self._presence.published(LogName(identity.organization_id if named is UNSET else named), told)

    async def _publish(
        self,
        identity: Identity,
        publications: Sequence[Publication],
        idempotency_key: str | None,
        is_batch: bool,
        accepted_at: float,
    ) -> tuple[PublishResult, ...]:
        self.check_scope(identity)
        if idempotency_key is not None:
            check_key(idempotency_key if not is_batch else f"{idempotency_key}/{len(publications) - 1}")
        log: LogName | None = None
        drafts: list[Draft] = []
        now_ms = self._now_ms()
        for index, (event, digest) in enumerate(publications):
            at = (str(index),) if is_batch else ()
            own_log = self._log_of(identity, event, at)
            if log is None:
                log = own_log
            elif log != own_log:
                raise InvalidInput(
                    "the events of one call belong to one organization, or all are announcements",
                    code="mixed_organizations",
                    path=(*at, "organizationId"),
                )
            event_id = self._id_of(event, idempotency_key, index if is_batch else None)
            prepared = prepare(event, event_id=event_id, received_at_ms=now_ms, organization_id=own_log)
            if len(prepared.body) > self._max_payload_bytes:
                raise LimitExceeded(
                    f"the event has {len(prepared.body)} bytes; at most {self._max_payload_bytes} are allowed",
                    code="payload_too_large",
                    path=at,
                )
            drafts.append(Draft(event_id, digest, prepared.keys, prepared.body))
        if log is None:
            return ()
        call = _Call(log, publications, drafts, is_batch, accepted_at)
        if self._documents is None:
            return await self._plain(call, 0, len(drafts))
        if not any(is_change(event) for event, _ in publications):
            # As a rule no document is held here that a fact is told of. To expect so spares asking before.
            outcome = await self._commit(call.log, drafts, accepted_at, expect=none_held(publications))
            if not (isinstance(outcome, Stale) and outcome.keys):
                return self._results(call, outcome)
        return await self._in_order(call, self._documents)

    async def _plain(self, call: _Call, first: int, last: int) -> tuple[PublishResult, ...]:
        """Publish events that change no document, as one commit."""
        return self._results(call, await self._commit(call.log, call.drafts[first:last], call.accepted_at))

    def _results(self, call: _Call, outcome: Committed | Stale | Reused) -> tuple[PublishResult, ...]:
        if isinstance(outcome, Reused):
            raise call.reused(outcome)
        if not isinstance(outcome, Committed):
            raise Unavailable("the log changed its epoch; repeat the call")
        return _results(call.log, outcome)

    async def _in_order(self, call: _Call, documents: Documents) -> tuple[PublishResult, ...]:
        """Publish what concerns documents, each by itself; plain events that stand next to each other are one commit."""
        results: list[PublishResult] = []
        held = await held_of(call.publications, call.log, documents)
        steps = [by_document(event, held) for event, _ in call.publications]
        if len(call.drafts) > 1:
            await self._check_unused(call)
        first = 0
        while first < len(call.drafts):
            step = steps[first]
            if step is PLAIN:
                last = next((i for i in range(first, len(steps)) if steps[i] is not PLAIN), len(steps))
                results += await self._late(self._plain(call, first, last), call, first, last)
                first = last
                continue
            event, draft = call.publications[first].event, call.drafts[first]
            counters, began_at = self.counters, self.counters.clock()
            counters.accept([draft], call.accepted_at)
            try:
                if step is CHANGE:
                    assert isinstance(event, DocumentUpdateEvent), "changes are a document update's"
                    results.append(await self._change(call, first, event, documents))
                else:
                    results += await self._late(self._fact(call, first, documents), call, first, first + 1)
            finally:
                counters.answered([draft])
                counters.commits.observe(counters.clock() - began_at)
            first += 1
        return tuple(results)

    async def _late(
        self, publishing: Coroutine[None, None, tuple[PublishResult, ...]], call: _Call, first: int, last: int
    ) -> tuple[PublishResult, ...]:
        """Publish a step of several; where something of the call is published already, a reuse that comes to light is the step's own."""
        try:
            return await publishing
        except EventIdReused as error:
            if first == 0:
                raise
            return tuple(
                PublishResult(event_id=draft.event_id, error=ResultError(error.code, error.message))
                for draft in call.drafts[first:last]
            )

    async def _change(self, call: _Call, index: int, event: DocumentUpdateEvent, documents: Documents) -> PublishResult:
        draft = call.drafts[index]
        at = (str(index),) if call.is_batch else ()
        try:
            size = len(draft.body)
            read = partial(from_publication, event, draft.event_id, draft.digest, size=size)
            asking = await documents.workshop.do(read, size=size)
            edited = await documents.edits(call.log, asking)
            outcome, placed = edited.outcome, edited.placed
        except Refused as error:
            outcome, placed = refusal(error, event.change_id if event.change_id is not UNSET else draft.event_id), None
        except EventIdReused as error:
            if not call.is_batch:
                raise
            return PublishResult(event_id=draft.event_id, error=ResultError(error.code, error.message))
        if outcome.status in ("refused", "rejected"):
            if not call.is_batch:
                # An id that was used before with another value is that, whatever else stands in its way.
                await self._check_unused(call)
                raise EditRefused(outcome, at)
            refused = EditRefused(outcome)
            return PublishResult(
                event_id=draft.event_id, error=ResultError(refused.code, refused.message), edit=outcome
            )
        if placed is None or not placed.placed:
            # It was published before; where it stands is no longer kept.
            return PublishResult(event_id=draft.event_id, duplicate=True, edit=outcome)
        result = _results(call.log, placed)[0]
        return msgspec.structs.replace(result, duplicate=outcome.duplicate is True, edit=outcome)

    async def _fact(self, call: _Call, index: int, documents: Documents) -> tuple[PublishResult, ...]:
        event, draft = call.publications[index].event, call.drafts[index]
        found = fact_of(event)
        assert found is not None, "a fact"
        document_id, to, user_id = found
        committed = await documents.moves.fact(call.log, document_id, to, user_id, draft.event_id, draft)
        if committed is None:
            return await self._plain(call, index, index + 1)
        return _results(call.log, committed)[:1]

    async def _check_unused(self, call: _Call) -> None:
        """See before anything is published that no id is known with another value. Raises: EventIdReused, Unavailable."""
        # Reuse is looked at before anything is expected, and this never holds: nothing is stored.
        never = Commit(events=call.drafts, expect=((Key("documents", "\x1f"), 1),))
        outcome = await self._engine.commit(call.log, never)
        if isinstance(outcome, Reused):
            raise call.reused(outcome)

    async def _commit(
        self, log: LogName, drafts: list[Draft], accepted_at: float, *, expect: Sequence[tuple[Key, int]] = ()
    ) -> Committed | Stale | Reused:
        counters = self.counters
        began_at = counters.clock()
        counters.accept(drafts, accepted_at)
        try:
            return await self._engine.commit(log, Commit(drafts, expect=expect))
        finally:
            counters.answered(drafts)
            counters.commits.observe(counters.clock() - began_at)

    def _log_of(self, identity: Identity, event: Published, at: tuple[str, ...]) -> LogName:
        try:
            check(event, organization_required=identity.is_service)
        except InvalidInput as error:
            raise InvalidInput(error.message, code=error.code, path=(*at, *(error.path or ()))) from None
        if isinstance(event, SystemAnnouncementEvent):
            if not identity.is_service:
                raise Forbidden("announcements are published by a service only", path=(*at, "kind"))
            return SYSTEM_LOG
        named = event.organization_id
        if identity.is_service:
            assert named is not UNSET, "check() required it"
            return LogName(named)
        if named is not UNSET and named != identity.organization_id:
            raise Forbidden("the credentials are of another organization", path=(*at, "organizationId"))
        return LogName(identity.organization_id)

    def _id_of(self, event: Published, idempotency_key: str | None, index: int | None) -> str:
        own: str | UnsetType = event.id
        if own is not UNSET:
            return own
        if idempotency_key is not None:
            return idempotency_key if index is None else f"{idempotency_key}/{index}"
        return self._new_id("evt")


def check_key(key: str) -> str:
    """Return an idempotency key if it makes an id. Raises: InvalidInput (invalid_request), without a path: a header has none."""
    if not is_id(key):
        raise InvalidInput(f"Idempotency-Key: not an id: {ID_RULE}", code="invalid_request")
    return key


def _first_reused(reused: Reused, drafts: Sequence[Draft]) -> int:
    """Give the index of the first event whose id is reused.

    Of one id with several values in one call the first that differs is told: there the call contradicts itself.
    """
    ids = frozenset(reused.event_ids)
    first: dict[str, int] = {}
    other: dict[str, int] = {}
    for index, (event_id, digest, *_) in enumerate(drafts):
        if event_id in ids and drafts[first.setdefault(event_id, index)].digest != digest:
            other.setdefault(event_id, index)
    return min({**first, **other}.values())


def _results(log: LogName, outcome: Committed) -> tuple[PublishResult, ...]:
    epoch = outcome.epoch
    positions = [Position(epoch, offset, tag) for _, offset, tag, _ in outcome.placed]
    if log == SYSTEM_LOG:
        cursors = [encode(log, None, position) for position in positions]
    else:
        cursors = list(map(CursorWriter(log).text, positions))
    return tuple(
        PublishResult(event_id=placed.event_id, cursor=cursor, duplicate=placed.duplicate)
        for placed, cursor in zip(outcome.placed, cursors, strict=True)
    )
