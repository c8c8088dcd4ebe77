"""How the mount refuses: a problem over HTTP, and to who asks for an upgrade by a response where the host's server can, else by a close code.

Owns: the ASGI messages of a refusal.   Not: which it is (problems.py).
"""

from __future__ import annotations

from typing import Final

from starlette.types import Receive, Scope, Send

from signtusk_realtime.observability.refusals import REQUESTS_REFUSED
from signtusk_realtime.protocol import codes
from signtusk_realtime.server.origins import VARY
from signtusk_realtime.server.problems import ALWAYS, MEDIA_TYPE, HeaderPairs, Problem, encode_body

DENIAL: Final = "websocket.http.response"
"""The extension by which a server lets us refuse an upgrade with a response of our own."""
_REFUSED: Final = {
    401: codes.CLOSE_UNAUTHENTICATED,
    403: codes.CLOSE_FORBIDDEN,
    429: codes.CLOSE_RATE_LIMITED,
    500: codes.CLOSE_INTERNAL,
    503: codes.CLOSE_TRY_LATER,
}
"""What a refusal's status is called where a server takes nothing but a close code; the others break a rule."""


class Response:
    """How a refusal is told over HTTP."""

    def __init__(self, send: Send, prefix: str = "http.response") -> None:
        self._send = send
        self._prefix = prefix

    async def __call__(self, found: Problem, extra: HeaderPairs = (VARY,)) -> None:
        body = encode_body(found)
        headers = [
            (b"content-type", MEDIA_TYPE.encode("ascii")),
            (b"content-length", b"%d" % len(body)),
            *((name.lower(), value) for name, value in (*ALWAYS, *found.headers, *extra)),
        ]
        await self._send({"type": f"{self._prefix}.start", "status": found.status, "headers": headers})
        await self._send({"type": f"{self._prefix}.body", "body": body})


class Denial:
    """How a refusal is told to who asked for an upgrade: by a response where the server can, else by a close code."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._has_responses = DENIAL in (scope.get("extensions") or {})
        self._receive = receive
        self._send = send
        self.is_asked = False
        """Whether the server's `websocket.connect` was taken: nothing may be sent before."""

    async def asked(self) -> None:
        """Take the server's `websocket.connect`."""
        if not self.is_asked:
            self.is_asked = True
            await self._receive()

    async def __call__(self, found: Problem, extra: HeaderPairs = (VARY,)) -> None:
        await self.asked()
        if self._has_responses:
            await Response(self._send, DENIAL)(found, extra)
        else:
            REQUESTS_REFUSED[found.body.code] += 1
            code = _REFUSED.get(found.status, codes.CLOSE_POLICY)
            await self._send({"type": "websocket.close", "code": code.number, "reason": found.body.code})
