"""Tickets, revocations and the list of connections over HTTP, on a real server: what opens once, what is closed, who is kept out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.cluster import notices
from signtusk_realtime.cluster.control import REVOCATIONS as REVOCATIONS_KEPT
from signtusk_realtime.cluster.notices import Revoked
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.errors import Unauthenticated
from signtusk_realtime.events.log import (
    CONTROL_LOG,
    Commit,
    Committed,
    Draft,
    Exact,
    LogName,
    Range,
    Record,
    Reused,
    Snapshot,
    Stale,
)
from signtusk_realtime.operations.census import ConnectionLimits
from signtusk_realtime.protocol.cursor import encode
from signtusk_realtime.sessions.identity import ADMINISTER, PUBLISH, Grant, Identity
from tests.support.samples import sample
from tests.support.server import (
    IDENTITY,
    Answer,
    Peer,
    Serving,
    StreamPeer,
    WebSocketPeer,
    call,
    now_ms,
    publish,
    request,
    serving,
    until,
)

TICKETS = "/api/realtime/tickets"
REVOCATIONS = "/api/realtime/revocations"
CONNECTIONS = "/api/realtime/connections"
HISTORY = "/api/realtime/history"
EVERYTHING = {"type": "document_updates"}


class Tokens:
    """Knows tokens by name: `user@organization issued-at jti`, with every scope; `guest` is limited to one document."""

    async def authenticate(self, credentials: Credentials) -> Identity:
        if credentials.bearer is None:
            raise Unauthenticated("a token is needed")
        who, issued_at, token_id = credentials.bearer.split(" ")
        user_id, _, organization_id = who.partition("@")
        grants = (Grant(actions=("subscribe",), document_id="doc123"),) if user_id == "guest" else None
        scopes = frozenset() if user_id in ("guest", "plain") else frozenset({PUBLISH, ADMINISTER})
        return Identity(
            user_id=user_id,
            organization_id=organization_id,
            scopes=scopes,
            grants=grants,
            token_id=token_id,
            issued_at=None if issued_at == "-" else int(issued_at),
            expires_at=now_ms() + 3_600_000,
        )


def bearer(user: str, *, issued: int | None = 0, jti: str = "t1", organization: str = "org123") -> dict[str, str]:
    """Give the header of a token."""
    return {"Authorization": f"Bearer {user}@{organization} {'-' if issued is None else issued} {jti}"}


ADMIN = bearer("admin", jti="admin")


@asynccontextmanager
async def strict() -> AsyncIterator[Serving]:
    """Serve those with tokens only."""
    async with serving(authenticator=Tokens()) as it:
        yield it


async def revoke(port: int, headers: dict[str, str] = ADMIN, /, **what: str) -> Answer:
    """Revoke."""
    body = json.dumps(what).encode()
    return await call(port, "POST", REVOCATIONS, {**headers, "Content-Type": "application/json"}, body)


async def ticket(port: int, headers: dict[str, str]) -> str:
    """Get a ticket."""
    answer = await call(port, "POST", TICKETS, headers)
    assert answer.status == 200, answer.body
    return str(answer.json()["ticket"])


# ---- tickets


async def test_a_ticket_opens_one_connection() -> None:
    """It stands for who asked for it, once, over WebSocket and with the browser's means alone."""
    async with strict() as it:
        found = await ticket(it.port, bearer("alice"))
        assert found.startswith("tkt_")
        async with await WebSocketPeer.open(it.port, f"ticket={found}") as peer:
            connected = await peer.message()
            assert (connected["userId"], connected["organizationId"]) == ("alice", "org123")
        assert (await call(it.port, "GET", f"/api/realtime/events?ticket={found}")).code == "unauthenticated"
        again = await _refused_socket(it.port, f"ticket={found}")
        assert (again.status, again.code) == (401, "unauthenticated")


async def _refused_socket(port: int, query: str) -> Answer:
    async with await Peer.connect(port) as peer:
        await peer.send(
            request(
                "GET",
                f"/ws?{query}",
                {
                    "Upgrade": "websocket",
                    "Connection": "Upgrade",
                    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version": "13",
                },
            )
        )
        return await peer.answer()


