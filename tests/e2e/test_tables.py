"""Every row of the tables of published kinds and of subscriptions, over WebSocket and over the event stream.

The tables stand here a third time, written by hand from the contract, so that no mistake of ours is on both sides.
"""

from __future__ import annotations

import json
from typing import NamedTuple
from urllib.parse import quote

import pytest

from tests.support.samples import KINDS, ORGANIZATION, USER, sample
from tests.support.server import Serving, StreamPeer, WebSocketPeer, history, publish, serving

IDENTITY = f"userId={USER}&organizationId={ORGANIZATION}&teams=team123"


class Row(NamedTuple):
    """A publication, and the event it gives: its type, its payload, and whether its user stands on it."""

    kind: str
    changed: dict[str, object]
    event_type: str
    payload: dict[str, object]
    has_user: bool = True


def document(kind_type: str, event_type: str) -> Row:
    changed = {"type": kind_type, "changes": None}
    payload = {"documentId": "doc123", "type": kind_type, "userId": USER}
    return Row("document_update", changed, event_type, payload)


def version(kind_type: str, event_type: str, change_id: str, **more: object) -> Row:
    """A publication with changes is a version of its document."""
    # Another document than that of the facts: they would move this one on.
    payload: dict[str, object] = {
        "documentId": f"edited-{change_id}",
        "version": 1,
        "changeId": change_id,
        "userId": USER,
        "ops": [{"op": "set", "path": "/title", "value": "NDA v2"}],
        "changes": {"title": "NDA v2"},
    }
    return Row("document_update", {"type": kind_type, "documentId": f"edited-{change_id}", **more}, event_type, payload)


def signature(status: str, event_type: str) -> Row:
    payload: dict[str, object] = {
        "signingRequestId": "sr123",
        "documentId": "doc123",
        "recipientId": "rec123",
        "status": status,
        "signatureData": {
            "signedAt": "2026-11-22T18:49:22.123Z",
            "ipAddress": "192.0.2.7",
            "userAgent": "Mozilla/5.0",
            "location": {"latitude": 52.52, "longitude": 13.405},
        },
    }
    return Row("signature_status", {"status": status}, event_type, payload)


def signing_request(kind_type: str) -> Row:
    payload: dict[str, object] = {
        "signingRequestId": "sr123",
        "documentId": "doc123",
        "type": kind_type,
        "recipients": [{"id": "rec123", "email": "ada@example.org"}],
        "signingOrder": "sequential",
        "expiresAt": "2026-12-22T18:49:22.000Z",
    }
    return Row("signing_request", {"type": kind_type}, f"signing_request_{kind_type}", payload)


EDIT: dict[str, object] = {
    "changes": {"title": "NDA v2"},
    "deletes": ["/a"],
    "changeId": "c1",
    "clientId": "c-7f",
    "strategy": "merge",
    "authority": "record",
}
ROWS = [
    document("created", "document_created"),
    document("updated", "document_updated"),
    version("created", "document_created", "evt_own1", id="evt_own1", changes={"title": "NDA v2"}),
    version("updated", "document_updated", "evt_own2", id="evt_own2", changes={"title": "NDA v2"}),
    version("updated", "document_updated", "c1", **EDIT),
    document("deleted", "document_deleted"),
    document("signed", "document_signed"),
    document("completed", "document_completed"),
    signature("pending", "signing_request_updated"),
    signature("signed", "signature_completed"),
    signature("declined", "signature_declined"),
    signature("expired", "signature_expired"),
    signing_request("created"),
    signing_request("updated"),
    Row(
        "notification",
        {},
        "notification",
        {
            "id": "ntf123",
            "title": "Signature requested",
            "message": "Ada asks you to sign NDA v2",
            "type": "info",
            "priority": "high",
            "actionUrl": "https://app.example.org/documents/doc123",
        },
    ),
    Row(
        "notification",
        {"id": "ntf124", "priority": None, "actionUrl": None, "expiresAt": "2026-12-22T19:49:22+01:00"},
        "notification",
        {
            "id": "ntf124",
            "title": "Signature requested",
            "message": "Ada asks you to sign NDA v2",
            "type": "info",
            "priority": "medium",
            "expiresAt": "2026-12-22T18:49:22.000Z",
        },
    ),
    Row(
        "user_presence",
        {},
        "user_presence",
        {
            "userId": USER,
            "status": "online",
            "lastSeen": "2026-11-22T18:49:22.123Z",
            "currentDocument": "doc123",
            "metadata": {"page": 3},
        },
    ),
    Row(
        "organization_activity",
        {},
        "organization_activity",
        {"activityType": "member_joined", "member": "user456"},
    ),
    Row(
        "organization_activity",
        {"userId": None},
        "organization_activity",
        {"activityType": "member_joined", "member": "user456"},
        has_user=False,
    ),
    Row(
        "team_update",
        {},
        "team_update",
        {"teamId": "team123", "updateType": "member_added", "member": "user456"},
    ),
    Row(
        "system_announcement",
        {},
        "system_announcement",
        {
            "title": "Maintenance",
            "message": "Read-only for ten minutes",
            "severity": "warning",
            "startsAt": "2026-11-23T02:00:00.000Z",
            "endsAt": "2026-11-23T02:10:00.000Z",
        },
        has_user=False,
    ),
]
SUBSCRIPTIONS: dict[str, set[str]] = {
    "document_updates": {
        "document_created",
        "document_updated",
        "document_deleted",
        "document_signed",
        "document_completed",
        # document_conflict and document_conflict_resolved are the service's own, and nothing emits them yet
    },
    "signing_updates": {
        "signing_request_created",
        "signing_request_updated",
        "signature_completed",
        "signature_declined",
        "signature_expired",
    },
    "notifications": {"notification"},
    "organization_activity": {"organization_activity"},
    "user_presence": {"user_presence"},
    "team_updates": {"team_update"},
    "system_announcements": {"system_announcement"},
}
END = {"kind": "organization_activity", "activityType": "end", "payload": {}}
"""Tells that everything before it has been delivered."""
WATCH_END = {"type": "organization_activity", "filters": {"userId": "ender"}}


