"""Samples of everything the reference shows, each made by the code that makes the real thing.

Owns: publications with the events that follow from them, messages of both sides, cursors that could be anybody's, the words of docs_words.toml.
Not: pages (generate_docs.py), edits of documents (docs_documents.py).
Rule: a sample that the service would refuse raises here.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import msgspec
from docs_documents import EDIT, as_adopted, edit_results
from msgspec import UNSET, Raw

from signtusk_realtime.events.event import Prepared, prepare
from signtusk_realtime.events.kinds import KINDS, DocumentUpdateEvent, Published
from signtusk_realtime.events.log import Epoch, Position
from signtusk_realtime.events.subscriptions import Filters, Subscription, SubscriptionType
from signtusk_realtime.events.validation import check
from signtusk_realtime.protocol import cursor, messages, stream
from signtusk_realtime.protocol.messages import Answer, ClientMessage, EventMessage, ServerMessage

ROOT: Final = Path(__file__).parents[1]
WORDS: Final = tomllib.loads((ROOT / "scripts" / "docs_words.toml").read_text(encoding="utf-8"))
ORGANIZATION: Final = "org123"
RECEIVED_AT_MS: Final = 1_795_373_362_123
NOW: Final = "2026-11-22T18:49:22.123Z"


def position(offset: int) -> Position:
    """Give a place in a log that could be anybody's."""
    return Position(Epoch("3d44653e5be00001"), offset, bytes(range(offset, offset + 5)))


def cursor_at(offset: int) -> str:
    """Give the cursor of a place."""
    return cursor.encode(ORGANIZATION, position(offset), position(7))


def publications() -> Iterator[tuple[str, dict[str, object], Published, Prepared]]:
    """Give the samples of every kind: as published, typed, and as they are stored."""
    for kind in KINDS:
        for number, sample in enumerate(WORDS["publications"][kind]):
            event: Published = msgspec.convert(sample, Published)
            check(event)
            event_id = event.id if event.id is not UNSET else f"evt_0192f0c1d2e37{number}a4"
            prepared = prepare(event, event_id=event_id, received_at_ms=RECEIVED_AT_MS, organization_id=ORGANIZATION)
            if isinstance(event, DocumentUpdateEvent) and event.changes is not UNSET:
                prepared = as_adopted(event, prepared, event_id)
            yield kind, sample, event, prepared


def client_samples() -> dict[type, list[dict[str, object]]]:
    """Give the sample messages of clients by their type; each was decoded strictly."""
    found: dict[type, list[dict[str, object]]] = {each: [] for each in get_args(ClientMessage)}
    for sample in [*WORDS["clientMessages"], EDIT]:
        decoded = messages.decode(json.dumps(sample).encode(), depth=32)
        found[type(decoded)].append(sample)
    return found


def connected(connection_id: str) -> messages.Connected:
    """Give the first message of a connection."""
    return messages.Connected(
        connection_id=connection_id,
        timestamp=NOW,
        user_id="user123",
        organization_id=ORGANIZATION,
        heartbeat_interval=30_000,
        server=messages.ServerFeatures(("websocket", "sse")),
    )


def server_samples() -> dict[type, list[str]]:
    """Give a message of every type that the server sends, as the server encodes it."""
    document = Subscription("document_updates", Filters(document_id="doc123"))
    at = cursor_at(41)
    body = next(prepared.body for _, _, _, prepared in publications())
    answers: list[Answer] = [
        connected("conn_0192f0c1d2e370a4"),
        messages.Subscribed(request_id="1", subscription_id="sub_0192f0c1d2e371a4", subscription=document, cursor=at),
        messages.Subscribed(
            subscription_ids=("sub_0192f0c1d2e372a4", "sub_0192f0c1d2e373a4"),
            subscriptions=(document, Subscription("notifications")),
            recovered=True,
            cursor=at,
        ),
        messages.Subscribed(
            subscription_id="sub_0192f0c1d2e374a4", subscription=document, recovered=False, reason="expired", cursor=at
        ),
        messages.Unsubscribed(subscription_id="sub_0192f0c1d2e371a4"),
        messages.Pong(timestamp=NOW, cursor=at),
        messages.CursorMessage(cursor=at),
        messages.PresenceAccepted(request_id="5"),
        messages.PresenceChanged(
            users=(
                messages.PresenceChange(user_id="user123", status="away", last_seen=NOW, current_document="doc123"),
                messages.PresenceChange(user_id="user456", status="offline", last_seen=NOW),
            )
        ),
        messages.PresenceChanged(truncated=True, online=348),
        messages.Signalled(signal="typing", document_id="doc123", data={"field": "title"}, user_id="user123"),
        messages.TokenExpiring(expires_at="2026-11-22T19:04:22.000Z"),
        messages.Refreshed(request_id="3", expires_at="2026-11-22T19:19:22.000Z"),
        messages.Resync(reason="expired", cursor=at),
        messages.Reconnect(reason="restarting", after_ms=350),
        messages.ErrorMessage(
            request_id="2",
            code="invalid_message",
            message="unknown value 'document_update'; known are " + ", ".join(sorted(get_args(SubscriptionType))),
            path="$.subscription.type",
        ),
        *edit_results(),
    ]
    found: dict[type, list[str]] = {each: [] for each in get_args(ServerMessage)}
    for answer in answers:
        found[type(answer)].append(messages.encode(answer).decode())
    found[EventMessage].append(messages.encode(EventMessage(cursor=cursor_at(42), event=Raw(body))).decode())
    return found


def stream_sample() -> str:
    """Give the beginning of an event stream."""
    told = server_samples()
    (event,) = (prepared for kind, _, _, prepared in publications() if kind == "system_announcement")
    blocks = [
        stream.retry_block(2000),
        stream.message_block(messages.encode(connected("sse_0192f0c1d2e370a4"))),
        stream.message_block(told[messages.Subscribed][1].encode(), cursor_at(41)),
        stream.event_block(event.event_type, event.body, cursor_at(42)),
        stream.keepalive_block(cursor_at(43)),
    ]
    return b"".join(blocks).decode()


def subscription_samples() -> list[dict[str, object]]:
    """Give subscriptions, each decoded strictly."""
    samples: list[dict[str, object]] = WORDS["subscriptions"]["examples"]
    for sample in samples:
        msgspec.convert(sample, Subscription)
    return samples
