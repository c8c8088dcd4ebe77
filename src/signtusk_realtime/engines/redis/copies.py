"""Which replicas of a primary have everything: what one that came back copied is not all until it has what was written meanwhile.

Owns: reading `ROLE`, and telling who is streamed to from who has caught up.   Not: asking (primary.py).
Rule 1: no I/O, no clock.   Rule 2: a replica counts for confirmations from the moment it is streamed to, and as a copy once it has acknowledged
what the primary had when that was demanded: until then answers that were given without it exist once.
"""

from __future__ import annotations

from typing import TypeAlias

from signtusk_realtime.engines.redis.stored import Reply
from signtusk_realtime.errors import Unavailable

_Replica: TypeAlias = "tuple[Reply, Reply]"


class Copies:
    """See the module. One a connection to a primary; `look` takes each answer to `ROLE`, asked on the connection that writes."""

    def __init__(self) -> None:
        self._due: dict[_Replica, int | None] = {}
        """By replica, the offset it must have; None until that is known."""
        self._is_first = True
        self.streamed = 0
        """To how many replicas the primary streams."""
        self.whole = 0
        """How many of them have everything that was answered without them."""

    def look(self, role: Reply) -> None:
        """Learn what a primary says of its replicas. Raises: Unavailable, for a server that is none."""
        offset, acknowledged = _replicas(role)
        due: dict[_Replica, int | None] = {}
        for replica in acknowledged:
            if self._is_first:
                # Nothing was answered on this connection yet.
                due[replica] = 0
            elif replica not in self._due:
                # What was sent before this answer came may have been answered without it: the next look knows how far that went.
                due[replica] = None
            else:
                known = self._due[replica]
                # Nothing acknowledged is said of one that still reads what it copied, also where nothing was ever written.
                due[replica] = max(offset, 1) if known is None else known
        self._due, self._is_first = due, False
        self.streamed = len(due)
        self.whole = sum(at is not None and acknowledged[replica] >= at for replica, at in due.items())


def _replicas(role: Reply) -> tuple[int, dict[_Replica, int]]:
    """Give the primary's offset, and what each of its replicas has acknowledged."""
    match role:
        case [b"master", int(offset), list(replicas)]:
            acknowledged: dict[_Replica, int] = {}
            for replica in replicas:
                match replica:
                    case [host, port, bytes(at)]:
                        acknowledged[host, port] = int(at)
            return offset, acknowledged
        case [bytes(kind), *_]:
            raise Unavailable(f"the server is a {kind.decode()}, commits need the primary")
    raise Unavailable("the server does not say what role it has")