async def test_of_many_that_use_a_ticket_at_once_one_wins() -> None:
    """Twenty handshakes with one ticket open exactly one connection, over an engine whose answers take turns."""
    async with serving(engine=SqliteEngine(":memory:"), authenticator=Tokens()) as it:
        found = await ticket(it.port, bearer("alice"))
        answers = await asyncio.gather(*(_status(it.port, found) for _ in range(20)))
        assert sorted(answers) == [101] + [401] * 19


async def _status(port: int, found: str) -> int:
    answer = await _refused_socket(port, f"ticket={found}")
    return answer.status


async def test_an_event_stream_reopens_with_its_ticket() -> None:
    """The same URL with a cursor comes back as the same stream; without a cursor, or asking for something else, it does not."""
    async with strict() as it:
        found = await ticket(it.port, bearer("alice"))
        url = f"ticket={found}&types=document_updates"
        async with await StreamPeer.open(it.port, url) as peer:
            await peer.event()
            cursor = (await peer.event()).last_event_id
        await publish(it.port, sample("document_update", id="e1"), query="", headers=bearer("admin"))
        async with await StreamPeer.open(it.port, url, {"Last-Event-ID": cursor}) as peer:
            assert (await peer.message())["userId"] == "alice"
            assert (await peer.message())["recovered"] is True
            assert (await peer.message())["id"] == "e1"
        for query, headers in (
            (url, {}),
            (f"ticket={found}&types=notifications", {"Last-Event-ID": cursor}),
            (f"ticket={found}", {"Last-Event-ID": cursor}),
        ):
            answer = await call(it.port, "GET", f"/api/realtime/events?{query}", headers)
            assert answer.code == "unauthenticated"
        assert (await _refused_socket(it.port, f"ticket={found}")).status == 401


async def _publish_one(port: int, event_id: str) -> str:
    """Publish an event and give its cursor."""
    answer = await publish(port, sample("document_update", id=event_id), query="", headers=bearer("admin"))
    results = answer.json()["results"]
    assert isinstance(results, list)
    return str(results[0]["cursor"])


async def _stands_at(port: int, cursor: str = "") -> str:
    """Give the cursor at the end of a page of history after another one."""
    after = f"&after={cursor}" if cursor else ""
    return str((await call(port, "GET", f"{HISTORY}?limit=1{after}", bearer("alice"))).json()["cursor"])


async def _reopened(port: int, url: str, cursor: str) -> tuple[int, int]:
    """Give the status of a stream that is reopened by the header, and by the query."""
    by_query = await _opened_status(port, f"{url}&lastEventId={cursor}", {})
    return await _opened_status(port, url, {"Last-Event-ID": cursor}), by_query


async def _opened_status(port: int, url: str, headers: dict[str, str]) -> int:
    async with await Peer.connect(port) as peer:
        await peer.send(request("GET", f"/api/realtime/events?{url}", headers))
        status, _ = await peer.head()
        return status


async def test_the_address_of_a_stream_shows_nothing_from_before_it_began() -> None:
    """Not by `earliest`, an older cursor, or one that names the beginning; what the stream itself was told reopens it, and so does now."""
    async with strict() as it:
        published = [await _publish_one(it.port, f"e{number}") for number in range(3)]
        older = [await _stands_at(it.port), await _stands_at(it.port, await _stands_at(it.port))]
        url = f"ticket={await ticket(it.port, bearer('alice'))}&types=document_updates"
        async with await StreamPeer.open(it.port, url) as peer:
            await peer.event()
            begun = (await peer.event()).last_event_id
        for cursor in ("earliest", *published, *older, encode("org123", None, None)):
            assert await _reopened(it.port, url, cursor) == (401, 401), cursor
        await publish(it.port, sample("document_update", id="late"), query="", headers=bearer("admin"))
        for cursor in ("latest", "unknown", begun, await _stands_at(it.port, begun)):
            assert await _reopened(it.port, url, cursor) == (200, 200), cursor
        async with await StreamPeer.open(it.port, url, {"Last-Event-ID": begun}) as peer:
            await peer.event()
            await peer.event()
            assert (await peer.message())["id"] == "late"


