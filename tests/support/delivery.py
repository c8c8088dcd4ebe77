"""A node without a server: an engine of dictionaries, a hub, the operations a connection uses, and an oracle of who sees what.

Owns: `Node` and its clients, strategies of subscriptions and identities, the naive reading of spec/protocol.md §5 and of grants.
Rule: the oracle works on event objects as JSON and on the protocol's words; it shares no code with what it judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET, to_builtins

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.flush import Flusher
from signtusk_realtime.delivery.formats import FRAMES, STREAM, TEXTS, Format
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.event import prepare
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.log import SYSTEM_LOG, Commit, Committed, Draft, Entry, LogName, Top
from signtusk_realtime.events.subscriptions import TYPES_OF, Filters, Subscription
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.receive import Receive
from signtusk_realtime.operations.subscribe import Subscriptions
from signtusk_realtime.protocol.codes import CloseCode
from signtusk_realtime.sessions.identity import ADMINISTER, PUBLISH, Grant, Identity
from signtusk_realtime.sessions.session import SessionLimits
from tests.support.outlets import Message, Outlet
from tests.support.samples import ids, sample_event

FORMATS: dict[str, Format] = {form.name: form for form in (FRAMES, STREAM, TEXTS)}
NOW_MS = 1_795_372_162_123
NOW = "2026-11-22T18:29:22.123Z"

JsonEvent = dict[str, Any]


def member(user_id: str = "user123", organization_id: str = "org123", *teams: str) -> Identity:
    """Give a member with every scope."""
    return Identity(
        user_id=user_id, organization_id=organization_id, teams=teams, scopes=frozenset({PUBLISH, ADMINISTER})
    )


def guest(*grants: Grant, user_id: str = "guest", organization_id: str = "org123") -> Identity:
    """Give a guest with these grants."""
    return Identity(user_id=user_id, organization_id=organization_id, grants=grants)


def grant(**fields: Any) -> Grant:
    """Give a grant to subscribe."""
    return Grant(**{"actions": ("subscribe",), **fields})


def subscription(subscription_type: Any, **filters: Any) -> Subscription:
    """Give a subscription with these filters, by their Python names."""
    return Subscription(subscription_type, Filters(**filters))


def drafted(published: Published, event_id: str, organization_id: str) -> Draft:
    """Make the draft of a publication."""
    prepared = prepare(published, event_id=event_id, received_at_ms=NOW_MS, organization_id=organization_id)
    return Draft(event_id, hashlib.sha256(prepared.body).digest(), prepared.keys, prepared.body)


class Names:
    """Gives ids: `conn_1`, `sub_2`, …"""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self, prefix: str) -> str:
        self.given += 1
        return f"{prefix}_{self.given}"


class GatedEngine(MemoryEngine):
    """A MemoryEngine whose `follow` waits while `gate` is set to an event, and fails while `failure` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None
        self.followed: list[str] = []
        self.unfollowed: list[str] = []

    async def follow(self, log: LogName) -> Top:
        self.followed.append(log)
        if self.failure is not None:
            raise self.failure
        top = await super().follow(log)
        if self.gate is not None:
            await self.gate.wait()
        return top

    async def unfollow(self, log: LogName) -> None:
        self.unfollowed.append(log)
        await super().unfollow(log)

    def is_following(self, log: str) -> bool:
        """Say whether what is appended to this log reaches the sink."""
        return log in self._followed


class Client:
    """A connection's other end."""

    def __init__(self, node: Node, connection: Connection, outlet: Outlet) -> None:
        self.node = node
        self.connection = connection
        self.outlet = outlet

    def receive(self, message: object) -> None:
        """Send a message to the node."""
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.node.receive(self.connection, text)

    def messages(self) -> list[Message]:
        """Give what came since the last call, pings left out."""
        return [m for m in self.outlet.messages(self.connection.form.name) if m["type"] != "ping"]

    def ask(self, message: object) -> Message:
        """Send a message; give the last thing that came at once."""
        self.receive(message)
        return self.messages()[-1]

    def subscribe(self, *subscriptions: Subscription, **more: object) -> Message:
        """Subscribe to all of these; give the answer."""
        return self.ask({"type": "subscribe", "subscriptions": [to_builtins(s) for s in subscriptions], **more})

    def event_ids(self) -> list[str]:
        """Give the ids of the events that came since the last call."""
        return [m["event"]["id"] for m in self.messages() if m["type"] == "event"]


