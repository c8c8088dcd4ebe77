"""Keep corrections alive while their holder is there, and end them when he is not.

Owns: looking after the leases that began or were met on this node.   Not: what a lease is (documents/lease.py), going back to sent (moves.py).
Rule 1: an open connection of the holder renews, to whichever node; when the last one says goodbye the correction ends at once, when it breaks,
5 s later.
Rule 2: one timer for all, and none while there is no lease.   Rule 3: a lease that nobody looks after any more ends by itself; then whoever
reads the document first takes it back, or goes on with it where its holder is connected to some node.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.documents.lease import LEASE_MS, Lease, leave, lose_connection, renew
from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.events.log import Commit, Committed, LogName
from signtusk_realtime.operations.documents import records
from signtusk_realtime.operations.documents.lanes import Lanes
from signtusk_realtime.operations.documents.moves import MoveDocument
from signtusk_realtime.operations.documents.store import Asker, DocumentStore

LOOK_S: Final = 1.0
ASK_S: Final = 3.0
"""How long it counts who is connected to other nodes."""
RENEW_MS: Final = LEASE_MS // 3
"""How much of a lease may pass before an open connection renews it."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    user_id: str
    token: int
    was_seen: bool = False
    """Whether its holder had a connection since it began."""
    has_left: bool = False
    """Whether the holder's last connection said goodbye, and he did not come back."""


class Leases:
    """See the module. Ended by `close`."""

    def __init__(self, store: DocumentStore, lanes: Lanes, moves: MoveDocument, hub: Hub) -> None:
        self._store = store
        self._lanes = lanes
        self._moves = moves
        self._hub = hub
        self._held: dict[tuple[LogName, str], _Held] = {}
        self._task: asyncio.Task[None] | None = None
        self._asked: dict[str, tuple[float, frozenset[str]]] = {}
        """When it was asked who is connected to any node, by organization, and the answer."""
        self._left = asyncio.Event()
        self._is_closed = False
        moves.leased = self._begun

    async def close(self) -> None:
        """Look after nothing any more."""
        self._is_closed = True
        task, self._task = self._task, None
        self._held.clear()
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def left(self, organization_id: str, user_id: str) -> None:
        """Note that a connection of this user said goodbye; the hub has let go of it. What he corrects ends unless he has another."""
        corrected = [
            held for (log, _), held in self._held.items() if log == organization_id and held.user_id == user_id
        ]
        if corrected and (organization_id, user_id) not in self._present():
            for held in corrected:
                held.has_left = True
            self._left.set()

    def _present(self) -> set[tuple[str, str]]:
        return {(c.organization.organization_id, c.session.identity.user_id) for c in self._hub.connections.values()}

    async def _connected(self, organization: LogName, *, is_fresh: bool) -> frozenset[str]:
        """Give who of an organization is connected to any node, as it was lately. Raises: Unavailable."""
        now = asyncio.get_running_loop().time()
        asked_at, found = self._asked.get(organization, (float("-inf"), frozenset()))
        if is_fresh or now - asked_at >= ASK_S:
            self._asked = {name: asked for name, asked in self._asked.items() if now - asked[0] < ASK_S}
            found = await self._moves.connected(organization)
            self._asked[organization] = now, found
        return found

    def _begun(self, organization_id: str, document_id: str, lease: Lease, token: int) -> None:
        if self._is_closed:
            return
        key = (LogName(organization_id), document_id)
        held = self._held.get(key)
        if held is None or held.token != token:
            self._held[key] = _Held(lease.user_id, token)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._held:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._left.wait()
            self._left.clear()
            present = self._present()
            looked = [(key, held, (key[0], held.user_id) in present) for key, held in self._held.items()]
            for _, held, is_present in looked:
                # Who says goodbye while the others are looked at is not overlooked: only here is it taken back.
                held.has_left &= not is_present
            for (organization, document_id), held, is_present in looked:
                try:
                    goes_on = await self._look(organization, document_id, held, is_present)
                except RealtimeError:
                    continue  # the engine is away; the lease ends by itself, or is seen to again
                except Exception:
                    log.exception("looking after a correction failed")
                    goes_on = False
                if not goes_on and self._held.get((organization, document_id)) is held:
                    del self._held[organization, document_id]
        self._task = None

    async def _look(self, organization: LogName, document_id: str, held: _Held, is_present: bool) -> bool:
        """Renew or end one lease; say whether it has still to be looked after."""
        had_left = held.has_left
        if not is_present and held.user_id in await self._connected(organization, is_fresh=had_left):
            is_present, had_left, held.has_left = True, False, held.has_left and not had_left
        held.was_seen |= is_present
        async with self._lanes.turn(organization, document_id) as lane:
            asker = await self._store.asker(organization, records.lease_key(document_id))
            if asker.lease is None or asker.token != held.token:
                return False
            lease = leave(asker.lease, asker.now_ms) if had_left else asker.lease
            if lease.is_over(asker.now_ms):
                lane.loaded = loaded = await self._store.load(organization, document_id)
                # The next look sees what became of it: another node may have been faster with an edit of the holder's, or he is back.
                return await self._moves.end_correction(organization, lane, loaded, replace(asker, lease=lease))
            lease = self._kept(lease, asker, held, is_present)
            if lease != asker.lease:
                key = records.lease_key(document_id)
                commit = Commit(expect=((key, asker.token),), put=(records.put(key, lease, version=asker.token),))
                return isinstance(await self._store.engine.commit(organization, commit), Committed)
            return True

    @staticmethod
    def _kept(lease: Lease, asker: Asker, held: _Held, is_present: bool) -> Lease:
        if is_present:
            is_due = lease.gone_at is not None or lease.expires_at - asker.now_ms < LEASE_MS - RENEW_MS
            return renew(lease, asker.now_ms) if is_due else lease
        return lose_connection(lease, asker.now_ms) if held.was_seen else lease