async def test_a_stream_that_began_with_a_cursor_is_reopened_from_there() -> None:
    """A browser that was cut off before it was told anything repeats its address, with the cursor in that; one that began with the earliest likewise."""
    async with strict() as it:
        await _publish_one(it.port, "e0")
        before = await _stands_at(it.port)
        await _publish_one(it.port, "e1")
        since = await _stands_at(it.port, before)
        for cursor, expected in ((since, 401), ("earliest", 200)):
            url = f"ticket={await ticket(it.port, bearer('alice'))}&types=document_updates&lastEventId={cursor}"
            for _ in range(2):
                async with await StreamPeer.open(it.port, url) as peer:
                    assert (await peer.message())["type"] == "connected"
            assert await _opened_status(it.port, url, {"Last-Event-ID": before}) == expected
            assert await _opened_status(it.port, url, {"Last-Event-ID": since}) == 200


async def test_a_fresh_ticket_may_come_with_a_cursor() -> None:
    """A page that changes its selection opens a new stream with a new ticket and the old one's cursor."""
    async with strict() as it:
        async with await StreamPeer.open(it.port, f"ticket={await ticket(it.port, bearer('alice'))}") as peer:
            await peer.event()
            cursor = (await peer.event()).last_event_id
        query = f"ticket={await ticket(it.port, bearer('alice'))}&types=notifications&lastEventId={cursor}"
        async with await StreamPeer.open(it.port, query) as peer:
            await peer.event()
            assert (await peer.message())["recovered"] is True


async def test_a_ticket_keeps_the_grants() -> None:
    """What a guest's ticket opens sees what the guest may see."""
    async with strict() as it:
        found = await ticket(it.port, bearer("guest"))
        async with await WebSocketPeer.open(it.port, f"ticket={found}") as peer:
            await peer.message()
            await peer.ask({"type": "subscribe", "subscription": {"type": "organization_activity"}})
            assert (await peer.message())["code"] == "forbidden"


async def test_malformed_and_doubled_credentials_are_refused() -> None:
    """A ticket of another form, a ticket beside a token, and a ticket that names somebody else open nothing."""
    async with strict() as it:
        for text in ("x", "tkt_", "tkt_" + "A" * 22, "tkt_" + "A" * 4000):
            assert (await call(it.port, "GET", f"/api/realtime/events?ticket={text}")).code == "unauthenticated"
        found = await ticket(it.port, bearer("alice"))
        both = await call(it.port, "GET", f"/api/realtime/events?ticket={found}", bearer("alice"))
        assert both.code == "unauthenticated"
        other = await call(it.port, "GET", f"/api/realtime/events?ticket={found}&organizationId=org9")
        assert other.code == "forbidden"


async def test_what_is_stored_of_a_ticket_opens_nothing() -> None:
    """The store holds no text that could be used as a ticket."""
    kept: list[bytes] = []

    class Watched(MemoryEngine):
        async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
            kept.extend(record.key.encode() + record.value for record in commit.put)
            return await super().commit(log, commit)

    async with serving(engine=Watched(), authenticator=Tokens()) as it:
        found = await ticket(it.port, bearer("alice"))
        assert len(kept) == 1
        assert found[4:].encode() not in kept[0]


# ---- revocations


async def test_revoking_a_user_closes_and_keeps_out() -> None:
    """Open connections of older tokens are closed with 4504, on a stream after a message; the old token is refused, a newer one is not."""
    async with strict() as it:
        async with (
            await WebSocketPeer.open(it.port, "", bearer("alice", jti="a1")) as socket,
            await StreamPeer.open(it.port, "", bearer("alice", jti="a2")) as stream,
            await WebSocketPeer.open(it.port, "", bearer("bob")) as other,
            await WebSocketPeer.open(it.port, "", bearer("alice", organization="org9")) as namesake,
        ):
            await socket.subscribe(EVERYTHING)
            assert (await stream.message())["type"] == "connected"
            assert (await stream.message())["type"] == "subscribed"
            answer = await revoke(it.port, userId="alice")
            assert answer.json() == {"closed": 2, "pendingNodes": 0}
            assert await socket.closed() == (4504, "revoked")
            told = await stream.message()
            assert (told["type"], told["code"]) == ("error", "revoked")
            assert await stream.rest() == b""
            await other.subscribe(EVERYTHING)
            await namesake.subscribe(EVERYTHING)
        assert (await call(it.port, "GET", HISTORY, bearer("alice"))).code == "unauthenticated"
        assert (await call(it.port, "GET", HISTORY, bearer("alice", issued=None))).code == "unauthenticated"
        later = now_ms() // 1000 + 10
        assert (await call(it.port, "GET", HISTORY, bearer("alice", issued=later))).status == 200
        assert (await call(it.port, "GET", HISTORY, bearer("alice", organization="org9"))).status == 200


