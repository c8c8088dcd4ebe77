"""Development authentication: who one says one is, in well-formed words."""

from __future__ import annotations

from typing import Any

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.development import DevelopmentAuthenticator
from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.sessions.identity import ADMINISTER, ANY_ORGANIZATION, PUBLISH, Identity

authenticate = DevelopmentAuthenticator(now_s=lambda: 1000.9).authenticate


async def identity(purpose: Any = "connect", **fields: Any) -> Identity:
    return await authenticate(Credentials(purpose=purpose, **fields))


async def test_from_the_query() -> None:
    """As in the original's examples: userId and organizationId, with teams; a member with every scope."""
    assert await identity(user_id="user123", organization_id="org123", teams=("a", "b")) == Identity(
        user_id="user123",
        organization_id="org123",
        teams=("a", "b"),
        scopes=frozenset({PUBLISH, ADMINISTER}),
        issued_at=1001,
    )


async def test_from_a_token() -> None:
    """A bearer token is user@organization, split at the last @, and beats the query."""
    own = await identity(bearer="ada@example.org@org123")
    assert (own.user_id, own.organization_id) == ("ada@example.org", "org123")
    assert not own.is_service
    assert (await identity(bearer="ada@org123", user_id="ada", organization_id="org123")).user_id == "ada"


async def test_a_service_by_token_or_by_silence() -> None:
    """`name@*` is a service; a publisher without any credentials is one too, but nobody else."""
    own = await identity(bearer="reports@*")
    assert own.is_service
    assert own.organization_id == ANY_ORGANIZATION
    assert (await identity("publish")).is_service
    for purpose in ("connect", "read"):
        with pytest.raises(Unauthenticated):
            await identity(purpose)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": "ada"},
        {"organization_id": "org123"},
        {"user_id": "", "organization_id": "org123"},
        {"user_id": "ada", "organization_id": ""},
        {"user_id": "ada", "organization_id": "*"},
        {"user_id": "ada", "organization_id": "~"},
        {"user_id": " ada", "organization_id": "org123"},
        {"user_id": "a" * 129, "organization_id": "org123"},
        {"user_id": "ada", "organization_id": "org\n123"},
        {"user_id": "ada", "organization_id": "org123", "teams": ("",)},
        {"bearer": "ada"},
        {"bearer": ""},
        {"bearer": "@org123"},
        {"bearer": "ada@"},
        {"bearer": "@*"},
        {"bearer": "ada@~"},
    ],
)
async def test_what_is_no_identity(fields: dict[str, Any]) -> None:
    """Half an identity, malformed ids and reserved organizations are refused, for publishers as well."""
    for purpose in ("connect", "read", "publish"):
        with pytest.raises(Unauthenticated):
            await identity(purpose, **fields)


@pytest.mark.parametrize("claim", [{"user_id": "bob"}, {"organization_id": "org456"}, {"organization_id": "*"}])
async def test_a_claim_against_the_token_is_forbidden(claim: dict[str, str]) -> None:
    """The identity comes from the credentials alone; a query that names another is 403."""
    with pytest.raises(Forbidden):
        await identity(bearer="ada@org123", **claim)
