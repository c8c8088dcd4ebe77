"""The OpenMetrics text: a strict reader takes it, every number of the counters is in it, and its labels are bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from signtusk_realtime.observability.counters import Counters
from signtusk_realtime.observability.metrics import Metrics
from signtusk_realtime.observability.openmetrics import PREFIX, OpenMetrics
from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.protocol import codes

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def read(counters: Counters) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Give every sample by its name and labels, as a strict reader has them."""
    text = OpenMetrics(Metrics(counters, pending=lambda: 2), "1.2.3").text().decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_all_names_are_ours() -> None:
    """Names begin with the product's."""
    text = OpenMetrics(Metrics(Counters()), "1.2.3").text().decode()
    assert all(family.name.startswith(PREFIX) for family in text_string_to_metric_families(text))
    assert text.endswith("# EOF\n")


def test_every_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters, gauges and histograms as they stand."""
    counters = Counters()
    counters.connected("sse")
    counters.subscriptions["sse"] += 3
    counters.closed(None)
    counters.closed(codes.CLOSE_OVERLOADED.number)
    counters.publications, counters.messages, counters.events, counters.deliveries = 11, 12, 13, 14
    counters.publications_refused["invalid_event"] += 4
    counters.messages_refused["rate_limited"] += 5
    monkeypatch.setitem(REQUESTS_REFUSED, "unauthenticated", 7)
    counters.publishing = 6
    counters.catch_ups, counters.resumes, counters.caught_up, counters.resyncs = 9, 2, 8, 1
    counters.commits.observe(0.003)
    counters.latency.observe(0.002, 3)
    counters.latency.observe(60.0)
    found = read(counters)
    expected = {
        ("build_info", (("version", "1.2.3"),)): 1,
        ("connections", (("transport", "sse"),)): 1,
        ("connections", (("transport", "websocket"),)): 0,
        ("connections_opened_total", (("transport", "sse"),)): 1,
        ("subscriptions", (("transport", "sse"),)): 3,
        ("connections_closed_total", (("code", "peer"),)): 1,
        ("connections_closed_total", (("code", "4430"),)): 1,
        ("messages_received_total", ()): 12,
        ("messages_refused_total", (("code", "rate_limited"),)): 5,
        ("requests_refused_total", (("code", "unauthenticated"),)): 7,
        ("publications_received_total", ()): 11,
        ("publications_refused_total", (("code", "invalid_event"),)): 4,
        ("events_total", ()): 13,
        ("deliveries_total", ()): 14,
        ("deliveries_from_log_total", ()): 8,
        ("queued_events", ()): 8,
        ("catch_ups_total", (("reason", "resumed"),)): 2,
        ("catch_ups_total", (("reason", "slow"),)): 7,
        ("resyncs_total", ()): 1,
        ("commit_duration_seconds_count", ()): 1,
        ("commit_duration_seconds_sum", ()): 0.003,
        ("delivery_latency_seconds_bucket", (("le", "0.001"),)): 0,
        ("delivery_latency_seconds_bucket", (("le", "0.0025"),)): 3,
        ("delivery_latency_seconds_bucket", (("le", "10.0"),)): 3,
        ("delivery_latency_seconds_bucket", (("le", "+Inf"),)): 4,
        ("delivery_latency_seconds_count", ()): 4,
        ("delivery_latency_seconds_sum", ()): pytest.approx(60.006),
    }
    assert {key: found[key] for key in expected} == expected
    assert found["process_resident_memory_bytes", ()] > 1 << 20
    assert found["process_cpu_seconds_total", ()] > 0
    assert 0 < found["process_open_fds", ()] < found["process_max_fds", ()]


def test_the_page_names_every_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/reference/metrics.md has each metric with its type and labels, and each figure, and no other."""
    page = PAGE.read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(signtusk_realtime_\w+)(?:\{(\w+)\})?` \| (\w+) \|", page, re.MULTILINE))
    counters = Counters()
    counters.closed(None)
    counters.publications_refused["forbidden"] += 1
    counters.messages_refused["forbidden"] += 1
    monkeypatch.setitem(REQUESTS_REFUSED, "forbidden", 1)
    text = OpenMetrics(Metrics(counters), "1.2.3").text().decode()
    suffixes = {"counter": "_total", "info": "_info"}
    shown = {
        (
            family.name + suffixes.get(family.type, ""),
            next(iter(family.samples[0].labels.keys() - {"le"}), ""),
            family.type,
        )
        for family in text_string_to_metric_families(text)
    }
    assert told == shown
    assert re.findall(r"^\| `([a-zA-Z]+)` \|", page, re.MULTILINE) == list(Metrics(counters).get())
