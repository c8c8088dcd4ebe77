"""The last step on a transport, whatever state that is in."""

from __future__ import annotations

import asyncio

import pytest

from signtusk_realtime.server.goodbye import say_no_more


class Transport(asyncio.Transport):
    """A transport that notes how it was ended."""

    def __init__(self, *, half: bool = True, gone: bool = False, closing: bool = False) -> None:
        super().__init__()
        self.said: list[str] = []
        self._half, self._gone, self._closing = half, gone, closing

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return self._half

    def write_eof(self) -> None:
        if self._gone:
            raise OSError(107, "Transport endpoint is not connected")
        self.said.append("eof")

    def close(self) -> None:
        self.said.append("close")


@pytest.mark.parametrize(
    ("transport", "said"),
    [
        (Transport(), ["eof"]),
        (Transport(half=False), ["close"]),
        (Transport(gone=True), ["close"]),
        (Transport(closing=True), []),
    ],
    ids=["open", "TLS", "the peer is gone", "closing already"],
)
def test_how_a_transport_is_ended(transport: Transport, said: list[str]) -> None:
    """Half where that is possible, whole where it is not, never twice, and never by an error."""
    say_no_more(transport)
    assert transport.said == said
