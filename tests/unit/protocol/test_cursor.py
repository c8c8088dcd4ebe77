"""The cursor's text: what it promises to look like, and what is not ours."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from zlib import crc32

import pytest

from signtusk_realtime.events.log import ORIGIN_TAG, Epoch, Position
from signtusk_realtime.protocol.cursor import CURSOR_LENGTH, MAX_CURSOR_LENGTH, Cursor, CursorWriter, decode, encode

HERE = Position(Epoch("0123456789abcdef"), 12_345, b"\x01\x02\x03\x04\x05")
THERE = Position(Epoch("fedcba9876543210"), 7, b"\xff\xfe\xfd\xfc\xfb")
START = Position(Epoch("0123456789abcdef"), 0, ORIGIN_TAG)
FAR = Position(Epoch("f" * 16), (1 << 56) - 1, b"\xff" * 5)

PAIRS = [(a, b) for a in (None, HERE, START, FAR) for b in (None, THERE, START, FAR)]


@pytest.mark.parametrize("organization,system", PAIRS)
def test_a_pair_comes_back(organization: Position | None, system: Position | None) -> None:
    """Either log may stand at its beginning, which is not the same as offset 0 of a known epoch."""
    text = encode("org123", organization, system)
    assert decode("org123", text) == Cursor(organization, system)
    assert len(text) == CURSOR_LENGTH <= MAX_CURSOR_LENGTH
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", text)
    assert text not in {"earliest", "latest"}


def test_each_pair_has_a_text_of_its_own() -> None:
    """No two pairs share a text."""
    assert len({encode("org123", *pair) for pair in PAIRS}) == len(PAIRS)


def test_another_organizations_cursor_is_not_ours() -> None:
    """Also between ids that are alike, and whatever the positions."""
    for pair in PAIRS:
        for other in ("org124", "Org123", "org12", "*", ""):
            assert decode(other, encode("org123", *pair)) is None


def test_every_changed_character_is_found() -> None:
    """One character replaced, two neighbours swapped, one dropped, one added: none of them is a cursor."""
    text = encode("org123", HERE, THERE)
    for at in range(len(text)):
        for character in "A9_-":
            if text[at] != character:
                assert decode("org123", text[:at] + character + text[at + 1 :]) is None
        assert decode("org123", text[:at] + text[at + 1 :]) is None
        swapped = text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
        assert swapped == text or decode("org123", swapped) is None
    assert decode("org123", text + "A") is None


@pytest.mark.parametrize(
    "text", ["", "earliest", "latest", "unknown", "A" * 60, "é" * 60, "\ud800" * 60, "A" * 1_024, "x\n", "\0"]
)
def test_any_other_text_is_not_ours(text: str) -> None:
    """A client may send whatever it likes as a cursor; the answer is None, never an error."""
    assert decode("org123", text) is None


@pytest.mark.parametrize("flags", [0x10, 0x11, 0x12, 0x03, 0x17, 0x23, 0xFF])
def test_a_second_text_of_a_pair_is_not_ours(flags: int) -> None:
    """A right checksum does not help a half that its flag denies, nor another version of the layout."""
    raw = bytearray(urlsafe_b64decode(encode("org123", HERE, THERE)))
    raw[0] = flags
    seed = int.from_bytes(blake2b(b"org123", digest_size=4).digest(), "big")
    raw[-4:] = crc32(raw[:-4], seed).to_bytes(4, "big")
    assert decode("org123", urlsafe_b64encode(raw).decode()) is None


def test_a_forged_text_with_the_right_flags_is_read() -> None:
    """The checksum is public: the test above fails for the flags alone."""
    raw = bytearray(urlsafe_b64decode(encode("org123", HERE, THERE)))
    seed = int.from_bytes(blake2b(b"org123", digest_size=4).digest(), "big")
    assert crc32(raw[:-4], seed).to_bytes(4, "big") == raw[-4:]


def test_a_writer_writes_what_encode_writes() -> None:
    """Also after the system log has moved and after the log's epoch has changed."""
    writer = CursorWriter("org123")
    for system in (None, THERE, START, None):
        writer.move_system(system)
        assert writer.system == system
        for organization in (HERE, FAR, HERE, None, START):
            assert writer.text(organization) == encode("org123", organization, system)
            assert writer.encoded(organization) == encode("org123", organization, system).encode()


def test_a_writer_is_small() -> None:
    """There is one per organization with live connections."""
    assert not hasattr(CursorWriter("org123"), "__dict__")
