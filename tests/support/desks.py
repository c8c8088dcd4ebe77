"""Documents as one node carries them out, without a server; and whether everything that is stored of them agrees.

Owns: `Desk` (the verbs of one node over an engine), `LoopClock`, and `Shelf`: an organization's documents read raw and judged.
Not: what an edit leads to (the tests say so), engines (engines.py).
Rule 1: two desks over one engine are two nodes.   Rule 2: the judge reads records and log entries as JSON; it folds histories by itself and
shares with what it judges nothing but `apply` and `verify`, which have suites of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import UNSET, convert, to_builtins

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.history import Entry, verify
from signtusk_realtime.documents.ops import apply
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.values import Object
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.log import LogName, Range, Record
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.attempt import DocumentRules
from signtusk_realtime.operations.documents.documents import make_documents
from signtusk_realtime.operations.documents.read import DocumentAnswer
from signtusk_realtime.operations.publish import Publish, PublishResult
from signtusk_realtime.protocol.edits import EditBody, EditOutcome, ResolveAnswer, ResolveBody, TransitionBody
from signtusk_realtime.protocol.json import canonical_digest
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import PUBLISH, Identity
from tests.support.delivery import Names
from tests.support.engines import START_MS

ORGANIZATION: Final = "org123"
DOCUMENT_EVENTS: Final = frozenset(
    f"document_{what}" for what in ("created", "updated", "deleted", "signed", "completed")
)
_ALL: Final = 100_000


class LoopClock:
    """Wall time that goes with the loop's, so that it passes on a virtual clock; `ahead_ms` is more that has passed."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return START_MS + self.ahead_ms + round(asyncio.get_running_loop().time() * 1000)


def member(user_id: str) -> Identity:
    """Give a member who may publish."""
    return Identity(user_id=user_id, organization_id=ORGANIZATION, scopes=frozenset({PUBLISH}))