class Node:
    """See the module. `async with started_node() as node`."""

    def __init__(self, engine: MemoryEngine, flusher: Flusher | None, **hub_options: Any) -> None:
        self.engine = engine
        self.closed: list[tuple[str, CloseCode | None]] = []
        self.new_id = Names()
        self.now_s = 1000.0
        self.hub = Hub(
            engine,
            flusher=flusher,
            closed=lambda connection, code: self.closed.append((connection.connection_id, code)),
            **hub_options,
        )
        self.limits = SessionLimits()
        self.connect = Connect(
            self.hub, limits=self.limits, heartbeat_interval_ms=30_000, now_ms=lambda: NOW_MS, new_id=self.new_id
        )
        self.subscriptions = Subscriptions(self.engine, self.hub, new_id=self.new_id)
        self.receive = Receive(self.hub, self.subscriptions, monotonic_s=lambda: self.now_s, now_ms=lambda: NOW_MS)

    async def client(
        self, identity: Identity | None = None, form: str = "frames", outlet: Outlet | None = None
    ) -> Client:
        """Let a connection in."""
        admission = await self.connect.admit(identity or member())
        outlet = outlet or Outlet()
        connection = self.connect.open(admission, outlet, FORMATS[form])
        client = Client(self, connection, outlet)
        assert [m["type"] for m in client.messages()] == ["connected"]
        return client

    async def publish(self, *published: Published, organization_id: str = "org123") -> list[Entry]:
        """Append publications to a log in one commit, announcements to the system log; give their entries."""
        log = LogName(organization_id)
        drafts = [drafted(p, self.new_id("evt"), organization_id) for p in published]
        outcome = await self.engine.commit(log, Commit(drafts))
        assert isinstance(outcome, Committed)
        page = await self.engine.read(log, outcome.placed[0].offset - 1, 1 << 30)
        return list(page.entries)

    async def happen(self, kind: str = "document_update", organization_id: str = "org123", **changed: object) -> str:
        """Publish a sample; give its event id."""
        log = SYSTEM_LOG if kind == "system_announcement" else organization_id
        [entry] = await self.publish(sample_event(kind, **changed), organization_id=log)
        return entry.event_id


@asynccontextmanager
async def started_node(
    *, engine: MemoryEngine | None = None, flusher: Flusher | None = None, **hub_options: Any
) -> AsyncIterator[Node]:
    """Start an engine and a hub; close both."""
    node = Node(engine or MemoryEngine(), flusher, **hub_options)
    await node.engine.start(node.hub)
    await node.hub.start()
    try:
        yield node
    finally:
        await node.hub.close()
        await node.engine.close()


class Turns:
    """Turns of a loop, made by hand, with a clock that expires when told: what a Flusher is given in tests."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self._now = 0.0
        self._looks: int | None = None

    def flusher(self) -> Flusher:
        """Make a flusher that runs by these turns."""
        return Flusher(self.waiting.append, self.clock)

    def clock(self) -> float:
        """Show the time; an hour later once the looks given by `turn` are used up."""
        if self._looks is not None:
            if self._looks == 0:
                self._now += 3600.0
            else:
                self._looks -= 1
        return self._now

    def turn(self, looks: int | None = None) -> bool:
        """Run what waits, as one turn; the slice ends after `looks` looks at the clock (None: never). Say whether there was anything."""
        self._looks = looks
        due, self.waiting[:] = list(self.waiting), []
        for function in due:
            function()
        self._looks = None
        return bool(due)

    def run(self) -> None:
        """Turn until nothing waits."""
        while self.turn():
            pass


# ---- the oracle: spec/protocol.md §5, and grants, in their words


DOCUMENT_EVENTS = {
    "document_created",
    "document_updated",
    "document_deleted",
    "document_signed",
    "document_completed",
    "document_conflict",
    "document_conflict_resolved",
}
SIGNING_EVENTS = {
    "signing_request_created",
    "signing_request_updated",
    "signature_completed",
    "signature_declined",
    "signature_expired",
}
EVENTS_OF = {
    "document_updates": DOCUMENT_EVENTS,
    "signing_updates": SIGNING_EVENTS,
    "notifications": {"notification"},
    "organization_activity": {"organization_activity"},
    "user_presence": {"user_presence"},
    "team_updates": {"team_update"},
    "system_announcements": {"system_announcement"},
}


def filters_hold(asked: Subscription, event: JsonEvent) -> bool:
    """All filters given hold: ids compare with the payload's field, userId with the event's, eventTypes with its type."""
    filters, payload = to_builtins(asked.filters), event["payload"]
    for name, wanted in filters.items():
        match name:
            case "documentId":
                holds = wanted in (payload.get("documentId"), payload.get("currentDocument"))
            case "userId":
                holds = event.get("userId") == wanted
            case "eventTypes":
                holds = event["type"] in wanted
            case _:
                holds = payload.get(name) == wanted
        if not holds:
            return False
    return True


def covers(own: Grant, subscription_type: str, event: JsonEvent) -> bool:
    """A documentId grant covers that document's document and signing events, a signingRequestId grant that request's signing events."""
    if "subscribe" not in own.actions or (own.types is not None and subscription_type not in own.types):
        return False
    payload = event["payload"]
    if event["type"] in DOCUMENT_EVENTS:
        return (
            own.document_id is not None
            and own.signing_request_id is None
            and payload.get("documentId") == own.document_id
        )
    if event["type"] in SIGNING_EVENTS:
        if own.document_id is None and own.signing_request_id is None:
            return False
        return own.document_id in (None, payload.get("documentId")) and own.signing_request_id in (
            None,
            payload.get("signingRequestId"),
        )
    return False


def gets(identity: Identity, asked: Subscription, event: JsonEvent) -> bool:
    """Say whether this subscription brings this event of the identity's organization (or of the system) to it."""
    if event["type"] not in EVENTS_OF[asked.type] or not filters_hold(asked, event):
        return False
    if event["type"] == "notification" and event["userId"] != identity.user_id:
        return False
    if identity.grants is None:
        return event["type"] != "team_update" or event["payload"]["teamId"] in identity.teams
    if event["type"] == "notification":
        return any("subscribe" in g.actions and g.types is not None and asked.type in g.types for g in identity.grants)
    return any(covers(g, asked.type, event) for g in identity.grants)


