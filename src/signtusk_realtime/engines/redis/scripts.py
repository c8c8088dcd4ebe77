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


_FOLDER: Final = Path(__file__).parent / "lua"


def _read(name: str) -> Script:
    return _script((_FOLDER / f"{name}.lua").read_text())


def _read_timed(name: str) -> Script:
    """Read a script that asks what time it is; a script's first line, its flags, must stay the first."""
    flags, rest = (_FOLDER / f"{name}.lua").read_text().split("\n", 1)
    return _script(f"{flags}\n{(_FOLDER / 'clock.lua').read_text()}{rest}")


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


COMMIT: Final = _read_timed("commit")
TOUCH: Final = _read("touch")
FORGET: Final = _read("forget")
PAGE: Final = _read("page")
RECORDS: Final = _read_timed("records")
TOPS: Final = _read("tops")
MOVED: Final = _read("moved")
DUE: Final = _read_timed("due")
TRIM: Final = _read_timed("trim")
EXPIRE: Final = _read_timed("expire")
ALL: Final = (COMMIT, TOUCH, FORGET, PAGE, RECORDS, TOPS, MOVED, DUE, TRIM, EXPIRE)
