"""Who a connection or a request acts for, and what was granted to them.

Owns: the values that authenticators make and every other room trusts.   Not: how credentials are checked (auth), what a grant means for a
subscription (entitlement.py).
Rule: the organization stands here and nowhere else; no operation takes one from a client's message.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

PUBLISH: Final = "realtime:publish"
ADMINISTER: Final = "realtime:admin"
ANY_ORGANIZATION: Final = "*"
"""A service's organization: it names one per event, may publish announcements, opens no connection and reads nothing."""


def latest_issue_s(now_ms: int, leeway_ms: int = 0) -> int:
    """Give the latest second, since 1970, in which a token may say that it was made, if it is to be accepted now.

    A revocation of a user ends the tokens made up to then. Invariant: both ask here; a token that is accepted and lies beyond the revocation's
    bound would outlive it. `leeway_ms`: by how much clocks may differ. Rounded up, for whoever makes tokens may round.
    """
    return math.ceil((now_ms + leeway_ms) / 1000)


class Grant(Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A guest's permission. `types` are subscription types; absent ones narrow nothing."""

    actions: tuple[str, ...]
    types: tuple[str, ...] | None = None
    document_id: str | None = None
    signing_request_id: str | None = None
    recipient_id: str | None = None


class Identity(Struct, frozen=True, kw_only=True):
    """An authenticated user of one organization, or a service (`organization_id` is ANY_ORGANIZATION).

    `grants` is None for a member, who sees all of the organization but other users' notifications and other teams' updates.
    `expires_at` is in milliseconds since 1970, None for identities that do not expire (development). `issued_at` is in seconds since 1970,
    None where the token does not say; `token_id` is the token's own name. Both are what a revocation looks at.
    """

    user_id: str
    organization_id: str
    teams: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] | None = None
    expires_at: int | None = None
    token_id: str | None = None
    issued_at: int | None = None

    @property
    def is_service(self) -> bool:
        return self.organization_id == ANY_ORGANIZATION

    @property
    def is_guest(self) -> bool:
        return self.grants is not None
