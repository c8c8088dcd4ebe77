"""A claim's result as a picture: for each work a bar per server, the longest spans the width.

Owns: the SVG.   Not: the figures (results).
Rule 1: bars begin at 0, and all of one work have one scale; of several works each has its own, so that no work hides another.
Rule 2: what the spread was is drawn over the bar, and what gave no result is written.
Rule 3: readable on a light and on a dark page, and without colours: every bar has its name and its figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

OURS: Final = "signtusk-realtime"
WIDTH, NAMES, BAR, ROOM = 860, 250, 16, 8
"""In pixels: of the picture, of the names beside the bars, of a bar, between two."""
FIGURES: Final = 140
HEAD: Final = 56
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2430}.title{font-weight:600;font-size:15px}.quiet{fill:#667}"
    ".bar{fill:#9aa7bd}.ours{fill:#3157d5}.spread{stroke:#1f2430;stroke-width:1.5}"
    "@media (prefers-color-scheme:dark){text{fill:#e8eaf0}.quiet{fill:#99a}.bar{fill:#5b6780}.ours{fill:#7d9bff}"
    ".spread{stroke:#e8eaf0}}"
)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: object) -> list[Mapping[str, object]]:
    return [_mapping(each) for each in value] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _bars(rows: Sequence[Mapping[str, object]], figure: str, form: str, top: float) -> list[str]:
    medians = [_number(_mapping(row["median"]).get(figure)) for row in rows]
    longest = max((median for median in medians if median is not None), default=0.0) or 1.0
    scale = (WIDTH - NAMES - FIGURES) / longest
    drawn: list[str] = []
    for at, (row, median) in enumerate(zip(rows, medians, strict=True)):
        y = top + at * (BAR + ROOM)
        name = str(row["server"])
        drawn.append(_text(NAMES - 8, y + BAR - 4, name, anchor="end"))
        if median is None:
            drawn.append(_text(NAMES, y + BAR - 4, "no result", "quiet"))
            continue
        kind = "ours" if name == OURS else "bar"
        drawn.append(
            f'<rect x="{NAMES}" y="{y:g}" width="{max(median * scale, 1):.1f}" height="{BAR}" class="{kind}"/>'
        )
        spread = [value for value in map(_number, _list(row["spread"])) if value is not None]
        ends = [NAMES + min(value * scale, WIDTH - NAMES - FIGURES) for value in spread]
        if len(ends) == 2 and ends[1] - ends[0] > 1:
            middle = y + BAR / 2
            drawn.append(f'<path d="M{ends[0]:.1f} {middle:g}H{ends[1]:.1f}" class="spread"/>')
        drawn.append(_text(max(NAMES + median * scale, *ends, 0) + 6, y + BAR - 4, form.format(median)))
    return drawn


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def svg(result: Mapping[str, object]) -> str:
    """Draw what results/<claim>.json holds: the first column of each row."""
    column = _rows(result["columns"])[0]
    figure, form = str(column["figure"]), str(column["form"])
    rows = _rows(result["rows"])
    works = list(dict.fromkeys(str(row["work"]) for row in rows))
    drawn = [_text(12, 24, str(result["title"]), "title"), _text(12, 43, f"{column['heading']}; medians", "quiet")]
    y = float(HEAD)
    for work in works:
        own = [row for row in rows if row["work"] == work]
        drawn.append(_text(12, y + 16, work))
        drawn += _bars(own, figure, form, y + 26)
        y += 26 + len(own) * (BAR + ROOM) + 10
    label = escape(str(result["title"]), quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:g}" viewBox="0 0 {WIDTH} {y:g}" '
        f'role="img" aria-label="{label}"><style>{_STYLE}</style>\n' + "\n".join(drawn) + "\n</svg>\n"
    )
