"""The authorizer port: an application's own word on who may subscribe to what.

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
        """Say whether the identity may be told what this subscription selects. Raising means no."""
