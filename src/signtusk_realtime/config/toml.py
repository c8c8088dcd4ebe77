"""The effective settings as a file.

Owns: writing them in the form that is read.   Not: reading it (sources.py), what is effective (check.py).
Rule: what is written and saved as a file has the same effect, but for secrets, which are left out.
"""

from __future__ import annotations

import json

from signtusk_realtime.config.check import Configuration
from signtusk_realtime.config.settings import NONE, SETTINGS, values_of


def as_toml(configuration: Configuration) -> list[str]:
    """Write the effective settings as a TOML file, each with its origin as a comment."""
    lines: list[tuple[str, str]] = []
    open_table = ""
    for name, value in values_of(configuration.settings).items():
        table, _, key = name.rpartition(".")
        if table != open_table:
            open_table = table
            lines += [("", ""), (f"[{table}]", "")]
        line = f"# {key} = {NONE}" if value is None else f"{key} = {_toml_value(value)}"
        if value and SETTINGS[name].is_secret:
            line = f"# {key} is set"
        lines.append((line, f"  # {configuration.origins[name]}"))
    width = max(len(line) for line, _ in lines)
    return [f"{line:<{width}}{origin}".rstrip() for line, origin in lines]


def _toml_value(value: str | int | tuple[str, ...]) -> str:
    # A JSON string is a TOML string, but for the one control character that JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
