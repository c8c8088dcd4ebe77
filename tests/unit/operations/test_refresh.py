"""A new token for an open connection: whose it must be, what ends, and what happens while somebody is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import structs

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.cluster.control import Control
from signtusk_realtime.cluster.notices import Revoked
from signtusk_realtime.errors import Forbidden, InvalidInput, Unauthenticated
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.operations.authorize import Authorize
from signtusk_realtime.operations.connect import Connect
from signtusk_realtime.operations.refresh import Refresher
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.clock import settle
from tests.support.delivery import NOW_MS, Client, Node, grant, guest, member, started_node, subscription

pytestmark = pytest.mark.virtual_clock


class Tokens:
    """Knows tokens by name."""

    def __init__(self, **identities: Identity) -> None:
        self.identities = identities

    async def authenticate(self, credentials: Credentials) -> Identity:
        assert credentials.bearer is not None
        try:
            return self.identities[credentials.bearer]
        except KeyError:
            raise Unauthenticated("unknown") from None


class Application:
    """Allows what it is told to; answers when it may."""

    def __init__(self) -> None:
        self.allowed: set[str] = {"document_updates", "user_presence"}
        self.go = asyncio.Event()
        self.go.set()

    async def may_subscribe(self, identity: Identity, subscription: Subscription, /) -> bool:
        await self.go.wait()
        return subscription.type in self.allowed


class Desk:
    """A refresher over a node."""

    def __init__(self, node: Node, application: Application | None = None) -> None:
        self.control = Control(node.engine)
        self.tokens = Tokens(
            same=member(),
            guest=structs.replace(guest(grant(document_id="doc123")), user_id="user123"),
            other=member("b"),
        )
        self.connect = Connect(
            node.hub,
            limits=SessionLimits(),
            heartbeat_interval_ms=30_000,
            now_ms=lambda: NOW_MS,
            new_id=lambda prefix: prefix,
        )
        authorize = Authorize(application, monotonic_s=lambda: 0.0)
        self.refresh = Refresher(
            node.hub,
            self.connect,
            self.tokens,
            control=self.control,
            monotonic_s=asyncio.get_running_loop().time,
            authorize=authorize,
        )


@pytest.fixture
async def node() -> Any:
    async with started_node() as started:
        yield started


async def subscribed(node: Node) -> Client:
    client = await node.client()
    client.subscribe(subscription("document_updates"))
    client.subscribe(subscription("user_presence"))
    client.messages()
    return client


async def test_what_the_application_no_longer_allows_ends(node: Node) -> None:
    """It is asked again, with the new identity; what it allows goes on."""
    application = Application()
    application.allowed = {"user_presence"}
    client = await subscribed(node)
    await Desk(node, application).refresh(client.connection, "same")
    [told] = client.messages()
    assert (told["type"], told["reason"]) == ("unsubscribed", "forbidden")
    assert [s.type for _, s in client.connection.session.subscriptions] == ["user_presence"]
    await node.happen()
    await settle()
    assert client.messages() == []


async def test_a_token_revoked_while_the_application_is_asked_is_none(node: Node) -> None:
    """The connection keeps the old one: what was revoked in that moment cannot slip in."""
    application = Application()
    desk = Desk(node, application)
    desk.tokens.identities["same"] = structs.replace(member(), token_id="t1")
    client = await subscribed(node)
    before = client.connection.session.identity
    application.go.clear()
    asked = asyncio.create_task(desk.refresh(client.connection, "same"))
    await settle()
    desk.control._remember(Revoked(organization_id="org123", token_id="t1"))
    application.go.set()
    with pytest.raises(Unauthenticated) as caught:
        await asked
    assert caught.value.code == "invalid_token"
    assert client.connection.session.identity is before


async def test_a_connection_that_closes_while_it_is_renewed_is_let_be(node: Node) -> None:
    """Nothing is written to it, and nothing counted."""
    application = Application()
    desk = Desk(node, application)
    client = await subscribed(node)
    application.go.clear()
    asked = asyncio.create_task(desk.refresh(client.connection, "guest"))
    await settle()
    node.hub.lost(client.connection)
    before = dict(node.hub.counters.subscriptions)
    application.go.set()
    await asked
    assert client.messages() == []
    assert dict(node.hub.counters.subscriptions) == before


async def test_a_connection_that_has_asked_for_nothing_may_be_renewed(node: Node) -> None:
    """It has no place in the log yet, and gets none."""
    client = await node.client()
    await Desk(node).refresh(client.connection, "guest")
    assert client.connection.session.identity.is_guest
    assert client.messages() == []
    assert not client.connection.has_begun


async def test_what_ends_is_no_longer_counted(node: Node) -> None:
    """The metric says how many subscriptions there are."""
    client = await subscribed(node)
    assert sum(node.hub.counters.subscriptions.values()) == 2
    await Desk(node).refresh(client.connection, "guest")
    assert sum(node.hub.counters.subscriptions.values()) == 1
    node.hub.lost(client.connection)
    assert sum(node.hub.counters.subscriptions.values()) == 0


async def test_by_id_a_stranger_learns_nothing(node: Node) -> None:
    """A connection of another user is as unknown as one that does not exist; a bad token is told first."""
    client = await subscribed(node)
    desk = Desk(node)
    own = client.connection.connection_id
    for connection_id in (own, "conn_unknown"):
        with pytest.raises(InvalidInput) as unknown:
            await desk.refresh.by_id(connection_id, "other")
        assert unknown.value.code == "not_found"
        with pytest.raises(Unauthenticated) as refused:
            await desk.refresh.by_id(connection_id, "nonsense")
        assert refused.value.code == "unauthenticated"
    assert await desk.refresh.by_id(own, "same")


async def test_another_identity_is_told_apart(node: Node) -> None:
    """By user and by organization."""
    client = await subscribed(node)
    desk = Desk(node)
    desk.tokens.identities["elsewhere"] = member("user123", "org456")
    for name in ("other", "elsewhere"):
        with pytest.raises(Forbidden) as caught:
            await desk.refresh(client.connection, name)
        assert caught.value.code == "identity_mismatch"
    assert client.connection.session.identity.organization_id == "org123"


async def test_a_closed_connection_leaves_no_deadline(node: Node) -> None:
    """Or it would be kept in memory until its token ends."""
    desk = Desk(node)
    desk.tokens.identities["same"] = structs.replace(member(), expires_at=NOW_MS + 3_600_000)
    client = await subscribed(node)
    await desk.refresh(client.connection, "same")
    assert client.connection.due
    assert desk.connect._lifetimes._due
    desk.connect.closed(client.connection)
    assert not desk.connect._lifetimes._due


def test_a_session_renewed_is_compiled_anew() -> None:
    """Teams and grants of the new identity hold for what stays."""
    session = Session(member("user123", "org123", "legal"), SessionLimits())
    wanted = (subscription("team_updates"), subscription("document_updates"), subscription("user_presence"))
    session.add(("a", "b", "c"), wanted, session.preview(wanted))
    assert session.selection.matches(("team_update", "m:legal"))
    assert session.renew(member("user123", "org123", "sales"), wanted) == ()
    assert not session.selection.matches(("team_update", "m:legal"))
    assert session.selection.matches(("team_update", "m:sales"))
    assert session.renew(guest(grant(document_id="doc123")), wanted) == ("a", "c")
    assert not session.selection.matches(("document_updated", "d:doc456"))
    assert session.selection.matches(("document_updated", "d:doc123"))
    assert session.renew(member(), ()) == ("b",)
    assert session.subscriptions == ()
