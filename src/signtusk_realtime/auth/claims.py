"""What a proven token says: from claims to an identity.

Owns: which claims count, their form, the times between which a token is good.   Not: proving it (jwt.py), what an identity may do (sessions).
Rule 1: the organization stands in the token and nowhere else.
Rule 2: a claim of another form than it should have refuses the token; nothing is guessed, and nothing that limits is passed over.
Rule 3: messages name a claim and say what it should be, and repeat no value.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from signtusk_realtime.errors import InvalidInput, Unauthenticated
from signtusk_realtime.events.ids import ID_RULE, RESERVED_ORGANIZATIONS, Id, is_id
from signtusk_realtime.events.subscriptions import SubscriptionType
from signtusk_realtime.protocol import json
from signtusk_realtime.sessions.identity import ADMINISTER, ANY_ORGANIZATION, PUBLISH, Grant, Identity, latest_issue_s

CLAIMS_DEPTH: Final = 32
LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999, beyond which RFC 3339 cannot tell a time."""
KNOWN_SCOPES: Final = frozenset({PUBLISH, ADMINISTER})
MAX_GRANTS: Final = 100

Action = Literal["subscribe", "edit", "resolve", "overwrite"]


class ClaimRules(Struct, frozen=True, kw_only=True):
    """What is demanded of claims; names and meanings are those of the settings `auth.…`. `leeway_ms`: by how much clocks may differ;
    `lifetime_ms`: how long a token may live, None for any time.
    """

    issuer: str | None = None
    audience: str | None = None
    leeway_ms: int = 0
    lifetime_ms: int | None = None
    user_claim: str = "sub"
    organization_claim: str = "org"
    teams_claim: str = "teams"


