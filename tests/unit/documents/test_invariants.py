"""Which changes can break a rule across places."""

from __future__ import annotations

import pytest

from signtusk_realtime.documents.invariants import are_untouched
from signtusk_realtime.documents.paths import ANY, parse_pointer
from signtusk_realtime.documents.policy import Minimum, Policy, Reference
from signtusk_realtime.documents.resolve import resolve
from signtusk_realtime.documents.values import Object

REFERENCE = Policy("reference", references=(Reference(("fields", ANY, "who"), ("people",)),))
MINIMUM = Policy("minimum", minimums=(Minimum(("people", ANY, "order"), 1),))


@pytest.mark.parametrize(
    ("policy", "path", "expected"),
    [
        (REFERENCE, "/fields/f1/who", False),
        (REFERENCE, "/fields/f1", False),
        (REFERENCE, "/fields", False),
        (REFERENCE, "/people", False),
        (REFERENCE, "/people/p1", False),
        (REFERENCE, "/fields/f1/x", True),
        (REFERENCE, "/title", True),
        (MINIMUM, "/people/p1/order", False),
        (MINIMUM, "/people", False),
        (MINIMUM, "/people/p1/name", True),
        (MINIMUM, "/fields/f1/who", True),
    ],
)
def test_what_no_rule_looks_at_breaks_none(policy: Policy, path: str, expected: bool) -> None:
    """A place counts that a rule looks at, that lies around one, or within one; one such place is enough."""
    assert are_untouched([parse_pointer(path)], policy) is expected
    assert are_untouched([("other",), parse_pointer(path)], policy) is expected


@pytest.mark.parametrize(
    ("policy", "base", "current", "change"),
    [
        (
            REFERENCE,
            {"fields": [{"id": "f"}], "people": [{"id": "p"}]},
            {"fields": [{"id": "f", "who": "p"}], "people": [{"id": "p"}]},
            {"fields": [{"id": "f"}], "people": []},
        ),
        (
            REFERENCE,
            {"fields": [{"id": "f"}], "people": [{"id": "p"}]},
            {"fields": [{"id": "f"}], "people": []},
            {"fields": [{"id": "f", "who": "p"}], "people": [{"id": "p"}]},
        ),
    ],
    ids=["what is referred to goes", "what is gone is referred to"],
)
def test_two_sound_edits_that_break_a_rule_are_parked(
    policy: Policy, base: Object, current: Object, change: Object
) -> None:
    """Whichever of the two comes second, though they meet nowhere."""
    outcome = resolve(base, current, change, policy)
    assert (outcome.status, outcome.by_invariant, outcome.document) == ("parked", True, current)
