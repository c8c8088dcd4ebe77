"""What a node tells the others of itself.

Owns: the form of its record in the control log.   Not: when it is told and how long it counts (registry.py), who is chosen (balance.py).
Rule: a node reads what a newer one wrote: unknown members are passed over, and a record that is none of ours is None.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

NODES: Final = "nodes"
"""The collection of their records in the control log, by the node's id. An expired one is a node that is gone."""
UNLIMITED: Final = 1 << 53
STORAGE_FORMATS: Final = (1, 1)
"""The oldest and the newest form of stored entries and records that this version reads."""


class Node(Struct, rename="camel", frozen=True, omit_defaults=True, kw_only=True):
    """One node, as it was when it last said so.

    `url`: how clients reach it, None where nobody told it. `connections` of at most `capacity` are open. `status`: of its engine.
    """

    node_id: str
    url: str | None = None
    connections: int = 0
    capacity: int = 0
    status: str = "ok"
    is_draining: bool = False
    version: str = ""
    formats: tuple[int, int] = STORAGE_FORMATS

    @property
    def has_room(self) -> bool:
        """Whether a further client may be sent there."""
        return not self.is_draining and self.status != "unavailable" and self.connections < self.capacity


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Node)


def encode(node: Node) -> bytes:
    """Give a record's value."""
    return _encoder.encode(node)


def decode(value: bytes) -> Node | None:
    """Read a record's value; None if it cannot be read."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None
