"""What a proven token says, value by value."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.auth.claims import ClaimRules, read_identity
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.sessions.identity import ADMINISTER, PUBLISH, Grant, Identity

NOW_MS = 1_800_000_000_000


def identity(rules: ClaimRules | None = None, now_ms: int = NOW_MS, **claims: object) -> Identity:
    body = {"sub": "user123", "org": "org123", "exp": NOW_MS // 1000 + 60, **claims}
    return read_identity(json.dumps(body).encode(), rules or ClaimRules(), now_ms)


def test_a_member() -> None:
    """Without grants: a member of the organization, with nothing that the token does not say."""
    assert identity() == Identity(user_id="user123", organization_id="org123", expires_at=NOW_MS + 60_000)


def test_all_that_a_token_may_say() -> None:
    """Teams in one order and once each, scopes that are known here, its name, and when it was made, in whole seconds."""
    assert identity(
        teams=["legal", "accounts", "legal"],
        scope="openid realtime:publish realtime:admin",
        jti="t1",
        iat=1_799_999_999.9,
        nbf=NOW_MS // 1000,
    ) == Identity(
        user_id="user123",
        organization_id="org123",
        teams=("accounts", "legal"),
        scopes=frozenset({PUBLISH, ADMINISTER}),
        expires_at=NOW_MS + 60_000,
        token_id="t1",
        issued_at=1_799_999_999,
    )


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("", set()),
        ([], set()),
        ("realtime:publish", {PUBLISH}),
        (["realtime:admin"], {ADMINISTER}),
        ("realtime:publisher realtime:*", set()),
        (["realtime:publish realtime:admin"], set()),
    ],
)
def test_scopes(scope: object, scopes: set[str]) -> None:
    """A text with spaces between or a list; a scope is known by its whole name."""
    assert identity(scope=scope).scopes == scopes


def test_a_service() -> None:
    """The organization `*`, with the scope to publish."""
    assert identity(org="*", scope="realtime:publish").is_service


def test_a_guest() -> None:
    """Grants are taken as they stand."""
    found = identity(
        grants=[
            {"actions": ["subscribe", "edit"], "documentId": "d1", "recipientId": "r1"},
            {"actions": ["subscribe"], "types": ["notifications"]},
            {"actions": ["subscribe"], "signingRequestId": "s1"},
        ]
    )
    assert found.grants == (
        Grant(actions=("subscribe", "edit"), document_id="d1", recipient_id="r1"),
        Grant(actions=("subscribe",), types=("notifications",)),
        Grant(actions=("subscribe",), signing_request_id="s1"),
    )


def test_what_grants_say_is_all_that_a_guest_may() -> None:
    """A scope of ours beside grants would go past them, so the two refuse the token; another service's scope is none, and does not."""
    granted = [{"actions": ["subscribe", "edit"], "documentId": "d1"}]
    assert identity(grants=granted, scope="openid profile").is_guest
    for scope in (PUBLISH, ADMINISTER, [PUBLISH, ADMINISTER]):
        with pytest.raises(Unauthenticated, match="nothing else"):
            identity(grants=granted, scope=scope)


def test_no_grants_at_all_are_no_membership() -> None:
    """An empty list is a guest who was granted nothing, and not a member."""
    assert identity(grants=[]).grants == ()
    assert identity(grants=[]).is_guest


def test_other_names_of_claims() -> None:
    """Where claims are called otherwise, those count and the usual ones do not."""
    rules = ClaimRules(user_claim="email", organization_claim="https://example.com/tenant", teams_claim="groups")
    found = identity(
        rules, email="ada@example.com", groups=["g"], teams="ignored", **{"https://example.com/tenant": "t1"}
    )
    assert (found.user_id, found.organization_id, found.teams) == ("ada@example.com", "t1", ("g",))
    with pytest.raises(Unauthenticated, match="email"):
        identity(rules, **{"https://example.com/tenant": "t1"})


def test_a_token_is_good_until_the_very_moment() -> None:
    """Times count in milliseconds; a token is over at `exp` and begins at `nbf`."""
    end = NOW_MS + 60_000
    assert identity(now_ms=end - 1)
    with pytest.raises(Unauthenticated, match="expired"):
        identity(now_ms=end)
    with pytest.raises(Unauthenticated, match="not valid yet"):
        identity(nbf=NOW_MS / 1000 + 0.001)


def test_a_token_is_not_made_in_the_future() -> None:
    """One that says so would outlive a revocation of all made until now; whose clock may be off is forgiven so much, and a second rounded up."""
    now_s = NOW_MS // 1000
    assert identity(iat=now_s).issued_at == now_s
    assert identity(iat=now_s + 1, now_ms=NOW_MS + 500).issued_at == now_s + 1
    assert identity(ClaimRules(leeway_ms=30_000), iat=now_s + 30).issued_at == now_s + 30
    for rules, seconds in ((ClaimRules(), 1), (ClaimRules(leeway_ms=30_000), 31), (ClaimRules(), 10**9)):
        with pytest.raises(Unauthenticated, match="iat lies in the future"):
            identity(rules, iat=now_s + seconds, exp=now_s + 2 * 10**9)


def test_a_token_may_have_to_end_in_time() -> None:
    """Where a longest life is set a token must say when it was made, and end so much later at most; by default it lives for any time."""
    now_s, rules = NOW_MS // 1000, ClaimRules(lifetime_ms=3_600_000, leeway_ms=5000)
    assert identity(exp=now_s + 10 * 365 * 86_400)
    assert identity(rules, iat=now_s - 60, exp=now_s + 3540).expires_at == (now_s + 3545) * 1000
    for claims in ({"exp": now_s + 60}, {"iat": now_s - 60, "exp": now_s + 3542}, {"iat": 0, "exp": now_s + 60}):
        with pytest.raises(Unauthenticated, match=r"iat|longer"):
            identity(rules, **claims)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_true_is_no_time(name: str) -> None:
    """Although it would count as one in Python."""
    with pytest.raises(Unauthenticated, match=f"{name} must be a number"):
        identity(now_ms=0, **{name: True})


def test_leeway_is_given_on_both_sides() -> None:
    """Clocks may differ by that much; the connection may stay as long as its token would be accepted."""
    rules = ClaimRules(leeway_ms=5000)
    found = identity(rules, now_ms=NOW_MS + 64_999)
    assert found.expires_at == NOW_MS + 65_000
    with pytest.raises(Unauthenticated):
        identity(rules, now_ms=NOW_MS + 65_000)
    assert identity(rules, nbf=NOW_MS // 1000 + 5)
    with pytest.raises(Unauthenticated):
        identity(rules, nbf=NOW_MS / 1000 + 5.001)
