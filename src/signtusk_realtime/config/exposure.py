"""What settings expose that an operator may not have meant to: allowed, and worth a second look.

Owns: telling it, a line for each.   Not: what is refused (check.py, access.py), who prints it (cli, service/doctor.py).
Rule: it is told of settings alone, by whoever asks; a server that starts does not repeat it every time.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from signtusk_realtime.config.access import is_loopback
from signtusk_realtime.config.settings import SETTINGS, Settings


def exposures(
    settings: Settings, files: Mapping[str, Path], origins: Mapping[str, str] = {}
) -> Iterator[tuple[str, str]]:
    """Give the setting and what it means, for each that exposes something.

    `files`: those that settings were read from, `origins`: where each came from (config/sources.py), by the setting's name.
    """
    yield from _tokens(settings)
    yield from _command_line(settings, origins)
    yield from _network(settings)
    yield from _files(files)


def _tokens(settings: Settings) -> Iterator[tuple[str, str]]:
    auth = settings.auth
    if auth.mode == "development":
        return
    if auth.audience is None:
        yield (
            "auth.audience",
            "is not set: a token that was made for another service with the same key is good here too",
        )
    if auth.issuer is None and auth.jwks_url is not None:
        yield "auth.issuer", "is not set: whoever's keys are published there is believed, whatever he calls himself"
    if auth.max_token_lifetime is None:
        yield "auth.max_token_lifetime", "is not set: a token may last for years, and revocations are kept for good"
    if auth.query_token:
        yield "auth.query_token", "is on: tokens in addresses stand in the logs of proxies and in browsers' histories"
    limits = settings.limits
    if limits.connections_per_address is None and limits.connections_per_user is None:
        yield (
            "limits.connections_per_user",
            "is not set, nor is connections_per_address: one user may take all connections",
        )


def _network(settings: Settings) -> Iterator[tuple[str, str]]:
    is_open, has_tls = not is_loopback(settings.host), settings.tls.certificate is not None
    if is_open and not has_tls and not settings.trusted_proxies:
        protection = "set tls.certificate, or name the proxy that speaks TLS in trusted_proxies"
        yield "host", f"{settings.host} without TLS: tokens cross the network readable; {protection}"
    if settings.admin_port is not None and not is_loopback(settings.admin_host):
        yield "admin_host", f"{settings.admin_host}: see that only operators reach it"
    for url in settings.redis:
        parts = urlsplit(url)
        if parts.scheme == "redis" and not is_loopback(parts.hostname or ""):
            yield (
                "redis",
                f"{parts.hostname} without TLS: passwords and documents cross the network readable; use rediss://",
            )
        if parts.password is None and not is_loopback(parts.hostname or ""):
            yield "redis", f"{parts.hostname} without a password: whoever reaches it reads and writes every log"


def _command_line(settings: Settings, origins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    has_password = any(urlsplit(url).password is not None for url in settings.redis)
    for name, setting in SETTINGS.items():
        if not setting.is_secret or origins.get(name) != f"option {setting.option}":
            continue
        if name != "redis" or has_password:
            yield (
                name,
                f"is given on the command line, which every user of this machine can list; use {setting.option}-file",
            )


def _files(files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    for name, file in files.items():
        try:
            mode = file.stat().st_mode
        except OSError:
            continue
        if SETTINGS[name].is_secret and mode & (stat.S_IRGRP | stat.S_IROTH):
            yield name, f"{file} may be read by others than its owner (mode {stat.S_IMODE(mode):o}); chmod 600 {file}"
