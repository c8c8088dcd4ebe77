"""Reading the log page by page gives what reading it at once would, whatever the pages, and what the protocol says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.events.log import SYSTEM_LOG
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.history import History
from signtusk_realtime.sessions.entitlement import may_subscribe
from signtusk_realtime.sessions.identity import Identity
from tests.support import clock, delivery
from tests.support.delivery import started_node
from tests.support.samples import KINDS, sample_event

EVENTS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from(["a", "b"]), st.sampled_from(["a", "b"])), max_size=12
)
WISHES = st.lists(
    st.one_of(
        st.sampled_from([Subscription(name) for name in sorted(delivery.EVENTS_OF)]),
        st.sampled_from(["a", "b"]).map(lambda d: delivery.subscription("document_updates", document_id=d)),
        st.sampled_from(["a", "b"]).map(lambda d: delivery.subscription("signing_updates", document_id=d)),
    ),
    min_size=1,
    max_size=3,
)
FIELDS = {
    "document_update": "documentId",
    "signature_status": "documentId",
    "signing_request": "documentId",
    "notification": "userId",
    "user_presence": "userId",
    "team_update": "teamId",
}
READERS = st.sampled_from(
    [
        delivery.member("a", "org123", "a"),
        delivery.guest(delivery.grant(document_id="a", recipient_id="b", types=tuple(delivery.EVENTS_OF)), user_id="a"),
    ]
)


@given(EVENTS, WISHES, READERS, st.integers(1, 4), st.integers(1, 3000))
def test_pages_join_to_what_one_may_see(
    events: list[tuple[str, str, str]], wishes: list[Subscription], identity: Identity, limit: int, read_bytes: int
) -> None:
    """Every matching event once, in order, as the identity sees it; and each event's own cursor continues right after it."""
    asked = tuple(wish for wish in wishes if may_subscribe(wish, identity)) or None

    async def program() -> None:
        async with started_node() as node:
            bodies: dict[str, list[delivery.JsonEvent]] = {SYSTEM_LOG: [], "org123": []}
            for kind, value, recipient in events:
                changed = {FIELDS[kind]: value} if kind in FIELDS else {}
                if kind == "signature_status":
                    changed["recipientId"] = recipient
                log = SYSTEM_LOG if kind == "system_announcement" else "org123"
                [entry] = await node.publish(sample_event(kind, **changed), organization_id=log)
                bodies[log].append(json.loads(entry.body))
            wanted = asked or tuple(
                wish
                for name in delivery.EVENTS_OF
                if not delivery.is_outside(identity, wish := Subscription(name))  # type: ignore[arg-type]  # names of the oracle's table
            )
            due = [
                delivery.as_seen(identity, event)
                for event in (*bodies[SYSTEM_LOG], *bodies["org123"])
                if any(delivery.gets(identity, wish, event) for wish in wanted)
            ]
            history = History(node.engine, read_bytes=read_bytes)
            got: list[delivery.JsonEvent] = []
            cursors: list[str] = []
            after, more, calls = "earliest", True, 0
            while more:
                page = await history(identity, asked, after=after, limit=limit)
                assert len(page.events) <= limit
                got += [json.loads(bytes(e.event)) for e in page.events]
                cursors += [e.cursor for e in page.events]
                after, more, calls = page.cursor, page.more, calls + 1
                assert calls <= len(events) + 3, "every call gets further"
            assert got == due
            whole = History(node.engine)
            for place, own in enumerate(cursors, start=1):
                rest = await whole(identity, asked, after=own, limit=1000)
                assert [json.loads(bytes(e.event)) for e in rest.events] == due[place:]

    clock.run(program())
