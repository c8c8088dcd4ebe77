"""Make tokens, for trying things out.

Owns: signing claims with a secret or a private key.   Not: whom to give one: an application's own business, and its own key.
Rule: what is minted is what a service with the matching key accepts; it is read back before it is given away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from signtusk_realtime.auth import compact
from signtusk_realtime.auth.algorithms import ALL
from signtusk_realtime.auth.claims import ClaimRules, read_identity
from signtusk_realtime.auth.keys import IMPLEMENTATIONS, public_key, secret_key
from signtusk_realtime.errors import ConfigurationError, InvalidInput, Unauthenticated

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey


class Signer:
    """Signs with one key. Made by `with_secret` or `with_private_key`."""

    def __init__(self, algorithm: str, material: bytes | PrivateKey, key_id: str | None = None) -> None:
        self._algorithm = algorithm
        self._material = material
        self._key_id = key_id

    def sign(self, claims: Mapping[str, object]) -> str:
        """Give a token of these claims, whatever they are."""
        header = {"alg": self._algorithm, "typ": "JWT"} | ({} if self._key_id is None else {"kid": self._key_id})
        signed = compact.join(msgspec.json.encode(header), msgspec.json.encode(claims))
        return compact.seal(signed, IMPLEMENTATIONS[self._algorithm].sign(signed, self._material))


def with_secret(secret: str, algorithm: str | None = None, key_id: str | None = None) -> Signer:
    """Sign with a secret. Raises: ConfigurationError."""
    key = secret_key(secret, () if algorithm is None else (algorithm,))
    return Signer(_only(key.algorithms), secret.encode(), key_id)


def with_private_key(pem: bytes, algorithm: str | None = None, key_id: str | None = None) -> Signer:
    """Sign with a private key in PEM form, without a password. Raises: ConfigurationError."""
    try:
        material = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError("the private key is not one in PEM form, without a password") from None
    if not isinstance(material, PrivateKey):
        raise ConfigurationError("a private key of this type makes no tokens")
    public = material.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    try:
        key = public_key(public, () if algorithm is None else (algorithm,))
    except ConfigurationError as error:
        raise ConfigurationError(error.message.replace("auth.public_key", "the private key")) from None
    return Signer(_only(key.algorithms), material, key_id)


def mint(signer: Signer, claims: Mapping[str, object], rules: ClaimRules, now_ms: int) -> str:
    """Give a token that a service with these rules accepts. Raises: InvalidInput, with what is wrong with the claims."""
    token = signer.sign(claims)
    try:
        read_identity(compact.read(token).payload, rules, now_ms)
    except Unauthenticated as error:
        raise InvalidInput(f"no such token would be accepted: {error.message}") from None
    return token


_ORDER: Final = {name: index for index, name in enumerate(ALL)}


def _only(algorithms: frozenset[str]) -> str:
    return min(algorithms, key=_ORDER.__getitem__)
