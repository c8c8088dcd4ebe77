"""What an id may look like."""

from __future__ import annotations

import msgspec
import pytest

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.ids import ID_FAULT, Id, check_id, check_organization_id, is_id

GOOD = ["a", "doc-123", "ada@example.org", "a b", "*", "~", "日本", "é", "x" * 128, "🖋" * 128, "a\u2028b"]
BAD = [
    "",
    "x" * 129,
    " a",
    "a ",
    "\u00a0a",
    "a\u3000",
    "\ufeffa",
    "a\n",
    "a\nb",
    "a\x00b",
    "a\x1fb",
    "a\x7f",
    "a\x85b",
    "\t",
]


@pytest.mark.parametrize("value", GOOD)
def test_an_id_is_taken(value: str) -> None:
    """1 to 128 characters of any script are an id, spaces within included."""
    assert is_id(value)
    assert check_id(value) == value
    assert msgspec.json.decode(msgspec.json.encode(value), type=Id) == value


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_id_is_refused(value: str) -> None:
    """Empty, too long, control characters, and white space around are refused, by the function and by the wire type."""
    assert not is_id(value)
    with pytest.raises(InvalidInput) as caught:
        check_id(value, path=("userId",), code="invalid_event")
    assert (caught.value.path, caught.value.code) == (("userId",), "invalid_event")
    assert "1 to 128 characters" in caught.value.message
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(value), type=Id)


def test_a_lone_surrogate_is_no_id() -> None:
    """What UTF-8 cannot carry is refused before an encoder meets it."""
    assert not is_id("a\ud800")


def test_the_decoder_tells_the_rule_in_the_known_words() -> None:
    """ID_FAULT is the decoder's message, so that it can be put into words for people."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'" a"', type=Id)
    assert str(caught.value) == ID_FAULT


def test_organizations_are_not_called_like_reserved_logs() -> None:
    """`*` and `~` are names of logs; other ids may be an organization's."""
    assert check_organization_id("org123") == "org123"
    assert check_organization_id("**") == "**"
    for reserved in ("*", "~"):
        with pytest.raises(InvalidInput, match="reserved") as caught:
            check_organization_id(reserved, path=("organizationId",))
        assert caught.value.path == ("organizationId",)
    with pytest.raises(InvalidInput, match="1 to 128"):
        check_organization_id(" org")
