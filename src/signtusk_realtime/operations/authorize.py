"""Ask the application's authorizer, where there is one.

Owns: the time limit, how long an answer counts, what silence means.   Not: the answers (auth/authorizer.py), grants (sessions).
Rule 1: asked at subscribe, at refresh, and before anything is replayed, or read from the history; for what is done with a document as for its
updates (documents/documents.py).
Rule 2: an error, or no answer in time, means no, and is not remembered. An answer counts for at most 60 s.
Rule 3: an application may take seconds to answer, and a token may be revoked or end meanwhile: then the answer is not heeded. Who reads after that
looks again before he answers (`look_again`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from signtusk_realtime.auth.authorizer import Authorizer
from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.sessions.entitlement import weigh, weigh_rights
from signtusk_realtime.sessions.identity import Identity
from signtusk_realtime.sessions.shelf import Shelf

TIMEOUT_S: Final = 2.0
KEPT_S: Final = 60.0
KEPT_BYTES: Final = 32 << 20
"""About how much is remembered of answers, of all users together."""
_ANSWER_BYTES: Final = 1000
"""About what an answer weighs, with who asked for what, without their texts."""

log = logging.getLogger(__name__)

_Key = tuple[Identity, Subscription]


class Authorize:
    """See the module. `monotonic_s`: a clock that never goes back; `kept_s`: how long an answer counts, at most 60.

    `holds`: passes if an identity that was let in before still is, else raises Unauthenticated.
    """

    def __init__(
        self,
        authorizer: Authorizer | None,
        *,
        monotonic_s: Callable[[], float],
        timeout_s: float = TIMEOUT_S,
        kept_s: float = KEPT_S,
        holds: Callable[[Identity], None] = lambda identity: None,
    ) -> None:
        self._holds = holds
        self._authorizer = authorizer
        self._monotonic_s = monotonic_s
        self._timeout_s = timeout_s
        self._kept_s = min(kept_s, KEPT_S)
        self._answers: Shelf[_Key, tuple[float, bool]] = Shelf(KEPT_BYTES)

    @property
    def is_asked(self) -> bool:
        """Whether there is an authorizer at all; without one everything is allowed."""
        return self._authorizer is not None

    def look_again(self, identity: Identity) -> None:
        """Pass if this identity still holds, where time has passed since it was let in. Raises: Unauthenticated (invalid_token)."""
        try:
            self._holds(identity)
        except Unauthenticated as error:
            raise Unauthenticated(error.message, code="invalid_token") from None

    async def check(self, identity: Identity, subscriptions: Sequence[Subscription]) -> None:
        """Pass if every one is allowed. Raises: Forbidden, with `path` (index,) of the first that is not; Unauthenticated, as `look_again`."""
        for index, allowed in enumerate(await self._ask_all(identity, subscriptions)):
            if not allowed:
                raise Forbidden(
                    f"{subscriptions[index].type}: the application does not allow this subscription", path=(str(index),)
                )

    async def allowed(self, identity: Identity, subscriptions: Sequence[Subscription]) -> tuple[Subscription, ...]:
        """Give those that are allowed. Raises: Unauthenticated, as `look_again`."""
        answers = await self._ask_all(identity, subscriptions)
        return tuple(s for s, allowed in zip(subscriptions, answers, strict=True) if allowed)

    async def _ask_all(self, identity: Identity, subscriptions: Sequence[Subscription]) -> Sequence[bool]:
        authorizer = self._authorizer
        if authorizer is None:
            return [True] * len(subscriptions)
        answers = await asyncio.gather(*(self._ask(authorizer, identity, s) for s in subscriptions))
        self.look_again(identity)
        return answers

    async def _ask(self, authorizer: Authorizer, identity: Identity, subscription: Subscription) -> bool:
        key = (identity, subscription)
        known = self._answers.get(key)
        if known is not None and self._monotonic_s() < known[0]:
            return known[1]
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await authorizer.may_subscribe(identity, subscription) is True
        except TimeoutError:
            log.warning("the authorizer did not answer in time", extra={"timeout_s": self._timeout_s})
            return False
        except Exception:
            log.exception("the authorizer failed")
            return False
        weight = _ANSWER_BYTES + weigh(subscription) + weigh_rights(identity)
        self._answers.put(key, (self._monotonic_s() + self._kept_s, answer), weight)
        return answer


UNASKED: Final = Authorize(None, monotonic_s=lambda: 0.0)
"""Where there is no authorizer."""
