"""How a refusal looks over HTTP: RFC 9457 problem details.

Owns: from an error to status, headers and body; the one place that writes problems, for the native ways in and for the HTTP API, and counts them.
Not: which error it is (every other room), the table of codes (protocol/codes.py).
Rule 1: status and code are those of the table; a code that stands in no row becomes its family's (`_FAMILIES`).
Rule 2: nothing internal is told: an error that is not ours is a bare `internal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.conflicts import ConflictRecord
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.errors import (
    CursorExpired,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    RealtimeError,
    Unauthenticated,
    Unavailable,
)
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.operations.documents.documents import EditRefused
from signtusk_realtime.operations.documents.moves import MoveRefused
from signtusk_realtime.operations.documents.resolve import DecisionRefused
from signtusk_realtime.protocol import codes, json
from signtusk_realtime.protocol.codes import Kind
from signtusk_realtime.protocol.edits import EditOutcome
from signtusk_realtime.protocol.handshake import Refusal

HeaderPairs: TypeAlias = tuple[tuple[bytes, bytes], ...]

ALWAYS: Final[HeaderPairs] = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
"""Headers of every answer that is not a stream: what it says is nobody's to keep, and nothing but what its type says."""
MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:signtusk:realtime:problem:"
DEFAULT_RETRY_AFTER_S: Final = 1

_MISMATCHES: Final = {"future": 409, "epoch": 409, "compacted": 410, "precondition": 412}
_NOT_JSON: Final = frozenset({"too_deep"})
_FAMILIES: Final[tuple[tuple[type[RealtimeError], str], ...]] = (
    (Unauthenticated, "unauthenticated"),
    (Forbidden, "forbidden"),
    (LimitExceeded, "rate_limited"),
    (Unavailable, "unavailable"),
    (InvalidInput, "invalid_request"),
)
_IN_QUERY: Final = "invalid_parameter"
_BY_NAME: Final = {code.name: code for code in codes.of_kind(Kind.PROBLEM)}


class Fault(Struct, frozen=True):
    """Where in the request a fault lies: an RFC 6901 pointer into the body, or `?name` for a query parameter."""

    pointer: str
    detail: str


