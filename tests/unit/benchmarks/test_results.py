"""Medians, ratios, goals and the table, from runs made up here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.claims import CLAIMS, Claim, Column, Goal
from benchmarks.fleet import OURS_OVER_VALKEY
from benchmarks.results import Row
from benchmarks.servers import FLOOR, OURS

CLAIM = Claim(
    name="made-up",
    title="Made up",
    reference=FLOOR,
    columns=(Column("speed", "speed"),),
    goals=(
        Goal("half of the floor", "speed", 0.5, at_least=True, is_ratio=True),
        Goal("at most 100", "speed", 100, at_least=False),
    ),
    works=lambda _short: (),
)
ABOUT = {"command": "run", "commit": "c0ffee", "uncommitted_changes": False, "machine": {"cpus": 2}}


def rows(ours: list[float], floor: list[float]) -> list[Row]:
    """Return one row of each server at the same work."""
    return [
        Row("1000", OURS.name, runs=[{"speed": value} for value in ours]),
        Row("1000", FLOOR.name, runs=[{"speed": value} for value in floor]),
    ]


def test_a_ratio_is_one_of_medians_at_the_same_work() -> None:
    """An outlier moves no ratio, and another work's reference is not taken."""
    measured = [Row("100", FLOOR.name, runs=[{"speed": 1}]), *rows([10, 90, 30], [60, 1, 70])]
    assert results.ratio(measured, measured[1], FLOOR.name, "speed") == 0.5


def test_without_a_reference_there_is_no_ratio() -> None:
    """A reference that gave no result yields no ratio rather than a wrong one."""
    measured = rows([10], [])
    assert results.ratio(measured, measured[0], FLOOR.name, "speed") is None


def test_goals_are_judged_at_their_limit() -> None:
    """A limit that is reached exactly is met, on either side."""
    assert [goal["met"] for goal in results.goals(CLAIM, rows([100], [200]))] == [True, True]
    assert [goal["met"] for goal in results.goals(CLAIM, rows([101], [203]))] == [False, False]


def test_a_goal_without_result_is_neither_met_nor_missed() -> None:
    """No run of ours, no verdict."""
    assert [goal["met"] for goal in results.goals(CLAIM, rows([], [200]))] == [None, None]


def test_the_table_says_what_gave_no_result_and_what_was_missed() -> None:
    """Failures and missed goals stand in the table in words."""
    measured = rows([150], [400])
    measured.append(Row("1000", "peer", failures=["dead"]))
    text = results.markdown(results.document(CLAIM, measured, ABOUT))
    assert "| 1000 | peer | no result | – | – | 0 of 1 |" in text
    assert "half of the floor, 1000: 0.38, **not met**" in text
    assert "at most 100, 1000: 150.00, **not met**" in text


def test_the_summary_holds_every_claim_of_the_folder(tmp_path: Path) -> None:
    """Running one claim again leaves the sections of the others."""
    results.write(tmp_path, results.document(CLAIM, rows([1], [2]), ABOUT))
    results.write(tmp_path, results.document(replace(CLAIM, name="another"), rows([3], [4]), ABOUT))
    summary = (tmp_path / "summary.md").read_text()
    assert "## made-up: " in summary
    assert "## another: " in summary
    assert json.loads((tmp_path / "another.json").read_text())["rows"][0]["ratio"] == 0.75


def test_every_claim_can_be_run_short_and_whole() -> None:
    """Names are unique, and each work has ours and options for each of its servers."""
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        for short in (True, False):
            for work in claim.works(short):
                assert {OURS, OURS_OVER_VALKEY} & {*work.servers}
                assert all(server.generator_options(work.transport, 480) for server in work.servers)
