"""Every setting there is: its name, default, meaning and range.

Owns: the dataclasses that an application fills in, and the table of settings made from them.   Not: where values come from (sources.py), what
of them fits together (check.py).
Rule 1: a setting stands here once; options, environment, file, help and `check-config` are made from the table.
Rule 2: a setting exists from the day something reads it.   Rule 3: durations are integer milliseconds, sizes integer bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct, convert

from signtusk_realtime.auth.algorithms import ALL
from signtusk_realtime.errors import ConfigurationError

Value = str | int | bool | tuple[str, ...] | None
T = TypeVar("T", bound=Value)

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
# No longer than any allowed number: Python refuses to read thousands of digits, and so do we.
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
KIB: Final = 1 << 10
MIB: Final = 1 << 20
NONE: Final = "none"
"""How the absence of an optional value is written."""
_FLAGS: Final = {"true": True, "false": False}


class _Meaning(Struct, frozen=True):
    about: str
    least: int = 0
    most: int = 0
    unit: str = ""
    choices: tuple[str, ...] = ()
    has_file: bool = False
    is_secret: bool = False


def _text(default: T, about: str) -> T:
    return field(default=default, metadata={"meaning": _Meaning(about)})


def _key(about: str, *, is_secret: bool = False) -> str | None:
    return field(default=None, metadata={"meaning": _Meaning(about, has_file=True, is_secret=is_secret)})


def _list(about: str, choices: tuple[str, ...] = ()) -> tuple[str, ...]:
    return field(default=(), metadata={"meaning": _Meaning(about, choices=choices)})


def _secrets(about: str) -> tuple[str, ...]:
    return field(default=(), metadata={"meaning": _Meaning(about, has_file=True, is_secret=True)})


def _number(default: T, about: str, least: int, most: int, unit: str = "") -> T:
    return field(default=default, metadata={"meaning": _Meaning(about, least, most, unit)})


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """Who may come in."""

    mode: Literal["development", "jwt"] = _text(
        "development", "how identities are checked; development takes everybody at their word"
    )
    secret: str | None = _key("secret that tokens are signed with, 32 bytes or more", is_secret=True)
    public_key: str | None = _key("public key that proves tokens, in PEM form")
    jwks_url: str | None = _text(None, "where an identity provider publishes the keys that prove tokens")
    algorithms: tuple[str, ...] = _list(
        "signatures that are accepted; by default what fits the key: HS256, RS256 and PS256, the curve's ES, or EdDSA",
        ALL,
    )
    issuer: str | None = _text(None, "the `iss` that tokens must have")
    audience: str | None = _text(None, "the `aud` that tokens must have, alone or among others")
    leeway: int = _number(0, "how far the clock of who makes tokens may be off", 0, 5 * MINUTE_MS, "ms")
    max_token_lifetime: int | None = _number(
        None,
        "how long a token may live, which must then say when it was made; revocations are kept for so long, else for good",
        MINUTE_MS,
        3650 * DAY_MS,
        "ms",
    )
    user_claim: str = _text("sub", "the claim that names the user")
    organization_claim: str = _text("org", "the claim that names the organization")
    teams_claim: str = _text("teams", "the claim that lists the user's teams")
    cookie: str | None = _text(None, "name of a cookie that may carry the token, in requests with an allowed `Origin`")
    query_token: bool = _text(
        False, "whether `?token=` may carry it where a connection is opened; addresses end up in logs"
    )
    ticket_lifetime: int = _number(30_000, "how long a fresh one-time ticket opens a connection", 1000, 600_000, "ms")


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """What the server proves itself with. Both or neither."""

    certificate: str | None = _text(
        None, "file with the certificate and its chain, in PEM form; with it all listeners speak TLS"
    )
    key: str | None = _text(None, "file with its private key, in PEM form, not encrypted")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one peer may ask for, and all together."""

    connections: int = _number(10_000, "open connections of this node", 1, 10_000_000)
    connections_per_organization: int | None = _number(None, "of them, of one organization", 1, 10_000_000)
    connections_per_user: int | None = _number(None, "of them, of one user", 1, 10_000_000)
    connections_per_address: int | None = _number(None, "of them, from one address (of IPv6: one /64)", 1, 10_000_000)
    messages_per_second: int = _number(50, "messages that one WebSocket may send a second", 1, 1_000_000)
    message_burst: int = _number(100, "messages that it may send at once after it was quiet", 1, 1_000_000)
    bytes_per_second: int = _number(256 * KIB, "bytes of messages that it may send a second", KIB, 1024 * MIB, "bytes")
    subscriptions: int = _number(100, "subscriptions of one connection", 1, 100_000)
    message_bytes: int = _number(64 * KIB, "size of one WebSocket message from a client", KIB, 64 * MIB, "bytes")
    json_depth: int = _number(32, "nesting of one JSON message or event", 4, 256)
    batch: int = _number(1000, "events of one publication", 1, 10_000)
    payload_bytes: int = _number(256 * KIB, "size of one published event", KIB, 64 * MIB, "bytes")
    body_bytes: int = _number(8 * MIB, "size of one HTTP request's body", KIB, 1024 * MIB, "bytes")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one service. An embedded one keeps its log in memory unless told otherwise; the command keeps it in a file."""

    host: str = _text("127.0.0.1", "address to listen on")
    port: int = _number(8080, "port to listen on; 0 takes a free one", 0, 65_535)
    workers: int = _number(1, "processes that serve the port, one for each core; more than one need Redis", 1, 1024)
    admin_host: str = _text("127.0.0.1", "address of the listener for operators, which only they should reach")
    admin_port: int | None = _number(
        None,
        "its port; then metrics, revocations and connections are served there and nowhere else; of several workers, each has the next",
        0,
        65_535,
    )
    database: str = _text(":memory:", "file of the embedded database, or :memory:")
    durability: Literal["full", "normal"] = _text(
        "full", "what an answer means: written through to the disk, or safe from a crash of the process only"
    )
    redis: tuple[str, ...] = _secrets(
        "Redis or Valkey servers that several nodes share, each redis[s]://[[user]:password@]host[:port]; of a Cluster two or three"
        " are enough"
    )
    redis_prefix: str = _text("rt1", "what the names of all keys begin with there")
    redis_wait: int = _number(0, "how long to wait at the start for servers that are not there yet", 0, DAY_MS, "ms")
    redis_allow_unsafe: bool = _text(False, "whether servers are taken whose crash would lose what was answered")
    redis_min_replicas: int = _number(
        0,
        "with fewer replicas than this a primary is written nothing: what is published is refused (503), not answered with fewer copies",
        0,
        16,
    )
    redis_ca: str | None = _text(
        None, "file with the certificates that prove servers behind rediss://, in PEM form, in place of the system's"
    )
    redis_certificate: str | None = _text(
        None, "file with the certificate by which this node proves itself to them, in PEM form"
    )
    redis_key: str | None = _text(None, "file with its private key, in PEM form, not encrypted")
    heartbeat_interval: int = _number(30_000, "how often a peer is pinged", 100, DAY_MS, "ms")
    pong_timeout: int = _number(10_000, "how long a pinged peer may be silent", 100, DAY_MS, "ms")
    drain_timeout: int = _number(10_000, "how long clients have to leave when the server stops", 0, DAY_MS, "ms")
    retention_age: int = _number(3 * DAY_MS, "how long an organization's events are kept", 1000, 36_500 * DAY_MS, "ms")
    retention_count: int | None = _number(None, "how many events of an organization are kept", 1, 1 << 53)
    retention_bytes: int = _number(1024 * MIB, "how much of an organization's log is kept", 64 * KIB, 1 << 53, "bytes")
    outbox_bytes: int = _number(MIB, "what may wait unsent for one connection", 16 * KIB, 1024 * MIB, "bytes")
    message_queue_size: int = _number(
        1000, "messages that may wait for a socket behind ASGI or handed in by the application", 2, 1_000_000
    )
    connection_timeout: int = _number(
        5 * MINUTE_MS, "how long a peer may take none of what waits for it", 100, DAY_MS, "ms"
    )
    tail_bytes: int = _number(
        64 * MIB, "newest events held in memory, of all organizations together", 0, 1 << 40, "bytes"
    )
    compression: bool = _text(
        True, "whether messages to WebSocket clients that offer it are compressed, and theirs taken so"
    )
    allowed_origins: tuple[str, ...] = _list(
        "pages that may talk to this service, each scheme://host[:port]; in development only those of this machine may"
    )
    trusted_proxies: tuple[str, ...] = _list("addresses and networks of proxies whose `X-Forwarded-For` is believed")
    public_url: str | None = _text(None, "how clients reach this service, where that is not how it listens")
    load_balancing: Literal["round_robin", "least_connections", "sticky_session"] = _text(
        "round_robin", "how negotiate spreads clients over nodes"
    )
    health_check_interval: int = _number(
        MINUTE_MS, "how often nodes tell one another how they are; every 2000 ms at the least", 100, DAY_MS, "ms"
    )
    presence_leave_delay: int = _number(
        10_000, "how long a user counts as there whose last connection has closed", 0, 600_000, "ms"
    )
    document_policy: str = _text("plain", "what is guarded in documents: plain, signing, or a TOML or JSON file")
    versionless: Literal["infer", "head", "require"] = _text(
        "infer", "what a change without a base was made on: what its author had seen, head, or it is refused"
    )
    versionless_window: int = _number(30_000, "how long a version may take to reach an author", 0, DAY_MS, "ms")
    document_retention_versions: int = _number(1000, "versions of a document that are kept", 1, 1_000_000)
    document_retention_age: int = _number(
        30 * DAY_MS, "how long versions are kept beyond that number", 1000, 36_500 * DAY_MS, "ms"
    )
    auth: AuthSettings = field(default_factory=AuthSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)


class Setting(Struct, frozen=True, kw_only=True):
    """One row of the table. `choices` is empty for free text and numbers; `least` and `most` bound numbers, both included.

    A flag's choices are how it is written, a list's what its items may be. What has a file may also stand in a file of its own, which
    `…_file` names. A secret is never shown.
    """

    name: str
    about: str
    default: Value
    is_number: bool
    is_flag: bool
    is_list: bool
    is_optional: bool
    choices: tuple[str, ...]
    least: int
    most: int
    unit: str
    has_file: bool
    is_secret: bool

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.keyword.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.keyword.upper()

    @property
    def keyword(self) -> str:
        """Its name as a Python argument."""
        return self.name.replace(".", "_")

    @property
    def allowed(self) -> str:
        """Say what values it takes, as a phrase that fits behind `allowed:`."""
        if self.is_list:
            return f"any of {', '.join(self.choices)}" if self.choices else "texts that are not empty"
        if self.choices:
            return " or ".join(self.choices)
        if not self.is_number:
            return "a text that is not empty" + (f", or {NONE}" if self.is_optional else "")
        unit = f" {self.unit}" if self.unit else ""
        return f"an integer from {self.least} to {self.most}{unit}" + (f", or {NONE}" if self.is_optional else "")

    def parse(self, text: str) -> Value:
        """Read a value as an option or a variable has it. Raises: ConfigurationError, without the setting's name."""
        if self.is_optional and text == NONE:
            return None
        value: Value = text
        if self.is_list:
            value = tuple(item.strip() for item in text.split(",")) if text else ()
        elif self.is_number and _INTEGER.fullmatch(text):
            value = int(text)
        elif self.is_flag:
            value = _FLAGS.get(text, text)
        return self.check(value)

    def check(self, value: object) -> Value:
        """Give a typed value back if it is allowed. Raises: ConfigurationError, without the setting's name."""
        match value:
            case None if self.is_optional:
                return None
            case bool() if self.is_flag:
                return value
            case int() if self.is_number and not isinstance(value, bool) and self.least <= value <= self.most:
                return value
            case list() | tuple() if self.is_list:
                return tuple(dict.fromkeys(self._item(item) for item in value))
            case str() if value and not self.is_number and not self.is_flag and not self.is_list:
                if not self.choices or value in self.choices:
                    return value
        raise self._refusal(value)

    def _item(self, item: object) -> str:
        if not isinstance(item, str) or not item or (self.choices and item not in self.choices):
            raise self._refusal(item)
        return item

    def _refusal(self, value: object) -> ConfigurationError:
        shown = "a secret" if self.is_secret else _shown(value)
        return ConfigurationError(f"{shown} is not allowed; allowed: {self.allowed}")


