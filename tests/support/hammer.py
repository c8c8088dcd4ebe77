"""A client that edits one document without mercy: a process of its own, over HTTP or WebSocket, for as many edits as it is told.

Owns: sending, repeating what got no answer, numbers and what it has seen.   Not: what must hold afterwards (tests/faults/test_document_hammer.py).
Rule 1: as a good client does, it waits for each answer, repeats a change under the same changeId, clientId and seq until there is one, and goes
on from the version it was told; a repetition travels over the other transport. Now and then it hangs up without waiting for the answer.
Rule 2: it prints each answer as a line of JSON, and nothing else.

`python -m tests.support.hammer PORT NAME EDITS http|ws`
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any, Final

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

DOCUMENT: Final = "hammered"
ORGANIZATION: Final = "org123"
STRATEGIES: Final = ("merge", "merge", "overwrite", "manual", "reject")
PAUSE_S: Final = 0.05
HANGS_UP: Final = 0.15
"""How often it does not wait for an answer."""
DEADLINE_S: Final = 60.0
LOST: Final = (OSError, httpx2.TransportError, WebSocketException)
"""What a server that dies looks like from here."""


class Hammer:
    """See the module."""

    def __init__(self, port: int, name: str, transport: str) -> None:
        self._port = port
        self._query = f"userId={name}&organizationId={ORGANIZATION}"
        self._transport = transport
        self._http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S, trust_env=False)
        self._socket: ClientConnection | None = None

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send an edit until it is answered."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                hangs_up = random.random() < HANGS_UP
                try:
                    if self._transport == "http":
                        return await self._over_http(body, hangs_up=hangs_up)
                    return await self._over_websocket(body, hangs_up=hangs_up)
                except LOST:
                    self._transport = "ws" if self._transport == "http" else "http"
                    if self._socket is not None:
                        await self._socket.close()
                    self._socket = None
                    await asyncio.sleep(PAUSE_S)  # what a client does

    async def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            await self._socket.close()
        await self._http.aclose()

    async def _over_http(self, body: dict[str, Any], *, hangs_up: bool) -> dict[str, Any]:
        url = f"/api/realtime/documents/{DOCUMENT}/edits?{self._query}"
        # So short that some are carried out and some are not.
        answer = await self._http.post(url, json=body, timeout=random.uniform(0.001, 0.02) if hangs_up else DEADLINE_S)
        if answer.status_code >= 500:
            raise OSError(answer.text)  # nobody knows what became of it: repeated like one without an answer
        found: dict[str, Any] = answer.json()
        return found

    async def _over_websocket(self, body: dict[str, Any], *, hangs_up: bool) -> dict[str, Any]:
        if self._socket is None:
            url = f"ws://127.0.0.1:{self._port}/ws?{self._query}"
            self._socket = await connect(url, proxy=None, compression=None)
            await self._socket.recv()
        await self._socket.send(json.dumps({"type": "edit", "documentId": DOCUMENT, **body}))
        if hangs_up:
            raise OSError("hung up")
        found: dict[str, Any] = json.loads(await self._socket.recv())
        if found.get("code") in ("contention", "unavailable"):
            raise OSError(found)
        return found


async def main(port: int, name: str, edits: int, transport: str) -> None:
    """Edit; every second client knows little of what others did."""
    hammer, version = Hammer(port, name, transport), 1
    for number in range(1, edits + 1):
        body = {
            "changeId": f"{name}-{number}",
            "clientId": name,
            "seq": number,
            "baseVersion": version,
            "strategy": random.choice(STRATEGIES),
            "changes": {
                name: number,
                "title": f"{name} {number}",
                f"/rows/{name}-{number}": {"id": f"{name}-{number}"},
            },
        }
        answer = await hammer.answer(body)
        print(json.dumps(answer), flush=True)  # noqa: T201  # it is asked by its output
        if random.random() < 0.7:
            version = max(version, answer["version"])
    await hammer.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
