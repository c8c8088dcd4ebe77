"""The body of a publication: one event or an array, limits per event, every fault with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from signtusk_realtime.errors import InvalidInput, LimitExceeded, RealtimeError
from signtusk_realtime.operations.documents.workshop import LARGE_BYTES
from signtusk_realtime.protocol.codes import problem_status
from signtusk_realtime.protocol.publications import Publication, decode_publications, weight
from tests.support.samples import KINDS, sample, sample_event

DEPTH, EVENTS, BYTES = 32, 5, 2000


def read(body: object) -> tuple[list[Publication], bool]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_publications(text, depth=DEPTH, max_events=EVENTS, max_payload_bytes=BYTES)


def refusal(body: object) -> RealtimeError:
    with pytest.raises((InvalidInput, LimitExceeded)) as refused:
        read(body)
    return refused.value


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_every_kind(kind: str) -> None:
    """An object is one event; the same in an array is a batch of one."""
    [publication], is_batch = read(sample(kind))
    assert not is_batch
    assert publication.event == sample_event(kind)
    assert read([sample(kind)]) == ([publication], True)


def test_the_digest_is_of_the_value_as_sent() -> None:
    """Key order and spaces do not matter; an explicit default does, for it is another value than an absent one."""
    own = sample("notification")
    text = json.dumps(dict(reversed(own.items())), indent=2).encode()
    [first], [again] = read(own)[0], read(text)[0]
    assert first == again
    without = sample("notification", priority=None)
    explicit = sample("notification", priority="medium")
    assert read(without)[0][0].event == read(explicit)[0][0].event
    assert read(without)[0][0].digest != read(explicit)[0][0].digest


def test_what_takes_long_to_read_weighs_much() -> None:
    """A hundred plain events are read at once; many small values, or a thousand events, aside."""
    plain = json.dumps([sample("document_update")] * 100).encode()
    assert weight(plain) < LARGE_BYTES
    assert weight(json.dumps([sample("document_update")] * 1000).encode()) >= LARGE_BYTES
    assert weight(b'{"payload":{"x":[' + b"{}," * 3000 + b"{}]}}") >= LARGE_BYTES
    assert weight(b'"' + b"x" * (256 << 10) + b'"') >= LARGE_BYTES


def test_so_many_and_so_large() -> None:
    """At the limit is allowed, one above is not; the limit of bytes is per event, and told with its place."""
    event = sample("document_update", changes=None)
    assert len(read([event] * EVENTS)[0]) == EVENTS
    assert refusal([event] * (EVENTS + 1)).code == "batch_too_large"
    room = BYTES - len(json.dumps({**event, "changes": {"t": ""}}))
    fits = {**event, "changes": {"t": "x" * room}}
    assert len(read([fits] * 2)[0]) == 2
    error = refusal([fits, {**event, "changes": {"t": "x" * (room + 1)}}])
    assert (error.code, error.path) == ("payload_too_large", ("1",))
    assert refusal({**event, "changes": {"t": "x" * (room + 1)}}).path == ()


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"kind": "nothing"}, ("kind",)),
        ({"kind": None}, ("kind",)),
        ({"documentId": None}, ("documentId",)),
        ({"documentId": " d "}, ("documentId",)),
        ({"type": "deletd"}, ("type",)),
        ({"extra": 1}, ("extra",)),
        ({"changes": []}, ("changes",)),
        ({"timestamp": "2026-11-22T18:49:22"}, ("timestamp",)),
        ({"timestamp": "yesterday"}, ("timestamp",)),
        ({"baseVersion": -1}, ("baseVersion",)),
    ],
)
def test_a_fault_is_told_with_its_place(changed: dict[str, Any], path: tuple[str, ...]) -> None:
    """invalid_event with the field's path, in a batch after the event's index; the events before it do not matter."""
    bad = {name: value for name, value in {**sample("document_update"), **changed}.items() if value is not None}
    assert (refusal(bad).code, refusal(bad).path) == ("invalid_event", path)
    error = refusal([sample("document_update"), bad])
    assert (error.code, error.path) == ("invalid_event", ("1", *path))


def test_what_is_unknown_is_told_with_what_is_known() -> None:
    """An unknown kind with the kinds, an unknown value with those of its own kind, in a batch too."""
    for body in ({"kind": "x"}, [{"kind": "x"}]):
        assert refusal(body).message.startswith("unknown value 'x'; known are document_update, signature_status, ")
    other = {**sample("notification"), "type": "created"}
    for body in (other, [sample("document_update"), other]):
        assert refusal(body).message == "unknown value 'created'; known are error, info, success, warning"
    # A number that cannot be represented, elsewhere, only costs the list.
    assert "'x'" in refusal(b'{"kind":"x","n":1e400}').message


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "invalid_json", ()),
        (b"{", "invalid_json", ()),
        (b"[{}", "invalid_json", ()),
        (b"\xff", "invalid_json", ()),
        (b"[" * 100_000, "invalid_json", ()),
        (b"[" + b'{"kind":' * 100 + b"1" + b"}" * 100 + b"]", "invalid_json", ("0",)),
        (b'{"kind":"x","kind":"y"}', "invalid_json", ()),
        (b'[{"kind":"x","kind":"y"}]', "invalid_json", ("0",)),
        (b"[]", "invalid_event", ()),
        (b"5", "invalid_event", ()),
        (b"null", "invalid_event", ()),
        (b"[5]", "invalid_event", ("0",)),
        (b"[[]]", "invalid_event", ("0",)),
    ],
)
def test_what_is_no_publication(body: bytes, code: str, path: tuple[str, ...]) -> None:
    """Each is refused with a code that the HTTP table knows, and no other exception."""
    error = refusal(body)
    assert (error.code, error.path) == (code, path)
    assert problem_status(error.code) in (400, 422)


def test_depth_counts_within_one_event() -> None:
    """What is allowed alone is allowed in a batch."""
    value: object = 1
    for _ in range(DEPTH - 2):
        value = {"a": value}
    fits = sample("document_update", changes={"deep": value})
    assert len(read([fits])[0]) == 1
    too_deep = sample("document_update", changes={"deep": [value]})
    assert refusal(too_deep).code == "invalid_json"
    error = refusal([fits, too_deep])
    assert (error.code, error.path) == ("invalid_json", ("1",))
