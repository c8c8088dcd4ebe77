"""The command `signtusk-realtime`.

Owns: its options, output and exit codes.   Not: what settings mean (config), what is served (service).
Rule 1: every setting is an option, made from the table of settings; no command lists them by hand.
Rule 2: exit codes: 0 done, 1 could not be done, 2 used or configured wrongly. What is wrong is on standard error, a line for each fault.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

from msgspec import to_builtins

from signtusk_realtime import __version__
from signtusk_realtime.config import SETTINGS, InvalidSettings, load
from signtusk_realtime.config.check import SERVE_DEFAULTS
from signtusk_realtime.config.settings import Setting, Settings, Value, settings_of, written
from signtusk_realtime.config.sources import FILE, read
from signtusk_realtime.config.toml import as_toml
from signtusk_realtime.errors import ConfigurationError, InvalidInput, RealtimeError, Unavailable
from signtusk_realtime.observability.logging import harmless


def _say_what_is_missing(error: ModuleNotFoundError) -> NoReturn:
    """End: the library was installed without what only the command needs. Raises: the error itself, if it is a defect of ours."""
    if error.name is None or error.name.startswith("signtusk_realtime"):
        raise error
    sys.exit(f"the command needs {error.name}: install signtusk-realtime[server]")


try:
    from cyclopts import App, CycloptsError, Group, Parameter
except ModuleNotFoundError as error:
    _say_what_is_missing(error)

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
NAME: Final = "signtusk-realtime"

log = logging.getLogger(__name__)

DEFAULT_URL: Final = "http://127.0.0.1:8080"
Url = Annotated[str, Parameter(help="Where the service is: http(s)://host:port.", metavar="URL")]
Token = Annotated[str | None, Parameter(help="Bearer token.")]
TokenFile = Annotated[Path | None, Parameter(help="File with the bearer token.", metavar="FILE")]
DatabaseFile = Annotated[
    str | None, Parameter(help="File of the database; by default the one that `serve` would use.", metavar="FILE")
]
SettingsFile = Annotated[Path | None, Parameter(help="TOML file of settings, for the database's name.", metavar="FILE")]

_OPTIONS = Group("Settings", help="Also SIGNTUSK_REALTIME_… in the environment, and keys of a TOML file.", sort_key=1)

app = App(
    name=NAME,
    help="Tell people at once, in order and without losing anything what happens to their documents.",
    version=f"{NAME} {__version__}",
    help_format="plaintext",
    result_action="return_value",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code."""
    try:
        code = app(sys.argv[1:] if arguments is None else arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _complain(MISUSED, f"{error}", f"try: {NAME} --help")
    except InvalidSettings as error:
        return _complain(MISUSED, *error.faults)
    except (InvalidInput, ConfigurationError) as error:
        return _complain(MISUSED, error.message)
    except RealtimeError as error:
        return _complain(FAILED, f"{error.code}: {error.message}")
    except KeyboardInterrupt:
        return FAILED
    # Help and version were printed where there is no code.
    return code if isinstance(code, int) else DONE


def _complain(code: int, *lines: str) -> int:
    for line in lines:
        print(f"{NAME}: {harmless(line)}", file=sys.stderr)
    return code


def serve(config: Path | None = None, **options: str) -> int:
    """Serve WebSocket, event stream and the HTTP API until it is told to stop."""
    configuration = load(options, os.environ, config)
    try:
        from signtusk_realtime.serving import serve as run_server  # noqa: PLC0415 - other commands need no server
    except ModuleNotFoundError as error:
        _say_what_is_missing(error)
    try:
        return run_server(configuration)
    except RealtimeError as error:
        log.error("cannot serve", extra={"reason": error.message})  # noqa: TRY400 - the reason is known, a traceback tells nothing more
        return FAILED


def check_config(config: Path | None = None, **options: str) -> int:
    """Print the settings `serve` would use, where each came from, as a TOML file; or every fault."""
    configuration = load(options, os.environ, config)
    for warning in configuration.warnings:
        print(f"{NAME}: {warning}", file=sys.stderr)
    print("\n".join(as_toml(configuration)))
    return DONE


def token(
    config: Path | None = None,
    *,
    user: Annotated[str, Parameter(help="Whose token.")],
    organization: Annotated[str, Parameter(help="Of which organization; * makes a service's token.")],
    teams: Annotated[str | None, Parameter(help="The user's teams, with commas between.")] = None,
    scope: Annotated[
        str | None, Parameter(help="Scopes, with spaces between: realtime:publish, realtime:admin.")
    ] = None,
    grants: Annotated[str | None, Parameter(help="A guest's grants, a JSON list.", metavar="JSON")] = None,
    expires_in: Annotated[int, Parameter(help="How long it is good, in ms.", metavar="MS")] = 3_600_000,
    private_key_file: Annotated[
        Path | None, Parameter(help="File with a private key in PEM form to sign with.", metavar="FILE")
    ] = None,
    key_id: Annotated[str | None, Parameter(help="Name of the key, the token's kid.")] = None,
    **options: str,
) -> int:
    """Print a token, signed with auth.secret or a private key, for trying things out.

    It is one that a server with the same settings accepts. Whoever has it is that user until it expires.
    """
    from signtusk_realtime.service.tokens import make_token  # noqa: PLC0415 - other commands make no tokens

    found = read(options, os.environ, config)
    if found.faults:
        raise InvalidSettings(found.faults)
    made = make_token(
        settings_of(found.values).auth,
        user=user,
        organization=organization,
        teams=teams,
        scope=scope,
        grants=grants,
        expires_in_ms=expires_in,
        private_key_file=private_key_file,
        key_id=key_id,
    )
    print(made)
    return DONE


def doctor(
    config: Path | None = None,
    *,
    as_json: Annotated[bool, Parameter(name="--json", help="Print an object a line.", negative="")] = False,
    **options: str,
) -> int:
    """Look at what `serve` would use: limits of this machine, the database, or each Redis server; print a line for each check.

    Exits with 0, with 1 if a check failed, with 2 for settings that cannot be used.
    """
    from signtusk_realtime.service.doctor import examine  # noqa: PLC0415 - other commands need no checks

    code = DONE
    found = load(options, os.environ, config)
    for finding in examine(found.settings, found.settings.redis, found.exposures):
        code = FAILED if finding.level == "fail" else code
        print(json.dumps(to_builtins(finding)) if as_json else f"{finding.level:<4}  {finding.check}: {finding.detail}")
    return code


def publish(
    event: Annotated[str | None, Parameter(help="One event, a JSON object.")] = None,
    /,
    *,
    url: Url = DEFAULT_URL,
    token: Token = None,
    token_file: TokenFile = None,
    file: Annotated[
        str | None,
        Parameter(
            help="File with one JSON object a line; - for standard input.", metavar="FILE", allow_leading_hyphen=True
        ),
    ] = None,
) -> int:
    """Publish an event, or many from a file or standard input, one JSON object a line; print a result a line.

    Exits with 0 if all were published, 1 if one was refused (it is named on standard error, all others are published), 2 for what is no
    JSON object.
    """
    from signtusk_realtime.commands.running import run_publish  # noqa: PLC0415 - a server needs no client

    is_done = run_publish(url=url, token=_token(token, token_file), event=event, file=file, say=_say)
    return DONE if is_done else FAILED


def subscribe(
    *,
    url: Url = DEFAULT_URL,
    token: Token = None,
    token_file: TokenFile = None,
    user: Annotated[str | None, Parameter(help="Who to be, where authentication is for development.")] = None,
    organization: Annotated[
        str | None, Parameter(help="Whose events, where authentication is for development.")
    ] = None,
    types: Annotated[
        str | None, Parameter(help="Subscription types, with commas between; all but user_presence by default.")
    ] = None,
    document_id: Annotated[str | None, Parameter(help="Only what concerns this document.")] = None,
    cursor: Annotated[
        str | None, Parameter(help="Go on after this cursor; also earliest and latest.", allow_leading_hyphen=True)
    ] = None,
    transport: Annotated[Literal["ws", "sse"], Parameter(help="WebSocket or event stream.")] = "ws",
    count: Annotated[int | None, Parameter(help="End after so many events.")] = None,
) -> int:
    """Print events as they come, one {"cursor":…,"event":…} a line; all else is told on standard error.

    It reconnects by itself, and goes on where it was. It ends with 0 after --count events, when it is told to stop, or when nobody reads
    its output any more.
    """
    from signtusk_realtime.commands.running import run_subscribe  # noqa: PLC0415 - a server needs no client

    run_subscribe(
        url=url,
        token=_token(token, token_file),
        user=user,
        organization=organization,
        types=types,
        document_id=document_id,
        cursor=cursor,
        transport=transport,
        count=count,
        say=_say,
    )
    return DONE


def backup(
    target: Annotated[Path, Parameter(help="File to write.", metavar="TARGET")],
    /,
    *,
    force: Annotated[bool, Parameter(help="Replace the file if it exists.", negative="")] = False,
    database: DatabaseFile = None,
    config: SettingsFile = None,
) -> int:
    """Copy the database into one file, checked and of one moment, while its server goes on; print what it holds as a line of JSON.

    Exits with 0 if the backup is on the disk, 1 if it could not be made, 2 if the database or the target cannot be used so. Then the
    target is as it was.
    """
    from signtusk_realtime.engines.sqlite.backup import back_up  # noqa: PLC0415 - a client needs no engine

    path = _database(database, config)
    try:
        logs, events, size = back_up(path, target.absolute(), may_replace=force)
    except (ConfigurationError, Unavailable) as error:
        return _complain(FAILED, error.message)
    print(json.dumps({"target": str(target.absolute()), "logs": logs, "events": events, "bytes": size}))
    return DONE


def restore(
    source: Annotated[Path, Parameter(help="A backup.", metavar="SOURCE")],
    /,
    *,
    database: DatabaseFile = None,
    config: SettingsFile = None,
) -> int:
    """Put a backup in the place of the database, which no server may be using; print what it holds now as a line of JSON.

    What was there before is kept beside it, under the name that is printed as "replaced". All clients are told to reload their state:
    every log begins a new life, in which a cursor of the one before is not continued. Exits with 0 if it is done, 1 if it could not be
    done, 2 if the source or the database cannot be used so. Then the database is as it was.
    """
    from signtusk_realtime.engines.sqlite.restore import restore as put_back  # noqa: PLC0415 - a client needs no engine

    path = _database(database, config)
    try:
        (logs, events, size), replaced = put_back(path, source.absolute())
    except (ConfigurationError, Unavailable) as error:
        return _complain(FAILED, error.message)
    was = None if replaced is None else str(replaced)
    print(json.dumps({"database": str(path), "replaced": was, "logs": logs, "events": events, "bytes": size}))
    return DONE


def verify_document(
    document_id: Annotated[str, Parameter(help="The document.", metavar="DOCUMENT")],
    /,
    *,
    organization: Annotated[str, Parameter(help="Whose it is.")],
    database: DatabaseFile = None,
    config: SettingsFile = None,
    **options: str,
) -> int:
    """Verify the history of a document, also while its server goes on; print what was found as a line of JSON.

    Each version seals the one before by its hash. "intact": nothing was changed; "erased": only what was taken away with erase-user is
    missing; "broken": an entry is missing or was changed, "broken" says which. Exits with 0, or with 1 if it is broken.
    """
    from signtusk_realtime.service.maintenance import verify_document as verify  # noqa: PLC0415 - a client needs no engine

    found = verify(_store(database, config, options), organization, document_id)
    print(json.dumps(found))
    return FAILED if found["integrity"] == "broken" else DONE


def erase_user(
    user: Annotated[str, Parameter(help="The user.", metavar="USER")],
    /,
    *,
    organization: Annotated[str, Parameter(help="Whose documents.")],
    database: DatabaseFile = None,
    config: SettingsFile = None,
    **options: str,
) -> int:
    """Take what a user wrote out of the histories of an organization's documents; no server may be using the database, or Redis.

    Who did what and when stays, and the histories still verify. What documents hold today stays: edit that first. Events go with
    their retention. Prints what was erased as a line of JSON.
    """
    from signtusk_realtime.service.maintenance import erase_user_from  # noqa: PLC0415 - as above

    try:
        erased = erase_user_from(_store(database, config, options), organization, user)
    except (ConfigurationError, Unavailable) as error:
        return _complain(FAILED, error.message)
    print(json.dumps(erased._asdict()))
    return DONE


def _store(database: str | None, config: Path | None, options: Mapping[str, str]) -> Path | Settings:
    """Give the servers that `serve` would use, or else the file."""
    settings = load(options, os.environ, config).settings if database is None else None
    return settings if settings is not None and settings.redis else _database(database, config)


def _database(given: str | None, config: Path | None) -> Path:
    """Give the file that `serve` would use. If it is named, no other setting is looked at, so that a fault in one is no obstacle."""
    name = load({}, os.environ, config).settings.database if given is None else given
    if name in ("", ":memory:"):
        raise InvalidInput(f"--database: {name!r} is no file")
    return Path(name).absolute()


def _say(line: str) -> None:
    _complain(FAILED, line)


def _token(token: str | None, file: Path | None) -> str | None:
    if file is None:
        return token
    if token is not None:
        raise InvalidInput("give either --token or --token-file")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--token-file: {error}") from None


def _with_settings(command: Callable[..., int], only: str = "") -> Callable[..., int]:
    """Give a command one option per setting, or per setting of one group, beside its own options.

    Options are text; the table reads them, so that all faults are told at once.
    """
    about_file = Parameter(help="TOML file of settings; also SIGNTUSK_REALTIME_CONFIG.", metavar="FILE")
    options = [_option("config", Annotated[Path | None, about_file])]
    own = inspect.signature(command, eval_str=True).parameters
    options += [one for name, one in own.items() if name not in ("config", "options")]
    for setting in SETTINGS.values():
        if not setting.name.startswith(only):
            continue
        meaning = Parameter(
            name=setting.option,
            help=_about(setting),
            group=_OPTIONS,
            metavar=_metavar(setting),
            # A value may begin with a minus sign; it is refused, but as a value.
            allow_leading_hyphen=True,
        )
        options.append(_option(setting.keyword, Annotated[str | None, meaning]))
        if setting.has_file:
            about = f"File with {setting.option}."
            in_file = Parameter(name=f"{setting.option}-file", help=about, group=_OPTIONS, metavar="FILE")
            options.append(_option(setting.keyword + FILE, Annotated[str | None, in_file]))
    # cyclopts reads both; the function itself takes whatever was given by name.
    vars(command)["__signature__"] = inspect.Signature(sorted(options, key=lambda option: option.kind))
    command.__annotations__ = {option.name: option.annotation for option in options}
    return command


def _option(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(setting: Setting) -> str:
    return "|".join(setting.choices) or (setting.unit or ("n" if setting.is_number else "text")).upper()


def _about(setting: Setting) -> str:
    default: Value = SERVE_DEFAULTS.get(setting.name, setting.default)
    return f"{setting.about[0].upper()}{setting.about[1:]} [default: {written(default) or 'empty'}]."


app.command(_with_settings(serve))
app.command(_with_settings(check_config))
app.command(_with_settings(doctor))
app.command(_with_settings(token, "auth."))
app.command(publish)
app.command(subscribe)
app.command(backup)
app.command(restore)
app.command(_with_settings(verify_document, "redis"))
app.command(_with_settings(erase_user, "redis"))
