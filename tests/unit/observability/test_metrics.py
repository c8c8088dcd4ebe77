"""The figures of get_metrics: rates over the last ten seconds, gauges as they are, and a timer that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import psutil
import pytest

from signtusk_realtime.observability.counters import SSE, WEBSOCKET, Counters
from signtusk_realtime.observability.metrics import Metrics
from tests.support.clock import elapse

pytestmark = pytest.mark.virtual_clock

NAMES = [
    "activeConnections",
    "sseConnections",
    "sseSubscriptions",
    "subscriptionCount",
    "messagesPerSecond",
    "averageLatency",
    "errorRate",
    "memoryUsage",
    "cpuUsage",
    "eventQueueSize",
]


def running(counters: Counters, **more: object) -> Metrics:
    return Metrics(counters, clock=asyncio.get_running_loop().time, **more)  # type: ignore[arg-type]  # as the test wants


async def test_the_names_are_the_originals() -> None:
    """Ten figures by their camelCase names, each a number."""
    found = Metrics(Counters()).get()
    assert list(found) == NAMES
    assert all(type(value) in (int, float) for value in found.values())


async def test_gauges_are_as_they_are() -> None:
    """Connections and subscriptions by transport; the queue is what is being stored and what waits to be written."""
    counters = Counters()
    counters.connections = {WEBSOCKET: 3, SSE: 2}
    counters.subscriptions = {WEBSOCKET: 5, SSE: 4}
    counters.publishing = 7
    found = Metrics(counters, pending=lambda: 10).get()
    assert [found[name] for name in NAMES[:4]] == [3, 2, 4, 9]
    assert found["eventQueueSize"] == 17


async def test_rates_are_of_the_last_ten_seconds() -> None:
    """What happened longer ago counts no more."""
    counters = Counters()
    metrics = running(counters)
    metrics.start()
    counters.deliveries = 1000
    counters.latency.observe(0.004, 10)
    counters.publications, counters.messages = 6, 4
    counters.publications_refused["invalid_event"] = 1
    counters.messages_refused["rate_limited"] = 1
    await elapse(5)
    found = metrics.get()
    assert found["messagesPerSecond"] == pytest.approx(200)
    assert found["averageLatency"] == pytest.approx(4)
    assert found["errorRate"] == pytest.approx(0.2)
    await elapse(4.5)
    counters.deliveries += 50
    counters.latency.observe(0.002, 1)
    counters.messages += 10
    await elapse(9)
    found = metrics.get()
    assert found["messagesPerSecond"] == pytest.approx(50 / 9.5, rel=0.06)
    assert found["averageLatency"] == pytest.approx(2)
    assert found["errorRate"] == 0
    await elapse(3)
    found = metrics.get()
    assert [found[name] for name in ("messagesPerSecond", "averageLatency", "errorRate")] == [0, 0, 0]
    metrics.stop()


async def test_a_moment_is_not_taken_for_a_second() -> None:
    """Within the first second the rate is that of a second."""
    counters = Counters()
    metrics = running(counters)
    await elapse(0.01)
    counters.deliveries = 5
    assert metrics.get()["messagesPerSecond"] == 5


async def test_memory_is_this_process() -> None:
    """Resident bytes as the system tells them."""
    assert Metrics(Counters()).get()["memoryUsage"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


async def test_processor_time_is_what_was_used() -> None:
    """Processor seconds over the seconds of the window."""
    metrics = running(Counters())
    before = psutil.Process().cpu_times()
    while (now := psutil.Process().cpu_times()).user - before.user < 0.1:
        pass
    await elapse(2)
    used = now.user + now.system - before.user - before.system
    assert metrics.get()["cpuUsage"] == pytest.approx(used / 2, rel=0.5)


async def test_every_second_somebody_is_told() -> None:
    """`updated` gets the figures once a second from start to stop, even where it raised; then no timer is left."""
    told: list[Mapping[str, int | float]] = []

    def updated(found: Mapping[str, int | float]) -> None:
        told.append(found)
        if len(told) == 1:
            raise RuntimeError("a callback of the application")

    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
    metrics = running(Counters(), updated=updated)
    metrics.start()
    await elapse(3.5)
    assert len(told) == 3
    assert len(problems) == 1
    metrics.stop()
    metrics.stop()
    await elapse(10)
    assert len(told) == 3
    asyncio.get_running_loop().set_exception_handler(None)