class _GrantClaim(Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    actions: Annotated[tuple[Action, ...], Meta(max_length=16)]
    # UNSET and not None: a null is not a way to leave out what narrows a grant.
    types: Annotated[tuple[SubscriptionType, ...], Meta(max_length=16)] | UnsetType = UNSET
    document_id: Id | UnsetType = UNSET
    signing_request_id: Id | UnsetType = UNSET
    recipient_id: Id | UnsetType = UNSET


_Grants = Annotated[tuple[_GrantClaim, ...], Meta(max_length=MAX_GRANTS)]
_Claims = dict[str, object]


def read_identity(payload: bytes, rules: ClaimRules, now_ms: int) -> Identity:
    """Give the identity that claims stand for. The token's signature was proven. Raises: Unauthenticated."""
    claims = _read(payload)
    expires_at = _check_times(claims, rules.leeway_ms, now_ms)
    _check_addresses(claims, rules)
    scopes = _scopes(claims)
    organization_id = _organization(claims, rules.organization_claim, scopes)
    grants = _grants(claims)
    if organization_id == ANY_ORGANIZATION and grants is not None:
        raise Unauthenticated("the token is a service's and has grants; only a guest of one organization has")
    if grants is not None and scopes:
        # What publishes or administers goes by the scope alone, past the grants.
        told = " or ".join(sorted(KNOWN_SCOPES))
        raise Unauthenticated(
            f"the token has grants and the scope {told}; a guest may do what is granted, and nothing else"
        )
    issued_at = _issued_at(claims, rules.leeway_ms, now_ms)
    _check_lifetime(issued_at, expires_at - rules.leeway_ms, rules.lifetime_ms)
    return Identity(
        user_id=_id(claims, rules.user_claim),
        organization_id=organization_id,
        teams=_teams(claims, rules.teams_claim),
        scopes=scopes,
        grants=grants,
        expires_at=expires_at,
        token_id=_id(claims, "jti") if "jti" in claims else None,
        issued_at=issued_at,
    )


def _read(payload: bytes) -> _Claims:
    try:
        claims = json.decode_value(payload, depth=CLAIMS_DEPTH)
    except InvalidInput:
        raise Unauthenticated("the token's claims are not JSON, or a name stands twice in them") from None
    if not isinstance(claims, dict):
        raise Unauthenticated("the token's claims are not a JSON object")
    return claims


def _check_times(claims: _Claims, leeway_ms: int, now_ms: int) -> int:
    """Give when the token ends for us, in milliseconds since 1970."""
    expires_at = _second(claims, "exp")
    if expires_at is None:
        raise Unauthenticated("the token has no exp: tokens must expire")
    ends_at = math.floor(expires_at * 1000) + leeway_ms
    if ends_at <= now_ms:
        raise Unauthenticated("the token has expired")
    begins_at = _second(claims, "nbf")
    if begins_at is not None and now_ms < begins_at * 1000 - leeway_ms:
        raise Unauthenticated("the token is not valid yet")
    return ends_at


def _issued_at(claims: _Claims, leeway_ms: int, now_ms: int) -> int | None:
    """Give the second in which the token was made, if it says so.

    A revocation ends the tokens made up to the latest second that is accepted then: one that claims a later time would outlive it. Whole
    seconds are compared, for whoever makes tokens may round.
    """
    issued_at = _second(claims, "iat")
    if issued_at is None:
        return None
    if math.floor(issued_at) > latest_issue_s(now_ms, leeway_ms):
        raise Unauthenticated("the token's iat lies in the future")
    return math.floor(issued_at)


def _check_lifetime(issued_at: int | None, ends_at: int, lifetime_ms: int | None) -> None:
    if lifetime_ms is None:
        return
    if issued_at is None:
        raise Unauthenticated("the token has no iat: it must say when it was made")
    if ends_at > (issued_at + 1) * 1000 + lifetime_ms:
        raise Unauthenticated(f"the token lives longer than {lifetime_ms} ms, which is not allowed")


def _check_addresses(claims: _Claims, rules: ClaimRules) -> None:
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        raise Unauthenticated("the token is of another issuer")
    if rules.audience is not None:
        audience = claims.get("aud")
        if audience != rules.audience and not (isinstance(audience, list) and rules.audience in audience):
            raise Unauthenticated("the token is for another audience")


def _second(claims: _Claims, name: str) -> float | None:
    """Give a NumericDate (RFC 7519 §2), or None if there is none."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LAST_SECOND:
        raise Unauthenticated(f"the token's {name} must be a number of seconds since 1970")
    return value


def _id(claims: _Claims, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not is_id(value):
        raise Unauthenticated(f"the token's {name} must be an id: {ID_RULE}")
    return value


def _organization(claims: _Claims, name: str, scopes: frozenset[str]) -> str:
    organization_id = _id(claims, name)
    if organization_id == ANY_ORGANIZATION:
        if PUBLISH not in scopes:
            raise Unauthenticated(f"the token is for every organization, which needs the scope {PUBLISH}")
    elif organization_id in RESERVED_ORGANIZATIONS:
        raise Unauthenticated(f"the token's {name} is a reserved name")
    return organization_id


def _scopes(claims: _Claims) -> frozenset[str]:
    value = claims.get("scope", "")
    named = value.split(" ") if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise Unauthenticated("the token's scope must be a text with spaces between, or a list of texts")
    # What other services take for a scope is none here, and is not kept.
    return KNOWN_SCOPES.intersection(named)


def _teams(claims: _Claims, name: str) -> tuple[str, ...]:
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and is_id(one) for one in value):
        raise Unauthenticated(f"the token's {name} must be a list of ids: {ID_RULE}")
    # In one order, so that members of the same teams share what was compiled for one of them.
    return tuple(sorted(set(value)))


def _grants(claims: _Claims) -> tuple[Grant, ...] | None:
    if "grants" not in claims:
        return None
    try:
        found = convert(claims["grants"], _Grants)
    except (ValidationError, RecursionError):
        raise Unauthenticated(
            "the token's grants must be a list of objects with actions (subscribe, edit, resolve, overwrite) and, if wanted, types,"
            " documentId, signingRequestId, recipientId"
        ) from None
    return tuple(
        Grant(
            actions=one.actions,
            types=None if one.types is UNSET else one.types,
            document_id=_given(one.document_id),
            signing_request_id=_given(one.signing_request_id),
            recipient_id=_given(one.recipient_id),
        )
        for one in found
    )


def _given(value: str | UnsetType) -> str | None:
    return None if value is UNSET else value
