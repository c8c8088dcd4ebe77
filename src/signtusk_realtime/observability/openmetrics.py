"""The counters as OpenMetrics text, for Prometheus and those who read like it.

Owns: names, help texts and labels of the metrics.   Not: the numbers (counters.py), who may read them (server/http/metrics.py).
Rule 1: a label's values are codes, transports or versions; never a name that a user or an organization has, so that their number is bounded.
Rule 2: a registry of its own: what else lives in the process has its own metrics, and we do not show them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from signtusk_realtime.observability.counters import Histogram
from signtusk_realtime.observability.descriptors import descriptors
from signtusk_realtime.observability.metrics import Metrics, resident_bytes
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED

PREFIX: Final = "signtusk_realtime_"


class OpenMetrics:
    """See the module. `version`: the service's."""

    def __init__(self, metrics: Metrics, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Figures(metrics, version))

    def text(self) -> bytes:
        """Give all metrics as they are now."""
        text: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]  # the library left it untyped
        return text


class _Figures(Collector):
    def __init__(self, metrics: Metrics, version: str) -> None:
        self._metrics = metrics
        self._version = version

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily(f"{PREFIX}build", "The service's version.", value={"version": self._version})
        yield from self._connections()
        yield from self._publishing()
        yield from self._delivering()
        yield from self._presence()
        yield _gauge("process_resident_memory_bytes", "Resident memory of the process.", resident_bytes(), "bytes")
        found = descriptors()
        if found is not None:
            yield _gauge("process_open_fds", "Files and sockets that the process has open.", found.open)
            if found.most is not None:
                yield _gauge("process_max_fds", "How many it may have open.", found.most)
        yield _counter("process_cpu_seconds", "Processor time of the process.", time.process_time(), "seconds")

    def _connections(self) -> Iterator[Metric]:
        counters = self._metrics.counters
        yield _gauges("connections", "Open connections.", "transport", counters.connections)
        yield _gauges("subscriptions", "Subscriptions of open connections.", "transport", counters.subscriptions)
        yield _counters("connections_opened", "Connections that were opened.", "transport", counters.opened)
        yield _counters(
            "connections_closed",
            "Connections that ended, by close code; peer: the other side.",
            "code",
            counters.closes,
        )
        yield _counters(
            "requests_refused",
            "Requests, handshakes and event streams that were refused.",
            "code",
            REQUESTS_REFUSED,
        )
        yield _counter("messages_received", "Messages of clients.", counters.messages)
        yield _counters(
            "messages_refused", "Messages of clients that were answered by an error.", "code", counters.messages_refused
        )

    def _publishing(self) -> Iterator[Metric]:
        counters = self._metrics.counters
        yield _counter("publications_received", "Events that were to be published.", counters.publications)
        yield _counters("publications_refused", "The same that were refused.", "code", counters.publications_refused)
        yield _histogram("commit_duration", "From asking the log's engine to its answer, per call.", counters.commits)

    def _delivering(self) -> Iterator[Metric]:
        counters = self._metrics.counters
        yield _counter("events", "Events that a connection of this node wanted.", counters.events)
        yield _counter("deliveries", "Events handed to sockets, each once per connection.", counters.deliveries)
        yield _counter("deliveries_from_log", "The same for connections that were behind.", counters.caught_up)
        yield _histogram(
            "delivery_latency",
            "From a publication's acceptance to its event's being handed to live connections, weighted by connections.",
            counters.latency,
        )
        yield _gauge("queued_events", "Events being stored, or waiting to be written.", self._metrics.queue_size)
        yield _counters(
            "catch_ups",
            "Times that a connection was brought up from the log, by why it was behind.",
            "reason",
            {"resumed": counters.resumes, "slow": counters.catch_ups - counters.resumes},
        )
        yield _counter("resyncs", "Connections that were told to reload their state.", counters.resyncs)

    def _presence(self) -> Iterator[Metric]:
        counters = self._metrics.counters
        yield _gauge(
            "people", "Users with a connection to this node, and those who had one a moment ago.", counters.people
        )
        yield _counter("signals_received", "Signals that clients sent to others.", counters.signals)
        yield _counter(
            "ephemeral_deliveries",
            "Signals and differences of presence handed to sockets, each once per connection.",
            counters.ephemeral,
        )


def _counter(name: str, text: str, value: float, unit: str = "") -> Metric:
    return CounterMetricFamily(PREFIX + name, text, value=value, unit=unit)


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _gauge(name: str, text: str, value: float, unit: str = "") -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value, unit=unit)


def _gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=(label,))
    for value, count in values.items():
        family.add_metric((value,), count)
    return family


def _histogram(name: str, text: str, values: Histogram) -> Metric:
    bounds = [*map(str, values.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(values.counts), strict=True))
    return HistogramMetricFamily(PREFIX + name, text, buckets=buckets, sum_value=values.total, unit="seconds")
