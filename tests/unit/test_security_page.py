"""Each row of the page on security names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[list[str]]:
    """Read the cells of the table of threats."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def defined_in(path: Path) -> set[str]:
    """Give the names of the tests in a file, also of those that are methods."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)}


def test_every_row_names_tests_that_exist() -> None:
    """A threat without a test is a promise, not a property."""
    found = rows()
    assert len(found) > 20
    for threat, does, _, held_by in found:
        named = NAMED.findall(held_by)
        assert named, threat
        assert does, threat
        for file, name in named:
            assert (ROOT / file).is_file(), f"{threat}: {file}"
            assert name in defined_in(ROOT / file), f"{threat}: {file}::{name}"


def test_nothing_in_the_last_column_is_left_unread() -> None:
    """Whatever is named there is named by file and test."""
    for threat, _, _, held_by in rows():
        assert NAMED.sub("", held_by).strip(" ,") == "", threat
