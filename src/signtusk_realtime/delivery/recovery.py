"""Whether a cursor can be continued: does the place it names still exist, and is everything after it still kept?

Owns: the three ways in which a cursor fails.   Not: the cursor's text (protocol/cursor.py), reading on from it (catch_up.py, history).
Rule 1: a cursor continues if its epoch is the log's and its tag stands at its offset; equal tags mean equal histories.
Rule 2: one at the floor, or in a log that retention emptied, has missed nothing.
Rule 3: nothing a client sends in a cursor changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from signtusk_realtime.delivery.floors import Floors
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.delivery.tail import Tails
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.events.log import SYSTEM_LOG, Entry, LogName, Position, Top
from signtusk_realtime.protocol.cursor import Cursor, decode
from signtusk_realtime.protocol.messages import RecoveryFailure

EARLIEST = "earliest"
LATEST = "latest"
_ANY = 1
"""Bytes of a page of which only the ends of the log matter, or its first entry."""


async def top_of(engine: Engine, organization_id: str) -> Place:
    """Give the newest place of an organization. Raises: Unavailable."""
    organization, system = await _tops(engine, organization_id)
    return Place(organization.position, system.position)


async def locate(engine: Engine, organization_id: str, text: str) -> Place | RecoveryFailure:
    """Give the place that a cursor (or `earliest`, `latest`) names, or why it cannot be continued. Raises: Unavailable."""
    if text == EARLIEST:
        return await continued(engine, organization_id, Cursor(None, None))
    if text == LATEST:
        return await top_of(engine, organization_id)
    cursor = decode(organization_id, text)
    return "unknown" if cursor is None else await continued(engine, organization_id, cursor)


async def continued(engine: Engine, organization_id: str, cursor: Cursor) -> Place | RecoveryFailure:
    """Give the place that a cursor names, or why it cannot be continued. A half at its log's beginning stands for the floor."""
    organization, system = await _tops(engine, organization_id)
    found: list[Position] = []
    for name, top, position in (
        (LogName(organization_id), organization, cursor.organization),
        (SYSTEM_LOG, system, cursor.system),
    ):
        if position is None:
            found.append(top.floor)
            continue
        failure = await _failure(engine, name, top, position)
        if failure is not None:
            return failure
        found.append(position)
    return Place(found[0], found[1])


async def _tops(engine: Engine, organization_id: str) -> tuple[Top, Top]:
    organization = await engine.read(LogName(organization_id), 0, _ANY)
    system = await engine.read(SYSTEM_LOG, 0, _ANY)
    return organization.top, system.top


async def _failure(engine: Engine, name: LogName, top: Top, position: Position) -> RecoveryFailure | None:
    entries: Sequence[Entry] = ()
    while True:
        if position.epoch != top.epoch or position.offset > top.offset:
            return "epoch"
        if position.offset < top.floor_offset:
            return "expired"
        if position.offset == top.floor_offset:
            return None if position.tag == top.floor_tag else "epoch"
        if position.offset == top.offset:
            return None if position.tag == top.tag else "epoch"
        if entries:
            return None if position.tag == entries[0].tag else "epoch"
        # The floor may rise meanwhile, so that what this page says of the ends counts too.
        entries, top = await engine.read(name, position.offset - 1, _ANY)


def in_memory(
    organization: Organization, cursor: Cursor, tails: Tails, floors: Floors
) -> Place | RecoveryFailure | None:
    """Give what `continued` would, where memory tells; None if the engine must be asked."""
    if cursor.organization is None or cursor.system is None:
        return None
    for name, position, live in (
        (organization.organization_id, cursor.organization, organization.live),
        (SYSTEM_LOG, cursor.system, organization.system),
    ):
        if position == live:
            continue
        if position.epoch != live.epoch:
            return "epoch"
        tail = tails.of(name) if floors.is_known(name) else None
        entry = tail.at(position.offset) if tail is not None and tail.epoch == position.epoch else None
        if entry is None:
            return None
        if entry.tag != position.tag:
            return "epoch"
    return Place(cursor.organization, cursor.system)