def is_outside(identity: Identity, asked: Subscription) -> bool:
    """Say whether a subscription lies wholly outside a guest's grants, by its type and the ids that its filters name."""
    if identity.grants is None:
        return False
    filters = asked.filters
    for own in identity.grants:
        if "subscribe" not in own.actions or (own.types is not None and asked.type not in own.types):
            continue
        if filters.document_id is not UNSET and own.document_id not in (None, filters.document_id):
            continue
        if filters.signing_request_id is not UNSET and own.signing_request_id not in (None, filters.signing_request_id):
            continue
        if asked.type == "notifications" and own.types is not None:
            return False
        if asked.type == "document_updates" and own.document_id is not None and own.signing_request_id is None:
            return False
        if asked.type == "signing_updates" and (own.document_id, own.signing_request_id) != (None, None):
            return False
    return True


def as_seen(identity: Identity, event: JsonEvent) -> JsonEvent:
    """Give the event as the identity sees it: to a guest signatureData is cut to signedAt, but for the grant's own recipient."""
    payload = event["payload"]
    if identity.grants is None or "signatureData" not in payload:
        return event
    if any(
        covers(own, "signing_updates", event) and own.recipient_id == payload.get("recipientId")
        for own in identity.grants
    ):
        return event
    data = payload["signatureData"]
    rest = {name: value for name, value in payload.items() if name != "signatureData"}
    kept = {name: value for name, value in data.items() if name == "signedAt"}
    return {**event, "payload": {**rest, **({"signatureData": kept} if kept else {})}}


# ---- strategies


SHORT = ("a", "b", "c", "doc123", "user123")
"""Ids that samples.ids() draws often, so that filters and events meet."""


def filters_of(subscription_type: str) -> st.SearchStrategy[Filters]:
    """Filters: mostly none or one or two, event types mostly of the subscription's own."""
    own = st.sampled_from(sorted(EVENTS_OF[subscription_type]))
    anything = st.sampled_from(sorted(set().union(*EVENTS_OF.values())))
    few = st.one_of(st.just(UNSET), st.just(UNSET), st.sampled_from(SHORT), ids())
    types = st.lists(st.one_of(own, own, anything), min_size=1, max_size=3).map(tuple)
    return st.builds(
        Filters,
        document_id=few,
        signing_request_id=few,
        team_id=few,
        user_id=few,
        event_types=st.one_of(st.just(UNSET), types),
    )


def subscriptions() -> st.SearchStrategy[Subscription]:
    """Subscriptions of all types; half of them without filters."""

    def of_type(subscription_type: Any) -> st.SearchStrategy[Subscription]:
        return st.one_of(
            st.just(Subscription(subscription_type)),
            st.builds(Subscription, st.just(subscription_type), filters_of(subscription_type)),
        )

    return st.sampled_from(sorted(TYPES_OF)).flatmap(of_type)


def grants() -> st.SearchStrategy[Grant]:
    """Grants of guests."""
    few = st.one_of(st.none(), st.sampled_from(SHORT))
    types = st.lists(st.sampled_from(sorted(TYPES_OF)), max_size=3).map(tuple)
    actions: Sequence[tuple[str, ...]] = (("subscribe",), ("subscribe", "edit"), ("edit",))
    return st.builds(
        Grant,
        actions=st.sampled_from(actions),
        types=st.one_of(st.none(), types),
        document_id=few,
        signing_request_id=few,
        recipient_id=few,
    )


def identities(organization_id: str = "org123") -> st.SearchStrategy[Identity]:
    """Members of some teams, and guests."""
    users = st.sampled_from(SHORT)
    members = st.builds(member, users, st.just(organization_id), *(st.sampled_from(SHORT) for _ in range(2)))
    guests = st.builds(
        lambda user_id, own: guest(*own, user_id=user_id, organization_id=organization_id),
        users,
        st.lists(grants(), max_size=3),
    )
    return st.one_of(members, members, guests)
