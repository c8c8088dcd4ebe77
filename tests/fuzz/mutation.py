"""Bytes near those that are known: the short form of fuzzing, the same on every machine.

Owns: mutations of a corpus by a seeded generator.   Not: coverage (the long form has it: __main__.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
MOST_BYTES: Final = 4096
_TOKENS: Final = (
    b"\x00", b"\xff", b"\r\n", b"\n\n", b'"', b"\\", b"\\u0000", b"{", b"}", b"[", b"]", b":", b",", b"null", b"1e400",
    b"\xe2\x80\xa8", b"\xed\xa0\x80", b"__proto__", b"/", b"~1", b"9" * 30, b"-", b"\x1b[31m", b"%00", b"&", b"=", b".",
)  # fmt: skip


def seeds(target: str) -> list[bytes]:
    """Give what is kept for a target: one input a file."""
    found = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    assert found, f"there is no corpus for {target}"
    return found


def mutated(known: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Give so many inputs near the known ones."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(known))
        for _ in range(chance.randint(1, 6)):
            _mutate(data, known, chance)
        yield bytes(data[:MOST_BYTES])


def _mutate(data: bytearray, known: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randint(0, len(data))
    match chance.randint(0, 6):
        case 0 if data:
            data[at % len(data)] ^= 1 << chance.randint(0, 7)
        case 1:
            data[at:at] = bytes((chance.randint(0, 255),))
        case 2:
            del data[at : at + chance.randint(1, 16)]
        case 3:
            data[at:at] = chance.choice(_TOKENS)
        case 4:
            other = chance.choice(known)
            data[at:] = other[chance.randint(0, len(other)) :]
        case 5:
            data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 8)
        case _:
            data[at : at + 1] = chance.choice(_TOKENS)
