"""New ids and secrets.

Owns: the form of the ids this service makes, and of what nobody can guess.   Not: ids that come in (events/ids.py).
"""

from __future__ import annotations

import base64
import secrets

from uuid_utils import uuid7


def new_id(prefix: str) -> str:
    """Make an id that sorts by the time it was made, within this process also among those of one millisecond."""
    return f"{prefix}_{uuid7().hex}"


def new_secret() -> str:
    """Make 128 random bits as 22 characters of base64url."""
    return base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode("ascii")
