"""The table of settings is whole, and single values are read strictly."""

from __future__ import annotations

import pytest

from signtusk_realtime.config.check import SERVE_DEFAULTS
from signtusk_realtime.config.settings import SETTINGS, Setting, Settings, Value, settings_of, values_of, written
from signtusk_realtime.errors import ConfigurationError

# The defaults that people rely on, for what exists so far.
PROMISED = {
    "host": "127.0.0.1",
    "port": 8080,
    "workers": 1,
    "redis": (),
    "redis_prefix": "rt1",
    "redis_wait": 0,
    "redis_allow_unsafe": False,
    "redis_min_replicas": 0,
    "redis_ca": None,
    "redis_certificate": None,
    "redis_key": None,
    "admin_host": "127.0.0.1",
    "admin_port": None,
    "database": "signtusk-realtime.db",
    "durability": "full",
    "heartbeat_interval": 30_000,
    "pong_timeout": 10_000,
    "drain_timeout": 10_000,
    "retention_age": 259_200_000,
    "retention_count": None,
    "retention_bytes": 1 << 30,
    "outbox_bytes": 1 << 20,
    "message_queue_size": 1000,
    "connection_timeout": 300_000,
    "tail_bytes": 64 << 20,
    "compression": True,
    "presence_leave_delay": 10_000,
    "document_policy": "plain",
    "versionless": "infer",
    "versionless_window": 30_000,
    "document_retention_versions": 1000,
    "document_retention_age": 2_592_000_000,
    "allowed_origins": (),
    "trusted_proxies": (),
    "public_url": None,
    "load_balancing": "round_robin",
    "health_check_interval": 60_000,
    "auth.mode": "development",
    "auth.secret": None,
    "auth.public_key": None,
    "auth.jwks_url": None,
    "auth.algorithms": (),
    "auth.issuer": None,
    "auth.audience": None,
    "auth.leeway": 0,
    "auth.max_token_lifetime": None,
    "auth.user_claim": "sub",
    "auth.organization_claim": "org",
    "auth.teams_claim": "teams",
    "auth.cookie": None,
    "auth.query_token": False,
    "auth.ticket_lifetime": 30_000,
    "limits.connections": 10_000,
    "limits.connections_per_organization": None,
    "limits.connections_per_user": None,
    "limits.connections_per_address": None,
    "limits.messages_per_second": 50,
    "limits.message_burst": 100,
    "limits.bytes_per_second": 256 << 10,
    "limits.subscriptions": 100,
    "limits.message_bytes": 65_536,
    "limits.json_depth": 32,
    "limits.batch": 1000,
    "limits.payload_bytes": 256 << 10,
    "limits.body_bytes": 8 << 20,
    "tls.certificate": None,
    "tls.key": None,
}


def test_defaults_are_those_promised() -> None:
    """Every setting has the promised default, and there is no other setting."""
    assert {name: setting.default for name, setting in SETTINGS.items()} | SERVE_DEFAULTS == PROMISED


def test_an_embedded_service_leaves_no_file() -> None:
    """Settings made in Python keep the log in memory."""
    assert Settings().database == ":memory:"


def test_a_setting_has_one_name_in_three_spellings() -> None:
    """Option and variable follow from the dotted name."""
    setting = SETTINGS["limits.message_bytes"]
    assert (setting.option, setting.variable) == (
        "--limits-message-bytes",
        "SIGNTUSK_REALTIME_LIMITS_MESSAGE_BYTES",
    )


