"""Strict JSON over any values and any bytes, against the standard library's reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.protocol.json import (
    canonical_digest,
    decode,
    decode_digested,
    decode_elements,
    decode_value,
    encode,
    format_instant,
    parse_instant,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
# Few keys, so that objects share them and duplicates are likely.
keys = st.one_of(st.sampled_from(["a", "b", "", '"', "\\", ":", "é", "a.b"]), st.text(max_size=5))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


spaces = st.sampled_from(["", "", "", " ", "\n", "\t\r", "  "])
# Few, so that keys stand twice, and what may hide that stands beside them.
words = st.sampled_from(["a", "b", "c", ":", " :", "{", "\\u0061", '\\":', "\\u0022:", "é", "\x7f"])
numbers = st.sampled_from(["0", "1", "1.0", "1e0", "-0.0", "0.5", "1E400", "1e-400", "1" * 25, "9007199254740993.0"])


def object_text(members: list[tuple[str, str, str, str]]) -> str:
    return "{" + ",".join(f'{before}"{key}"{after}:{value}' for before, key, after, value in members) + "}"


odd_texts = st.recursive(
    words.map(lambda word: f'"{word}"') | numbers,
    lambda inner: (
        st.lists(st.tuples(spaces, words, spaces, inner), max_size=4).map(object_text)
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=8,
)
"""Well-formed, with keys that stand twice, escapes, spaces anywhere, and strings that look like what they are not."""


def fault_of(read: Callable[[], object]) -> InvalidInput | None:
    try:
        read()
    except InvalidInput as fault:
        return fault
    return None


def outcome(read: Callable[[], object]) -> object:
    """What it gives, or what its refusal tells."""
    try:
        return read()
    except InvalidInput as fault:
        return fault.code, fault.message, fault.path
    except OverflowError as fault:
        return str(fault)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_whatever_is_written_is_read(value: object, ascii_only: bool, indent: int | None) -> None:
    """Any value in any spelling passes at its own depth, and is refused one level below it."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    depth = depth_of(value)
    assert decode_value(text, depth=depth) == value
    assert decode_value(text.encode(), depth=depth) == value
    if depth:
        fault = fault_of(lambda: decode_value(text, depth=depth - 1))
        assert fault is not None
        assert fault.code == "too_deep"


@given(values)
def test_what_we_write_is_one_line_of_utf8(value: object) -> None:
    """An event-stream block and a text frame can carry it as it is."""
    try:
        written = encode(value)
    except OverflowError:
        return
    assert not {0, 10, 13} & set(written)
    assert json.loads(written.decode()) == value


@given(
    st.lists(st.tuples(keys, st.integers(0, 1), st.sampled_from(["", "", " ", "\n", "\t", "\r", "  "])), max_size=5),
    st.booleans(),
    st.integers(0, 3),
)
def test_a_key_twice_is_found_wherever_it_stands(
    members: list[tuple[str, int, str]], ascii_only: bool, wrapped: int
) -> None:
    """An object passes exactly when its keys, unescaped, differ."""
    text = (
        "{"
        + ",".join(f"{json.dumps(key, ensure_ascii=ascii_only)}{space}:{value}" for key, value, space in members)
        + "}"
    )
    for _ in range(wrapped):
        text = f'[{{"a":{text}}}, {{"a":"a"}}]'
    is_clean = len({key for key, _, _ in members}) == len(members)
    fault = fault_of(lambda: decode_value(text, depth=32))
    assert (fault is None) == is_clean
    if fault is not None:
        assert fault.code == "invalid_json"
        assert "twice" in fault.message


class Typed(msgspec.Struct, forbid_unknown_fields=True):
    a: int = 0
    b: list[int] = []
    c: msgspec.Raw = msgspec.Raw(b"")


TYPED = msgspec.json.Decoder(Typed)
almost_json = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.sampled_from(
            [
                b"{",
                b"}",
                b"[",
                b"]",
                b",",
                b":",
                b'"',
                b"a",
                b'"a"',
                b'"a":',
                b"1",
                b"\\",
                b"\\u00",
                b"\xc3",
                b" ",
                b"null",
            ]
        ),
        max_size=30,
    ).map(b"".join),
    values.map(lambda value: json.dumps(value).encode()),
)


