"""Strict JSON: what arrives is decoded into a type or refused with the place of its fault; what leaves is compact UTF-8.

Owns: well-formedness, paths of faults, instants, the digest of a value.   Not: depth and keys (structure.py), the types (protocol/messages.py,
events/kinds.py), how large a message may be (checked by who receives it).
Rule 1: of several faults the first of this order is told: not JSON, too deep, a key twice, not the type.
Rule 2: time is linear in the input at worst, and nothing recurses before the depth was found to be within its bound.
Rule 3: a fault's text never repeats more than a few characters of the input.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import isinf
from typing import Final, TypeAlias, TypeVar

import msgspec

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.choices import REFUSALS, explained
from signtusk_realtime.events.ids import ID_FAULT, ID_RULE
from signtusk_realtime.protocol import structure

T = TypeVar("T")
JSONValue: TypeAlias = "bool | int | float | str | list[JSONValue] | dict[str, JSONValue] | None"
Path: TypeAlias = tuple[str, ...]

_ENCODER: Final = msgspec.json.Encoder()
_CANONICAL: Final = msgspec.json.Encoder(order="deterministic")
_WELL_FORMED: Final = msgspec.json.Decoder(msgspec.Raw)
_ELEMENTS: Final = msgspec.json.Decoder(list[msgspec.Raw])
# No own type for the top: an alias that names itself is beyond msgspec, and `object` means the same to it.
_VALUE: Final = msgspec.json.Decoder(object)

_SPACES: Final = b" \t\r\n"

_MAX_QUOTED: Final = 64
_MAX_DETAIL: Final = 300

_MAYBE_FLOAT: Final = re.compile(rb"[0-9][.eE]")


def encode(value: object) -> bytes:
    """Give a value as compact JSON. Instants are text already (`format_instant`); NaN and infinities must not be in it."""
    return _ENCODER.encode(value)


def decode(data: bytes | str, decoder: msgspec.json.Decoder[T], *, depth: int, at: Path = ()) -> T:
    """Decode one JSON text into the decoder's type. Keep decoders: building one is expensive.

    `depth` is the deepest nesting of objects and arrays allowed, the outermost counts as 1. `at` is put before the path of a fault
    (the index of an event in its batch).
    Raises: InvalidInput with code invalid_json, too_deep or invalid_message; the latter has a path.
    """
    raw = _utf8(data)
    try:
        value = decoder.decode(raw)
    except msgspec.ValidationError as fault:
        # Rule 1: a wrong type is seen first and told last. The decoder stopped there, so the rest is still to be checked.
        _check_form(raw)
        _check_structure(raw, depth)
        raise _invalid_message(str(fault), at, raw, decoder.type) from None
    except msgspec.DecodeError as fault:
        raise _not_json(fault, raw) from None
    except RecursionError:
        raise _too_deep(depth) from None
    _check_structure(raw, depth)
    return value


def check_values(data: bytes, most: int, *, code: str = "limit_exceeded") -> None:
    """See that a text holds at most so many values, members and elements at any depth, before it is decoded: that cannot be interrupted.

    Raises: InvalidInput with `code`; invalid_json and too_deep where it is one of those first.
    """
    if structure.holds_more(data, most):
        _check_form(_utf8(data))
        raise InvalidInput(f"the JSON holds more than {most} values", code=code)


def decode_value(data: bytes | str, *, depth: int) -> object:
    """Decode one JSON text into dictionaries, lists and scalars. Raises: InvalidInput."""
    return decode(data, _VALUE, depth=depth)


def decode_elements(data: bytes | str) -> list[bytes] | None:
    """Split a JSON array into its elements' texts, each still to be decoded; None if the text is no array.

    Well-formed as a whole, but depth and keys of the elements are for `decode` to check: limits hold per element.
    Raises: InvalidInput (invalid_json, too_deep for what is nested beyond any limit).
    """
    raw = _utf8(data)
    if raw.lstrip(b" \t\r\n")[:1] != b"[":
        return None
    try:
        return [bytes(element) for element in _ELEMENTS.decode(raw)]
    except msgspec.DecodeError as fault:
        raise _not_json(fault, raw) from None
    except RecursionError:
        raise InvalidInput("the JSON nests too deep", code="too_deep") from None


def decode_digested(
    data: bytes | str, decoder: msgspec.json.Decoder[T], *, depth: int, at: Path = ()
) -> tuple[T, bytes]:
    """Do what `decode` and `canonical_digest` do, for less than both: most texts are seen to be sound by their canonical form.

    Raises: InvalidInput as they do, in their order.
    """
    raw = _utf8(data)
    canonical = _plain_canonical(raw, depth)
    if canonical is not None:
        # A wrong type is told below, with its place.
        with suppress(msgspec.DecodeError):
            return decoder.decode(raw), hashlib.sha256(canonical).digest()
    return decode(raw, decoder, depth=depth, at=at), canonical_digest(raw)


def canonical_digest(data: bytes | str) -> bytes:
    """Give the SHA-256 of a JSON value: equal for equal values, whatever the order of keys, the spaces, or 1 written as 1.0.

    The text must have passed `decode` (depth, keys).
    Raises: InvalidInput with code invalid_message if a number is beyond what is representable.
    """
    raw = _utf8(data)
    try:
        value = _VALUE.decode(raw)
        if _MAYBE_FLOAT.search(raw):
            value = _whole_numbers_as_integers(value)
        canonical = _CANONICAL.encode(value)
    except msgspec.ValidationError as fault:
        raise _invalid_message(str(fault), (), raw, object) from None
    except msgspec.DecodeError as fault:
        raise _not_json(fault, raw) from None
    except RecursionError:
        raise InvalidInput("the JSON nests too deep", code="too_deep") from None
    return hashlib.sha256(canonical).digest()


def json_path(path: Iterable[str]) -> str:
    """Write segments as the path of an error message: `$.subscription.filters`, `$[3].userId`, `$.filters['a.b']`."""
    return "$" + "".join(map(_path_step, path))


def json_pointer(path: Iterable[str]) -> str:
    """Write segments as an RFC 6901 pointer: `/3/userId`."""
    return "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in path)


# --- instants ------------------------------------------------------------------------

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_FIRST_INSTANT: Final = -62_135_596_800_000
_LAST_INSTANT: Final = 253_402_300_799_999
_INSTANT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,32}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def format_instant(at: int) -> str:
    """Write milliseconds since 1970 UTC as RFC 3339: `2026-11-22T18:49:22.123Z`. For the years 1 to 9999."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_instant(text: str) -> int:
    """Read an RFC 3339 instant as milliseconds since 1970 UTC; what is finer is cut off. A zone is demanded.

    Raises: InvalidInput (without a path; the caller knows the field).
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise InvalidInput("expected an RFC 3339 date and time with a zone, as in 2026-11-22T18:49:22.123Z")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, sign, zone_hour, zone_minute = match.group(7, 8, 9, 10)
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as fault:
        raise InvalidInput(f"no such date and time: {fault}") from None
    at = (moment - _EPOCH) // _MILLISECOND + int(((fraction or "") + "000")[:3])
    if sign is not None:
        if int(zone_hour) > 23 or int(zone_minute) > 59:
            raise InvalidInput("a zone's offset is at most 23:59")
        offset = (int(zone_hour) * 60 + int(zone_minute)) * 60_000
        at += -offset if sign == "+" else offset
    if not _FIRST_INSTANT <= at <= _LAST_INSTANT:
        raise InvalidInput("the year must be between 1 and 9999 in UTC")
    return at


# --- the scan ------------------------------------------------------------------------


def _utf8(data: bytes | str) -> bytes:
    """Give the text as bytes that are known to be UTF-8: msgspec steps over strings that no field asks for without a look."""
    try:
        if isinstance(data, str):
            return data.encode()
        if not data.isascii():
            data.decode()
    except UnicodeError as fault:
        raise _invalid_json(
            f"not UTF-8: {fault.reason}" if isinstance(fault, UnicodeDecodeError) else "lone surrogate"
        ) from None
    return data


def _check_form(raw: bytes) -> None:
    try:
        _WELL_FORMED.decode(raw)
    except msgspec.DecodeError as fault:
        raise _not_json(fault, raw) from None
    except RecursionError:
        raise InvalidInput("the JSON nests too deep", code="too_deep") from None


def _check_structure(raw: bytes, depth: int) -> None:
    """Refuse what nests deeper than `depth` or has a key twice in one object. `raw` is well-formed."""
    if structure.is_plainly_sound(raw, depth):
        return
    bare = structure.bones(raw)
    if not structure.nests_within(bare, depth):
        raise _too_deep(depth)
    try:
        if not structure.repeats_key(raw, bare):
            return
        key = structure.repeated_key(raw)
    except msgspec.DecodeError as fault:
        raise _not_json(fault, raw) from None
    named = "a key" if key is None else f'key "{_shorten(key, _MAX_QUOTED)}"'
    raise _invalid_json(f"{named} stands twice in one object")


def _plain_canonical(raw: bytes, depth: int) -> bytes | None:
    """Give the canonical form (of `canonical_digest`) if it shows that no key stands twice; None if that or the depth must be looked into.

    As structure.is_plainly_sound finds it, and with numbers and keys in the one form that equal values share.
    """
    if b"\\" in raw or raw.count(b"{") + raw.count(b"[") > depth:
        return None
    try:
        canonical = _CANONICAL.encode(_CANONICAL_VALUE.decode(raw))
    except (msgspec.MsgspecError, OverflowError):
        return None
    if raw.translate(None, _SPACES).count(b'":') != canonical.count(b'":'):
        return None
    return canonical


def _canonical_number(text: str) -> float | int:
    """Read a number with a fraction or an exponent. Raises: OverflowError for what is beyond representation."""
    number = float(text)
    # Infinity is no integer, and cannot be made one.
    return int(number) if number.is_integer() or isinf(number) else number


_CANONICAL_VALUE: Final = msgspec.json.Decoder(object, float_hook=_canonical_number)


def _whole_numbers_as_integers(value: object) -> object:
    # Rule 2: the caller catches RecursionError, and the text passed `decode` with its bound before.
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {key: _whole_numbers_as_integers(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_whole_numbers_as_integers(member) for member in value]
    return value


# --- faults --------------------------------------------------------------------------

_UNPAIRED: Final = re.compile(rb"(?<!\\)(?:\\\\)*+\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
"""The first half of a surrogate pair without a second; how many backslashes stand before it tells whether it is an escape."""
_PLAIN_STEP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX_STEP: Final = re.compile(r"[0-9]+")
_SUFFIX: Final = re.compile(r"(.*) - at (?:`key` in )?`\$([^`]*)`", re.DOTALL)
_FIELD: Final = re.compile(r"(Object (?:contains unknown|missing required) field) `(.*)`", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])")


def _invalid_json(detail: str) -> InvalidInput:
    return InvalidInput(_shorten(detail, _MAX_DETAIL), code="invalid_json")


def _not_json(fault: msgspec.DecodeError, raw: bytes) -> InvalidInput:
    """Tell why a text is no JSON. The parser calls what ends too early truncated, and a surrogate too whose other half it misses."""
    if not raw.strip(b" \t\r\n"):
        return _invalid_json("empty where JSON is expected")
    text = str(fault)
    return _invalid_json("unpaired surrogate in a string" if "truncated" in text and _UNPAIRED.search(raw) else text)


def _too_deep(depth: int) -> InvalidInput:
    return InvalidInput(f"the JSON nests deeper than {depth} levels", code="too_deep")


def _invalid_message(text: str, at: Path, raw: bytes, expected: object) -> InvalidInput:
    """Turn msgspec's text (`Expected … - at `$.a.b[3]``) into a detail and segments.

    Its steps are field names of our own types and indexes; a member of a free dictionary is `[...]`, where the path then ends: it
    points at the dictionary.
    """
    detail, steps = text, ""
    if match := _SUFFIX.fullmatch(text):
        detail, steps = match.groups()
    path = list(at)
    whole = True
    for step in _STEP.finditer(steps):
        name, index, anonymous = step.groups()
        if anonymous:
            whole = False
            break
        path.append(name or index)
    if match := _FIELD.fullmatch(detail):
        what, field = match.groups()
        field = _shorten(field, _MAX_QUOTED)
        detail = f"{what} `{field}`"
        if whole:
            path.append(field)
    if detail == ID_FAULT:
        detail = f"not an id: {ID_RULE}"
    elif whole and detail.startswith(REFUSALS):
        # A number beyond what is representable may stand elsewhere in the text.
        with suppress(msgspec.MsgspecError):
            # Our own list may be long; what is repeated of the input is not.
            message = explained(detail, expected, _VALUE.decode(raw), path[len(at) :])
            return InvalidInput(message, code="invalid_message", path=tuple(path))
    return InvalidInput(_shorten(detail, _MAX_DETAIL), code="invalid_message", path=tuple(path))


def _path_step(segment: str) -> str:
    if _PLAIN_STEP.fullmatch(segment):
        return "." + segment
    if _INDEX_STEP.fullmatch(segment):
        return f"[{segment}]"
    return "['" + segment.replace("\\", "\\\\").replace("'", "\\'") + "']"


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
