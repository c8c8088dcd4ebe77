"""Move a document on: transitions that are asked for, facts that are published, and the end of a correction.

Owns: the commit of a transition, the lease of a correction as it begins and ends.   Not: what follows what (documents/states.py), keeping a
lease alive (leases.py).
Rule 1: a transition is a version like any other.   Rule 2: the lease's record carries the version that began it: a fencing token that rises.
Rule 3: what nobody may decide any more in the new state is
superseded with it.   Rule 4: a correction that is over is ended before anything else is done with its document, by whoever comes first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from signtusk_realtime.documents.canonical import content_hash
from signtusk_realtime.documents.history import Body, Header, seal
from signtusk_realtime.documents.lease import Lease, keep, take
from signtusk_realtime.documents.manual import sealed
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.states import State, check_transition, is_allowed
from signtusk_realtime.errors import EventIdReused, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import ABSENT, Commit, Committed, Draft, LogName, Reused, Stale
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.commits import Step, carry_out
from signtusk_realtime.operations.documents.lanes import Lane, Lanes
from signtusk_realtime.operations.documents.records import Head, Remembered
from signtusk_realtime.operations.documents.store import Asker, DocumentStore, Loaded
from signtusk_realtime.operations.documents.told import STATE_EVENTS, Teller
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import TransitionAnswer, TransitionBody

TRIES: Final = 16
_decode_answer: Final = msgspec.json.Decoder(TransitionAnswer).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One transition, decided: `facts` are published events that go before its own in the same step."""

    to: State
    user_id: str
    change_id: str
    facts: tuple[Draft, ...] = ()


class MoveRefused(Refused):
    """A transition that this head does not allow: `version` and `content_hash` are head's."""

    def __init__(self, error: Refused, version: int, content_hash: str) -> None:
        super().__init__(error.message, code=str(error.code), reason=error.reason, state=error.state)
        self.version = version
        self.content_hash = content_hash


async def _nobody(_organization_id: str) -> frozenset[str]:
    return frozenset()


