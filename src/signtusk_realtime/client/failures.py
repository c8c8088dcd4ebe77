"""What can go wrong between a client and a service, in two classes: try again, or do not.

Owns: from an HTTP answer, a close code or an error message to its class.   Not: how long to wait (delays.py), the table (protocol/codes.py).
Rule: what is not known to be final is tried again; a client that gave up too early helps nobody.
"""

from __future__ import annotations

from typing import Final

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.protocol.codes import CLOSE_PROTOCOL_VIOLATION, CLOSE_RESTARTING, Kind, comes_back, of_kind

_CLOSE_NUMBERS: Final = {code.name: code.number for code in of_kind(Kind.CLOSE)}
_PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PASSING_ERRORS: Final = frozenset({"unavailable", "overloaded", "rate_limited", "internal"})
LONGEST_RETRY_AFTER_S: Final = 3600


class Refused(RealtimeError):
    """The service said no, and would say so again.

    `status` is the HTTP status or the close code. For a publication `index` says which event of the call it is about, and `pointer`
    where in that event; both are None where the answer names no place.
    """

    code = "refused"

    def __init__(
        self, message: str, *, code: str, status: int = 0, index: int | None = None, pointer: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.index = index
        self.pointer = pointer


class Lost(Exception):
    """A connection or call failed in a way that may pass.

    `not_before_s`: the service asked to be left alone that long. `is_restart`: it said that it restarts.
    """

    def __init__(self, reason: str, *, not_before_s: float = 0.0, is_restart: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.not_before_s = not_before_s
        self.is_restart = is_restart


class _Place(Struct):
    pointer: str = ""
    detail: str = ""


class _Problem(Struct):
    code: str = ""
    detail: str = ""
    title: str = ""
    errors: tuple[_Place, ...] = ()


_problem: Final[Decoder[_Problem]] = Decoder(_Problem)


def garbled(message: str) -> Refused:
    """Make the failure of a service, or whatever listens there, whose words are not of the protocol."""
    return Refused(message, code=CLOSE_PROTOCOL_VIOLATION.name, status=CLOSE_PROTOCOL_VIOLATION.number)


def failure_of_answer(status: int, retry_after: str | None, body: bytes, *, events: int = 0) -> Refused | Lost:
    """Classify an HTTP answer other than the one that was hoped for. `events`: how many were published by the call, if any."""
    try:
        problem = _problem.decode(body)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        # Not from our service: a proxy, or something else that listens there.
        problem = _Problem()
    code = problem.code or f"http_{status}"
    message = problem.detail or problem.title or f"the answer was HTTP {status}"
    if status in _PASSING_STATUSES:
        return Lost(f"{code}: {message}", not_before_s=_seconds(retry_after))
    place = problem.errors[0] if problem.errors else None
    if place is None or not events:
        return Refused(message, code=code, status=status, pointer=None if place is None else place.pointer)
    index, pointer = _split(place.pointer, events)
    return Refused(place.detail or message, code=code, status=status, index=index, pointer=pointer)


def failure_of_close(number: int, reason: str) -> Refused | Lost:
    """Classify the end of a WebSocket."""
    name = reason or next((name for name, other in _CLOSE_NUMBERS.items() if other == number), f"close_{number}")
    if comes_back(number):
        return Lost(f"closed with {number} {name}", is_restart=number == CLOSE_RESTARTING.number)
    return Refused(f"the connection was closed with {number} {name}", code=name, status=number)


def failure_of_error(code: str, message: str) -> Refused | Lost:
    """Classify an `error` message that answers a request of ours, or that ends a stream."""
    number = _CLOSE_NUMBERS.get(code)
    if code in _PASSING_ERRORS or (number is not None and comes_back(number)):
        return Lost(f"{code}: {message}")
    return Refused(message, code=code, status=number or 0)


def _seconds(retry_after: str | None) -> float:
    # A date would need a wall clock that agrees with the server's; the growing delays do as well.
    if retry_after is None or not (retry_after.isascii() and retry_after.isdigit()):
        return 0.0
    return float(min(int(retry_after[:9]), LONGEST_RETRY_AFTER_S))


def _split(pointer: str, events: int) -> tuple[int | None, str]:
    """Part a pointer into a body of so many events: which one, and where in it. A body of one is that event, not an array."""
    if events == 1:
        return 0, pointer
    _, _, rest = pointer.partition("/")
    first, slash, within = rest.partition("/")
    if first.isascii() and first.isdigit() and int(first[:9]) < events:
        return int(first), slash + within
    return None, pointer
