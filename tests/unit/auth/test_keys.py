"""Which keys may be configured, and that what is minted with one is accepted by the other."""

from __future__ import annotations

import pytest

from signtusk_realtime.auth import minting
from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.claims import ClaimRules
from signtusk_realtime.auth.jwt import JwtAuthenticator, OneKey
from signtusk_realtime.auth.keys import Key, public_key, secret_key
from signtusk_realtime.errors import ConfigurationError, Forbidden, InvalidInput, Unauthenticated
from tests.support.tokens import (
    CLAIMS,
    NOW_S,
    SECRET,
    PrivateKey,
    ec_key,
    ed_key,
    private_pem,
    public_pem,
    rsa_key,
    signature,
)

NOW_MS = NOW_S * 1000
DEFAULTS = [
    (rsa_key(), {"RS256", "PS256"}, "RS256"),
    (ec_key(), {"ES256"}, "ES256"),
    (ec_key("P-384"), {"ES384"}, "ES384"),
    (ec_key("P-521"), {"ES512"}, "ES512"),
    (ed_key(), {"EdDSA"}, "EdDSA"),
]


def accepts(key: Key) -> JwtAuthenticator:
    return JwtAuthenticator(OneKey(key), now_s=lambda: float(NOW_S))


@pytest.mark.parametrize(("private", "algorithms", "used"), DEFAULTS, ids=[used for _, _, used in DEFAULTS])
async def test_what_a_private_key_signs_its_public_key_proves(
    private: PrivateKey, algorithms: set[str], used: str
) -> None:
    """For every type of key, with the algorithms that are its own by default."""
    key = public_key(public_pem(private))
    assert key.algorithms == algorithms
    signer = minting.with_private_key(private_pem(private), key_id="k1")
    text = minting.mint(signer, CLAIMS, ClaimRules(), NOW_MS)
    found = await accepts(key).authenticate(Credentials(purpose="connect", bearer=text))
    assert found.user_id == "user123"


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_what_a_secret_signs_it_proves(algorithm: str) -> None:
    """With each algorithm that is allowed, and with no other."""
    text = minting.mint(minting.with_secret(SECRET, algorithm), CLAIMS, ClaimRules(), NOW_MS)
    credentials = Credentials(purpose="connect", bearer=text)
    assert (await accepts(secret_key(SECRET, (algorithm,))).authenticate(credentials)).user_id == "user123"
    with pytest.raises(Unauthenticated):
        await accepts(secret_key(SECRET, ("HS256", "HS384") if algorithm == "HS512" else ("HS512",))).authenticate(
            credentials
        )


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS384", "PS512"])
async def test_longer_digests_may_be_allowed(algorithm: str) -> None:
    """An RSA key proves with what the settings name."""
    signer = minting.with_private_key(private_pem(rsa_key()), algorithm)
    text = minting.mint(signer, CLAIMS, ClaimRules(), NOW_MS)
    key = public_key(public_pem(rsa_key()), (algorithm,))
    assert await accepts(key).authenticate(Credentials(purpose="connect", bearer=text))


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("x" * 31, "has 31 bytes; at least 32"),
        ("ü" * 15, "has 30 bytes"),
        ("", "has 0 bytes"),
        (public_pem(ed_key()), "auth.public_key"),
    ],
)
def test_a_secret_that_is_none(secret: str, fault: str) -> None:
    """Too short, or a key of another kind: refused in words that do not repeat it."""
    with pytest.raises(ConfigurationError, match=fault) as caught:
        secret_key(secret)
    assert not secret or secret not in caught.value.message


def test_a_secret_counts_by_its_bytes() -> None:
    """Sixteen letters of two bytes are enough."""
    assert secret_key("ü" * 16).algorithms == {"HS256"}