async def test_revoking_a_token_leaves_the_others() -> None:
    """Only what came in with that token is closed, and only that token is refused."""
    async with strict() as it:
        async with (
            await WebSocketPeer.open(it.port, "", bearer("alice", jti="lost")) as lost,
            await WebSocketPeer.open(it.port, "", bearer("alice", jti="kept")) as kept,
        ):
            await lost.message()
            assert (await revoke(it.port, tokenId="lost")).json() == {"closed": 1, "pendingNodes": 0}
            assert await lost.closed() == (4504, "revoked")
            await kept.subscribe(EVERYTHING)
        assert (await call(it.port, "GET", HISTORY, bearer("alice", jti="lost"))).code == "unauthenticated"
        assert (await call(it.port, "GET", HISTORY, bearer("alice", jti="kept"))).status == 200


async def test_a_ticket_falls_with_its_token() -> None:
    """A ticket of a revoked token opens nothing, and reopens nothing."""
    async with strict() as it:
        unused = await ticket(it.port, bearer("alice", jti="lost"))
        used = await ticket(it.port, bearer("alice", jti="lost"))
        async with await StreamPeer.open(it.port, f"ticket={used}") as peer:
            await peer.event()
            cursor = (await peer.event()).last_event_id
            await revoke(it.port, tokenId="lost")
        assert (await _refused_socket(it.port, f"ticket={unused}")).status == 401
        again = await call(it.port, "GET", f"/api/realtime/events?ticket={used}", {"Last-Event-ID": cursor})
        assert again.code == "unauthenticated"


async def test_revoking_a_connection() -> None:
    """It is closed by its id, in one's own organization only; its user may come back."""
    async with strict() as it, await WebSocketPeer.open(it.port, "", bearer("alice")) as peer:
        connection_id = str((await peer.message())["connectionId"])
        foreign = await revoke(it.port, bearer("admin", organization="org9"), connectionId=connection_id)
        assert foreign.json()["closed"] == 0
        assert (await revoke(it.port, connectionId="conn_unknown")).json()["closed"] == 0
        assert (await revoke(it.port, connectionId=connection_id)).json()["closed"] == 1
        assert await peer.closed() == (4504, "revoked")
        assert (await call(it.port, "GET", HISTORY, bearer("alice"))).status == 200


async def test_revocations_survive_a_restart(tmp_path: Path) -> None:
    """A server that starts anew on the same database refuses what was revoked before, also beyond one page of records."""
    file = str(tmp_path / "log.db")
    async with serving(engine=SqliteEngine(file), authenticator=Tokens()) as it:
        await revoke(it.port, tokenId="token0")
        notice = b'{"notice":"revoked","organizationId":"org123","tokenId":"token%d"}'
        many = [Record(REVOCATIONS_KEPT, f"ctl_{i:04}", notice % i, 1) for i in range(1, 2101)]
        await it.engine.commit(CONTROL_LOG, Commit(put=many))
        await revoke(it.port, userId="alice")
    async with serving(engine=SqliteEngine(file), authenticator=Tokens()) as it:
        for i in (0, 1, 1000, 1001, 2100):
            assert (await call(it.port, "GET", HISTORY, bearer("bob", jti=f"token{i}"))).status == 401
        assert (await call(it.port, "GET", HISTORY, bearer("alice"))).status == 401
        assert (await call(it.port, "GET", HISTORY, bearer("bob", jti="token2101"))).status == 200


async def test_who_is_admitted_while_being_revoked_is_not_served() -> None:
    """A revocation that comes between the check of a token and the opening of its connection closes that too."""
    asked, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryEngine):
        async def follow(self, log: LogName):  # type: ignore[no-untyped-def]  # as the port
            if log == LogName("org123"):
                asked.set()
                await go.wait()
            return await super().follow(log)

    async with serving(engine=Slow(), authenticator=Tokens()) as it, await Peer.connect(it.port) as peer:
        await peer.send(request("GET", "/api/realtime/events", bearer("alice")))
        await asyncio.wait_for(asked.wait(), 10)
        await revoke(it.port, userId="alice")
        go.set()
        text = await peer.rest()
        assert b'"code":"revoked"' in text
        assert b'"connected"' not in text
        await until(lambda: not it.hub.connections)


