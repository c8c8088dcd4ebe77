"""What the worked cases leave open: work caps, guards and invariants of other policies, bases of an author's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signtusk_realtime.documents.base import OwnCommit, authors_view
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.invariants import broken
from signtusk_realtime.documents.nodes import Reader
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.policy import PLAIN, SIGNING, STRATEGIES, Minimum, Policy, Strategy, pattern
from signtusk_realtime.documents.resolve import resolve
from signtusk_realtime.documents.text import MAX_LENGTH
from signtusk_realtime.documents.values import ABSENT, Object


def put(document: Object, changes: dict[str, object], *deletes: str) -> Object:
    return put_on(document, read_edit(changes, deletes))


def test_a_text_beyond_the_work_cap_is_a_scalar() -> None:
    """Two long texts without much in common, and one that is too long, are not merged by words."""
    base: Object = {"body": " ".join(f"a{n}" for n in range(2000))}
    one = put(base, {"body": " ".join(f"b{n}" for n in range(2000))})
    other = put(base, {"body": " ".join(f"c{n}" if n % 2 else f"a{n}" for n in range(2000))})
    (conflict,) = resolve(base, one, other).conflicts
    assert (conflict.reason, conflict.hunks) == ("scalar", ())
    (parked,) = resolve(base, one, other, PLAIN, "manual").conflicts
    assert (parked.reason, parked.merged) == ("text_overlap", other["body"])
    long: Object = {"body": "x " * (MAX_LENGTH // 2)}
    (conflict,) = resolve(long, put(long, {"body": "y"}), put(long, {"body": f"{long['body']}z"})).conflicts
    assert conflict.reason == "scalar"


def test_an_array_beyond_the_work_cap_clashes_whole() -> None:
    """It is a sequence conflict, and incoming's."""
    base: Object = {"steps": list(range(1000))}
    one, other = put(base, {"steps": list(range(1000, 2000))}), put(base, {"steps": [*range(3000, 4000), 0, 1]})
    resolution = resolve(base, one, other)
    assert [each.reason for each in resolution.conflicts] == ["sequence"]
    assert resolution.document == other


def test_a_declared_scalar_is_no_text() -> None:
    """It beats a declared text, and a line break."""
    policy = replace(PLAIN, scalars=(pattern("/body"), pattern("/clause")))
    base: Object = {"body": "a b", "clause": "a\nb"}
    one, other = put(base, {"body": "1 b", "clause": "1\nb"}), put(base, {"body": "a 2", "clause": "a\n2"})
    assert [each.reason for each in resolve(base, one, other, policy).conflicts] == ["scalar", "scalar"]
    assert resolve(base, one, other).conflicts == ()


@pytest.mark.parametrize(("guard", "status"), [(None, "parked"), ("manual", "parked"), ("reject", "rejected")])
def test_two_sound_edits_that_break_a_minimum(guard: Strategy | None, status: str) -> None:
    """What neither side held as a recipient becomes one by merging, with an order below 1: the whole edit is parked, or rejected."""
    policy = PLAIN if guard is None else replace(PLAIN, guards={pattern("/recipients/*/order"): guard})
    base: Object = {"recipients": [{"id": "k"}, "to be named"], "title": "t"}
    current: Object = {**base, "recipients": [{"id": "a", "order": 0}, {"id": "k"}, "to be named"]}
    resolution = resolve(base, current, {"recipients": [{"id": "k"}], "title": "u"}, policy)
    assert [(each.path, each.reason) for each in resolution.conflicts] == [("/recipients/a/order", "invariant")]
    assert (resolution.status, resolution.document, resolution.ops) == (status, current, ())


def test_a_minimum_holds_for_numbers_from_there_on() -> None:
    """What is no number breaks it; what is absent does not."""
    policy = Policy("p", minimums=(Minimum(pattern("/recipients/*/order"), 1),))
    rows: list[tuple[object, bool]] = [
        (1, False),
        (1.5, False),
        (0, True),
        (-1, True),
        (True, True),
        ("1", True),
        (None, True),
    ]
    for value, is_broken in rows:
        document = put({"recipients": []}, {"/recipients/r": {"id": "r", "order": value}})
        assert bool(broken(document, policy)) is is_broken, value
    assert broken({"recipients": [{"id": "r"}]}, policy) == []


