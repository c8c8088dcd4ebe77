"""Decide open conflicts of a document.

Owns: the loop from a decision to its one commit.   Not: what a decision makes of the document (documents/manual.py).
Rule: a call is one audited version for all it decides, also where the content stays; or nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord, place_of
from signtusk_realtime.documents.history import Body, Header, seal
from signtusk_realtime.documents.manual import (
    Decision,
    Settled,
    check_decisions,
    decisions_for,
    is_by_invariant,
    refresh,
    settle,
)
from signtusk_realtime.documents.ops import touched
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.states import check_editable, check_unsealed
from signtusk_realtime.documents.values import check_value
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import ABSENT, Committed, LogName
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.attempt import DocumentRules, check_size
from signtusk_realtime.operations.documents.commits import Step, carry_out
from signtusk_realtime.operations.documents.lanes import Lane, Lanes
from signtusk_realtime.operations.documents.moves import MoveDocument
from signtusk_realtime.operations.documents.records import Head, Remembered
from signtusk_realtime.operations.documents.store import MAX_OPEN, Asker, DocumentStore, Loaded
from signtusk_realtime.operations.documents.told import Teller
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import ResolveAnswer, ResolveBody

TRIES: Final = 16
_WORDS: Final = {"current": "reject", "incoming": "overwrite", "merge": "merge"}
_decode_answer: Final = msgspec.json.Decoder(ResolveAnswer).decode


class DecisionRefused(Refused):
    """A decision met another record than it was made for: `conflict` is that record as it is now, if there is one."""

    def __init__(self, error: Refused, conflict: ConflictRecord | None) -> None:
        super().__init__(error.message, code=str(error.code), conflict_id=error.conflict_id)
        self.conflict = conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    log: LogName
    document_id: str
    body: ResolveBody
    resolved_by: str
    change_id: str


class ResolveConflicts:
    """See the module. The arguments are those of EditDocument, and what ends a correction that is over."""

    def __init__(
        self,
        store: DocumentStore,
        lanes: Lanes,
        workshop: Workshop,
        rules: DocumentRules,
        moves: MoveDocument,
        *,
        now_ms: Callable[[], int],
        new_id: Callable[[str], str],
        new_secret: Callable[[], str],
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._workshop = workshop
        self._rules = rules
        self._moves = moves
        self._now_ms = now_ms
        self._new_id = new_id
        self._new_secret = new_secret

    async def __call__(
        self, organization_id: str, document_id: str, resolved_by: str, body: ResolveBody
    ) -> ResolveAnswer:
        """Carry decisions out. Raises: InvalidInput (neither or both forms), Refused, DecisionRefused, Unavailable (contention too)."""
        if (body.resolution is UNSET) == (body.decisions is UNSET) or (
            body.decisions is not UNSET and not body.decisions
        ):
            raise InvalidInput("give either resolution, or decisions with at least one", path=("resolution",))
        call = _Call(
            log=LogName(organization_id),
            document_id=document_id,
            body=body,
            resolved_by=resolved_by,
            change_id=self._new_id("chg") if body.change_id is UNSET else body.change_id,
        )
        async with self._lanes.turn(call.log, document_id) as lane:
            for _ in range(TRIES):
                answer = await self._try(call, lane)
                if answer is not None:
                    return answer
        raise Unavailable(f"{TRIES} tries were each overtaken by another node", code="contention")

    async def _try(self, call: _Call, lane: Lane) -> ResolveAnswer | None:
        lane.loaded = loaded = await self._store.load(call.log, call.document_id)
        change = records.change_key(call.document_id, call.resolved_by, "", call.change_id)
        asker = await self._store.asker(call.log, records.lease_key(call.document_id), change)
        digest = hashlib.sha256(records.encode(call.body)).hexdigest()
        if asker.remembered is not None:
            if asker.remembered.digest != digest:
                raise Refused(
                    f"change {call.change_id!r} was sent before with another content", code="change_id_reused"
                )
            return _decode_answer(asker.remembered.answer)
        if await self._moves.end_correction(call.log, lane, loaded, asker):
            return None
        head = loaded.head
        if head is None:
            raise Refused("there is no such document", code="unknown_document")
        if not loaded.open_records:
            check_unsealed(head.state)
        decisions = await self._decisions(call, loaded)
        word = _word_of(call.body, decisions)
        if not decisions:
            return _answer(call, word, head.version)
        step = await self._step(call, loaded, asker, decisions, word)
        assert step.head is not None, "a decision makes a version"
        answer = _answer(call, word, step.head.version)
        kept_until = asker.now_ms + self._rules.keeping.outcomes_ms
        remembered = Remembered(digest=digest, answer=msgspec.Raw(records.encode(answer)))
        step.put.append(records.put(change, remembered, expires_at=kept_until))
        step.expect.append((change, ABSENT))
        try:
            outcome = await carry_out(self._store, self._workshop, call.log, step, self._rules.keeping, self._now_ms())
        except BaseException:
            lane.loaded = None
            raise
        return answer if isinstance(outcome, Committed) else None

    async def _decisions(self, call: _Call, loaded: Loaded) -> tuple[Decision, ...]:
        if call.body.resolution is not UNSET:
            return decisions_for(loaded.open_records, call.body.resolution, call.document_id)
        assert call.body.decisions is not UNSET, "checked by the caller"
        asked = call.body.decisions
        if len(asked) > MAX_OPEN:
            raise Refused(f"{len(asked)} decisions; at most {MAX_OPEN} are taken at once", code="limit_exceeded")

        def read() -> tuple[Decision, ...]:
            return tuple(
                Decision(
                    one.conflict_id, one.rev, one.take, UNSET if one.value is UNSET else check_value(one.value, ())
                )
                for one in asked
            )

        # Whatever a value holds, a decision is worth about a hundred bytes of work and its values are bounded by the body.
        decisions = await self._workshop.do(read, size=max(loaded.weight, 100 * len(asked)))
        known = {str(record.conflict_id): record for record in loaded.open_records}
        missing = [one.conflict_id for one in decisions if one.conflict_id not in known]
        if missing:
            keys = [records.decided_key(call.document_id, one) for one in missing]
            snapshot = await self._store.engine.records(call.log, [records.exact(key) for key in keys])
            for found in snapshot.results:
                known |= {str(r.conflict_id): r for r in map(records.decode_conflict, (one.value for one in found))}
        try:
            await self._workshop.do(partial(check_decisions, known.values(), decisions), size=loaded.weight)
        except Refused as error:
            raise DecisionRefused(error, known.get(str(error.conflict_id))) from None
        return decisions

    async def _step(self, call: _Call, loaded: Loaded, asker: Asker, decisions: Sequence[Decision], word: str) -> Step:
        head, policy = loaded.head, self._rules.policy
        assert head is not None, "a document that is held"
        lease = asker.lease

        def check() -> tuple[tuple[ConflictRecord, Decision], ...]:
            decided = check_decisions(loaded.open_records, decisions)
            check_editable(
                head.state,
                [place_of(record.path, record.reason, policy).path for record, _ in decided],
                policy,
                user_id=call.resolved_by,
                lease=None if lease is None or lease.is_over(asker.now_ms) else lease,
            )
            return decided

        decided = await self._workshop.do(check, size=loaded.weight)
        timestamp = format_milliseconds(self._now_ms())
        settled = await self._settle(call, loaded, head, decided, timestamp)
        work = partial(self._step_of, call, loaded, head, decisions, word, settled, timestamp)
        return await self._workshop.do(work, size=loaded.weight)

    def _step_of(
        self,
        call: _Call,
        loaded: Loaded,
        head: Head,
        decisions: Sequence[Decision],
        word: str,
        settled: Settled,
        timestamp: str,
    ) -> Step:
        policy = self._rules.policy
        version = head.version + 1
        done = {record.conflict_id for record in settled.records}
        refreshed = refresh(
            (record for record in loaded.open_records if record.conflict_id not in done),
            settled.document,
            version=version,
            user_id=call.resolved_by,
            timestamp=timestamp,
            policy=policy,
            decided=settled.records,
        )
        header = Header(
            version=version,
            kind="resolve",
            user_id=call.resolved_by,
            change_id=call.change_id,
            base_version=head.version,
            status="applied",
            conflicts=[str(record.conflict_id) for record in settled.records],
            timestamp=timestamp,
        )
        authors = {record.conflict_id: record.incoming_user_id for record in settled.records}
        told = [_told(one, authors.get(one.conflict_id)) for one in decisions]
        body = Body(
            change=msgspec.to_builtins({"resolution": word, "decisions": told}),
            changed=settled.ops,
            ops=settled.ops,
            paths=touched(settled.ops),
        )
        entry = seal(header, body, salt=self._new_secret(), prev_hash=head.hash)
        step = Step(
            loaded=loaded,
            entry=entry,
            refreshed=refreshed.changed,
            decided=(*settled.records, *refreshed.superseded),
        )
        step.bound_open()
        open_conflicts = len(step.open_after().records)
        step.head = msgspec.structs.replace(
            head, version=version, hash=entry.hash, open_conflicts=open_conflicts, data=settled.document
        )
        teller = Teller(
            organization_id=call.log,
            document_id=call.document_id,
            change_id=call.change_id,
            user_id=call.resolved_by,
            timestamp=timestamp,
            max_bytes=self._rules.event_bytes,
        )
        evt = self._new_id
        step.events.append(teller.version("document_updated", evt("evt"), version, settled.ops, settled.document))
        step.events.append(teller.resolved(evt("evt"), version, word, settled.records))
        if refreshed.changed:
            step.events.append(teller.conflict(evt("evt"), version, refreshed.changed, is_open=True))
        if refreshed.superseded:
            step.events.append(teller.resolved(evt("evt"), version, "superseded", refreshed.superseded))
        return step

    async def _settle(
        self,
        call: _Call,
        loaded: Loaded,
        head: Head,
        decided: Sequence[tuple[ConflictRecord, Decision]],
        timestamp: str,
    ) -> Settled:
        """Carry decisions out on the document, in their order."""
        whole = {(record.incoming_user_id, record.change_id) for record, _ in decided if is_by_invariant(record)}
        keys = {pair: records.parked_key(call.document_id, pair[1], pair[0]) for pair in sorted(whole)}
        kept = await self._store.parked(call.log, list(keys.values()))
        policy = self._rules.policy

        def work() -> Settled:
            parked = {edit: kept[key] for edit, key in keys.items() if key in kept}
            settled = settle(
                head.data, decided, parked, policy=policy, resolved_by=call.resolved_by, timestamp=timestamp
            )
            check_size(settled.document)
            return settled

        # Text may have to be merged: as in attempt.py.
        return await self._workshop.do(work, size=2 * loaded.weight + 15 * loaded.open_bytes)


def _word_of(body: ResolveBody, decisions: Sequence[Decision]) -> str:
    if body.resolution is not UNSET:
        return body.resolution
    takes = {decision.take for decision in decisions}
    return _WORDS.get(takes.pop(), "manual") if len(takes) == 1 else "manual"


def _told(decision: Decision, author: str | None) -> dict[str, object]:
    """Tell a decision to the history, whose change it was about too: that is known there when the conflict is no longer kept."""
    told: dict[str, object] = {"conflictId": decision.conflict_id, "rev": decision.rev, "take": decision.take}
    if author is not None:
        told["incomingUserId"] = author
    return told if decision.value is UNSET else told | {"value": decision.value}


def _answer(call: _Call, word: str, version: int) -> ResolveAnswer:
    return ResolveAnswer(
        success=True,
        document_id=call.document_id,
        resolution=word,
        resolved_by=call.resolved_by,
        version=version,
    )
