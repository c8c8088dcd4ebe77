"""The WebSocket opening handshake, server side, without I/O (RFC 6455 §4.2).

Owns: is this request an upgrade we take, what did it offer, and the bytes of the 101.   Not: the HTTP parser, who the client is, its origin
(server, auth), the extension (deflate.py).
Rule 1: a refusal is a value with status, code and headers; nothing is raised for what a client sends.
Rule 2: no header of a client reaches the answer, and none of ours can carry a line break.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Final, TypeAlias

import msgspec

from signtusk_realtime.protocol.deflate import Agreement, agree

SUBPROTOCOL: Final = "signtusk.v1"
BEARER_PREFIX: Final = "bearer."
VERSION: Final = b"13"

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# 16 bytes in base64, whatever they are.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_HEADER_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_RESPONSE: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no upgrade: an HTTP answer with this status, problem code and headers."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Offer(msgspec.Struct, frozen=True):
    """What `Sec-WebSocket-Protocol` offered: our subprotocol, and a token for those who cannot set headers (browsers)."""

    subprotocol: bool = False
    bearer: str | None = None


NOTHING_OFFERED: Final = Offer()


class Upgrade(msgspec.Struct, frozen=True):
    """A handshake to be completed. `accept` proves that we read the client's key; `deflate`: what was agreed on about compression."""

    accept: bytes
    offer: Offer
    deflate: Agreement | None = None

    def response(self, extra: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
        """Give the bytes of the 101, with the subprotocol if it was offered and the extension if it was agreed on; frames follow at once.

        Raises: ValueError for an extra header with a line break or another character that has no place in it.
        """
        parts = [_RESPONSE, self.accept]
        if self.offer.subprotocol:
            parts.append(b"\r\nSec-WebSocket-Protocol: " + SUBPROTOCOL.encode())
        if self.deflate is not None:
            parts.append(b"\r\nSec-WebSocket-Extensions: " + self.deflate.header)
        for name, value in extra:
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"malformed header {name!r}")
            parts.append(b"\r\n" + name + b": " + value)
        parts.append(b"\r\n\r\n")
        return b"".join(parts)


def negotiate(method: bytes, http_version: str, headers: Headers, *, compression: bool = False) -> Upgrade | Refusal:
    """Look at a request for the WebSocket path. Names in `headers` are lower case, each line of the head its own pair.

    `compression`: whether permessage-deflate is agreed to, if it is offered.
    """
    if method != b"GET":
        return Refusal(405, "method_not_allowed", "a WebSocket is opened by GET", ((b"Allow", b"GET"),))
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value.strip(b" \t"))
    # RFC 9110 §7.8: HTTP/1.0 knows no Upgrade, so one in such a request asks for nothing.
    if (
        http_version != "1.1"
        or b"websocket" not in _tokens(fields.get(b"upgrade", ()))
        or b"upgrade" not in _tokens(fields.get(b"connection", ()))
    ):
        return _upgrade_required("this path speaks WebSocket; ask for the upgrade")
    if fields.get(b"sec-websocket-version") != [VERSION]:
        return _upgrade_required("the WebSocket version must be 13")
    if len(fields.get(b"host", ())) != 1:
        return _invalid("there must be exactly one Host header")
    # The bytes after the head are frames; a body would make their beginning a matter of opinion.
    if b"transfer-encoding" in fields or any(n != b"0" for n in fields.get(b"content-length", ())):
        return _invalid("the request must not have a body")
    keys = fields.get(b"sec-websocket-key", ())
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        return _invalid("Sec-WebSocket-Key must be 16 bytes in base64, once")
    offer = parse_offer(headers) if b"sec-websocket-protocol" in fields else NOTHING_OFFERED
    if offer is None:
        return _invalid("Sec-WebSocket-Protocol carries more than one token")
    deflate = agree(fields.get(b"sec-websocket-extensions", [])) if compression else None
    return Upgrade(_accept(keys[0]), offer, deflate)


def parse_offer(headers: Headers) -> Offer | None:
    """Read the offered subprotocols; what is none of ours, garbage included, is passed over. None if two tokens contradict."""
    subprotocol = False
    bearers: set[str] = set()
    for value in _values(headers, b"sec-websocket-protocol"):
        for raw in value.split(b","):
            token = raw.strip(b" \t")
            if not token.isascii():
                continue
            text = token.decode("ascii")
            if text == SUBPROTOCOL:
                subprotocol = True
            elif text.startswith(BEARER_PREFIX) and len(text) > len(BEARER_PREFIX):
                bearers.add(text[len(BEARER_PREFIX) :])
    if len(bearers) > 1:
        return None
    return Offer(subprotocol, bearers.pop() if bearers else None)


def _accept(key: bytes) -> bytes:
    return b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value.strip(b" \t") for header, value in headers if header == name]


def _tokens(values: Iterable[bytes]) -> set[bytes]:
    return {token.strip(b" \t").lower() for value in values for token in value.split(b",")}


def _upgrade_required(message: str) -> Refusal:
    headers = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Version", VERSION))
    return Refusal(426, "upgrade_required", message, headers)


def _invalid(message: str) -> Refusal:
    return Refusal(400, "invalid_handshake", message)
