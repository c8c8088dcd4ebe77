"""What is remembered of revocations: as long as it must be, and no more than so many of one organization."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest
from msgspec import structs

from signtusk_realtime.auth.claims import ClaimRules, read_identity
from signtusk_realtime.cluster import control as rules
from signtusk_realtime.cluster.asking import Asking
from signtusk_realtime.cluster.control import ENDED_KEPT, Control
from signtusk_realtime.cluster.nodes import Node
from signtusk_realtime.cluster.registry import Registry
from signtusk_realtime.delivery.hub import Hub
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Forbidden, LimitExceeded
from signtusk_realtime.events.log import CONTROL_LOG, ORIGIN_TAG, Epoch, Position
from signtusk_realtime.operations.administer import Administer, Revocation
from signtusk_realtime.operations.tickets import Tickets
from signtusk_realtime.sessions.identity import Identity
from tests.support.delivery import member, started_node

pytestmark = pytest.mark.virtual_clock

DAY_MS = 86_400_000
ADMIN = member("admin")


class Office:
    """Revokes, at a time that is told. `kept_ms`: how long tokens may live, None: for any time."""

    def __init__(self, engine: MemoryEngine, kept_ms: int | None, leeway_ms: int = 0) -> None:
        self.now_ms = 1_800_000_000_000
        self.control = Control(engine, now_ms=lambda: self.now_ms)
        self.administer: Administer
        self._engine = engine
        self._kept_ms = kept_ms
        self._leeway_ms = leeway_ms

    def open(self, hub: Hub) -> None:
        numbers = count()
        registry = Registry(self._engine, hub, self.control, Node(node_id="node"))
        self.administer = Administer(
            Asking(
                self._engine, self.control, registry, node_id="node", new_id=lambda prefix: f"{prefix}_{next(numbers)}"
            ),
            self.control,
            Tickets(self._engine, now_ms=lambda: self.now_ms, monotonic_s=lambda: 0.0, new_secret=str),
            node="node",
            now_ms=lambda: self.now_ms,
            kept_ms=self._kept_ms,
            leeway_ms=self._leeway_ms,
        )

    async def revoke(self, identity: Identity = ADMIN, **what: str) -> None:
        await self.administer.revoke(identity, Revocation(**what))

    def refuses(self, **more: object) -> bool:
        return self.control.is_revoked(structs.replace(member("ada"), issued_at=self.now_ms // 1000 - 5, **more))


@asynccontextmanager
async def office(kept_ms: int | None = None, leeway_ms: int = 0) -> AsyncIterator[Office]:
    engine = MemoryEngine()
    it = Office(engine, kept_ms, leeway_ms)
    async with started_node(engine=engine, controlled=it.control.controlled) as node:
        await it.control.start(node.hub)
        it.open(node.hub)
        yield it


async def test_without_a_longest_life_revocations_are_for_good() -> None:
    """A token that lives for ten years does not come back to life."""
    async with office() as it:
        await it.revoke(token_id="t1")
        await it.revoke(user_id="ada")
        made = it.now_ms // 1000
        it.now_ms += 3650 * DAY_MS
        await it.revoke(token_id="other")
        assert it.refuses(token_id="t1")
        assert it.control.is_revoked(structs.replace(member("ada"), issued_at=made))


async def test_with_a_longest_life_they_are_forgotten_after_it() -> None:
    """And not before: one that is revoked again counts from then on."""
    async with office(kept_ms=10 * DAY_MS) as it:
        await it.revoke(token_id="t1")
        await it.revoke(token_id="t2")
        it.now_ms += 5 * DAY_MS
        await it.revoke(token_id="t2")
        it.now_ms += 5 * DAY_MS - 1
        await it.revoke(token_id="t3")
        assert it.refuses(token_id="t1")
        it.now_ms += 1
        await it.revoke(token_id="t4")
        assert not it.refuses(token_id="t1")
        assert it.refuses(token_id="t2")
        it.now_ms += 5 * DAY_MS
        await it.revoke(token_id="t4")
        assert not it.refuses(token_id="t2")
        assert (len(it.control._kept), len(it.control._ends), it.control._counts["org123"]) == (2, 2, 2)


async def test_an_organization_has_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its administrator cannot fill the memory of all: more are refused, others are not concerned, and what is known is revoked again."""
    monkeypatch.setattr(rules, "MOST_KEPT", 5)
    async with office(kept_ms=DAY_MS) as it:
        for number in range(5):
            await it.revoke(token_id=f"t{number}")
        with pytest.raises(LimitExceeded):
            await it.revoke(token_id="t5")
        with pytest.raises(LimitExceeded):
            await it.revoke(user_id="ada")
        assert not it.refuses(token_id="t5")
        await it.revoke(token_id="t4")
        await it.revoke(connection_id="sse_1")
        await it.revoke(member("admin", "org9"), token_id="t1")
        it.now_ms += DAY_MS
        await it.revoke(token_id="t5")
        assert it.refuses(token_id="t5")


