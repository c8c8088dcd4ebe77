"""What a client's message leads to: answers in order, errors that repeat the request's id, and the end of patience."""

from __future__ import annotations

from typing import Any

import pytest

from signtusk_realtime.events.log import Epoch, Position
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes, cursor
from tests.support.clock import settle
from tests.support.delivery import NOW, Client, Node, grant, guest, started_node

pytestmark = pytest.mark.virtual_clock

DOCUMENTS = {"type": "document_updates", "filters": {"documentId": "doc123"}}


@pytest.fixture
async def node() -> Any:
    async with started_node() as started:
        yield started


@pytest.fixture
async def client(node: Node) -> Client:
    return await node.client()


async def test_one_subscription_and_several(client: Client) -> None:
    """`subscription` is answered in the singular, `subscriptions` in lists; the request's id is repeated; no `recovered` without a cursor."""
    answer = client.ask({"type": "subscribe", "subscription": DOCUMENTS, "requestId": "r1"})
    assert set(answer) == {"type", "requestId", "subscriptionId", "subscription", "cursor"}
    assert (answer["type"], answer["requestId"], answer["subscription"]) == ("subscribed", "r1", DOCUMENTS)
    answer = client.ask({"type": "subscribe", "subscriptions": [DOCUMENTS, {"type": "notifications"}]})
    assert set(answer) == {"type", "subscriptionIds", "subscriptions", "cursor"}
    assert len(set(answer["subscriptionIds"])) == 2


async def test_a_cursor_is_answered_by_recovered(node: Node) -> None:
    """`recovered` stands in the answer exactly when a cursor was sent; what is not ours is `unknown`, never an error."""
    expected: dict[str, dict[str, Any]] = {
        "latest": {"recovered": True},
        "earliest": {"recovered": True},
        "": {"recovered": False, "reason": "unknown"},
        "nonsense": {"recovered": False, "reason": "unknown"},
        "c" * 1024: {"recovered": False, "reason": "unknown"},
    }
    for text, answer in expected.items():
        client = await node.client()
        client.receive({"type": "subscribe", "subscription": DOCUMENTS, "cursor": text})
        await settle()
        [told] = client.messages()
        assert told["type"] == "subscribed"
        assert {name: told[name] for name in ("recovered", "reason") if name in told} == answer


async def test_a_cursor_of_another_history_is_told(node: Node) -> None:
    """A cursor continues if its tag stands at its offset, whether memory or the log is asked; else `epoch`, and the top to go on from."""
    first = await node.client()
    first.subscribe(Subscription("document_updates"))
    published = [await node.happen() for _ in range(3)]
    await settle()
    cursors = [m["cursor"] for m in first.messages()]
    top = cursor.decode("org123", cursors[-1])
    place = cursor.decode("org123", cursors[0])
    assert top is not None
    assert place is not None
    assert place.organization is not None
    here = place.organization
    forged = [
        here._replace(tag=b"other"),
        here._replace(offset=2),
        here._replace(offset=9),
        here._replace(epoch=Epoch("f" * 16)),
    ]

    async def answers(at: Position) -> tuple[dict[str, Any], list[str]]:
        client = await node.client()
        text = cursor.encode("org123", at, place.system)
        client.receive({"type": "subscribe", "subscription": {"type": "document_updates"}, "cursor": text})
        await settle()
        [answer, *events] = client.messages()
        assert (answer["cursor"] == text) == answer["recovered"]
        return answer, [m["event"]["id"] for m in events]

    for is_warm in (True, False):
        if not is_warm:
            node.hub._tails.forget("org123")
        for at in forged:
            answer, events = await answers(at)
            assert (answer["recovered"], answer["reason"], events) == (False, "epoch", [])
            assert cursor.decode("org123", answer["cursor"]) == top
        answer, events = await answers(here)
        assert (answer["recovered"], events) == (True, published[1:])


