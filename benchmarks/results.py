"""From runs to medians, ratios, goals, files and the table.

Owns: arithmetic over sound runs, the form of results/<claim>.json, summary.md.   Not: measuring.
Rule 1: a ratio is one of medians from the same run of the suite, never against a remembered figure.
Rule 2: what gave no result is shown as such.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.charts import svg
from benchmarks.claims import Claim, Column, Goal
from benchmarks.generator import Figures, figure
from benchmarks.servers import HERE, OURS


@dataclass(slots=True)
class Row:
    """All runs of one server at one work."""

    work: str
    server: str
    commands: list[str] = field(default_factory=list)
    runs: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """Return one figure of every sound run."""
        return [figure(run, name) for run in self.runs]

    def median(self, name: str) -> float | None:
        """Return the median over the sound runs, None without any."""
        return statistics.median(self.values(name)) if self.runs else None


def ratio(rows: Sequence[Row], row: Row, reference: str, name: str) -> float | None:
    """Return the row's median over the reference server's at the same work; None if either is missing."""
    mine = row.median(name)
    other = next((each.median(name) for each in rows if each.work == row.work and each.server == reference), None)
    return mine / other if mine is not None and other else None


def _goal_value(claim: Claim, goal: Goal, rows: Sequence[Row], row: Row) -> float | None:
    if goal.is_ratio:
        return ratio(rows, row, claim.reference.name, goal.figure)
    return row.median(goal.figure)


def goals(claim: Claim, rows: Sequence[Row]) -> list[dict[str, object]]:
    """Return every goal for every work of ours: the value, and whether it is met (None: no result)."""
    judged: list[dict[str, object]] = []
    for goal in claim.goals:
        for row in rows:
            if row.server == OURS.name:
                value = _goal_value(claim, goal, rows, row)
                met = None if value is None else goal.is_met(value)
                judged.append({"text": goal.text, "work": row.work, "value": value, "met": met})
    return judged


def _row_document(claim: Claim, rows: Sequence[Row], row: Row) -> dict[str, object]:
    main = claim.columns[0].figure
    values = row.values(main)
    return {
        "work": row.work,
        "server": row.server,
        "commands": row.commands,
        "median": {column.figure: row.median(column.figure) for column in claim.columns},
        "spread": [min(values), max(values)] if values else None,
        "ratio": ratio(rows, row, claim.reference.name, main),
        "runs": [dict(run) for run in row.runs],
        "failures": row.failures,
    }


def document(claim: Claim, rows: Sequence[Row], about: Mapping[str, object]) -> dict[str, object]:
    """Return what is written to results/<claim>.json."""
    return {
        "claim": claim.name,
        "title": claim.title,
        "reference": claim.reference.name,
        "columns": [{"figure": c.figure, "heading": c.heading, "form": c.form} for c in claim.columns],
        **about,
        "rows": [_row_document(claim, rows, row) for row in rows],
        "goals": goals(claim, rows),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def circumstances(command: str) -> dict[str, object]:
    """Return what a reader must know of this run: machine, commit, command, and how quiet it was before."""
    return {
        "command": command,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "..", ":!results")),
        "machine": {
            "cpu": _cpu_model(),
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_average_before": round(os.getloadavg()[0], 2),
        },
    }


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _shown(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "–"


def _table_line(row: Mapping[str, object], columns: Sequence[Column]) -> str:
    median = _mapping(row["median"])
    cells = [str(row["work"]), str(row["server"])]
    if _list(row["runs"]):
        cells += [_shown(median.get(column.figure), column.form) for column in columns]
    else:
        cells += ["no result", *("–" for _ in columns[1:])]
    cells.append(_shown(row["ratio"], "{:.2f}"))
    spread = _list(row["spread"])
    cells.append(" – ".join(_shown(value, columns[0].form) for value in spread) or "–")
    sound, failed = len(_list(row["runs"])), len(_list(row["failures"]))
    cells.append(f"{sound} of {sound + failed}")
    return f"| {' | '.join(cells)} |"


def _goal_line(goal: Mapping[str, object]) -> str:
    verdict = "no result" if goal["met"] is None else "met" if goal["met"] else "**not met**"
    return f"- {goal['text']}, {goal['work']}: {_shown(goal['value'], '{:,.2f}')}, {verdict}"


def markdown(result: Mapping[str, object]) -> str:
    """Return one claim's section of summary.md."""
    columns = [
        Column(str(c["figure"]), str(c["heading"]), str(c["form"])) for c in map(_mapping, _list(result["columns"]))
    ]
    headings = ["work", "server", *(c.heading for c in columns), f"ratio to {result['reference']}", "lowest – highest"]
    machine = _mapping(result["machine"])
    commit = str(result["commit"])[:12] or "no commit"
    changed = " with uncommitted changes" if result["uncommitted_changes"] else ""
    lines = [
        f"## {result['claim']}: {result['title']}",
        "",
        f"| {' | '.join([*headings, 'sound runs'])} |",
        f"|{'---|' * (len(headings) + 1)}",
        *(_table_line(row, columns) for row in map(_mapping, _list(result["rows"]))),
        "",
        *(_goal_line(goal) for goal in map(_mapping, _list(result["goals"]))),
        *([""] if _list(result["goals"]) else []),
        (
            f"`{result['command']}` at {commit}{changed}; {machine.get('cpu')}, {machine.get('cpus')} CPUs, "
            f"Linux {machine.get('kernel')}, Python {machine.get('python')}, "
            f"load average before: {machine.get('load_average_before')}."
        ),
    ]
    return "\n".join(lines)


def write(folder: Path, result: Mapping[str, object]) -> None:
    """Write results/<claim>.json and its chart, and summary.md anew from all that lie in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result['claim']}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (folder / f"{result['claim']}.svg").write_text(svg(result))
    sections = [markdown(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    head = "# Results\n\nMedians of sound runs; made by `python -m benchmarks.run`; how to read them: ../README.md."
    (folder / "summary.md").write_text("\n\n".join([head, *sections]) + "\n")
