"""Rows: heads, formats, places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.engines.retention import stored_bytes
from signtusk_realtime.engines.sqlite.layout import (
    decode_entry,
    decode_head,
    encode_head,
    offset_of,
    place_of,
    row_count,
)
from signtusk_realtime.errors import Unavailable

_ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)


@given(
    st.binary(min_size=5, max_size=5),
    st.integers(0, 2**60),
    st.binary(min_size=32, max_size=32),
    st.lists(_ids, max_size=4).map(tuple),
    st.binary(max_size=20),
)
def test_heads_round_trip(tag: bytes, at: int, digest: bytes, keys: tuple[str, ...], body: bytes) -> None:
    """What is packed into a head is read from it, and its size is what retention counts."""
    head = encode_head(tag, at, digest, keys)
    assert decode_head(head) == (tag, at, digest)
    entry = decode_entry(place_of(7, 9), "e", head, body)
    assert entry == (9, tag, at, "e", keys, body)
    assert stored_bytes("e", keys, body) == 1 + len(head) + len(body)


def test_an_unknown_format_is_refused() -> None:
    """The first byte of a stored entry is its format; another than ours is not guessed at."""
    head = encode_head(b"12345", 1, b"d" * 32, ())
    assert head[0] == 1
    with pytest.raises(Unavailable, match="format 2"):
        decode_head(b"\x02" + head[1:])


@given(st.integers(1, 2**22), st.integers(0, 2**40 - 1))
def test_places_keep_logs_apart(log_id: int, offset: int) -> None:
    """A place tells the offset, and every place of a log lies between its first and the next log's."""
    place = place_of(log_id, offset)
    assert offset_of(place) == offset
    assert place_of(log_id, 0) <= place < place_of(log_id + 1, 0) < 2**63


@pytest.mark.parametrize("rows, expected", [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (257, 512), (512, 512)])
def test_numbers_of_rows_are_rounded_up(rows: int, expected: int) -> None:
    """A handful of statement texts serve all sizes."""
    assert row_count(rows) == expected
