"""What stands in the control log: notices from one node to all, its own included.

Owns: their form as bytes.   Not: acting on them (control.py), the log (engines).
Rule: a node reads what a newer one wrote: unknown members are passed over, an unknown notice is None.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from signtusk_realtime.sessions.identity import Identity


class Revoked(Struct, tag="revoked", tag_field="notice", rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """Exactly one of the three is ended: a user's tokens issued up to a moment (seconds since 1970), a token, a connection.

    `kept_until`: when no such token can be good any more, in milliseconds since 1970; 0: nobody knows.
    """

    organization_id: str
    user_id: str | UnsetType = UNSET
    issued_up_to: int = 0
    token_id: str | UnsetType = UNSET
    connection_id: str | UnsetType = UNSET
    kept_until: int = 0


class Disconnected(Struct, tag="disconnected", tag_field="notice", rename="camel", frozen=True, kw_only=True):
    """A user's connections are closed; the user may come back."""

    organization_id: str
    user_id: str


class ConnectionsAsked(Struct, tag="connections_asked", tag_field="notice", rename="camel", frozen=True, kw_only=True):
    """Who is connected of an organization, or of one of its users? Each node answers with its own."""

    organization_id: str
    user_id: str | UnsetType = UNSET


class Renewed(Struct, tag="renewed", tag_field="notice", rename="camel", frozen=True, kw_only=True):
    """The connection of this name goes on as this identity, whose token was checked by the node that says so. Who has it answers how that went."""

    connection_id: str
    identity: Identity


Notice = Revoked | Disconnected | ConnectionsAsked | Renewed

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Notice]] = msgspec.json.Decoder(Notice)


def encode(notice: Notice) -> bytes:
    """Give a notice's bytes."""
    return _encoder.encode(notice)


def decode(body: bytes) -> Notice | None:
    """Read a notice; None if this version does not know it."""
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None
