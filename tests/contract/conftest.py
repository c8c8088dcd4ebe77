"""Engines for the contract suite: each test runs once per engine of tests/support/engines.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from signtusk_realtime.events.log import Retention
from tests.support.engines import ENGINES, MakeWorld, World

StartWorld = Callable[[Retention], Awaitable[World]]


@pytest.fixture(params=ENGINES)
def make_world(request: pytest.FixtureRequest) -> MakeWorld:
    return ENGINES[request.param]


@pytest.fixture
def new_world(make_world: MakeWorld, tmp_path: Path) -> World:
    return make_world(tmp_path, Retention())


@pytest.fixture
async def start_world(make_world: MakeWorld, tmp_path: Path) -> AsyncIterator[StartWorld]:
    worlds: list[World] = []

    async def start(retention: Retention) -> World:
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        world = make_world(folder, retention)
        worlds.append(world)
        await world.engine.start(world.sink)
        return world

    yield start
    for world in worlds:
        await world.engine.close()
        assert world.sink.gaps == []


@pytest.fixture
async def world(start_world: StartWorld) -> World:
    return await start_world(Retention())
