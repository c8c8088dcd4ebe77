"""What the command prints and answers; that it serves is shown by tests/e2e."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tomllib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signtusk_realtime
from signtusk_realtime import cli
from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.config import SETTINGS, AuthSettings, Configuration, load
from signtusk_realtime.config.settings import Setting, Value, settings_of, values_of
from signtusk_realtime.config.toml import as_toml
from signtusk_realtime.engines.sqlite.files import Lock
from signtusk_realtime.engines.sqlite.schema import open_database
from signtusk_realtime.service.tokens import make_authenticator
from signtusk_realtime.sessions.identity import Grant, Identity
from tests.support.tokens import SECRET, ec_key, private_pem, public_pem


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("SIGNTUSK_REALTIME_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` says what pyproject.toml says."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == signtusk_realtime.__version__
    assert run(capsys, "--version") == (0, f"signtusk-realtime {project['version']}\n", "")


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """Help, and no command at all, show what there is."""
    for arguments in (("--help",), ()):
        code, out, err = run(capsys, *arguments)
        assert (code, err) == (0, "")
        assert "check-config" in out
        assert "serve" in out


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_help_names_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Each setting is an option with its default; nothing else is offered but the file and help."""
    monkeypatch.setenv("COLUMNS", "160")  # a narrow terminal breaks long names
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    text = " ".join(out.replace("│", " ").split())
    for setting in SETTINGS.values():
        assert f"{setting.option} " in text
    assert "[default: signtusk-realtime.db]" in text
    assert "[default: none]" in text
    assert "--config FILE" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("serv",), 'Unknown command "serv". Did you mean "serve"?'),
        (("serve", "--auth-mod", "jwt"), "Unknown option: --auth-mod. Did you mean --auth-mode?"),
        (("serve", "--port"), "--port requires an argument"),
        (("serve", "--port", "1", "--port", "2"), "--port specified multiple times"),
        (("serve", "here"), "here"),
    ],
)
def test_wrong_use_is_answered_with_what_is_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    """A mistyped command line ends with 2 and the nearest name, on standard error alone."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert all(line.startswith("signtusk-realtime: ") for line in err.splitlines())


@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_every_fault_has_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """All faults of all sources are told, and nothing is opened: no database appears."""
    monkeypatch.setenv("SIGNTUSK_REALTIME_PONG_TIMEOUT", "soon")
    (tmp_path / "c.toml").write_text("prot = 1\n", encoding="utf-8")
    code, out, err = run(capsys, command, "--config", "c.toml", "--host", "0.0.0.0", "--port", "-1")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "signtusk-realtime: prot is no setting; did you mean port? (file c.toml)",
        (
            "signtusk-realtime: pong_timeout: 'soon' is not allowed; allowed: an integer from 100 to 86400000 ms"
            " (environment variable SIGNTUSK_REALTIME_PONG_TIMEOUT)"
        ),
        "signtusk-realtime: port: -1 is not allowed; allowed: an integer from 0 to 65535 (option --port)",
        (
            "signtusk-realtime: host: development authentication lets everybody in and is refused on '0.0.0.0';"
            " bind a loopback address such as 127.0.0.1"
        ),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


def test_check_config_shows_values_and_their_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each effective value stands beside where it came from; warnings go to standard error."""
    monkeypatch.setenv("SIGNTUSK_REALTIME_LIMITS_BATCH", "5")
    monkeypatch.setenv("SIGNTUSK_REALTIME_SERVICE_HOST", "10.0.0.1")
    code, out, err = run(capsys, "check-config", "--port=9000")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "port = 9000 # option --port" in lines
    assert "batch = 5 # environment variable SIGNTUSK_REALTIME_LIMITS_BATCH" in lines
    assert "# retention_count = none # default" in lines
    assert "SIGNTUSK_REALTIME_SERVICE_HOST is ignored" in err


def values(setting: Setting) -> st.SearchStrategy[Value]:
    found: st.SearchStrategy[Value]
    if setting.is_flag:
        found = st.booleans()
    elif setting.is_list:
        items = (
            st.sampled_from(setting.choices) if setting.choices else st.text(st.characters(codec="utf-8"), min_size=1)
        )
        found = st.lists(items, max_size=3).map(tuple)
    elif setting.choices:
        found = st.sampled_from(setting.choices)
    elif not setting.is_number:
        found = st.text(st.characters(codec="utf-8"), min_size=1)
    else:
        found = st.integers(setting.least, setting.most)
    return st.one_of(st.none(), found) if setting.is_optional else found