class Desk:
    """See the module. Ids of changes are made up where none is given; `by` is the user."""

    def __init__(
        self,
        engine: Engine,
        clock: Any,
        *,
        names: Names | None = None,
        rules: DocumentRules | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.engine = engine
        self.names = names or Names()
        # Who is connected here answers no pings.
        self.hub = hub or Hub(engine, heartbeat_interval_s=1e6)
        self.documents = make_documents(
            engine,
            self.hub,
            rules or DocumentRules(policy=PLAIN),
            now_ms=clock,
            new_id=self.names,
            new_secret=lambda: self.names("salt"),
        )
        self.publisher = Publish(engine, now_ms=clock, new_id=self.names, documents=self.documents)

    async def close(self) -> None:
        await self.documents.close()

    async def edit(
        self,
        by: str | Identity = "ann",
        document: str = "d1",
        *,
        connection: str | None = None,
        **body: Any,
    ) -> EditOutcome:
        """Edit; `body` has the names of the wire."""
        identity = by if isinstance(by, Identity) else member(by)
        asked = convert({"changeId": self.names("chg")} | body, EditBody)
        return await self.documents.edit(identity, document, asked, connection_id=connection)

    async def create(self, document: str = "d1", by: str = "ann", **data: Any) -> EditOutcome:
        """Create a document, which must succeed."""
        outcome = await self.edit(by, document, baseVersion=0, changes=data)
        assert (outcome.status, outcome.version) == ("applied", 1), outcome
        return outcome

    async def publish(self, *events: dict[str, Any], by: str = "app", **options: Any) -> tuple[PublishResult, ...]:
        """Publish events as they are on the wire."""
        sent = [Publication(convert(each, Published), canonical_digest(json.dumps(each))) for each in events]
        return await self.publisher(member(by), sent, is_batch=len(sent) > 1, **options)

    async def update(self, document: str = "d1", **event: Any) -> PublishResult:
        """Publish one document_update."""
        default = {"kind": "document_update", "type": "updated", "documentId": document, "userId": "ann"}
        (result,) = await self.publish(default | event)
        return result

    async def move(self, to: str, by: str = "ann", document: str = "d1", **body: Any) -> Any:
        """Move a document on; `contentHash=...` is filled in with the truth."""
        if body.get("contentHash") is ...:
            body["contentHash"] = (await self.read(document)).content_hash
        asked = convert({"to": to} | body, TransitionBody)
        return await self.documents.move(member(by), document, asked)

    async def resolve(self, by: str = "ann", document: str = "d1", **body: Any) -> ResolveAnswer:
        """Decide conflicts."""
        return await self.documents.resolve(member(by), document, convert(body, ResolveBody))

    async def read(self, document: str = "d1", by: str = "ann", **asked: Any) -> DocumentAnswer:
        """Read a document."""
        return await self.documents.read(member(by), document, **asked)

    async def opened(self, document: str = "d1", *, with_decided: bool = False) -> list[dict[str, Any]]:
        """Give conflict records as they are on the wire."""
        found = await self.documents.conflicts(member("ann"), document, with_decided=with_decided)
        return [to_builtins(each) for each in found.conflicts]

    async def data(self, document: str = "d1") -> Object:
        """Give what stands in a document."""
        return (await self.read(document)).data

    async def events(self, *types: str) -> list[dict[str, Any]]:
        """Give the organization's events, of these types if any are named."""
        shelf = await read_shelf(self.engine)
        return [event for event in shelf.events if not types or event["type"] in types]


@dataclass
class Shelf:
    """All that is stored of an organization's documents."""

    heads: dict[str, records.Head] = field(default_factory=dict)
    histories: defaultdict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    snapshots: defaultdict[str, dict[int, Object]] = field(default_factory=lambda: defaultdict(dict))
    states: defaultdict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """By the version that led there."""
    opened: defaultdict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    parked: Counter[str] = field(default_factory=Counter)
    leases: set[str] = field(default_factory=set)
    statistics: records.Statistics = field(default_factory=records.Statistics)
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    """Of the events, as the log knows them."""
    everything: dict[tuple[str, str], tuple[int, bytes]] = field(default_factory=dict)
    """All records, but for those of statistics, to be compared whole."""

    def faults(self) -> list[str]:
        """Say what does not agree."""
        found = [fault for document in self.heads for fault in self._faults_of(document)]
        found += [f"{document}: stored without a head" for document in self.histories if document not in self.heads]
        if self.ids != [event["id"] for event in self.events]:
            found.append("an event says that it has another id than the log knows it by")
        counted = records.Statistics(
            sum(len(each) for each in self.opened.values()),
            sum(len({(r["changeId"], r["incomingUserId"]) for r in each}) for each in self.opened.values()),
            sum(1 for each in self.opened.values() if each),
        )
        if self.statistics != counted:
            found.append(f"statistics are {self.statistics}, but there are {counted}")
        return found

    def _faults_of(self, document: str) -> list[str]:
        head, entries = self.heads[document], self.histories[document]
        found: list[str] = []
        versions = [entry.header.version for entry in entries]
        if versions != list(range(head.oldest + 1, head.version + 1)):
            return [f"{document}: versions are {versions}, the head is {head.version} and the oldest {head.oldest}"]
        verdict = verify(entries, prev_hash=None if head.oldest else "0" * 64, first_version=head.oldest + 1)
        if verdict.integrity != "intact" or (entries and entries[-1].hash != head.hash):
            found.append(f"{document}: the chain is {verdict}")
        data = self.snapshots[document][head.oldest] if head.oldest else {}
        state = "draft"
        for entry in entries:
            assert entry.body is not None
            data = apply(data, entry.body.ops)
            if entry.header.kind != "transition" and state not in ("draft", "correcting"):
                found.append(f"{document}: version {entry.header.version} is a change of what was {state}")
            state = state if entry.header.state is UNSET else entry.header.state
            found += self._told(document, entry, data)
            kept = self.snapshots[document].get(entry.header.version)
            if (kept is not None) != (entry.header.version % records.SNAPSHOT_EVERY == 0) or (
                kept is not None and kept != data
            ):
                found.append(f"{document}: the snapshot of version {entry.header.version} is wrong")
        if json.dumps(data) != json.dumps(head.data):
            found.append(f"{document}: the fold is {data}, the head has {head.data}")
        kept_states = {e.header.version: e.header.state for e in entries if e.header.state is not UNSET}
        before = [version for version in self.states[document] if version <= head.oldest]
        if len(before) > 1 or {v: s for v, s in self.states[document].items() if v not in before} != kept_states:
            found.append(f"{document}: the states are {self.states[document]}, its history says {kept_states}")
        if not head.oldest and state != head.state:
            found.append(f"{document}: the state is {head.state}, its history says {state}")
        if head.open_conflicts != len(self.opened[document]):
            found.append(f"{document}: {head.open_conflicts} conflicts are open, {len(self.opened[document])} stored")
        if self.parked[document] != len({(r["changeId"], r["incomingUserId"]) for r in self.opened[document]}):
            found.append(f"{document}: {self.parked[document]} changes are parked for {self.opened[document]}")
        if self.opened[document] and head.state in ("signing", "completed", "deleted"):
            found.append(f"{document}: conflicts are open that nobody may decide, the document is {head.state}")
        if (document in self.leases) != (head.state == "correcting"):
            found.append(
                f"{document}: {head.state} with a lease" if document in self.leases else f"{document}: no lease"
            )
        return found

    def _told(self, document: str, entry: Entry, data: Object) -> list[str]:
        """I5: one document event for each version, which says what the version did."""
        assert entry.body is not None
        version = entry.header.version
        own = [
            event["payload"]
            for event in self.events
            if event["type"] in DOCUMENT_EVENTS
            and event["payload"]["documentId"] == document
            and event["payload"].get("version") == version
        ]
        of_others = [each for each in own if each["changeId"] != entry.header.change_id]
        own = [each for each in own if each["changeId"] == entry.header.change_id]
        if len(own) != 1:
            return [f"{document}: version {version} has {len(own)} events"]
        if any(each["ops"] or each["changes"] for each in of_others):
            return [f"{document}: version {version} is told by {of_others} too"]
        (payload,) = own
        ops = list(to_builtins(entry.body.ops))
        fields = {op["path"].split("/")[1].replace("~1", "/").replace("~0", "~") for op in ops}
        changes = {name: data[name] for name in data if name in fields}
        if payload.get("truncated"):
            return []
        if (payload["ops"], payload["changes"], set(payload.get("removed", []))) != (
            ops,
            changes,
            fields - data.keys(),
        ):
            return [f"{document}: version {version} is told as {payload}, and did {ops}"]
        return (
            [] if payload["userId"] == entry.header.user_id else [f"{document}: version {version} is told of another"]
        )


async def read_shelf(engine: Engine, organization: str = ORGANIZATION) -> Shelf:
    """Read everything from one view, and the events."""
    log, shelf = LogName(organization), Shelf()
    names = (
        records.DOCUMENTS,
        records.HISTORY,
        records.SNAPSHOTS,
        records.STATES,
        records.OPEN,
        records.PARKED,
        records.LEASES,
        records.STATISTICS,
        records.CHANGES,
        records.AUTHORS,
        records.DECIDED,
    )
    found = (await engine.records(log, [Range(name, "", "\U0010ffff", _ALL) for name in names])).results
    by_name: dict[str, list[Record]] = {name: list(each) for name, each in zip(names, found, strict=True)}
    for record in by_name[records.DOCUMENTS]:
        shelf.heads[record.key] = records.decode_head(record.value)
    for record in by_name[records.HISTORY]:
        shelf.histories[record.key.split("\x1f")[0]].append(records.decode_entry(record.value))
    for record in by_name[records.SNAPSHOTS]:
        document, _, version = record.key.partition("\x1f")
        shelf.snapshots[document][int(version)] = json.loads(record.value)
    for record in by_name[records.STATES]:
        document, _, version = record.key.partition("\x1f")
        shelf.states[document][int(version)] = json.loads(record.value)
    for record in by_name[records.OPEN]:
        shelf.opened[record.key.split("\x1f")[0]].append(json.loads(record.value))
    shelf.parked.update(record.key.split("\x1f")[0] for record in by_name[records.PARKED])
    shelf.leases.update(record.key for record in by_name[records.LEASES])
    for record in by_name[records.STATISTICS]:
        shelf.statistics = records.decode_statistics(record.value)
    for name, each in by_name.items():
        if name != records.STATISTICS:
            shelf.everything |= {(name, record.key): (record.version, record.value) for record in each}
    page = await engine.read(log, 0, 1 << 30)
    shelf.events = [json.loads(entry.body) for entry in page.entries]
    shelf.ids = [entry.event_id for entry in page.entries]
    return shelf
