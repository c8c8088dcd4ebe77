"""Messages: what a client may send is read strictly, what the server answers has the protocol's names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET, Raw, Struct

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol.messages import (
    Connected,
    CursorMessage,
    ErrorMessage,
    EventMessage,
    Ping,
    Pong,
    Reconnect,
    Resync,
    ServerFeatures,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    decode,
    encode,
    request_id_of,
)
from tests.support.delivery import subscription

DOCUMENTS = {"type": "document_updates", "filters": {"documentId": "doc123"}}


def read(message: object) -> object:
    return decode(json.dumps(message).encode(), depth=32)


def test_the_originals_subscribe_is_read() -> None:
    """The message of the original's README, and its form with several subscriptions and a cursor."""
    wanted = subscription("document_updates", document_id="doc123")
    assert read({"type": "subscribe", "subscription": DOCUMENTS}) == Subscribe(subscription=wanted)
    assert read({"type": "subscribe", "subscriptions": [DOCUMENTS], "cursor": "c", "requestId": "r"}) == Subscribe(
        subscriptions=(wanted,), cursor="c", request_id="r"
    )
    assert read({"type": "subscribe", "subscription": {"type": "user_presence"}}) == Subscribe(
        subscription=Subscription("user_presence")
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"type": "delete"}, "unknown value 'delete'; known are subscribe, unsubscribe, ping"),
        ({"type": "subscribe", "subscription": {"type": "x"}}, "unknown value 'x'; known are document_updates, notif"),
        (
            {"type": "subscribe", "subscriptions": [DOCUMENTS, {"type": "x"}]},
            "unknown value 'x'; known are document_up",
        ),
        (
            {"type": "subscribe", "subscription": {"type": "notifications", "filters": {"eventTypes": ["x"]}}},
            "unknown value 'x'; known are document_completed, ",
        ),
        ({"type": "y" * 1000}, f"unknown value '{'y' * 63}…; known are subscribe, "),
        (
            {"type": "subscribe", "subscription": {"type": "notifications", "filters": {"userId": " "}}},
            "not an id: 1 to",
        ),
    ],
)
def test_what_is_unknown_is_told_with_what_is_known(message: object, told: str) -> None:
    """Where a type lists what it takes, the refusal lists it too, and repeats little of the input."""
    with pytest.raises(InvalidInput) as refusal:
        read(message)
    assert refusal.value.message.startswith(told)
    assert len(refusal.value.message) < 500


def test_a_ping_may_carry_any_json() -> None:
    """`timestamp` is any JSON value, or absent."""
    for value in (1, "2026", None, {"a": [1]}, True):
        message = read({"type": "ping", "timestamp": value})
        assert isinstance(message, Ping)
        assert isinstance(message.timestamp, Raw)
        assert json.loads(bytes(message.timestamp)) == value
    assert read({"type": "ping"}) == Ping()
    assert read({"type": "unsubscribe", "subscriptionId": "sub_1"}) == Unsubscribe(subscription_id="sub_1")


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"type": "ping", "extra": 1}, ("extra",)),
        ({"type": "unsubscribe", "subscriptionId": "s", "cursor": "c"}, ("cursor",)),
        ({"type": "subscribe", "subscription": {**DOCUMENTS, "extra": 1}}, ("subscription", "extra")),
        (
            {"type": "subscribe", "subscription": {"type": "document_updates", "filters": {"documentID": "d"}}},
            ("subscription", "filters", "documentID"),
        ),
        (
            {"type": "subscribe", "subscriptions": [DOCUMENTS, {"type": "nothing"}]},
            ("subscriptions", "1", "type"),
        ),
        (
            {"type": "subscribe", "subscription": {"type": "document_updates", "filters": {"documentId": ""}}},
            ("subscription", "filters", "documentId"),
        ),
        (
            {"type": "subscribe", "subscription": {"type": "document_updates", "filters": {"eventTypes": []}}},
            ("subscription", "filters", "eventTypes"),
        ),
        ({"type": "subscribe", "subscription": None}, ("subscription",)),
        ({"type": "subscribe", "subscription": DOCUMENTS, "cursor": "c" * 1025}, ("cursor",)),
        ({"type": "ping", "requestId": "r" * 65}, ("requestId",)),
        ({"type": "ping", "requestId": 5}, ("requestId",)),
        ({"type": "unsubscribe"}, ("subscriptionId",)),
        ({"type": "unsubscribe", "subscriptionId": ""}, ("subscriptionId",)),
        ({"type": "pong"}, ("type",)),
        ({"type": 5}, ("type",)),
        ({}, ("type",)),
    ],
)
def test_what_is_not_of_the_contract_is_refused(message: object, path: tuple[str, ...]) -> None:
    """Unknown fields and types, wrong values, empty ones: invalid_message, with the place of the fault."""
    with pytest.raises(InvalidInput) as refused:
        read(message)
    assert (refused.value.code, refused.value.path) == ("invalid_message", path)


@pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b"\xff", b'{"type":"ping","type":"ping"}', b"[" * 100_000])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    """Not JSON, a key twice, or beyond any depth: each a clear code, and no other exception."""
    with pytest.raises(InvalidInput) as refused:
        decode(text, depth=32)
    assert refused.value.code in ("invalid_json", "too_deep")
    assert request_id_of(text) is UNSET


@pytest.mark.parametrize("value", [[], 5, "text", None, [DOCUMENTS]])
def test_what_is_no_object_is_refused(value: object) -> None:
    """A message is an object."""
    with pytest.raises(InvalidInput) as refused:
        read(value)
    assert refused.value.code == "invalid_message"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"type": "nonsense", "requestId": "r1"}, "r1"),
        ({"requestId": "r1", "type": "ping", "extra": {"requestId": "other"}}, "r1"),
        ({"type": "ping"}, UNSET),
        ({"type": "ping", "requestId": 5}, UNSET),
        ({"type": "ping", "requestId": "r" * 65}, UNSET),
        ([1], UNSET),
    ],
)
def test_the_request_id_of_a_refused_message_is_found(message: object, found: object) -> None:
    """So that an error can repeat it, whatever else was wrong."""
    assert request_id_of(json.dumps(message).encode()) == found


@pytest.mark.parametrize(
    ("answer", "wire"),
    [
        (
            Connected(
                connection_id="conn_1",
                timestamp="t",
                user_id="u",
                organization_id="o",
                heartbeat_interval=30000,
                server=ServerFeatures(("websocket",)),
            ),
            {
                "type": "connected",
                "connectionId": "conn_1",
                "timestamp": "t",
                "userId": "u",
                "organizationId": "o",
                "heartbeatInterval": 30000,
                "server": {"features": ["websocket"]},
            },
        ),
        (
            Subscribed(request_id="r", subscription_id="sub_1", subscription=Subscription("notifications"), cursor="c"),
            {
                "type": "subscribed",
                "requestId": "r",
                "subscriptionId": "sub_1",
                "subscription": {"type": "notifications"},
                "cursor": "c",
            },
        ),
        (
            Subscribed(
                subscription_ids=("sub_1",),
                subscriptions=(subscription("document_updates", document_id="doc123"),),
                recovered=False,
                reason="epoch",
                cursor="c",
            ),
            {
                "type": "subscribed",
                "subscriptionIds": ["sub_1"],
                "subscriptions": [DOCUMENTS],
                "recovered": False,
                "reason": "epoch",
                "cursor": "c",
            },
        ),
        (Unsubscribed(subscription_id="sub_1"), {"type": "unsubscribed", "subscriptionId": "sub_1"}),
        (Pong(timestamp="t", cursor="c"), {"type": "pong", "timestamp": "t", "cursor": "c"}),
        (CursorMessage(cursor="c"), {"type": "cursor", "cursor": "c"}),
        (Resync(reason="expired", cursor="c"), {"type": "resync", "reason": "expired", "cursor": "c"}),
        (Reconnect(reason="drain", after_ms=0), {"type": "reconnect", "reason": "drain", "afterMs": 0}),
        (
            ErrorMessage(code="forbidden", message="m", path="$.subscription"),
            {"type": "error", "code": "forbidden", "message": "m", "path": "$.subscription"},
        ),
        (EventMessage(cursor="c", event=Raw(b"{}")), {"type": "event", "cursor": "c", "event": {}}),
    ],
)
def test_answers_have_the_contracts_names(answer: Struct, wire: dict[str, Any]) -> None:
    """Field by field, absent ones absent."""
    assert json.loads(encode(answer)) == wire
