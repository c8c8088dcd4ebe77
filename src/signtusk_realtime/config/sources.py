"""Where values come from: options, environment, a TOML file, defaults, in this order of force.

Owns: reading each source, and which name in it is which setting.   Not: what values are allowed (settings.py).
Rule 1: a name that no setting has is a fault that names the nearest one.   Rule 2: every fault is kept; reading goes on after it.
Rule 3: no fault repeats a file's content beyond one value.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from signtusk_realtime.config.settings import NONE, PREFIX, SETTINGS, Setting, Value
from signtusk_realtime.errors import ConfigurationError

CONFIG_VARIABLE: Final = PREFIX + "CONFIG"
"""Names the TOML file where `--config` does not."""
DEFAULT: Final = "default"

# Kubernetes gives every container of a namespace the addresses of its services; a service named signtusk-realtime or signtusk-realtime-…
# makes variables that look like settings, one of them exactly like `port`.
_INJECTED_NAME: Final = re.compile(r"(_|^)(SERVICE_(HOST|PORT)|PORT_\d+_)")
_INJECTED_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")

_BY_VARIABLE: Final = {setting.variable: setting for setting in SETTINGS.values()}
FILE: Final = "_file"
"""Ends the name under which a file may be named that holds a setting's value."""
_IN_FILES: Final = {setting.name + FILE: setting for setting in SETTINGS.values() if setting.has_file}
_BY_FILE_VARIABLE: Final = {setting.variable + FILE.upper(): setting for setting in _IN_FILES.values()}
_GROUPS: Final = {name.rpartition(".")[0] for name in SETTINGS} - {""}


class Found(Struct):
    """What the sources hold: values and their origins by the name of the setting, faults and warnings as lines for people."""

    values: dict[str, Value] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    """Those that a value alone stands in, by the name of its setting."""

    def take(self, setting: Setting, value: object, origin: str) -> None:
        """Note a setting's value: a text where the source knows nothing else, a typed value otherwise."""
        if value == NONE and setting.is_optional:
            value = None
        try:
            self.values[setting.name] = setting.check(value)
        except ConfigurationError as error:
            self.faults.append(f"{setting.name}: {error.message} ({origin})")
        self.origins[setting.name] = origin

    def take_file(self, setting: Setting, file: object, origin: str, *, is_given: bool) -> None:
        """Note a value that stands in a file of its own. `is_given`: the same source has the value itself too."""
        self.origins[setting.name] = origin
        if is_given:
            self.faults.append(
                f"{setting.name}: is given, and so is {setting.name}{FILE}; one of them is enough ({origin})"
            )
            return
        if not isinstance(file, str) or not file:
            self.faults.append(f"{setting.name}{FILE}: not the name of a file ({origin})")
            return
        try:
            text = Path(file).read_bytes().decode()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            self.faults.append(f"{setting.name}{FILE}: cannot read {file!r}: {why} ({origin})")
            return
        self.files[setting.name] = Path(file)
        # Editors and `echo` end a file with a line break, which is no part of what it holds.
        text = text.removesuffix("\n").removesuffix("\r")
        if setting.is_list:
            self.take_text(setting, text, f"{origin}: {file}")
        else:
            self.take(setting, text, f"{origin}: {file}")

    def take_text(self, setting: Setting, text: str, origin: str) -> None:
        """Note a value that came as text."""
        try:
            self.values[setting.name] = setting.parse(text)
        except ConfigurationError as error:
            self.faults.append(f"{setting.name}: {error.message} ({origin})")
        self.origins[setting.name] = origin


def read(options: Mapping[str, str], environment: Mapping[str, str], file: Path | None) -> Found:
    """Read every source. `options`: values by the setting's keyword; `file`: the TOML file an option named, if any."""
    found = Found()
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    if file is not None:
        _read_file(found, file)
    _read_environment(found, environment)
    for setting in SETTINGS.values():
        if setting.keyword in options:
            found.take_text(setting, options[setting.keyword], f"option {setting.option}")
        file_option = setting.keyword + FILE
        if setting.has_file and file_option in options:
            is_given = setting.keyword in options
            found.take_file(setting, options[file_option], f"option {setting.option}-file", is_given=is_given)
    return found


def _read_environment(found: Found, environment: Mapping[str, str]) -> None:
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        text = environment[variable]
        if _INJECTED_NAME.search(variable.removeprefix(PREFIX)) or (
            variable.endswith("_PORT") and _INJECTED_ADDRESS.match(text)
        ):
            found.warnings.append(f"environment variable {variable} is ignored: it looks injected by Kubernetes")
        elif setting := _BY_VARIABLE.get(variable):
            found.take_text(setting, text, f"environment variable {variable}")
        elif setting := _BY_FILE_VARIABLE.get(variable):
            is_given = setting.variable in environment
            found.take_file(setting, text, f"environment variable {variable}", is_given=is_given)
        else:
            found.faults.append(f"environment variable {variable} is no setting{_nearest(variable, _BY_VARIABLE)}")


def _read_file(found: Found, file: Path) -> None:
    try:
        tables = tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        found.faults.append(f"cannot read the configuration file {file}: {error.strerror}")
        return
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        found.faults.append(f"the configuration file {file} is not TOML: {error}")
        return
    values = dict(_flat(tables))
    for name, value in values.items():
        if setting := SETTINGS.get(name):
            found.take(setting, value, f"file {file}")
        elif setting := _IN_FILES.get(name):
            found.take_file(setting, value, f"file {file}", is_given=setting.name in values)
        elif name in _GROUPS:
            found.faults.append(f"{name} is a table of settings, not a setting (file {file})")
        elif isinstance(value, dict):
            found.faults.append(f"{name} is no table of settings{_nearest(name, _GROUPS)} (file {file})")
        else:
            found.faults.append(f"{name} is no setting{_nearest(name, SETTINGS)} (file {file})")


def _flat(table: Mapping[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Give the file's values by dotted name; of an unknown table the whole counts as one name."""
    for key, value in table.items():
        if isinstance(value, dict) and prefix + key in _GROUPS:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
