"""Forged and malformed tokens: every one is refused, whatever the key that is configured.

Each is wrong in one place; beside the corpus stands the good token of the same making, so that a refusal is not refused for another reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.claims import ClaimRules
from signtusk_realtime.auth.jwks import Jwks
from signtusk_realtime.auth.jwt import JwtAuthenticator, Keys, OneKey
from signtusk_realtime.auth.keys import public_key, secret_key
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.sessions.identity import Identity
from tests.support.tokens import (
    CLAIMS,
    NOW_S,
    SECRET,
    b64,
    ec_key,
    ed_key,
    jwk,
    jwks,
    public_pem,
    raw_token,
    rsa_key,
    signature,
    token,
)

RULES: Final = ClaimRules(issuer="https://login.example.com", audience="realtime")
ADDRESSED: Final = {"iss": "https://login.example.com", "aud": "realtime"}


async def published() -> bytes:
    return jwks(
        jwk(rsa_key(), "rsa"),
        jwk(ec_key(), "ec"),
        jwk(ed_key(), "ed"),
        {"kty": "oct", "k": b64(b"x" * 32), "kid": "oct"},
    )


KEYS: Final[dict[str, Callable[[], Keys]]] = {
    "secret": lambda: OneKey(secret_key(SECRET)),
    "rsa": lambda: OneKey(public_key(public_pem(rsa_key()))),
    "ec": lambda: OneKey(public_key(public_pem(ec_key()))),
    "ed": lambda: OneKey(public_key(public_pem(ed_key()))),
    "jwks": lambda: Jwks(published),
}


async def authenticate(keys: str, text: str, rules: ClaimRules | None = None) -> Identity:
    authenticator = JwtAuthenticator(KEYS[keys](), rules, now_s=lambda: float(NOW_S))
    return await authenticator.authenticate(Credentials(purpose="connect", bearer=text))


def body(text: str) -> bytes:
    """Give claims written by hand: `…` stands for those of a good token, without its braces."""
    return text.replace("…", json.dumps(dict(CLAIMS))[1:-1]).encode()


def head(text: str) -> str:
    """Give a token with a header written by hand, signed well."""
    return raw_token(text.encode(), body("{…}"), lambda signed: signature("HS256", SECRET, signed))


def part(index: int, change: Callable[[str], str]) -> str:
    """Give a good token with one part changed afterwards."""
    parts = token().split(".")
    parts[index] = change(parts[index])
    return ".".join(parts)


def other(sign: str) -> str:
    return "A" if sign != "A" else "B"


def unsigned(algorithm: str) -> str:
    return raw_token(json.dumps({"alg": algorithm}).encode(), body("{…}"), lambda signed: b"").rstrip(".") + "."


GOOD: Final = {
    "HS256": ("secret", token()),
    "RS256": ("rsa", token(rsa_key(), "RS256")),
    "PS256": ("rsa", token(rsa_key(), "PS256")),
    "ES256": ("ec", token(ec_key(), "ES256")),
    "EdDSA": ("ed", token(ed_key(), "EdDSA")),
    "RS256 of a set": ("jwks", token(rsa_key(), "RS256", {"kid": "rsa"})),
    "ES256 of a set": ("jwks", token(ec_key(), "ES256", {"kid": "ec"})),
    "EdDSA of a set": ("jwks", token(ed_key(), "EdDSA", {"kid": "ed"})),
    "without a kid": ("jwks", token(ed_key(), "EdDSA")),
    "thumbprints and certificates": ("secret", token(header={"x5t": "abc", "x5c": ["abc"], "x5t#S256": "abc"})),
    "typ of an access token": ("secret", token(header={"typ": "at+JWT"})),
    "no typ": ("secret", head('{"alg":"HS256"}')),
    "half a second": ("secret", token(exp=NOW_S + 0.5)),
    "claims of others": ("secret", token(realm_access={"roles": ["x"]}, azp=None, aud=["a"], iss=1)),
}

BAD: Final[dict[str, tuple[str, str]]] = {
    # --- algorithms
    "none": ("secret", unsigned("none")),
    "None": ("secret", unsigned("None")),
    "nOnE, of a public key": ("rsa", unsigned("nOnE")),
    "none, of a set": ("jwks", unsigned("none")),
    "none, with a signature that would be good": (
        "secret",
        raw_token(b'{"alg":"none"}', body("{…}"), lambda s: signature("HS256", SECRET, s)),
    ),
    "no algorithm": ("secret", head('{"typ":"JWT"}')),
    "algorithm in small letters": ("secret", head('{"alg":"hs256"}')),
    "algorithm with a space": ("secret", head('{"alg":"HS256 "}')),
    "algorithm is a list": ("secret", head('{"alg":["HS256"]}')),
    "algorithm is null": ("secret", head('{"alg":null}')),
    "algorithm that nobody knows": ("secret", head('{"alg":"XS256"}')),
    "algorithm of a key wrap": ("secret", head('{"alg":"dir","enc":"A128GCM"}')),
    "public RSA key taken for a secret": ("rsa", token(public_pem(rsa_key()), "HS256")),
    "public EC key taken for a secret": ("ec", token(public_pem(ec_key()), "HS256")),
    "public key of a set taken for a secret": ("jwks", token(public_pem(rsa_key()), "HS256", {"kid": "rsa"})),
    "secret within a set": ("jwks", token(b"x" * 32, "HS256", {"kid": "oct"})),
    "longer digest than is allowed": ("secret", token(SECRET, "HS512")),
    "RS512 where RS256 is allowed": ("rsa", token(rsa_key(), "RS512")),
    "RS256 signed, PS256 said": (
        "rsa",
        raw_token(b'{"alg":"PS256"}', body("{…}"), lambda s: signature("RS256", rsa_key(), s)),
    ),
    "RS256 said of an EC key": ("ec", token(rsa_key(), "RS256")),
    "ES256 said of an RSA key": ("rsa", token(ec_key(), "ES256")),
    "ES384 said of a P-256 key": ("ec", token(ec_key("P-384"), "ES384")),
    "EdDSA said of a secret": ("secret", token(ed_key(), "EdDSA")),
    "RS256 by the name of an EC key": ("jwks", token(rsa_key(), "RS256", {"kid": "ec"})),
    # --- keys
    "another secret": ("secret", token("x" * 32)),
    "the empty secret": ("secret", token(b"")),
    "another RSA key": ("rsa", token(rsa_key("b"), "RS256")),
    "another EC key": ("ec", token(ec_key(name="b"), "ES256")),
    "another Ed25519 key": ("ed", token(ed_key("b"), "EdDSA")),
    "another key by a known name": ("jwks", token(rsa_key("b"), "RS256", {"kid": "rsa"})),
    "unknown kid": ("jwks", token(rsa_key(), "RS256", {"kid": "gone"})),
    "huge kid": ("jwks", token(rsa_key(), "RS256", {"kid": "k" * 4000})),
    "empty kid": ("jwks", token(rsa_key(), "RS256", {"kid": ""})),
    "kid is a number": ("jwks", token(rsa_key(), "RS256", {"kid": 1})),
    "kid is a path": ("jwks", token("", "HS256", {"kid": "../../dev/null"})),
    "its own key, jwk": ("rsa", token(rsa_key("b"), "RS256", {"jwk": jwk(rsa_key("b"))})),
    "its own key, jwk, of a good token": ("rsa", token(rsa_key(), "RS256", {"jwk": jwk(rsa_key())})),
    "its own keys, jku": (
        "jwks",
        token(rsa_key("b"), "RS256", {"kid": "rsa", "jku": "https://evil.example.com/keys.json"}),
    ),
    "its own certificate, x5u": ("rsa", token(rsa_key("b"), "RS256", {"x5u": "https://evil.example.com/c.pem"})),
    "its own certificate, x5c": ("rsa", token(rsa_key("b"), "RS256", {"x5c": [b64(b"certificate")]})),
    # --- signatures
    "no signature": ("secret", part(2, lambda _: "")),
    "signature cut": ("secret", part(2, lambda s: s[:-2])),
    "signature longer": ("secret", part(2, lambda s: s + "AA")),
    "first byte of the signature changed": ("secret", part(2, lambda s: other(s[0]) + s[1:])),
    "last bits of the signature changed": ("secret", part(2, lambda s: s[:-1] + chr(ord(s[-1]) + 1))),
    "one byte of the claims changed": ("secret", part(1, lambda s: s[:10] + other(s[10]) + s[11:])),
    "one byte of the header changed": ("secret", part(0, lambda s: s[:-1] + other(s[-1]))),
    "claims of another token": ("secret", part(1, lambda _: token(org="org456").split(".")[1])),
    "ECDSA of zeros": ("ec", raw_token(b'{"alg":"ES256"}', body("{…}"), lambda _: bytes(64))),
    "ECDSA of ones": ("ec", raw_token(b'{"alg":"ES256"}', body("{…}"), lambda _: b"\xff" * 64)),
    "ECDSA in DER": ("ec", raw_token(b'{"alg":"ES256"}', body("{…}"), lambda _: b"\x30\x44" + bytes(68))),
    # --- headers
    "crit": ("secret", token(header={"crit": ["exp"], "exp": 1})),
    "crit is empty": ("secret", token(header={"crit": []})),
    "b64 without crit": ("secret", token(header={"b64": False})),
    "compressed": ("secret", token(header={"zip": "DEF"})),
    "a token within": ("secret", token(header={"cty": "JWT"})),
    "a token for something else": ("secret", token(header={"typ": "logout+jwt"})),
    "typ is a number": ("secret", token(header={"typ": 1})),
    "algorithm twice": ("secret", head('{"alg":"none","alg":"HS256"}')),
    "algorithm twice, once escaped": ("secret", head('{"alg":"none","\\u0061lg":"HS256"}')),
    "header is a list": ("secret", head('["HS256"]')),
    "header is no JSON": ("secret", head('{alg:"HS256"}')),
    "header nests": ("secret", head('{"alg":"HS256","x":' + "[" * 3000 + "]" * 3000 + "}")),
    "header begins with a byte order mark": ("secret", head('\ufeff{"alg":"HS256"}')),
    # --- form
    "nothing": ("secret", ""),
    "a word": ("secret", "token"),
    "of development": ("secret", "user123@org123"),
    "two parts": ("secret", token().rpartition(".")[0]),
    "four parts": ("secret", token() + ".AAAA"),
    "five parts": ("secret", "a.b.c.d.e"),
    "JSON serialization": ("secret", json.dumps({"payload": "e30", "signature": "AA", "protected": "e30"})),
    "padded": ("secret", part(2, lambda s: s + "=")),
    "of base64 and not base64url": ("secret", part(2, lambda s: s.replace("-", "+").replace("_", "/") + "+/")),
    "a space before": ("secret", " " + token()),
    "a line feed after": ("secret", token() + "\n"),
    "not ASCII": ("secret", token().replace("e", "е", 1)),
    "length that no base64 has": ("secret", part(1, lambda s: s + "A" * ((1 - len(s)) % 4 or 4))),
    "longer than is allowed": ("secret", token(x="x" * 8192)),
    "Bearer twice": ("secret", "Bearer " + token()),
    # --- claims
    "claims are a list": ("secret", token(payload=b"[]")),
    "claims are a text": ("secret", token(payload=b'"user123"')),
    "claims are no JSON": ("secret", token(payload=b"sub=user123")),
    "claims are not UTF-8": ("secret", token(payload=b'{"sub":"\xff"}')),
    "claims nest": ("secret", token(payload=body('{…,"x":' + "[" * 2000 + "]" * 2000 + "}"))),
    "user twice": ("secret", token(payload=body('{…,"sub":"admin"}'))),
    "organization twice, the same": ("secret", token(payload=body('{…,"org":"org123"}'))),
    "exp twice": ("secret", token(payload=body('{…,"exp":9999999999}'))),
    "exp twice, once escaped": ("secret", token(payload=body('{…,"e\\u0078p":9999999999}'))),
    "no exp": ("secret", token(without=("exp",))),
    "exp is null": ("secret", token(exp=None)),
    "exp is a text": ("secret", token(exp=str(NOW_S + 3600))),
    "exp is true": ("secret", token(exp=True)),
    "exp is a list": ("secret", token(exp=[NOW_S + 3600])),
    "exp is NaN": ("secret", token(exp=float("nan"))),
    "exp is Infinity": ("secret", token(exp=float("inf"))),
    "exp is 1e400": ("secret", token(without=("exp",), payload=b'{"sub":"user123","org":"org123","exp":1e400}')),
    "exp is 1e300": ("secret", token(exp=1e300)),
    "exp has hundreds of digits": ("secret", token(exp=10**400)),
    "exp is negative": ("secret", token(exp=-1)),
    "exp in milliseconds": ("secret", token(exp=(NOW_S + 3600) * 1000)),
    "expired": ("secret", token(exp=NOW_S - 1)),
    "expires now": ("secret", token(exp=NOW_S)),
    "not valid yet": ("secret", token(nbf=NOW_S + 1)),
    "made in the future": ("secret", token(iat=NOW_S + 1)),
    "made in the far future": ("secret", token(iat=NOW_S + 10**9, exp=NOW_S + 2 * 10**9)),
    "nbf is a text": ("secret", token(nbf="0")),
    "nbf is null": ("secret", token(nbf=None)),
    "iat is a text": ("secret", token(iat="0")),
    "iat is negative": ("secret", token(iat=-1)),
    "no user": ("secret", token(without=("sub",))),
    "user is empty": ("secret", token(sub="")),
    "user is a number": ("secret", token(sub=1)),
    "user is an object": ("secret", token(sub={"$ne": None})),
    "user has a line feed": ("secret", token(sub="user\n123")),
    "user has a lone surrogate": ("secret", token(sub="\ud800")),
    "user is too long": ("secret", token(sub="u" * 129)),
    "no organization": ("secret", token(without=("org",))),
    "organization is a list": ("secret", token(org=["org123", "org456"])),
    "organization has white space around": ("secret", token(org="org123 ")),
    "organization is the control log": ("secret", token(org="~", scope="realtime:publish realtime:admin")),
    "every organization, without publishing": ("secret", token(org="*")),
    "every organization, with grants": ("secret", token(org="*", scope="realtime:publish", grants=[])),
    "teams are a text": ("secret", token(teams="legal")),
    "teams are null": ("secret", token(teams=None)),
    "a team is a number": ("secret", token(teams=["legal", 1])),
    "scope is a number": ("secret", token(scope=1)),
    "scope is an object": ("secret", token(scope={"realtime:admin": True})),
    "a scope is no text": ("secret", token(scope=["realtime:publish", None])),
    "grants, and the scope to publish": (
        "secret",
        token(grants=[{"actions": ["subscribe"], "documentId": "d1"}], scope="realtime:publish"),
    ),
    "grants, and the scope to administer": (
        "secret",
        token(grants=[{"actions": ["subscribe"], "documentId": "d1"}], scope=["openid", "realtime:admin"]),
    ),
    "no grants in a list, and the scope to publish": ("secret", token(grants=[], scope="realtime:publish")),
    "grants are null": ("secret", token(grants=None)),
    "grants are an object": ("secret", token(grants={"actions": ["subscribe"]})),
    "grants without actions": ("secret", token(grants=[{"documentId": "d1"}])),
    "grants with an action that nobody knows": ("secret", token(grants=[{"actions": ["subscribe", "delete"]}])),
    "grants with a member that nobody knows": ("secret", token(grants=[{"actions": [], "documentID": "d1"}])),
    "grants with a type that nobody knows": ("secret", token(grants=[{"actions": [], "types": ["document"]}])),
    "grants with a null": ("secret", token(grants=[{"actions": ["subscribe"], "documentId": None}])),
    "grants with an id that is none": ("secret", token(grants=[{"actions": ["subscribe"], "documentId": ""}])),
    "grants without end": ("secret", token(grants=[{"actions": []}] * 101)),
    "jti is a number": ("secret", token(jti=1)),
    "jti is too long to be revoked": ("secret", token(jti="j" * 129)),
}

ADDRESSES: Final = {
    "no issuer": token(**ADDRESSED, without=("iss",)),
    "another issuer": token(**{**ADDRESSED, "iss": "https://login.example.com/"}),
    "issuer is a list": token(**{**ADDRESSED, "iss": ["https://login.example.com"]}),
    "no audience": token(**ADDRESSED, without=("aud",)),
    "another audience": token(**{**ADDRESSED, "aud": "billing"}),
    "other audiences": token(**{**ADDRESSED, "aud": ["billing", "realtime2"]}),
    "audience is an object": token(**{**ADDRESSED, "aud": {"realtime": 1}}),
}


@pytest.mark.parametrize(("keys", "text"), GOOD.values(), ids=GOOD.keys())
async def test_good_tokens_are_accepted(keys: str, text: str) -> None:
    """What the corpus is made from passes."""
    found = await authenticate(keys, text)
    assert (found.user_id, found.organization_id, found.grants) == ("user123", "org123", None)


@pytest.mark.parametrize(("keys", "text"), BAD.values(), ids=BAD.keys())
async def test_bad_tokens_are_refused(keys: str, text: str) -> None:
    """Every one, as unauthenticated, and in words that repeat nothing of the token."""
    with pytest.raises(Unauthenticated) as caught:
        await authenticate(keys, text)
    for piece in text.split("."):
        assert len(piece) < 6 or piece not in caught.value.message
    assert "org123" not in caught.value.message


@pytest.mark.parametrize("text", ADDRESSES.values(), ids=ADDRESSES.keys())
async def test_tokens_of_others_are_refused(text: str) -> None:
    """Where an issuer and an audience are configured, the token must be of the one and for the other."""
    with pytest.raises(Unauthenticated):
        await authenticate("secret", text, RULES)


async def test_tokens_for_us_among_others_are_accepted() -> None:
    """An audience may be one of several."""
    assert (await authenticate("secret", token(**ADDRESSED), RULES)).user_id == "user123"
    assert (await authenticate("secret", token(**{**ADDRESSED, "aud": ["billing", "realtime"]}), RULES)).user_id


@pytest.mark.parametrize("name", ["HS256", "ES256", "EdDSA"])
async def test_no_character_of_a_token_can_be_changed(name: str) -> None:
    """Whichever character is another one, the token is refused: there is one spelling of each token."""
    keys, text = GOOD[name]
    for index, sign in enumerate(text):
        changed = text[:index] + ("-" if sign != "-" else "_") + text[index + 1 :]
        with pytest.raises(Unauthenticated):
            await authenticate(keys, changed)


def test_the_corpus_is_as_large_as_promised() -> None:
    """Nobody thins it out by accident."""
    assert len(BAD) + len(ADDRESSES) >= 120
