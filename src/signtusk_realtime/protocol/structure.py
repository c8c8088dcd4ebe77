"""Depth, keys and number of values of JSON, at the price of a few passes in C, whatever it holds.

Owns: whether it nests too deep, whether a key stands twice in one object, and which, for what is known to be well-formed; about how many
values it holds.   Not: what is told of it (json.py).
Rule: nothing here steps through values or tokens in Python, but to name a key in a text of few: a stranger's 60 KB of `{}` would else cost
everybody else 20 ms.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

# Possessive quantifiers, so that no input makes it try a character twice.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_TOKENS: Final = re.compile(_STRING + rb"[ \t\r\n]*+:?|[{}]", re.DOTALL)
"""Strings, keys with their colons, and objects: a token is told by its last byte."""
_SPACES: Final = b" \t\r\n"
_AS_ARRAYS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_KEY_END: Final = b'":'
_COLON: Final = ord(":")
_OPEN: Final = ord("{")
_NAMED_TOKENS: Final = 5000
"""In a text with more of them the key is not named."""

_KEY: Final = msgspec.json.Decoder(str)
_VALUE: Final = msgspec.json.Decoder(object)
# A number beyond what is representable matters to who asks for the value, and not here.
_ANY_VALUE: Final = msgspec.json.Decoder(object, float_hook=lambda _: 0)
_encode: Final = msgspec.json.Encoder().encode


def is_plainly_sound(raw: bytes, depth: int) -> bool:
    """Say whether neither can be wrong, for nearly all that clients write; what is not plain has to be looked into.

    Without a backslash no quote stands within a string, and strings are written back as they were read. Without white space `":` ends each
    key, and else only begins a string whose first character is a colon: what is written back has as many of them, or fewer if a key was
    overwritten by its like (or a string begins with spaces before a colon). Brackets in strings only make the depth look too great.
    """
    if b"\\" in raw or raw.count(b"{") + raw.count(b"[") > depth:
        return False
    try:
        again = _encode(_VALUE.decode(raw))
    except msgspec.MsgspecError:
        return False
    return raw.translate(None, _SPACES).count(_KEY_END) == again.count(_KEY_END)


def bones(raw: bytes) -> bytes:
    """Give a text without white space, and a quote for each string."""
    return _STRINGS.sub(b'"', raw).translate(None, _SPACES)


def nests_within(bare: bytes, depth: int) -> bool:
    """Say whether a text of these bones nests at most so deep; the outermost object or array counts as 1."""
    brackets = bare.translate(_AS_ARRAYS, _NO_BRACKETS)
    for _ in range(depth):
        if not brackets:
            break
        # Whatever holds nothing goes, and with it the innermost level of each part.
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def holds_more(raw: bytes, most: int) -> bool:
    """Say whether a text holds more than so many values: members and elements at any depth, and the outermost."""
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") < most:
        return False
    if raw.count(b'"') - raw.count(b'\\"') > 4 * (most + 1):
        # More strings than so many members with a key and a text each: their bones would take longest.
        return True
    bare = bones(raw)
    # Each value follows one of these but the outermost; what is empty holds none.
    return sum(map(bare.count, (b",", b"[", b"{"))) - bare.count(b"[]") - bare.count(b"{}") >= most


def repeats_key(raw: bytes, bare: bytes) -> bool:
    """Say whether a key stands twice in one object: then the members that come out are fewer than the keys that went in.

    Raises: msgspec.MsgspecError for a text that holds a string nobody can read.
    """
    keys = bare.count(_KEY_END)
    if keys < 2:
        return False
    try:
        value = _VALUE.decode(raw)
    except msgspec.MsgspecError:
        value = _ANY_VALUE.decode(raw)
    return bones(_encode(value)).count(_KEY_END) < keys


def repeated_key(raw: bytes) -> str | None:
    """Give the first key that stands twice in one object; None if there is none, or it would take long to find."""
    outer: list[set[bytes]] = []
    seen: set[bytes] = set()
    for count, match in enumerate(_TOKENS.finditer(raw)):
        token = match.group()
        kind = token[-1]
        if count == _NAMED_TOKENS:
            return None
        if kind == _COLON:
            key = token[:-1].rstrip(_SPACES)
            if b"\\" in key:
                key = b'"' + _KEY.decode(key).encode() + b'"'
            if key in seen:
                return key[1:-1].decode()
            seen.add(key)
        elif kind == _OPEN:
            outer.append(seen)
            seen = set()
        elif token == b"}":
            seen = outer.pop()
    return None
