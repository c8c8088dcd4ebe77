"""Events on their way: an id for each, everything else untouched."""

from __future__ import annotations

import json

import pytest

from signtusk_realtime.client.outgoing import outgoing
from signtusk_realtime.errors import InvalidInput


@pytest.mark.parametrize("text", [b'{"kind":"team_update","n":1.50,"n":2}', b'  { "kind" : "x" }  ', b"{ }", b"{}"])
def test_an_id_is_put_in_and_nothing_changed(text: bytes) -> None:
    """Numbers, spaces and even faults go to the service as they were written; it is the judge of them."""
    sent = outgoing(text).text
    value = json.loads(sent)
    assert value.pop("id").startswith("evt_")
    assert value == json.loads(text)
    assert b"1.50" in sent or b"1.50" not in text


@pytest.mark.parametrize("text", [b'{"id":"e1","kind":"x"}', b'{"id":null}', b'{"kind":"notification"}'])
def test_an_id_of_ones_own_stays(text: bytes) -> None:
    """An id is not replaced, not even a wrong one; and a notification's is its maker's to give."""
    assert outgoing(text).text == text


def test_ids_are_fresh() -> None:
    """Two events without ids are two events."""
    assert outgoing(b"{}").text != outgoing(b"{}").text


@pytest.mark.parametrize(
    ("text", "organization"),
    [
        (b'{"organizationId":"o1"}', "o1"),
        (b'{"organizationId":"\\u006f1"}', "o1"),
        (b'{"organizationId":7}', None),
        (b"{}", None),
        (b'{"kind":"system_announcement"}', "*"),
    ],
)
def test_its_log_is_known(text: bytes, organization: str | None) -> None:
    """The organization as it is named; announcements have a log of their own."""
    assert outgoing(text).organization == organization


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"{", "not JSON: Input data was truncated"),
        (b"kind", "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":' * 100_000, "not JSON|too deep"),
    ],
)
def test_what_is_no_object_is_refused(text: bytes, said: str) -> None:
    """It is told here, where its line is known."""
    with pytest.raises(InvalidInput, match=said):
        outgoing(text)
