"""What settings expose: told where it may not be meant, and nothing where all is shut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from signtusk_realtime.config import AuthSettings, LimitSettings, Settings, TlsSettings, load
from signtusk_realtime.config.exposure import exposures

SECRET = "s" * 32
SHUT = Settings(
    auth=AuthSettings(mode="jwt", secret=SECRET, issuer="app", audience="realtime", max_token_lifetime=3_600_000),
    limits=LimitSettings(connections_per_user=10),
)


def named(settings: Settings, files: Mapping[str, Path] = {}) -> list[str]:
    """Give the names of what is told of."""
    return [name for name, _ in exposures(settings, files)]


def test_what_is_shut_is_not_told_of() -> None:
    """Nor is development on this machine, nor what a proxy or a certificate protects."""
    assert named(SHUT) == named(Settings()) == []
    assert named(replace(SHUT, host="0.0.0.0", trusted_proxies=("10.0.0.1",))) == []
    assert named(replace(SHUT, host="0.0.0.0", tls=TlsSettings(certificate="c.pem", key="k.pem"))) == []
    assert named(replace(SHUT, redis=("rediss://:secret@10.0.0.2", "redis://127.0.0.1"))) == []


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (replace(SHUT, auth=replace(SHUT.auth, audience=None)), "auth.audience"),
        (replace(SHUT, auth=replace(SHUT.auth, secret=None, jwks_url="https://x", issuer=None)), "auth.issuer"),
        (replace(SHUT, auth=replace(SHUT.auth, max_token_lifetime=None)), "auth.max_token_lifetime"),
        (replace(SHUT, auth=replace(SHUT.auth, query_token=True)), "auth.query_token"),
        (replace(SHUT, limits=LimitSettings()), "limits.connections_per_user"),
        (replace(SHUT, host="10.0.0.1"), "host"),
        (replace(SHUT, admin_port=9000, admin_host="10.0.0.1"), "admin_host"),
        (replace(SHUT, redis=("redis://:secret@10.0.0.2",)), "redis"),
        (replace(SHUT, redis=("rediss://10.0.0.2",)), "redis"),
    ],
)
def test_what_is_open_is_told_of(settings: Settings, name: str) -> None:
    """By the setting's name, without anything secret."""
    assert named(settings) == [name]
    assert not any("secret@" in text or SECRET in text for _, text in exposures(settings, {}))


def test_a_secret_that_others_may_read(tmp_path: Path) -> None:
    """Its file is named, until it is the owner's alone; one whose value another source replaced, or that holds nothing secret, is not."""
    file = tmp_path / "secret.txt"
    file.write_text(SECRET)
    options = {"auth_mode": "jwt", "auth_secret_file": str(file)}
    file.chmod(0o644)
    [told] = [text for name, text in load(options, {}, None).exposures if name == "auth.secret"]
    assert "644" in told
    assert str(file) in told
    toml = tmp_path / "settings.toml"
    toml.write_text(f'[auth]\nmode = "jwt"\nsecret_file = "{file}"\n')
    replaced = load({}, {"SIGNTUSK_REALTIME_AUTH_SECRET": SECRET}, toml)
    assert "auth.secret" not in dict(replaced.exposures)
    file.chmod(0o600)
    assert "auth.secret" not in dict(load(options, {}, None).exposures)


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [("auth_secret", SECRET, "auth.secret"), ("redis", f"rediss://:{SECRET}@127.0.0.1", "redis")],
)
def test_a_secret_on_the_command_line_is_told_of(tmp_path: Path, option: str, value: str, name: str) -> None:
    """Whoever lists processes reads it; not so where it comes from the environment or a file, or an address has no password."""
    mode = {"auth_mode": "jwt", "auth_secret": SECRET}
    told = [text for told_of, text in load({**mode, option: value}, {}, None).exposures if told_of == name]
    assert any("command line" in text and SECRET not in text for text in told)
    file = tmp_path / "value"
    file.write_text(value)
    file.chmod(0o600)
    environment = {"SIGNTUSK_REALTIME_AUTH_MODE": "jwt", "SIGNTUSK_REALTIME_AUTH_SECRET": SECRET}
    shut = {k: v for k, v in environment.items() if not k.endswith(option.upper())}
    for found in (
        load({}, {**environment, f"SIGNTUSK_REALTIME_{option.upper()}": value}, None),
        load({f"{option}_file": str(file)}, shut, None),
        load({"redis": "rediss://127.0.0.1"}, environment, None),
    ):
        assert not any("command line" in text for _, text in found.exposures)
