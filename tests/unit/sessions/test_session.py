"""The rules of asking: what a subscribe may hold, what a refused one changes, what counts as malformed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signtusk_realtime.errors import Forbidden, InvalidInput, LimitExceeded, RealtimeError, Unauthenticated
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol.messages import Ping, Subscribe
from signtusk_realtime.sessions.entitlement import NOTHING, compile_selection
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import MALFORMED_PER_MINUTE, Session, SessionLimits, is_malformed
from tests.support.delivery import grant, guest, member, subscription

DOCUMENTS = Subscription("document_updates")
NOTIFICATIONS = Subscription("notifications")


def session(identity: Identity | None = None, **limits: int) -> Session:
    return Session(identity or member(), SessionLimits(**limits))


def subscribed(own: Session, *wanted: Subscription) -> Session:
    own.add([f"sub_{len(own.subscriptions) + n}" for n in range(len(wanted))], wanted, own.preview(wanted))
    return own


@pytest.mark.parametrize(
    ("request_fields", "code", "path"),
    [
        ({}, "invalid_message", ("subscription",)),
        ({"subscriptions": ()}, "invalid_message", ("subscriptions",)),
        ({"subscription": DOCUMENTS, "subscriptions": (DOCUMENTS,)}, "invalid_message", ("subscriptions",)),
        ({"subscription": DOCUMENTS, "subscriptions": ()}, "invalid_message", ("subscriptions",)),
    ],
)
def test_one_of_two_forms(request_fields: dict[str, Any], code: str, path: tuple[str, ...]) -> None:
    """Both forms, neither, or an empty list: invalid_message, with the place."""
    with pytest.raises(InvalidInput) as refused:
        session().wanted(Subscribe(**request_fields))
    assert (refused.value.code, refused.value.path) == (code, path)


def test_a_cursor_comes_first() -> None:
    """A cursor is accepted in the first subscribe only, also after all was unsubscribed."""
    own = session()
    assert own.wanted(Subscribe(subscription=DOCUMENTS, cursor="latest")) == (DOCUMENTS,)
    subscribed(own, DOCUMENTS)
    own.remove("sub_0")
    with pytest.raises(InvalidInput) as refused:
        own.wanted(Subscribe(subscription=DOCUMENTS, cursor="latest"))
    assert refused.value.code == "cursor_not_first"
    assert own.wanted(Subscribe(subscription=DOCUMENTS)) == (DOCUMENTS,)


def test_so_many_and_no_more() -> None:
    """The limit counts what is subscribed and what is asked for; at it is allowed, above it is not."""
    own = subscribed(session(subscriptions=3), DOCUMENTS)
    assert len(own.wanted(Subscribe(subscriptions=(DOCUMENTS, NOTIFICATIONS)))) == 2
    with pytest.raises(LimitExceeded) as refused:
        own.wanted(Subscribe(subscriptions=(DOCUMENTS,) * 3))
    assert refused.value.code == "too_many_subscriptions"


def test_what_is_refused_changes_nothing() -> None:
    """A forbidden subscription is named by its index among those asked for, and nothing is taken in."""
    own = subscribed(session(guest(grant(document_id="d1"))), subscription("document_updates", document_id="d1"))
    before = own.selection, own.subscriptions
    with pytest.raises(Forbidden) as refused:
        own.preview([DOCUMENTS, subscription("document_updates", document_id="d2")])
    assert refused.value.path == ("1",)
    assert (own.selection, own.subscriptions) == before


def test_subscriptions_add_up_and_go_one_by_one() -> None:
    """The selection is that of all present subscriptions; an unknown id is refused."""
    own = subscribed(subscribed(session(), DOCUMENTS), NOTIFICATIONS)
    assert own.selection == compile_selection([DOCUMENTS, NOTIFICATIONS], own.identity)
    own.remove("sub_0")
    assert own.selection == compile_selection([NOTIFICATIONS], own.identity)
    with pytest.raises(InvalidInput) as refused:
        own.remove("sub_0")
    assert (refused.value.code, refused.value.path) == ("unknown_subscription", ("subscriptionId",))
    own.remove("sub_1")
    assert own.selection == NOTHING
    assert own.has_subscribed


def test_malformed_too_often() -> None:
    """The 21st malformed message within a minute is one too many; a new minute begins with the first one after it."""
    own = session()
    assert MALFORMED_PER_MINUTE == 20
    assert [own.is_malformed_too_often(59.0 + n / 10) for n in range(21)] == [False] * 20 + [True]
    assert [own.is_malformed_too_often(119.0 + n) for n in range(20)] == [False] * 20
    assert own.is_malformed_too_often(140.0)


def test_what_counts_as_malformed() -> None:
    """What could not be read or breaks the message's form; not what is merely refused."""
    assert [is_malformed(InvalidInput("x", code=code)) for code in ("invalid_json", "invalid_message", "too_deep")] == [
        True
    ] * 3
    merely: list[RealtimeError] = [
        InvalidInput("x", code="cursor_not_first"),
        InvalidInput("x", code="unknown_subscription"),
        LimitExceeded("x", code="too_many_subscriptions"),
        Forbidden("x"),
        Unauthenticated("x"),
    ]
    assert not any(is_malformed(error) for error in merely)


def test_depth_is_bounded() -> None:
    """A message nests at most as deep as the limits say."""

    def nested(depth: int) -> bytes:
        value: object = 1
        for _ in range(depth - 1):
            value = [value]
        return json.dumps({"type": "ping", "timestamp": value}).encode()

    own = session(json_depth=5)
    assert isinstance(own.read(nested(5)), Ping)
    with pytest.raises(InvalidInput) as refused:
        own.read(nested(6))
    assert refused.value.code == "too_deep"
