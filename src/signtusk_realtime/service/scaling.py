"""The configuration object of the original, and what each of its fields does here.

Owns: its names, its form in Python and as the original's camelCase object, and its way into the settings.   Not: settings themselves (config).
Rule 1: every field has an effect, or its meaning says why it has none.   Rule 2: an unknown name is refused, with the nearest known one.
Rule 3: what is said both here and in the settings, with different values, is a fault: nobody has to know which one would win.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Final, Literal, TypeVar, get_type_hints
from urllib.parse import quote

from msgspec import ValidationError, convert

from signtusk_realtime.config import SETTINGS, InvalidSettings, Settings
from signtusk_realtime.errors import ConfigurationError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RedisCluster:
    """Several nodes over Redis or Valkey (setting redis). Unless it is `enabled`, `nodes` and `options` mean nothing.

    `nodes`: addresses, or objects with `host` and `port`. `options`: `username`, `password` and `tls` for all such objects; others are of the
    original's client, and mean nothing here.
    """

    enabled: bool = False
    nodes: Sequence[str | Mapping[str, object]] = ()
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LoadBalancing:
    """How negotiate spreads clients over nodes (setting load_balancing); with one node it gets them all.

    `health_check_interval`: how often nodes tell one another how they are, in milliseconds; every 2000 at the least.
    """

    strategy: Literal["round_robin", "least_connections", "sticky_session"] = "round_robin"
    health_check_interval: int = 60_000


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """What the original called its scaling configuration. Times are milliseconds.

    `max_connections_per_server`: further ones are refused (setting limits.connections).
    `heartbeat_interval`: how often a peer is pinged.
    `connection_timeout`: how long a peer may take none of what waits for it.
    `message_queue_size`: how many messages may wait for a socket behind ASGI, or handed in.
    """

    max_connections_per_server: int = 10_000
    heartbeat_interval: int = 30_000
    connection_timeout: int = 300_000
    message_queue_size: int = 1_000
    redis_cluster: RedisCluster = field(default_factory=RedisCluster)
    load_balancing: LoadBalancing = field(default_factory=LoadBalancing)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ScalingConfig:
        """Read the original's camelCase object; what is left out has its default. Raises: InvalidSettings, with every fault."""
        if not isinstance(values, Mapping):
            raise InvalidSettings([f"config: an object is expected, not {type(values).__name__}"])
        faults: list[str] = []
        config = _read(cls, values, "", faults)
        for name, ours in _OF_SETTING.items():
            try:
                SETTINGS[name].check(getattr(config, ours))
            except ConfigurationError as error:
                faults.append(f"{_camel(ours)}: {error.message}")
        if faults:
            raise InvalidSettings(faults)
        return config


def create_default_config() -> ScalingConfig:
    """Give a configuration to change by `dataclasses.replace`, or to use as it is."""
    return ScalingConfig()


_OF_SETTING: Final = {
    "limits.connections": "max_connections_per_server",
    "heartbeat_interval": "heartbeat_interval",
    "connection_timeout": "connection_timeout",
    "message_queue_size": "message_queue_size",
}
_OF_BALANCING: Final = {"load_balancing": "strategy", "health_check_interval": "health_check_interval"}


def combined(config: ScalingConfig, settings: Settings) -> Settings:
    """Give the settings with what the configuration says. Raises: InvalidSettings."""
    for own, kind in (("redis_cluster", RedisCluster), ("load_balancing", LoadBalancing)):
        if not isinstance(getattr(config, own), kind):
            raise InvalidSettings([f"{own}: a {kind.__name__} is expected, not {type(getattr(config, own)).__name__}"])
    faults = list(_faults(config))
    if config.redis_cluster.enabled:
        servers = _servers(config.redis_cluster, faults)
        if settings.redis not in ((), servers):
            faults.append(
                "redis: the settings and the configuration (redis_cluster) name different servers; say it once"
            )
        settings = replace(settings, redis=servers)
    defaults, found = ScalingConfig(), {}
    said: list[tuple[str, str, object, object]] = [(name, ours, config, defaults) for name, ours in _OF_SETTING.items()]
    said += [(name, ours, config.load_balancing, defaults.load_balancing) for name, ours in _OF_BALANCING.items()]
    for name, ours, part, default_part in said:
        group, _, own = name.rpartition(".")
        here = getattr(part, ours)
        there = getattr(getattr(settings, group) if group else settings, own)
        default = getattr(default_part, ours)
        if here == default:
            here = there
        elif there not in (default, here):
            faults.append(f"{name}: the settings say {there!r}, the configuration says {here!r} ({ours}); say it once")
        found[name] = here
    if faults:
        raise InvalidSettings(faults)
    limits = replace(settings.limits, connections=found.pop("limits.connections"))
    return replace(settings, limits=limits, **found)


def _faults(config: ScalingConfig) -> Iterator[str]:
    for name, ours in _OF_BALANCING.items():
        try:
            SETTINGS[name].check(getattr(config.load_balancing, ours))
        except ConfigurationError as error:
            yield f"load_balancing.{ours}: {error.message}"


def _servers(cluster: RedisCluster, faults: list[str]) -> tuple[str, ...]:
    """Write the nodes as addresses."""
    options = cluster.options
    words = [quote(str(options[name]), safe="") if options.get(name) else "" for name in ("username", "password")]
    login = f"{words[0]}:{words[1]}@" if words[1] else ""
    found: list[str] = []
    for number, node in enumerate(cluster.nodes):
        if isinstance(node, str):
            found.append(node)
        elif isinstance(node.get("host"), str):
            found.append(
                f"{'rediss' if options.get('tls') else 'redis'}://{login}{node['host']}:{node.get('port', 6379)}"
            )
        else:
            faults.append(f"redis_cluster.nodes: the one at {number} is no address, nor an object with host and port")
    if not cluster.nodes:
        faults.append("redis_cluster.nodes: is empty; name a server at least")
    return tuple(found)


def _read(kind: type[T], values: Mapping[str, object], at: str, faults: list[str]) -> T:
    """Read one object of the original into its dataclass; faults are noted, and what has one is left at its default."""
    types = get_type_hints(kind)
    # Any dataclass of this file will do; typeshed knows them as instances only.
    known = {_camel(one.name): one.name for one in fields(kind)}  # type: ignore[arg-type]  # T is one of three dataclasses
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = known.get(key)
        if name is None:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            hint = f"did you mean {at}{near[0]}?" if near else f"known are {', '.join(known)}"
            faults.append(f"{at}{key} is no field of the configuration; {hint}")
        elif not is_dataclass(types[name]):
            try:
                found[name] = convert(value, types[name])
            except ValidationError as error:
                faults.append(f"{at}{key}: {error}")
        elif isinstance(value, Mapping):
            found[name] = _read(types[name], value, f"{at}{key}.", faults)
        else:
            faults.append(f"{at}{key}: an object is expected, not {type(value).__name__}")
    return kind(**found)


def _camel(name: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), name)