class MoveDocument:
    """See the module. The arguments are those of EditDocument. `leased`: told of a correction that begins or is met, with its token."""

    def __init__(
        self,
        store: DocumentStore,
        lanes: Lanes,
        workshop: Workshop,
        rules: DocumentRules,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[str], str],
        new_secret: Callable[[], str],
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._workshop = workshop
        self._rules = rules
        self._now_ms = now_ms
        self._new_id = new_id
        self._new_secret = new_secret
        self.leased: Callable[[str, str, Lease, int], None] = lambda organization_id, document_id, lease, token: None
        self.connected: Callable[[str], Awaitable[frozenset[str]]] = _nobody
        """Gives the users of an organization who have a connection to any node. Raises: Unavailable."""

    async def __call__(
        self, organization_id: str, document_id: str, user_id: str, body: TransitionBody
    ) -> TransitionAnswer:
        """Carry a transition out. Raises: Refused, Unavailable (contention too)."""
        log = LogName(organization_id)
        change_id = self._new_id("chg") if body.change_id is UNSET else body.change_id
        digest = hashlib.sha256(records.encode(body)).hexdigest()
        change = records.change_key(document_id, user_id, "", change_id)
        async with self._lanes.turn(log, document_id) as lane:
            for _ in range(TRIES):
                lane.loaded = loaded = await self._store.load(log, document_id)
                asker = await self._store.asker(log, records.lease_key(document_id), change)
                if asker.remembered is not None:
                    if asker.remembered.digest != digest:
                        raise Refused(
                            f"change {change_id!r} was sent before with another content", code="change_id_reused"
                        )
                    return _decode_answer(asker.remembered.answer)
                if await self.end_correction(log, lane, loaded, asker):
                    continue
                head = loaded.head
                if head is None:
                    raise Refused("there is no such document", code="unknown_document")
                head_hash = await self._workshop.do(partial(self.content_hash, head), size=loaded.size)
                try:
                    self._check(head, head_hash, body, user_id, asker)
                except Refused as error:
                    raise MoveRefused(error, head.version, head_hash) from None
                move = Move(to=body.to, user_id=user_id, change_id=change_id)
                step = await self._step(log, loaded, asker, move)
                assert step.head is not None, "a transition makes a version"
                answer = TransitionAnswer(
                    document_id=document_id,
                    version=step.head.version,
                    state=body.to,
                    content_hash=head_hash,
                )
                kept_until = asker.now_ms + self._rules.keeping.outcomes_ms
                remembered = Remembered(digest=digest, answer=msgspec.Raw(records.encode(answer)))
                step.put.append(records.put(change, remembered, expires_at=kept_until))
                step.expect.append((change, ABSENT))
                if await self._commit(log, lane, step) is not None:
                    self._begun(organization_id, document_id, step, user_id, asker)
                    return answer
        raise Unavailable(f"{TRIES} tries were each overtaken by another node", code="contention")

    async def fact(
        self, organization_id: str, document_id: str, to: State, user_id: str, change_id: str, draft: Draft
    ) -> Committed | None:
        """Publish a fact about a document, and move it on if that is allowed; None if the document is not held.

        Raises: Unavailable, EventIdReused.
        """
        log = LogName(organization_id)
        async with self._lanes.turn(log, document_id) as lane:
            for _ in range(TRIES):
                lane.loaded = loaded = await self._store.load(log, document_id)
                if loaded.head is None:
                    return None
                asker = await self._store.asker(log, records.lease_key(document_id))
                if await self.end_correction(log, lane, loaded, asker):
                    continue
                if is_allowed(loaded.head.state, to):
                    move = Move(to=to, user_id=user_id, change_id=change_id, facts=(draft,))
                    step = await self._step(log, loaded, asker, move)
                else:
                    step = Step(loaded=loaded, events=[draft])
                committed = await self._commit(log, lane, step)
                if committed is not None:
                    return committed
        raise Unavailable(f"{TRIES} tries were each overtaken by another node", code="contention")

    async def end_correction(self, log: LogName, lane: Lane, loaded: Loaded, asker: Asker) -> bool:
        """Take a document whose correction is over back to sent, or go on with it while its holder is there; say whether there was something to do.

        Raises: Unavailable.
        """
        if loaded.head is None or loaded.head.state != "correcting":
            return False
        lease = asker.lease
        if lease is not None and not lease.is_over(asker.now_ms):
            # Whoever began to look after it may have been a process before this one.
            self.leased(log, loaded.document_id, lease, asker.token)
            return False
        if lease is not None and lease.user_id in await self.connected(log):
            # The node that looked after it is gone, or it is another one to which the holder is connected.
            key = records.lease_key(loaded.document_id)
            kept = records.put(key, keep(lease, asker.now_ms), version=asker.token)
            await self._store.engine.commit(log, Commit(expect=((key, asker.token),), put=(kept,)))
            return True
        # Who held it is not known any more where its record is gone.
        user_id = "" if lease is None else lease.user_id
        move = Move(to="sent", user_id=user_id or await self._corrector(log, loaded), change_id=self._new_id("chg"))
        await self._commit(log, lane, await self._step(log, loaded, asker, move))
        lane.loaded = None
        return True

    def content_hash(self, head: Head) -> str:
        """Give the hash of what a signature stands for."""
        return content_hash(self._rules.policy.scope(head.data))

    def _check(self, head: Head, head_hash: str, body: TransitionBody, user_id: str, asker: Asker) -> None:
        if body.version is not UNSET and body.version != head.version:
            raise Refused(
                f"the document is at version {head.version}, not at {body.version}",
                code="version_mismatch",
                reason="precondition",
            )
        sent: str | UnsetType = body.content_hash
        check_transition(
            head.state,
            body.to,
            open_conflicts=head.open_conflicts,
            head_hash=head_hash,
            content_hash=None if sent is UNSET else sent,
            user_id=user_id,
            lease=asker.lease,
        )

    async def _step(self, log: LogName, loaded: Loaded, asker: Asker, move: Move) -> Step:
        return await self._workshop.do(partial(self._step_of, log, loaded, asker, move), size=loaded.weight)

    def _step_of(self, log: LogName, loaded: Loaded, asker: Asker, move: Move) -> Step:
        head = loaded.head
        assert head is not None, "a document that is held"
        timestamp = format_milliseconds(self._now_ms())
        header = Header(
            version=head.version + 1,
            kind="transition",
            user_id=move.user_id,
            change_id=move.change_id,
            base_version=head.version,
            status="applied",
            state=move.to,
            timestamp=timestamp,
        )
        entry = seal(header, Body(), salt=self._new_secret(), prev_hash=head.hash)
        decided = sealed(
            loaded.open_records,
            move.to,
            version=header.version,
            user_id=move.user_id,
            timestamp=timestamp,
            policy=self._rules.policy,
        )
        step = Step(loaded=loaded, entry=entry, events=list(move.facts), decided=decided)
        step.head = msgspec.structs.replace(
            head, version=header.version, state=move.to, hash=entry.hash, open_conflicts=len(step.open_after().records)
        )
        lease = records.lease_key(loaded.document_id)
        if move.to == "correcting":
            step.expect.append((lease, asker.token))
            step.put.append(records.put(lease, take(move.user_id, asker.now_ms), version=header.version))
        elif head.state == "correcting":
            step.expect.append((lease, asker.token))
            step.delete.append(lease)
        teller = Teller(
            organization_id=log,
            document_id=loaded.document_id,
            change_id=move.change_id,
            user_id=move.user_id,
            timestamp=timestamp,
            max_bytes=self._rules.event_bytes,
        )
        event_type = STATE_EVENTS.get(move.to, "document_updated")
        event_id = self._new_id("evt")
        step.events.append(teller.version(event_type, event_id, header.version, (), head.data, state=move.to))
        if decided:
            step.events.append(teller.resolved(self._new_id("evt"), header.version, "superseded", decided))
        return step

    async def _commit(self, log: LogName, lane: Lane, step: Step) -> Committed | None:
        """Commit; None if somebody else was faster."""
        try:
            outcome = await carry_out(self._store, self._workshop, log, step, self._rules.keeping, self._now_ms())
        except BaseException:
            lane.loaded = None
            raise
        if isinstance(outcome, Reused):
            raise EventIdReused(tuple(outcome.event_ids))
        return None if isinstance(outcome, Stale) else outcome

    def _begun(self, organization_id: str, document_id: str, step: Step, user_id: str, asker: Asker) -> None:
        assert step.head is not None, "a transition makes a version"
        if step.head.state == "correcting":
            self.leased(organization_id, document_id, take(user_id, asker.now_ms), step.head.version)

    async def _corrector(self, log: LogName, loaded: Loaded) -> str:
        """Give who made the newest version: while it is corrected nobody else does."""
        assert loaded.head is not None, "a document that is held"
        (entry,) = await self._store.entries(log, loaded, loaded.head.version, loaded.head.version)
        return entry.header.user_id
