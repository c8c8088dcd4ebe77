"""Calls about the service itself: figures, health, probes, this document.

Owns: their descriptions.   Not: what they answer (metrics.py, health.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http import examples
from signtusk_realtime.server.http.health import HealthReport, Probe
from signtusk_realtime.server.http.metrics import OPENMETRICS_TYPE, FiguresReport
from signtusk_realtime.server.http.openapi.parts import (
    ANY_REQUEST,
    WITH_IDENTITY,
    Object,
    SchemaOf,
    answer,
    identity,
    json_answer,
    operation,
    ref,
)

TYPES: Final = (HealthReport, Probe, FiguresReport)


def paths(schemas: SchemaOf, _: ServerLimits) -> Object:
    """Describe the calls."""
    return {
        "/api/realtime/metrics": {
            "get": operation(
                "readMetrics",
                "Read the node's figures",
                "Rates are of the last ten seconds. Needs the scope `realtime:admin`.",
                parameters=identity(schemas),
                answers={200: json_answer("The figures.", ref("FiguresReport"), examples.METRICS)},
                problems=WITH_IDENTITY,
                tag="operation",
            )
        },
        "/metrics": {
            "get": operation(
                "scrapeMetrics",
                "Read all counters as OpenMetrics text",
                "Needs the scope `realtime:admin`.",
                parameters=identity(schemas),
                answers={200: answer("The counters.", OPENMETRICS_TYPE, {"type": "string"}, examples.OPENMETRICS)},
                problems=WITH_IDENTITY,
                tag="operation",
            )
        },
        "/api/realtime/health": {
            "get": operation(
                "readHealth",
                "Read how every part is",
                "",
                answers={
                    200: json_answer("It is of use.", ref("HealthReport"), examples.HEALTH),
                    503: json_answer("It is of no use now.", ref("HealthReport"), examples.UNAVAILABLE),
                },
                problems=(*ANY_REQUEST, "host_not_allowed", "origin_not_allowed"),
                is_open=True,
                tag="operation",
            )
        },
        "/livez": {"get": _probe("isAlive", "Ask whether the process runs", ())},
        "/readyz": {"get": _probe("isReady", "Ask whether to send work here", ("overloaded", "unavailable"))},
        "/openapi.json": {
            "get": operation(
                "readDescription",
                "Read this document",
                "",
                answers={200: answer("This document.", "application/json", {"type": "object"})},
                problems=(*ANY_REQUEST, "host_not_allowed", "origin_not_allowed"),
                is_open=True,
                tag="operation",
            )
        },
        "/asyncapi.json": {
            "get": operation(
                "readMessagesDescription",
                "Read what WebSocket and event stream say, as AsyncAPI 3",
                "",
                answers={200: answer("That document.", "application/json", {"type": "object"})},
                problems=(*ANY_REQUEST, "host_not_allowed", "origin_not_allowed"),
                is_open=True,
                tag="operation",
            )
        },
    }


def _probe(name: str, summary: str, problems: Sequence[str]) -> Object:
    return operation(
        name,
        summary,
        "Answered to anybody.",
        answers={200: json_answer("Yes.", ref("Probe"), {"status": "ok"})},
        problems=(*ANY_REQUEST, *problems),
        is_open=True,
        tag="operation",
    )
