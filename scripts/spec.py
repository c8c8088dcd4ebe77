"""Write what is generated from the code: spec/openapi.json, spec/asyncapi.json. A test fails when they are not what the code says."""

from __future__ import annotations

import json
from pathlib import Path

from signtusk_realtime import __version__
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.asyncapi import asyncapi
from signtusk_realtime.server.http.openapi import document

SPEC = Path(__file__).parents[1] / "spec"


def main() -> None:
    """Write the files anew."""
    made = {"openapi.json": document(__version__, ServerLimits()), "asyncapi.json": asyncapi(__version__, "/ws")}
    for name, description in made.items():
        text = json.dumps(description, indent=2, ensure_ascii=False)
        (SPEC / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