class ProblemBody(Struct, rename="camel", frozen=True, omit_defaults=True):
    """The members of a problem. `reason` and `cursor` go with cursor_expired; what follows them, with what concerns a document.

    `url` goes with overloaded: another node that has room, where there is one.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[Fault, ...] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    cursor: str | UnsetType = UNSET
    version: int | UnsetType = UNSET
    state: str | UnsetType = UNSET
    content_hash: str | UnsetType = UNSET
    conflict: ConflictRecord | UnsetType = UNSET
    edit: EditOutcome | UnsetType = UNSET
    url: str | UnsetType = UNSET


class Problem(Struct, frozen=True):
    """An answer: body and headers, without those that say how long it is and what it is."""

    body: ProblemBody
    headers: HeaderPairs = ()

    @property
    def status(self) -> int:
        return self.body.status


def problem(
    code: str,
    detail: str,
    *,
    faults: tuple[Fault, ...] | UnsetType = UNSET,
    headers: HeaderPairs = (),
    retry_after_s: int | None = None,
    status: int | None = None,
) -> Problem:
    """Make a problem of a code in the table. Raises: KeyError for one that is not there, a defect of the caller.

    `status`: where a code has more than the table's.
    """
    row = _BY_NAME[code]
    if row.number == HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"WWW-Authenticate", b'Bearer realm="signtusk-realtime"'))
    if row.number in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers = (*headers, (b"Retry-After", b"%d" % (retry_after_s or DEFAULT_RETRY_AFTER_S)))
    return Problem(
        ProblemBody(
            type=TYPE_PREFIX + code,
            title=row.meaning,
            status=status or row.number,
            detail=detail,
            code=code,
            errors=faults,
        ),
        headers,
    )


def problem_of(error: RealtimeError) -> Problem:
    """Make the problem of an error that is ours."""
    code = _code_of(error)
    faults = UNSET if error.path is None else (Fault(_pointer(code, error.path), error.message),)
    if isinstance(error, CursorExpired):
        found = problem(code, error.message)
        body = found.body
        return Problem(
            ProblemBody(
                type=body.type,
                title=body.title,
                status=body.status,
                detail=body.detail,
                code=body.code,
                reason=error.reason,
                cursor=error.cursor,
            )
        )
    if isinstance(error, EditRefused):
        reason = None if error.outcome.reason is UNSET else error.outcome.reason
        found = problem(code, error.message, status=refusal_status(code, reason))
        return Problem(msgspec.structs.replace(found.body, edit=error.outcome), found.headers)
    if isinstance(error, Refused):
        return _problem_of_document(error, code, faults)
    retry_after_s = error.retry_after_s if isinstance(error, LimitExceeded) else None
    found = problem(code, error.message, faults=faults, retry_after_s=retry_after_s)
    if isinstance(error, LimitExceeded) and error.elsewhere is not None:
        # RFC 8288, for WebSocket clients, which show headers of a refusal at most.
        link = (b"Link", b'<%b>; rel="alternate"' % error.elsewhere.encode("ascii"))
        return Problem(msgspec.structs.replace(found.body, url=error.elsewhere), (*found.headers, link))
    return found


def _problem_of_document(error: Refused, code: str, faults: tuple[Fault, ...] | UnsetType) -> Problem:
    # A transition says for which version it is meant as it says for which content: both are 409.
    reason = None if isinstance(error, MoveRefused) else error.reason
    found = problem(code, error.message, faults=faults, status=refusal_status(code, reason))
    conflict = error.conflict if isinstance(error, DecisionRefused) else None
    extra: dict[str, object] = {"reason": error.reason, "state": error.state, "conflict": conflict}
    if isinstance(error, MoveRefused):
        extra |= {"version": error.version, "content_hash": error.content_hash}
    told = {name: value for name, value in extra.items() if value is not None}
    return Problem(msgspec.structs.replace(found.body, **told), found.headers)


def refusal_status(code: str, reason: str | None) -> int:
    """Give the status of a refused edit: version_mismatch has one for each reason."""
    if code == "version_mismatch" and reason in _MISMATCHES:
        return _MISMATCHES[reason]
    return _BY_NAME[code].number


def problem_of_refusal(refusal: Refusal) -> Problem:
    """Make the problem of a handshake that is none."""
    return problem(refusal.code, refusal.message, headers=refusal.headers)


def internal_problem() -> Problem:
    """Make the problem of a defect of ours; what it was stands in our log alone."""
    return problem("internal", "the service failed; the failure was logged")


def encode_body(found: Problem) -> bytes:
    """Give the body of a problem that is about to be answered, and count it: whoever refuses comes by here once."""
    REQUESTS_REFUSED[found.body.code] += 1
    return json.encode(found.body)


def encode_response(found: Problem, extra: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Give a whole HTTP/1.1 response for a transport that no HTTP server looks after. The connection ends with it."""
    body = encode_body(found)
    connection = b"close"
    lines = [b"HTTP/1.1 %d %b" % (found.status, HTTPStatus(found.status).phrase.encode("ascii"))]
    for name, value in (*found.headers, *extra):
        if name == b"Connection":
            connection = value + b", close"
        else:
            lines.append(name + b": " + value)
    lines += [
        b"Content-Type: " + MEDIA_TYPE.encode("ascii"),
        b"Content-Length: %d" % len(body),
        *(name + b": " + value for name, value in ALWAYS),
        b"Connection: " + connection,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _code_of(error: RealtimeError) -> str:
    if error.code in _NOT_JSON:
        return "invalid_json"
    if error.code in _BY_NAME:
        return error.code
    return next((name for family, name in _FAMILIES if isinstance(error, family)), "internal")


def _pointer(code: str, path: Sequence[str]) -> str:
    if code == _IN_QUERY and path:
        return "?" + path[0] + json.json_pointer(path[1:])
    return json.json_pointer(path)
