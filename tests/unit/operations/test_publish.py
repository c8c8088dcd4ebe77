"""Publishing: who may, where it goes, all or nothing, and the same id once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import convert

from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import EventIdReused, Forbidden, InvalidInput, LimitExceeded, RealtimeError
from signtusk_realtime.events.kinds import Published
from signtusk_realtime.events.log import SYSTEM_LOG, LogName
from signtusk_realtime.operations.publish import Publish, PublishResult
from signtusk_realtime.protocol import cursor
from signtusk_realtime.protocol.json import canonical_digest
from signtusk_realtime.protocol.publications import Publication
from signtusk_realtime.sessions.identity import ANY_ORGANIZATION, PUBLISH, Identity
from tests.support.delivery import NOW, NOW_MS, Names, Node, guest, member, started_node
from tests.support.samples import sample

SERVICE = Identity(user_id="reports", organization_id=ANY_ORGANIZATION, scopes=frozenset({PUBLISH}))
ORGANIZATION = "org123"


def publication(kind: str = "document_update", **changed: object) -> Publication:
    value = sample(kind, **changed)
    return Publication(convert(value, Published), canonical_digest(json.dumps(value)))


class Desk:
    """A publish operation over an engine of dictionaries."""

    def __init__(self, engine: MemoryEngine, **options: Any) -> None:
        self.engine = engine
        self.publish = Publish(engine, now_ms=lambda: NOW_MS, new_id=Names(), **options)

    async def __call__(
        self, *publications: Publication, identity: Identity | None = None, **options: Any
    ) -> tuple[PublishResult, ...]:
        return await self.publish(identity or member(), publications, **options)

    async def refusal(self, *publications: Publication, **options: Any) -> RealtimeError:
        """Publish what must be refused; nothing of it may be in any log."""
        before = await self.everything()
        with pytest.raises(RealtimeError) as refused:
            await self(*publications, **options)
        assert await self.everything() == before
        return refused.value

    async def everything(self) -> dict[str, list[str]]:
        """Give the event ids of every log."""
        names = await self.engine.logs(None, 100)
        pages = {name: await self.engine.read(name, 0, 1 << 30) for name in names}
        return {name: [e.event_id for e in page.entries] for name, page in pages.items() if page.entries}

    async def events(self, log: str = ORGANIZATION) -> list[dict[str, Any]]:
        page = await self.engine.read(LogName(log), 0, 1 << 30)
        return [json.loads(entry.body) for entry in page.entries]


@pytest.fixture
async def node() -> Any:
    async with started_node() as started:
        yield started


@pytest.fixture
def desk(node: Node) -> Desk:
    return Desk(node.engine)


async def test_an_event_is_stored_and_its_place_answered(desk: Desk) -> None:
    """The result names the event and its place in its own log and the beginning of the other."""
    [first], [second] = await desk(publication()), await desk(publication(id="mine"))
    assert (first.event_id, first.duplicate) == ("evt_1", False)
    assert second.event_id == "mine"
    place = cursor.decode(ORGANIZATION, second.cursor)
    assert place is not None
    assert place.organization is not None
    assert place.organization.offset == 2
    assert place.system is None
    [event, _] = await desk.events()
    assert event["id"] == "evt_1"
    assert event["timestamp"] == NOW
    assert event["organizationId"] == ORGANIZATION


async def test_a_batch_is_one_step_in_its_order(desk: Desk) -> None:
    """Events of a batch stand next to each other, in their order."""
    kinds = ("document_update", "notification", "team_update")
    results = await desk(*(publication(kind) for kind in kinds), is_batch=True)
    assert [e["id"] for e in await desk.events()] == [r.event_id for r in results]
    assert [e["type"] for e in await desk.events()] == ["document_updated", "notification", "team_update"]


async def test_publishing_needs_the_scope(desk: Desk) -> None:
    """Without realtime:publish nothing is published, by guests or members."""
    for identity in (guest(), Identity(user_id="ada", organization_id=ORGANIZATION)):
        assert isinstance(await desk.refusal(publication(), identity=identity), Forbidden)


async def test_the_organization_is_the_identitys(desk: Desk) -> None:
    """A member may leave it out or repeat it; another is forbidden, a reserved one invalid."""
    await desk(publication(organizationId=ORGANIZATION))
    error = await desk.refusal(publication(), publication(organizationId="org456"), is_batch=True)
    assert isinstance(error, Forbidden)
    assert error.path == ("1", "organizationId")
    error = await desk.refusal(publication(organizationId="*"))
    assert (error.code, error.path) == ("invalid_event", ("organizationId",))


async def test_a_service_names_the_organization(desk: Desk) -> None:
    """For a service the organization is required per event, and one call has one."""
    await desk(publication(organizationId="org456"), identity=SERVICE)
    assert list(await desk.everything()) == ["org456"]
    error = await desk.refusal(publication(), identity=SERVICE)
    assert (error.code, error.path) == ("invalid_event", ("organizationId",))
    mixed = publication(organizationId="a"), publication(organizationId="b")
    error = await desk.refusal(*mixed, identity=SERVICE, is_batch=True)
    assert (error.code, error.path) == ("mixed_organizations", ("1", "organizationId"))
    for reserved in ("*", "~"):
        assert isinstance(await desk.refusal(publication(organizationId=reserved), identity=SERVICE), InvalidInput)


async def test_only_a_service_announces(desk: Desk) -> None:
    """Announcements go to the system log, from a service alone, and not beside an organization's events."""
    error = await desk.refusal(publication("system_announcement"))
    assert isinstance(error, Forbidden)
    [result] = await desk(publication("system_announcement"), identity=SERVICE)
    place = cursor.decode("*", result.cursor)
    assert place is not None
    assert place.organization is None
    assert place.system is not None
    assert place.system.offset == 1
    [event] = await desk.events(SYSTEM_LOG)
    assert event["organizationId"] == "*"
    mixed = publication("system_announcement"), publication(organizationId=ORGANIZATION)
    error = await desk.refusal(*mixed, identity=SERVICE, is_batch=True)
    assert error.code == "mixed_organizations"