async def test_few_revoked_connections_are_remembered() -> None:
    """The last ones, for as long as it takes to reopen one."""
    async with office() as it:
        for number in range(ENDED_KEPT + 10):
            await it.revoke(connection_id=f"sse_{number}")
        assert len(it.control._ended) == ENDED_KEPT
        assert it.control.is_revoked(member("ada"), f"sse_{ENDED_KEPT + 9}")
        assert not it.control.is_revoked(member("ada"), "sse_0")
        assert not it.control.is_revoked(member("ada", "org9"), f"sse_{ENDED_KEPT + 9}")


async def test_a_node_that_starts_knows_how_long_to_remember() -> None:
    """From the records, as from the notices."""
    engine = MemoryEngine()
    first = Office(engine, 10 * DAY_MS)
    async with started_node(engine=engine, controlled=first.control.controlled) as node:
        await first.control.start(node.hub)
        first.open(node.hub)
        await first.revoke(token_id="t1")
        later = Control(engine, now_ms=lambda: first.now_ms)
        await later.start(node.hub)
        assert (later._kept, later._ends) == (first.control._kept, first.control._ends)
        assert later._ends


async def test_what_was_missed_is_learned_and_ends_what_is_open() -> None:
    """A node whose notices are kept no longer reads the records: who is revoked there is cut off, and all others stay."""
    engine = MemoryEngine()
    elsewhere, here = Office(engine, None), Control(engine)
    async with started_node(engine=engine, control_lost=here.lost) as node:
        await here.start(node.hub)
        await elsewhere.control.start(node.hub)
        elsewhere.open(node.hub)
        ada, ben = [(await node.client(member(name))).connection for name in ("ada", "ben")]
        await elsewhere.revoke(user_id="ada")
        assert ada.is_open
        node.hub.diverged(CONTROL_LOG, Position(Epoch("0" * 16), 0, ORIGIN_TAG))
        assert here.freshness.epoch is None
        await here.learn()
        assert here.freshness.epoch is not None
        assert not ada.is_open
        assert ben.is_open


async def test_what_is_revoked_for_good_is_so_though_it_had_an_end() -> None:
    """Also the other way round: a node that knows of no longest life has said so."""
    async with office(kept_ms=DAY_MS) as it:
        await it.revoke(token_id="t1")
        it.administer._kept_ms = None
        await it.revoke(token_id="t1")
        await it.revoke(token_id="t2")
        it.administer._kept_ms = DAY_MS
        await it.revoke(token_id="t2")
        it.now_ms += 2 * DAY_MS
        await it.revoke(token_id="t3")
        assert it.refuses(token_id="t1")
        assert it.refuses(token_id="t2")


@pytest.mark.parametrize(("leeway_ms", "ahead_s"), [(0, 1), (60_000, 30), (60_000, 61)])
async def test_a_revocation_ends_every_token_that_is_accepted_at_its_moment(leeway_ms: int, ahead_s: int) -> None:
    """Also one whose `iat` lies ahead, as far as `auth.leeway` and a second's rounding let it; one of the second after that is another."""
    async with office(leeway_ms=leeway_ms) as it:
        it.now_ms += 500
        claims = {"sub": "ada", "org": "org123", "iat": it.now_ms // 1000 + ahead_s, "exp": it.now_ms // 1000 + 3600}
        accepted = read_identity(json.dumps(claims).encode(), ClaimRules(leeway_ms=leeway_ms), it.now_ms)
        await it.revoke(user_id="ada")
        assert it.control.is_revoked(accepted)
        later = (it.now_ms + leeway_ms) // 1000 + 2
        assert not it.control.is_revoked(structs.replace(accepted, issued_at=later))


async def test_what_an_administrator_does_leaves_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """One for each act: who did it, in which organization, to whom, and what ended by it; what is refused leaves none."""
    caplog.set_level(logging.INFO, logger="signtusk_realtime.operations.administer")
    async with office() as it:
        await it.revoke(user_id="ada")
        await it.revoke(token_id="t1")
        await it.revoke(connection_id="sse_1")
        await it.administer.disconnect(ADMIN, "bob")
        with pytest.raises(Forbidden):
            await it.revoke(structs.replace(ADMIN, scopes=frozenset()), user_id="eve")
    always = {"by": "admin", "by_organization": "org123", "organization": "org123", "closed": 0, "pending_nodes": 0}
    names = {"user", "token_id", "connection", *always}
    told = [(line.getMessage(), {k: v for k, v in vars(line).items() if k in names}) for line in caplog.records]
    assert told == [
        ("a user's tokens were revoked", {**always, "user": "ada"}),
        ("a token was revoked", {**always, "token_id": "t1"}),
        ("a connection was revoked", {**always, "connection": "sse_1"}),
        ("a user's connections were closed", {**always, "user": "bob"}),
    ]
