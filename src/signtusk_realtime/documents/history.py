"""The history of a document: entries that each seal the one before.

Owns: what an entry says, its hash, verifying and erasing.   Not: where entries are kept, what happened (resolve.py, manual.py, states.py).
Rule 1: hash = sha256(prevHash ‖ JCS(header) ‖ bodyHash), bodyHash = sha256(salt ‖ JCS(body)); hashes are joined as lower-case hexadecimal,
everything as UTF-8. The first prevHash is 64 zeros.
Rule 2: values stand in the body only. Erasing takes body and salt away and leaves bodyHash: the chain holds, and what was erased cannot
be guessed back from it, since the salt is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.canonical import canonical
from signtusk_realtime.documents.ops import Op, apply
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.states import State
from signtusk_realtime.documents.values import Json, Object

EntryKind: TypeAlias = Literal["edit", "resolve", "transition", "adopt"]
Integrity: TypeAlias = Literal["intact", "erased", "broken"]
GENESIS: Final = "0" * 64


class Header(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Who did what, when, on which base, with which outcome. `conflicts` are ids; `state` is the one after a transition.

    `connection_id`: where the edit came from whose client has no name of its own.
    """

    version: int
    kind: EntryKind
    user_id: str
    client_id: str = ""
    connection_id: str = ""
    change_id: str
    seq: int | UnsetType = UNSET
    base_version: int
    status: str
    conflicts: Sequence[str] = ()
    state: State | UnsetType = UNSET
    timestamp: str


class Body(Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Everything that holds values: the change as it was sent, what its author changed, what was applied, and where."""

    change: Json = None
    changed: Sequence[Op] = ()
    ops: Sequence[Op] = ()
    paths: Sequence[str] = ()


class Entry(Struct, rename="camel", frozen=True, kw_only=True):
    """One version's entry. Body and salt are null once erased."""

    header: Header
    body: Body | None
    salt: str | None
    body_hash: str
    prev_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found. `version` is the first that is missing or broken, `erased` those whose values are gone."""

    integrity: Integrity
    erased: tuple[int, ...] = ()
    version: int | None = None
    why: str = ""


def seal(header: Header, body: Body, *, salt: str, prev_hash: str = GENESIS) -> Entry:
    """Make the entry of a version. `salt` is fresh and secret: at least 128 random bits, as text."""
    body_hash = _body_hash(body, salt)
    return Entry(
        header=header,
        body=body,
        salt=salt,
        body_hash=body_hash,
        prev_hash=prev_hash,
        hash=_hash(header, body_hash, prev_hash),
    )


def erase(entry: Entry) -> Entry:
    """Take a person's values away; the entry still seals what was there."""
    return msgspec.structs.replace(entry, body=None, salt=None)


def verify(entries: Iterable[Entry], *, prev_hash: str | None = GENESIS, first_version: int = 1) -> Verdict:
    """Verify entries in order of version.

    `prev_hash` is the hash before the first; None where it is not known, since older entries are no longer kept.
    """
    erased: list[int] = []
    expected = first_version
    for entry in entries:
        version = entry.header.version
        why = _fault(entry, expected, prev_hash)
        if why:
            return Verdict("broken", tuple(erased), expected, why)
        if entry.body is None or entry.salt is None:
            erased.append(version)
        prev_hash, expected = entry.hash, version + 1
    return Verdict("erased" if erased else "intact", tuple(erased))


def replay(document: Object, entries: Iterable[Entry]) -> Object:
    """Give the document after these entries, in order. Raises: Refused with version_mismatch/compacted where one was erased."""
    for entry in entries:
        if entry.body is None:
            raise Refused(
                f"the values of version {entry.header.version} were erased", code="version_mismatch", reason="compacted"
            )
        document = apply(document, entry.body.ops)
    return document


def _fault(entry: Entry, version: int, prev_hash: str | None) -> str:
    if entry.header.version != version:
        return f"version {version} is missing"
    if prev_hash is not None and entry.prev_hash != prev_hash:
        return "it does not follow the entry before"
    if entry.hash != _hash(entry.header, entry.body_hash, entry.prev_hash):
        return "its header was changed"
    if entry.body is not None and entry.salt is not None and entry.body_hash != _body_hash(entry.body, entry.salt):
        return "its body was changed"
    return ""


def _hash(header: Header, body_hash: str, prev_hash: str) -> str:
    return sha256((prev_hash + _canonical(header) + body_hash).encode()).hexdigest()


def _body_hash(body: Body, salt: str) -> str:
    return sha256((salt + _canonical(body)).encode()).hexdigest()


def _canonical(part: Header | Body) -> str:
    # What is hashed is what storing keeps: lists, not tuples.
    return canonical(cast("Json", msgspec.json.decode(msgspec.json.encode(part))))