PREFIX: Final = "SIGNTUSK_REALTIME_"


def _rows(defaults: Settings | AuthSettings | LimitSettings | TlsSettings, prefix: str = "") -> Iterator[Setting]:
    kinds = get_type_hints(type(defaults))
    for row in fields(defaults):
        kind, default, meaning = kinds[row.name], getattr(defaults, row.name), row.metadata.get("meaning")
        if meaning is None:
            yield from _rows(default, f"{row.name}.")
            continue
        kinds_of_value = get_args(kind) if get_origin(kind) is UnionType else (kind,)
        yield Setting(
            name=prefix + row.name,
            about=meaning.about,
            default=default,
            is_number=int in kinds_of_value,
            is_flag=bool in kinds_of_value,
            is_list=get_origin(kind) is tuple,
            is_optional=NoneType in kinds_of_value,
            choices=tuple(_FLAGS)
            if kind is bool
            else get_args(kind)
            if get_origin(kind) is Literal
            else meaning.choices,
            least=meaning.least,
            most=meaning.most,
            unit=meaning.unit,
            has_file=meaning.has_file,
            is_secret=meaning.is_secret,
        )


SETTINGS: Final = {row.name: row for row in _rows(Settings())}
"""All settings by name, in the order of help and `check-config`."""


def values_of(settings: Settings) -> dict[str, Value]:
    """Give the value of every setting by its name."""
    values: dict[str, Value] = {}
    for name in SETTINGS:
        group, _, own = name.rpartition(".")
        values[name] = getattr(getattr(settings, group) if group else settings, own)
    return values


def settings_of(values: Mapping[str, Value]) -> Settings:
    """Make settings from values by name, checked before; what is not given has its default."""
    tree: dict[str, object] = {}
    groups: dict[str, dict[str, Value]] = {}
    for name, value in values.items():
        group, _, own = name.rpartition(".")
        if group:
            groups.setdefault(group, {})[own] = value
        else:
            tree[own] = value
    return convert({**tree, **groups}, Settings)


def written(value: Value) -> str:
    """Write a value as an option or a variable has it."""
    if value is None:
        return NONE
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
