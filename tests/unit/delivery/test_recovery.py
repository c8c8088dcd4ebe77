"""Whether a cursor can be continued, while retention goes on."""

from __future__ import annotations

from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.recovery import continued
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.events.log import LogName, Page, Retention
from signtusk_realtime.protocol.cursor import Cursor
from tests.support import engines
from tests.support.engines import LOG, ManualClock, RecordingSink


class AgeingEngine(MemoryEngine):
    """Lets so many milliseconds pass before each read but the first of a log."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(retention=Retention(age_ms=1000), clock=clock)
        self.clock = clock
        self.step_ms = 0

    async def read(self, log: LogName, after: int, max_bytes: int) -> Page:
        if after:
            self.clock.now += self.step_ms
        return await super().read(log, after, max_bytes)


async def _log_of_three() -> AgeingEngine:
    """Give an engine whose log has an entry of every half second, the newest from now."""
    clock = ManualClock()
    engine = AgeingEngine(clock)
    await engine.start(RecordingSink())
    for event_id in ("a", "b", "c"):
        await engines.publish(engine, event_id)
        clock.now += 500
    clock.now -= 500
    return engine


async def test_a_cursor_at_a_floor_that_rose_meanwhile_has_missed_nothing() -> None:
    """Retention that takes the very entry a cursor stands at, between two reads, does not make it expire."""
    engine = await _log_of_three()
    page = await engine.read(LOG, 0, 1)
    second = (await engine.read(LOG, 0, 1 << 20)).entries[1]
    position = page.top.position._replace(offset=second.offset, tag=second.tag)
    engine.step_ms = 501
    place = await continued(engine, LOG, Cursor(position, None))
    assert isinstance(place, Place)
    assert place.organization == position
    assert (await engine.read(LOG, 0, 1)).top.floor_offset == 2


async def test_a_cursor_below_a_floor_that_rose_meanwhile_has_expired() -> None:
    """Retention that takes more than that is told, not skipped over."""
    engine = await _log_of_three()
    page = await engine.read(LOG, 0, 1 << 20)
    second = page.entries[1]
    position = page.top.position._replace(offset=second.offset, tag=second.tag)
    engine.step_ms = 1001
    assert await continued(engine, LOG, Cursor(position, None)) == "expired"
