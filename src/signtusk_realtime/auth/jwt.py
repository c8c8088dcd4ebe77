"""Authentication by signed tokens: JSON Web Tokens (RFC 7519, RFC 8725).

Owns: the order of the checks, and the one key that was configured.   Not: a token's form (compact.py), keys (keys.py, jwks.py), claims (claims.py).
Order: form → algorithm and key → signature → claims → what else the request claims to be. Nothing of a token is believed before its signature.
Rule: fail closed; why is told in words that repeat nothing of the token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import UNSET

from signtusk_realtime.auth import compact
from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.claims import ClaimRules, read_identity
from signtusk_realtime.auth.compact import Header
from signtusk_realtime.auth.keys import Key
from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.sessions.identity import Identity


class Keys(Protocol):
    """Where the keys of tokens come from."""

    def known(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Give of what `find` would give what is at hand."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Give the keys that may have signed a token, few, all of them for this algorithm; none if there are none.

        Raises: Unavailable if that cannot be told now.
        """


class OneKey:
    """The key that was configured; whatever name a token gives it."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def known(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """See the port."""
        return (self._key,) if algorithm in self._key.algorithms else ()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """See the port."""
        return self.known(kid, algorithm)


class JwtAuthenticator:
    """See the module. `now_s`: seconds since 1970."""

    def __init__(self, keys: Keys, rules: ClaimRules | None = None, *, now_s: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._rules = rules or ClaimRules()
        self._now_s = now_s

    async def authenticate(self, credentials: Credentials) -> Identity:
        """See the port. Raises also: Unavailable, while keys cannot be fetched."""
        if credentials.bearer is None:
            raise Unauthenticated("a token is required")
        token = compact.read(credentials.bearer)
        algorithm = token.header.alg
        keys = await self._find(token.header)
        if not any(key.proves(algorithm, token.signed, token.signature) for key in keys):
            raise Unauthenticated("the token's signature is not valid")
        identity = read_identity(token.payload, self._rules, int(self._now_s() * 1000))
        for claimed, actual in (
            (credentials.user_id, identity.user_id),
            (credentials.organization_id, identity.organization_id),
        ):
            if claimed is not None and claimed != actual:
                raise Forbidden("the token is of another user or organization than the query names")
        return identity

    def awaited(self, credentials: Credentials) -> Awaitable[None] | None:
        """See AsksOthers: keys that were not seen yet."""
        if credentials.bearer is None or isinstance(self._keys, OneKey):
            return None
        header = compact.read(credentials.bearer).header
        return None if self._keys.known(_kid(header), header.alg) else self._learn(header)

    async def _learn(self, header: Header) -> None:
        await self._find(header)

    async def _find(self, header: Header) -> Sequence[Key]:
        keys = await self._keys.find(_kid(header), header.alg)
        if not keys:
            raise Unauthenticated("no key is known that this token may be signed with")
        return keys


def _kid(header: Header) -> str | None:
    return None if header.kid is UNSET else header.kid
