"""All that can be done with documents, as one value.

Owns: putting the parts together, who may ask for each.   Not: what each does (its own file).
Rule: where the application has an authorizer, who may not be told of a document by it may neither read the document nor change it. What is
published is the application's own and is not asked about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import UNSET

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.conflicts import without_values
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Forbidden, RealtimeError, Unavailable
from signtusk_realtime.events.log import LogName
from signtusk_realtime.events.subscriptions import Filters, Subscription
from signtusk_realtime.operations.authorize import UNASKED, Authorize
from signtusk_realtime.operations.documents import access
from signtusk_realtime.operations.documents.asking import from_client
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.edit import EditDocument, refusal
from signtusk_realtime.operations.documents.lanes import Lanes
from signtusk_realtime.operations.documents.leases import Leases
from signtusk_realtime.operations.documents.moves import MoveDocument
from signtusk_realtime.operations.documents.read import ConflictsAnswer, DocumentAnswer, HistoryAnswer, ReadDocuments
from signtusk_realtime.operations.documents.resolve import DecisionRefused, ResolveConflicts
from signtusk_realtime.operations.documents.statistics import ConflictStatistics
from signtusk_realtime.operations.documents.store import DocumentStore
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import (
    EditBody,
    EditOutcome,
    ResolveAnswer,
    ResolveBody,
    TransitionAnswer,
    TransitionBody,
)
from signtusk_realtime.sessions.identity import Identity


@dataclass(frozen=True, kw_only=True)
class Documents:
    """See the module. The verbs below ask for an identity; `edits` and `moves` carry out what was asked for already."""

    store: DocumentStore
    edits: EditDocument
    moves: MoveDocument
    resolves: ResolveConflicts
    reads: ReadDocuments
    leases: Leases
    statistics: ConflictStatistics
    workshop: Workshop
    authorize: Authorize = UNASKED

    async def close(self) -> None:
        """Let go of what was begun."""
        await self.statistics.close()
        await self.leases.close()
        self.workshop.close()

    async def edit(
        self, identity: Identity, document_id: str, body: EditBody, *, connection_id: str | None = None, size: int = 0
    ) -> EditOutcome:
        """Carry a client's edit out, which came in so many bytes; a refusal is an outcome too, also by contention.

        Raises: Unauthenticated (revoked, or expired, while the application was asked), Unavailable.
        """
        try:
            access.check_edit(identity, document_id, "merge" if body.strategy is UNSET else body.strategy)
            if body.document_id is not UNSET and body.document_id != document_id:
                raise Refused("the body names another document than the path", code="invalid_message")
            if self.authorize.is_asked:
                await self._ask(identity, document_id)
            read = partial(from_client, body, document_id, identity.user_id, connection_id=connection_id)
            asking = await self.workshop.do(read, size=size)
        except Forbidden as error:
            return refusal(error, body.change_id)
        except Refused as error:
            log = LogName(identity.organization_id)
            return refusal(error, body.change_id, await self.store.look(log, document_id))
        try:
            outcome = (await self.edits(identity.organization_id, asking)).outcome
        except Unavailable as error:
            if error.code != "contention":
                raise
            return refusal(error, body.change_id, await self.store.look(LogName(identity.organization_id), document_id))
        return outcome if access.may_read(identity, document_id) else access.unseen(outcome)

    async def resolve(self, identity: Identity, document_id: str, body: ResolveBody) -> ResolveAnswer:
        """Decide conflicts. Raises: Forbidden, InvalidInput, Refused, Unauthenticated, Unavailable."""
        resolved_by = identity.user_id if body.resolved_by is UNSET else body.resolved_by
        access.check_resolve(identity, document_id, resolved_by)
        if self.authorize.is_asked:
            await self._ask(identity, document_id)
        try:
            return await self.resolves(identity.organization_id, document_id, resolved_by, body)
        except DecisionRefused as error:
            if error.conflict is not None and not access.may_read(identity, document_id):
                raise DecisionRefused(error, without_values(error.conflict)) from None
            raise

    async def move(self, identity: Identity, document_id: str, body: TransitionBody) -> TransitionAnswer:
        """Move a document on. Raises: Forbidden, Refused, Unauthenticated, Unavailable."""
        access.check_move(identity, document_id)
        if self.authorize.is_asked:
            await self._ask(identity, document_id)
        return await self.moves(identity.organization_id, document_id, identity.user_id, body)

    async def read(
        self, identity: Identity, document_id: str, *, version: int | None = None, client_id: str | None = None
    ) -> DocumentAnswer:
        """Give a document, as it is or as it was. Raises: Forbidden, Refused, Unauthenticated, Unavailable."""
        access.check_read(identity, document_id)
        if self.authorize.is_asked:
            await self._ask(identity, document_id)
        found = await self.reads.document(
            identity.organization_id, document_id, version=version, user_id=identity.user_id, client_id=client_id
        )
        self.authorize.look_again(identity)
        return found

    async def history(self, identity: Identity, document_id: str, *, after: int, limit: int) -> HistoryAnswer:
        """Give its versions. Raises: Forbidden, Refused, Unauthenticated, Unavailable."""
        access.check_read(identity, document_id)
        if self.authorize.is_asked:
            await self._ask(identity, document_id)
        found = await self.reads.history(identity.organization_id, document_id, after=after, limit=limit)
        self.authorize.look_again(identity)
        return found

    async def conflicts(
        self, identity: Identity, document_id: str, *, with_decided: bool, after: str | None = None
    ) -> ConflictsAnswer:
        """Give its conflicts. Raises: Forbidden, InvalidInput (after), Refused, Unauthenticated, Unavailable."""
        access.check_read(identity, document_id)
        if self.authorize.is_asked:
            await self._ask(identity, document_id)
        organization_id = identity.organization_id
        found = await self.reads.conflicts(organization_id, document_id, with_decided=with_decided, after=after)
        self.authorize.look_again(identity)
        return found

    async def _ask(self, identity: Identity, document_id: str) -> None:
        """Ask the application. Raises: Forbidden, Unauthenticated (revoked, or expired, meanwhile)."""
        try:
            await self.authorize.check(identity, (Subscription("document_updates", Filters(document_id=document_id)),))
        except Forbidden:
            raise Forbidden("the application does not allow this document") from None


class EditRefused(RealtimeError):
    """A published change of a document was refused or rejected; `outcome` says everything."""

    def __init__(self, outcome: EditOutcome, path: tuple[str, ...] | None = None) -> None:
        code = "conflict" if outcome.code is UNSET else outcome.code
        message = "another's change stands in its way" if outcome.message is UNSET else outcome.message
        super().__init__(message, code=code, path=path)
        self.outcome = outcome


def make_documents(
    engine: Engine,
    hub: Hub,
    rules: DocumentRules,
    *,
    now_ms: Callable[[], int],
    new_id: Callable[[str], str],
    new_secret: Callable[[], str],
    authorize: Authorize = UNASKED,
) -> Documents:
    """Put the parts together. `now_ms`: wall clock; `new_id(prefix)`: a fresh id; `new_secret()`: 128 random bits as text."""
    lanes, workshop = Lanes(), Workshop()
    store = DocumentStore(engine, workshop)
    moves = MoveDocument(store, lanes, workshop, rules, now_ms=now_ms, new_id=new_id, new_secret=new_secret)
    return Documents(
        store=store,
        edits=EditDocument(store, lanes, workshop, rules, moves, now_ms=now_ms, new_id=new_id, new_secret=new_secret),
        moves=moves,
        resolves=ResolveConflicts(
            store, lanes, workshop, rules, moves, now_ms=now_ms, new_id=new_id, new_secret=new_secret
        ),
        reads=ReadDocuments(store, lanes, workshop, rules, moves),
        leases=Leases(store, lanes, moves, hub),
        statistics=ConflictStatistics(store, hub.ephemeral),
        workshop=workshop,
        authorize=authorize,
    )
