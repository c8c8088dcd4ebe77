"""The keys that an identity provider publishes (RFC 7517 §5), and their rotation.

Owns: how long a set counts, when it is asked for again, who waits for that.   Not: HTTP (fetching.py), which JWK is a key for us (keys.py).
Rule 1: one fetch at a time, whoever needs it; it belongs to no request, and none of its steps holds up the loop.
Rule 2: after a fetch that did not bring what it was made for there is none for INTERVAL_S, however many unknown keys are named.
Rule 3: a key that is no longer published, or that could not be asked for again, counts until KEPT_S after it was last seen; then no more.
Rule 4: who names a known key waits for nobody. The others wait WAIT_S at most, MOST_WAITING of them; a fetch that fails ends their waiting.
Rule 5: a token is checked against MAX_CANDIDATES keys at most: without a `kid` nobody makes us try a hundred.
Why anybody waits: a provider may sign with a new key in the very seconds after somebody named one that does not exist. A few names may wait for the
next fetch; where unknown names keep coming they are refused at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from signtusk_realtime.auth.keys import Key, jwk_key
from signtusk_realtime.errors import InvalidInput, Unavailable
from signtusk_realtime.protocol import json

log = logging.getLogger(__name__)

REFRESH_S: Final = 300.0
"""How old a set gets before it is asked for again, in the background."""
KEPT_S: Final = 900.0
INTERVAL_S: Final = 5.0
MAX_KEYS: Final = 100
MAX_CANDIDATES: Final = 4
MINUTE_S: Final = 60.0
NAMES_PER_MINUTE: Final = 4
WAIT_S: Final = 8.0
"""For a fetch that another had begun, the pause after it, and one more: clients commonly give up after ten seconds."""
MOST_WAITING: Final = 2048
"""For keys that are not known yet. After a rotation thousands may come at once, and a key server that hangs keeps them all; each is a connection
and a task, 10 KB."""
MOST_PAUSING: Final = 128
"""Of them, through the pause after a fetch that did not bring what it was made for."""
_DEPTH: Final = 8


class FetchFailed(Exception):
    """The set could not be fetched; the text says why, and names no secret."""


class _Held(NamedTuple):
    key: Key
    until: float


class Jwks:
    """See the module. `fetch` gives the set's text; raises FetchFailed. `allowed`: as in `auth.algorithms`, empty for each key's default."""

    def __init__(self, fetch: Callable[[], Awaitable[bytes]], allowed: Sequence[str] = ()) -> None:
        self._fetch = fetch
        self._allowed = tuple(allowed)
        self._held: list[_Held] = []
        self._refresh_at = 0.0
        self._next_at = 0.0
        """When the next fetch may begin."""
        self._flight: asyncio.Task[None] | None = None
        self._has_failed = False
        self._waiting = 0
        self._pausing: Counter[str | None] = Counter()
        """How many wait for the next fetch to begin, by the key they name."""
        self._pauses: deque[float] = deque()
        """When the last few names began to wait for that."""

    def start(self) -> None:
        """Ask for the keys, so that who comes first need not wait."""
        self._begin_fetch(asyncio.get_running_loop().time())

    async def close(self) -> None:
        """End what is under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """See the port."""
        now = asyncio.get_running_loop().time()
        found = self.known(kid, algorithm)
        if found:
            if self._flight is None and now >= self._refresh_at and now >= self._next_at:
                self._begin_fetch(now)
            return found
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many wait for keys of tokens that are not known yet; come back later")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._look_for(kid, algorithm)
        except TimeoutError:
            raise Unavailable("the keys of tokens were not fetched in time; come back later") from None
        finally:
            self._waiting -= 1

    async def _look_for(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        loop = asyncio.get_running_loop()
        has_paused = False
        while True:
            now = loop.time()
            flight = self._flight
            is_own = flight is None
            if flight is None:
                if now < self._next_at:
                    if has_paused or self._has_failed or not self._may_pause(kid, now):
                        break
                    has_paused = True
                    await self._pause(kid, self._next_at - now)
                else:
                    flight = self._begin_fetch(now, (kid, algorithm))
            if flight is not None:
                # It belongs to nobody: who gives up takes it from nobody else.
                await asyncio.shield(flight)
            found = self.known(kid, algorithm)
            if found:
                return found
            if flight is not None and (is_own or self._has_failed):
                break
            # What others had begun may have been answered before this key was published.
        if self._has_failed:
            raise Unavailable("the keys of tokens cannot be fetched now; come back later")
        return ()

    def known(self, kid: str | None, algorithm: str) -> list[Key]:
        """See the port."""
        now = asyncio.get_running_loop().time()
        found = [
            key
            for key, until in self._held
            if now < until and algorithm in key.algorithms and (kid is None or key.kid == kid)
        ]
        return found if len(found) <= MAX_CANDIDATES else []

    def _may_pause(self, kid: str | None, now: float) -> bool:
        if self._pausing.total() >= MOST_PAUSING:
            return False
        if kid in self._pausing:
            return True
        while self._pauses and now - self._pauses[0] >= MINUTE_S:
            self._pauses.popleft()
        if len(self._pauses) >= NAMES_PER_MINUTE:
            return False
        self._pauses.append(now)
        return True

    async def _pause(self, kid: str | None, seconds: float) -> None:
        self._pausing[kid] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing[kid] -= 1
            if not self._pausing[kid]:
                del self._pausing[kid]

    def _begin_fetch(self, now: float, wanted: tuple[str | None, str] | None = None) -> asyncio.Task[None]:
        """Ask for the set; `wanted`: the key it is asked for, if for one."""
        self._next_at = now + INTERVAL_S
        self._flight = asyncio.get_running_loop().create_task(self._run(wanted))
        return self._flight

    async def _run(self, wanted: tuple[str | None, str] | None) -> None:
        try:
            keys = self._read(await self._fetch())
        except FetchFailed as error:
            self._has_failed = True
            log.warning("the keys of tokens could not be fetched", extra={"reason": str(error)})
        except Exception:
            self._has_failed = True
            log.exception("fetching the keys of tokens failed")
        else:
            self._has_failed = False
            self._take(keys)
            if wanted is None or self.known(*wanted):
                self._next_at = 0.0
        finally:
            self._flight = None

    def _read(self, text: bytes) -> list[Key]:
        try:
            document = json.decode_value(text, depth=_DEPTH)
        except InvalidInput:
            raise FetchFailed("the answer is not JSON") from None
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise FetchFailed(f"the answer has no list of at most {MAX_KEYS} keys")
        keys = [key for one in listed if isinstance(one, dict) and (key := jwk_key(one, self._allowed)) is not None]
        if not keys:
            raise FetchFailed("no key of the answer can be used here")
        return keys

    def _take(self, keys: list[Key]) -> None:
        now = asyncio.get_running_loop().time()
        self._refresh_at = now + REFRESH_S
        old = [held for held in self._held if now < held.until and held.key not in keys]
        if new := len([key for key in keys if all(key != held.key for held in self._held)]):
            log.info("keys of tokens fetched", extra={"keys": len(keys), "new": new, "no_longer_published": len(old)})
        # The newest first, so that a name that was given twice means the later one before the earlier.
        self._held = [*(_Held(key, now + KEPT_S) for key in keys), *old][: 2 * MAX_KEYS]
