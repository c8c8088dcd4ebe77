"""What every suite shares: the event loop tests run on, Hypothesis' profiles, and two plugins of our own."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.support.clock import VirtualClockLoop

# What these find is told as fully as what a test does.
for judge in ("crowds", "history", "judge", "losses"):
    pytest.register_assert_rewrite(f"tests.support.{judge}")

pytest_plugins = ["tests.support.budgets", "tests.support.leftovers"]

# No deadline per example, and no complaint about slow ones: both measure the machine. `HYPOTHESIS_PROFILE=long` before a release.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _COMMON, max_examples=100)
settings.register_profile("dev", _COMMON, max_examples=30, print_blob=False)
settings.register_profile("long", _COMMON, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers that this file serves."""
    config.addinivalue_line(
        "markers", "virtual_clock: a module's async tests run on tests/support/clock.py (as `pytestmark` only)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that would be passed over: the loop is chosen per module, since a module's fixtures share it."""
    for item in items:
        if any(mark.name == "virtual_clock" for mark in item.own_markers):
            raise pytest.UsageError(
                f"{item.nodeid}: virtual_clock is a module's mark: pytestmark = pytest.mark.virtual_clock"
            )


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Name the backend of async tests: asyncio, on the virtual clock where the module asks for it."""
    if request.node.get_closest_marker("virtual_clock"):
        return "asyncio", {"loop_factory": VirtualClockLoop}
    return "asyncio", {}
