"""Compressed events: made once, shared by all who agreed on the same, and only where it pays."""

from __future__ import annotations

import pytest

from signtusk_realtime.delivery.audience import Audience
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES, WORTH_DEFLATING_BYTES, Frames, frames_for
from signtusk_realtime.delivery.item import Item
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch, Position
from signtusk_realtime.protocol.deflate import SMALL_WINDOW_BITS, WINDOW_BITS, Agreement
from signtusk_realtime.sessions.entitlement import FULL
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.delivery import member
from tests.support.outlets import Outlet
from tests.support.wire import ServerFrames

START = Position(Epoch("0" * 16), 0, ORIGIN_TAG)
HERE = Place(START, START)
ORGANIZATION = Organization("org123", START, lambda connection, place: None)
DEFLATED = frames_for(Agreement(WINDOW_BITS, b""))
LONG = b'{"title":"%b"}' % (b"agreement " * 200)


def item(body: bytes) -> Item:
    entry = Entry(1, ORIGIN_TAG, 0, "evt_1", ("document_updated",), body)
    return Item(entry, "cursor", Place(START._replace(offset=1), START))


def connection(form: Frames, outlet: Outlet) -> Connection:
    return Connection("conn_1", Session(member(), SessionLimits()), outlet, form, ORGANIZATION, 0)


def payloads(sent: bytes, window_bits: int) -> tuple[list[bytes], int]:
    """Give the messages in these frames, and how many of them were compressed."""
    frames = ServerFrames(window_bits)
    return [frame.payload for frame in frames.feed(sent)], len(frames.deflated)


def test_members_of_an_audience_are_written_the_same_bytes() -> None:
    """An event is compressed once, whatever the number of connections; several audiences share it too."""
    outlets = [Outlet() for _ in range(5)]
    one = item(LONG)
    for members in (outlets[:3], outlets[3:]):
        audience = Audience((), FULL, DEFLATED, HERE)
        for outlet in members:
            audience.join(connection(DEFLATED, outlet), HERE)
        audience.offer(one)
        assert audience.flush(lambda: 0.0, 1.0)
    written = [outlet.writes for outlet in outlets]
    assert all(len(writes) == 1 and writes[0] is written[0][0] for writes in written)
    assert isinstance(written[0][0], bytes)
    assert payloads(written[0][0], WINDOW_BITS) == ([b'{"type":"event","cursor":"cursor","event":%b}' % LONG], 1)
    assert len(written[0][0]) < len(LONG) / 5


@pytest.mark.parametrize("window_bits", [WINDOW_BITS, SMALL_WINDOW_BITS])
def test_each_agreement_has_bytes_of_its_own(window_bits: int) -> None:
    """Who agreed on a small window gets what fits it; who agreed on nothing gets plain frames, of the same event."""
    form, one = frames_for(Agreement(window_bits, b"")), item(LONG)
    assert frames_for(Agreement(window_bits, b"other words")) is form
    assert frames_for(None) is FRAMES
    compressed, plain = one.chunk(form, True), one.chunk(FRAMES, True)
    assert isinstance(compressed, bytes)
    assert isinstance(plain, bytes)
    assert payloads(compressed, window_bits)[0] == payloads(plain, 0)[0]
    assert {frames_for(agreed).name for agreed in (None, Agreement(9, b""), Agreement(12, b""))} == {
        "frames",
        "frames deflated 9",
        "frames deflated 12",
    }


def test_short_events_are_not_compressed() -> None:
    """From the limit on it pays, below it the same bytes are sent as to everybody."""
    empty = len(payloads(FRAMES.event("cursor", "t", b""), 0)[0][0])
    for size, is_deflated in [(WORTH_DEFLATING_BYTES - 1, 0), (WORTH_DEFLATING_BYTES, 1)]:
        assert payloads(DEFLATED.event("cursor", "t", b"x" * (size - empty)), WINDOW_BITS)[1] == is_deflated


def test_what_does_not_become_shorter_is_not_compressed() -> None:
    """A body that is compressed or ciphered already is sent as it is."""
    noise = bytes((n * n * 2_654_435_761 >> 11) % 256 for n in range(3000))
    assert payloads(DEFLATED.event("cursor", "t", noise), WINDOW_BITS)[1] == 0


def test_answers_are_not_compressed() -> None:
    """They belong to one connection: compressing them would cost each its own time."""
    assert DEFLATED.message(LONG) == FRAMES.message(LONG)
    assert DEFLATED.heartbeat("cursor") == FRAMES.heartbeat("cursor")
