"""Fetch the keys of an identity provider over HTTP.

Owns: one GET, its limits.   Not: when (jwks.py).
Rule 1: bounded in time and size, whatever the other side does; no redirects: who is asked is who was configured.
Rule 2: what takes the processor long, the library and its certificates, is loaded on a thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from signtusk_realtime.auth.jwks import FetchFailed
from signtusk_realtime.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 256 << 10
_HEADERS: Final = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}


class Fetcher:
    """Asks one address. Ended by `close`. `is_here`: it is this machine's own, and asked without the proxies that the environment names.

    Raises: ConfigurationError if the library for it is not installed.
    """

    def __init__(self, url: str, *, is_here: bool = False) -> None:
        self._url = url
        self._is_here = is_here
        self._client: httpx2.AsyncClient | None = None
        _check_installed()

    async def __call__(self) -> bytes:
        """Give the answer's body. Raises: FetchFailed."""
        import httpx2  # noqa: PLC0415 - loaded by _check_installed

        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._client is None:
                    self._client = await asyncio.to_thread(_make_client, trust_env=not self._is_here)
                async with self._client.stream("GET", self._url, headers=_HEADERS) as response:
                    if response.status_code != httpx2.codes.OK:
                        raise FetchFailed(f"the answer has status {response.status_code}")
                    if response.headers.get("content-encoding", "identity") != "identity":
                        raise FetchFailed("the answer is compressed, which was not asked for")
                    body = b""
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > MAX_BYTES:
                            raise FetchFailed(f"the answer has more than {MAX_BYTES} bytes")
                    return body
        except TimeoutError:
            raise FetchFailed(f"no answer within {TIMEOUT_S:.0f} s") from None
        except (httpx2.HTTPError, OSError) as error:
            # Its text may name the address with what an operator put into it.
            raise FetchFailed(f"no answer: {type(error).__name__}") from None

    async def close(self) -> None:
        """Let go of connections."""
        if self._client is not None:
            await self._client.aclose()


def _check_installed() -> None:
    try:
        import httpx2  # noqa: F401, PLC0415 - only who fetches keys needs it
    except ModuleNotFoundError:
        raise ConfigurationError(
            "auth.jwks_url: fetching keys needs httpx2: install signtusk-realtime[client]"
        ) from None


def _make_client(*, trust_env: bool) -> httpx2.AsyncClient:
    import httpx2  # noqa: PLC0415 - see above

    return httpx2.AsyncClient(follow_redirects=False, timeout=TIMEOUT_S, trust_env=trust_env)