@given(chosen=st.fixed_dictionaries({name: values(setting) for name, setting in SETTINGS.items()}))
def test_what_check_config_prints_is_a_configuration_file(chosen: dict[str, Value]) -> None:
    """Its output, read back as TOML, gives the same settings, whatever they are."""
    configuration = Configuration(settings_of(chosen), dict.fromkeys(SETTINGS, "default"), ())
    tables = tomllib.loads("\n".join(as_toml(configuration)))
    flat = {
        f"{name}.{own}" if isinstance(value, dict) else name: inner
        for name, value in tables.items()
        for own, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
    absent = {setting.name: None for setting in SETTINGS.values() if setting.is_optional}
    lists = {name: tuple(value) for name, value in flat.items() if isinstance(value, list)}
    # A secret is not printed, and is to be given again.
    shown = {**values_of(configuration.settings), "auth.secret": None, "redis": ()}
    assert absent | {"redis": ()} | flat | lists == shown


def test_check_config_can_be_given_its_own_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The printed file is a way to begin one's own."""
    _, out, _ = run(capsys, "check-config", "--port", "9000")
    (tmp_path / "c.toml").write_text(out, encoding="utf-8")
    assert load({}, {}, tmp_path / "c.toml").settings == load({"port": "9000"}, {}, None).settings


def test_check_config_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """It says that there is one, and where it comes from; everything else is shown."""
    code, out, err = run(capsys, "check-config", "--auth-mode", "jwt", "--auth-secret", "canary" * 6)
    assert (code, err) == (0, "")
    assert "canary" not in out
    assert "# secret is set # option --auth-secret" in [" ".join(line.split()) for line in out.splitlines()]
    code, out, err = run(capsys, "check-config", "--auth-mode", "jwt", "--auth-secret", "canary")
    assert (code, out) == (2, "")
    assert "canary" not in err
    assert "auth.secret: has 6 bytes" in err


def test_a_token_is_printed_that_a_service_with_the_same_settings_accepts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By secret or private key, with the claims that the settings name; settings come from where `serve` has them."""
    (tmp_path / "c.toml").write_text(
        f'[auth]\nmode = "jwt"\nsecret = "{SECRET}"\nissuer = "me"\naudience = "realtime"\norganization_claim = "tenant"\n',
        encoding="utf-8",
    )
    whom = ("--user", "ada", "--organization", "org123")
    code, out, err = run(
        capsys,
        "token",
        "--config",
        "c.toml",
        *whom,
        "--teams",
        "b, a",
        "--scope",
        "realtime:publish",
        "--expires-in",
        "60000",
    )
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = _identity(out, load({}, {}, tmp_path / "c.toml").settings.auth)
    assert (found.user_id, found.organization_id, found.teams, found.scopes) == (
        "ada",
        "org123",
        ("a", "b"),
        {"realtime:publish"},
    )
    assert found.token_id
    (tmp_path / "key.pem").write_bytes(private_pem(ec_key()))
    grants = '[{"actions":["subscribe"],"documentId":"d1"}]'
    code, out, err = run(capsys, "token", "--private-key-file", "key.pem", "--key-id", "k1", *whom, "--grants", grants)
    assert (code, err) == (0, "")
    found = _identity(out, AuthSettings(mode="jwt", public_key=public_pem(ec_key())))
    assert found.grants == (Grant(actions=("subscribe",), document_id="d1"),)
    monkeypatch.setenv("SIGNTUSK_REALTIME_AUTH_SECRET", SECRET)
    assert run(capsys, "token", *whom)[0] == 0


def _identity(out: str, auth: AuthSettings) -> Identity:
    async def check() -> Identity:
        async with AsyncExitStack() as begun:
            return await make_authenticator(auth, begun).authenticate(
                Credentials(purpose="connect", bearer=out.strip())
            )

    return asyncio.run(check())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--user", "u"), "--organization"),
        (("--user", "u", "--organization", "o"), "a token is signed with a secret"),
        (("--user", "u", "--organization", "o", "--auth-secret", "canary"), "auth.secret: has 6 bytes"),
        (("--user", "", "--organization", "o", "--auth-secret", SECRET), "the token's sub must be an id"),
        (("--user", "u", "--organization", "*", "--auth-secret", SECRET), "needs the scope realtime:publish"),
        (("--user", "u", "--organization", "o", "--auth-secret", SECRET, "--grants", "{"), "--grants: is not JSON"),
        (("--user", "u", "--organization", "o", "--auth-secret", SECRET, "--grants", "{}"), "grants must be a list"),
        (("--user", "u", "--organization", "o", "--auth-secret", SECRET, "--expires-in", "-1"), "has expired"),
        (("--user", "u", "--organization", "o", "--auth-secret", SECRET, "--private-key-file", "k"), "give either"),
        (("--user", "u", "--organization", "o", "--private-key-file", "none.pem"), "cannot read"),
        (("--user", "u", "--organization", "o", "--private-key-file", "text"), "is not one in PEM form"),
        (("--user", "u", "--organization", "o", "--auth-algorithms", "none"), "auth.algorithms"),
    ],
)
def test_what_would_be_no_token_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    """Exit code 2, why on standard error, nothing on standard output, and no secret anywhere."""
    (tmp_path / "text").write_text("text", encoding="utf-8")
    code, out, err = run(capsys, "token", *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert "canary" not in err
    assert SECRET not in err


def test_backup_and_restore_say_what_they_did(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line of JSON each; by default they take the database that `serve` would take, from wherever its name is set."""
    (tmp_path / "own.toml").write_text('database = "own.db"\n', encoding="utf-8")
    for name, options in (
        ("signtusk-realtime.db", ()),
        ("own.db", ("--config", "own.toml")),
        ("o.db", ("--database", "o.db")),
    ):
        open_database(tmp_path / name, "full", sqlite3.connect).close()
        code, out, err = run(capsys, "backup", f"{name}.bak", *options)
        assert (code, err) == (0, "")
        size = (tmp_path / f"{name}.bak").stat().st_size
        assert json.loads(out) == {"target": str(tmp_path / f"{name}.bak"), "logs": 0, "events": 0, "bytes": size}
        code, out, err = run(capsys, "restore", f"{name}.bak", *options)
        assert (code, err) == (0, "")
        told = json.loads(out)
        assert Path(told.pop("replaced")).is_file()
        assert told == {"database": str(tmp_path / name), "logs": 0, "events": 0, "bytes": size}
    assert run(capsys, "backup", "o.db.bak", "--force", "--database", "o.db")[0] == 0
    (tmp_path / "o.db").unlink()
    assert json.loads(run(capsys, "restore", "o.db.bak", "--database", "o.db")[1])["replaced"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("backup", "b.db"), 2, "exists"),
        (("backup", "signtusk-realtime.db", "--force"), 2, "belongs to the database itself"),
        (("backup", "none/c.db"), 2, "folder"),
        (("backup", "c.db", "--database", "none.db"), 2, "there is no database"),
        (("backup", "c.db", "--database", ":memory:"), 2, "no file"),
        (("backup", "c.db", "--database", ""), 2, "no file"),
        (("backup",), 2, "TARGET"),
        (("restore", "text.db"), 2, "is not a database"),
        (("restore", "none.db"), 2, "there is no database"),
        (("restore", "signtusk-realtime.db"), 2, "is the database itself"),
        (("restore", "b.db", "--database", "none/c.db"), 2, "folder"),
        (("restore", "b.db", "--database", "used.db"), 1, "in use by process"),
    ],
)
def test_backup_and_restore_refuse_plainly(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    """1 for what could not be done, 2 for what was asked wrongly; standard error says why, and nothing comes into being."""
    for name in ("signtusk-realtime.db", "b.db"):
        open_database(tmp_path / name, "full", sqlite3.connect).close()
    (tmp_path / "text.db").write_text("text" * 1000, encoding="utf-8")
    lock = Lock(tmp_path / "used.db")
    try:
        failed, out, err = run(capsys, *arguments)
    finally:
        lock.release()
    assert (failed, out) == (code, "")
    assert err.startswith("signtusk-realtime: ")
    assert reason in err
    assert {path.name for path in tmp_path.iterdir()} - {"signtusk-realtime.db.lock"} == {
        "signtusk-realtime.db",
        "b.db",
        "text.db",
        "used.db.lock",
    }


def test_the_doctor_tells_each_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each check, or an object; the exit code says whether one failed."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "--limits-connections", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line[:4] for line in lines} <= {"ok  ", "warn"}
    assert cli.main(["doctor", "--json", "--limits-connections", "10000000"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["level"] for one in found if one["check"] == "open files"] == ["fail"]
