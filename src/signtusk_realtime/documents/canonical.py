"""One text for one value: the JSON Canonicalization Scheme (RFC 8785), and the hashes made of it.

Owns: the canonical form, the content hash, the key by which elements are compared.   Not: what is hashed into a history (history.py).
Rule: strings stand as they came, not normalized, so that whoever has the data can compute the hash; only `key_of` compares in NFC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Final

import msgspec

from signtusk_realtime.documents.values import Json, nfc

# RFC 8785 escapes what this encoder escapes, in the same way: quotes, backslashes and control characters, lower-case hex.
_SORTED: Final = msgspec.json.Encoder(order="sorted")
_STRING: Final = encode_basestring
# Of finite numbers the two write only whole floats and exponents differently. The first pattern is quick; it takes much of what stands in ids
# of digits and letters for an exponent, which the second does not: a number follows a bracket, a colon or a comma.
_QUICKLY_OTHERWISE: Final = re.compile(r"[0-9](?:e|\.0(?![0-9]))")
_PERHAPS_OTHERWISE: Final = re.compile(r"(?:\A|[\[:,])-?[0-9]+(?:\.0(?![0-9])|(?:\.[0-9]+)?e)")
# Beyond the basic plane the order of code units is not that of code points.
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_STRETCH: Final = 64 << 10


def canonical(value: Json) -> str:
    """Give the RFC 8785 form of a value that passed `check_value`."""
    text = _SORTED.encode(value).decode()
    has_others = _holds(text, _QUICKLY_OTHERWISE) and _holds(text, _PERHAPS_OTHERWISE)
    if has_others or (not text.isascii() and _holds(text, _ASTRAL)):
        return _write(value, lambda string: string)
    return text


def _holds(text: str, sought: re.Pattern[str]) -> bool:
    # In stretches: one search through a megabyte would hold up all threads for as long as it takes. A number has fewer than 32 characters.
    return any(sought.search(text, start, start + _STRETCH + 32) for start in range(0, len(text), _STRETCH))


def key_of(value: Json) -> str:
    """Give a text that two values share exactly if they are equal (values.py)."""
    text = canonical(value)
    return text if text.isascii() else _write(value, nfc)


def content_hash(value: Json) -> str:
    """Give the lower-case hexadecimal SHA-256 of the canonical form."""
    return sha256(canonical(value).encode()).hexdigest()


def number(value: float) -> str:
    """Write a number as ECMAScript does (ECMA-262, Number::toString with radix 10)."""
    if isinstance(value, int) and abs(value) < 2**53:
        return str(value)
    # Python's repr has the same shortest digits that read back as this number; only the notation differs.
    sign, digits, point = _digits(repr(float(value)))
    if digits == "0":
        return "0"
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{point - 1:+d}"


def _digits(text: str) -> tuple[str, str, int]:
    """Give sign, significant digits, and how many of them stand before the point."""
    sign = "-" if text.startswith("-") else ""
    mantissa, _, exponent = text.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    return sign, digits.rstrip("0") or "0", point


def _code_units(member: tuple[str, Json]) -> bytes:
    return member[0].encode("utf-16-be")


def _write(value: Json, text: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return _STRING(text(value))
    if isinstance(value, dict):
        members = sorted(value.items(), key=_code_units)
        return "{" + ",".join([f"{_STRING(key)}:{_write(item, text)}" for key, item in members]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_write(item, text) for item in value]) + "]"
    if value is None or isinstance(value, bool):
        return _SORTED.encode(value).decode()
    return number(value)
