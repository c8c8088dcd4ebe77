"""What nodes tell one another of who is there: one record for each organization and node, and what changed in it.

Owns: their form as bytes.   Not: when they are written and how long they count (sharing.py).
Rule: a node reads what a newer one wrote: unknown members are passed over, and what cannot be read at all is None.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from signtusk_realtime.sessions.presence import Declared, Seen

PRESENCE: Final = "presence"
"""The collection of nodes' records in an organization's log, by the node's id."""
PUBLISHED: Final = "published_presence"
"""The collection of what the application published of users, by the user's id."""


class Attendance(Struct, rename="camel", frozen=True, omit_defaults=True):
    """All whom a node knows of in an organization, as they were when it wrote for the `number`th time.

    `until`: the node has left, and its people count until then, in milliseconds of the engine's clock, for they may be on their way to another.
    """

    number: int
    people: dict[str, Seen]
    until: int = 0


class Change(Struct, rename="camel", frozen=True, omit_defaults=True, tag_field="tell", tag="change"):
    """What changed between two writings of a node. `people`: None for who is gone; absent as a whole where it would be too much."""

    node: str
    before: int
    number: int
    people: dict[str, Seen | None] | None = None
    until: int = 0


class Publication(Struct, rename="camel", frozen=True, tag_field="tell", tag="published"):
    """What the application published of users."""

    node: str
    people: dict[str, Declared]


Telling = Change | Publication

encode: Final = msgspec.json.Encoder().encode
_attendance: Final = msgspec.json.Decoder(Attendance)
_declared: Final = msgspec.json.Decoder(Declared)
_telling: Final[msgspec.json.Decoder[Telling]] = msgspec.json.Decoder(Telling)


def attendance_of(value: bytes) -> Attendance | None:
    """Read a node's record; None if it cannot be read."""
    try:
        return _attendance.decode(value)
    except msgspec.DecodeError:
        return None


def published_of(value: bytes) -> Declared | None:
    """Read the record of what was published of a user; None if it cannot be read."""
    try:
        return _declared.decode(value)
    except msgspec.DecodeError:
        return None


def telling_of(body: bytes) -> Telling | None:
    """Read what a node tells; None if this version does not know it."""
    try:
        return _telling.decode(body)
    except msgspec.DecodeError:
        return None
