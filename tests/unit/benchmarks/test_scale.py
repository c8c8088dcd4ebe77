"""The page about a million connections says what was measured and what follows from it, and the arithmetic is right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks import scale
from benchmarks.scale import CONNECTIONS, ORGANIZATIONS, PAGE, Units, calculate, filled, followers, read

UNITS = Units(
    publish_s=1e-3,
    receive_s=2e-4,
    deliver_s=1e-5,
    ping_s=3e-5,
    follow_s=0.0,
    exist_s=0.0,
    connect_s=1e-3,
    valkey_event_s=2e-4,
    valkey_follower_s=5e-5,
    valkey_organization_s=0.0,
    valkey_connect_s=1e-4,
    message_bytes=500,
    into_valkey_bytes=1000,
    out_of_valkey_bytes=700,
    kept_bytes=700,
    organization_bytes=1000,
    node_mb=50,
    connection_kb=2.5,
    followed_kb=1.0,
)
"""Round figures, of which the answer can be told without a machine."""


def test_the_page_says_what_was_measured() -> None:
    """Whoever measures anew, or changes the arithmetic, makes the page anew: `python -m benchmarks.scale`."""
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, read()) == page


def test_a_page_without_a_place_for_a_table_is_refused() -> None:
    """No table is lost because somebody took its mark away."""
    page = PAGE.read_text(encoding="utf-8").replace("<!-- scale: answer -->", "")
    with pytest.raises(ValueError, match="0 places for answer"):
        filled(page, UNITS)


def test_clients_of_an_organization_are_on_as_many_nodes_as_chance_has_it() -> None:
    """One node holds all; of two, ten clients leave one empty once in 512 cases; with many nodes each is alone."""
    assert followers(1, 10) == 1
    assert followers(2, 10) == pytest.approx(2 - 1 / 512)
    assert followers(1_000_000, 10) == pytest.approx(10, rel=1e-4)


def test_nodes_have_the_cores_that_are_used() -> None:
    """There are as many nodes as it takes, no more, and no fewer than the connections need."""
    quiet = calculate(UNITS, 1e9)
    assert quiet.nodes == CONNECTIONS // scale.NODE_CONNECTIONS
    busy = calculate(UNITS, 10)
    assert busy.is_possible
    assert sum(busy.node_s.values()) <= busy.nodes * scale.BUSY
    assert sum(busy.node_s.values()) > (busy.nodes - 2) * scale.BUSY
    rate = ORGANIZATIONS / 10
    assert busy.node_s["publishing"] == pytest.approx(rate * 1e-3)
    assert busy.node_s["hearing it on other nodes"] == pytest.approx(rate * (busy.followers - 1) * 2e-4)
    assert busy.node_s["delivering"] == pytest.approx(rate * scale.WANT_IT * 1e-5)


def test_together_no_other_node_hears_it() -> None:
    """Where an organization's clients are on one node, nothing is told to others."""
    apart, together = calculate(UNITS, 10), calculate(UNITS, 10, together=True)
    assert together.node_s["hearing it on other nodes"] == together.valkey_s["telling nodes"] == 0
    assert together.nodes < apart.nodes


def test_what_every_node_does_for_all_can_be_too_much_for_any_number() -> None:
    """A cost of each node that no other can take off it is said, comes first of what breaks, and the rest is counted without it."""
    units = replace(UNITS, exist_s=scale.BUSY / ORGANIZATIONS)
    one = calculate(units, 60)
    assert not one.is_possible
    assert one.nodes == calculate(UNITS, 60).nodes
    assert f"without “{scale.EXISTING}”" in scale.answer_table([one])
    assert "without" not in scale.answer_table([calculate(UNITS, 60)])
    assert scale.breaking_table(units).splitlines()[2].startswith("| a node's core: organizations that exist")


def test_what_is_kept_is_events_times_their_time() -> None:
    """Memory goes by rate, time and size; a shard holds its part."""
    one = calculate(UNITS, 10)
    assert one.kept_gb == pytest.approx(ORGANIZATIONS * 1000 / 1e9 + 10_000 * 3 * 86_400 * 700 / 1e9)
    assert one.shards(one.kept_gb) == math.ceil(one.kept_gb / scale.SHARD_GB)
    assert one.shards(0) == one.shards_by_cpu
