"""The one table of codes: why a connection closes, why a request is refused, why a cursor could not be continued.

Owns: names, numbers, whether to come back, and the two sentences a reader needs; the spec and the docs are generated from it.
Not: when a code is used (sessions, operations, server), how it looks on the wire (protocol/messages.py, server/problems.py).
Rule 1: a name may stand in several kinds, once in each.   Rule 2: a close code's number alone says whether a client comes back
(`comes_back`); the table agrees, and a test proves it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """Where a code is seen."""

    CLOSE = "close"
    """Number of a WebSocket close frame."""
    ERROR = "error"
    """`code` of an `error` message; the connection lives on."""
    PROBLEM = "problem"
    """`code` of a problem+json answer; the number is its HTTP status."""
    RECOVERED = "recovered"
    """`reason` beside `"recovered":false`."""


class Code(NamedTuple):
    """A row of the table. `number` is a close code, an HTTP status, or 0 for kinds without one."""

    kind: Kind
    name: str
    number: int
    comes_back: bool
    meaning: str
    action: str


class CloseCode(NamedTuple):
    """What a close frame says: its number, and its name as the reason."""

    number: int
    name: str


# RFC 6455 §7.4.1 and the IANA registry.
CLOSE_NORMAL: Final = CloseCode(1000, "normal")
CLOSE_GOING_AWAY: Final = CloseCode(1001, "going_away")
CLOSE_FRAMING_ERROR: Final = CloseCode(1002, "framing_error")
CLOSE_UNSUPPORTED_DATA: Final = CloseCode(1003, "unsupported_data")
CLOSE_INVALID_UTF8: Final = CloseCode(1007, "invalid_utf8")
CLOSE_POLICY: Final = CloseCode(1008, "policy")
CLOSE_MESSAGE_TOO_LARGE: Final = CloseCode(1009, "message_too_large")
CLOSE_EXTENSION_MISSING: Final = CloseCode(1010, "extension_missing")
CLOSE_INTERNAL: Final = CloseCode(1011, "internal")
CLOSE_RESTARTING: Final = CloseCode(1012, "restarting")
CLOSE_TRY_LATER: Final = CloseCode(1013, "try_later")
# Ours: 44xx come back, 45xx do not; the last two digits recall an HTTP status where there is a like one.
CLOSE_HEARTBEAT_TIMEOUT: Final = CloseCode(4400, "heartbeat_timeout")
CLOSE_TOKEN_EXPIRED: Final = CloseCode(4401, "token_expired")
CLOSE_RATE_LIMITED: Final = CloseCode(4429, "rate_limited")
CLOSE_OVERLOADED: Final = CloseCode(4430, "overloaded")
CLOSE_UNAUTHENTICATED: Final = CloseCode(4501, "unauthenticated")
CLOSE_FORBIDDEN: Final = CloseCode(4503, "forbidden")
CLOSE_REVOKED: Final = CloseCode(4504, "revoked")
CLOSE_PROTOCOL_VIOLATION: Final = CloseCode(4509, "protocol_violation")

NO_STATUS: Final = 1005
"""What a close frame without a number means. Never sent."""
ABNORMAL: Final = 1006
"""What an end without a close frame means. Never sent."""
TLS_FAILED: Final = 1015
"""What a failed TLS handshake means. Never sent."""
GOODBYES: Final = frozenset({None, NO_STATUS, CLOSE_NORMAL.number})
"""How a peer closes that is done. Not 1001: a page that is reloaded sends it too, and is back in a moment."""

_COME_BACK: Final = frozenset((1001, NO_STATUS, ABNORMAL, 1011, 1012, 1013))


def comes_back(number: int) -> bool:
    """Say whether a client reconnects after a close with this number (seen locally: 1005 and 1006 count too)."""
    return number in _COME_BACK or 4000 <= number <= 4499


def _close(code: CloseCode, meaning: str, action: str) -> Code:
    return Code(Kind.CLOSE, code.name, code.number, comes_back(code.number), meaning, action)


def _error(name: str, meaning: str, action: str, *, again: bool = False) -> Code:
    return Code(Kind.ERROR, name, 0, again, meaning, action)


def _problem(status: int, name: str, meaning: str, action: str) -> Code:
    return Code(Kind.PROBLEM, name, status, status in (408, 429, 503), meaning, action)


def _recovered(name: str, meaning: str) -> Code:
    return Code(
        Kind.RECOVERED,
        name,
        0,
        True,
        meaning,
        "Reload the state it stands for and go on from the cursor of this answer.",
    )


_FIX: Final = "Correct the request; repeating it unchanged cannot succeed."
_BUG: Final = "A defect of the client: do not reconnect in a loop, report it."
_BACK: Final = "Reconnect with growing, random delays and resume with the newest cursor."
_WAIT: Final = "Repeat after Retry-After, unchanged and with the same ids."

CODES: Final[tuple[Code, ...]] = (
    _close(CLOSE_NORMAL, "One side is done.", "Nothing; connect again when there is a reason to."),
    _close(CLOSE_GOING_AWAY, "The peer goes away: a page is left, a server stops.", _BACK),
    _close(CLOSE_FRAMING_ERROR, "A frame breaks RFC 6455.", _BUG),
    _close(CLOSE_UNSUPPORTED_DATA, "A binary message; only text is spoken here.", _BUG),
    _close(
        CloseCode(NO_STATUS, "no_status"), "The peer closed without a number. Never sent, seen locally only.", _BACK
    ),
    _close(
        CloseCode(ABNORMAL, "abnormal"),
        "The connection ended without a close frame. Never sent, seen locally only.",
        _BACK,
    ),
    _close(CLOSE_INVALID_UTF8, "A text message or a close reason is not UTF-8.", _BUG),
    _close(CLOSE_POLICY, "A rule was broken for which there is no better code.", _BUG),
    _close(CLOSE_MESSAGE_TOO_LARGE, "A message is longer than limits.message_bytes, or in too many fragments.", _BUG),
    _close(CLOSE_EXTENSION_MISSING, "A client misses an extension it needs. Never sent by a server.", _BUG),
    _close(CLOSE_INTERNAL, "The service failed at something that is not the client's fault.", _BACK),
    _close(CLOSE_RESTARTING, "The node is drained; another one, or the same, takes over.", _BACK),
    _close(CLOSE_TRY_LATER, "The node cannot serve now.", _BACK),
    _close(CLOSE_HEARTBEAT_TIMEOUT, "No sign of life: no ping was answered, or unsent bytes made no progress.", _BACK),
    _close(
        CLOSE_TOKEN_EXPIRED,
        "The token's time is over and it was not refreshed.",
        "Get a new token, then reconnect and resume.",
    ),
    _close(
        CLOSE_RATE_LIMITED,
        "Messages kept coming far above limits.messages_per_second.",
        "Slow down, then reconnect and resume.",
    ),
    _close(CLOSE_OVERLOADED, "The client sends more than can be answered, or the node is full.", _BACK),
    _close(
        CLOSE_UNAUTHENTICATED,
        "No credentials, or none that are accepted.",
        "Get new credentials from the application first.",
    ),
    _close(CLOSE_FORBIDDEN, "The identity may not connect here.", "Do not come back with this identity."),
    _close(CLOSE_REVOKED, "The token, user or connection was revoked.", "Do not come back with this token."),
    _close(CLOSE_PROTOCOL_VIOLATION, "More than 20 malformed messages within a minute.", _BUG),
    _error(
        "cursor_not_first",
        "A cursor came after the connection's first subscribe.",
        "Subscribe without it, then load the state.",
    ),
    _error("invalid_json", "Not JSON, or a key stands twice in one object.", _FIX),
    _error("invalid_message", "A field is unknown, missing or has a wrong value; `path` says which.", _FIX),
    _error("too_deep", "The message nests deeper than limits.json_depth.", _FIX),
    _error("unknown_subscription", "This connection has no subscription of that id.", "Forget the id."),
    _error(
        "too_many_subscriptions",
        "The connection has limits.subscriptions already.",
        "End one first, or use wider filters.",
    ),
    _error("forbidden", "The identity may not do this.", _FIX),
    _error("rate_limited", "Too many messages; this one was not executed.", "Repeat it more slowly.", again=True),
    _error("invalid_token", "The token of `refresh` is not accepted; the old one stays.", "Get a new token."),
    _error(
        "identity_mismatch",
        "The token of `refresh` is another user's or organization's; the old one stays.",
        "Open a connection of its own.",
    ),
    _error(
        "unavailable", "The log cannot be reached now; nothing was executed.", "Repeat it a little later.", again=True
    ),
    _error(
        "internal",
        "The service failed at something that is not the client's fault.",
        "Repeat it a little later.",
        again=True,
    ),
    _error(
        "token_expired",
        "On an event stream, before it ends: the token's time is over.",
        "Get a new token and reopen the stream.",
        again=True,
    ),
    _error(
        "revoked",
        "On an event stream, before it ends: the token, user or connection was revoked.",
        "Do not come back with this token.",
    ),
    _recovered("expired", "The cursor lies below what the log still keeps."),
    _recovered("epoch", "That life of the log has ended: it was lost or restored, or the cursor lies beyond its end."),
    _recovered("unknown", "The cursor is not ours, another organization's, or malformed."),
    _problem(400, "invalid_json", "The body is not JSON, nests too deep, or a key stands twice in one object.", _FIX),
    _problem(
        400, "invalid_parameter", "A query parameter is unknown or has a wrong value; the pointer says which.", _FIX
    ),
    _problem(400, "invalid_message", "A field is unknown, missing or has a wrong value; the pointer says which.", _FIX),
    _problem(400, "invalid_path", "A path leads nowhere, names a forbidden segment, or meets another path.", _FIX),
    _problem(400, "invalid_value", "A value is none that a document can hold, or cannot stand at its place.", _FIX),
    _problem(
        400,
        "limit_exceeded",
        "The edit nests too deep, names too many paths, holds too many values, or would leave more conflicts open than may be.",
        "Send smaller edits; decide what is open.",
    ),
    _problem(400, "invalid_handshake", "The WebSocket handshake is malformed.", _FIX),
    _problem(400, "invalid_request", "The request is not HTTP as it should be.", _FIX),
    _problem(401, "unauthenticated", "No credentials, or none that are accepted.", "Get credentials and repeat."),
    _problem(403, "forbidden", "The identity may not do this.", _FIX),
    _problem(403, "origin_not_allowed", "The page's origin is not in allowed_origins.", "Have the origin allowed."),
    _problem(
        403,
        "host_not_allowed",
        "In development mode the Host must be a loopback name.",
        "Use localhost, or configure authentication.",
    ),
    _problem(404, "not_found", "There is nothing under this path, or it is another organization's.", _FIX),
    _problem(404, "unknown_document", "There is no such document.", "Create it: an edit with baseVersion 0."),
    _problem(404, "no_active_conflicts", "The document has no open conflict.", "Nothing is left to decide."),
    _problem(404, "unknown_conflict", "The document has no conflict of that id.", _FIX),
    _problem(405, "method_not_allowed", "The path does not take this method; `Allow` says which it takes.", _FIX),
    _problem(406, "not_acceptable", "None of the accepted media types is produced here.", _FIX),
    _problem(408, "request_timeout", "The request did not arrive in time.", "Repeat it."),
    _problem(
        409,
        "event_id_reused",
        "The event's id is known with another value; nothing was published.",
        "Use a new id for a new event.",
    ),
    _problem(
        409,
        "conflict",
        "The edit met another's and its strategy is reject; nothing was applied.",
        "Show both, edit again.",
    ),
    _problem(
        409,
        "version_mismatch",
        "The version it names is to come, of another epoch (409), no longer kept (410), or not head (412); `reason` says which.",
        "Load the document and edit that.",
    ),
    _problem(409, "change_id_reused", "The changeId is known with another content.", "Use a new id for a new change."),
    _problem(
        409,
        "seq_gap",
        "The number does not follow the client's last one.",
        "Send what is missing first, from expectedSeq.",
    ),
    _problem(409, "already_exists", "baseVersion 0 creates, and the document exists.", "Load it and edit that."),
    _problem(409, "conflict_changed", "The conflict is at another rev than the decision was made for.", "Look again."),
    _problem(409, "already_resolved", "The conflict was decided before.", "Look again."),
    _problem(409, "invalid_transition", "The state does not follow the one the document is in.", _FIX),
    _problem(409, "content_changed", "The content is not what the signer was shown.", "Show it again before signing."),
    _problem(409, "open_conflicts", "Conflicts are open.", "Decide them first."),
    _problem(410, "document_deleted", "The document is deleted.", "Forget it."),
    _problem(413, "document_too_large", "The document would be larger than 1 MiB.", "Put less into it."),
    _problem(
        423, "document_locked", "In its state the document is not edited; `state` says which.", "Show it as it is."
    ),
    _problem(428, "base_required", "An edit must say what it was made on.", "Send baseVersion, or base."),
    _problem(503, "contention", "Too many edits of one document at once; nothing was stored.", _WAIT),
    _problem(
        410,
        "cursor_expired",
        "The cursor cannot be continued; `reason` says why.",
        "Reload the state, go on from `cursor`.",
    ),
    _problem(413, "payload_too_large", "The body, or an event's payload, is longer than its limit.", "Send less."),
    _problem(413, "batch_too_large", "The batch has more events than limits.batch.", "Send several batches."),
    _problem(415, "unsupported_media_type", "The body must be application/json.", _FIX),
    _problem(422, "invalid_event", "A field is unknown, missing or has a wrong value; the pointer says which.", _FIX),
    _problem(
        422,
        "mixed_organizations",
        "The events of a batch belong to several organizations.",
        "Send one batch per organization.",
    ),
    _problem(426, "upgrade_required", "This path speaks WebSocket, version 13.", "Ask for the upgrade."),
    _problem(429, "rate_limited", "A limit of requests or connections is reached.", _WAIT),
    _problem(
        431, "head_too_large", "The request's head is longer than the server takes.", "Send fewer or shorter headers."
    ),
    _problem(
        500, "internal", "The service failed at something that is not the caller's fault.", "Repeat with the same ids."
    ),
    _problem(503, "overloaded", "The node is full or stops.", _WAIT),
    _problem(
        503, "unavailable", "The log cannot be reached; whether an unanswered publication happened is unknown.", _WAIT
    ),
)

_BY_KIND: Final[dict[tuple[Kind, str], Code]] = {(code.kind, code.name): code for code in CODES}


def lookup(kind: Kind, name: str) -> Code:
    """Give the row of a name. Raises: KeyError if there is none, which is a defect of the caller."""
    return _BY_KIND[kind, name]


def problem_status(name: str) -> int:
    """Give the HTTP status of a problem's name. Raises: KeyError."""
    return _BY_KIND[Kind.PROBLEM, name].number


def of_kind(kind: Kind) -> tuple[Code, ...]:
    """Give the rows of one kind in the order of the table."""
    return tuple(code for code in CODES if code.kind is kind)