@pytest.mark.parametrize(
    ("pem", "fault"),
    [
        ("", "is not a public key in PEM form"),
        ("ssh-ed25519 AAAA", "is not a public key in PEM form"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "is not a public key in PEM form"),
        (private_pem(ed_key()).decode(), "is a private key"),
        (public_pem(rsa_key(bits=1024)), "RSA of 2048 bits or more"),
        (public_pem(ec_key("secp256k1")), "no key is accepted"),
    ],
    ids=["empty", "ssh", "garbage", "private", "short RSA", "another curve"],
)
def test_a_public_key_that_is_none(pem: str, fault: str) -> None:
    """Malformed, weak, of an unknown type, or a private one."""
    with pytest.raises(ConfigurationError, match=fault) as caught:
        public_key(pem)
    assert "MC" not in caught.value.message


@pytest.mark.parametrize(
    ("private", "allowed"),
    [(rsa_key(), "HS256"), (rsa_key(), "ES256"), (ec_key(), "ES384"), (ed_key(), "RS256")],
    ids=lambda value: str(value)[:9],
)
def test_an_algorithm_of_another_type_of_key(private: PrivateKey, allowed: str) -> None:
    """The settings cannot allow what does not fit the key: neither a public key as a secret nor another curve."""
    with pytest.raises(ConfigurationError, match=f"auth.algorithms: {allowed} cannot be used"):
        public_key(public_pem(private), (allowed,))
    with pytest.raises(ConfigurationError, match="cannot be used with a secret"):
        secret_key(SECRET, ("RS256",))


def test_what_would_not_be_accepted_is_not_minted() -> None:
    """Who tries things out learns at once what is wrong with the claims."""
    signer = minting.with_secret(SECRET)
    with pytest.raises(InvalidInput, match="the token's sub must be an id"):
        minting.mint(signer, {**CLAIMS, "sub": ""}, ClaimRules(), NOW_MS)
    with pytest.raises(InvalidInput, match="another issuer"):
        minting.mint(signer, CLAIMS, ClaimRules(issuer="me"), NOW_MS)


@pytest.mark.parametrize("pem", [b"", b"x", public_pem(ed_key()).encode(), private_pem(rsa_key(bits=1024))])
def test_a_private_key_that_is_none(pem: bytes) -> None:
    """Only what a service would accept the other half of."""
    with pytest.raises(ConfigurationError, match="private key"):
        minting.with_private_key(pem)


async def test_a_key_is_used_as_it_is_meant_twice_over() -> None:
    """Where keys are looked for and where a signature is checked: each refuses another algorithm by itself."""
    secret, signed = secret_key(SECRET), b"a.b"
    for algorithm, expected in (("HS256", True), ("HS384", False)):
        mac = signature(algorithm, SECRET, signed)
        assert secret.proves(algorithm, signed, mac) is expected
        assert bool(await OneKey(secret).find(None, algorithm)) is expected


async def test_who_says_to_be_somebody_else_is_refused() -> None:
    """A query that names another user or organization than the token is forbidden, and one that agrees is not."""
    authenticate = accepts(secret_key(SECRET)).authenticate
    text = minting.mint(minting.with_secret(SECRET), CLAIMS, ClaimRules(), NOW_MS)
    assert await authenticate(Credentials(purpose="read", bearer=text, user_id="user123", organization_id="org123"))
    with pytest.raises(Forbidden):
        await authenticate(Credentials(purpose="read", bearer=text, organization_id="org456"))
    with pytest.raises(Forbidden):
        await authenticate(Credentials(purpose="publish", bearer=text, user_id="user456"))


async def test_a_query_is_nobody() -> None:
    """What a query says is believed in development only, whatever the request is for."""
    authenticate = accepts(secret_key(SECRET)).authenticate
    for credentials in (
        Credentials(purpose="connect", user_id="user123", organization_id="org123"),
        Credentials(purpose="publish"),
        Credentials(purpose="operate"),
    ):
        with pytest.raises(Unauthenticated, match="a token is required"):
            await authenticate(credentials)
