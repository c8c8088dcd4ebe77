"""The document policy that a setting names.

Owns: finding it among those that are shipped, or in a file.   Not: what a policy says (documents/policy.py), the file's form
(documents/policy_file.py).
"""

from __future__ import annotations

from pathlib import Path

from signtusk_realtime.documents.policy import SHIPPED, Policy
from signtusk_realtime.documents.policy_file import read_policy
from signtusk_realtime.errors import ConfigurationError


def policy_of(named: str) -> Policy:
    """Give the policy of a name or a file. Raises: ConfigurationError."""
    if named in SHIPPED:
        return SHIPPED[named]
    path = Path(named)
    form = path.suffix.removeprefix(".").lower()
    if form not in ("toml", "json"):
        raise ConfigurationError(
            f"document_policy: {named!r} is none of {', '.join(SHIPPED)}, and no file that ends in .toml or .json"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"document_policy: {named!r} cannot be read: {error}") from None
    return read_policy(text, "toml" if form == "toml" else "json", source=named)
