"""The cursor: how far a client has got in its organization's log and in the system log, as one opaque string.

Owns: the text form of a pair of positions.   Not: the words `earliest` and `latest` (never produced here), whether a position still
exists in its log (delivery compares epoch, offset and tag).
Rule 1: a text stands for one pair and a pair of an organization for one text; anything else, or another organization's, decodes to None.
An announcement's result belongs to no organization: encoded for the system log's name, with the organization's half at its beginning, it is
read in all of them.
Rule 2: the checksum finds damage and mix-ups. It authenticates nothing and need not: a forged cursor can only name a place in the
forger's own logs, and such a place counts only if its chained tag is the log's.

Layout (45 bytes, 60 characters of base64url):  flags 1 · system half 20 · organization half 20 · CRC-32 4, where a half is
epoch 8 · offset 7 · tag 5, or zeros if its flag says that the log stands at its beginning. The system half comes first because it seldom
moves: its characters and checksum are kept, and 32 characters are written per event.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from zlib import crc32

from signtusk_realtime.events.log import SYSTEM_LOG, TAG_BYTES, Epoch, Position

CURSOR_LENGTH: Final = 60
MAX_CURSOR_LENGTH: Final = 160
"""What the protocol promises; texts of this version are shorter."""

_EPOCH_BYTES: Final = 8
_OFFSET_BYTES: Final = 7
_HALF: Final = _EPOCH_BYTES + _OFFSET_BYTES + TAG_BYTES
_CHECKSUM_BYTES: Final = 4
_ZEROS: Final = bytes(_HALF)

# Flags: the high bits are the version of the layout, so that a later one can be told apart.
_VERSION: Final = 0x10
_HAS_SYSTEM: Final = 0x02
_HAS_ORGANIZATION: Final = 0x01

_TEXT: Final = re.compile(rf"[A-Za-z0-9_-]{{{CURSOR_LENGTH}}}", re.ASCII)
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")


class Cursor(NamedTuple):
    """A pair of positions; None is the beginning of that log, before its first entry and without a claim about its epoch."""

    organization: Position | None
    system: Position | None


class CursorWriter:
    """Writes the cursors of one organization: many positions of its log beside a system position that seldom moves.

    One per organization with live connections; it holds two texts and three numbers, no hash object.
    """

    __slots__ = ("_checksum", "_epoch", "_epoch_bytes", "_head", "_seed", "_system")

    def __init__(self, organization_id: str, system: Position | None = None) -> None:
        self._seed = _seed(organization_id)
        self._epoch = ""
        self._epoch_bytes = b""
        self._head = b""
        self._checksum = 0
        self._system = system
        self.move_system(system)

    @property
    def system(self) -> Position | None:
        """The system position that the next cursors carry."""
        return self._system

    def move_system(self, system: Position | None) -> None:
        """Let the cursors from now on carry this system position."""
        # The flag of the organization's half stands in the head too: the head that nearly all cursors have is kept, the other is made
        # when asked for.
        prefix = bytes((_VERSION | (_HAS_SYSTEM if system is not None else 0) | _HAS_ORGANIZATION,)) + _half(system)
        self._system = system
        self._head = b2a_base64(prefix, newline=False).translate(_TO_URL)
        self._checksum = crc32(prefix, self._seed)

    def encoded(self, organization: Position | None) -> bytes:
        """Give the cursor as ASCII bytes, ready to be spliced between a head and a body."""
        if organization is None:
            return self._at_beginning()
        epoch, offset, tag = organization
        if epoch != self._epoch:
            self._epoch_bytes = bytes.fromhex(epoch)
            self._epoch = epoch
        half = self._epoch_bytes + offset.to_bytes(_OFFSET_BYTES, "big") + tag
        tail = half + crc32(half, self._checksum).to_bytes(_CHECKSUM_BYTES, "big")
        return self._head + b2a_base64(tail, newline=False).translate(_TO_URL)

    def text(self, organization: Position | None) -> str:
        """Give the cursor as text."""
        return self.encoded(organization).decode("ascii")

    def _at_beginning(self) -> bytes:
        system = self._system
        body = bytes((_VERSION | (_HAS_SYSTEM if system is not None else 0),)) + _half(system) + _ZEROS
        checked = body + crc32(body, self._seed).to_bytes(_CHECKSUM_BYTES, "big")
        return b2a_base64(checked, newline=False).translate(_TO_URL)


@lru_cache(maxsize=1024)
def encode(organization_id: str, organization: Position | None, system: Position | None) -> str:
    """Give the cursor of one pair of positions; those asked for again, as when many subscribe, are kept.

    On hot paths keep a `CursorWriter` instead.
    """
    return CursorWriter(organization_id, system).text(organization)


def decode(organization_id: str, text: str) -> Cursor | None:
    """Read a cursor of this organization, or of the system log alone; None if it is malformed, damaged or another organization's."""
    if not _TEXT.fullmatch(text):
        return None
    raw = a2b_base64(text.encode("ascii").translate(_FROM_URL))
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    flags = body[0]
    if crc32(body, _seed(organization_id)).to_bytes(_CHECKSUM_BYTES, "big") != checksum and (
        flags != _VERSION | _HAS_SYSTEM or crc32(body, _seed(SYSTEM_LOG)).to_bytes(_CHECKSUM_BYTES, "big") != checksum
    ):
        return None
    if flags & ~(_HAS_SYSTEM | _HAS_ORGANIZATION) != _VERSION:
        return None
    system, organization = body[1 : 1 + _HALF], body[1 + _HALF :]
    # Rule 1: a half that its flag denies holds zeros, or two texts would stand for one pair.
    if not flags & _HAS_SYSTEM and system != _ZEROS:
        return None
    if not flags & _HAS_ORGANIZATION and organization != _ZEROS:
        return None
    return Cursor(
        organization=_position(organization) if flags & _HAS_ORGANIZATION else None,
        system=_position(system) if flags & _HAS_SYSTEM else None,
    )


def _seed(organization_id: str) -> int:
    return int.from_bytes(blake2b(organization_id.encode(), digest_size=4).digest(), "big")


def _half(position: Position | None) -> bytes:
    if position is None:
        return _ZEROS
    return bytes.fromhex(position.epoch) + position.offset.to_bytes(_OFFSET_BYTES, "big") + position.tag


def _position(half: bytes) -> Position:
    return Position(
        Epoch(half[:_EPOCH_BYTES].hex()),
        int.from_bytes(half[_EPOCH_BYTES : _EPOCH_BYTES + _OFFSET_BYTES], "big"),
        half[_EPOCH_BYTES + _OFFSET_BYTES :],
    )
