"""The one tree of errors, with codes as text.

Owns: what every room may raise.   Not: the table of codes with their numbers and meanings (protocol/codes.py), how an error looks on the
wire (protocol/messages.py, server/problems.py).
Rule 1: raise with structure, format late.   Rule 2: the message says what was found and what is allowed, and never repeats a secret.
"""

from __future__ import annotations


class RealtimeError(Exception):
    """Everything this package raises on purpose.

    `code` is a name of protocol/codes.py. `path` says where in the input the fault lies, as the segments of an RFC 6901 pointer
    (`("subscription", "type")`, `("3", "userId")`), or is None where there is no such place.
    """

    code: str = "internal"

    def __init__(self, message: str, *, code: str | None = None, path: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.message = message
        self.path = path


class InvalidInput(RealtimeError):
    """What came in is malformed: not JSON, an unknown or missing field, a value outside what is allowed."""

    code = "invalid_message"


class Unauthenticated(RealtimeError):
    """No credentials, or none that this service accepts."""

    code = "unauthenticated"


class Forbidden(RealtimeError):
    """The identity is known and may not do this."""

    code = "forbidden"


class LimitExceeded(RealtimeError):
    """A configured limit was reached; `code` names it, `retry_after_s` says when to come back, where that is known.

    `elsewhere`: the address of another node that has room.
    """

    code = "rate_limited"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        path: tuple[str, ...] | None = None,
        retry_after_s: int | None = None,
        elsewhere: str | None = None,
    ) -> None:
        super().__init__(message, code=code, path=path)
        self.retry_after_s = retry_after_s
        self.elsewhere = elsewhere


class EventIdReused(RealtimeError):
    """An event id is known in this log with another value; nothing of the call was published. `path` is that of the first such event."""

    code = "event_id_reused"

    def __init__(self, event_ids: tuple[str, ...], path: tuple[str, ...] = ("id",)) -> None:
        super().__init__(f"event id {event_ids[0]!r} was used before with another value", code=None, path=path)
        self.event_ids = event_ids


class Unavailable(RealtimeError):
    """The engine cannot serve this now; whether an unanswered commit happened is unknown, and repeating it with the same ids is safe."""

    code = "unavailable"


class ConfigurationError(RealtimeError):
    """A setting is unknown, malformed or contradicts another; raised before anything is bound or opened."""

    code = "configuration"


class CursorExpired(RealtimeError):
    """A cursor cannot be continued: `reason` is expired, epoch or unknown; `cursor` is the top, from where to go on after reloading."""

    code = "cursor_expired"

    def __init__(self, reason: str, cursor: str) -> None:
        super().__init__(f"this cursor cannot be continued ({reason}); reload the state and go on from the given one")
        self.reason = reason
        self.cursor = cursor
