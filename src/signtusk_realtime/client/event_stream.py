"""A link over an event stream.

Owns: the request, from blocks to messages.   Not: the blocks' form (stream_parser.py), what messages mean (feed.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import httpx2
from msgspec import Raw

from signtusk_realtime.client.failures import Lost, Refused, failure_of_answer
from signtusk_realtime.client.link import Wanted
from signtusk_realtime.client.messages import Message, Received, read_message
from signtusk_realtime.client.stream_parser import StreamBlock, StreamParser
from signtusk_realtime.client.trust import for_http
from signtusk_realtime.protocol.messages import encode

MEDIA_TYPE: Final = "text/event-stream"
SILENT_HEARTBEATS: Final = 2.5
"""Each heartbeat brings a block, so that two of them missing are a sign."""


class EventStreamLink:
    """See the module and the port."""

    def __init__(self, http: httpx2.AsyncClient, answer: httpx2.Response, cursor: str | None) -> None:
        self._http = http
        self._answer = answer
        self._bytes: AsyncIterator[bytes] = answer.aiter_bytes()
        self._parser = StreamParser(cursor or "")
        self._waiting: deque[StreamBlock] = deque()

    async def receive(self) -> Received:
        """See the port."""
        waiting = self._waiting
        while not waiting:
            try:
                waiting += self._parser.feed(await anext(self._bytes))
            except (StopAsyncIteration, httpx2.StreamError):
                raise self._lost("the stream ended") from None
            except httpx2.TransportError as error:
                raise self._lost(describe(error)) from None
        return _message(waiting.popleft())

    def silence_s(self, heartbeat_s: float) -> float:
        """See the port."""
        return SILENT_HEARTBEATS * heartbeat_s

    async def probe(self) -> bool:
        """See the port. A stream has one direction."""
        return False

    async def close(self) -> None:
        """See the port."""
        with suppress(httpx2.HTTPError, RuntimeError):
            await self._answer.aclose()
        await self._http.aclose()

    def _lost(self, reason: str) -> Lost:
        return Lost(reason, not_before_s=(self._parser.retry_ms or 0) / 1000)


async def open_event_stream(wanted: Wanted) -> EventStreamLink:
    """Send the request and read the head of its answer. Raises: Lost, Refused."""
    address, credentials = wanted.address, wanted.credentials
    # Nothing here waits by itself for longer than its caller does: a feed has deadlines of its own.
    trust_env = not address.is_loopback
    http = httpx2.AsyncClient(timeout=None, trust_env=trust_env, verify=for_http(trust_env=trust_env))
    headers = {"Accept": MEDIA_TYPE, "Cache-Control": "no-store", **credentials.headers}
    if wanted.cursor is not None:
        headers["Last-Event-ID"] = wanted.cursor
    query = {"subscriptions": encode(wanted.subscriptions).decode(), **credentials.query}
    try:
        answer = await http.send(http.build_request("GET", address.events, params=query, headers=headers), stream=True)
        if answer.status_code != 200:
            raise failure_of_answer(answer.status_code, answer.headers.get("Retry-After"), await answer.aread())
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != MEDIA_TYPE:
            raise Refused(
                f"what listens there gives no event stream but {media_type or 'nothing'}", code="not_acceptable"
            )
    except httpx2.TransportError as error:
        await http.aclose()
        raise Lost(describe(error)) from None
    except BaseException:
        await http.aclose()
        raise
    return EventStreamLink(http, answer, wanted.cursor)


def describe(error: httpx2.TransportError) -> str:
    """Say what a failed transport means to people; some errors have no text of their own."""
    return f"{error}" or type(error).__name__


def _message(block: StreamBlock) -> Received:
    cursor = block.last_event_id or None
    if block.data is None:
        return Received(Message(type="cursor", cursor=cursor), b"")
    if block.event and block.event != "message":
        return Received(Message(type="event", cursor=cursor, event=Raw(block.data)), b"")
    return read_message(block.data)
