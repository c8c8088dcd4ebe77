"""Settings: what they are, where they come from, what fits together."""

from signtusk_realtime.config.check import Configuration, InvalidSettings, check, load
from signtusk_realtime.config.settings import SETTINGS, AuthSettings, LimitSettings, Settings, TlsSettings

__all__ = [
    "SETTINGS",
    "AuthSettings",
    "Configuration",
    "InvalidSettings",
    "LimitSettings",
    "Settings",
    "TlsSettings",
    "check",
    "load",
]
