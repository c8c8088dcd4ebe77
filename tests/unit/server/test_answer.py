"""An answer's head goes with the first piece of its body."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from signtusk_realtime.server.answer import Answer

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class _Transport:
    def __init__(self) -> None:
        self.calls: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return "close" in self.calls


@pytest.fixture
def transport() -> _Transport:
    return _Transport()


@pytest.fixture
def answer(transport: _Transport) -> Answer:
    return Answer(cast("asyncio.Transport", transport))


def test_head_and_body_are_one_write(answer: Answer, transport: _Transport) -> None:
    """Also where the body is empty; what follows the first piece is written as it comes."""
    answer.write(HEAD)
    assert transport.calls == []
    answer.write(b"{}")
    answer.write(b"more")
    answer.write(b"")
    assert transport.calls == [HEAD + b"{}", b"more", b""]


def test_an_empty_body_sends_the_head(answer: Answer, transport: _Transport) -> None:
    """As behind 204."""
    answer.write(HEAD)
    answer.write(b"")
    assert transport.calls == [HEAD]


def test_continue_is_not_kept(answer: Answer, transport: _Transport) -> None:
    """The peer waits for it before it sends what the answer is about."""
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert transport.calls == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    answer.write(HEAD)
    answer.write(b"{}")
    assert transport.calls[1:] == [HEAD + b"{}"]


def test_closing_loses_no_head(answer: Answer, transport: _Transport) -> None:
    """An answer that breaks off has begun all the same."""
    answer.write(HEAD)
    assert not answer.is_closing()
    answer.close()
    assert transport.calls == [HEAD, "close"]
    assert answer.is_closing()


def test_nothing_is_written_behind_the_end(answer: Answer, transport: _Transport) -> None:
    """A transport that is gone refuses to be written to, and nobody is left to answer."""
    answer.write(HEAD)
    transport.close()
    answer.write(b"{}")
    assert transport.calls == ["close"]
