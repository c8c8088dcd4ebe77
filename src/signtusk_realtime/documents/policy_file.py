"""Policies written down: TOML or JSON into a policy, or a clear word on what is wrong.

Owns: the form of a policy file.   Not: reading files (config), what a policy means (policy.py).
Rule: what a file does not say is as in the policy that it `extends` (`plain` by default); what it says replaces that, but for `guards`,
which are added to it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.documents.paths import DEEP, parse_pointer
from signtusk_realtime.documents.policy import SHIPPED, Group, Minimum, Pattern, Policy, Reference, Strategy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.errors import ConfigurationError

_SEPARATORS: Final = frozenset("(),")


class _Group(Struct, frozen=True, forbid_unknown_fields=True):
    at: str
    members: Sequence[str]


class _Reference(Struct, frozen=True, forbid_unknown_fields=True):
    at: str
    to: str


class _Minimum(Struct, frozen=True, forbid_unknown_fields=True):
    at: str
    least: int | float


class _Written(Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as it is written down. Patterns are pointers; `*` stands for any one segment."""

    name: str
    extends: str = "plain"
    guards: Mapping[str, Strategy] = {}
    groups: Sequence[_Group] | UnsetType = UNSET
    sets: Sequence[str] | UnsetType = UNSET
    texts: Sequence[str] | UnsetType = UNSET
    scalars: Sequence[str] | UnsetType = UNSET
    references: Sequence[_Reference] | UnsetType = UNSET
    minimums: Sequence[_Minimum] | UnsetType = UNSET
    open: Sequence[str] | UnsetType = UNSET
    signed: Sequence[str] | UnsetType = UNSET


def read_policy(text: str, form: Literal["toml", "json"], *, source: str = "policy") -> Policy:
    """Read a policy. `source` is what a fault names: the file.

    Raises: ConfigurationError, with the key that is wrong and what is allowed there.
    """
    try:
        raw: object = tomllib.loads(text) if form == "toml" else json.loads(text)
    except ValueError as fault:
        raise ConfigurationError(f"{source} is not {form.upper()}: {fault}") from None
    if isinstance(raw, dict):
        _check_keys(raw, source)
    try:
        written = msgspec.convert(raw, _Written)
        return _policy(written)
    except msgspec.ValidationError as fault:
        raise ConfigurationError(f"{source}: {fault}") from None
    except Refused as fault:
        raise ConfigurationError(f"{source}: {fault.message}") from None
    except ConfigurationError as fault:
        raise ConfigurationError(f"{source}: {fault.message}") from None


def _check_keys(raw: Mapping[object, object], source: str) -> None:
    known = [field.name for field in msgspec.structs.fields(_Written)]
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, 1)
            said = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise ConfigurationError(f"{source}: unknown key {str(key)[:64]!r}; {said}")


def _policy(written: _Written) -> Policy:
    if written.name in SHIPPED or not written.name:
        raise ConfigurationError(f"name {written.name!r} is taken by a shipped policy or empty; give it one of its own")
    parent = SHIPPED.get(written.extends)
    if parent is None:
        raise ConfigurationError(f"extends {written.extends!r}; known are {', '.join(SHIPPED)}")
    return Policy(
        name=written.name,
        guards={**parent.guards, **{_guard(at): strategy for at, strategy in written.guards.items()}},
        groups=parent.groups if written.groups is UNSET else _groups(written.groups),
        sets=_patterns(written.sets, parent.sets),
        texts=_patterns(written.texts, parent.texts),
        scalars=_patterns(written.scalars, parent.scalars),
        references=parent.references
        if written.references is UNSET
        else tuple(Reference(_pattern(each.at), _pattern(each.to)) for each in written.references),
        minimums=parent.minimums
        if written.minimums is UNSET
        else tuple(Minimum(_pattern(each.at), each.least) for each in written.minimums),
        open=_patterns(written.open, parent.open),
        signed=_patterns(written.signed, parent.signed),
    )


def _pattern(at: str) -> Pattern:
    found = parse_pointer(at)
    if DEEP in found:
        raise ConfigurationError(f"{at!r}: {DEEP} stands in guards only")
    return found


def _guard(at: str) -> Pattern:
    found = parse_pointer(at)
    if found.count(DEEP) > 1 or found[-1] == DEEP:
        raise ConfigurationError(f"guards: {at!r}: {DEEP} stands once, and not at the end")
    return found


def _patterns(written: Sequence[str] | UnsetType, inherited: tuple[Pattern, ...]) -> tuple[Pattern, ...]:
    return inherited if written is UNSET else tuple(map(_pattern, written))


def _groups(written: Iterable[_Group]) -> tuple[Group, ...]:
    groups = tuple(Group(_pattern(each.at), tuple(each.members)) for each in written)
    taken: set[tuple[Pattern, str]] = set()
    for group in groups:
        if len(group.members) < 2:
            raise ConfigurationError(f"groups: a group of {len(group.members)} members; it takes two at least")
        for member in group.members:
            if not member or _SEPARATORS & set(member):
                raise ConfigurationError(f"groups: {member!r} is no member; brackets and commas part them in a path")
            if (group.at, member) in taken:
                raise ConfigurationError(f"groups: {member!r} stands twice; a member belongs to one group")
            taken.add((group.at, member))
    return groups
