"""The table of codes: whole, without contradictions, and what the protocol says of coming back."""

from __future__ import annotations

import pytest

from signtusk_realtime import errors
from signtusk_realtime.protocol import codes
from signtusk_realtime.protocol.codes import CODES, CloseCode, Kind, comes_back, lookup, of_kind, problem_status


def test_a_name_stands_once_in_its_kind() -> None:
    """A lookup has one answer, and a close number one name."""
    assert len({(code.kind, code.name) for code in CODES}) == len(CODES)
    numbers = [code.number for code in of_kind(Kind.CLOSE)]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("code", CODES, ids=lambda code: f"{code.kind.value} {code.name}")
def test_a_row_says_what_it_means_and_what_to_do(code: codes.Code) -> None:
    """Both sentences are whole; numbers are of the kind's range."""
    assert code.meaning.endswith(".")
    assert code.action.endswith(".")
    assert lookup(code.kind, code.name) is code
    match code.kind:
        case Kind.CLOSE:
            assert 1000 <= code.number <= 4999
            assert code.comes_back == comes_back(code.number)
            assert len(code.name) <= 123
        case Kind.PROBLEM:
            assert 400 <= code.number <= 599
            assert problem_status(code.name) == code.number
        case _:
            assert code.number == 0


def test_every_constant_is_in_the_table() -> None:
    """A close code that is used is a close code that is documented."""
    constants = [value for value in vars(codes).values() if isinstance(value, CloseCode)]
    assert len(constants) >= 19
    for constant in constants:
        assert lookup(Kind.CLOSE, constant.name).number == constant.number


@pytest.mark.parametrize("number", [1001, 1005, 1006, 1011, 1012, 1013, 4000, 4400, 4401, 4429, 4430, 4499])
def test_clients_come_back(number: int) -> None:
    """The ranges of spec/protocol.md §11."""
    assert comes_back(number)


@pytest.mark.parametrize("number", [1000, 1002, 1003, 1007, 1008, 1009, 1010, 1014, 1015, 3000, 3999, 4500, 4509, 4999])
def test_clients_stay_away(number: int) -> None:
    """What a reconnect cannot heal."""
    assert not comes_back(number)


@pytest.mark.parametrize(
    "number,name",
    [
        (4400, "heartbeat_timeout"),
        (4401, "token_expired"),
        (4429, "rate_limited"),
        (4430, "overloaded"),
        (4501, "unauthenticated"),
        (4503, "forbidden"),
        (4504, "revoked"),
        (4509, "protocol_violation"),
    ],
)
def test_our_close_codes_are_the_contracts(number: int, name: str) -> None:
    """Numbers are forever."""
    assert lookup(Kind.CLOSE, name).number == number


@pytest.mark.parametrize(
    "name,status",
    [
        ("invalid_json", 400),
        ("invalid_parameter", 400),
        ("unauthenticated", 401),
        ("forbidden", 403),
        ("origin_not_allowed", 403),
        ("not_found", 404),
        ("method_not_allowed", 405),
        ("not_acceptable", 406),
        ("event_id_reused", 409),
        ("cursor_expired", 410),
        ("payload_too_large", 413),
        ("batch_too_large", 413),
        ("unsupported_media_type", 415),
        ("invalid_event", 422),
        ("mixed_organizations", 422),
        ("upgrade_required", 426),
        ("rate_limited", 429),
        ("overloaded", 503),
        ("unavailable", 503),
    ],
)
def test_problem_codes_have_the_protocols_status(name: str, status: int) -> None:
    """Each problem has the status that the protocol gives it, as far as it is built."""
    assert problem_status(name) == status


def test_error_codes_are_the_protocols() -> None:
    """Every code an error message may carry is in the table, and each reason of `recovered`."""
    named = (
        "cursor_not_first invalid_json invalid_message too_deep unknown_subscription too_many_subscriptions forbidden"
    )
    named += " rate_limited invalid_token identity_mismatch unavailable"
    assert set(named.split()) <= {code.name for code in of_kind(Kind.ERROR)}
    assert {code.name for code in of_kind(Kind.RECOVERED)} == {"expired", "epoch", "unknown"}


def test_every_error_of_ours_has_a_row() -> None:
    """What can be raised while serving has a code that a peer can look up."""
    names = {code.name for code in CODES}
    raised = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.RealtimeError)
    ]
    assert {error.code for error in raised} - names == {errors.ConfigurationError.code}
