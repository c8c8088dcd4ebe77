"""What the suites of documents share: engines, desks over them, and a judge at the end of every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest

from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.operations.documents.attempt import DocumentRules
from tests.support.clock import InlineExecutor
from tests.support.delivery import Names
from tests.support.desks import Desk, LoopClock, read_shelf
from tests.support.engines import RecordingSink

MakeDesk: TypeAlias = Callable[..., Desk]
ENGINES = ("memory", "sqlite")


@pytest.fixture
def clock() -> LoopClock:
    """The wall, and the engine's clock."""
    return LoopClock()


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest, clock: LoopClock) -> AsyncIterator[Engine]:
    """An engine of each kind; in the end whatever the test stored must agree with itself."""
    made: Engine
    if request.param == "memory":
        made = MemoryEngine(clock=clock)
    else:
        made = SqliteEngine(":memory:", clock=clock, executor=InlineExecutor())
    await made.start(RecordingSink())
    try:
        yield made
        assert (await read_shelf(made)).faults() == []
    finally:
        await made.close()


@pytest.fixture
async def make_desk(engine: Engine, clock: LoopClock) -> AsyncIterator[MakeDesk]:
    """Make desks over the engine, each a node of its own."""
    made: list[Desk] = []
    names = Names()

    def make(**rules: object) -> Desk:
        options: dict[str, object] = {"policy": PLAIN} | rules
        desk = Desk(engine, clock, names=names, rules=DocumentRules(**options))
        made.append(desk)
        return desk

    yield make
    for desk in made:
        await desk.close()


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    """The one node of most tests."""
    return make_desk()
