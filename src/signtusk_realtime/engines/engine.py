"""The engine port: keeps logs and the records beside them.

Owns: the contract every engine fulfils; `tests/contract` holds the suite that proves it.   Not: event types, merging, JSON: bodies and
values are opaque bytes.
Rule 1: durable, then delivered (`Sink.appended`), then answered. Nobody is ever shown what could still vanish.
Rule 2: all methods may be called at any time on the loop that called `start`; the sink is called on that loop, synchronously.
Rule 3: an engine that cannot serve raises `Unavailable`. It never answers what it did not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from signtusk_realtime.events.log import (
    Commit,
    Committed,
    EngineHealth,
    Entry,
    Epoch,
    Exact,
    LogName,
    Page,
    Position,
    Range,
    Reused,
    Snapshot,
    Stale,
    Top,
)


class Sink(Protocol):
    """Where an engine delivers. Methods return quickly and do not raise; an engine that sees one raise logs it and goes on."""

    def appended(self, log: LogName, epoch: Epoch, entries: Sequence[Entry]) -> None:
        """Take entries of a followed log: gapless, in order, each once, on every node that follows, the publisher's included.

        Another epoch than before says that the log was erased and begins anew: what was delivered of it is void.
        """

    def diverged(self, log: LogName, common: Position) -> None:
        """Learn that what was delivered above `common` is void (a lost log was refilled)."""

    def signalled(self, log: LogName, body: bytes) -> None:
        """Take an ephemeral message of a followed log."""

    def health(self, health: EngineHealth) -> None:
        """Learn that the engine's health changed."""


class Engine(Protocol):
    """A store of logs and records. See the module's rules."""

    async def start(self, sink: Sink) -> None:
        """Open, migrate, begin. Raises: ConfigurationError (cannot be used as configured), Unavailable (not reachable)."""

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        """Append events and change records in one atomic, durable step.

        A draft whose id is known with the same digest is answered as a duplicate and not appended again (also within one commit).
        If `put` or `delete` is given and the first draft's id is known with the same digest, nothing at all is stored: the answer is
        `Committed` with every draft a duplicate if known, so that the caller can look up the outcome it stored the first time.
        Order of checks: Reused, then known first id, then epoch and expectations (Stale). An empty commit checks and changes nothing else.
        Raises: Unavailable (whether it happened is then unknown; repeating it with the same ids is safe).
        """

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        """Read entries with offset > `after`, oldest first, up to the confirmed top, until their bodies exceed `max_bytes`.

        At least one entry if there is one. `after` below the floor reads from the floor: the caller compares and tells its client.
        A log that does not exist yet is made (its epoch is durable before this returns).
        """

    async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
        """Answer several queries from one consistent, confirmed view. Expired records are absent."""

    async def signal(self, log: LogName, body: bytes) -> None:
        """Tell every node that follows `log` an ephemeral message, at most once each. Never stored."""

    async def follow(self, log: LogName) -> Top:
        """Begin delivery: every entry after the answered top reaches the sink. Makes the epoch durable first. Idempotent."""

    async def unfollow(self, log: LogName) -> None:
        """End delivery, possibly a little later. Unknown logs are ignored."""

    async def logs(self, after: LogName | None, limit: int) -> Sequence[LogName]:
        """List existing logs by name (code points), those after `after`, at most `limit`; reserved names included."""

    async def forget(self, log: LogName) -> None:
        """Erase a log and its records. A later use begins a new epoch."""

    async def close(self) -> None:
        """Finish what was accepted, then let go of every task, thread, timer and file. Idempotent. Afterwards all else raises Unavailable."""