async def test_only_administrators_may() -> None:
    """Without the scope nothing is revoked, listed or closed."""
    async with strict() as it:
        plain = bearer("plain")
        assert (await revoke(it.port, plain, userId="alice")).code == "forbidden"
        assert (await call(it.port, "GET", CONNECTIONS, plain)).code == "forbidden"
        assert (await call(it.port, "DELETE", f"{CONNECTIONS}?user=alice", plain)).code == "forbidden"
        assert (await call(it.port, "POST", REVOCATIONS)).code == "unauthenticated"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_message"),
        ({"userId": "a", "tokenId": "b"}, "invalid_message"),
        ({"userId": ""}, "invalid_message"),
        ({"userId": 5}, "invalid_message"),
        ({"user": "a"}, "invalid_message"),
        ({"userId": "a", "organizationId": "org9"}, "forbidden"),
    ],
)
async def test_malformed_revocations_are_refused(body: dict[str, str], code: str) -> None:
    """Exactly one member says what is revoked; anything else revokes nothing."""
    async with strict() as it:
        assert (await revoke(it.port, **body)).code == code
        assert (await it.engine.read(CONTROL_LOG, 0, 1 << 20)).entries == []


async def test_a_service_names_the_organization() -> None:
    """In development whoever asks without credentials is a service: it says whose user is meant, and must."""
    async with serving() as it, await WebSocketPeer.open(it.port, IDENTITY) as peer:
        await peer.message()
        assert (await revoke(it.port, {}, userId="user123")).code == "invalid_message"
        listed = await call(it.port, "GET", f"{CONNECTIONS}?organizationId=org123")
        assert [c["userId"] for c in listed.json()["connections"]] == ["user123"]  # type: ignore[attr-defined]  # JSON
        assert (await call(it.port, "GET", CONNECTIONS)).code == "invalid_message"
        assert (await revoke(it.port, {}, userId="user123", organizationId="*")).code == "invalid_message"
        assert (await revoke(it.port, {}, userId="user123", organizationId="org123")).json()["closed"] == 1
        assert await peer.closed() == (4504, "revoked")


async def test_a_service_is_revoked_by_a_service() -> None:
    """One that may administer names `*`: tokens and users of services are refused from then on; nobody else's are, and nobody else may."""
    async with strict() as it:
        backend, other = bearer("backend", organization="*", jti="b1"), bearer("other", organization="*", jti="o1")
        boss, event = bearer("boss", organization="*", jti="boss"), sample("system_announcement")
        for headers in (ADMIN, bearer("plain")):
            assert (await revoke(it.port, headers, userId="backend", organizationId="*")).code == "forbidden"
        assert (await publish(it.port, {**event, "id": "e1"}, query="", headers=backend)).status == 200
        assert (await revoke(it.port, boss, userId="backend", organizationId="*")).json()["closed"] == 0
        assert (await revoke(it.port, boss, tokenId="o1", organizationId="*")).status == 200
        for headers in (backend, other):
            assert (await publish(it.port, {**event, "id": "e2"}, query="", headers=headers)).code == "unauthenticated"
        assert (await publish(it.port, {**event, "id": "e2"}, query="", headers=boss)).status == 200
        assert (await call(it.port, "GET", HISTORY, bearer("backend", jti="o1"))).status == 200


async def test_a_revocation_is_kept_once_and_for_good() -> None:
    """Whatever a token's life: its record does not expire, and a user's or a token's stands in the place of the former one."""
    async with strict() as it:
        for _ in range(3):
            await revoke(it.port, userId="alice")
            await revoke(it.port, tokenId="lost")
        await revoke(it.port, userId="alice", organizationId="org123")
        snapshot = await it.engine.records(CONTROL_LOG, [Range(REVOCATIONS_KEPT, "", "\U0010ffff", 100)])
        assert [record.expires_at for record in snapshot.results[0]] == [None, None]


