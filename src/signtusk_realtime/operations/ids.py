"""New ids.

Owns: the form of the ids this service makes.   Not: ids that come in (events/ids.py).
"""

from __future__ import annotations

from uuid_utils import uuid7


def new_id(prefix: str) -> str:
    """Make an id that sorts by the time it was made, within this process also among those of one millisecond."""
    return f"{prefix}_{uuid7().hex}"
