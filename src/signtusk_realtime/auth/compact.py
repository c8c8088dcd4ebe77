"""The outer form of a token: JWS compact serialization (RFC 7515 §7.1), read strictly.

Owns: three parts in base64url, the header's members.   Not: keys and signatures (keys.py), claims (claims.py).
Rule 1: one token has one spelling: no padding, no stray bits, no name twice, so that no byte can be changed without being noticed.
Rule 2: a header that asks for what we do not do is refused (`crit`), and so is one that brings its own key (`jwk`, `jku`, `x5u`).
Rule 3: no message repeats any of it.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final, NamedTuple

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.json import Decoder

from signtusk_realtime.errors import InvalidInput, Unauthenticated
from signtusk_realtime.protocol import json

MAX_TOKEN_LENGTH: Final = 8192
HEADER_DEPTH: Final = 8
_PARTS: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""RFC 7519 §5.1, RFC 9068 §2.1. Other types are for something else than access."""


class Header(Struct, frozen=True):
    """Members that count; certificates and their thumbprints, and what is unknown, are passed over."""

    alg: str
    kid: Annotated[str, Meta(min_length=1, max_length=256)] | UnsetType = UNSET
    typ: str | UnsetType = UNSET
    crit: Raw | UnsetType = UNSET
    jwk: Raw | UnsetType = UNSET
    jku: Raw | UnsetType = UNSET
    x5u: Raw | UnsetType = UNSET
    b64: Raw | UnsetType = UNSET
    zip: Raw | UnsetType = UNSET
    enc: Raw | UnsetType = UNSET
    cty: Raw | UnsetType = UNSET


class Compact(NamedTuple):
    """A token in its parts; nothing of it is proven yet."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes


_header: Final = Decoder(Header)
_FOREIGN: Final = ("crit", "jwk", "jku", "x5u", "b64", "zip", "enc", "cty")


def read(token: str) -> Compact:
    """Take a token apart. Raises: Unauthenticated."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise Unauthenticated(f"the token has {len(token)} characters; at most {MAX_TOKEN_LENGTH} are allowed")
    parts = _PARTS.fullmatch(token)
    if parts is None:
        raise Unauthenticated("the token is not three parts in base64url with dots between")
    header = _read_header(_decode(parts[1]))
    return Compact(header, _decode(parts[2]), token[: parts.end(2)].encode("ascii"), _decode(parts[3]))


def join(header: bytes, payload: bytes) -> bytes:
    """Give what is to be signed."""
    return _encode(header) + b"." + _encode(payload)


def seal(signed: bytes, signature: bytes) -> str:
    """Give the token."""
    return (signed + b"." + _encode(signature)).decode("ascii")


def _read_header(data: bytes) -> Header:
    try:
        header = json.decode(data, _header, depth=HEADER_DEPTH)
    except InvalidInput:
        raise Unauthenticated(
            "the token's header is not what it should be: JSON, no name twice, alg and kid texts"
        ) from None
    for name in _FOREIGN:
        if getattr(header, name) is not UNSET:
            raise Unauthenticated(f"the token's header has {name}, which is not accepted here")
    if header.typ is not UNSET and header.typ.lower().removeprefix("application/") not in _TYPES:
        raise Unauthenticated("the token's header has another typ than JWT or at+jwt")
    return header


def _decode(text: str) -> bytes:
    data = b"" if len(text) % 4 == 1 else urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(data).decode("ascii") != text:
        raise Unauthenticated("a part of the token is not base64url")
    return data


def _encode(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
