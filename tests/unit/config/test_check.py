"""What fits together, and that all faults are told at once."""

from __future__ import annotations

import pytest

from signtusk_realtime.config import AuthSettings, InvalidSettings, LimitSettings, Settings, check, load


def faults_of(**options: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        load(options, {}, None)
    return list(caught.value.faults)


def test_a_server_of_its_own_keeps_its_log_in_a_file() -> None:
    """With nothing set: loopback, development, and the database in the working directory."""
    configuration = load({}, {}, None)
    assert configuration.settings == Settings(database="signtusk-realtime.db")
    assert set(configuration.origins.values()) == {"default"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_development_may_bind_loopback(host: str) -> None:
    """Every loopback address will do."""
    assert load({"host": host}, {}, None).settings.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example.org"])
def test_development_may_not_be_reached_from_outside(host: str) -> None:
    """Anything that may be another machine's address is refused while everybody is let in."""
    (fault,) = faults_of(host=host)
    assert fault.startswith("host: development authentication")
    assert repr(host) in fault


def test_development_may_have_no_public_name() -> None:
    """A name that others reach it by says that others do."""
    (fault,) = faults_of(public_url="https://rt.example.com")
    assert fault.startswith("public_url: development authentication")
    assert load({"public_url": "http://localhost:8080"}, {}, None).settings.public_url == "http://localhost:8080"


def test_contradictions_are_told_beside_faults() -> None:
    """One run names everything that is wrong."""
    faults = faults_of(port="x", host="192.0.2.1", limits_payload_bytes="4096", limits_body_bytes="2048")
    assert [fault.split(":")[0] for fault in faults] == ["port", "host", "limits.payload_bytes"]


def test_settings_made_in_python_are_checked_too() -> None:
    """An application's settings pass the same checks, by the same names."""
    check(Settings())
    with pytest.raises(InvalidSettings) as caught:
        check(Settings(port=-1, durability="fast", limits=LimitSettings(batch=0)))  # type: ignore[arg-type]
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["port", "durability", "limits.batch"]
    with pytest.raises(InvalidSettings, match="jwt needs a key"):
        check(Settings(auth=AuthSettings(mode="jwt")))
