"""Tokens: the CPU of checking one, by algorithm; every connection and publication pays it once.

    .venv/bin/python -m benchmarks.tokens [--rounds 5]

Owns: the authenticator alone, in process: form, signature, claims.   Not: what a connection costs beside it (run.py connect).
Rule: the keys are made anew for each run; a token that is not accepted ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks import results
from benchmarks.claims import Claim, Column
from benchmarks.servers import HERE, OURS
from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.claims import ClaimRules
from signtusk_realtime.auth.jwt import JwtAuthenticator, OneKey
from signtusk_realtime.auth.keys import Key, public_key, secret_key
from signtusk_realtime.auth.minting import Signer, mint, with_private_key, with_secret

CHECKS: Final = 2000
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _shared() -> tuple[Signer, Key]:
    secret = secrets.token_urlsafe(48)
    return with_secret(secret), secret_key(secret)


def _pair(make: Callable[[], PrivateKey]) -> tuple[Signer, Key]:
    private = make()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return with_private_key(pem), public_key(public)


ALGORITHMS: Final[dict[str, Callable[[], tuple[Signer, Key]]]] = {
    "HS256": _shared,
    "RS256, 2048 bits": lambda: _pair(lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "ES256": lambda: _pair(lambda: ec.generate_private_key(ec.SECP256R1())),
    "EdDSA, Ed25519": lambda: _pair(ed25519.Ed25519PrivateKey.generate),
}

SHARED: Final = replace(OURS, name="HS256")
CLAIM: Final = Claim(
    name="tokens",
    title="Checking a token: form, signature and claims",
    reference=SHARED,
    columns=(Column("check_cpu_us", "CPU µs per token", "{:.1f}"),),
    goals=(),
    works=lambda short: (),
)


async def measure(name: str) -> float:
    """Give the CPU µs of checking one token of this algorithm."""
    signer, key = ALGORITHMS[name]()
    rules = ClaimRules()
    claims = {"sub": "user-1", "org": "org-1", "scope": "", "exp": int(time.time()) + 3600}
    credentials = Credentials(purpose="connect", bearer=mint(signer, claims, rules, int(time.time() * 1000)))
    authenticator = JwtAuthenticator(OneKey(key), rules)
    began = 0.0
    for number in range(CHECKS + 100):
        if number == 100:
            began = time.process_time()
        await authenticator.authenticate(credentials)
    return (time.process_time() - began) / CHECKS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    about = results.circumstances(" ".join(["python -m benchmarks.tokens", *sys.argv[1:]]))
    rows = [results.Row("a token", name) for name in ALGORITHMS]
    for _ in range(options.rounds):
        for row in rows:
            row.runs.append({"check_cpu_us": asyncio.run(measure(row.server))})
    result = results.document(CLAIM, rows, about)
    results.write(options.results, result)
    print(results.markdown(result))


if __name__ == "__main__":
    main()
