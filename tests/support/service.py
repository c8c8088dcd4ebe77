"""A service as publishers see it, in memory: the HTTP API's rules of a call, and whatever befalls it on the way.

Owns: all or nothing, ids that publish once, refusals with their places.   Not: the kinds; an event is bad if its member `bad` says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import httpx2

JsonObject = dict[str, object]
Mishap = Callable[[httpx2.Request], httpx2.Response | None]
"""Befalls a request: an answer in place of the service's, an exception, or None: nothing."""


@dataclass
class FakeService:
    """`logs` has the ids of each organization's events in their order, `calls` how many events each call had."""

    max_batch: int = 1000
    logs: dict[str, list[str]] = field(default_factory=dict)
    calls: list[int] = field(default_factory=list)
    mishaps: Iterator[Mishap | None] = field(default_factory=lambda: iter(()))

    @property
    def transport(self) -> httpx2.AsyncBaseTransport:
        return httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        mishap = next(self.mishaps, None)
        if mishap is not None and (answer := mishap(request)) is not None:
            return answer
        return self.carry_out(request)

    def carry_out(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a call that arrived."""
        value = json.loads(request.content)
        events = value if isinstance(value, list) else [value]
        self.calls.append(len(events))
        if len(events) > self.max_batch:
            return refusal(413, "batch_too_large")
        at = "/{}" if isinstance(value, list) else ""
        organization = events[0].get("organizationId")
        for index, event in enumerate(events):
            if "bad" in event:
                return refusal(422, "invalid_event", at.format(index) + "/bad")
            if event.get("organizationId") != organization:
                return refusal(422, "mixed_organizations", at.format(index) + "/organizationId")
        if any("reused" in event for event in events):
            return refusal(409, "event_id_reused", "/id")
        return httpx2.Response(200, json={"results": self._append(events)})

    def _append(self, events: Sequence[JsonObject]) -> list[JsonObject]:
        results: list[JsonObject] = []
        for event in events:
            log = self.logs.setdefault(str(event.get("organizationId")), [])
            event_id = str(event["id"])
            is_duplicate = event_id in log
            if not is_duplicate:
                log.append(event_id)
            results.append({"eventId": event_id, "cursor": f"c{log.index(event_id)}", "duplicate": is_duplicate})
        return results


def refusal(status: int, code: str, pointer: str | None = None, **headers: str) -> httpx2.Response:
    """Give a problem as the service words it."""
    problem: JsonObject = {"code": code, "detail": f"{code} it is", "status": status}
    if pointer is not None:
        problem["errors"] = [{"pointer": pointer, "detail": "that is bad"}]
    return httpx2.Response(
        status, json=problem, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def lost(_: httpx2.Request) -> httpx2.Response:
    """Be a connection that ends before there is an answer."""
    raise httpx2.ReadError("connection reset")
