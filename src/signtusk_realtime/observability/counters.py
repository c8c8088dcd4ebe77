"""What this process has counted so far: plain numbers, for others to read.

Owns: the numbers, and how a number is brought up to date.   Not: rates and windows (metrics.py), how they are told (openmetrics.py,
server/http/metrics.py).
Rule 1: counting is an addition, made per event and audience, per message or per connection; per delivery only where an application's object takes
each by a call (`taken`).
Rule 2: nothing here grows with use: dictionaries have a key per code or per kind of transport, and `accepted` holds only what is being stored.
Rule 3: whoever counts up what may go down again (connections, subscriptions) counts it down in the same room.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

SSE: Final = "sse"
WEBSOCKET: Final = "websocket"
PEER_LEFT: Final = "peer"
"""In `closes`: the peer ended the connection, or it broke."""
LATENCY_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Timed(Protocol):
    """Something on its way to connections."""

    @property
    def accepted_at(self) -> float | None:
        """When this process accepted it (by `Counters.clock`); None if another process did, or if it comes from the log."""


class Identified(Protocol):
    """An event about to be stored."""

    @property
    def event_id(self) -> str: ...


class Histogram:
    """How often a value was at most each bound. `counts` has one place more than `bounds`: for what lies above all."""

    __slots__ = ("bounds", "counts", "total", "weight")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.weight = 0
        """How many values were observed."""
        self.total = 0.0
        """Their sum."""

    def observe(self, value: float, weight: int = 1) -> None:
        """Count a value that was observed `weight` times."""
        self.counts[bisect_left(self.bounds, value)] += weight
        self.weight += weight
        self.total += value * weight


class Counters:
    """See the module. `clock`: monotonic, in seconds, finer than a millisecond."""

    __slots__ = (
        "accepted",
        "catch_ups",
        "caught_up",
        "clock",
        "closes",
        "commits",
        "connections",
        "deliveries",
        "ephemeral",
        "events",
        "latency",
        "messages",
        "messages_refused",
        "opened",
        "people",
        "publications",
        "publications_refused",
        "publishing",
        "resumes",
        "resyncs",
        "signals",
        "subscriptions",
    )

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.publications = 0
        """Events that were to be published, whatever became of them; a body that could not be read counts as one."""
        self.publications_refused: Counter[str] = Counter()
        """The same that were refused, by code."""
        self.publishing = 0
        """Events being stored right now."""
        self.commits = Histogram()
        """Seconds from asking the engine to its answer, per call."""
        self.accepted: dict[str, float] = {}
        """By event id: when those that are being stored were accepted."""
        self.events = 0
        """Events that reached this node and that a connection of it wanted, once per organization."""
        self.deliveries = 0
        """Events handed to sockets: each counts once per connection."""
        self.caught_up = 0
        """Those of `deliveries` that were read from the log for connections that were behind."""
        self.latency = Histogram()
        """Seconds from a publication's acceptance here to its event's being handed to the sockets of live connections."""
        self.messages = 0
        """Messages that clients sent."""
        self.messages_refused: Counter[str] = Counter()
        """The same that were answered by an error, by code."""
        self.connections: dict[str, int] = {WEBSOCKET: 0, SSE: 0}
        self.subscriptions: dict[str, int] = {WEBSOCKET: 0, SSE: 0}
        self.opened: dict[str, int] = {WEBSOCKET: 0, SSE: 0}
        self.closes: Counter[str] = Counter()
        """Ended connections, by close code, or PEER_LEFT."""
        self.people = 0
        """Users with a connection to this node, and those who had one a moment ago."""
        self.signals = 0
        """Signals that clients sent to others."""
        self.ephemeral = 0
        """Signals and differences of presence that were handed to sockets: each counts once per connection."""
        self.catch_ups = 0
        """Times that a connection was left to the log: it resumed from a cursor, or did not take what it was given."""
        self.resumes = 0
        """Those of `catch_ups` that began with a cursor."""
        self.resyncs = 0
        """Connections that were told to reload."""

    # ---- publishing

    def accept(self, drafts: Sequence[Identified], at: float) -> None:
        """Note that events, accepted at `at`, are handed to the engine."""
        self.publishing += len(drafts)
        for draft in drafts:
            self.accepted[draft.event_id] = at

    def answered(self, drafts: Sequence[Identified]) -> None:
        """Note that the engine answered, whatever it was; to be called once for each `accept`."""
        self.publishing -= len(drafts)
        for draft in drafts:
            # Two calls may publish one id at the same time: the first answer forgets it, and one sample may be missing.
            self.accepted.pop(draft.event_id, None)

    # ---- delivering

    def written(self, items: Sequence[Timed], members: int) -> None:
        """Note that each of `items` was handed to the sockets of `members` connections just now."""
        self.deliveries += len(items) * members
        now = self.clock()
        for item in items:
            if item.accepted_at is not None:
                self.latency.observe(now - item.accepted_at, members)

    def taken(self, accepted_at: Sequence[float | None], *, is_from_log: bool) -> None:
        """Note that a connection whose outlet counts for itself was handed events just now; the times are their acceptance here."""
        self.deliveries += len(accepted_at)
        if is_from_log:
            self.caught_up += len(accepted_at)
        now = self.clock()
        for at in accepted_at:
            if at is not None:
                self.latency.observe(now - at)

    def read_from_log(self, events: int) -> None:
        """Note that a connection that is behind was handed events from the log."""
        self.deliveries += events
        self.caught_up += events

    # ---- connections

    def connected(self, transport: str) -> None:
        """Note a new connection."""
        self.connections[transport] += 1
        self.opened[transport] += 1

    def disconnected(self, transport: str, subscriptions: int) -> None:
        """Note the end of a connection that had this many subscriptions."""
        self.connections[transport] -= 1
        self.subscriptions[transport] -= subscriptions

    def closed(self, code: int | None) -> None:
        """Note why a connection ended; None: the peer left."""
        self.closes[PEER_LEFT if code is None else str(code)] += 1
