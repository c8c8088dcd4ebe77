"""The Autobahn testsuite against our framing, where its folder is given by the environment variable AUTOBAHN.

`make conformance AUTOBAHN=<folder>` passes it; the folder holds `wstest.sh`. Without it the cases of test_cases.py stand alone. The long groups,
limits and compression, take many minutes and run there alone, not with every test run (AUTOBAHN_LONG).
docs/reference/websocket-conformance.md explains what is allowed to be NON-STRICT.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHORT_GROUPS = ("1", "2", "3", "4", "5", "6", "7", "10")
LONG_GROUPS = ("9", "12", "13")
CASES = {"1": 16, "2": 11, "3": 7, "4": 10, "5": 20, "6": 145, "7": 37, "10": 1, "9": 54, "12": 90, "13": 126}
"""How many each group has: a suite that ran fewer proves less than it seems."""
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
EXPLAINED_NON_STRICT: frozenset[str] = frozenset()
"""Cases that docs/reference/websocket-conformance.md explains."""


@pytest.fixture
def suite() -> Path:
    folder = os.environ.get("AUTOBAHN")
    if not folder:
        pytest.skip("AUTOBAHN NOT RUN: give the suite's folder, as in `make conformance AUTOBAHN=<folder>`")
    script = Path(folder).resolve() / "wstest.sh"
    # A folder that was given and holds no suite is an error: a skip would look like success.
    assert script.is_file(), f"AUTOBAHN names {folder}, where there is no wstest.sh"
    return script


@pytest.fixture
def echo_port() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, str(HERE / "echo_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()
            server.wait(10)


@pytest.mark.timeout(300)
def test_autobahn_finds_no_fault(suite: Path, echo_port: int, tmp_path: Path) -> None:
    """Framing, UTF-8 and closing: nothing FAILED, and nothing NON-STRICT that is not explained."""
    attack(suite, echo_port, tmp_path, SHORT_GROUPS, timeout_s=280)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("group", LONG_GROUPS)
def test_autobahn_finds_no_fault_in_the_long_run(suite: Path, echo_port: int, tmp_path: Path, group: str) -> None:
    """Limits and speed; compression with every window and message size that the suite knows."""
    if not os.environ.get("AUTOBAHN_LONG"):
        pytest.skip("takes many minutes: runs with `make conformance`")
    attack(suite, echo_port, tmp_path, (group,), timeout_s=7100)


def attack(suite: Path, port: int, folder: Path, groups: tuple[str, ...], *, timeout_s: float) -> None:
    """Run these groups, and judge each case."""
    reports = folder / "reports"
    specification = {
        "outdir": str(reports),
        "servers": [{"agent": "ours", "url": f"ws://127.0.0.1:{port}"}],
        "cases": [f"{group}.*" for group in groups],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    path = folder / "specification.json"
    path.write_text(json.dumps(specification))
    subprocess.run([str(suite), "-m", "fuzzingclient", "-s", str(path)], cwd=folder, check=True, timeout=timeout_s)
    results = json.loads((reports / "index.json").read_text())["ours"]

    assert len(results) == sum(CASES[group] for group in groups)
    counts: dict[str, int] = {}
    for result in results.values():
        counts[result["behavior"]] = counts.get(result["behavior"], 0) + 1
    sys.stdout.write(f"Autobahn {', '.join(groups)}: {len(results)} cases, {counts}\n")
    failed = {
        case: (result["behavior"], result["behaviorClose"], result["remoteCloseCode"])
        for case, result in results.items()
        if result["behavior"] not in PASSED or result["behaviorClose"] not in PASSED
    }
    assert failed == {}
    lenient = {
        case for case, result in results.items() if "NON-STRICT" in (result["behavior"], result["behaviorClose"])
    }
    assert lenient <= EXPLAINED_NON_STRICT
