"""Publish events from another process.

Owns: calls, and repeating them until there is an answer.   Not: who may publish what (the service says).
Rule 1: every event has an id before it is first sent, so that repeating a call without an answer publishes once.
Rule 2: an answer means durable. Without one, `Unavailable`: what became of the call is unknown, and the same ids may be sent again.
"""

from __future__ import annotations

import asyncio
import random as chance
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import httpx2
from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType
from msgspec.json import Decoder

from signtusk_realtime.client.address import parse_address
from signtusk_realtime.client.delays import Delays
from signtusk_realtime.client.event_stream import describe
from signtusk_realtime.client.failures import Lost, Refused, failure_of_answer, garbled
from signtusk_realtime.client.outgoing import Outgoing, outgoing
from signtusk_realtime.client.trust import for_http
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.protocol import json

PATIENCE_S: Final = 30.0
TIMEOUT: Final = httpx2.Timeout(30.0, connect=10.0)
LONGEST_DELAY_S: Final = 5.0
CONNECTIONS: Final = 8


class Published(Struct, frozen=True):
    """What became of an event. `text` is the result as the service wrote it.

    Of a batch of document updates each may be refused by itself: then `error` says why, and `cursor` is None.
    """

    event_id: str | None
    cursor: str | None
    duplicate: bool
    error: Refused | None
    text: bytes


class _Error(Struct):
    code: str = "refused"
    detail: str = ""
    message: str = ""


class _Result(Struct, rename="camel"):
    event_id: str | None = None
    cursor: str | None = None
    duplicate: bool = False
    error: _Error | UnsetType = UNSET


class _Answer(Struct):
    results: tuple[Raw, ...]


_answer: Final[Decoder[_Answer]] = Decoder(_Answer)
_result: Final[Decoder[_Result]] = Decoder(_Result)


class Publisher:
    """See the module. Use it as `async with Publisher(url, token) as publisher`.

    `patience_s` is how long a call is repeated before it is given up, and may be changed between calls; `on_retry` gets the reason and
    the delay before each repetition. `transport` stands in for the network in tests, `random()` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience_s: float = PATIENCE_S,
        on_retry: Callable[[str, float], None] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        address = parse_address(url)
        self.patience_s = patience_s
        self._url = address.events
        self._on_retry = on_retry
        self._random = random
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        trust_env = not address.is_loopback
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=TIMEOUT,
            limits=httpx2.Limits(max_connections=CONNECTIONS),
            trust_env=trust_env,
            verify=for_http(trust_env=trust_env),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def publish(self, event: Mapping[str, object]) -> Published:
        """Publish one event. Raises: Refused, Unavailable."""
        (result,) = await self.publish_prepared([outgoing(json.encode(event))])
        if result.error is not None:
            raise result.error
        return result

    async def publish_batch(self, events: Iterable[Mapping[str, object]]) -> tuple[Published, ...]:
        """Publish several events of one organization, in their order, in one call: all or, if it raises Refused, none.

        Raises: Refused, Unavailable.
        """
        return await self.publish_prepared([outgoing(json.encode(event)) for event in events])

    async def publish_prepared(self, events: Sequence[Outgoing]) -> tuple[Published, ...]:
        """Publish events that have their ids, as `publish_batch`."""
        if not events:
            return ()
        texts = [event.text for event in events]
        body = texts[0] if len(texts) == 1 else b"[" + b",".join(texts) + b"]"
        content = await self._call(body, len(texts))
        try:
            results = tuple(map(_published, _answer.decode(content).results))
        except DecodeError as error:
            raise garbled(f"the service answered in another form: {error}") from None
        if len(results) != len(events):
            raise garbled(f"the service answered {len(results)} results to {len(events)} events")
        return results

    async def _call(self, body: bytes, events: int) -> bytes:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self.patience_s
        delays = Delays(self._random, longest_s=LONGEST_DELAY_S)
        while True:
            try:
                answer = await self._http.post(self._url, content=body)
            except httpx2.TransportError as error:
                failure: Lost | Refused = Lost(describe(error))
            else:
                if answer.status_code == 200:
                    return answer.content
                retry_after = answer.headers.get("Retry-After")
                failure = failure_of_answer(answer.status_code, retry_after, answer.content, events=events)
            if isinstance(failure, Refused):
                raise failure
            delay_s = max(delays.next(), failure.not_before_s)
            if loop.time() + delay_s > give_up_at:
                raise Unavailable(f"no answer within {self.patience_s:g} s; at last: {failure.reason}")
            if self._on_retry is not None:
                self._on_retry(failure.reason, delay_s)
            await asyncio.sleep(delay_s)


def _published(text: Raw) -> Published:
    result = _result.decode(text)
    error = None
    if result.error is not UNSET:
        said = result.error
        error = Refused(said.detail or said.message or said.code, code=said.code)
    return Published(result.event_id, result.cursor, result.duplicate, error, bytes(text))
