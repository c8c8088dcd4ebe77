"""Hostile clients against the real command: each meets the right refusal, the server hardly grows, and another user goes on being served.

ATTACKS_LONG=1 for the sizes that the documentation names; benchmarks/attacks.py measures what others notice.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.attacks import LASTING, QUICK, Attack, Bystander, Resident, quantile
from tests.support.command import Served, serving

IS_LONG: Final = bool(os.environ.get("ATTACKS_LONG"))
GROWTH_BYTES: Final = 20 << 20
WARM: Final = 50

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(1200 if IS_LONG else 120)]


@asynccontextmanager
async def attacked(folder: Path) -> AsyncIterator[tuple[Served, Bystander]]:
    """Serve, with somebody who uses it."""
    async with serving(folder) as served:
        async with Bystander(served.port) as bystander:
            yield served, bystander
        assert await served.terminate() == 0
        # Whoever breaks rules is told so; a traceback would be a defect of ours.
        assert not [line for line in served.lines if line["level"] in ("error", "critical")]


async def meanwhile(served: Served, bystander: Bystander, *attacks: Attack) -> str:
    """Attack, while the other user publishes and is told; check the server's size, and give the figures."""
    calm = [await bystander.event() for _ in range(WARM)]
    resident = Resident(served.process.pid)
    before = resident.begin()
    beginnings = [one.begin(served.port, one.long if IS_LONG else one.short) for one in attacks]
    delays = await bystander.during(asyncio.gather(*beginnings))
    growth = resident.highest() - before
    figures = (
        f"{' and '.join(one.name for one in attacks)}: RSS at most +{growth / 2**20:.1f} MiB, "
        f"p99 of {len(delays)} events {quantile(delays, 0.99) / quantile(calm, 0.99):.1f} x that before"
    )
    assert growth < GROWTH_BYTES, figures
    return figures


async def test_attacks_are_refused_and_others_are_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each meets its own refusal; every event of another user arrives meanwhile; memory grows by less than 20 MiB."""
    async with attacked(tmp_path) as (served, bystander):
        for attack in QUICK:
            figures = await meanwhile(served, bystander, attack)
            with capsys.disabled():
                print(f"\n  {figures}", end="")  # noqa: T201 - the ratio is told, not judged: it measures the machine


async def test_slow_heads_and_silent_sockets_are_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds at once, each until its deadline; nobody else waits for them. In the long form thousands, one attack after the other."""
    async with attacked(tmp_path) as (served, bystander):
        for attacks in [(one,) for one in LASTING] if IS_LONG else [LASTING]:
            figures = await meanwhile(served, bystander, *attacks)
            with capsys.disabled():
                print(f"\n  {figures}", end="")  # noqa: T201 - as above
