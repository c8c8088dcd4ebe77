"""How the service is doing: the figures of `get_metrics()`.

Owns: rates over the last ten seconds, the process' memory and processor time, the timer that looks at the counters.
Not: counting (counters.py), the OpenMetrics text (openmetrics.py).
Rule 1: every figure is measured; none is a constant, and a figure without anything to measure is 0.
Rule 2: a rate is taken between now and the oldest look that is at most ten seconds old; in the first second of a life it is counted as if that
second were over, so that two events in a moment are not called thousands a second.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct, to_builtins

from signtusk_realtime.observability.counters import SSE, Counters
from signtusk_realtime.observability.descriptors import DescriptorWatch

WINDOW_S: Final = 10.0
INTERVAL_S: Final = 1.0
SHORTEST_S: Final = 1.0
MetricsMapping: TypeAlias = Mapping[str, int | float]
_STATM: Final = Path("/proc/self/statm")


class MetricsReport(Struct, rename="camel", frozen=True, kw_only=True):
    """The figures of one node, rates over the last 10 seconds.

    `activeConnections`: open WebSockets. `subscriptionCount`: over both transports. `messagesPerSecond`: events handed to sockets.
    `averageLatency`: milliseconds from a publication's acceptance to its event's being handed to the sockets.
    `errorRate`: refused ÷ received, of publications and messages of clients. `memoryUsage`: bytes of resident memory.
    `cpuUsage`: processor seconds a second, 1 is one core. `eventQueueSize`: events being stored, or waiting to be written.
    """

    active_connections: int
    sse_connections: int
    sse_subscriptions: int
    subscription_count: int
    messages_per_second: float
    average_latency: float
    error_rate: float
    memory_usage: int
    cpu_usage: float
    event_queue_size: int


class _Look(NamedTuple):
    """What the counters stood at."""

    at: float
    cpu_s: float
    deliveries: int
    latency_s: float
    latencies: int
    received: int
    refused: int


class Metrics:
    """See the module. `pending`: events that wait to be written. `updated` is called with each new set of figures while it runs.

    Without `start` rates are those since it was made.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        pending: Callable[[], int] = lambda: 0,
        updated: Callable[[MetricsMapping], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = counters
        self._pending = pending
        self._updated = updated
        self._clock = clock
        self._looks: deque[_Look] = deque([self._look()])
        self._timer: asyncio.TimerHandle | None = None
        self._descriptors = DescriptorWatch()

    def start(self) -> None:
        """Look at the counters once a second, on the running loop, until `stop`."""
        self._looks = deque([self._look()])
        self._plan()

    def stop(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def get(self) -> MetricsMapping:
        """Give the figures by their camelCase names."""
        found: MetricsMapping = to_builtins(self.report())
        return found

    def report(self) -> MetricsReport:
        """Give the figures."""
        counters = self.counters
        now = self._look()
        since = next((look for look in self._looks if now.at - look.at <= WINDOW_S), self._looks[-1])
        elapsed = max(now.at - since.at, SHORTEST_S)
        latencies, received = now.latencies - since.latencies, now.received - since.received
        return MetricsReport(
            active_connections=sum(count for name, count in counters.connections.items() if name != SSE),
            sse_connections=counters.connections[SSE],
            sse_subscriptions=counters.subscriptions[SSE],
            subscription_count=sum(counters.subscriptions.values()),
            messages_per_second=(now.deliveries - since.deliveries) / elapsed,
            average_latency=(now.latency_s - since.latency_s) / latencies * 1000 if latencies else 0.0,
            error_rate=(now.refused - since.refused) / received if received else 0.0,
            memory_usage=resident_bytes(),
            cpu_usage=(now.cpu_s - since.cpu_s) / elapsed,
            event_queue_size=self.queue_size,
        )

    @property
    def queue_size(self) -> int:
        """Events being stored, or waiting to be written."""
        return self.counters.publishing + self._pending()

    def _look(self) -> _Look:
        counters = self.counters
        return _Look(
            at=self._clock(),
            cpu_s=time.process_time(),
            deliveries=counters.deliveries,
            latency_s=counters.latency.total,
            latencies=counters.latency.weight,
            received=counters.publications + counters.messages,
            refused=counters.publications_refused.total() + counters.messages_refused.total(),
        )

    def _plan(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        # Ordering: planned first, so that a callback that raises does not end the looking.
        self._plan()
        self._descriptors.look()
        now = self._look()
        looks = self._looks
        looks.append(now)
        while len(looks) > 1 and now.at - looks[0].at > WINDOW_S:
            looks.popleft()
        if self._updated is not None:
            self._updated(self.get())


def resident_bytes() -> int:
    """Give how much memory this process occupies. Where there is no /proc: the most it ever did, which the system tells everywhere."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
