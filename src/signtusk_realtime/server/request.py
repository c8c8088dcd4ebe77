"""What a request says in its head: the target and its name, query parameters, and credentials.

Owns: reading them strictly, and which name was asked for.   Not: checking credentials (auth), the parameters' meaning (selection.py, http/).
Rule 1: a parameter of ours is given once, in UTF-8; where unknown ones are refused, only a cache-buster `_` passes.
Rule 2: no message repeats a value.
Why not httptools for the target: an application that embeds the service is installed without what a native server needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from signtusk_realtime.auth.authenticator import Credentials, Purpose
from signtusk_realtime.errors import InvalidInput, Unauthenticated
from signtusk_realtime.protocol.handshake import Headers

IDENTITY_PARAMETERS: Final = frozenset({"userId", "organizationId", "teams"})
CONNECT_PARAMETERS: Final = IDENTITY_PARAMETERS | {"ticket"}
"""What may stand in the query of a request that opens a connection, to say who asks."""
CACHE_BUSTER: Final = "_"
MAX_PARAMETERS: Final = 100
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


class RequestHead(Struct, frozen=True):
    """The parsed head of a request. Names in `headers` are lower case; `query` is as it was sent."""

    method: bytes
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    http_version: str


def parse_query(query: bytes, known: frozenset[str], *, refuse_unknown: bool = True) -> dict[str, str]:
    """Read a query string. Raises: InvalidInput (invalid_parameter, with the parameter's name as its path)."""
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise InvalidInput("the query is not UTF-8", code="invalid_parameter") from None
    except ValueError:
        raise InvalidInput(f"the query has more than {MAX_PARAMETERS} parameters", code="invalid_parameter") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            if refuse_unknown and name != CACHE_BUSTER:
                raise invalid_parameter(name[:64], f"unknown parameter; known are {', '.join(sorted(known))}")
            continue
        if name in found:
            raise invalid_parameter(name, "the parameter is given more than once")
        found[name] = value
    return found


def invalid_parameter(name: str, message: str, *within: str) -> InvalidInput:
    """Make the error of a query parameter; `within`: where in its value, if that is JSON."""
    return InvalidInput(message, code="invalid_parameter", path=(name, *within))


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Give the values of one header, one a line of the head; `name` in lower case."""
    return [value for header, value in headers if header == name]


def single_header(headers: Headers, name: bytes) -> bytes | None:
    """Give a header that makes sense once. Raises: InvalidInput (invalid_request) if there are several."""
    values = header_values(headers, name)
    if len(values) > 1:
        raise InvalidInput(f"{name.decode('ascii')} is given more than once", code="invalid_request")
    return values[0].strip(b" \t") if values else None


def announced_bytes(headers: Headers) -> int:
    """Give the length of the body that a head announces; the parser has refused what is not one number already."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def settle_head(target: bytes, headers: list[tuple[bytes, bytes]], version: str) -> None:
    """See that proxies before us and behind us would read this head as we do: how long its body is, and whom it asks for.

    Raises: InvalidInput (invalid_request).
    """
    codings = header_values(headers, b"transfer-encoding")
    if codings and [coding.strip(b" \t").lower() for coding in codings] != [b"chunked"]:
        # RFC 9112 §6.1: the parser goes by the last coding, others by the first.
        raise InvalidInput("Transfer-Encoding may be `chunked`, once", code="invalid_request")
    settle_host(target, headers, version)


def settle_host(target: bytes, headers: list[tuple[bytes, bytes]], version: str) -> None:
    """Leave exactly the name that was asked for in `Host`: that of an absolute target counts before the header's (RFC 9112 §3.2).

    Raises: InvalidInput (invalid_request) for several, and for none in HTTP/1.1.
    """
    hosts = header_values(headers, b"host")
    if len(hosts) > 1 or not (hosts or version == "1.0"):
        raise InvalidInput("there must be exactly one Host header", code="invalid_request")
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        headers[:] = [(b"host", absolute[1]), *(pair for pair in headers if pair[0] != b"host")]


def target_of(url: bytes) -> tuple[str, bytes]:
    """Give path and query of a request's target, also of one in absolute form (RFC 9112 §3.2)."""
    absolute = _ABSOLUTE.match(url)
    if absolute is not None:
        url = url[absolute.end() :].partition(b"#")[0]
        if not url.startswith(b"/"):
            url = b"/" + url
    path, _, query = url.partition(b"?")
    text = path.decode("ascii")
    return unquote(text) if "%" in text else text, query


def credentials_of(
    purpose: Purpose,
    headers: Headers,
    query: Mapping[str, str],
    *,
    offered: str | None = None,
    selection: str | None = None,
    cursor: str | None = None,
) -> Credentials:
    """Gather what a request says of its sender. `offered`: a token that came as a WebSocket subprotocol.

    `selection`, `cursor`: of an event stream, as in Credentials.

    Raises: InvalidInput (invalid_request), Unauthenticated for a scheme other than Bearer, or two tokens that differ.
    """
    bearer = offered
    authorization = single_header(headers, b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        token = token.strip(b" \t")
        if scheme.lower() != b"bearer" or not token:
            raise Unauthenticated("Authorization must be `Bearer` and a token")
        try:
            bearer = token.decode()
        except UnicodeDecodeError:
            raise Unauthenticated("the bearer token is not UTF-8") from None
        if offered is not None and offered != bearer:
            raise Unauthenticated("two bearer tokens that differ")
    return Credentials(
        purpose=purpose,
        bearer=bearer,
        user_id=query.get("userId"),
        organization_id=query.get("organizationId"),
        teams=tuple(team for team in query.get("teams", "").split(",") if team),
        ticket=query.get("ticket"),
        selection=selection,
        cursor=cursor,
    )
