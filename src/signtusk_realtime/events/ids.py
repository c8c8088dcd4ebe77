"""Names of people and things: what an id may look like, and whose is whose.

Owns: the rule for ids, the id types.   Not: making new ids (operations), names of logs (events/log.py).
Rule 1: an id has 1 to 128 characters, no control character, no white space around it, and can be written as UTF-8.
Rule 2: `*` and `~` are names of logs; nobody's organization is called so.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NewType

from msgspec import Meta

from signtusk_realtime.errors import InvalidInput

OrganizationId = NewType("OrganizationId", str)
UserId = NewType("UserId", str)
TeamId = NewType("TeamId", str)
DocumentId = NewType("DocumentId", str)
SigningRequestId = NewType("SigningRequestId", str)
RecipientId = NewType("RecipientId", str)
EventId = NewType("EventId", str)

MAX_ID_LENGTH: Final = 128
ID_RULE: Final = "1 to 128 characters, no control characters, no white space around"
"""The rule in words, for messages to people."""
ID_PATTERN: Final = r"^(?![\s\ufeff])[^\x00-\x1f\x7f-\x9f]+(?<![\s\ufeff])(?![\s\S])"
"""The rule but for the length, in the regular expressions that Python and JSON Schema share.

Why not `$`: in Python it also matches before a closing line feed. U+FEFF is white space to browsers, though not to Python.
"""
ID_FAULT: Final = f"Expected `str` matching regex {ID_PATTERN!r}"
"""How the decoder tells it; whoever shows its messages says ID_RULE instead."""

Id = Annotated[
    str, Meta(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN, extra_json_schema={"description": ID_RULE})
]
"""An id in a wire type. What is decoded from JSON cannot hold a lone surrogate: the decoder refuses it."""

RESERVED_ORGANIZATIONS: Final = frozenset({"*", "~"})

_matches = re.compile(ID_PATTERN).match
_surrogate = re.compile(r"[\ud800-\udfff]").search


def is_id(value: object) -> bool:
    """Say whether `value` may be an id; for values that did not come through a wire type."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_ID_LENGTH
        and _matches(value) is not None
        and _surrogate(value) is None
    )


def check_id(value: str, *, path: tuple[str, ...] | None = None, code: str | None = None) -> str:
    """Return `value` if it may be an id.

    Raises: InvalidInput with `path` and `code` (default `invalid_message`).
    """
    if not is_id(value):
        # The value itself is not repeated: it may be long, or hold what a terminal would obey.
        raise InvalidInput(f"not an id: {ID_RULE}", code=code, path=path)
    return value


def check_organization_id(
    value: str, *, path: tuple[str, ...] | None = None, code: str | None = None
) -> OrganizationId:
    """Return `value` if an organization may be called so: an id, and not the name of a reserved log.

    Raises: InvalidInput with `path` and `code` (default `invalid_message`).
    """
    if check_id(value, path=path, code=code) in RESERVED_ORGANIZATIONS:
        raise InvalidInput(f"organization {value!r} is reserved", code=code, path=path)
    return OrganizationId(value)
