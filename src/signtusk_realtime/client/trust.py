"""Whom a client trusts to say that a service is the one it meant.

Owns: the certificate authorities of this machine, read once for all connections.   Not: whether a connection is encrypted (address.py).
Measured: reading them takes 20 to 30 ms, at every connection if a library is left to do it; a program with a hundred feeds would spend the
seconds of a restart with nothing else.
"""

from __future__ import annotations

import ssl
from functools import cache

import httpx2


@cache
def for_http(*, trust_env: bool) -> ssl.SSLContext:
    """Give what HTTP connections check certificates by. `trust_env`: whether the environment may name other authorities."""
    return httpx2.create_ssl_context(trust_env=trust_env)


@cache
def for_websockets() -> ssl.SSLContext:
    """Give what encrypted WebSockets check certificates by."""
    return ssl.create_default_context()
