"""Invariant I6: resolving conflicts is deterministic and loses nothing silently. Over documents whose sides clash often."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import event, given
from hypothesis import strategies as st

from signtusk_realtime.documents.base import OwnCommit, authors_view
from signtusk_realtime.documents.canonical import canonical, content_hash
from signtusk_realtime.documents.nodes import get, keyed
from signtusk_realtime.documents.ops import apply, diff
from signtusk_realtime.documents.paths import Path, contains, parse_pointer
from signtusk_realtime.documents.policy import PLAIN, SIGNING, STRATEGIES, Policy, Strategy
from signtusk_realtime.documents.resolve import Resolution, meets_nothing, merge_fully, resolve
from signtusk_realtime.documents.values import ABSENT, Node, Object, equal
from tests.support.documents import documents

strategies = st.sampled_from(STRATEGIES)
policies = st.sampled_from((PLAIN, SIGNING))
FREE = replace(PLAIN, references=(), minimums=())
"""Without what must hold across places, so that every edit is decided leaf by leaf."""


def related(path: Path, other: Path) -> bool:
    return contains(path, other) or contains(other, path)


def leaf_of(path: Path, policy: Policy) -> Path:
    """Give the path of the leaf: of a member of a group that of its object, since the group's members stand together."""
    grouped = any(path[-1] in members for members in policy.groups_at(path[:-1]))
    return path[:-1] if grouped else path


def changed_paths(before: Object, after: Object, policy: Policy) -> list[Path]:
    return [leaf_of(parse_pointer(each.path), policy) for each in diff(before, after)]


def is_plain_array(node: Node) -> bool:
    return isinstance(node, list) and keyed(node) is None


def told(resolution: Resolution) -> list[tuple[str, str]]:
    return [(each.path, each.reason) for each in resolution.conflicts]


@given(documents(), documents(), strategies, policies)
def test_i6_an_edit_of_the_head_is_applied_as_it_is(
    base: Object, other: Object, strategy: Strategy, policy: Policy
) -> None:
    """Whoever has seen everything conflicts with nobody, under any strategy."""
    resolution = resolve(base, base, other, policy, strategy)
    assert equal(resolution.document, other)
    assert resolution.conflicts == ()
    assert resolution.status == ("noop" if equal(base, other) else "applied")


@given(documents(), documents(), strategies, policies)
def test_i6_nothing_asked_is_nothing_done(base: Object, current: Object, strategy: Strategy, policy: Policy) -> None:
    """An edit that changes nothing of what its author saw leaves head as it is."""
    resolution = resolve(base, current, base, policy, strategy)
    assert (resolution.status, resolution.document, resolution.ops) == ("noop", current, ())


@given(documents(), documents(), strategies, policies)
def test_i6_equal_changes_are_no_conflict(base: Object, both: Object, strategy: Strategy, policy: Policy) -> None:
    """Two who want the same agree."""
    resolution = resolve(base, both, both, policy, strategy)
    assert resolution.status == "noop"
    assert resolution.conflicts == ()


@given(documents(), documents(), documents(), strategies)
def test_i6_what_one_side_changed_is_not_lost(
    base: Object, current: Object, incoming: Object, strategy: Strategy
) -> None:
    """A place that one side changed and the other left alone has that side's value, under every strategy that applies the edit."""
    resolution = resolve(base, current, incoming, FREE, strategy)
    if resolution.status == "rejected":
        assert resolution.document is current
        return
    ours, others = changed_paths(base, current, FREE), changed_paths(base, incoming, FREE)
    for mine, side, theirs in ((ours, current, others), (others, incoming, ours)):
        for path in mine:
            if not any(related(path, other) for other in theirs):
                event("a place that one side changed")
                assert equal(get(resolution.document, path), get(side, path)), path


@given(documents(), documents(), documents(), strategies, policies)
def test_i6_what_loses_is_named(
    base: Object, current: Object, incoming: Object, strategy: Strategy, policy: Policy
) -> None:
    """Of what the author changed, each place holds his value, or a conflict names it, or merging went inside it."""
    resolution = resolve(base, current, incoming, policy, strategy)
    if resolution.by_invariant:
        assert resolution.parked is not None
        assert resolution.document is current
        return
    if resolution.status == "rejected":
        assert resolution.conflicts
        assert resolution.document is current
        return
    named = [each.place.path for each in resolution.conflicts]
    for each in resolution.changed:
        path = parse_pointer(each.path)
        if each.op == "order" or any(related(path, other) for other in named):
            continue
        # An array that is no longer keyed was merged by elements; it is a leaf, and so is what lies in it.
        leaf = next(
            (path[:length] for length in range(len(path)) if is_plain_array(get(resolution.document, path[:length]))),
            path,
        )
        value = get(resolution.document, leaf)
        assert equal(value, get(incoming, leaf)) or isinstance(value, list | str | dict), path