async def test_the_same_event_again_is_a_duplicate(desk: Desk) -> None:
    """The same id with the same value publishes once and answers the first place, whenever and by whomever it is repeated."""
    [first] = await desk(publication(id="mine"))
    await desk(publication())
    [again] = await desk(publication(id="mine"))
    assert again == PublishResult(event_id="mine", cursor=first.cursor, duplicate=True)
    results = await desk(publication(id="two"), publication(id="two"), publication(id="mine"), is_batch=True)
    assert [r.duplicate for r in results] == [False, True, True]
    assert results[0].cursor == results[1].cursor
    assert len(await desk.events()) == 3


async def test_an_id_with_another_value_is_refused(desk: Desk) -> None:
    """Nothing of the call is published; another organization may use the id."""
    await desk(publication(id="mine"))
    error = await desk.refusal(publication(), publication(id="mine", documentId="other"), is_batch=True)
    assert isinstance(error, EventIdReused)
    assert (error.event_ids, error.path) == (("mine",), ("1", "id"))
    error = await desk.refusal(publication(id="mine", documentId="other"))
    assert error.path == ("id",)
    await desk(publication(id="mine", documentId="other"), identity=member("ada", "org456"))


async def test_an_idempotency_key_stands_for_ids(desk: Desk) -> None:
    """K for one event, K/0, K/1 … in a batch; an event's own id beats it; repeating the call publishes nothing more."""
    [single] = await desk(publication(), idempotency_key="K")
    assert single.event_id == "K"
    batch = publication(), publication(id="own"), publication()
    results = await desk(*batch, idempotency_key="K", is_batch=True)
    assert [r.event_id for r in results] == ["K/0", "own", "K/2"]
    again = await desk(*batch, idempotency_key="K", is_batch=True)
    assert [r.duplicate for r in again] == [True] * 3
    error = await desk.refusal(publication(documentId="other"), idempotency_key="K")
    assert isinstance(error, EventIdReused)
    assert error.path == (), "the event has no id of its own to point to"
    error = await desk.refusal(
        publication(), publication(), publication(documentId="other"), idempotency_key="K", is_batch=True
    )
    assert (error.code, error.path) == ("event_id_reused", ("2",))


async def test_one_id_with_two_values_in_one_batch(desk: Desk) -> None:
    """The one that differs from what came before it is named."""
    batch = [publication(id=name, documentId=document) for name, document in (("a", "x"), ("b", "x"), ("b", "y"))]
    error = await desk.refusal(*batch, is_batch=True)
    assert (error.code, error.path) == ("event_id_reused", ("2", "id"))


@pytest.mark.parametrize(("key", "is_batch"), [("", False), (" K", False), ("K" * 129, False), ("K" * 127, True)])
async def test_an_idempotency_key_that_makes_no_id(desk: Desk, key: str, is_batch: bool) -> None:
    """The key must make ids; what it lacks is told before anything happens."""
    error = await desk.refusal(publication(), idempotency_key=key, is_batch=is_batch)
    assert (error.code, error.path) == ("invalid_request", None)
    assert error.message.startswith("Idempotency-Key: not an id: ")


async def test_an_event_that_became_too_large(node: Node) -> None:
    """The bound holds for what is stored, with the event's place in the batch."""
    desk = Desk(node.engine, max_payload_bytes=1000)
    large = publication(changes={"text": "x" * 1000})
    error = await desk.refusal(publication(), large, is_batch=True)
    assert isinstance(error, LimitExceeded)
    assert (error.code, error.path) == ("payload_too_large", ("1",))


async def test_rules_between_fields_are_told_with_their_place(desk: Desk) -> None:
    """What a type cannot say is checked here, and told with the event's index in a batch."""
    bad = publication(type="deleted", changes={"a": 1})
    assert (await desk.refusal(bad)).path == ("changes",)
    error = await desk.refusal(publication(), bad, is_batch=True)
    assert (error.code, error.path) == ("invalid_event", ("1", "changes"))


async def test_nothing_is_something_to_publish(desk: Desk) -> None:
    """An empty call answers nothing and stores nothing."""
    assert await desk() == ()
    assert await desk.everything() == {}


async def test_an_answer_comes_after_delivery(node: Node, desk: Desk) -> None:
    """P5: when the answer is there, every live connection that wants the event has it pending or written."""
    client = await node.client()
    client.receive({"type": "subscribe", "subscription": {"type": "document_updates"}})
    [result] = await desk(publication())
    pong = client.ask({"type": "ping"})
    assert pong["type"] == "pong"
    organization = client.connection.organization
    assert organization.live.offset == 1
    assert result.event_id
