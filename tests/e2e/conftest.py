"""End to end over real sockets, on both event loops where a module asks for it.

The production loop is uvloop; an application that embeds the service may run on asyncio's own, and the two differ in how transports end.
"""

from __future__ import annotations

import pytest

LOOPS = {"asyncio": ("asyncio", {}), "uvloop": ("asyncio", {"use_uvloop": True})}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that this file serves."""
    config.addinivalue_line("markers", "both_loops: a module's async tests run on asyncio's own loop and on uvloop")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked module's async tests on each loop."""
    if metafunc.definition.get_closest_marker("both_loops") and "anyio_backend" in metafunc.fixturenames:
        metafunc.parametrize("anyio_backend", LOOPS.values(), ids=LOOPS.keys(), scope="module")
