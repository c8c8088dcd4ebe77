"""The port through which delivery hands bytes to a transport.

Owns: what every kind of socket must look like from inside.   Not: the sockets (server, service), what is written (formats.py).
Rule 1: `write` never blocks, never raises for a peer that is gone, and never calls back into delivery before it returns.
Rule 2: an outlet that holds more than its bound says so by `Hub.paused(connection)`, and when it has drained by `Hub.drained(connection)`;
both from a later turn of the loop. Between the two delivery writes it nothing but answers.
Why a port and not a transport: native sockets, ASGI `send`, and objects that an application hands in all end here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Outlet(Protocol):
    """One peer's way out. `write` takes what the connection's format joins: bytes, or a list of texts."""

    def write(self, joined: bytes | list[str], /) -> None:
        """Hand over what was joined, in order, after all that was handed over before."""

    def unsent(self) -> int:
        """Give how many bytes wait for the peer: a change between two looks is progress."""

    def withdraw(self) -> None:
        """Take the events back that still wait for the peer, before a close; where that cannot be done, cut the peer off."""

    def close(self, code: int, reason: str, /) -> None:
        """End the peer after what was written: a close frame, or the end of the stream. Idempotent."""


class PatientOutlet:
    """An outlet whose object takes what was written one by one, some time later, and which counts it then.

    Events are written to it by `write_events`, all else by `write`. Why a class and no port: it is asked of every connection that joins,
    and asking a port, or an abstract class, is several times as slow.
    """

    __slots__ = ()

    def write_events(
        self, joined: bytes | list[str], accepted_at: Sequence[float | None], /, *, is_from_log: bool = False
    ) -> None:
        """Hand over events as `write` does. `accepted_at`: of each, when it was accepted for publication here (Counters.clock), if it was."""
        raise NotImplementedError
