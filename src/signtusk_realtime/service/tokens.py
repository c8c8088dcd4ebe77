"""Authentication by the settings: who checks tokens, and making one that passes.

Owns: from settings to the rooms that deal with tokens.   Not: what they do (auth), which settings fit together (config/access.py).
Why a file of its own: the libraries for keys are loaded only by who has any.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from signtusk_realtime.auth import minting
from signtusk_realtime.auth.authenticator import Authenticator
from signtusk_realtime.auth.claims import ClaimRules
from signtusk_realtime.auth.fetching import Fetcher
from signtusk_realtime.auth.jwks import Jwks
from signtusk_realtime.auth.jwt import JwtAuthenticator, OneKey
from signtusk_realtime.auth.keys import public_key, secret_key
from signtusk_realtime.config import AuthSettings
from signtusk_realtime.config.access import is_loopback
from signtusk_realtime.errors import ConfigurationError, InvalidInput


def make_authenticator(auth: AuthSettings, begun: AsyncExitStack) -> Authenticator:
    """Make what checks tokens; `begun` ends it. Raises: ConfigurationError."""
    rules = rules_of(auth)
    if auth.jwks_url is not None:
        fetcher = Fetcher(auth.jwks_url, is_here=is_loopback(urlsplit(auth.jwks_url).hostname or ""))
        begun.push_async_callback(fetcher.close)
        keys = Jwks(fetcher, auth.algorithms)
        begun.push_async_callback(keys.close)
        keys.start()
        return JwtAuthenticator(keys, rules)
    if auth.public_key is not None:
        return JwtAuthenticator(OneKey(public_key(auth.public_key, auth.algorithms)), rules)
    if auth.secret is not None:
        return JwtAuthenticator(OneKey(secret_key(auth.secret, auth.algorithms)), rules)
    raise ConfigurationError("auth.mode: jwt needs a key")


def rules_of(auth: AuthSettings) -> ClaimRules:
    """Give what the settings demand of claims."""
    return ClaimRules(
        issuer=auth.issuer,
        audience=auth.audience,
        leeway_ms=auth.leeway,
        lifetime_ms=auth.max_token_lifetime,
        user_claim=auth.user_claim,
        organization_claim=auth.organization_claim,
        teams_claim=auth.teams_claim,
    )


def make_token(
    auth: AuthSettings,
    *,
    user: str,
    organization: str,
    teams: str | None = None,
    scope: str | None = None,
    grants: str | None = None,
    expires_in_ms: int = 3_600_000,
    private_key_file: Path | None = None,
    key_id: str | None = None,
) -> str:
    """Make a token that a service with these settings accepts, signed with its secret or with the private key of its public one.

    `teams`: with commas between; `scope`: with spaces between; `grants`: a JSON list.
    Raises: ConfigurationError, InvalidInput.
    """
    now_ms = time.time_ns() // 1_000_000
    claims: dict[str, object] = {
        auth.user_claim: user,
        auth.organization_claim: organization,
        "iat": now_ms // 1000,
        "exp": (now_ms + expires_in_ms) / 1000,
        "jti": str(uuid.uuid4()),
    }
    optional: Mapping[str, object | None] = {
        auth.teams_claim: None if teams is None else [one.strip() for one in teams.split(",")],
        "scope": scope,
        "grants": None if grants is None else _json(grants),
        "iss": auth.issuer,
        "aud": auth.audience,
    }
    claims |= {name: value for name, value in optional.items() if value is not None}
    return minting.mint(_signer(auth, private_key_file, key_id), claims, rules_of(auth), now_ms)


def _signer(auth: AuthSettings, private_key_file: Path | None, key_id: str | None) -> minting.Signer:
    algorithm = auth.algorithms[0] if auth.algorithms else None
    if private_key_file is not None:
        if auth.secret is not None:
            raise InvalidInput("give either auth.secret or --private-key-file")
        try:
            pem = private_key_file.read_bytes()
        except OSError as error:
            raise InvalidInput(f"--private-key-file: cannot read {str(private_key_file)!r}: {error.strerror}") from None
        return minting.with_private_key(pem, algorithm, key_id)
    if auth.secret is None:
        raise InvalidInput(
            "a token is signed with a secret (auth.secret, --auth-secret-file) or with --private-key-file"
        )
    return minting.with_secret(auth.secret, algorithm, key_id)


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput("--grants: is not JSON") from None
