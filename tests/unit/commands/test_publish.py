"""Lines become calls, and what one refused line means to the others: nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from signtusk_realtime.client import Publisher
from signtusk_realtime.commands.lines import Given, Lines
from signtusk_realtime.commands.publish import PublishLines, Unpublished
from signtusk_realtime.commands.terminal import Output
from signtusk_realtime.errors import InvalidInput
from tests.support.service import FakeService, JsonObject, lost, refusal

pytestmark = pytest.mark.virtual_clock


class Command:
    """The command over a service in memory, writing to a file."""

    def __init__(self, service: FakeService, path: Path) -> None:
        self.said: list[str] = []
        self.windows = 0
        self._path = path
        self._file = path.open("wb")
        self._publisher = Publisher("http://h", transport=service.transport, patience_s=5.0)
        self.run = PublishLines(
            self._publisher, Output(self._file.fileno()), complain=self.said.append, on_progress=self._moved
        )

    def _moved(self) -> None:
        self.windows += 1

    async def publish(self, events: Sequence[JsonObject | str]) -> list[str]:
        """Publish lines; give the ids of the results."""
        text = "\n".join(event if isinstance(event, str) else json.dumps(event) for event in events)
        try:
            await self.run(Lines(Given(text.encode())))
        finally:
            await self._publisher.aclose()
            self._file.close()
        return self.results

    @property
    def results(self) -> list[str]:
        return [json.loads(line)["eventId"] for line in self._path.read_text().splitlines()]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def command(service: FakeService, tmp_path: Path) -> Iterator[Command]:
    command = Command(service, tmp_path / "out")
    yield command
    command._file.close()


def event(number: int, organization: str | None = "o1", **more: object) -> JsonObject:
    named = {} if organization is None else {"organizationId": organization}
    return {"id": f"e{number}", "kind": "team_update", **named, **more}


async def test_lines_are_published_in_large_calls(service: FakeService, command: Command) -> None:
    """Many lines, few calls; results in the order of the lines."""
    events = [event(n) for n in range(2500)]
    assert await command.publish(events) == [e["id"] for e in events] == service.logs["o1"]
    assert service.calls == [1000, 1000, 500]
    assert (command.run.published, command.run.refused, command.said, command.windows) == (2500, 0, [], 3)


async def test_a_refused_line_is_left_out_and_named(service: FakeService, command: Command) -> None:
    """All others are published, in order; the refusal has the line's own number, code and pointer."""
    events = [event(n, **({"bad": 1} if n in (0, 3, 4, 9) else {})) for n in range(10)]
    good = [e["id"] for e in events if "bad" not in e]
    assert await command.publish(["", *events]) == good == service.logs["o1"]
    assert command.said == [f"line {n}: invalid_event: /bad: that is bad" for n in (2, 5, 6, 11)]
    assert (command.run.published, command.run.refused) == (6, 4)


async def test_a_refusal_without_a_place_is_found_by_halving(service: FakeService, command: Command) -> None:
    """An id that was used before is one line's fault, though the answer does not say whose."""
    events = [event(n, **({"reused": 1} if n == 700 else {})) for n in range(1000)]
    await command.publish(events)
    assert service.logs["o1"] == [e["id"] for e in events if "reused" not in e]
    assert command.said == ["line 701: event_id_reused: /id: that is bad"]
    assert len(service.calls) < 40


async def test_bad_lines_alone_cost_no_more_than_their_number(service: FakeService, command: Command) -> None:
    """An input of which everything is refused is not sent over and over."""
    await command.publish([event(n, bad=1) for n in range(300)])
    assert command.run.refused == 300
    assert sum(service.calls) < 1500


async def test_a_service_with_smaller_batches_gets_smaller_calls(service: FakeService, command: Command) -> None:
    """Its limit is found once, and kept to."""
    service.max_batch = 100
    events = [event(n) for n in range(1000)]
    assert await command.publish(events) == service.logs["o1"]
    assert sum(size > 100 for size in service.calls) < 6


async def test_organizations_keep_their_order_and_have_their_calls(service: FakeService, command: Command) -> None:
    """Interleaved lines are a call for each organization; each log has its lines in their order."""
    events = [event(n, f"o{n % 3}") for n in range(30)]
    assert await command.publish(events) == [e["id"] for e in events]
    assert sorted(service.calls) == [10, 10, 10]
    for k in range(3):
        assert service.logs[f"o{k}"] == [f"e{n}" for n in range(k, 30, 3)]


async def test_lines_without_an_organization_are_sent_in_their_place(service: FakeService, command: Command) -> None:
    """They may belong to the same log as their neighbours, so that no call overtakes another."""
    order: list[str] = []

    def look(request: httpx2.Request) -> None:
        value = json.loads(request.content)
        order.extend(e["id"] for e in (value if isinstance(value, list) else [value]))

    service.mishaps = iter([look] * 10)
    await command.publish([event(0), event(1, None), event(2, None), event(3), event(4, None)])
    assert order == ["e0", "e1", "e2", "e3", "e4"]
    assert service.calls == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthenticated"), (403, "forbidden"), (404, "not_found"), (302, "http_302")]
)
async def test_what_every_call_would_meet_ends_it(
    service: FakeService, command: Command, status: int, code: str
) -> None:
    """One answer is enough; the first line that is affected is named, and results so far stand."""
    answer = refusal(status, code) if status != 302 else httpx2.Response(302)
    service.mishaps = iter([None, lambda _: answer])
    with pytest.raises(Unpublished, match="stopped at line 1001") as stopped:
        await command.publish([event(n) for n in range(3000)])
    assert stopped.value.code == code
    assert len(command.results) == 1000
    assert command.run.published == 1000


async def test_a_service_that_is_gone_ends_it(service: FakeService, command: Command) -> None:
    """After as long as a restart may take, since it was there before; what is unknown is said to be."""
    service.mishaps = iter([None, *[lost] * 1000])
    with pytest.raises(Unpublished, match=r"stopped at line 1001: no answer within 30 s.*unknown"):
        await command.publish([event(n) for n in range(2000)])
    assert len(command.results) == 1000


async def test_a_line_that_is_no_object_ends_it(service: FakeService, command: Command) -> None:
    """What stands before it is published, nothing behind it."""
    with pytest.raises(InvalidInput, match="line 3: not a JSON object; expected one JSON object a line"):
        await command.publish([event(0), event(1), "7", event(3)])
    assert command.results == ["e0", "e1"]


async def test_one_object_over_many_lines_is_one_event(service: FakeService, command: Command) -> None:
    """As an editor writes it."""
    assert await command.publish([json.dumps(event(0, payload={"a": [1, 2]}), indent=2)]) == ["e0"]


async def test_a_broken_first_line_is_not_mended_by_others(service: FakeService, command: Command) -> None:
    """Lines that were cut off are named and not guessed at."""
    with pytest.raises(InvalidInput, match="line 1: not JSON: Input data was truncated"):
        await command.publish(['{"id":"e0"', event(1)])
    assert service.calls == []
