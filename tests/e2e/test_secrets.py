"""What opens doors is told nobody: not in a log, an answer, a metric, a description, the history, or the files of the server.

Tokens that are bad in some way, and their places, are the subject of tests/e2e/test_tokens.py; here they are good, and used.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Final

from tests.support.command import serving
from tests.support.server import UPGRADE, Answer, Peer, StreamPeer, WebSocketPeer, call, request
from tests.support.tokens import token

SECRET: Final = "canary-secret-" + "s" * 40
PAGE: Final = "http://page.example"
API: Final = "/api/realtime"
JSON: Final = {"Content-Type": "application/json"}
OPTIONS: Final = ("--auth-mode", "jwt", "--auth-cookie", "session", "--auth-query-token", "true")
DESCRIPTIONS: Final = (
    "/openapi.json",
    "/asyncapi.json",
    "/metrics",
    f"{API}/metrics",
    f"{API}/health",
    "/livez",
    "/readyz",
)


class Told:
    """All that the server said to anybody."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.texts: list[str] = []

    async def ask(self, method: str, path: str, headers: dict[str, str], body: object = None) -> Answer:
        """Call, and keep the answer."""
        data = b"" if body is None else json.dumps(body).encode()
        answer = await call(self.port, method, path, {**headers, **(JSON if data else {})}, data)
        self.keep(answer)
        return answer

    def keep(self, answer: Answer) -> None:
        self.texts.append(json.dumps(dict(answer.headers)) + answer.body.decode())

    async def socket(self, query: str, headers: dict[str, str], *messages: object) -> None:
        """Open a WebSocket, say something, and keep what is answered."""
        async with await WebSocketPeer.open(self.port, query, headers) as peer:
            self.texts.append(json.dumps(await peer.message()))
            for message in messages:
                await peer.ask(message)
                self.texts.append(json.dumps(await peer.message()))

    async def stream(self, query: str, headers: dict[str, str]) -> None:
        """Open an event stream, and keep its beginning."""
        async with await StreamPeer.open(self.port, query, headers) as peer:
            self.texts += [json.dumps(dict(peer.headers)), json.dumps(await peer.message()), str(await peer.event())]


def make(user: str) -> str:
    """Make a token that may do everything."""
    now = int(time.time())
    scope = "realtime:publish realtime:admin"
    return token(
        SECRET, sub=user, org="org123", iat=now, exp=now + 600, scope=scope, jti="jti-" + "c" * 30, email="canary@x"
    )


async def test_what_opens_doors_is_told_nobody(tmp_path: Path) -> None:
    """Tokens in every place, tickets used and unused, the key and the cookie: used with success, with mistakes beside them, and revoked."""
    keys, folder = tmp_path / "keys", tmp_path / "served"
    keys.mkdir()
    folder.mkdir()
    (keys / "secret").write_text(SECRET)
    good, other = make("ada"), make("bob")
    bearer = {"Authorization": f"Bearer {good}"}
    cookie = {"Cookie": f"session={good}; other=canary-cookie", "Origin": PAGE}
    options = (*OPTIONS, "--auth-secret-file", str(keys / "secret"), "--allowed-origins", PAGE)
    async with serving(folder, *options) as served:
        told = Told(served.port)
        # Not kept: the one answer that must hold a ticket is the one to who asked for it.
        answers = [await call(served.port, "POST", f"{API}/tickets", bearer) for _ in range(3)]
        tickets = [str(answer.json()["ticket"]) for answer in answers]
        mistakes = (
            {"type": "refresh", "token": other},
            {"type": "refresh", "token": good, "more": 1},
            {"type": "subscribe", "token": good},
            {"token": good},
            {"type": "subscribe", "subscription": {"type": "document_updates"}, "cursor": tickets[0]},
            {"type": "refresh", "token": good},
        )
        await told.socket("", bearer, *mistakes)
        await told.socket("", {"Sec-WebSocket-Protocol": f"signtusk.v1, bearer.{good}", "Origin": PAGE})
        await told.socket("", cookie)
        await told.socket(f"token={good}", {})
        await told.socket(f"ticket={tickets[0]}", {})
        await told.stream(f"token={good}", {})
        await told.stream(f"ticket={tickets[1]}", {})
        await told.stream("", cookie)
        event = {
            "kind": "document_update",
            "documentId": "d1",
            "type": "updated",
            "userId": "ada",
            "changes": {"title": "x"},
        }
        assert (await told.ask("POST", f"{API}/events", bearer, event)).status == 200
        for wrong in ({**event, "token": good}, {**event, "kind": good}, {**event, "userId": 1}, [event, good], good):
            assert (await told.ask("POST", f"{API}/events", bearer, wrong)).status in (400, 422)
        for path in (
            *DESCRIPTIONS,
            f"{API}/history",
            f"{API}/connections",
            f"{API}/documents/d1",
            f"{API}/documents/d1/history",
        ):
            assert (await told.ask("GET", path, bearer)).status == 200, path
        for query in (
            f"token={good}&x=1",
            f"ticket={tickets[0]}",
            f"ticket={tickets[2]}x",
            f"after={tickets[2]}",
            f"types={good}",
        ):
            for path in (f"{API}/events", f"{API}/history", f"{API}/documents/{tickets[2]}", f"/{good[:60]}"):
                await told.ask("GET", f"{path}?{query}", bearer)
            async with await Peer.connect(served.port) as peer:
                await peer.send(request("GET", f"/ws?{query}", {**UPGRADE, **bearer, "Sec-WebSocket-Version": "1"}))
                told.keep(await peer.answer())
        await told.ask("POST", f"{API}/connections/conn_x/refresh", {}, {"token": good})
        await told.ask("POST", f"{API}/revocations", bearer, {"tokenId": "jti-" + "c" * 30, "token": good})
        assert (await told.ask("POST", f"{API}/revocations", bearer, {"userId": "ada"})).status == 200
        assert (await told.ask("GET", f"{API}/history", bearer)).status == 401
        served.process.send_signal(signal.SIGTERM)
        assert await served.ended() == 0
        told.texts += [json.dumps(line) for line in served.lines]
    everything = "\n".join(told.texts)
    assert "service started" in everything
    assert "document_updated" in everything
    stored = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"document_updated" in stored
    parts = [part for text in (good, other) for part in text.split(".")[1:]]
    for piece in ("canary", SECRET[14:], *parts, *(ticket[4:] for ticket in tickets)):
        assert piece not in everything, piece
        assert piece.encode() not in stored, piece
