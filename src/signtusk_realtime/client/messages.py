"""What a service says to a client, read leniently.

Owns: the members that a client acts on.   Not: the messages themselves (protocol/messages.py).
Rule: members and messages this client does not know are passed over; a service may be newer than its clients.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder

from signtusk_realtime.client.failures import garbled


class Message(Struct, rename="camel", frozen=True, kw_only=True):
    """Any message: its type, and the members of all types that a client acts on."""

    type: str
    cursor: str | None = None
    event: Raw | UnsetType = UNSET
    recovered: bool | None = None
    reason: str | None = None
    after_ms: float | None = None
    url: str | None = None
    code: str | None = None
    message: str | None = None
    heartbeat_interval: float | None = None


class Received(NamedTuple):
    """A message, and its text for those who want to see it."""

    message: Message
    text: bytes


class _Typed(Struct):
    type: str = ""


_KNOWN: Final = frozenset(
    {"connected", "subscribed", "unsubscribed", "event", "cursor", "pong", "resync", "reconnect", "error"}
)
_message: Final[Decoder[Message]] = Decoder(Message)
_typed: Final[Decoder[_Typed]] = Decoder(_Typed)


def read_message(text: bytes) -> Received:
    """Read one message. Raises: Refused if it is none, or one of the known that has not its form."""
    try:
        try:
            return Received(_message.decode(text), text)
        except ValidationError as error:
            found = _typed.decode(text).type
            if not found or found in _KNOWN:
                raise garbled(f"the service sent a message of another form: {error}") from None
            return Received(Message(type=found), text)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        raise garbled("the service sent what is no message") from None
