"""Few readers, few wishes and few happenings, so that they meet often.

Owns: who reads what in long random plays.   Not: the plays.
"""

from __future__ import annotations

from typing import Final

from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.sessions.identity import Identity
from tests.support import delivery
from tests.support.samples import sample_event

_guest = delivery.guest(
    delivery.grant(document_id="a", recipient_id="b", types=tuple(delivery.EVENTS_OF)),
    delivery.grant(signing_request_id="b", recipient_id="a"),
    user_id="b",
    organization_id="one",
)
_usual = [
    Subscription(name) for name in ("document_updates", "signing_updates", "notifications", "system_announcements")
]
_documents = [
    delivery.subscription("document_updates", document_id="a"),
    delivery.subscription("document_updates", event_types=("document_updated",)),
]
READERS: Final[list[tuple[Identity, list[Subscription]]]] = [
    *[(delivery.member("a", "one", "a"), _usual)] * 3,
    (delivery.member("a", "one", "a"), _documents),
    (delivery.member("b", "one", "b"), [Subscription("notifications")]),
    (_guest, [Subscription("signing_updates"), Subscription("notifications")]),
    (delivery.member("b", "two"), _usual),
]
"""Some want the same, so that they share an audience. All belong to `one` or `two`."""
WISHES: Final[list[list[Subscription]]] = [
    *([delivery.subscription(name)] for name in delivery.EVENTS_OF),
    *([delivery.subscription("document_updates", document_id=d)] for d in "ab"),
    [delivery.subscription("signing_updates", signing_request_id="b")],
    [delivery.subscription("organization_activity", document_id="a"), Subscription("notifications")],
    _documents,
    _usual,
]
HAPPENINGS: Final[list[Published]] = [
    *(sample_event("document_update", documentId=d, type=t, changes=None) for d in "ab" for t in ("updated", "signed")),
    *(sample_event("signature_status", documentId=d, signingRequestId="b", recipientId=r) for d in "ab" for r in "ab"),
    *(sample_event("notification", userId=u) for u in "ab"),
    sample_event("team_update", teamId="a"),
    sample_event("user_presence", userId="a", currentDocument="a"),
    sample_event("organization_activity", payload={"documentId": "a"}),
]
