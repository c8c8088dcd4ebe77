"""Strict JSON: what is refused, in which order and where; instants, paths, digests."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.protocol.json import (
    canonical_digest,
    decode,
    decode_elements,
    decode_value,
    encode,
    format_instant,
    json_path,
    json_pointer,
    parse_instant,
)

DEPTH = 4


class Filters(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    document_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    event_types: list[str] = []


class Message(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    filters: Filters | None = None
    counts: dict[str, int] = {}
    named: dict[str, Filters] = {}
    data: msgspec.Raw = msgspec.Raw(b"null")


MESSAGE = msgspec.json.Decoder(Message)


def refusal(data: bytes | str, *, at: tuple[str, ...] = ()) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        decode(data, MESSAGE, depth=DEPTH, at=at)
    return caught.value


NOT_JSON = {
    "nothing": b"",
    "spaces": b"  ",
    "half an object": b'{"type":"x"',
    "half a string": b'{"type":"x',
    "a second value": b'{"type":"x"} {}',
    "a comma too many": b'{"type":"x",}',
    "NaN": b'{"type":"x","data":NaN}',
    "Infinity": b'{"type":"x","data":-Infinity}',
    "a byte order mark": b'\xef\xbb\xbf{"type":"x"}',
    "a raw line break in a string": b'{"type":"\n"}',
    "a raw NUL in a string": b'{"type":"\x00"}',
    "a leading zero": b'{"type":"x","data":01}',
    "invalid UTF-8": b'{"type":"\xff"}',
    "invalid UTF-8 where nobody looks": b'{"type":"x","data":"\xff"}',
    "UTF-8 of a surrogate": b'{"type":"x","data":"\xed\xa0\x80"}',
    "a lone high surrogate": rb'{"type":"x","data":"\ud800"}',
    "a lone low surrogate": rb'{"type":"\udc00"}',
    "a surrogate in text": '{"type":"\ud800"}',
    "a key twice": b'{"type":"x","type":"y"}',
    "a key twice, once escaped": rb'{"type":"x","\u0074ype":"y"}',
    "a key twice, once with a space": b'{"type" :"x","type":"y"}',
    "a key twice, once with a line break": b'{"type":"x","type"\n:"y"}',
    "a key twice, once with a tab": b'{"type"\t:"x","type":"y"}',
    "a key twice, once with a return": b'{"type":"x","type"\r:"y"}',
    "a key twice, far inside": b'{"type":"x","data":[{"a":1,"b":{"c":1,"c":2}}]}',
    "the empty key twice": b'{"type":"x","data":{"":1,"":2}}',
    "a key twice around an object": b'{"type":"x","data":{"a":{"b":1},"a":2}}',
    "an escaped quote in a key twice": rb'{"type":"x","data":{"\"":1,"\u0022":2}}',
}


@pytest.mark.parametrize("data", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_not_strict_json_is_refused(data: bytes | str) -> None:
    """Text that readers could understand differently is refused, also in a value that is passed through unread."""
    fault = refusal(data)
    assert fault.code == "invalid_json"
    assert fault.message


ONCE_EACH = {
    "the same key in siblings": b'{"type":"x","data":[{"a":1},{"a":2},{"a":3}]}',
    "the same key in parent and child": b'{"type":"x","data":{"type":{"type":1}}}',
    "a value like a key": b'{"type":"type","data":["a","a"]}',
    "a value with a colon and quotes": rb'{"type":"\"type\":","data":"\\"}',
    "brackets in strings": b'{"type":"[[[[[[{{{{{{"}',
    "an escaped key once": rb'{"\u0074ype":"x"}',
    "a surrogate pair": rb'{"type":"\ud83d\ude00"}',
    "spaces before a colon": b'{"type" : "x",\n"data"\t:\r1}',
}


@pytest.mark.parametrize("data", ONCE_EACH.values(), ids=ONCE_EACH.keys())
def test_keys_are_compared_within_one_object_only(data: bytes) -> None:
    """What only looks like a key twice passes, as bytes and as text."""
    assert decode(data, MESSAGE, depth=DEPTH) == decode(data.decode(), MESSAGE, depth=DEPTH)


@pytest.mark.parametrize("data", [b"[" * 4 + b"]" * 4, b'{"a":[{"a":{}}]}', b"1", b'[[[[]]],"[[[[["]'])
def test_the_bound_of_depth_itself_is_allowed(data: bytes) -> None:
    """The outermost object or array counts as one."""
    decode_value(data, depth=DEPTH)


@pytest.mark.parametrize(
    "data",
    [b"[" * 5 + b"]" * 5, b'{"a":[{"a":{"a":{}}}]}', b"[" * 1_000 + b"]" * 1_000, b"[" * 100_000, b'{"a":' * 100_000],
)
def test_what_nests_deeper_is_refused(data: bytes) -> None:
    """Also at depths that would break a decoder that recurses."""
    with pytest.raises(InvalidInput) as caught:
        decode_value(data, depth=DEPTH)
    assert caught.value.code == "too_deep"


WRONG = {
    b'{"type":1}': ("$.type", "/type"),
    b"{}": ("$.type", "/type"),
    b'{"type":"x","nonsense":1}': ("$.nonsense", "/nonsense"),
    b'{"type":"x","a.b/c~d":1}': ("$['a.b/c~d']", "/a.b~1c~0d"),
    b'{"type":"x","filters":{"documentId":""}}': ("$.filters.documentId", "/filters/documentId"),
    b'{"type":"x","filters":{"organizationId":"o"}}': ("$.filters.organizationId", "/filters/organizationId"),
    b'{"type":"x","filters":{"eventTypes":["a",2]}}': ("$.filters.eventTypes[1]", "/filters/eventTypes/1"),
    b'{"type":"x","counts":{"a.b[3]":"y"}}': ("$.counts", "/counts"),
    b'{"type":"x","named":{"a":{"nonsense":1}}}': ("$.named", "/named"),
    b"[]": ("$", ""),
}


@pytest.mark.parametrize("data,expected", WRONG.items(), ids=[case.decode() for case in WRONG])
def test_a_wrong_field_is_named_by_its_path(data: bytes, expected: tuple[str, str]) -> None:
    """A member of a free dictionary has no name of ours: there the path ends at the dictionary."""
    fault = refusal(data)
    assert fault.code == "invalid_message"
    assert fault.path is not None
    assert (json_path(fault.path), json_pointer(fault.path)) == expected


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty where JSON is expected"),
        (b" \r\n\t", "empty where JSON is expected"),
        (rb'{"type":"\ud800"}', "unpaired surrogate in a string"),
        (rb'{"type":"\\\uDbff"}', "unpaired surrogate in a string"),
        (rb'{"type":"\\ud800', "Input data was truncated"),
        (rb'{"type":"\ud83d\ude00', "Input data was truncated"),
    ],
)
def test_what_ends_too_early_is_told_from_what_is_wrong(data: bytes, told: str) -> None:
    """The parser calls them all truncated."""
    assert (refusal(data).code, refusal(data).message) == ("invalid_json", told)


def test_a_path_begins_where_the_text_lies() -> None:
    """An event of a batch is decoded on its own and named by its index."""
    fault = refusal(b'{"type":"x","filters":{"documentId":7}}', at=("3",))
    assert fault.path == ("3", "filters", "documentId")
    assert json_path(fault.path) == "$[3].filters.documentId"


@pytest.mark.parametrize(
    "data,code",
    [
        (b'{"nonsense":1,"type":"x","type":"y"}', "invalid_json"),
        (b'{"nonsense":[[[[[]]]]],"a":1,"a":2}', "too_deep"),
        (b'{"nonsense":1,"type":"x"', "invalid_json"),
        (b'{"nonsense":"\xff"}', "invalid_json"),
        (b'{"nonsense":' + b"[" * 100_000, "too_deep"),
    ],
)
def test_of_several_faults_the_graver_is_told(data: bytes, code: str) -> None:
    """Not JSON, then too deep, then a key twice, then a wrong field; where the decoder stopped does not matter."""
    assert refusal(data).code == code


def test_a_fault_repeats_little_of_its_input() -> None:
    """An error's size is not the client's to choose."""
    name = "n" * 10_000
    for data in (encode({"type": "x", name: 1}), b'{"type":"x","%s":1,"%s":2}' % (name.encode(), name.encode())):
        fault = refusal(data)
        assert len(fault.message) <= 300
        assert len(json_path(fault.path or ())) <= 100


def test_an_array_is_split_into_texts() -> None:
    """Elements are decoded one by one, each with a depth of its own; what is no array is told from one."""
    assert decode_elements(b' [{"a":1}, [2],3 ]') == [b'{"a":1}', b"[2]", b"3"]
    assert decode_elements("[]") == []
    assert decode_elements(b'{"a":[1]}') is None
    assert decode_elements(b"") is None
    for data in (b"[1,", b"[1] 2", b'["\xff"]'):
        with pytest.raises(InvalidInput) as caught:
            decode_elements(data)
        assert caught.value.code == "invalid_json"
    with pytest.raises(InvalidInput) as caught:
        decode_elements(b"[" * 100_000)
    assert caught.value.code == "too_deep"


@pytest.mark.parametrize(
    "text,at",
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-22T18:49:22.123Z", 1795373362123),
        ("2026-11-22T18:49:22.1239999Z", 1795373362123),
        ("2026-11-22t18:49:22.1z", 1795373362100),
        ("2026-11-22T20:49:22.123+02:00", 1795373362123),
        ("2026-11-22T13:19:22.123-05:30", 1795373362123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_instants_are_read(text: str, at: int) -> None:
    """With any zone, to the millisecond."""
    assert parse_instant(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T18:49:22.123",
        "2026-11-22T18:49:22",
        "2026-11-22",
        "2026-11-22 18:49:22Z",
        "2026-11-22T18:49Z",
        "2026-11-22T18:49:22.Z",
        "2026-11-22T18:49:22,5Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T18:49:60Z",
        "2026-11-22T18:49:22+24:00",
        "2026-11-22T18:49:22+00:60",
        "2026-11-22T18:49:22+0000",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "٢٠٢٦-11-22T18:49:22Z",
        "2026-11-22T18:49:22Z\n",
        "1795373362123",
        "",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """A time without a zone is an hour wrong for somebody."""
    with pytest.raises(InvalidInput):
        parse_instant(text)


def test_instants_are_written_with_milliseconds_and_z() -> None:
    """The one form on the wire."""
    assert format_instant(1795373362000) == "2026-11-22T18:49:22.000Z"
    assert format_instant(-1) == "1969-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    "same",
    [
        (b'{"a":1,"b":[true,null]}', b' { "b" : [ true , null ] , "a" : 1 } '),
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":100}', b'{"a":1e2}'),
        (b'{"a":0}', b'{"a":-0.0}'),
        (rb'{"a":"\u00e9\/"}', '{"a":"é/"}'.encode()),
        (b"100000000000000000000", b"1e20"),
        (b"0.1", b"1e-1"),
    ],
)
def test_equal_values_have_equal_digests(same: tuple[bytes, bytes]) -> None:
    """Order of keys, spaces, escapes and the notation of a number are no difference."""
    assert canonical_digest(same[0]) == canonical_digest(same[1])
    assert len(canonical_digest(same[0])) == 32


def test_different_values_have_different_digests() -> None:
    """Neither types nor nesting nor the order of an array are confused."""
    values = [b"1", b"true", b'"1"', b"[1]", b'{"1":1}', b"null", b"[]", b"{}", b'""', b"[1,2]", b"[2,1]", b"1.5", b"0"]
    values += [b"9007199254740992", b"9007199254740993", b"false", b'{"a":{"b":1}}', b'{"a":1,"b":1}', b'"1.0"']
    assert len({canonical_digest(value) for value in values}) == len(values)


def test_a_number_beyond_numbers_has_no_digest() -> None:
    """1e400 is well-formed JSON that no value stands for."""
    with pytest.raises(InvalidInput) as caught:
        canonical_digest(b'{"a":1e400}')
    assert caught.value.code == "invalid_message"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"' + b'\\"' * 500_000 + b'"}',
        b'"' * 1_000_001,
        b'{"type":"x","data":[' + b'{"a":1},' * 100_000 + b"1]}",
        b'{"type":"x","data":["' + b"\\\\" * 500_000,
        b'"' + b'a" ' * 300_000,
        b'{"type":"x","data":' + b" " * 1_000_000 + b"1}",
    ],
    ids=["escapes", "quotes", "objects", "unfinished", "values", "spaces"],
)
def test_no_text_takes_more_than_linear_time(data: bytes) -> None:
    """A megabyte made to hurt a scanner with backtracking is dealt with at once (the time limit is generous)."""
    try:
        decode(data, MESSAGE, depth=DEPTH)
    except InvalidInput as fault:
        refused = fault.code
    else:
        refused = None
    assert refused in {None, "invalid_json"}