async def test_refusals_repeat_the_request_and_say_where(client: Client) -> None:
    """An error has the code, the path and the id of the request; the connection lives on."""
    for request, code, path in (
        ({"type": "subscribe"}, "invalid_message", "$.subscription"),
        ({"type": "subscribe", "subscriptions": []}, "invalid_message", "$.subscriptions"),
        ({"type": "subscribe", "subscription": {"type": "x"}}, "invalid_message", "$.subscription.type"),
        ({"type": "subscribe", "subscriptions": [DOCUMENTS, {}]}, "invalid_message", "$.subscriptions[1].type"),
        ({"type": "unsubscribe", "subscriptionId": "sub_x"}, "unknown_subscription", "$.subscriptionId"),
        ({"type": "dance"}, "invalid_message", "$.type"),
        ({"type": "ping", "extra": 1}, "invalid_message", "$.extra"),
    ):
        answer = client.ask({**request, "requestId": "r7"})
        assert (answer["type"], answer["code"], answer["path"]) == ("error", code, path)
        assert answer["requestId"] == "r7"
    assert client.ask(b"{")["code"] == "invalid_json"
    assert client.connection.is_open
    assert client.connection.session.subscriptions == ()


async def test_a_later_cursor_and_too_many(client: Client, node: Node) -> None:
    """cursor_not_first and too_many_subscriptions are errors of their own, and change nothing."""
    client.ask({"type": "subscribe", "subscription": DOCUMENTS})
    answer = client.ask({"type": "subscribe", "subscription": DOCUMENTS, "cursor": "latest"})
    assert answer["code"] == "cursor_not_first"
    answer = client.ask({"type": "subscribe", "subscriptions": [DOCUMENTS] * node.limits.subscriptions})
    assert answer["code"] == "too_many_subscriptions"
    assert len(client.connection.session.subscriptions) == 1


async def test_forbidden_says_which(node: Node) -> None:
    """Of several subscriptions the forbidden one is named, and none is taken in."""
    client = await node.client(guest(grant(document_id="doc123")))
    answer = client.ask({"type": "subscribe", "subscriptions": [DOCUMENTS, {"type": "user_presence"}]})
    assert (answer["code"], answer["path"]) == ("forbidden", "$.subscriptions[1]")
    answer = client.ask({"type": "subscribe", "subscription": {"type": "user_presence"}})
    assert (answer["code"], answer["path"]) == ("forbidden", "$.subscription")
    assert client.connection.session.subscriptions == ()


async def test_a_ping_is_answered_by_a_pong(client: Client) -> None:
    """With the time, the request's id, and a cursor only once subscribed."""
    assert client.ask({"type": "ping", "timestamp": [1, {"a": None}], "requestId": "r"}) == {
        "type": "pong",
        "requestId": "r",
        "timestamp": NOW,
    }
    first = client.subscribe(Subscription("notifications"))["cursor"]
    assert client.ask({"type": "ping"})["cursor"] == first


async def test_a_cursor_never_runs_ahead_of_what_was_written(client: Client, node: Node) -> None:
    """I0: a pong while an event is pending either follows the event or does not cover it."""
    before = client.subscribe(Subscription("document_updates"))["cursor"]
    await node.happen()
    client.receive({"type": "ping"})
    kinds = [(m["type"], m["cursor"]) for m in client.messages()]
    assert kinds == [("pong", before)] or [kind for kind, _ in kinds] == ["event", "pong"]
    await settle()


async def test_patience_ends(client: Client, node: Node) -> None:
    """The 21st malformed message within a minute is answered, then the connection is closed 4509; later ones are not read."""
    for _ in range(20):
        client.receive(b"{")
    assert client.connection.is_open
    client.receive(b"{")
    assert len(client.messages()) == 21
    assert client.outlet.closed == (codes.CLOSE_PROTOCOL_VIOLATION.number, "protocol_violation")
    client.receive({"type": "ping"})
    assert client.messages() == []


async def test_refused_but_well_formed_is_no_malformed_message(client: Client, node: Node) -> None:
    """Asking for what is not there does not count; a new minute begins a new count."""
    for _ in range(50):
        client.receive({"type": "unsubscribe", "subscriptionId": "sub_x"})
    for _ in range(3):
        for _ in range(20):
            client.receive(b"{")
        node.now_s += 60.0
    assert client.connection.is_open
