"""What fits together of keys, addresses and origins; every combination that would let in the wrong ones, or nobody, is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from signtusk_realtime.config import InvalidSettings, load
from tests.support.tokens import SECRET, ec_key, private_pem, public_pem, rsa_key

JWKS = "https://login.example.com/keys.json"


def faults(**options: str) -> list[str]:
    try:
        load(options, {}, None)
    except InvalidSettings as error:
        return list(error.faults)
    return []


@pytest.mark.parametrize(
    "options",
    [
        {"auth_secret": SECRET},
        {"auth_secret": SECRET, "auth_algorithms": "HS512, HS256"},
        {"auth_public_key": public_pem(rsa_key())},
        {"auth_public_key": public_pem(ec_key("P-384")), "auth_algorithms": "ES384"},
        {"auth_jwks_url": JWKS},
        {"auth_jwks_url": "http://127.0.0.1:8081/keys", "auth_algorithms": "RS256,EdDSA"},
        {"auth_jwks_url": "http://localhost/keys?tenant=1"},
        {"auth_secret": SECRET, "auth_cookie": "__Host-session", "allowed_origins": "https://app.example.com"},
    ],
)
def test_one_key_that_fits_may_bind_any_address(options: dict[str, str]) -> None:
    """With authentication the service may be reached from everywhere."""
    assert faults(auth_mode="jwt", host="0.0.0.0", **options) == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "auth.mode: jwt needs a key"),
        ({"auth_secret": "short"}, "auth.secret: has 5 bytes; at least 32 are required"),
        ({"auth_secret": SECRET, "auth_jwks_url": JWKS}, "auth.secret: is given, and so is auth.jwks_url"),
        (
            {"auth_public_key": public_pem(rsa_key()), "auth_jwks_url": JWKS},
            "auth.public_key: is given, and so is auth.jwks_url",
        ),
        ({"auth_secret": SECRET, "auth_algorithms": "none"}, "auth.algorithms: 'none' is not allowed"),
        ({"auth_secret": SECRET, "auth_algorithms": "HS256,hs512"}, "auth.algorithms: 'hs512' is not allowed"),
        ({"auth_secret": SECRET, "auth_algorithms": "RS256"}, "auth.algorithms: RS256 cannot be used with a secret"),
        (
            {"auth_public_key": public_pem(ec_key()), "auth_algorithms": "HS256"},
            "auth.algorithms: HS256 cannot be used",
        ),
        (
            {"auth_public_key": public_pem(ec_key()), "auth_algorithms": "ES384"},
            "auth.algorithms: ES384 cannot be used",
        ),
        ({"auth_jwks_url": JWKS, "auth_algorithms": "HS256,RS256"}, "auth.algorithms: HS256 cannot be used"),
        ({"auth_public_key": "nonsense"}, "auth.public_key: is not a public key"),
        ({"auth_public_key": private_pem(ec_key()).decode()}, "auth.public_key: is a private key"),
        ({"auth_jwks_url": "login.example.com"}, "auth.jwks_url: is no address"),
        ({"auth_jwks_url": "file:///etc/keys.json"}, "auth.jwks_url: is no address"),
        ({"auth_jwks_url": "https://user:password@login.example.com/"}, "auth.jwks_url: is no address"),
        ({"auth_jwks_url": "http://login.example.com/keys.json"}, "auth.jwks_url: must be https"),
        ({"auth_jwks_url": "http://localhost.example.com/"}, "auth.jwks_url: must be https"),
        ({"auth_secret": SECRET, "auth_organization_claim": "sub"}, "auth.user_claim: users, organizations and teams"),
        ({"auth_secret": SECRET, "auth_cookie": "a b"}, "auth.cookie: 'a b' cannot be a cookie's name"),
        ({"auth_secret": SECRET, "auth_leeway": "300001"}, "auth.leeway: 300001 is not allowed"),
        ({"auth_secret": SECRET, "auth_query_token": "yes"}, "auth.query_token: 'yes' is not allowed"),
        ({"auth_secret": SECRET, "allowed_origins": "https://a.example,*"}, "allowed_origins: '*' is no origin"),
        ({"auth_secret": SECRET, "allowed_origins": "null"}, "allowed_origins: 'null' is no origin"),
        ({"auth_secret": SECRET, "public_url": "rt.example.com"}, "public_url: 'rt.example.com' is no address"),
        ({"auth_secret": SECRET, "trusted_proxies": "proxy.local"}, "trusted_proxies: 'proxy.local' is no address"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_does_not_fit_is_told(options: dict[str, str], fault: str) -> None:
    """In one line that names the setting, before anything is bound."""
    found = faults(auth_mode="jwt", **options)
    assert [line for line in found if line.startswith(fault)], found
    assert len(found) == 1


@pytest.mark.parametrize(
    "options", [{"auth_secret": SECRET}, {"auth_jwks_url": JWKS}, {"auth_public_key": public_pem(ec_key())}]
)
def test_a_key_that_nothing_looks_at_is_told(options: dict[str, str]) -> None:
    """Who sets a key and forgets the mode would let everybody in and not know it."""
    (fault,) = faults(**options)
    assert "nothing looks at it in development" in fault


def test_no_fault_shows_a_secret(tmp_path: Path) -> None:
    """Whatever is wrong with it or beside it."""
    file = tmp_path / "realtime.toml"
    for secret in ("canary", "canary" * 10):
        for text in (f'secret = "{secret}"', f'secret = ["{secret}"]', f'secret = {{ x = "{secret}" }}'):
            file.write_text(f'[auth]\n{text}\nmode = "jwt"\nalgorithms = ["none"]\n', encoding="utf-8")
            with pytest.raises(InvalidSettings) as caught:
                load({}, {}, file)
            assert "canary" not in str(caught.value)


# ---- keys in files of their own


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """Named by option, variable or in the settings' file; one line break at its end is none of it."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n", encoding="utf-8")
    key = tmp_path / "key.pem"
    key.write_text(public_pem(ec_key()), encoding="utf-8")
    settings = tmp_path / "realtime.toml"
    settings.write_text(f'[auth]\nmode = "jwt"\nsecret_file = "{secret}"\n', encoding="utf-8")
    variable = "SIGNTUSK_REALTIME_AUTH_SECRET_FILE"
    for found in (
        load({"auth_mode": "jwt", "auth_secret_file": str(secret)}, {}, None),
        load({"auth_mode": "jwt"}, {variable: str(secret)}, None),
        load({}, {}, settings),
    ):
        assert found.settings.auth.secret == SECRET
        assert str(secret) in found.origins["auth.secret"]
    found = load({"auth_mode": "jwt", "auth_public_key_file": str(key)}, {}, None)
    assert found.settings.auth.public_key == public_pem(ec_key()).strip()


