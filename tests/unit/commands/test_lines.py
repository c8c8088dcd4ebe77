"""Lines of an input, a window at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.commands.lines import MAX_LINE_BYTES, WINDOW_BYTES, WINDOW_LINES, Given, Line, Lines
from signtusk_realtime.errors import InvalidInput
from tests.support.clock import run


class Trickle:
    """An input of which a piece is there at a time; an empty piece is a pause."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def is_ready(self) -> bool:
        return not self.pieces or bool(self.pieces[0])

    async def read(self) -> bytes:
        while self.pieces and not self.pieces[0]:
            self.pieces.pop(0)
        return self.pieces.pop(0) if self.pieces else b""


async def windows(lines: Lines) -> list[list[Line]]:
    found = []
    while window := await lines.window():
        found.append(window)
    return found


@given(st.lists(st.binary(max_size=5).map(lambda b: b.replace(b"\xef", b"")), max_size=20))
def test_lines_are_numbered_and_blank_ones_left_out(pieces: list[bytes]) -> None:
    """However the input comes in, each line that is not blank comes out once, with its number and without white space around."""
    data = b"".join(pieces)
    expected = [Line(n, text.strip()) for n, text in enumerate(data.split(b"\n"), 1) if text.strip()]
    assert [line for window in run(windows(Lines(Trickle(pieces)))) for line in window] == expected


def test_windows_bounds_lines_and_bytes() -> None:
    """A window is full by its lines or its bytes."""
    sizes = [len(w) for w in run(windows(Lines(Given(b"x\n" * (2 * WINDOW_LINES + 1)))))]
    assert sizes == [WINDOW_LINES, WINDOW_LINES, 1]
    large = b"x" * (WINDOW_BYTES // 2) + b"\n"
    assert [len(w) for w in run(windows(Lines(Given(large * 5))))] == [2, 2, 1]


def test_what_is_there_is_not_held_back() -> None:
    """A slow input is passed on line by line; a line that is not whole waits for its rest."""
    lines = Lines(Trickle([b"a\nb\nc", b"", b"d\n", b"", b"e"]))
    assert [[line.text for line in w] for w in run(windows(lines))] == [[b"a", b"b"], [b"cd"], [b"e"]]
    assert lines.bytes_read == 8


def test_marks_and_ends_of_other_systems_are_no_content() -> None:
    """A byte order mark and carriage returns are dropped."""
    assert run(windows(Lines(Given(b"\xef\xbb\xbfa\r\nb\r\n")))) == [[Line(1, b"a"), Line(2, b"b")]]


def test_a_line_without_end_is_given_up() -> None:
    """It is refused by its number, with bounded memory."""
    lines = Lines(Trickle([b"a\n", *[b"x" * (1 << 20)] * 20]))
    with pytest.raises(InvalidInput, match=f"line 2: longer than {MAX_LINE_BYTES} bytes"):
        run(windows(lines))


def test_the_remainder_is_one_text() -> None:
    """For one object over many lines."""

    async def read() -> tuple[list[Line], bytes]:
        lines = Lines(Trickle([b"{\n", b"", b" 1\n2", b"3\n"]))
        return await lines.window(), await lines.remainder()

    assert run(read()) == ([Line(1, b"{")], b" 1\n23")
