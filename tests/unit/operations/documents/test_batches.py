"""A batch of changes and plain events while somebody else uses the same ids, or the log is away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import UNSET, convert

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import EventIdReused, Unavailable
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.log import Commit, Committed, LogName, Reused, Stale
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.protocol.json import canonical_digest
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import PUBLISH, Identity
from tests.support.samples import sample
from tests.support.server import QUICK, verbs_over

PUBLISHER = Identity(user_id="u", organization_id="org123", scopes=frozenset({PUBLISH}))


def publication(kind: str, **changed: object) -> Publication:
    """Give a publication as it is read from a body."""
    value = sample(kind, **changed)
    return Publication(convert(value, Published), canonical_digest(json.dumps(value)))


CHANGE = publication("document_update", id="change", organizationId=None)
PLAIN = publication("organization_activity", id="plain", organizationId=None)


class Interfering(MemoryEngine):
    """An engine in which something else happens right before the first plain event is committed."""

    def __init__(self, instead: Reused | Unavailable) -> None:
        super().__init__()
        self._instead = instead

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        if [draft.event_id for draft in commit.events] == ["plain"]:
            if isinstance(self._instead, Unavailable):
                raise self._instead
            return self._instead
        return await super().commit(log, commit)


@asynccontextmanager
async def verbs_of(engine: MemoryEngine) -> AsyncIterator[Verbs]:
    """Give the verbs over an engine, as long as the block lasts."""
    hub = Hub(engine)
    await engine.start(hub)
    await hub.start()
    verbs = verbs_over(hub, engine, QUICK)
    try:
        yield verbs
    finally:
        await verbs.close()
        await hub.close()
        await engine.close()


async def test_a_reuse_that_comes_to_light_late_is_the_events_own() -> None:
    """What was published before it stands, and is answered so; the call is not refused as a whole."""
    async with verbs_of(Interfering(Reused(("plain",)))) as verbs:
        results = await verbs.publish(PUBLISHER, (CHANGE, PLAIN), is_batch=True)
        assert [(r.event_id, r.cursor is not UNSET) for r in results] == [("change", True), ("plain", False)]
        assert results[1].error is not UNSET
        assert results[1].error.code == "event_id_reused"


async def test_a_reuse_that_is_the_calls_first_refuses_it() -> None:
    """Nothing was published yet, and nothing is."""
    async with verbs_of(Interfering(Reused(("plain",)))) as verbs:
        with pytest.raises(EventIdReused):
            await verbs.publish(PUBLISHER, (PLAIN, CHANGE), is_batch=True)


async def test_without_the_log_a_batch_ends_as_one() -> None:
    """An event that could not be stored is no result: the call is refused, and repeating it with its ids publishes each once."""
    async with verbs_of(Interfering(Unavailable("away"))) as verbs:
        with pytest.raises(Unavailable):
            await verbs.publish(PUBLISHER, (CHANGE, PLAIN), is_batch=True)
