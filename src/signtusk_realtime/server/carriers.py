"""Tokens in places that an operator has to allow: a cookie, the query.

Owns: bringing such a token to where tokens stand, `Authorization`, before anybody looks for one.   Not: the other places (request.py,
protocol/handshake.py), tokens themselves (auth).
Order: after the origin policy, before the query is read.
Rule 1: a cookie comes along by itself, so it counts only where nothing else says who asks, and only with an `Origin`, which is an allowed one by then.
Rule 2: of two cookies of one name nobody knows whose the second is; such a request is refused.
Rule 3: a token in the query is taken out of it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from msgspec import Struct, structs

from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.protocol.handshake import BEARER_PREFIX, Headers
from signtusk_realtime.server.request import RequestHead

_PARAMETER: Final = b"token="
_TICKET: Final = b"ticket="
_OFFERED: Final = BEARER_PREFIX.encode("ascii")


class Carriers(Struct, frozen=True):
    """What is allowed: the name of a cookie, or none; `?token=` of requests that open a connection."""

    cookie: str | None = None
    query_token: bool = False

    def settle(self, headers: Headers, query: bytes, *, opens: bool) -> tuple[Headers, bytes]:
        """Give head and query with the token in `Authorization`. `opens`: whether the request opens a connection.

        Raises: Unauthenticated (several that differ), Forbidden (origin_not_allowed: a cookie without an `Origin`).
        """
        if self.query_token and opens:
            headers, query = _from_query(headers, query)
        if self.cookie is not None and not _says_who(headers, query):
            headers = _from_cookie(headers, self.cookie.encode("ascii"))
        return headers, query


HEADER_ONLY: Final = Carriers()


def settled(head: RequestHead, carriers: Carriers) -> RequestHead:
    """Give a request that opens a connection as `Carriers.settle` leaves it. Raises: as that."""
    headers, query = carriers.settle(head.headers, head.query, opens=True)
    return head if headers is head.headers else structs.replace(head, headers=list(headers), query=query)


def _from_query(headers: Headers, query: bytes) -> tuple[Headers, bytes]:
    pairs = query.split(b"&")
    tokens = {unquote_to_bytes(pair[len(_PARAMETER) :]) for pair in pairs if pair.startswith(_PARAMETER)}
    if not tokens:
        return headers, query
    if len(tokens) > 1 or any(name == b"authorization" for name, _ in headers):
        raise Unauthenticated("the request has more than one token")
    rest = b"&".join(pair for pair in pairs if not pair.startswith(_PARAMETER))
    return _with_bearer(headers, tokens.pop()), rest


def _from_cookie(headers: Headers, wanted: bytes) -> Headers:
    found: set[bytes] = set()
    for name, value in headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                own, _, text = pair.strip(b" \t").partition(b"=")
                if own == wanted:
                    found.add(text.strip(b'"'))
    if not found:
        return headers
    if not any(name == b"origin" for name, _ in headers):
        raise Forbidden("the cookie counts only in requests with an allowed Origin", code="origin_not_allowed")
    if len(found) > 1:
        raise Unauthenticated("the request has more than one cookie of that name")
    return _with_bearer(headers, found.pop())


def _says_who(headers: Headers, query: bytes) -> bool:
    if any(pair.startswith(_TICKET) for pair in query.split(b"&")):
        return True
    return any(
        name == b"authorization" or (name == b"sec-websocket-protocol" and _OFFERED in value) for name, value in headers
    )


def _with_bearer(headers: Headers, token: bytes) -> Headers:
    return [*headers, (b"authorization", b"Bearer " + token)]
