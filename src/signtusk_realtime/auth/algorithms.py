"""Names of signature algorithms, and which key each belongs to (RFC 7518 §3.1, RFC 8037 §3.1).

Owns: the names that may ever be allowed.   Not: keys and signing (keys.py), which needs a library that only tokens need.
Rule: an algorithm belongs to one type of key, so that no token chooses how a key is used; `none` is not among them.
"""

from __future__ import annotations

from typing import Final

SECRET: Final = ("HS256", "HS384", "HS512")
RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ELLIPTIC: Final = ("ES256", "ES384", "ES512")
EDWARDS: Final = ("EdDSA",)
PUBLIC: Final = RSA + ELLIPTIC + EDWARDS
ALL: Final = SECRET + PUBLIC

SECRET_DEFAULT: Final = ("HS256",)
RSA_DEFAULT: Final = ("RS256", "PS256")
"""What is allowed of a key where `auth.algorithms` says nothing; of the other types there is one for each key."""

SECRET_MIN_BYTES: Final = 32
"""RFC 7518 §3.2: no shorter than what HS256 gives."""
