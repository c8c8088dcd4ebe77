"""The authorizer port: an application's own word on who may be told what.

Owns: what is asked.   Not: grants and views, which hold beside it (sessions/entitlement.py); when it is asked, its time limit and how long an
answer counts (operations/authorize.py).
Rule: an authorizer narrows what the identity's own rights allow, and never widens it.
"""

from __future__ import annotations

from typing import Protocol

from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.sessions.identity import Identity


class Authorizer(Protocol):
    """Answers for one application."""

    async def may_subscribe(self, identity: Identity, subscription: Subscription, /) -> bool:
        """Say whether the identity may be told what this subscription selects. Raising means no.

        Asked about subscriptions, replay and the history of events as they are selected; about `user_presence` for the presence call; and about
        `document_updates` of one document (`subscription.filters.document_id`) for signals there and for all that is done with the document:
        reading it, its history and its conflicts, editing it, deciding conflicts, moving it on. Whoever is to edit must be told, too.
        Not asked about: what is published with the scope for it, calls of the application itself, administration.
        """
