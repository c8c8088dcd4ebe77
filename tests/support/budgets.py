"""What each suite took, against what it may take.

Owns: the table at the end of a run.   Not: a single test's time limit (pytest-timeout, pyproject.toml).
Rule: over budget is said loudly and fails nothing, since a busy machine is no defect; the closing line of pytest stays the last one.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest

BUDGETS_S: Final = {
    "unit": 60,
    "property": 90,
    "contract": 90,
    "conformance": 90,
    "fuzz": 20,
    "e2e": 480,
    "faults": 180,
}
"""Seconds of tests per suite (a folder below tests/), two tests at a time on two cores; together under ten minutes, so that nobody skips them."""

_took: dict[str, float] = defaultdict(float)
_tests: dict[str, int] = defaultdict(int)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count a phase of a test (setup, call, teardown) for its suite."""
    folder, _, rest = report.nodeid.removeprefix("tests/").partition("/")
    suite = folder if rest else "."
    _took[suite] += report.duration
    _tests[suite] += report.when == "setup"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _took:
        return
    terminalreporter.section("time by suite")
    order = [*BUDGETS_S, *sorted(_took.keys() - BUDGETS_S.keys())]
    for suite in order:
        if suite not in _took:
            continue
        took, budget = _took[suite], BUDGETS_S.get(suite)
        line = f"{suite:<12} {_tests[suite]:>5} tests {took:>7.1f} s"
        if budget is None:
            terminalreporter.write_line(
                f"{line}   WARNING: no budget; give it one in tests/support/budgets.py", yellow=True
            )
        elif took > budget:
            terminalreporter.write_line(f"{line}   WARNING: over its budget of {budget} s", yellow=True, bold=True)
        else:
            terminalreporter.write_line(f"{line}   of {budget} s")
