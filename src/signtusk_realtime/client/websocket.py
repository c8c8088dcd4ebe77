"""A link over WebSocket.

Owns: handshake, the subscribe request, from close codes to failures.   Not: what messages mean (feed.py).
Why no keep-alive of the library: it counts pongs, and a consumer that takes its time reads none. A feed asks for life only while it waits.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from urllib.parse import urlencode

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from signtusk_realtime.client.failures import Lost, Refused, failure_of_answer, failure_of_close
from signtusk_realtime.client.link import Wanted
from signtusk_realtime.client.messages import Received, read_message
from signtusk_realtime.client.trust import for_websockets
from signtusk_realtime.protocol.codes import ABNORMAL
from signtusk_realtime.protocol.messages import Ping, Subscribe, encode

MAX_MESSAGE_BYTES: Final = 8 << 20
WAITING_MESSAGES: Final = 256
"""How many messages may wait for the consumer before the connection is read no further."""
CLOSE_TIMEOUT_S: Final = 2.0
_PING: Final = encode(Ping()).decode()


class WebSocketLink:
    """See the module and the port."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def receive(self) -> Received:
        """See the port."""
        try:
            text = await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            raise _failure(closed) from None
        return read_message(text)

    def silence_s(self, heartbeat_s: float) -> float:
        """See the port. Protocol pings do not show here, so that a whole heartbeat may pass."""
        return heartbeat_s

    async def probe(self) -> bool:
        """See the port."""
        try:
            await self._socket.send(_PING)
        except ConnectionClosed as closed:
            raise _failure(closed) from None
        return True

    async def close(self) -> None:
        """See the port."""
        with suppress(WebSocketException, OSError):
            await self._socket.close()


async def open_websocket(wanted: Wanted) -> WebSocketLink:
    """Connect and ask for the subscriptions. Raises: Lost, Refused."""
    address, credentials = wanted.address, wanted.credentials
    query = credentials.query
    uri = f"{address.websocket}?{urlencode(query)}" if query else address.websocket
    try:
        socket = await connect(
            uri,
            additional_headers=credentials.headers,
            # The credentials are in a header, so that a refusal is an HTTP answer that says why.
            compression=None,
            proxy=None if address.is_loopback else True,
            ssl=for_websockets() if address.is_encrypted else None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=WAITING_MESSAGES,
        )
    except InvalidStatus as refusal:
        answer = refusal.response
        raise failure_of_answer(answer.status_code, answer.headers.get("Retry-After"), bytes(answer.body)) from None
    except (OSError, EOFError) as error:
        raise Lost(f"{error}" or type(error).__name__) from None
    except InvalidHandshake as error:
        if isinstance(error.__cause__, EOFError):
            raise Lost("the connection ended during the handshake") from None
        raise Refused(f"what listens there speaks no WebSocket: {error}", code="framing_error") from None
    request = Subscribe(subscriptions=wanted.subscriptions, cursor=UNSET if wanted.cursor is None else wanted.cursor)
    link = WebSocketLink(socket)
    try:
        await socket.send(encode(request).decode())
    except ConnectionClosed as closed:
        await link.close()
        raise _failure(closed) from None
    except BaseException:
        await link.close()
        raise
    return link


def _failure(closed: ConnectionClosed) -> Refused | Lost:
    received, sent = closed.rcvd, closed.sent
    if sent is not None and (received is None or not closed.rcvd_then_sent):
        # We ended it: what came broke the protocol, or our bounds.
        return failure_of_close(sent.code, sent.reason)
    if received is None:
        return failure_of_close(ABNORMAL, "")
    return failure_of_close(received.code, received.reason)
