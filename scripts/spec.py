"""Write what is generated from the code: spec/openapi.json. A test fails when it is not what the code says."""

from __future__ import annotations

import json
from pathlib import Path

from signtusk_realtime import __version__
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.openapi import document

SPEC = Path(__file__).parents[1] / "spec"


def main() -> None:
    """Write the files anew."""
    text = json.dumps(document(__version__, ServerLimits()), indent=2, ensure_ascii=False)
    (SPEC / "openapi.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
