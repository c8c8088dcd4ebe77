"""Retention on a running server: what is due goes by itself, a cap warns before it bites, and no cursor is misled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Api, JsonObject, document_update, serving
from tests.support.polling import until

pytestmark = pytest.mark.real_time

BITES_WITHIN_S = 10.0


def ids(history: list[JsonObject]) -> list[object]:
    """Give the ids of a history's events."""
    found = []
    for entry in history:
        event = entry["event"]
        assert isinstance(event, dict)
        found.append(event["id"])
    return found


async def test_what_is_too_old_goes_within_ten_seconds(tmp_path: Path) -> None:
    """A cursor below what is kept is `expired`, one at the floor has missed nothing, and a log that was emptied goes on."""
    async with serving(tmp_path, "--retention-age", "2500") as served, Api(served.url) as api:
        await api.publish([document_update("d", id=f"e{n}") for n in range(3)])
        before = await api.history()
        assert ids(before) == ["e0", "e1", "e2"]

        async def is_empty() -> bool:
            return await api.history() == []

        await until(is_empty, within_s=2.5 + BITES_WITHIN_S)
        query = {"userId": "u", "organizationId": "org123", "after": str(before[0]["cursor"])}
        answer = await api.http.get("/api/realtime/history", params=query)
        assert (answer.status_code, answer.json()["reason"]) == (410, "expired")
        last = str(before[2]["cursor"])
        assert await api.history(after=last) == []
        await api.publish(document_update("d", id="later"))
        assert ids(await api.history(after=last)) == ["later"]
        assert await served.terminate() == 0


async def test_the_cap_warns_before_it_bites(tmp_path: Path) -> None:
    """At 80 % there is one warning in the log and nothing is gone yet; above the cap the oldest go, whatever their age."""
    body = {"text": "x" * 5000}
    async with serving(tmp_path, "--retention-bytes", "65536") as served, Api(served.url) as api:
        for n in range(11):
            await api.publish(document_update("d", id=f"e{n}", metadata=body))
        warning = await served.says("log nears its cap, above it the oldest entries go")
        assert (warning["level"], warning["organization"], warning["cap"]) == ("warning", "org123", 65536)
        size = warning["bytes"]
        assert isinstance(size, int)
        assert 0.8 * 65536 < size <= 65536
        assert len(await api.history()) == 11

        for n in range(11, 20):
            await api.publish(document_update("d", id=f"e{n}", metadata=body))

        async def is_within_the_cap() -> bool:
            return len(await api.history()) <= 12

        await until(is_within_the_cap, within_s=BITES_WITHIN_S)
        kept = ids(await api.history())
        assert kept == [f"e{n}" for n in range(20 - len(kept), 20)]
        assert len(kept) >= 11, "no more goes than must"
        assert await served.terminate() == 0
        assert sum(line["message"] == warning["message"] for line in served.lines) == 1
