"""What follows an organization's events, across lost connections.

Owns: the newest cursor, reconnecting, what was seen already, what is told beside the events.   Not: transports (link.py and who fulfils it).
Rule 1: no task of its own; everything happens within the caller's `anext`, and after `aclose()` nothing is left.
Rule 2: `cursor` never covers more than was handed out. Whoever stores it after each event loses nothing and may see the last one again.
Rule 3: where completeness cannot be proven, `on_gap` is called before the next event is handed out; never a silent hole.
"""

from __future__ import annotations

import asyncio
import random as chance
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from msgspec import UNSET, DecodeError, Struct
from msgspec.json import Decoder

from signtusk_realtime.client.address import Address, parse_address
from signtusk_realtime.client.delays import Delays
from signtusk_realtime.client.event_stream import open_event_stream
from signtusk_realtime.client.failures import Lost, Refused, failure_of_error, garbled
from signtusk_realtime.client.link import Credentials, Link, Opener, Wanted
from signtusk_realtime.client.messages import Message, Received
from signtusk_realtime.client.websocket import open_websocket
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import json

Transport = Literal["ws", "sse"]
Token = str | Callable[[], str] | None
"""A token, or what gives a fresh one for each connection."""

OPEN_TIMEOUT_S: Final = 10.0
"""How long connecting, and then the answer to the request, may take."""
PROBE_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 30.0
"""Until the service has told its own."""
SETTLED_S: Final = 10.0
"""A connection that lived so long was a success: delays begin anew after it."""
REMEMBERED_EVENTS: Final = 1024

_OPENERS: Final[dict[Transport, Opener]] = {"ws": open_websocket, "sse": open_event_stream}
_subscriptions: Final[Decoder[tuple[Subscription, ...]]] = Decoder(tuple[Subscription, ...])


class Gap(NamedTuple):
    """Events may have been missed: reload the state they stand for. `reason` is expired, epoch or unknown; delivery goes on at `cursor`."""

    reason: str
    cursor: str


class ReceivedEvent(Struct, frozen=True):
    """An event as it came. `text` is the JSON object of the specification."""

    id: str
    type: str
    organization_id: str
    text: bytes

    def decoded(self) -> dict[str, object]:
        """Give the event as a dictionary."""
        return _object.decode(self.text)


class Delivery(NamedTuple):
    """An event, and the cursor that covers it and all before it."""

    cursor: str
    event: ReceivedEvent


class _Head(Struct, rename="camel"):
    id: str
    type: str
    organization_id: str = ""


_head: Final[Decoder[_Head]] = Decoder(_Head)
_object: Final[Decoder[dict[str, object]]] = Decoder(dict[str, object])


def subscribe(
    url: str,
    subscriptions: Iterable[Subscription | Mapping[str, object]],
    *,
    cursor: str | None = None,
    transport: Transport = "ws",
    token: Token = None,
    user_id: str | None = None,
    organization_id: str | None = None,
    connect_within_s: float | None = 10.0,
    on_gap: Callable[[Gap], None] | None = None,
    on_message: Callable[[bytes], None] | None = None,
    on_retry: Callable[[str, float], None] | None = None,
) -> Feed:
    """Follow events. Nothing happens before the first `anext`.

    Use it as `async with subscribe(…) as feed: async for cursor, event in feed: …`.

    `cursor` is where to go on, as an earlier feed told it. `user_id` and `organization_id` are for development, where no token is needed.
    `connect_within_s` bounds the first connection only (None: try for ever); a feed that was once connected comes back whatever it takes.
    `on_message` gets the text of every message that is neither an event nor a cursor, `on_retry` the reason and the delay before each retry.
    Raises: InvalidInput for a malformed URL or subscription; by `anext`: Refused, Unavailable.
    """
    return Feed(
        _OPENERS[transport],
        parse_address(url),
        json.decode(json.encode(list(subscriptions)), _subscriptions, depth=8),
        cursor=cursor,
        token=token,
        user_id=user_id,
        organization_id=organization_id,
        connect_within_s=connect_within_s,
        on_gap=on_gap,
        on_message=on_message,
        on_retry=on_retry,
    )


