"""Tokens of every kind, good and bad, made by hand.

Owns: keys for tests, tokens put together part by part, so that they can be wrong in one place each.   Not: what is expected of them.
Rule: nothing here uses the code that reads tokens; what it writes is what the standards say.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SECRET: Final = "correct-horse-battery-staple-0123"
NOW_S: Final = 1_750_000_000
CLAIMS: Final[Mapping[str, object]] = {"sub": "user123", "org": "org123", "exp": NOW_S + 3600, "iat": NOW_S}


@cache
def rsa_key(name: str = "a", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Give a key of that name; making one takes a while, so each is made once."""
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key(curve: str = "P-256", name: str = "a") -> ec.EllipticCurvePrivateKey:
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "secp256k1": ec.SECP256K1()}
    return ec.generate_private_key(curves[curve])


@cache
def ed_key(name: str = "a") -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key: PrivateKey, kid: str | None = None, **more: object) -> dict[str, object]:
    """Give the public half of a key as a JWK."""
    named = {} if kid is None else {"kid": kid}
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **named, **more}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve = {"secp256r1": ("P-256", 32), "secp384r1": ("P-384", 48), "secp521r1": ("P-521", 66)}
        name, size = curve.get(key.curve.name, ("secp256k1", 32))
        point = key.public_key().public_numbers()
        return {"kty": "EC", "crv": name, "x": number(point.x, size), "y": number(point.y, size), **named, **more}
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **named, **more}


def jwks(*keys: dict[str, object]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def signature(algorithm: str, key: PrivateKey | bytes | str, signed: bytes) -> bytes:
    """Sign as an algorithm says, whatever the key was made for."""
    digests: dict[str, Any] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    digest = digests.get(algorithm[2:], hashes.SHA256())
    if isinstance(key, (bytes, str)):
        material = key.encode() if isinstance(key, str) else key
        return hmac.new(material, signed, getattr(hashlib, digest.name)).digest()
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            return key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return key.sign(signed, padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
        size = (key.curve.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return key.sign(signed)


def raw_token(header: bytes, payload: bytes, sign: Any) -> str:
    """Put a token together from the bytes of its parts."""
    signed = f"{b64(header)}.{b64(payload)}".encode()
    return f"{signed.decode()}.{b64(sign(signed))}"


def token(
    key: PrivateKey | bytes | str = SECRET,
    algorithm: str = "HS256",
    header: Mapping[str, object] | None = None,
    payload: bytes | None = None,
    without: tuple[str, ...] = (),
    **claims: object,
) -> str:
    """Make a token that is good but for what is said. `header` is added to alg and typ, `claims` to those of user123."""
    head = {"alg": algorithm, "typ": "JWT", **(header or {})}
    body = {name: value for name, value in {**CLAIMS, **claims}.items() if name not in without}
    data = json.dumps(body).encode() if payload is None else payload
    return raw_token(json.dumps(head).encode(), data, lambda signed: signature(algorithm, key, signed))