async def test_what_a_node_whose_clock_is_ahead_revoked_stays_so() -> None:
    """A revocation that is repeated by another clock ends no fewer tokens than before."""
    async with strict() as it:
        ahead = now_ms() // 1000 + 100
        notice = notices.encode(Revoked(organization_id="org123", user_id="alice", issued_up_to=ahead))
        draft = Draft("ctl_ahead", bytes(32), (), notice)
        await it.engine.commit(CONTROL_LOG, Commit(events=(draft,)))
        await revoke(it.port, userId="alice")
        snapshot = await it.engine.records(CONTROL_LOG, [Range(REVOCATIONS_KEPT, "", "\U0010ffff", 100)])
        kept = notices.decode(snapshot.results[0][0].value)
        assert isinstance(kept, Revoked)
        assert kept.issued_up_to == ahead


async def test_a_revoked_stream_is_not_reopened() -> None:
    """Its ticket goes with it, though the token it came from is good; another organization's administrator ends nothing by its name."""
    async with strict() as it:
        found = await ticket(it.port, bearer("alice"))
        url, again = f"/api/realtime/events?ticket={found}", {"Last-Event-ID": "x"}
        async with await StreamPeer.open(it.port, f"ticket={found}") as peer:
            connection_id = str((await peer.message())["connectionId"])
            assert found.removeprefix("tkt_") not in connection_id
        await until(lambda: not it.hub.connections)
        foreign = bearer("admin", organization="org9")
        assert (await revoke(it.port, foreign, connectionId=connection_id)).json()["closed"] == 0
        async with await StreamPeer.open(it.port, f"ticket={found}", again) as peer:
            assert (await peer.message())["connectionId"] == connection_id
            assert (await revoke(it.port, connectionId=connection_id)).json()["closed"] == 1
            await peer.rest()
        assert (await call(it.port, "GET", url, again)).code == "unauthenticated"
        async with await StreamPeer.open(it.port, f"ticket={await ticket(it.port, bearer('alice'))}") as peer:
            assert (await peer.message())["type"] == "connected"
        # One that is away for the moment is not closed by it, and does not come back either.
        found = await ticket(it.port, bearer("alice"))
        async with await StreamPeer.open(it.port, f"ticket={found}") as peer:
            connection_id = str((await peer.message())["connectionId"])
        await until(lambda: not it.hub.connections)
        assert (await revoke(it.port, connectionId=connection_id)).json()["closed"] == 0
        assert (await call(it.port, "GET", f"/api/realtime/events?ticket={found}", again)).code == "unauthenticated"


async def test_a_stream_that_is_being_reopened_while_it_is_revoked_is_not_served() -> None:
    """Between the look at its ticket and its opening: the notice finds nothing to close, and its name is remembered."""
    asked, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryEngine):
        is_slow = False

        async def records(self, log: LogName, queries: Sequence[Exact | Range]) -> Snapshot:
            found = await super().records(log, queries)
            if self.is_slow:
                self.is_slow = False
                asked.set()
                await go.wait()
            return found

    engine = Slow()
    async with serving(engine=engine, authenticator=Tokens()) as it:
        found = await ticket(it.port, bearer("alice"))
        url = f"/api/realtime/events?ticket={found}&types=notifications"
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", url, {}))
            await until(lambda: bool(it.hub.connections))
            connection_id = next(iter(it.hub.connections))
        await until(lambda: not it.hub.connections)
        engine.is_slow = True
        async with await Peer.connect(it.port) as peer:
            await peer.send(request("GET", url, {"Last-Event-ID": "x"}))
            await asyncio.wait_for(asked.wait(), 10)
            assert (await revoke(it.port, connectionId=connection_id)).json()["closed"] == 0
            go.set()
            text = await peer.rest()
        assert b'"code":"revoked"' in text
        assert b'"connected"' not in text