class Feed:
    """See the module and `subscribe`. `cursor` is the newest; `random()` gives numbers from 0 to 1."""

    def __init__(
        self,
        opener: Opener,
        address: Address,
        subscriptions: tuple[Subscription, ...],
        *,
        cursor: str | None = None,
        token: Token = None,
        user_id: str | None = None,
        organization_id: str | None = None,
        connect_within_s: float | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_message: Callable[[bytes], None] | None = None,
        on_retry: Callable[[str, float], None] | None = None,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.cursor = cursor
        self._opener = opener
        self._address = address
        self._next_address: Address | None = None
        self._subscriptions = subscriptions
        self._token = token
        self._user_id = user_id
        self._organization_id = organization_id
        self._connect_within_s = connect_within_s
        self._on_gap = on_gap
        self._on_message = on_message
        self._on_retry = on_retry
        self._delays = Delays(random)
        self._link: Link | None = None
        self._heartbeat_s = HEARTBEAT_S
        self._give_up_at: float | None = None
        self._was_subscribed = False
        self._subscribed_at: float | None = None
        self._is_probing = False
        self._leave_at: float | None = None
        self._is_resumed = False
        self._seen = _Seen()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """Wait for the next event. Raises: Refused, Unavailable; StopAsyncIteration once closed."""
        while not self._is_closed:
            try:
                link = self._link
                if link is None:
                    link = await self._open()
                received = await self._receive(link)
                if received is not None and (delivery := self._take(received)) is not None:
                    return delivery
            except Lost as lost:
                await self._drop()
                await self._wait(lost)
            except Refused:
                await self.aclose()
                raise
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the connection, and the iteration. May be called again."""
        self._is_closed = True
        await self._drop()

    async def _open(self) -> Link:
        loop = asyncio.get_running_loop()
        if self._give_up_at is None and self._connect_within_s is not None:
            self._give_up_at = loop.time() + self._connect_within_s
        address = self._next_address or self._address
        # Only the first try goes where the service sent us; should nobody be there, the known address is as good as ever.
        self._next_address = None
        token = self._token() if callable(self._token) else self._token
        credentials = Credentials(token, self._user_id, self._organization_id)
        wanted = Wanted(address, credentials, self._subscriptions, self.cursor)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                self._link = await self._opener(wanted)
        except TimeoutError:
            raise Lost(f"no answer within {OPEN_TIMEOUT_S:g} s") from None
        self._is_resumed = self.cursor is not None
        self._subscribed_at = None
        self._is_probing = False
        self._leave_at = None
        return self._link

    async def _receive(self, link: Link) -> Received | None:
        """Wait for a message, for as long as the connection may say nothing. None: it was asked for a sign of life."""
        if self._subscribed_at is None:
            patience_s = OPEN_TIMEOUT_S
        elif self._is_probing:
            patience_s = PROBE_TIMEOUT_S
        else:
            patience_s = link.silence_s(self._heartbeat_s)
        now = asyncio.get_running_loop().time()
        is_leaving = self._leave_at is not None and self._leave_at <= now + patience_s
        if is_leaving and self._leave_at is not None:
            patience_s = max(0.0, self._leave_at - now)
        try:
            async with asyncio.timeout(patience_s):
                received = await link.receive()
        except TimeoutError:
            if is_leaving:
                raise Lost("the service asked to come again") from None
            if self._subscribed_at is None or self._is_probing or not await link.probe():
                raise Lost(f"no sign of life for {patience_s:g} s") from None
            self._is_probing = True
            return None
        self._is_probing = False
        return received

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _wait(self, lost: Lost) -> None:
        """Wait until it is time to try again. Raises: Unavailable if the first connection took too long."""
        now = asyncio.get_running_loop().time()
        if self._subscribed_at is not None and now - self._subscribed_at >= SETTLED_S:
            self._delays.reset()
        self._subscribed_at = None
        if lost.is_restart or self._leave_at is not None:
            self._delays.expect_restart()
        if self._leave_at is not None:
            delay_s = max(0.0, self._leave_at - now)
            self._leave_at = None
        else:
            delay_s = max(self._delays.next(), lost.not_before_s)
        if not self._was_subscribed and self._give_up_at is not None and now + delay_s > self._give_up_at:
            await self.aclose()
            raise Unavailable(f"no connection within {self._connect_within_s:g} s; at last: {lost.reason}")
        if self._on_retry is not None:
            self._on_retry(lost.reason, delay_s)
        await asyncio.sleep(delay_s)

    def _take(self, received: Received) -> Delivery | None:
        """Take in a message; give the event if it is a new one. Raises: Lost, Refused."""
        message = received.message
        kind = message.type
        if kind == "event":
            return self._event(message)
        if kind in ("cursor", "pong"):
            self.cursor = message.cursor or self.cursor
            return None
        if self._on_message is not None:
            self._on_message(received.text)
        if kind == "connected":
            self._heartbeat_s = (message.heartbeat_interval or 0) / 1000 or HEARTBEAT_S
        elif kind == "subscribed":
            self._subscribed_at = asyncio.get_running_loop().time()
            self._was_subscribed = True
            if message.recovered is False:
                self._gap(message)
            self.cursor = message.cursor or self.cursor
        elif kind == "resync":
            self._gap(message)
            self.cursor = message.cursor or self.cursor
        elif kind == "reconnect":
            self._leave_at = asyncio.get_running_loop().time() + max(0.0, (message.after_ms or 0) / 1000)
            self._next_address = self._sent_to(message.url)
        elif kind == "unsubscribed":
            raise Refused("the service ended a subscription", code=message.reason or "unsubscribed")
        elif kind == "error":
            self._error(message)
        return None

    def _event(self, message: Message) -> Delivery | None:
        cursor, event = message.cursor, message.event
        if cursor is None or event is UNSET:
            raise garbled("the service sent an event without its cursor")
        text = bytes(event)
        try:
            head = _head.decode(text)
        except (DecodeError, RecursionError) as error:
            raise garbled(f"the service sent what is no event: {error}") from None
        self.cursor = cursor
        # An id is unique within its log: an announcement may bear that of an event.
        is_new = self._seen.add((head.organization_id, head.id))
        if self._is_resumed and not is_new:
            return None
        return Delivery(cursor, ReceivedEvent(head.id, head.type, head.organization_id, text))

    def _gap(self, message: Message) -> None:
        # Why forget: after a gap the state is reloaded, and an event that a publisher repeats because the service lost it is news to
        # that state, though its id was seen.
        self._seen = _Seen()
        if self._on_gap is not None:
            self._on_gap(Gap(message.reason or "unknown", message.cursor or ""))

    def _error(self, message: Message) -> None:
        failure = failure_of_error(message.code or "error", message.message or "the service gave no reason")
        # Once subscribed, only an end that is announced concerns us; requests of ours may be refused for their number, no more.
        if self._subscribed_at is None or isinstance(failure, Refused):
            raise failure

    def _sent_to(self, url: str | None) -> Address | None:
        """Give the address the service sends us to; None if it is none, or would tell our token to listeners."""
        if url is None:
            return None
        try:
            address = parse_address(url)
        except InvalidInput:
            return None
        return None if self._address.is_encrypted and not address.is_encrypted else address


class _Seen:
    """The last events that were handed out."""

    def __init__(self) -> None:
        self._order: deque[tuple[str, str]] = deque()
        self._known: set[tuple[str, str]] = set()

    def add(self, event: tuple[str, str]) -> bool:
        """Remember an event; say whether it is new."""
        if event in self._known:
            return False
        self._known.add(event)
        self._order.append(event)
        if len(self._order) > REMEMBERED_EVENTS:
            self._known.discard(self._order.popleft())
        return True
