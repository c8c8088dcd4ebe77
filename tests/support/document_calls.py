"""Documents as clients reach them: calls over HTTP, edits over WebSocket, worked cases played on a server.

Owns: how things are asked for.   Not: what must come of it (tests/e2e/test_documents.py and its neighbours).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from signtusk_realtime.engines.sqlite import SqliteEngine
from tests.support.conflict_cases import CHANGE, Case
from tests.support.desks import read_shelf
from tests.support.server import Answer, Serving, WebSocketPeer, call, serving

DOCUMENTS: Final = "/api/realtime/documents"
Body: TypeAlias = dict[str, Any]


@asynccontextmanager
async def documents_served(folder: Path) -> AsyncIterator[Serving]:
    """Serve from a file; in the end what is stored must agree with itself."""
    engine = SqliteEngine(str(folder / "realtime.db"), durability="normal", ballast_bytes=0)
    async with serving(engine=engine) as it:
        yield it
        assert (await read_shelf(engine)).faults() == []


def as_user(user: str) -> str:
    return f"userId={user}&organizationId=org123"


async def ask(server: Serving, method: str, path: str, body: object = None, user: str = "ann", **more: Any) -> Answer:
    """Call a document's endpoint."""
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    query = "&".join([as_user(user), *(f"{name}={value}" for name, value in more.items())])
    return await call(server.port, method, f"{DOCUMENTS}/{path}?{query}", {"Content-Type": "application/json"}, sent)


async def edit(server: Serving, document: str, user: str = "ann", **body: Any) -> Answer:
    """Edit over HTTP; a changeId is made from what is sent if none is given."""
    body = {"changeId": f"{user} {json.dumps(body)}"[:120]} | body
    return await ask(server, "POST", f"{document}/edits", body, user)


async def read(server: Serving, document: str, **more: Any) -> Body:
    answer = await ask(server, "GET", document, **more)
    assert answer.status == 200, answer.body
    return answer.json()


async def decide(server: Serving, document: str, body: Body, user: str = "ann") -> Answer:
    head = {"Content-Type": "application/json"}
    target = f"/api/realtime/conflicts/{document}/resolve?{as_user(user)}"
    return await call(server.port, "POST", target, head, json.dumps(body).encode())


async def opened(server: Serving, document: str, status: str = "open") -> list[Body]:
    answer = await ask(server, "GET", f"{document}/conflicts", status=status)
    found = answer.json()["conflicts"]
    assert isinstance(found, list)
    return found


def pointers(base: Any) -> Body:
    return {"/" + name.replace("~", "~0").replace("/", "~1"): value for name, value in base.items()}


def update(document: str = "d1", **more: Any) -> Body:
    return {
        "kind": "document_update",
        "type": "updated",
        "documentId": document,
        "userId": "app",
        "organizationId": "org123",
        **more,
    }


class Both:
    """Edits over HTTP, and over one WebSocket for each user."""

    def __init__(self, server: Serving) -> None:
        self.server = server
        self._sockets: dict[str, WebSocketPeer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in self._sockets.values():
            await socket.end()

    async def over_websocket(self, document: str, user: str, **body: Any) -> Body:
        """Edit over WebSocket; the answer is that of HTTP with a type."""
        if user not in self._sockets:
            self._sockets[user] = await WebSocketPeer.open(self.server.port, as_user(user))
            assert (await self._sockets[user].message())["type"] == "connected"
        await self._sockets[user].ask({"type": "edit", "documentId": document, "requestId": "r", **body})
        answer = await self._sockets[user].message()
        assert (answer.pop("type"), answer.pop("requestId")) == ("edit_result", "r")
        return answer

    async def play(self, case: Case, document: str, stored: str, arriving: str) -> Body:
        """Store one edit of a case, let the other arrive; the first author uses HTTP, the second WebSocket. Gives the answer to the second."""
        made = await edit(self.server, document, baseVersion=0, changes=pointers(case["base"]))
        assert made.status == 200, made.body
        answer: Body = {}
        steps: tuple[tuple[str, Any, Any], ...] = (
            ("first", case.get("own"), None),
            (stored, case[stored], None),
            (arriving, case[arriving], case["strategy"]),
        )
        for name, change, strategy in steps:
            if change is None:
                continue
            body: Body = {"changeId": f"{name}{strategy}", "clientId": name, "baseVersion": 1, **change}
            if change == case.get("own"):
                body["changeId"] = "own"
            if strategy is not None:
                body |= {"strategy": strategy, "changeId": CHANGE}
            if name == "first":
                answer = (await edit(self.server, document, "u-first", **body)).json()
            else:
                answer = await self.over_websocket(document, "u-second", **body)
        return answer