@pytest.mark.parametrize("spelling", ["option", "variable", "keyword"])
def test_spellings_are_unambiguous(spelling: str) -> None:
    """No two settings share an option, a variable or a keyword."""
    assert len({getattr(setting, spelling) for setting in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_a_default_is_allowed(setting: Setting) -> None:
    """A default passes its own check, and as text too."""
    assert setting.check(setting.default) == setting.default
    assert setting.parse(written(setting.default)) == setting.default


@pytest.mark.parametrize("setting", [s for s in SETTINGS.values() if s.is_number], ids=lambda setting: setting.name)
def test_numbers_are_bounded(setting: Setting) -> None:
    """Both ends of a range are allowed, and nothing beyond."""
    for allowed in (setting.least, setting.most):
        assert setting.parse(str(allowed)) == allowed
    for refused in (setting.least - 1, setting.most + 1):
        with pytest.raises(ConfigurationError, match="not allowed; allowed: an integer from"):
            setting.parse(str(refused))


@pytest.mark.parametrize("text", ["", " 1", "1_000", "+1", "1.0", "1e3", "0x10", "٣", "30s", "true", "9" * 5000])
def test_only_plain_integers_are_numbers(text: str) -> None:
    """A number is digits, without units, spaces, signs or separators."""
    with pytest.raises(ConfigurationError):
        SETTINGS["heartbeat_interval"].parse(text)


@pytest.mark.parametrize("value", [True, 1.0, "8080", None, [8080], {}])
def test_typed_values_are_not_converted(value: object) -> None:
    """A TOML file or an application gives a number as a number."""
    with pytest.raises(ConfigurationError):
        SETTINGS["port"].check(value)


@pytest.mark.parametrize("text", ["", "True", "yes", "1", "on", "none", " true"])
def test_a_flag_is_true_or_false(text: str) -> None:
    """A flag is written as in TOML, and nothing else is taken for it."""
    assert SETTINGS["compression"].parse("true") is True
    assert SETTINGS["compression"].parse("false") is False
    with pytest.raises(ConfigurationError, match="not allowed; allowed: true or false"):
        SETTINGS["compression"].parse(text)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_a_typed_flag_is_not_converted(value: object) -> None:
    """A TOML file or an application gives a flag as a boolean."""
    with pytest.raises(ConfigurationError):
        SETTINGS["compression"].check(value)


def test_only_an_optional_number_may_be_none() -> None:
    """`none` takes a bound away where there may be none."""
    assert SETTINGS["retention_count"].parse("none") is None
    with pytest.raises(ConfigurationError, match="'none' is not allowed"):
        SETTINGS["retention_bytes"].parse("none")


def test_a_list_is_written_with_commas() -> None:
    """Each item once, in its order, without the spaces around it; a text of nothing is the empty list."""
    origins = SETTINGS["allowed_origins"]
    assert origins.parse("https://a.example, https://b.example,https://a.example") == (
        "https://a.example",
        "https://b.example",
    )
    assert origins.parse("") == ()
    assert origins.check(["https://a.example"]) == ("https://a.example",)
    for refused in (",", "a,", "a,,b", " "):
        with pytest.raises(ConfigurationError, match="not allowed"):
            origins.parse(refused)
    for refused in ("https://a.example", [1], [["a"]], {"a": 1}, None, [""]):
        with pytest.raises(ConfigurationError, match="not allowed"):
            origins.check(refused)


def test_every_item_of_a_list_is_one_of_its_choices() -> None:
    """`none` among them is no way to leave them out, and no algorithm."""
    algorithms = SETTINGS["auth.algorithms"]
    assert algorithms.parse("RS256,ES256") == ("RS256", "ES256")
    for refused in ("none", "RS256,none", "rs256", "RS256 ES256"):
        with pytest.raises(ConfigurationError, match="allowed: any of HS256"):
            algorithms.parse(refused)


def test_a_refused_secret_is_not_shown() -> None:
    """Of what a secret should be, only that is told."""
    for value in (1234567, ["canary"], {"canary": 1}):
        with pytest.raises(ConfigurationError, match="a secret is not allowed") as caught:
            SETTINGS["auth.secret"].check(value)
        assert "canary" not in caught.value.message
        assert "1234567" not in caught.value.message


def test_choices_are_named() -> None:
    """A refused choice is told what there is to choose from."""
    with pytest.raises(ConfigurationError, match="'fast' is not allowed; allowed: full or normal"):
        SETTINGS["durability"].parse("fast")


def test_a_fault_shows_a_long_value_shortened() -> None:
    """A value of any length makes a line that can be read."""
    with pytest.raises(ConfigurationError) as caught:
        SETTINGS["durability"].parse("x" * 10_000)
    assert len(caught.value.message) < 120


def test_values_and_settings_are_the_same_thing() -> None:
    """Settings taken apart and put together again are equal, with every value changed."""
    changed = {name: _another(setting) for name, setting in SETTINGS.items()}
    assert values_of(settings_of(changed)) == changed
    assert settings_of({}) == Settings()


def _another(setting: Setting) -> Value:
    if setting.is_flag:
        return not setting.default
    if setting.is_number:
        return setting.least + 1
    if setting.is_list:
        return (setting.choices[-1] if setting.choices else "elsewhere",)
    return setting.choices[-1] if setting.choices else "elsewhere"
