"""The scripts that the server runs, each one step nobody sees the middle of.

Owns: their texts and digests.   Not: when they are run (engine.py, delivery.py, upkeep.py).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NamedTuple


class Script(NamedTuple):
    """A Lua script; the server knows it by `digest` once it was loaded."""

    text: str
    digest: str


def _read(name: str) -> Script:
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


COMMIT: Final = _read("commit")
TOUCH: Final = _read("touch")
FORGET: Final = _read("forget")
PAGE: Final = _read("page")
RECORDS: Final = _read("records")
TOPS: Final = _read("tops")
MOVED: Final = _read("moved")
DUE: Final = _read("due")
TRIM: Final = _read("trim")
EXPIRE: Final = _read("expire")
ALL: Final = (COMMIT, TOUCH, FORGET, PAGE, RECORDS, TOPS, MOVED, DUE, TRIM, EXPIRE)
