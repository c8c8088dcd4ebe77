"""Cursors over any positions and any text."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.events.log import SYSTEM_LOG, Epoch, Position
from signtusk_realtime.protocol.cursor import Cursor, decode, encode

places = st.builds(
    Position,
    st.binary(min_size=8, max_size=8).map(lambda raw: Epoch(raw.hex())),
    st.integers(0, (1 << 56) - 1),
    st.binary(min_size=5, max_size=5),
)
positions = st.none() | places
organizations = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128).filter(
    lambda name: name != SYSTEM_LOG
)


@given(organizations, positions, positions)
def test_any_pair_comes_back(organization_id: str, organization: Position | None, system: Position | None) -> None:
    """In its own organization, and in no other."""
    text = encode(organization_id, organization, system)
    assert decode(organization_id, text) == Cursor(organization, system)
    assert decode(organization_id + "x", text) is None


@given(organizations, st.text() | st.text(string.ascii_letters + string.digits + "-_", min_size=60, max_size=60))
def test_any_text_is_a_cursor_or_none(organization_id: str, text: str) -> None:
    """Nothing is raised, and what is accepted is the one text of its pair."""
    cursor = decode(organization_id, text)
    assert cursor is None or text in (encode(organization_id, *cursor), encode(SYSTEM_LOG, *cursor))


@given(organizations, places, positions)
def test_an_announcements_cursor_is_everybodys(
    organization_id: str, system: Position, organization: Position | None
) -> None:
    """What names a place in the system log alone is read in every organization; what names one in another log too is not."""
    assert decode(organization_id, encode(SYSTEM_LOG, None, system)) == Cursor(None, system)
    foreign = decode(organization_id, encode(SYSTEM_LOG, organization, system))
    assert foreign == (None if organization is not None else Cursor(None, system))
    assert decode(organization_id, encode(SYSTEM_LOG, organization, None)) is None
