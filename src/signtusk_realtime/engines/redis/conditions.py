"""Whether servers are fit to keep what was answered.

Owns: what must be so at the start: versions, no eviction, a second copy or a file.   Not: what is so later (servers.py tells its health).
Rule: what cannot be found out is no reason to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from signtusk_realtime.engines.redis.stored import Reply

_LEAST_REDIS: Final = (7, 0)
_LEAST_VALKEY: Final = (8, 0)


def read_info(reply: Reply) -> dict[str, str]:
    """Read the answer to `INFO`."""
    if not isinstance(reply, bytes):
        return {}
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def version_fault(info: Mapping[str, str]) -> str | None:
    """Say why a server's version cannot be used."""
    is_valkey = info.get("server_name") == "valkey" or "valkey_version" in info
    name, least = ("Valkey", _LEAST_VALKEY) if is_valkey else ("Redis", _LEAST_REDIS)
    version = info.get("valkey_version" if is_valkey else "redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers and numbers < least:
        return f"{name} {version} is too old; {name} {'.'.join(map(str, least))} or newer is needed"
    return None


def risks(info: Mapping[str, str]) -> list[str]:
    """Name what would let answered events be lost."""
    found = []
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: a full server would throw events away; set it to noeviction")
    if info.get("aof_enabled", "1") != "1" and info.get("connected_slaves", "1") == "0":
        found.append(
            "there is neither a replica nor an append-only file: a crash would lose everything; set appendonly yes"
        )
    return found
