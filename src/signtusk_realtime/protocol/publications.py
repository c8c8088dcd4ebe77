"""The body of `POST /api/realtime/events`: one published event or an array of them.

Owns: its limits and its decoding.   Not: who may publish what (operations/publish.py), the kinds (events/kinds.py).
Rule: nothing of a body is published unless all of it is well-formed; the first fault is told with its place (`/3/userId`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.json import Decoder

from signtusk_realtime.errors import InvalidInput, LimitExceeded
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.protocol import json

_published: Final[Decoder[Published]] = Decoder(Published)


class Publication(NamedTuple):
    """An event and the digest of its value as it was sent, before defaults."""

    event: Published
    digest: bytes


def decode_publications(
    body: bytes, *, depth: int, max_events: int, max_payload_bytes: int
) -> tuple[list[Publication], bool]:
    """Read a body; say also whether it was an array.

    `depth` and `max_payload_bytes` hold for one event.
    Raises: InvalidInput (invalid_json, also for too deep ones; invalid_event) with the path in the body, LimitExceeded
    (batch_too_large, payload_too_large).
    """
    try:
        elements = json.decode_elements(body)
    except InvalidInput as error:
        raise _refused(error, ()) from None
    if elements is None:
        return [_publication(body, (), depth, max_payload_bytes)], False
    if len(elements) > max_events:
        raise LimitExceeded(f"{len(elements)} events; at most {max_events} are allowed", code="batch_too_large")
    if not elements:
        raise InvalidInput("the batch is empty; at least one event is required", code="invalid_event", path=())
    return [_publication(e, (str(i),), depth, max_payload_bytes) for i, e in enumerate(elements)], True


def weight(body: bytes) -> int:
    """Estimate what reading a body takes, in bytes of a text that is one plain event: many small values take longer than few large ones."""
    return max(len(body) // 4, 8 * (body.count(b",") + body.count(b"[") + body.count(b"{")))


def _publication(text: bytes, at: Sequence[str], depth: int, max_payload_bytes: int) -> Publication:
    if len(text) > max_payload_bytes:
        raise LimitExceeded(
            f"the event has {len(text)} bytes; at most {max_payload_bytes} are allowed",
            code="payload_too_large",
            path=tuple(at),
        )
    try:
        return Publication(*json.decode_digested(text, _published, depth=depth, at=tuple(at)))
    except InvalidInput as error:
        raise _refused(error, tuple(at)) from None


_HTTP_CODES: Final = {"invalid_message": "invalid_event", "too_deep": "invalid_json"}
"""What a fault is called here, where it is called otherwise on a WebSocket."""


def _refused(error: InvalidInput, at: tuple[str, ...]) -> InvalidInput:
    code = _HTTP_CODES.get(error.code, error.code)
    return InvalidInput(error.message, code=code, path=at if error.path is None else error.path)
