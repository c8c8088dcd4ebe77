"""What fits together, and the one way from sources to settings.

Owns: contradictions between settings, collecting every fault.   Not: single values (settings.py), sources (sources.py).
Rule: all faults are told at once, before anything is opened or bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from signtusk_realtime.config.access import address_faults, auth_faults, is_loopback, without_credentials
from signtusk_realtime.config.exposure import exposures
from signtusk_realtime.config.settings import SETTINGS, Settings, TlsSettings, Value, settings_of, values_of
from signtusk_realtime.config.sources import DEFAULT, read
from signtusk_realtime.errors import ConfigurationError
from signtusk_realtime.server.tls import Tls

SERVE_DEFAULTS: Mapping[str, Value] = {"database": "signtusk-realtime.db"}
"""Where the command's defaults differ from those of an embedded service: a server that is started by itself keeps what it was given."""


class InvalidSettings(ConfigurationError):
    """One or several settings cannot be used; `faults` has a line for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Configuration(Struct, frozen=True):
    """Settings, where each came from by its name, what should be told about the sources, and files of values by their names."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: Sequence[str]
    files: Mapping[str, Path] = {}

    @property
    def exposures(self) -> list[tuple[str, str]]:
        """The settings that expose more than may be meant, and what they expose."""
        return list(exposures(self.settings, self.files, self.origins))


def load(options: Mapping[str, str], environment: Mapping[str, str], file: Path | None) -> Configuration:
    """Make the settings of a server of its own. See `sources.read` for the arguments. Raises: InvalidSettings, with every fault."""
    found = read(options, environment, file)
    # A value that was refused stands at its default meanwhile, so that the rest is still compared.
    settings = settings_of({**SERVE_DEFAULTS, **found.values})
    faults = [*found.faults, *contradictions(settings)]
    if faults:
        raise InvalidSettings(faults)
    origins = {name: found.origins.get(name, DEFAULT) for name in SETTINGS}
    # A value that another source replaced came from no file.
    files = {name: file for name, file in found.files.items() if origins[name].endswith(f": {file}")}
    return Configuration(settings, origins, found.warnings, files)


def check_parts(settings: object) -> None:
    """Check that an application made its settings, and each group of them, of their own classes. Raises: InvalidSettings."""
    if not isinstance(settings, Settings):
        raise InvalidSettings([f"settings: Settings are expected, not {type(settings).__name__}"])
    parts = {row.name: type(getattr(Settings(), row.name)) for row in fields(Settings) if "meaning" not in row.metadata}
    faults = [
        f"{name}: {kind.__name__} are expected, not {type(getattr(settings, name)).__name__}"
        for name, kind in parts.items()
        if not isinstance(getattr(settings, name), kind)
    ]
    if faults:
        raise InvalidSettings(faults)


def check(settings: Settings) -> None:
    """Check settings that an application made itself. Raises: InvalidSettings, with every fault."""
    faults: list[str] = []
    for name, value in values_of(settings).items():
        try:
            SETTINGS[name].check(value)
        except ConfigurationError as error:
            faults.append(f"{name}: {error.message}")
    faults += [] if faults else contradictions(settings)
    if faults:
        raise InvalidSettings(faults)


def _tls_faults(tls: TlsSettings) -> list[str]:
    if tls.certificate is None and tls.key is None:
        return []
    if tls.key is None:
        return ["tls.certificate: is given without tls.key; TLS needs both"]
    if tls.certificate is None:
        return ["tls.key: is given without tls.certificate; TLS needs both"]
    try:
        Tls(Path(tls.certificate), Path(tls.key))
    except ConfigurationError as error:
        return [error.message]
    return []


def _redis_faults(settings: Settings) -> list[str]:
    if not settings.redis:
        return []
    try:
        from signtusk_realtime.engines.redis.address import read_address  # noqa: PLC0415 - only who has Redis installs what it needs
        from signtusk_realtime.engines.redis.trust import trusting  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("signtusk_realtime"):
            raise
        return [f"redis: this needs {error.name}: install signtusk-realtime[redis]"]
    faults: list[str] = []
    for url in settings.redis:
        try:
            read_address(url)
        except ConfigurationError as error:
            faults.append(f"redis: {error.message}")
    try:
        trusting(settings.redis_ca, settings.redis_certificate, settings.redis_key)
    except ConfigurationError as error:
        faults.append(error.message)
    return faults


def contradictions(settings: Settings) -> list[str]:
    """Name what does not fit together. Every value alone is allowed."""
    faults: list[str] = []
    limits = settings.limits
    if settings.auth.mode == "development" and not is_loopback(settings.host):
        faults.append(
            f"host: development authentication lets everybody in and is refused on {settings.host!r};"
            " bind a loopback address such as 127.0.0.1"
        )
    if (
        settings.auth.mode == "development"
        and settings.public_url is not None
        and not is_loopback(urlsplit(settings.public_url).hostname or "")
    ):
        faults.append(
            f"public_url: development authentication lets everybody in and is refused under"
            f" {without_credentials(settings.public_url)!r}; set auth.mode to jwt"
        )
    faults += auth_faults(settings.auth)
    faults += address_faults(settings)
    if settings.auth.mode == "development" and settings.admin_port is not None and not is_loopback(settings.admin_host):
        faults.append(
            f"admin_host: development authentication lets everybody in and is refused on {settings.admin_host!r};"
            " bind a loopback address such as 127.0.0.1"
        )
    faults += _tls_faults(settings.tls)
    faults += _redis_faults(settings)
    if settings.workers > 1 and not settings.redis:
        faults.append(
            f"workers: {settings.workers} processes cannot share the embedded database, which one process owns;"
            " give them redis, or take workers = 1"
        )
    if limits.payload_bytes > limits.body_bytes:
        faults.append(
            f"limits.payload_bytes: {limits.payload_bytes} bytes do not fit into limits.body_bytes ({limits.body_bytes});"
            " make it smaller, or the other larger"
        )
    return faults
