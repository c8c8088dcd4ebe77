"""One try of one edit on one state of its document: what is decided from both.

Owns: putting what was read into the pure rules, the entry and the records of an outcome.   Not: the rules (documents), trying again and
committing (edit.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from msgspec import UNSET

from signtusk_realtime.documents.base import Asked, Base, Versionless, authors_view, choose, told_base
from signtusk_realtime.documents.conflicts import Conflict, ConflictRecord, Place, record
from signtusk_realtime.documents.edit import put_on, put_seen
from signtusk_realtime.documents.history import Body, Entry, EntryKind, Header, seal
from signtusk_realtime.documents.ops import Op, diff, touched
from signtusk_realtime.documents.paths import Path, parse_pointer
from signtusk_realtime.documents.policy import Policy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Resolution, resolve
from signtusk_realtime.documents.states import check_editable
from signtusk_realtime.documents.values import MAX_DOCUMENT_BYTES, MAX_VALUES, Json, Object, equal, has_too_many
from signtusk_realtime.events.instants import format_milliseconds
from signtusk_realtime.events.log import LogName
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.asking import Asking
from signtusk_realtime.operations.documents.commits import Keeping
from signtusk_realtime.operations.documents.records import Head
from signtusk_realtime.operations.documents.store import RECENT, Asker, DocumentStore, Loaded, weight_of
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.protocol.edits import EditOutcome

BLAMED: Final = 4 * RECENT
"""How many versions before its base are looked through for who last changed a place that an edit clashes with."""
_EMPTY: Final[Object] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRules:
    """What holds for all documents of a service. `window_ms`: a version younger than this may not have reached an author without a base."""

    policy: Policy
    versionless: Versionless = "infer"
    window_ms: int = 30_000
    keeping: Keeping = field(default_factory=Keeping)
    event_bytes: int = 262_144


class Attempt:
    """See the module."""

    def __init__(
        self,
        store: DocumentStore,
        workshop: Workshop,
        rules: DocumentRules,
        log: LogName,
        loaded: Loaded,
        asker: Asker,
        asking: Asking,
        received_at: int,
    ) -> None:
        self.log = log
        self.loaded = loaded
        self.asker = asker
        self.asking = asking
        self.received_at = received_at
        start = 1 if asking.is_creation else 0
        self.head = loaded.head or Head(version=0, start=start, oldest=0, data=_EMPTY)
        self.base = Base(0)
        self._store = store
        self._workshop = workshop
        self._rules = rules
        self._since: list[Entry] = []
        """Entries after the base, oldest first."""
        self.weight = loaded.weight + asking.size
        """How much there is to work on, in bytes."""

    async def decide(self) -> Resolution:
        """Find base and author's view, and resolve. Raises: Refused, Unavailable."""
        asking, loaded, rules = self.asking, self.loaded, self._rules
        self._check_number()
        if loaded.head is None:
            return await self._begin()
        if asking.is_creation and self.head.state != "deleted":
            head = self.head.data
            if await self._workshop.do(lambda: equal(put_on(_EMPTY, asking.edit), head), size=self.weight):
                return Resolution("noop", self.head.data, (), (), ())
            raise Refused(f"the document exists, at version {self.head.version}", code="already_exists")
        lease = self.asker.lease
        check_editable(
            self.head.state,
            asking.edit.paths,
            rules.policy,
            user_id=asking.user_id,
            lease=None if lease is None or lease.is_over(self.asker.now_ms) else lease,
        )
        asked = self._asked()
        self.base = await self._choose(asked)
        if self.base.version != self.head.version:
            # Merging costs more than comparing, texts most of all: up to 16 ms for one of 2 KB.
            self.weight += loaded.size + 15 * asking.size
        document = await self._document(asked)
        self._since = await self._store.entries(self.log, loaded, self.base.version + 1, self.head.version)
        self.weight += weight_of(self._since)
        own = [records.own_commit(entry) for entry in self._since if self._is_own(entry)]
        current = self.head.data

        def work() -> Resolution:
            view = authors_view(document, own)
            if self.base.with_seen:
                view = put_seen(view, asking.seen)
            resolution = resolve(view, current, put_on(view, asking.edit), rules.policy, asking.strategy)
            if self.head.state == "signing":
                # An edit that wins against a deletion brings back more than the place it names.
                check_editable("signing", _reached(resolution), rules.policy)
            return _within_limits(resolution, current)

        return await self._workshop.do(work, size=self.weight)

    async def _begin(self) -> Resolution:
        asking = self.asking
        if not asking.is_creation and not asking.adopts:
            raise Refused("there is no such document; baseVersion 0 creates it", code="unknown_document")
        if asking.epoch not in (None, self.loaded.epoch):
            raise Refused("the log began anew, without this document", code="version_mismatch", reason="epoch")
        if asking.if_version not in (None, 0):
            raise Refused("the document begins with this edit", code="version_mismatch", reason="precondition")
        if asking.base_version not in (None, 0):
            raise Refused(
                f"version {asking.base_version} is to come; the document begins with this edit",
                code="version_mismatch",
                reason="future",
            )

        def work() -> Resolution:
            made = put_on(_EMPTY, asking.edit)
            ops = diff(_EMPTY, made)
            return _within_limits(Resolution("applied", made, ops, (), ops), _EMPTY)

        return await self._workshop.do(work, size=self.weight)

    def _check_number(self) -> None:
        asking = self.asking
        if asking.seq is None or asking.client_id == "":
            return
        expected = self.asker.last_seq + 1
        if asking.seq != expected:
            raise Refused(f"number {expected} is expected of this client, {asking.seq} came", code="seq_gap")

    def _asked(self) -> Asked:
        asking = self.asking
        return Asked(
            base_version=asking.base_version,
            epoch=asking.epoch,
            if_version=asking.if_version,
            seen=asking.seen.keys(),
            touched=asking.edit.paths,
            is_record=asking.is_record,
        )

    async def _document(self, asked: Asked) -> Object:
        """Give the document at the base; at the head where somebody's values were erased on the way to it, and the author says what he saw."""
        try:
            return await self._store.at(self.log, self.loaded, self.base.version)
        except Refused:
            told = told_base(asked, self.loaded.known)
            if told is None:
                raise
            self.base = told
            return self.head.data

    async def _choose(self, asked: Asked) -> Base:
        asking, loaded, rules = self.asking, self.loaded, self._rules
        newest_own: int | None = None
        newest_seen: int | None = None
        infers = rules.versionless == "infer" and not asking.is_record
        if asking.base_version is None and not asking.seen and infers:
            seen_before = format_milliseconds(self.received_at - rules.window_ms)
            newest_seen = await self._store.newest_seen(self.log, loaded, seen_before)
            after = max(newest_seen or 0, self.head.oldest)
            newest_own = await self._store.newest_own(self.log, loaded, asking.user_id, after)
        return choose(
            asked,
            loaded.known,
            newest_own=newest_own,
            newest_seen=newest_seen,
            versionless=rules.versionless,
        )

    def _is_own(self, entry: Entry) -> bool:
        asking, header = self.asking, entry.header
        if header.user_id != asking.user_id:
            return False
        if asking.client_id:
            seq = header.seq
            is_later = asking.seq is not None and seq is not UNSET and seq >= asking.seq
            return header.client_id == asking.client_id and not is_later
        return asking.connection_id is not None and header.connection_id == asking.connection_id

    def entry(
        self,
        resolution: Resolution,
        version: int,
        conflicts: Sequence[ConflictRecord],
        timestamp: str,
        salt: str,
    ) -> Entry:
        """Make the entry of the version that this edit makes."""
        asking = self.asking
        kind: EntryKind = "adopt" if self.loaded.head is None and not asking.is_creation else "edit"
        header = Header(
            version=version,
            kind=kind,
            user_id=asking.user_id,
            client_id=asking.client_id,
            connection_id="" if asking.client_id else asking.connection_id or "",
            change_id=asking.change_id,
            seq=UNSET if asking.seq is None else asking.seq,
            base_version=self.base.version,
            status=resolution.status,
            conflicts=[str(each.conflict_id) for each in conflicts],
            timestamp=timestamp,
        )
        change: Json = dict(asking.change)  # type: ignore[arg-type]  # it was read as JSON
        body = Body(change=change, changed=resolution.changed, ops=resolution.ops, paths=touched(resolution.ops))
        return seal(header, body, salt=salt, prev_hash=self.head.hash)

    async def changers(self, conflicts: Sequence[Conflict]) -> dict[Place, str]:
        """Find who last changed each place that clashes: mostly since the base, but before it where the author said what he had seen, or a
        reference broke. Raises: Unavailable.
        """
        left = {_blamed(each) for each in conflicts}
        found: dict[Place, str] = {}
        entries, last = self._since, self.base.version
        lowest = max(self.head.oldest, last - BLAMED)
        while left:
            size = self.weight + weight_of(entries)
            found |= await self._workshop.do(partial(_changers, entries, left), size=size)
            left -= found.keys()
            if last <= lowest:
                break
            first = max(lowest, last - RECENT) + 1
            entries = await self._store.entries(self.log, self.loaded, first, last) if left else []
            last = first - 1
        somebody = self._since[-1].header.user_id if self._since else self.asking.user_id
        return found | dict.fromkeys(left, somebody)

    def records_of(
        self,
        conflicts: Sequence[Conflict],
        changers: Mapping[Place, str],
        *,
        version: int,
        timestamp: str,
        new_id: Callable[[str], str] | None,
    ) -> list[ConflictRecord]:
        """Make the records of conflicts, given what `changers` found; without `new_id` they are only shown."""
        asking = self.asking
        return [
            record(
                each,
                conflict_id=UNSET if new_id is None else new_id("cfl"),
                document_id=asking.document_id,
                change_id=asking.change_id,
                user_id=changers[_blamed(each)],
                incoming_user_id=asking.user_id,
                base_version=self.base.version,
                current_version=version,
                certainty=self.base.certainty,
                timestamp=timestamp,
            )
            for each in conflicts
        ]

    def noop(self) -> EditOutcome:
        """Give the answer of an edit that changes nothing."""
        return EditOutcome(
            change_id=self.asking.change_id,
            status="noop",
            version=self.head.version,
            epoch=self.loaded.epoch,
            duplicate=True,
            conflicts=(),
            ops=(),
        )


