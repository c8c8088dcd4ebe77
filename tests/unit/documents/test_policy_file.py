"""Policies written down in TOML and JSON, and what a fault in one is told like."""

from __future__ import annotations

import json
import tomllib
from typing import Literal

import pytest

from signtusk_realtime.documents.policy import PLAIN, SIGNING, Group, Minimum, Reference, pattern, strictest
from signtusk_realtime.documents.policy_file import read_policy
from signtusk_realtime.errors import ConfigurationError

WHOLE = """
name = "contracts"
extends = "signing"
sets = ["/labels"]
texts = ["/clauses/*/text"]
scalars = ["/clauses/*/code"]
open = ["/internalNotes"]
signed = ["/title", "/clauses"]

[guards]
"/clauses/*/text" = "manual"
"/recipients/*/name" = "merge"

[[groups]]
at = "/boxes/*"
members = ["x", "y"]

[[references]]
at = "/boxes/*/owner"
to = "/people"

[[minimums]]
at = "/people/*/rank"
least = 2
"""


def test_a_policy_is_the_same_in_toml_and_json() -> None:
    """Each part is read; guards are added to those of the policy that is extended."""
    policy = read_policy(WHOLE, "toml")
    assert policy == read_policy(json.dumps(tomllib.loads(WHOLE)), "json")
    assert policy.guards == {
        **SIGNING.guards,
        pattern("/clauses/*/text"): "manual",
        pattern("/recipients/*/name"): "merge",
    }
    assert policy.groups == (Group(pattern("/boxes/*"), ("x", "y")),)
    assert policy.references == (Reference(pattern("/boxes/*/owner"), ("people",)),)
    assert policy.minimums == (Minimum(pattern("/people/*/rank"), 2),)
    assert policy.is_open(("internalNotes", "a"))
    assert not policy.is_open(("internal",))
    assert policy.is_text(("clauses", "1", "text"), "")
    assert not policy.is_text(("clauses", "1", "code"), "a\nb")
    assert policy.is_set(("labels",))
    assert not policy.is_set(("tags",))


def test_what_a_file_does_not_say_is_as_in_plain() -> None:
    """The least file is a name."""
    policy = read_policy('{"name": "mine"}', "json")
    assert (policy.groups, policy.sets, policy.texts, policy.guards) == (PLAIN.groups, PLAIN.sets, PLAIN.texts, {})


def test_the_signed_scope_is_a_part_of_the_document() -> None:
    """Named places and everything below; all of it where nothing is named."""
    policy = read_policy(WHOLE.replace('"/clauses"]', '"/meta/*/b"]'), "toml")
    document = {"title": "t", "note": "n", "meta": {"x": {"b": 1, "c": 2}}, "clauses": []}
    assert policy.scope(dict(document)) == {"title": "t", "meta": {"x": {"b": 1}}}
    assert PLAIN.scope(dict(document)) == document


@pytest.mark.parametrize(
    ("text", "form", "said"),
    [
        ("name = ", "toml", "policy.toml is not TOML"),
        ("{", "json", "policy.toml is not JSON"),
        ("[]", "json", "Expected `object`, got `array`"),
        ('name = "x"\nguard = {}', "toml", "unknown key 'guard'; did you mean guards?"),
        ('name = "x"\nzzz = 1', "toml", "unknown key 'zzz'; known are name, extends"),
        ('extends = "plain"', "toml", "missing required field `name`"),
        ('name = "plain"', "toml", "taken by a shipped policy"),
        ('name = ""', "toml", "or empty"),
        ('name = "x"\nextends = "y"', "toml", "extends 'y'; known are plain, signing"),
        ('name = "x"\n[guards]\n"/a" = "never"', "toml", "Invalid enum value 'never' - at `$.guards[...]`"),
        ('name = "x"\n[guards]\n"a" = "merge"', "toml", "'a' is no pointer"),
        ('name = "x"\nsets = ["/~5"]', "toml", "~ stands before 0 or 1 only"),
        ('name = "x"\n[guards]\n"/a/**" = "merge"', "toml", "'/a/**': ** stands once, and not at the end"),
        ('name = "x"\n[guards]\n"/**/a/**/b" = "merge"', "toml", "** stands once"),
        ('name = "x"\nsigned = ["/**/a"]', "toml", "'/**/a': ** stands in guards only"),
        ('name = "x"\n[[minimums]]\nat = "/**/a"\nleast = 1', "toml", "** stands in guards only"),
        ('name = "x"\nsets = "/a"', "toml", "`$.sets`"),
        ('name = "x"\n[[groups]]\nat = "/a"\nmembers = ["b"]', "toml", "it takes two at least"),
        ('name = "x"\n[[groups]]\nat = "/a"\nmembers = ["b", "c,d"]', "toml", "brackets and commas"),
        ('name = "x"\n[[groups]]\nat = "/a"\nmembers = ["b", "b"]', "toml", "stands twice"),
        ('name = "x"\n[[references]]\nat = "/a"', "toml", "missing required field `to`"),
        ('name = "x"\n[[minimums]]\nat = "/a"\nleast = "1"', "toml", "`$.minimums[0].least`"),
    ],
)
def test_a_fault_is_named(text: str, form: Literal["toml", "json"], said: str) -> None:
    """The file, the place in it, and what is allowed there."""
    with pytest.raises(ConfigurationError) as fault:
        read_policy(text, form, source="policy.toml")
    assert str(fault.value).startswith("policy.toml")
    assert said in str(fault.value)


def test_strictness_has_an_order() -> None:
    """Overwrite < merge < manual < reject."""
    assert strictest(["merge", "overwrite"]) == "merge"
    assert strictest(["merge", "manual"]) == "manual"
    assert strictest(["reject", "manual"]) == "reject"
