"""What fault tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import ValkeyCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[ValkeyCluster]:
    """Three primaries, each with a replica, for a file of tests that leaves it whole."""
    cluster = ValkeyCluster().keep()
    try:
        yield cluster.start()
    finally:
        cluster.stop()