def test_the_nearer_source_counts_for_files_too(tmp_path: Path) -> None:
    """An option beats a variable that names a file, and the other way round."""
    file = tmp_path / "secret"
    file.write_text("f" * 32, encoding="utf-8")
    by_file = {"SIGNTUSK_REALTIME_AUTH_SECRET_FILE": str(file)}
    assert load({"auth_mode": "jwt", "auth_secret": SECRET}, by_file, None).settings.auth.secret == SECRET
    direct = {"SIGNTUSK_REALTIME_AUTH_SECRET": SECRET}
    options = {"auth_mode": "jwt", "auth_secret_file": str(file)}
    assert load(options, direct, None).settings.auth.secret == "f" * 32


def test_a_key_and_its_file_at_once_are_an_error(tmp_path: Path) -> None:
    """In one source nobody knows which is meant."""
    file = tmp_path / "secret"
    file.write_text(SECRET, encoding="utf-8")
    settings = tmp_path / "realtime.toml"
    settings.write_text(f'[auth]\nsecret = "{SECRET}"\nsecret_file = "{file}"\n', encoding="utf-8")
    variables = {
        "SIGNTUSK_REALTIME_AUTH_SECRET": SECRET,
        "SIGNTUSK_REALTIME_AUTH_SECRET_FILE": str(file),
    }
    options = {"auth_mode": "jwt", "auth_secret": SECRET, "auth_secret_file": str(file)}
    for arguments in ((options, {}, None), ({}, variables, None), ({}, {}, settings)):
        with pytest.raises(InvalidSettings, match=r"auth\.secret: is given, and so is auth\.secret_file"):
            load(*arguments)  # type: ignore[arg-type]  # of three kinds


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Missing, a folder, or not text; what is in it is not shown."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"canary\xff")
    for name, why in (
        (str(tmp_path / "none"), "No such file"),
        (str(tmp_path), "Is a directory"),
        (str(garbage), "UTF-8"),
    ):
        found = faults(auth_mode="jwt", auth_secret_file=name)
        assert found[0].startswith("auth.secret_file: cannot read")
        assert why in found[0]
        assert "canary" not in " ".join(found)


@pytest.mark.parametrize(
    "settings",
    [
        {"public_url": "https://u:CANARY@rt.example.com"},
        {"public_url": "https://CANARY@rt.example.com"},
        {"public_url": "u:CANARY@rt.example.com"},
        {"public_url": "https://u:CAN/CANARY@x@rt.example.com"},
        {"public_url": "https://rt.example.com?token=CANARY#x"},
        {"auth_mode": "development", "public_url": "https://u:CANARY@rt.example.com"},
        {"allowed_origins": "https://u:CANARY@rt.example.com"},
    ],
)
def test_an_address_is_repeated_without_what_opens_doors(settings: dict[str, str]) -> None:
    """It is refused, and said which, without the credentials that somebody wrote into it."""
    auth = {} if "auth_mode" in settings else {"auth_mode": "jwt", "auth_secret": SECRET}
    with pytest.raises(InvalidSettings) as refused:
        load({**auth, **settings}, {}, None)
    assert all("CANARY" not in fault for fault in refused.value.faults)
    assert any("rt.example.com" in fault for fault in refused.value.faults)