def test_what_was_broken_before_does_not_count() -> None:
    """A reference that dangles already in current or in incoming is the application's business, and hides no other."""
    base: Object = {
        "recipients": [{"id": "r1"}, {"id": "r2"}],
        "signatureFields": [{"id": "f1", "recipientId": "gone"}, {"id": "f2", "recipientId": "r1"}],
    }
    current = put(base, {}, "/recipients/r2")
    assert resolve(base, current, put(base, {"title": "t"})).status == "applied"
    resolution = resolve(base, current, put(base, {"/signatureFields/f2/recipientId": "r2"}))
    assert [(each.path, each.refers_to) for each in resolution.conflicts] == [
        ("/signatureFields/f2/recipientId", ("recipients", "r2"))
    ]
    assert resolution.by_invariant
    assert resolution.parked is not None
    assert resolution.parked.ops == (Op("set", "/signatureFields/f2/recipientId", "r2"),)
    assert resolution.parked.undo == (Op("set", "/signatureFields/f2/recipientId", "r1"),)


def test_null_and_nothing_name_nobody() -> None:
    """A field that nobody is assigned to is sound."""
    assert broken({"signatureFields": [{"id": "a", "recipientId": None}, {"id": "b"}]}, PLAIN) == []


def test_the_longest_pattern_guards() -> None:
    """A longer pattern beats a shorter one even where it is laxer; a literal one beats one with `*` of the same length."""
    policy = Policy(
        "p",
        guards={
            pattern("/a"): "reject",
            pattern("/a/*"): "manual",
            pattern("/a/b"): "merge",
            pattern("/a/b/*/d"): "overwrite",
        },
    )
    held = {
        path: policy.guard(tuple(path.split("/"))) for path in ("a", "a/x", "a/x/y", "a/b", "a/b/c", "a/b/c/d", "z")
    }
    assert held == {
        "a": "reject",
        "a/x": "manual",
        "a/x/y": "manual",
        "a/b": "merge",
        "a/b/c": "merge",
        "a/b/c/d": "overwrite",
        "z": None,
    }


def test_a_deep_pattern_is_as_long_as_what_it_stands_for() -> None:
    """`**` reaches any depth; a longer pattern beats it, one of the same length if it names more, or stands for no more than one place."""
    policy = replace(
        PLAIN,
        guards={
            pattern("/**/amount"): "reject",
            pattern("/a/**/x/*"): "manual",
            pattern("/a/*/amount"): "merge",
            pattern("/*/amount"): "manual",
        },
    )
    said = {
        path: policy.guard(tuple(path.split("/")))
        for path in (
            "amount",
            "b/amount",
            "b/c/d/e/amount/net",
            "a/b/amount",
            "a/x/y",
            "a/b/c/x/y/z",
            "a/x",
            "b",
            "x/y",
        )
    }
    assert said == {
        "amount": "reject",
        "b/amount": "manual",
        "b/c/d/e/amount/net": "reject",
        "a/b/amount": "merge",
        "a/x/y": "manual",
        "a/b/c/x/y/z": "manual",
        "a/x": None,
        "b": None,
        "x/y": None,
    }


@pytest.mark.parametrize("name", ["amount", "amounts"])
@pytest.mark.parametrize("depth", [0, 1, 2, 5, 30])
def test_an_amount_is_guarded_wherever_it_stands(name: str, depth: int) -> None:
    """However deep, in objects and in elements, changed or deleted with what holds it: the edit is rejected under every strategy."""
    outer: Object = {name: 1, "note": "a"}
    for n in range(depth):
        outer = {f"part{n}": outer} if depth > 20 or n % 2 else {"lines": [{"id": "l", **outer}]}
    path = "".join(f"/part{n}" if depth > 20 or n % 2 else "/lines/l" for n in reversed(range(depth)))
    one, other = put(outer, {f"{path}/{name}": 2}), put(outer, {f"{path}/{name}": 3})
    for strategy in STRATEGIES:
        assert resolve(outer, one, other, SIGNING, strategy).status == "rejected"
    if depth:
        gone = put(outer, {}, "/" + next(iter(outer)))
        assert resolve(outer, one, gone, SIGNING).status == resolve(outer, gone, one, SIGNING).status == "rejected"
    noted = put(outer, {f"{path}/note": "b"}), put(outer, {f"{path}/note": "c"})
    assert resolve(outer, *noted, SIGNING).status == "merged"


def test_a_policy_guards_only_what_is_there() -> None:
    """A pattern that could lead below a clash guards nothing where it leads nowhere."""
    base: Object = {"meta": {"n": 1}}
    resolution = resolve(base, put(base, {"meta": 1}), put(base, {"/meta/n": 2}), SIGNING)
    assert resolution.status == "merged"
    guarded: Object = {"meta": {"amount": 1}}
    assert resolve(guarded, put(guarded, {"meta": 1}), put(guarded, {"/meta/amount": 2}), SIGNING).status == "rejected"


