"""Edit a document.

Owns: the loop from an edit to its one commit, what is answered.   Not: what becomes of an edit (documents), what is stored together (commits.py).
Rule 1: an answer means durable; a refusal leaves no trace.   Rule 2: an edit that had an outcome is answered with that, whatever came since.
Rule 3: what was decided on a document held in memory is refused only after a look at the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from signtusk_realtime.documents.conflicts import ConflictRecord, Place
from signtusk_realtime.documents.lease import renew
from signtusk_realtime.documents.manual import refresh
from signtusk_realtime.documents.paths import pointer
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Resolution
from signtusk_realtime.documents.values import Object
from signtusk_realtime.errors import EventIdReused, RealtimeError, Unavailable
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import ABSENT, Commit, Committed, Draft, Key, LogName, Reused, Stale
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.asking import Asking
from signtusk_realtime.operations.documents.attempt import Attempt, DocumentRules
from signtusk_realtime.operations.documents.commits import Step, carry_out, outlived
from signtusk_realtime.operations.documents.lanes import Lane, Lanes
from signtusk_realtime.operations.documents.moves import MoveDocument
from signtusk_realtime.operations.documents.records import Author, Head, Remembered
from signtusk_realtime.operations.documents.store import Asker, DocumentStore, Loaded
from signtusk_realtime.operations.documents.told import Teller
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import EditOutcome

TRIES: Final = 16
_EMPTY: Final[Object] = {}
_decode_outcome: Final = msgspec.json.Decoder(EditOutcome).decode


@dataclass(frozen=True, slots=True)
class Edited:
    """What became of an edit, and where its first event stands, if it made one."""

    outcome: EditOutcome
    placed: Committed | None = None


class EditDocument:
    """See the module. `now_ms`: wall clock; `new_id(prefix)`: a fresh id; `new_secret()`: 128 random bits as text."""

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

    async def __call__(self, organization_id: str, asking: Asking) -> Edited:
        """Carry an edit out, or say why not. Raises: Unavailable (contention too), EventIdReused (of a published one)."""
        log = LogName(organization_id)
        received_at = self._now_ms()
        async with self._lanes.turn(log, asking.document_id) as lane:
            for _ in range(TRIES):
                try:
                    edited = await self._try(log, lane, asking, received_at)
                except BaseException:
                    # Whether a commit without an answer happened is unknown, and so is what it left.
                    lane.loaded = None
                    raise
                if edited is not None:
                    return edited
                lane.loaded = None
        raise Unavailable(f"{TRIES} tries were each overtaken by another node's edit", code="contention")

    async def _try(self, log: LogName, lane: Lane, asking: Asking, received_at: int) -> Edited | None:
        """Try once; None if somebody else was faster, or if what is held in memory would refuse it."""
        is_fresh = lane.loaded is None
        loaded = lane.loaded = lane.loaded or await self._store.load(log, asking.document_id)
        has_number = asking.seq is not None and asking.client_id != ""
        author = records.author_key(asking.document_id, asking.user_id, asking.client_id) if has_number else None
        change = records.change_key(asking.document_id, asking.user_id, asking.client_id, asking.change_id)
        asker = await self._store.asker(log, records.lease_key(asking.document_id), change, author)
        if asker.remembered is not None:
            return await self._repeat(log, loaded, asking, asker.remembered, is_fresh=is_fresh)
        if await self._moves.end_correction(log, lane, loaded, asker):
            return None
        attempt = Attempt(self._store, self._workshop, self._rules, log, loaded, asker, asking, received_at)
        try:
            resolution = await attempt.decide()
        except Refused as error:
            return Edited(refusal(error, asking.change_id, loaded, asker)) if is_fresh else None
        changers = await attempt.changers(resolution.conflicts) if resolution.conflicts else {}
        age = format_milliseconds(received_at - self._rules.keeping.age_ms)
        keeping = await outlived(self._store, log, loaded, attempt.head, self._rules.keeping, received_before=age)
        work = partial(self._step, attempt, resolution, changers, keeping, change)
        try:
            step, outcome = await self._workshop.do(work, size=attempt.weight)
        except Refused as error:
            return Edited(refusal(error, asking.change_id, loaded, asker)) if is_fresh else None
        if author is not None:
            assert asking.seq is not None, "has_number"
            step.expect.append((author, asker.author_version))
            until = asker.now_ms + self._rules.keeping.age_ms
            step.put.append(records.put(author, Author(asking.seq), version=asker.author_version + 1, expires_at=until))
        committed = await carry_out(self._store, self._workshop, log, step, self._rules.keeping, received_at)
        if isinstance(committed, Reused):
            raise EventIdReused(tuple(committed.event_ids))
        if isinstance(committed, Stale):
            return None
        if committed.placed and committed.placed[0].duplicate:
            # The event is known, but the change is not: its outcome is older than what is remembered.
            return None if not is_fresh else Edited(attempt.noop(), committed)
        return Edited(outcome, committed)

    async def _repeat(
        self, log: LogName, loaded: Loaded, asking: Asking, remembered: Remembered, *, is_fresh: bool
    ) -> Edited | None:
        if remembered.digest != asking.digest:
            if not is_fresh:
                return None
            if asking.announced is not None:
                await placed_before(self._store, log, asking.announced.event_id, asking.announced.digest)
            error = Refused(
                f"change {asking.change_id!r} was sent before with another content", code="change_id_reused"
            )
            return Edited(refusal(error, asking.change_id, loaded))
        outcome = msgspec.structs.replace(_decode_outcome(remembered.answer), duplicate=True)
        if asking.announced is None or remembered.event_id is UNSET:
            return Edited(outcome)
        return Edited(outcome, await placed_before(self._store, log, remembered.event_id, asking.announced.digest))

    def _step(
        self,
        attempt: Attempt,
        resolution: Resolution,
        changers: Mapping[Place, str],
        keeping: tuple[int, list[Key]],
        change: Key,
    ) -> tuple[Step, EditOutcome]:
        """Make the commit of an outcome, and the answer. Raises: Refused (limit_exceeded: too much would be open; change_id_reused).

        `keeping`: what `outlived` said of a further version; `change`: where the outcome is kept.
        """
        asking, loaded, head = attempt.asking, attempt.loaded, attempt.head
        timestamp = format_milliseconds(attempt.received_at)
        makes_version = bool(resolution.ops) or loaded.head is None
        version = head.version + 1 if makes_version else head.version
        # Also of an edit that changes nothing: what lost against it is told and kept all the same.
        is_kept = resolution.status != "rejected"
        conflicts = attempt.records_of(
            resolution.conflicts,
            changers,
            version=version,
            timestamp=timestamp,
            new_id=self._new_id if is_kept else None,
        )
        step = Step(loaded=loaded, weight=attempt.weight)
        step.opened = [each for each in conflicts if is_kept and each.status == "open"]
        if step.opened:
            _check_name(asking, loaded.open_records)
        if makes_version:
            refreshed = refresh(
                loaded.open_records,
                resolution.document,
                version=version,
                user_id=asking.user_id,
                timestamp=timestamp,
                policy=self._rules.policy,
            )
            step.refreshed = refreshed.changed
            step.decided = [*refreshed.superseded]
        superseded = list(step.decided)
        step.decided = [*superseded, *(each for each in conflicts if is_kept and each.status != "open")]
        step.bound_open()
        if makes_version:
            step.entry = attempt.entry(resolution, version, conflicts if is_kept else (), timestamp, self._new_secret())
        if makes_version or (is_kept and conflicts):
            step.head = Head(
                version=version,
                start=head.start,
                oldest=keeping[0] if makes_version else head.oldest,
                state=head.state,
                hash=head.hash if step.entry is None else step.entry.hash,
                open_conflicts=len(step.open_after().records),
                data=resolution.document,
            )
        if makes_version:
            step.delete += keeping[1]
        if resolution.parked is not None and step.opened:
            key = records.parked_key(asking.document_id, asking.change_id, asking.user_id)
            step.put.append(records.put(key, resolution.parked))
        if head.state == "correcting" and attempt.asker.lease is not None and makes_version:
            lease = records.lease_key(asking.document_id)
            step.expect.append((lease, attempt.asker.token))
            step.put.append(
                records.put(lease, renew(attempt.asker.lease, attempt.asker.now_ms), version=attempt.asker.token)
            )
        self._tell(step, attempt, resolution, version, timestamp, superseded)
        outcome = EditOutcome(
            change_id=asking.change_id,
            status=resolution.status,
            version=version,
            epoch=loaded.epoch,
            duplicate=False,
            conflicts=conflicts,
            ops=resolution.ops if makes_version else (),
            code="conflict" if resolution.status == "rejected" else UNSET,
        )
        remembered = Remembered(
            digest=asking.digest,
            answer=msgspec.Raw(records.encode(outcome)),
            event_id=step.events[0].event_id if step.events else UNSET,
        )
        until = attempt.asker.now_ms + self._rules.keeping.outcomes_ms
        step.put.append(records.put(change, remembered, expires_at=until))
        step.expect.append((change, ABSENT))
        return step, outcome

    def _tell(
        self,
        step: Step,
        attempt: Attempt,
        resolution: Resolution,
        version: int,
        timestamp: str,
        superseded: Sequence[ConflictRecord],
    ) -> None:
        asking = attempt.asking
        teller = Teller(
            organization_id=attempt.log,
            document_id=asking.document_id,
            change_id=asking.change_id,
            user_id=asking.user_id,
            timestamp=timestamp,
            max_bytes=self._rules.event_bytes,
        )
        announced = asking.announced
        if step.entry is not None or (announced is not None and resolution.status == "noop"):
            if announced is not None:
                step.events.append(
                    teller.version(
                        announced.event_type,
                        announced.event_id,
                        version,
                        resolution.ops,
                        resolution.document,
                        digest=announced.digest,
                        timestamp=announced.timestamp,
                        metadata=announced.metadata,
                    )
                )
            else:
                is_first = version == 1 and attempt.head.start == 1
                name = "document_created" if is_first else "document_updated"
                step.events.append(
                    teller.version(name, self._new_id("evt"), version, resolution.ops, resolution.document)  # type: ignore[arg-type]  # one of the two
                )
        told = [*step.opened, *(each for each in step.decided if each.status == "auto_resolved"), *step.refreshed]
        if told:
            is_open = any(each.status == "open" for each in told)
            if announced is not None and not step.events:
                # A publication that opened conflicts and made no version: its id names the event that tells so.
                told_first = teller.conflict(announced.event_id, version, told, is_open=is_open)
                step.events.append(told_first._replace(digest=announced.digest))
            else:
                step.events.append(teller.conflict(self._new_id("evt"), version, told, is_open=is_open))
        if superseded:
            step.events.append(teller.resolved(self._new_id("evt"), version, "superseded", superseded))


def refusal(
    error: RealtimeError, change_id: str, loaded: Loaded | None = None, asker: Asker | None = None
) -> EditOutcome:
    """Give the answer of an edit that was turned away."""
    head = None if loaded is None else loaded.head
    is_gap = error.code == "seq_gap" and asker is not None
    return EditOutcome(
        change_id=change_id,
        status="refused",
        version=UNSET if head is None else head.version,
        epoch=UNSET if loaded is None or head is None else loaded.epoch,
        duplicate=False,
        conflicts=(),
        ops=(),
        code=error.code,
        reason=(error.reason or UNSET) if isinstance(error, Refused) else UNSET,
        message=error.message,
        path=UNSET if error.path is None else pointer(error.path),
        state=head.state if head is not None and error.code == "document_locked" else UNSET,
        expected_seq=asker.last_seq + 1 if is_gap and asker is not None else UNSET,
    )


async def placed_before(store: DocumentStore, log: LogName, event_id: str, digest: bytes) -> Committed | None:
    """Find where an event stands that was appended before; None if it is no longer kept. Raises: Unavailable, EventIdReused."""
    nowhere = records.head_key("\x1f")
    probe = records.put(nowhere, None)
    # A known first id is answered before anything is expected; an unknown one meets an expectation that never holds.
    outcome = await store.engine.commit(
        log, Commit(events=(Draft(event_id, digest, (), b""),), expect=((nowhere, 1),), put=(probe,))
    )
    if isinstance(outcome, Reused):
        raise EventIdReused(tuple(outcome.event_ids))
    return outcome if isinstance(outcome, Committed) else None


def _check_name(asking: Asking, open_records: Sequence[ConflictRecord]) -> None:
    """Refuse a name that another client of this user gave to a change which is still to be decided: by it and the user the change is kept."""
    if any(one.change_id == asking.change_id and one.incoming_user_id == asking.user_id for one in open_records):
        raise Refused(
            f"a change {asking.change_id!r} of another client of this user is still to be decided; give this one another changeId",
            code="change_id_reused",
        )