@given(almost_json)
def test_only_values_and_faults_come_from_any_bytes(data: bytes) -> None:
    """Nothing but InvalidInput is raised, and what passes is what the standard library reads."""
    for read in (
        lambda: decode_value(data, depth=8),
        lambda: decode(data, TYPED, depth=8),
        lambda: decode_elements(data),
        lambda: canonical_digest(data),
    ):
        fault = fault_of(read)
        assert fault is None or fault.code in {"invalid_json", "too_deep", "invalid_message"}
    try:
        value = decode_value(data, depth=8)
    except InvalidInput:
        return
    assert value == json.loads(data)


@given(values, st.randoms())
def test_the_digest_is_the_values_not_the_texts(value: object, random: Random) -> None:
    """Members in another order and another spelling keep the digest; another value changes it."""

    def shuffled(node: object) -> object:
        if isinstance(node, dict):
            members = [(key, shuffled(member)) for key, member in node.items()]
            random.shuffle(members)
            return dict(members)
        if isinstance(node, list):
            return [shuffled(member) for member in node]
        return node

    text = json.dumps(value)
    assert canonical_digest(text) == canonical_digest(json.dumps(shuffled(value), ensure_ascii=False, indent=2))
    assert canonical_digest(f"[{text}]") != canonical_digest(text)


odd_bodies = odd_texts | st.lists(st.tuples(spaces, words, spaces, odd_texts), max_size=3).map(object_text)
hidden = example(text='{"a":1,"a":2,"c":"\\u0022:"}', depth=2)
"""A key that stands twice, and an escape that makes up for its missing member."""


def is_sound(text: str, depth: int) -> bool:
    """What the rule says, by the standard library's reader."""

    def unique(members: list[tuple[str, object]]) -> object:
        if len(dict(members)) < len(members):
            raise LookupError
        return dict(members)

    try:
        return depth_of(json.loads(text, object_pairs_hook=unique)) <= depth
    except LookupError:
        return False


@hidden
@example(text='{"a" :1,"b":1,"b":2}', depth=2)
@example(text='{"a":" :","a":1}', depth=2)
@example(text='{"a":[[1]]}', depth=2)
@given(text=odd_bodies, depth=st.integers(1, 5))
def test_keys_and_depth_are_seen_however_they_are_written(text: str, depth: int) -> None:
    """What passes is exactly what nests as deep as it may and has no key twice in one object; the digest asks for the same."""
    raw = msgspec.json.Decoder(msgspec.Raw)
    assert (fault_of(lambda: decode(text, raw, depth=depth)) is None) == is_sound(text, depth)
    digested = fault_of(lambda: decode_digested(text, raw, depth=depth))
    assert (digested is None or digested.code == "invalid_message") == is_sound(text, depth)


@hidden
@example(text='{"c":[1.0,-0.0,1e3]}', depth=2)
@example(text='{"c":1E400}', depth=2)
@example(text='{"c":" :"}', depth=2)
@pytest.mark.parametrize("decoder", [msgspec.json.Decoder(object), TYPED])
@given(text=odd_bodies, depth=st.integers(1, 5))
def test_what_is_digested_while_it_is_decoded_is_the_same(
    decoder: msgspec.json.Decoder[object], text: str, depth: int
) -> None:
    """The short way gives the value and the digest of the long one, or its fault."""
    assert outcome(lambda: decode_digested(text, decoder, depth=depth)) == outcome(
        lambda: (decode(text, decoder, depth=depth), canonical_digest(text))
    )


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_instants_come_back(at: int) -> None:
    """Every millisecond of the years 1 to 9999."""
    assert parse_instant(format_instant(at)) == at


@given(st.text(max_size=40) | st.from_regex(r"\A[0-9TZtz:.+ -]{0,40}\Z"))
def test_only_instants_and_faults_come_from_any_text(text: str) -> None:
    """What is read as an instant can be written as one."""
    try:
        at = parse_instant(text)
    except InvalidInput:
        return
    assert parse_instant(format_instant(at)) == at
