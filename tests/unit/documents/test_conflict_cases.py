"""The worked cases, run over the pure core: each row of the table in docs/reference/conflicts.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from signtusk_realtime.documents.canonical import canonical
from signtusk_realtime.documents.ops import apply
from signtusk_realtime.documents.values import Json
from tests.support import conflict_cases
from tests.support.conflict_cases import BASES, DECISIONS, EDITS, ORDERS, Case

ROOT = Path(__file__).parents[3]
DIGEST = """
import hashlib, sys
from tests.support.conflict_cases import DECISIONS, EDITS, ORDERS, arrive, decide, outcome
from signtusk_realtime.documents.canonical import canonical
told = [canonical(outcome(arrive(case, *order))) for case in EDITS for order in ORDERS]
told += [canonical(decide(case)) for case in DECISIONS]
print(hashlib.sha256("".join(told).encode()).hexdigest())
"""


def named(case: Case) -> str:
    return f"{case.get('section', '')} {case['title']} {case.get('strategy', '')}".strip()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order[1]}-last")
@pytest.mark.parametrize("case", EDITS, ids=named)
def test_an_edit_comes_out_as_the_case_says(case: Case, order: tuple[str, str]) -> None:
    """Document, status, version and conflicts of a worked case, in either order of arrival."""
    expected = cast("list[Json]", case["outcomes"])[ORDERS.index(order)]
    assert conflict_cases.outcome(conflict_cases.arrive(case, *order)) == expected


@pytest.mark.parametrize("case", EDITS, ids=named)
def test_what_a_case_applies_is_what_replicas_apply(case: Case) -> None:
    """The operations of a worked case turn the stored document into the outcome."""
    for stored, arriving in ORDERS:
        resolution = conflict_cases.arrive(case, stored, arriving)
        before = conflict_cases.arrive({**case, "strategy": "reject", arriving: {}}, stored, arriving).document
        assert canonical(apply(before, resolution.ops)) == canonical(resolution.document)


@pytest.mark.parametrize("case", DECISIONS, ids=named)
def test_a_decision_ends_as_the_case_says(case: Case) -> None:
    """Document and record after somebody decided a parked conflict."""
    assert conflict_cases.decide(case) == case["outcome"]


@pytest.mark.parametrize("case", BASES, ids=named)
def test_a_base_is_chosen_as_the_case_says(case: Case) -> None:
    """The version an edit is merged from, or why there is none."""
    assert conflict_cases.based(case) == case["outcome"]


def test_the_table_covers_every_reason_and_strategy() -> None:
    """No reason, status or strategy is without a worked case, and there are many."""
    outcomes = [outcome for case in EDITS for outcome in cast("list[Case]", case["outcomes"])]
    conflicts = [conflict for outcome in outcomes for conflict in cast("list[Case]", outcome["conflicts"])]
    assert len({named(case) for case in EDITS}) == len(EDITS) >= 60
    assert {outcome["status"] for outcome in outcomes} == {"applied", "merged", "noop", "parked", "rejected"}
    assert {case["strategy"] for case in EDITS} == {"merge", "overwrite", "reject", "manual"}
    # `invariant` cannot come of the shipped policies by merging; tests/unit/documents/test_resolving.py has one that can.
    assert {conflict["reason"] for conflict in conflicts} == {
        *("scalar", "text_overlap", "group", "sequence"),
        *("delete_vs_edit", "add_add", "type_change", "order", "dangling_reference"),
    }


def test_i6_outcomes_do_not_depend_on_the_process() -> None:
    """Invariant I6: every process decides alike, whatever its hash seed."""
    digests = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
