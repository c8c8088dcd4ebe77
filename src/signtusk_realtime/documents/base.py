"""Which version an edit was made on, and what its author saw there.

Owns: choosing the base of an edit, the author's view.   Not: reading versions (operations), what follows from the base (resolve.py).
Rule 1: what is said or known decides, never a clock; the one exception is labelled `suspected`.
Rule 2: nobody conflicts with himself: what an author changed since his base is part of what he saw.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from signtusk_realtime.documents.conflicts import Certainty
from signtusk_realtime.documents.ops import Editor, NoPlace, Op, Ops, apply
from signtusk_realtime.documents.paths import Path, contains, parse_pointer
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import Object

Versionless: TypeAlias = Literal["infer", "head", "require"]
"""What becomes of an edit that does not say what it was made on."""

UNSEEN_MS: Final = 30_000
"""A version younger than this may not have reached an author who names no base."""


@dataclass(frozen=True, slots=True)
class Head:
    """A document as it stands: its version and epoch, the oldest version still kept, and where it began.

    `start` is 1 for a document that was created here, 0 (`{}`) for one that was adopted.
    """

    version: int
    epoch: str
    oldest: int
    start: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What an edit says of its base. `seen`: the paths whose values it gave; `touched`: the paths that it names."""

    base_version: int | None = None
    epoch: str | None = None
    if_version: int | None = None
    seen: Collection[Path] = ()
    touched: Collection[Path] = ()
    is_record: bool = False
    """`authority: record`, from somebody who may say so."""


@dataclass(frozen=True, slots=True)
class Base:
    """The version an edit is merged from. `with_seen`: the values that its author gave are put into it (edit.put_seen)."""

    version: int
    certainty: Certainty = "causal"
    with_seen: bool = False


def choose(
    asked: Asked, head: Head, *, newest_own: int | None, newest_seen: int | None, versionless: Versionless = "infer"
) -> Base:
    """Choose the base of an edit of a document that is held.

    `newest_own`: the newest version that the same user committed, whatever the client. `newest_seen`: the newest version that the server
    received at least `UNSEEN_MS` ago. Both are read only where the edit names no base, and may be None.
    Raises: Refused with version_mismatch (epoch, future, precondition, compacted), base_required, or already_exists (base 0; a creation
    that asks for what stands there already is a noop, which its caller sees before).
    """
    if asked.epoch is not None and asked.epoch != head.epoch:
        raise _mismatch("epoch", "the document's log began anew; load the document and edit that")
    if asked.if_version is not None and asked.if_version != head.version:
        raise _mismatch("precondition", f"the document is at version {head.version}, not at {asked.if_version}")
    if asked.base_version is None:
        return _without_version(asked, head, newest_own, newest_seen, versionless)
    if asked.base_version > head.version:
        raise _mismatch("future", f"version {asked.base_version} is to come; the document is at {head.version}")
    if asked.base_version == 0:
        raise Refused(f"the document exists, at version {head.version}", code="already_exists")
    if asked.base_version >= head.oldest:
        return Base(asked.base_version)
    told = told_base(asked, head)
    if told is not None:
        return told
    raise _mismatch(
        "compacted", f"version {asked.base_version} is no longer kept, {head.oldest} is; send base for every path"
    )


def told_base(asked: Asked, head: Head) -> Base | None:
    """Give the base of an edit whose version is not there any more: what its author saw, where he says so of every path; else None."""
    if asked.touched and all(path in asked.seen for path in asked.touched):
        return Base(head.version, with_seen=True)
    return None


def _without_version(
    asked: Asked, head: Head, newest_own: int | None, newest_seen: int | None, versionless: Versionless
) -> Base:
    if asked.seen:
        return Base(head.version, with_seen=True)
    if asked.is_record or versionless == "head":
        return Base(head.version)
    if versionless == "require":
        raise Refused("an edit says what it was made on: baseVersion, or base", code="base_required")
    seen = max(head.start, head.oldest, newest_seen if newest_seen is not None else head.start)
    if newest_own is not None and newest_own > seen:
        return Base(newest_own)
    return Base(seen, certainty="suspected")


def _mismatch(reason: str, message: str) -> Refused:
    return Refused(message, code="version_mismatch", reason=reason)


# --- the author's view --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnCommit:
    """What an author changed in one of his commits (`Resolution.changed`), and what was applied then (`Resolution.ops`)."""

    changed: Sequence[Op]
    ops: Sequence[Op] = ()


def authors_view(document_at_base: Object, own: Iterable[OwnCommit]) -> Object:
    """Give what an author saw: the document at his base and, in order, what each of his own later commits changed.

    The commits are those of (user, clientId) in (base, head] whose `seq` is smaller than this edit's, or all where it has none.
    """
    view = document_at_base
    for commit in own:
        view = apply(view, (*_restored(view, commit), *commit.changed), tolerant=True)
    return view


def _restored(view: Object, commit: OwnCommit) -> Ops:
    """Give the applied operations that brought back what his changes lie in: another had deleted it, and an edit outlives a deletion."""
    editor = Editor(view)
    missing = [
        path
        for each in commit.changed
        if len(path := parse_pointer(each.path)) > 1 and isinstance(editor.open(path[:-1]), NoPlace)
    ]
    return tuple(
        each
        for each in commit.ops
        if each.op == "set" and any(contains(parse_pointer(each.path), path) for path in missing)
    )