def _reached(resolution: Resolution) -> Iterator[Path]:
    """Give every place that an outcome changes, or leaves to be decided."""
    yield from (parse_pointer(op.path) for op in resolution.ops)
    yield from (conflict.place.path for conflict in resolution.conflicts)


def _blamed(conflict: Conflict) -> Place:
    return conflict.place if conflict.refers_to is None else Place(conflict.refers_to)


def _changers(entries: Sequence[Entry], places: Iterable[Place]) -> dict[Place, str]:
    """Find for each place the newest entry that changed it, what it lies in, or what lies in it."""
    found: dict[Place, str] = {}
    left = set(places)
    for entry in reversed(entries):
        if not left or entry.body is None:
            continue
        hit = set(filter(_Changed(entry.body.ops).holds, left))
        found |= dict.fromkeys(hit, entry.header.user_id)
        left -= hit
    return found


class _Changed:
    """What operations change. An order is no change of the elements, nor are these one of their order, but for those that come and go.

    A group is its members: what else its object has does not concern it.
    """

    def __init__(self, ops: Iterable[Op]) -> None:
        self._paths, self._orders = set[Path](), set[Path]()
        for op in ops:
            (self._orders if op.op == "order" else self._paths).add(parse_pointer(op.path))
        self._parents = {path[:-1] for path in self._paths}
        self._around = {path[:depth] for path in self._paths for depth in range(len(path))}
        self._around |= {path[:depth] for path in self._orders for depth in range(len(path) + 1)}

    def holds(self, place: Place) -> bool:
        """Say whether a place is among it."""
        path = place.path
        if any(path[:depth] in self._paths for depth in range(len(path) + 1)):
            return True
        if place.is_order:
            return path in self._orders or path in self._parents
        if place.members:
            members = [(*path, name) for name in place.members]
            return any(member in self._paths or member in self._around for member in members)
        return path in self._around


def _within_limits(resolution: Resolution, before: Object) -> Resolution:
    if resolution.document is not before and resolution.ops:
        check_size(resolution.document)
    return resolution


def check_size(document: Object) -> None:
    """See that a document is not too large. Raises: Refused (document_too_large; limit_exceeded for the number of its values)."""
    encoded = records.encode(document)
    size = len(encoded)
    if size > MAX_DOCUMENT_BYTES:
        raise Refused(
            f"the document would have {size} bytes; at most {MAX_DOCUMENT_BYTES} are allowed", code="document_too_large"
        )
    if has_too_many(document, encoded):
        raise Refused(f"the document would hold more than {MAX_VALUES} values", code="limit_exceeded")