@given(documents(), documents(), documents())
def test_i6_conflicts_are_the_same_in_either_order(base: Object, one: Object, other: Object) -> None:
    """Which edit came first decides who wins, never what is a conflict."""
    first, second = merge_fully(base, one, other, FREE, "merge"), merge_fully(base, other, one, FREE, "merge")
    assert [(each.path, each.reason) for each in first.conflicts] == [
        (each.path, each.reason) for each in second.conflicts
    ]
    for mine, theirs in zip(first.conflicts, second.conflicts, strict=True):
        assert equal(mine.current, theirs.incoming)
        assert equal(mine.incoming, theirs.current)
        assert [(hunk.base, hunk.current, hunk.incoming) for hunk in mine.hunks] == [
            (hunk.base, hunk.incoming, hunk.current) for hunk in theirs.hunks
        ]


@given(documents(), documents(), documents(), strategies, policies)
def test_i6_replicas_that_apply_the_operations_hold_the_document(
    base: Object, current: Object, incoming: Object, strategy: Strategy, policy: Policy
) -> None:
    """The operations of a version turn the one before into it exactly, by hash; an outcome without operations makes no version."""
    before = canonical(current)
    resolution = resolve(base, current, incoming, policy, strategy)
    assert content_hash(apply(current, resolution.ops)) == content_hash(resolution.document)
    assert bool(resolution.ops) != (canonical(resolution.document) == canonical(current))
    assert canonical(current) == before


@given(documents(), documents(), documents(), strategies, policies)
def test_i6_the_fast_way_is_the_full_way(
    base: Object, current: Object, incoming: Object, strategy: Strategy, policy: Policy
) -> None:
    """Where an edit meets nothing, putting it on gives what merging gives."""
    changed = diff(base, incoming)
    if meets_nothing(changed, base, current, policy):
        event("the fast way")
        full = merge_fully(base, current, incoming, policy, strategy)
        assert full.conflicts == ()
        assert canonical(apply(current, changed)) == canonical(full.document)


@given(documents(), documents(), documents(), documents())
def test_an_author_sees_his_own_edits(base: Object, mine: Object, head: Object, again: Object) -> None:
    """What an author changed since his base is part of his view: editing on conflicts with others only."""
    first = resolve(base, base, mine, FREE)
    view = authors_view(base, [OwnCommit(first.changed, first.ops)])
    assert equal(view, mine)
    second = resolve(view, mine, again, FREE, "reject")
    assert second.conflicts == ()
    late = resolve(base, head, mine, FREE, "overwrite")
    assert equal(authors_view(base, [OwnCommit(late.changed, late.ops)]), mine)


@given(documents(), documents())
def test_a_difference_leads_there_and_back(before: Object, after: Object) -> None:
    """A difference, applied, gives the other value; backwards, the first."""
    assert equal(apply(before, diff(before, after)), after)
    assert equal(apply(after, diff(after, before)), before)
    assert (diff(before, after) == ()) == equal(before, after)


@given(documents(), documents(), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(base: Object, other: Object, draw) -> None:
    """An outcome does not depend on the order in which somebody wrote the members of an object."""
    names = list(other)
    draw.shuffle(names)
    shuffled = {name: other[name] for name in names}
    one, two = resolve(base, other, base), resolve(base, shuffled, base)
    assert content_hash(one.document) == content_hash(two.document)
    first, second = resolve({}, base, other, FREE), resolve({}, base, shuffled, FREE)
    assert told(first) == told(second)
    assert content_hash(first.document) == content_hash(second.document)


@given(documents(), documents(), strategies)
def test_deleting_and_adding_again_is_an_edit(base: Object, current: Object, strategy: Strategy) -> None:
    """An edit that empties a document meets every change of the other side, and each survives or is named."""
    resolution = resolve(base, current, {}, FREE, strategy)
    for name, value in current.items():
        if name not in base:
            assert equal(resolution.document.get(name, ABSENT), value)
        elif not equal(base[name], value):
            assert any(each.place.path[0] == name for each in resolution.conflicts)
