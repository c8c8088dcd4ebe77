"""While a node cannot learn who was revoked it shows nothing of what happens; then everybody gets it, in order."""

from __future__ import annotations

import pytest

from signtusk_realtime.delivery.withheld import LOOK_S
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes
from tests.support.clock import elapse, settle
from tests.support.delivery import started_node

pytestmark = pytest.mark.virtual_clock
DOCUMENTS, ANNOUNCEMENTS = Subscription("document_updates"), Subscription("system_announcements")


class Doubt:
    """A node that is told whether it knows who was revoked."""

    is_there = False

    def withholding(self) -> bool:
        return self.is_there

    def replaying(self) -> None:
        if self.is_there:
            raise Unavailable("nobody knows")


async def test_what_happens_in_doubt_is_shown_after_it() -> None:
    """Nothing is written meanwhile, of the organization's log or of announcements; after it all of it is, once and in order."""
    doubt = Doubt()
    async with started_node(withholding=doubt.withholding, replaying=doubt.replaying) as node:
        both, one = await node.client(), await node.client()
        both.subscribe(DOCUMENTS, ANNOUNCEMENTS)
        one.subscribe(DOCUMENTS)
        before = await node.happen()
        await settle()
        assert both.event_ids() == one.event_ids() == [before]
        doubt.is_there = True
        held = [await node.happen(), await node.happen("system_announcement"), await node.happen()]
        await elapse(1)
        late = await node.client()
        late.subscribe(DOCUMENTS)
        held.append(await node.happen())
        await elapse(1)
        assert both.event_ids() == one.event_ids() == []
        assert late.event_ids() == []
        doubt.is_there = False
        await elapse(10 * LOOK_S)
        documents = [held[0], held[2], held[3]]
        assert (one.event_ids(), late.event_ids()) == (documents, held[3:])
        told = both.event_ids()
        assert sorted(told) == sorted(held)
        assert [each for each in told if each != held[1]] == documents
        after = await node.happen()
        await settle()
        assert both.event_ids() == one.event_ids() == late.event_ids() == [after], "live again"


async def test_who_was_revoked_in_doubt_is_shown_nothing_of_it() -> None:
    """His connection is ended once the node learns of it: what was held back for him is not written first."""
    doubt = Doubt()
    async with started_node(withholding=doubt.withholding, replaying=doubt.replaying) as node:
        revoked = await node.client()
        revoked.subscribe(DOCUMENTS)
        doubt.is_there = True
        await node.happen()
        await elapse(1)
        node.hub.end(revoked.connection, codes.CLOSE_TOKEN_EXPIRED)
        doubt.is_there = False
        await elapse(1)
        assert revoked.event_ids() == []
