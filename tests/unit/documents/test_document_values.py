"""Values, their equality, their limits; the canonical form."""

from __future__ import annotations

import json
import math
from hashlib import sha256

import pytest

from signtusk_realtime.documents.canonical import canonical, content_hash, key_of, number
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import ABSENT, MAX_VALUES, Json, Node, check_value, equal, has_too_many
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.protocol.json import check_values

NFC, NFD = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (0, -0.0, True),
        (True, 1, False),
        (False, 0, False),
        (False, 0.0, False),
        (None, ABSENT, False),
        (None, False, False),
        ("", None, False),
        (NFC, NFD, True),
        (NFC, "cafe", False),
        ([NFC, {"a": 1}], [NFD, {"a": 1.0}], True),
        ([1, 2], [2, 1], False),
        ([1], [1, 2], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": None}, {}, False),
        ({"a": None}, {"b": None}, False),
        ({}, [], False),
        ("1", 1, False),
    ],
)
def test_equality_is_that_of_json_values(one: Node, other: Node, same: bool) -> None:
    """1 is 1.0, true is not 1, null is a value, strings compare in NFC, the order of keys means nothing."""
    assert equal(one, other) is same
    assert equal(other, one) is same
    if one is not ABSENT and other is not ABSENT:
        assert (key_of(one) == key_of(other)) is same


def nested(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (math.nan, "invalid_value"),
        (math.inf, "invalid_value"),
        (2**53 + 1, "invalid_value"),
        (-(2**53) - 1, "invalid_value"),
        ("\ud800", "invalid_value"),
        ({"\udfff": 1}, "invalid_value"),
        ({"a": [{"b": math.nan}]}, "invalid_value"),
        ({"__proto__": 1}, "invalid_value"),
        ([{"id": "constructor"}], "invalid_value"),
        ({1: 2}, "invalid_value"),
        ({1, 2}, "invalid_value"),
        (nested(32), "limit_exceeded"),
    ],
)
def test_what_is_no_value_is_refused(value: object, code: str) -> None:
    """NaN, infinities, integers beyond ±2^53, half surrogate pairs, forbidden names and too much depth are refused by name."""
    with pytest.raises(Refused) as refused:
        check_value({"at": value} if code == "invalid_value" else value, ("field",))
    assert refused.value.code == code


def test_the_limits_themselves_are_allowed() -> None:
    """±2^53 and a document of depth 32 pass: the document counts as one, its field's value has 31 levels."""
    for value in (2**53, -(2**53), 1e300, nested(31), "\U0001f600", None):
        assert check_value(value, ("field",)) is value
    with pytest.raises(Refused):
        check_value(nested(30), ("a", "b", "c"))


MOST = MAX_VALUES - 1
"""How many values may stand in one array."""


@pytest.mark.parametrize(
    ("value", "is_too_many"),
    [
        ([0] * MOST, False),
        ([0] * (MOST + 1), True),
        ({str(n): {} for n in range(MOST)}, False),
        ({str(n): {} for n in range(MOST + 1)}, True),
        ([[]] * MOST, False),
        ([[0]] * (MOST // 2), False),
        ([[0]] * (MOST // 2 + 1), True),
        (["," * 5 * MAX_VALUES, "[{" * MAX_VALUES], False),
    ],
    ids=["elements", "elements+", "members", "members+", "empty", "nested", "nested+", "within strings"],
)
def test_values_are_counted_at_every_depth(value: Json, is_too_many: bool) -> None:
    """The document itself, each member and each element count; what only looks like one, in a string, does not. Before decoding as after it."""
    for separators in ((",", ":"), (" , ", " : ")):
        text = json.dumps(value, separators=separators).encode()
        if is_too_many:
            with pytest.raises(InvalidInput) as refused:
                check_values(text, MAX_VALUES)
            assert refused.value.code == "limit_exceeded"
        else:
            check_values(text, MAX_VALUES)
    assert has_too_many(value, json.dumps(value, separators=(",", ":")).encode()) is is_too_many


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e-6, "0.000001"),
        (1e-7, "1e-7"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (-0.0, "0"),
        (4.50, "4.5"),
        (40.0, "40"),
        (-1.5, "-1.5"),
        (333333333.33333329, "333333333.3333333"),
        (2**53, "9007199254740992"),
        (0.002, "0.002"),
        (12345e-10, "0.0000012345"),
    ],
)
def test_numbers_are_written_as_ecmascript_does(value: float, text: str) -> None:
    """RFC 8785 §3.2.2.3, with values of its appendix B."""
    assert number(value) == text
    assert canonical([value]) == f"[{text}]"


def test_the_example_of_the_rfc() -> None:
    """RFC 8785 §3.2.4: the sample object in its canonical form."""
    value: Json = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_code_units() -> None:
    """RFC 8785 §3.2.3: UTF-16 code units decide, so a key beyond the basic plane stands before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = canonical(dict.fromkeys(keys, 0))
    assert [part.split(":")[0] for part in written[1:-1].split(",")] == [
        *('"\\r"', '"1"', '"\u0080"', '"ö"', '"€"', '"\U0001f600"', '"\ufb33"')
    ]


def test_strings_that_look_like_numbers_are_left_alone() -> None:
    """A text with a number in it is written as it stands, whichever way is taken."""
    assert canonical({"a": "version 2.0 of 1e5", "b": 2.0}) == '{"a":"version 2.0 of 1e5","b":2}'


def test_numbers_are_found_wherever_they_stand() -> None:
    """Alone, and at every place of a long document."""
    assert (canonical(1.0), canonical([1e22]), canonical({"a": -2.0})) == ("1", "[1e+22]", '{"a":-2}')
    for length in range((64 << 10) - 30, (64 << 10) + 10):
        assert canonical({"a": "x" * length, "b": 1234567.0}).endswith('","b":1234567}')


def test_the_content_hash_is_that_of_the_text() -> None:
    """Anybody with the data and RFC 8785 computes it; NFC and NFD are different contents."""
    assert content_hash({"b": 1.0, "a": "x"}) == sha256(b'{"a":"x","b":1}').hexdigest()
    assert content_hash({"a": NFC}) != content_hash({"a": NFD})