class Listener(NamedTuple):
    """One client on each transport with the same subscriptions."""

    web_socket: WebSocketPeer
    stream: StreamPeer

    async def events(self) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        """What each was told until the end, checked for what the transport adds."""
        return await self._by_web_socket(), await self._by_stream()

    async def _by_web_socket(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        while True:
            message = await self.web_socket.message()
            if message["type"] == "presence":
                continue  # what events make of people, told beside them
            assert message.keys() == {"type", "cursor", "event"}
            assert message["type"] == "event"
            event = message["event"]
            assert isinstance(event, dict)
            if event["payload"].get("activityType") == "end":
                return found
            found.append(event)

    async def _by_stream(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        while True:
            told = await self.stream.event()
            event = json.loads(told.data)
            if event["type"] == "presence":
                continue
            assert told.type == event["type"]
            assert told.last_event_id
            if event["payload"].get("activityType") == "end":
                return found
            found.append(event)

    async def end(self) -> None:
        await self.web_socket.end()
        await self.stream.end()


async def listen(it: Serving, *subscriptions: object, identity: str = IDENTITY) -> Listener:
    wanted = [*subscriptions, WATCH_END]
    web_socket = await WebSocketPeer.open(it.port, identity)
    await web_socket.subscribe(*wanted)
    stream = await StreamPeer.open(it.port, f"{identity}&subscriptions={quote(json.dumps(wanted))}")
    for _ in range(2):
        await stream.message()
    return Listener(web_socket, stream)


async def tell(it: Serving, *publications: dict[str, object]) -> None:
    """Publish as a service, one by one: announcements go with no batch of others."""
    for publication in (*publications, {**END, "userId": "ender"}):
        own = {} if publication["kind"] == "system_announcement" else {"organizationId": ORGANIZATION}
        answer = await publish(it.port, {**own, **publication}, query="")
        assert answer.status == 200, answer.body


def test_every_kind_has_its_rows() -> None:
    """The rows below leave no kind and no event type of the contract out."""
    assert {row.kind for row in ROWS} == set(KINDS)
    assert {row.event_type for row in ROWS} == set().union(*SUBSCRIPTIONS.values())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.event_type}")
async def test_a_published_kind_gives_its_event(row: Row) -> None:
    """Type, payload and the fields around it, the same by both transports and in the history."""
    async with serving() as it:
        listener = await listen(it, *({"type": name} for name in SUBSCRIPTIONS))
        extra = {"timestamp": "2026-11-22T19:49:22.123456+01:00"}
        metadata = {} if row.kind == "user_presence" else {"metadata": {"source": "test"}}
        await tell(it, sample(row.kind, **{**row.changed, **extra, **metadata}))
        by_web_socket, by_stream = await listener.events()
        await listener.end()
        (event,) = by_web_socket
        assert by_stream == by_web_socket
        event_id = event["id"]
        assert isinstance(event_id, str)
        assert event_id == row.payload["id"] if row.kind == "notification" else event_id.startswith("evt_")
        expected: dict[str, object] = {
            "id": event_id,
            "type": row.event_type,
            "payload": row.payload,
            "organizationId": "*" if row.kind == "system_announcement" else ORGANIZATION,
            "timestamp": "2026-11-22T18:49:22.123Z",
            **metadata,
        }
        if row.has_user:
            expected["userId"] = USER
        assert event == expected
        assert [found for found in await history(it.port, IDENTITY) if found["id"] == event_id] == [event]


@pytest.mark.parametrize("subscribed", SUBSCRIPTIONS)
async def test_a_subscription_gets_its_types(subscribed: str) -> None:
    """Of all events, exactly those of the subscription's row, each once, in the order of the log."""
    async with serving() as it:
        # Twice: however many subscriptions match, an event comes once.
        listener = await listen(it, {"type": subscribed}, {"type": subscribed, "filters": {}})
        publications = [sample(row.kind, **row.changed) for row in ROWS]
        for number, publication in enumerate(publications):
            publication["id"] = f"e{number}"
        await tell(it, *publications)
        expected = [f"e{number}" for number, row in enumerate(ROWS) if row.event_type in SUBSCRIPTIONS[subscribed]]
        for found in await listener.events():
            assert [event["id"] for event in found] == expected
        await listener.end()


class Filtered(NamedTuple):
    """A subscription, and two publications: one that it matches, one that differs in what it filters by."""

    subscription: dict[str, object]
    matching: dict[str, object]
    other: dict[str, object]


def filtered(kind: str, name: str, filters: dict[str, object], **different: object) -> Filtered:
    return Filtered({"type": name, "filters": filters}, sample(kind), sample(kind, **different))


FILTERS = [
    filtered("document_update", "document_updates", {"documentId": "doc123"}, documentId="x"),
    filtered("document_update", "document_updates", {"userId": USER}, userId="x"),
    filtered(
        "document_update",
        "document_updates",
        {"eventTypes": ["document_updated", "document_deleted"]},
        type="signed",
        changes=None,
    ),
    filtered("document_update", "document_updates", {"documentId": "doc123", "userId": USER}, userId="x"),
    filtered("signature_status", "signing_updates", {"documentId": "doc123"}, documentId="x"),
    filtered("signature_status", "signing_updates", {"signingRequestId": "sr123"}, signingRequestId="x"),
    filtered("signature_status", "signing_updates", {"eventTypes": ["signature_completed"]}, status="declined"),
    filtered("signing_request", "signing_updates", {"signingRequestId": "sr123"}, signingRequestId="x"),
    filtered("notification", "notifications", {}, id="n2", userId="x"),
    filtered("notification", "notifications", {"userId": USER}, id="n2", userId="x"),
    filtered("user_presence", "user_presence", {"userId": USER}, userId="x"),
    filtered("user_presence", "user_presence", {"documentId": "doc123"}, currentDocument="x"),
    filtered("user_presence", "user_presence", {"documentId": "doc123"}, currentDocument=None),
    filtered("organization_activity", "organization_activity", {"userId": USER}, userId=None),
    filtered("team_update", "team_updates", {}, teamId="another team"),
    filtered("team_update", "team_updates", {"teamId": "team123"}, teamId="another team"),
    filtered("team_update", "team_updates", {"userId": USER}, userId="x"),
]


@pytest.mark.parametrize("case", FILTERS, ids=lambda case: json.dumps(case.subscription))
async def test_a_filter_narrows(case: Filtered) -> None:
    """What the filter names comes, what differs in it does not."""
    async with serving() as it:
        listener = await listen(it, case.subscription)
        await tell(it, case.other, {**case.matching, "id": "wanted"})
        for found in await listener.events():
            assert [event["id"] for event in found] == ["wanted"]
        await listener.end()


NEVER = [
    ({"type": "notifications", "filters": {"userId": "x"}}, sample("notification", userId="x")),
    ({"type": "notifications", "filters": {"documentId": "doc123"}}, sample("notification")),
    ({"type": "team_updates", "filters": {"teamId": "other"}}, sample("team_update", teamId="other")),
    ({"type": "document_updates", "filters": {"signingRequestId": "sr123"}}, sample("document_update")),
    ({"type": "document_updates", "filters": {"eventTypes": ["notification"]}}, sample("document_update")),
    ({"type": "system_announcements", "filters": {"userId": USER}}, sample("system_announcement")),
]


@pytest.mark.parametrize(("subscription", "publication"), NEVER, ids=lambda value: json.dumps(value)[:60])
async def test_no_filter_widens(subscription: dict[str, object], publication: dict[str, object]) -> None:
    """Others' notifications and teams stay theirs whatever is asked; an event without the field does not match."""
    async with serving() as it:
        listener = await listen(it, subscription)
        await tell(it, publication)
        assert await listener.events() == ([], [])
        await listener.end()


async def test_nothing_crosses_organizations() -> None:
    """The same ids in another organization are another's; only announcements reach all."""
    async with serving() as it:
        stranger = await listen(
            it,
            *({"type": name} for name in SUBSCRIPTIONS),
            identity=f"userId={USER}&organizationId=other&teams=team123",
        )
        await tell(it, *(sample(row.kind, **row.changed) for row in ROWS))
        answer = await publish(it.port, {**END, "userId": "ender", "organizationId": "other"}, query="")
        assert answer.status == 200
        for found in await stranger.events():
            assert [event["type"] for event in found] == ["system_announcement"]
        await stranger.end()
