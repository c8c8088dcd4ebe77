"""Keys that prove tokens, each with the algorithms it is for.

Owns: secrets, public keys in PEM and JWK form, checking a signature.   Not: which key a token means (jwt.py, jwks.py).
Rule 1: the key says which algorithms there are, the token only chooses among them (RFC 8725 §3.1): a public key is never a secret.
Rule 2: what is too weak is no key.   Rule 3: no message repeats any of it.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import PyJWTError
from msgspec import Struct

from signtusk_realtime.auth.algorithms import (
    ALL,
    EDWARDS,
    RSA,
    RSA_DEFAULT,
    SECRET,
    SECRET_DEFAULT,
    SECRET_MIN_BYTES,
)
from signtusk_realtime.errors import ConfigurationError

RSA_MIN_BITS: Final = 2048
_CURVES: Final = {SECP256R1.name: "ES256", SECP384R1.name: "ES384", SECP521R1.name: "ES512"}
IMPLEMENTATIONS: Final[Mapping[str, Algorithm]] = {
    name: implementation for name, implementation in get_default_algorithms().items() if name in ALL
}


class Key(Struct, frozen=True):
    """A key, and the algorithms it may be used with. `kid` is its name, where it has one."""

    algorithms: frozenset[str]
    # The library's own type: bytes of a secret, or one of its public keys.
    material: Any
    kid: str | None = None

    def proves(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Say whether the signature is this key's."""
        if algorithm not in self.algorithms:
            return False
        return IMPLEMENTATIONS[algorithm].verify(signed, self.material, signature)


def secret_key(secret: str, allowed: Sequence[str] = ()) -> Key:
    """Make a key of a secret; `allowed` as in `auth.algorithms`, empty for the default. Raises: ConfigurationError."""
    material = secret.encode()
    if len(material) < SECRET_MIN_BYTES:
        raise ConfigurationError(
            f"auth.secret: has {len(material)} bytes; at least {SECRET_MIN_BYTES} are required, and they should be random"
        )
    if "-----BEGIN" in secret:
        raise ConfigurationError("auth.secret: is a key in PEM form; a public key belongs into auth.public_key")
    return Key(_chosen(allowed, SECRET, SECRET_DEFAULT, "a secret"), material)


def public_key(pem: str, allowed: Sequence[str] = ()) -> Key:
    """Make a key of a public key in PEM form. Raises: ConfigurationError."""
    if "PRIVATE KEY-----" in pem:
        raise ConfigurationError("auth.public_key: is a private key; this service needs the public one only")
    try:
        material = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(
            "auth.public_key: is not a public key in PEM form (-----BEGIN PUBLIC KEY-----)"
        ) from None
    possible, default = _fitting(material)
    if not possible:
        raise ConfigurationError(
            f"auth.public_key: of this type or size no key is accepted; allowed: RSA of {RSA_MIN_BITS} bits or more, P-256, P-384,"
            " P-521, Ed25519, Ed448"
        )
    return Key(_chosen(allowed, possible, default, "this public key"), material)


def jwk_key(jwk: Mapping[str, object], allowed: Sequence[str] = ()) -> Key | None:
    """Make a key of a JWK (RFC 7517 §4); None if it is not one that may prove tokens here."""
    operations = jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (operations is not None and not _verifies(operations)):
        return None
    kid = jwk.get("kid")
    if not isinstance(kid, (str, type(None))) or "d" in jwk:
        return None
    try:
        family = IMPLEMENTATIONS[_FAMILIES[str(jwk.get("kty"))]]
        material = family.from_jwk(dict(jwk))
    except (KeyError, PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, AttributeError, binascii.Error):
        return None
    possible, default = _fitting(material)
    algorithms = frozenset(allowed).intersection(possible) if allowed else frozenset(default)
    if "alg" in jwk:
        algorithms &= {str(jwk["alg"])}
    return Key(algorithms, material, kid) if algorithms else None


_FAMILIES: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}


def _verifies(operations: object) -> bool:
    return isinstance(operations, list) and "verify" in operations


def _fitting(material: object) -> tuple[Sequence[str], Sequence[str]]:
    """Give the algorithms that a public key may be used with at all, and those it is used with by default."""
    if isinstance(material, RSAPublicKey):
        return (RSA, RSA_DEFAULT) if material.key_size >= RSA_MIN_BITS else ((), ())
    if isinstance(material, EllipticCurvePublicKey):
        own = _CURVES.get(material.curve.name)
        return ((own,), (own,)) if own is not None else ((), ())
    if isinstance(material, (Ed25519PublicKey, Ed448PublicKey)):
        return EDWARDS, EDWARDS
    return (), ()


def _chosen(allowed: Sequence[str], possible: Sequence[str], default: Sequence[str], what: str) -> frozenset[str]:
    unfit = [name for name in allowed if name not in possible]
    if unfit:
        raise ConfigurationError(
            f"auth.algorithms: {', '.join(unfit)} cannot be used with {what}; allowed: {', '.join(possible)}"
        )
    return frozenset(allowed or default)
