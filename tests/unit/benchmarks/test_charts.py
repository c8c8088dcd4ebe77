"""A result as a picture: every row is there, in proportion, and well-formed whatever it is called."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from benchmarks.charts import svg

SVG = "{http://www.w3.org/2000/svg}"
RESULT: dict[str, object] = {
    "title": 'Fast & "good" <really>',
    "columns": [{"figure": "speed", "heading": "events", "form": "{:,.0f}"}],
    "rows": [
        {"work": "100", "server": "signtusk-realtime", "median": {"speed": 2000.0}, "spread": [1500.0, 2500.0]},
        {"work": "100", "server": "other", "median": {"speed": 1000.0}, "spread": [1000.0, 1000.0]},
        {"work": "1000", "server": "other", "median": {"speed": None}, "spread": None},
    ],
}


def test_bars_are_in_proportion() -> None:
    """A median half as large has a bar half as long; ours is marked; the figures are written."""
    drawn = ET.fromstring(svg(RESULT))  # noqa: S314 - our own text
    ours, other = drawn.iter(SVG + "rect")
    assert float(ours.get("width", 0)) == 2 * float(other.get("width", 0))
    assert (ours.get("class"), other.get("class")) == ("ours", "bar")
    words = [text.text for text in drawn.iter(SVG + "text")]
    assert {"2,000", "1,000", "no result", "100", "1000", 'Fast & "good" <really>'} <= set(words)
    assert len(list(drawn.iter(SVG + "path"))) == 1


def test_nothing_leaves_the_picture() -> None:
    """The longest bar and its spread leave room for the figure."""
    drawn = ET.fromstring(svg(RESULT))  # noqa: S314 - our own text
    width = float(drawn.get("width", 0))
    for text in drawn.iter(SVG + "text"):
        assert float(text.get("x", 0)) < width - 50