async def test_a_stream_is_open_once() -> None:
    """Whoever reopens it ends the earlier one, at once or in the same moment; it counts as one where connections are limited."""
    async with serving(authenticator=Tokens(), connection_limits=ConnectionLimits(per_user=1)) as it:
        found = await ticket(it.port, bearer("alice"))
        async with await StreamPeer.open(it.port, f"ticket={found}") as first:
            await first.message()
            async with await StreamPeer.open(it.port, f"ticket={found}", {"Last-Event-ID": "x"}) as second:
                assert (await second.message())["type"] == "connected"
                await first.rest()
                assert len(it.hub.connections) == 1
                async with AsyncExitStack() as many:
                    peers = [await many.enter_async_context(await Peer.connect(it.port)) for _ in range(8)]
                    url = f"/api/realtime/events?ticket={found}"
                    for peer in peers:
                        await peer.send(request("GET", url, {"Last-Event-ID": "x"}))
                    await second.rest()
                    ended = [asyncio.create_task(peer.rest()) for peer in peers]
                    await until(lambda: sum(task.done() for task in ended) == 7)
                    assert len(it.hub.connections) == 1
                    for task in ended:
                        task.cancel()
                    await asyncio.gather(*ended, return_exceptions=True)


# ---- connections


async def test_connections_are_listed_and_closed() -> None:
    """An organization's own, of all or of one user; closing sends them away with 1000."""
    async with strict() as it:
        async with (
            await WebSocketPeer.open(it.port, "", bearer("alice")) as socket,
            await StreamPeer.open(it.port, "", bearer("bob")) as stream,
            await WebSocketPeer.open(it.port, "", bearer("eve", organization="org9")) as foreign,
        ):
            await socket.message()
            await stream.event()
            await foreign.message()
            listed = (await call(it.port, "GET", CONNECTIONS, ADMIN)).json()["connections"]
            assert isinstance(listed, list)
            assert {(c["userId"], c["transport"]) for c in listed} == {("alice", "websocket"), ("bob", "sse")}
            one = (await call(it.port, "GET", f"{CONNECTIONS}?user=alice", ADMIN)).json()["connections"]
            assert isinstance(one, list)
            assert one == [c for c in listed if c["userId"] == "alice"]
            assert one[0].keys() == {"connectionId", "userId", "transport", "connectedAt", "node"}
            assert (await call(it.port, "DELETE", CONNECTIONS, ADMIN)).code == "invalid_parameter"
            closed = await call(it.port, "DELETE", f"{CONNECTIONS}?user=alice", ADMIN)
            assert closed.json() == {"closed": 1}
            assert (await socket.closed())[0] == 1000
        assert (await call(it.port, "DELETE", f"{CONNECTIONS}?user=nobody", ADMIN)).json() == {"closed": 0}
        assert (await call(it.port, "GET", HISTORY, bearer("alice"))).status == 200


@pytest.mark.parametrize(
    "path", ["/api/realtime/events", "/api/realtime/documents/d/edits", "/api/realtime/revocations"]
)
async def test_a_body_that_was_still_coming_is_not_carried_out_after_a_revocation(path: str) -> None:
    """Whoever sent a head while he was let in, and is revoked before his body is whole, is refused."""
    bodies = {
        "/api/realtime/events": sample("organization_activity", id="late", organizationId=None),
        "/api/realtime/documents/d/edits": {"changeId": "late", "baseVersion": 0, "changes": {"a": 1}},
        "/api/realtime/revocations": {"userId": "somebody"},
    }
    body = json.dumps(bodies[path]).encode()
    async with strict() as it, await Peer.connect(it.port) as peer:
        head = {**bearer("alice"), "Content-Type": "application/json"}
        whole = request("POST", path, head, body)
        await peer.send(whole[:-5])
        # An answer on another connection: by then the head was read, and the request waits for its body.
        assert (await call(it.port, "GET", HISTORY, bearer("alice"))).status == 200
        await revoke(it.port, userId="alice")
        await peer.send(whole[-5:])
        answer = await peer.answer()
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert (await it.engine.read(LogName("org123"), 0, 1 << 20)).entries == []


async def test_a_body_is_as_large_as_it_needs_to_be() -> None:
    """Calls that take little take no more of a body, whether it says how long it is or not."""
    large = b'{"token":"' + b"x" * 20_000 + b'"}'
    async with strict() as it:
        for path in (REVOCATIONS, "/api/realtime/connections/conn_1/refresh"):
            answer = await call(it.port, "POST", path, {**ADMIN, "Content-Type": "application/json"}, large)
            assert (answer.status, answer.code) == (413, "payload_too_large")
