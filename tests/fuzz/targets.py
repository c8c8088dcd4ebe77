"""What is fuzzed: each target takes any bytes and asserts what must hold of them.

Owns: the targets and what each may raise.   Not: making the bytes (mutation.py, or a coverage-guided fuzzer: __main__.py).
Rule: a target fails by an exception that is not ours, by an assertion, or by taking too long.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from signtusk_realtime.auth import compact
from signtusk_realtime.auth.claims import ClaimRules, read_identity
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.ops import apply, diff
from signtusk_realtime.documents.values import equal
from signtusk_realtime.errors import InvalidInput, RealtimeError
from signtusk_realtime.protocol import cursor, messages, stream
from signtusk_realtime.protocol import json as json_of
from signtusk_realtime.protocol.frames import FrameEvent, FrameReader, Text
from signtusk_realtime.protocol.halfway import FrameLimits
from signtusk_realtime.protocol.handshake import Refusal, Upgrade, negotiate
from signtusk_realtime.protocol.publications import decode_publications
from signtusk_realtime.server.request import parse_query
from signtusk_realtime.server.selection import SELECTION_PARAMETERS, parse_selection
from tests.support.reading import read_all
from tests.support.wire import EventStream

LIMITS: Final = FrameLimits(max_message_bytes=4096, max_fragments=16, deflate=True)
RULES: Final = ClaimRules()
_object: Final = msgspec.json.Decoder(dict[str, object])
DOCUMENT: Final = {
    "title": "t",
    "recipients": [{"id": "r1", "name": "Ada"}],
    "n": {"a": [1, 2]},
    "body": "one two\nthree",
}


def frames(data: bytes) -> None:
    """Whatever comes in, and however it is cut: the same events, nothing raised, no message above the limit."""
    whole = _read([data])
    step = data[0] % 7 + 1 if data else 1
    assert _read([data[at : at + step] for at in range(0, len(data), step)]) == whole
    for event in whole:
        if isinstance(event, Text):
            assert len(event.payload) <= LIMITS.max_message_bytes
            event.payload.decode()


def _read(chunks: list[bytes]) -> list[FrameEvent]:
    return read_all(FrameReader(LIMITS), chunks)


def handshake(data: bytes) -> None:
    """Any headers are answered by an upgrade or a refusal, and the upgrade's head has no line that a client wrote."""
    headers = [
        (name.lower().strip(), value.strip()) for name, _, value in (line.partition(b":") for line in data.split(b"\n"))
    ]
    answer = negotiate(b"GET", "1.1", headers, compression=True)
    assert isinstance(answer, Refusal | Upgrade)
    if isinstance(answer, Upgrade):
        head = answer.response()
        assert head.endswith(b"\r\n\r\n")
        assert head.count(b"\r\n\r\n") == 1
        assert len(head.split(b"\r\n")) < 10


def message(data: bytes) -> None:
    """A client's message is read or refused as ours; what is read can be written again."""
    try:
        found = messages.decode(data, depth=32)
    except InvalidInput:
        messages.request_id_of(data)
        return
    msgspec.json.encode(found)


def publication(data: bytes) -> None:
    """A body of publications is read or refused as ours."""
    with contextlib.suppress(RealtimeError):
        decode_publications(data, depth=32, max_events=100, max_payload_bytes=4096)


def cursors(data: bytes) -> None:
    """Any text is a cursor or none; what is one is written the same again."""
    text = data.decode("utf-8", "replace")
    found = cursor.decode("org123", text)
    if found is not None:
        assert cursor.encode("org123", found.organization, found.system) == text


def event_stream(data: bytes) -> None:
    """One event in any JSON text is one event out, with the same data, whatever stands in it."""
    text = json.dumps(data.decode("utf-8", "replace"), ensure_ascii=False).encode()
    try:
        block = stream.event_block("document_updated", text, "abc")
    except ValueError:
        # Rule 2 of that file: a line break is refused. JSON of our making escapes them all.
        assert any(sign in text for sign in (b"\n", b"\r", b"\0"))
        return
    events = EventStream().feed(block)
    assert [(event.type, event.data.encode(), event.last_event_id) for event in events] == [
        ("document_updated", text, "abc")
    ]


def query(data: bytes) -> None:
    """A query string is read or refused as ours, and so is the selection in it."""
    with contextlib.suppress(RealtimeError):
        parse_selection(parse_query(data, SELECTION_PARAMETERS), depth=32, max_subscriptions=100)


def token(data: bytes) -> None:
    """A token is taken apart or refused as ours; nothing of it is believed by that."""
    with contextlib.suppress(RealtimeError):
        compact.read(data.decode("utf-8", "surrogateescape"))


def claims(data: bytes) -> None:
    """Claims give an identity of one organization, or are refused as ours."""
    with contextlib.suppress(RealtimeError):
        found = read_identity(data, RULES, 1_800_000_000_000)
        assert found.organization_id != "~"
        assert found.expires_at is not None


def edit(data: bytes) -> None:
    """An edit is refused as ours, or its operations lead from the document to the same result."""
    try:
        asked = read_edit(json_of.decode(data, _object, depth=36))
        result = put_on(DOCUMENT, asked)  # type: ignore[arg-type]  # it is JSON
    except RealtimeError:
        return
    assert equal(apply(DOCUMENT, diff(DOCUMENT, result)), result)  # type: ignore[arg-type]  # as above


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        target.__name__: target
        for target in (frames, handshake, message, publication, cursors, event_stream, query, token, claims, edit)
    }
)