def test_a_guarded_order_is_parked() -> None:
    """Who signs in which order is for people to decide."""
    base: Object = {"recipients": [{"id": each} for each in "abc"]}
    one, other = ({"recipients": [{"id": each} for each in order]} for order in ("bac", "acb"))
    resolution = resolve(base, put(base, dict(one)), put(base, dict(other)), SIGNING)
    assert (resolution.status, [each.path for each in resolution.conflicts]) == ("parked", ["/recipients/#order"])


def test_conflicts_are_sorted_by_path_and_one_per_path() -> None:
    """By code points of the path as it is told."""
    base: Object = dict.fromkeys(("z", "a", "Z", "ä", "a0"), 0)
    one, other = put(base, dict.fromkeys(base, 1)), put(base, dict.fromkeys(base, 2))
    assert [each.path for each in resolve(base, one, other).conflicts] == ["/Z", "/a", "/a0", "/z", "/ä"]


def test_a_field_may_be_called_like_an_order() -> None:
    """`#order` as a field is a field."""
    base: Object = {"#order": 1}
    (conflict,) = resolve(base, {"#order": 2}, {"#order": 3}).conflicts
    assert (conflict.path, conflict.reason) == ("/#order", "scalar")


def test_deep_and_wide_documents_are_decided() -> None:
    """32 levels and thousands of fields recurse and loop without harm."""
    deep: Object = {"leaf": 0}
    for _ in range(30):
        deep = {"in": deep}
    path = "/in" * 30 + "/leaf"
    (conflict,) = resolve(deep, put(deep, {path: 1}), put(deep, {path: 2})).conflicts
    assert conflict.path == path
    wide: Object = {f"f{n}": n for n in range(5000)}
    resolution = resolve(
        wide, put(wide, {f"f{n}": -1 for n in range(0, 5000, 2)}), put(wide, {f"f{n}": -2 for n in range(0, 5000, 3)})
    )
    assert len(resolution.conflicts) == len(range(0, 5000, 6))


def test_an_authors_view_brings_back_what_his_edit_restored() -> None:
    """An element that another deleted and the author's edit brought back is there in his view, though his base does not hold it."""
    base: Object = {"rows": [{"id": "a", "n": 1, "m": 1}]}
    deleted = put(base, {}, "/rows/a")
    late = resolve(base, deleted, put(base, {"/rows/a/n": 2}))
    assert late.document == {"rows": [{"id": "a", "n": 2, "m": 1}]}
    assert authors_view(deleted, [OwnCommit(late.changed, late.ops)]) == late.document
    assert authors_view(deleted, [OwnCommit(late.changed)]) == deleted


def test_an_authors_view_holds_his_changes_only() -> None:
    """What others committed between his edits is not part of what he saw."""
    base: Object = {"mine": 0, "theirs": 0}
    first = resolve(base, put(base, {"theirs": 1}), put(base, {"mine": 1}))
    assert first.document == {"mine": 1, "theirs": 1}
    assert authors_view(base, [OwnCommit(first.changed, first.ops)]) == {"mine": 1, "theirs": 0}


@pytest.mark.parametrize(("strategy", "y"), [("merge", 7), ("overwrite", None), ("manual", 7), ("reject", 7)])
def test_a_group_that_is_taken_away_loses_against_an_edit(strategy: Strategy, y: int | None) -> None:
    """Taking all members of a group away is a deletion of that group; the edit of one of them outlives it under merge."""
    base: Object = {"signatureFields": [{"id": "f", "page": 1, "x": 1, "y": 1}]}
    moved = put(base, {"/signatureFields/f/y": 7})
    removed = put(base, {}, *(f"/signatureFields/f/{name}" for name in ("page", "x", "y")))
    resolution = resolve(base, moved, removed, PLAIN, strategy)
    (conflict,) = resolution.conflicts
    assert (conflict.path, conflict.reason) == ("/signatureFields/f/(page,x,y)", "delete_vs_edit")
    assert Reader(resolution.document).get(("signatureFields", "f", "y")) == (ABSENT if y is None else y)


def test_of_two_patterns_as_long_the_one_with_fewer_stars_guards() -> None:
    """In whichever order they were written."""
    for names in (("/*/b", "/a/b"), ("/a/b", "/*/b")):
        guards: dict[tuple[str, ...], Strategy] = {
            pattern(each): "reject" if "*" in each else "manual" for each in names
        }
        assert Policy("p", guards=guards).guard(("a", "b")) == "manual"
    assert Policy("p", guards={pattern("/*/z"): "reject", pattern("/a/*"): "manual"}).guard(("a", "z")) == "manual"
