"""Depth, keys and number of values, told without stepping through them."""

from __future__ import annotations

import gc
import json
import sys
from collections import Counter
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.protocol import structure
from signtusk_realtime.protocol.json import decode_value
from signtusk_realtime.protocol.messages import MESSAGE_VALUES, Ping, decode

TEXTS = st.text(alphabet='ab":,[]{}\\ \n\u00e9', max_size=4)
SPACES = st.sampled_from(["", " ", "\n", "\t "])


def written(draw: st.DrawFn, depth: int) -> str:
    """Draw a value as JSON text: keys may stand twice, characters may be escaped, spaces may be anywhere they are allowed."""
    space = draw(SPACES)
    kind = draw(st.sampled_from(["object", "array", "text", "number"] if depth else ["text", "number"]))
    if kind == "number":
        return draw(st.sampled_from(["0", "-1.50", "1e3", "1e400", "null", "true"]))
    if kind == "text":
        return name(draw)
    count = draw(st.integers(0, 3))
    if kind == "array":
        return f"[{space}" + ",".join(written(draw, depth - 1) + space for _ in range(count)) + "]"
    members = (name(draw) + space + ":" + space + written(draw, depth - 1) for _ in range(count))
    return f"{{{space}" + f",{space}".join(members) + space + "}"


def name(draw: st.DrawFn) -> str:
    text = draw(TEXTS)
    return json.dumps(text, ensure_ascii=draw(st.booleans())).replace("a", "\\u0061" if draw(st.booleans()) else "a")


class Measured:
    """What Python's own parser finds."""

    def __init__(self, text: str) -> None:
        self.repeats = False
        value = json.loads(text, object_pairs_hook=self._object)
        self.depth, self.values = self._measure(value)

    def _object(self, pairs: list[tuple[str, Any]]) -> list[Any]:
        self.repeats |= len({key for key, _ in pairs}) < len(pairs)
        return [value for _, value in pairs]

    def _measure(self, value: object) -> tuple[int, int]:
        if not isinstance(value, list):
            return 0, 1
        below = [self._measure(member) for member in value]
        return 1 + max((depth for depth, _ in below), default=0), 1 + sum(values for _, values in below)


@given(st.data())
def test_it_says_what_a_parser_finds(data: st.DataObject) -> None:
    """Depth, repeated keys and values of any text, however it is written."""
    text = written(data.draw, 5)
    found, raw = Measured(text), text.encode()
    bare = structure.bones(raw)
    for depth in range(7):
        assert structure.nests_within(bare, depth) is (found.depth <= depth)
    assert structure.repeats_key(raw, bare) is found.repeats
    assert (structure.repeated_key(raw) is not None) is found.repeats
    assert structure.holds_more(raw, found.values - 1)
    assert not structure.holds_more(raw, found.values)


def test_the_key_is_named_where_that_costs_little() -> None:
    """In a text of many it would take long to find, and the text is refused all the same."""
    few = b'{"b":[{"a":1,"\\u0061":2}],"x":' + b"[0]" + b"}"
    many = b'{"b":[{"a":1,"\\u0061":2}],"x":[' + b'"",' * 6000 + b'{"c":1,"c":1}]}'
    late = b'{"x":[' + b'"",' * 6000 + b'{"c":1,"c":1}]}'
    for text, named in ((few, 'key "a" stands'), (many, 'key "a" stands'), (late, "a key stands")):
        with pytest.raises(InvalidInput, match=named) as refused:
            decode_value(text, depth=32)
        assert refused.value.code == "invalid_json"


HOSTILE = [b"{},", b"[[]],", b'{"a":1},', b'{"\\u0061":1},', b'"",', b"1.5,", b'{"a" :1},']


def calls(text: bytes) -> int:
    """Count what Python calls to read a text: functions of its own and of C."""
    counted: Counter[str] = Counter()

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        counted[event] += 1

    # Its callbacks, where a tool has set some, are no calls of ours.
    gc.disable()
    sys.setprofile(count)
    try:
        decode_value(text, depth=32)
    finally:
        sys.setprofile(None)
        gc.enable()
    return counted["call"] + counted["c_call"]


@pytest.mark.parametrize("unit", HOSTILE, ids=lambda unit: unit.decode())
def test_no_text_has_python_step_through_it(unit: bytes) -> None:
    """Whatever it holds, ten times as much calls no more: what steps through values in Python costs everybody else's time."""
    few, many = (b'{"x":"\\n","y":[' + unit * count + b"0]}" for count in (1000, 10_000))
    assert calls(many) <= calls(few) + 5


@pytest.mark.parametrize("unit", HOSTILE, ids=lambda unit: unit.decode())
def test_a_client_message_holds_so_many_values(unit: bytes) -> None:
    """More are refused before they are looked into, as a message that is no message."""
    text = b'{"type":"ping","timestamp":[' + unit * (MESSAGE_VALUES + 1) + b"0]}"
    with pytest.raises(InvalidInput, match=f"more than {MESSAGE_VALUES} values") as refused:
        decode(text, depth=32)
    assert refused.value.code == "invalid_message"


def test_commas_in_a_text_are_no_values() -> None:
    """A long text is a value, whatever stands in it."""
    text = json.dumps({"type": "ping", "timestamp": ',[{\\"' * 10_000}).encode()
    assert isinstance(decode(text, depth=32), Ping)
