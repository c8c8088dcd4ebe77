"""The keys that a provider publishes: rotation refuses no good token, and unknown names cause no storm."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.auth.jwks import (
    INTERVAL_S,
    KEPT_S,
    MAX_CANDIDATES,
    MOST_WAITING,
    NAMES_PER_MINUTE,
    REFRESH_S,
    WAIT_S,
    FetchFailed,
    Jwks,
)
from signtusk_realtime.auth.jwt import JwtAuthenticator, OneKey
from signtusk_realtime.auth.keys import Key, secret_key
from signtusk_realtime.errors import Unauthenticated, Unavailable
from tests.support.clock import elapse, settle
from tests.support.tokens import NOW_S, SECRET, ec_key, ed_key, jwk, jwks, rsa_key, token

pytestmark = pytest.mark.virtual_clock


class Provider:
    """Publishes keys by name; counts who asks, and can be slow or broken."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.fetches = 0
        self.answer: bytes | None = None
        self.fault: Exception | None = None
        self.seconds = 0.0

    async def __call__(self) -> bytes:
        self.fetches += 1
        await asyncio.sleep(self.seconds)
        if self.fault is not None:
            raise self.fault
        return jwks(*(jwk(ed_key(name), name) for name in self.names)) if self.answer is None else self.answer


async def names(keys: Jwks, kid: str | None, algorithm: str = "EdDSA") -> list[str | None]:
    return [key.kid for key in await keys.find(kid, algorithm)]


async def test_keys_are_fetched_once_for_everybody() -> None:
    """Whoever comes while they are fetched waits for the same fetch, and later ones wait for none."""
    provider = Provider("a", "b")
    provider.seconds = 1.0
    keys = Jwks(provider)
    found = await asyncio.gather(*(names(keys, kid) for kid in "abab"))
    assert found == [["a"], ["b"], ["a"], ["b"]]
    assert await names(keys, "a") == ["a"]
    assert provider.fetches == 1


async def test_who_gives_up_takes_the_fetch_from_nobody() -> None:
    """A peer that leaves while keys are fetched ends its own waiting and nothing else."""
    provider = Provider("a")
    provider.seconds = 1.0
    keys = Jwks(provider)
    first, second = asyncio.create_task(names(keys, "a")), asyncio.create_task(names(keys, "a"))
    await settle()
    first.cancel()
    assert await second == ["a"]
    assert provider.fetches == 1


async def test_a_new_key_is_found_when_it_is_first_named() -> None:
    """Also several in a row: a fetch that brought what it was made for may be followed by another at once."""
    provider = Provider()
    keys = Jwks(provider)
    began = asyncio.get_running_loop().time()
    for name in "abcde":
        provider.names = [*provider.names, name]
        assert await names(keys, name) == [name]
    assert provider.fetches == 5
    assert asyncio.get_running_loop().time() == began


async def test_unknown_names_cause_one_fetch_an_interval() -> None:
    """A thousand, all at once and then one after the other, cost a fetch each INTERVAL_S at most, and are all refused."""
    provider = Provider("a")
    keys = Jwks(provider)
    assert await names(keys, "a") == ["a"]
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await asyncio.gather(*(names(keys, f"x{index}") for index in range(1000))) == [[]] * 1000
    for index in range(1000):
        assert await names(keys, f"y{index}") == []
    assert provider.fetches - 1 <= (loop.time() - began) / INTERVAL_S + 1
    # Those who may wait are few, so that the rest is refused at once.
    assert loop.time() - began <= (NAMES_PER_MINUTE + 1) * INTERVAL_S


async def test_a_good_key_is_found_although_unknown_ones_were_named() -> None:
    """Whoever names a new key in the seconds after a fetch for a key that does not exist waits, with all who name it."""
    provider = Provider("a")
    keys = Jwks(provider)
    assert await names(keys, "x") == []
    provider.names = ["a", "b"]
    assert await asyncio.gather(*(names(keys, "b") for _ in range(100))) == [["b"]] * 100
    assert provider.fetches == 2


async def test_a_key_published_while_others_fetch_is_found() -> None:
    """A fetch that somebody else had begun may have been answered before the key was there: it is not the last word."""
    provider = Provider("a")
    provider.seconds = 1.0
    keys = Jwks(provider)
    first = asyncio.create_task(names(keys, "x"))
    await settle()
    second = asyncio.create_task(names(keys, "b"))
    await settle()
    provider.seconds = 0.0
    assert await first == []
    provider.names = ["a", "b"]
    assert await second == ["b"]


async def test_rotation_under_load_refuses_no_good_token() -> None:
    """For an hour a key is added and the oldest taken away every few minutes; tokens live a quarter of that and always pass."""
    provider = Provider("k0")
    provider.seconds = 0.2
    keys = Jwks(provider)
    tokens: Sequence[str] = ["k0"]
    for step in range(1, 60):
        if step % 5 == 0:
            provider.names = [*provider.names, f"k{step}"][-2:]
        tokens = [*tokens, provider.names[-1]][-10:]
        found = await asyncio.gather(*(names(keys, kid) for kid in tokens), names(keys, f"unknown{step}"))
        assert found == [*([kid] for kid in tokens), []]
        await elapse(60)
    await keys.close()


async def test_a_set_is_asked_for_again_in_the_background() -> None:
    """After REFRESH_S who comes starts a fetch, and does not wait for it."""
    provider = Provider("a")
    keys = Jwks(provider)
    await names(keys, "a")
    await elapse(REFRESH_S + 1)
    provider.names = ["a", "b"]
    provider.seconds = 1.0
    began = asyncio.get_running_loop().time()
    assert await names(keys, "a") == ["a"]
    assert asyncio.get_running_loop().time() == began
    await elapse(2)
    provider.seconds = 0.0
    assert (await names(keys, "b"), provider.fetches) == (["b"], 2)


async def test_a_key_that_is_no_longer_published_ends() -> None:
    """It counts for KEPT_S after it was last seen, so that tokens signed with it run out in peace, and then no more."""
    provider = Provider("a", "b")
    keys = Jwks(provider)
    await names(keys, "a")
    provider.names = ["b"]
    await elapse(KEPT_S / 2)
    await names(keys, "b")
    await elapse(KEPT_S / 2 - 1)
    assert await names(keys, "a") == ["a"]
    await elapse(2)
    assert await names(keys, "a") == []
    assert await names(keys, "b") == ["b"]


async def test_a_provider_that_is_away_is_survived_for_a_while() -> None:
    """Known keys count for KEPT_S; then nobody comes in, and everybody is told to come back later."""
    provider = Provider("a")
    keys = Jwks(provider)
    await names(keys, "a")
    provider.fault = FetchFailed("gone")
    await elapse(KEPT_S - 1)
    assert await names(keys, "a") == ["a"]
    await settle()
    await elapse(2)
    with pytest.raises(Unavailable):
        await names(keys, "a")
    provider.fault = None
    await elapse(INTERVAL_S)
    assert await names(keys, "a") == ["a"]


async def test_a_provider_that_hangs_keeps_nobody_long() -> None:
    """Known names pass at once; of unknown ones so many wait, until one deadline for all, and the rest is told at once to come later."""
    provider = Provider("a")
    keys = Jwks(provider)
    assert await names(keys, "a") == ["a"]
    provider.seconds = 3600.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    crowd = [asyncio.create_task(names(keys, f"x{number}")) for number in range(MOST_WAITING + 500)]
    await settle()
    refused = [task for task in crowd if task.done()]
    assert len(refused) == 500
    assert all(isinstance(task.exception(), Unavailable) for task in refused)
    assert await names(keys, "a") == ["a"]
    assert loop.time() - began < 0.1
    found = await asyncio.gather(*crowd, return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)
    assert loop.time() - began <= WAIT_S + 0.1
    assert provider.fetches == 2
    # Nobody is counted for ever.
    provider.seconds = 0.0
    provider.names.append("b")
    await keys.close()
    assert await names(keys, "b") == ["b"]


async def test_a_fetch_that_fails_ends_all_waiting() -> None:
    """Nobody begins another one behind it and waits on: its end is everybody's answer."""
    provider = Provider("a")
    keys = Jwks(provider)
    await names(keys, "a")
    provider.seconds, provider.fault = 6.0, FetchFailed("gone")
    loop = asyncio.get_running_loop()
    began = loop.time()
    first = asyncio.create_task(names(keys, "x"))
    await settle()
    crowd = [asyncio.create_task(names(keys, "b")) for _ in range(100)]
    found = await asyncio.gather(first, *crowd, return_exceptions=True)
    assert all(isinstance(one, Unavailable) for one in found)
    assert loop.time() - began == pytest.approx(6.0, abs=0.1)
    assert provider.fetches == 2


def _by(name: str) -> Credentials:
    return Credentials(purpose="connect", bearer=token(ed_key(name), "EdDSA", {"kid": name}))


async def test_what_others_must_be_asked_for_is_told_before() -> None:
    """For a known key there is nothing to wait for, nor without a token; an unknown one is waited for, and a key that does not exist is refused."""
    provider = Provider("a")
    keys = Jwks(provider)
    authenticator = JwtAuthenticator(keys, now_s=lambda: float(NOW_S))
    waiting = authenticator.awaited(_by("a"))
    assert waiting is not None
    await waiting
    assert authenticator.awaited(_by("a")) is None
    assert (await authenticator.authenticate(_by("a"))).user_id == "user123"
    assert authenticator.awaited(Credentials(purpose="connect")) is None
    waiting = authenticator.awaited(_by("x"))
    assert waiting is not None
    with pytest.raises(Unauthenticated):
        await waiting
    single = JwtAuthenticator(OneKey(secret_key(SECRET)))
    assert single.awaited(_by("x")) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[1]}',
        b'{"keys":[],"keys":[]}',
        jwks(*[jwk(ed_key(), "a")] * 101),
    ],
    ids=["empty", "page", "list", "object", "keys object", "none", "number", "twice", "too many"],
)
async def test_an_answer_without_keys_is_none(answer: bytes) -> None:
    """What is not a set of keys changes nothing: known ones stay, and without any nobody comes in."""
    provider = Provider("a")
    keys = Jwks(provider)
    await names(keys, "a")
    provider.answer = answer
    await elapse(REFRESH_S + 1)
    assert await names(keys, "a") == ["a"]
    await elapse(1)
    assert (await names(keys, "a"), provider.fetches) == (["a"], 2)
    with pytest.raises(Unavailable):
        await names(Jwks(provider), "a")


async def test_a_defect_in_fetching_is_no_way_in() -> None:
    """Whatever fails, it is logged, and nobody comes in."""
    provider = Provider("a")
    provider.fault = RuntimeError("defect")
    with pytest.raises(Unavailable):
        await names(Jwks(provider), "a")


async def test_a_token_without_a_name_is_tried_with_few_keys() -> None:
    """Where more keys fit than may be tried, it must say which it means."""
    provider = Provider(*"abcd"[:MAX_CANDIDATES])
    assert await names(Jwks(provider), None) == list("abcd")
    provider.names.append("e")
    assert await names(Jwks(provider), None) == []


@pytest.mark.parametrize(
    "key",
    [
        jwk(rsa_key(), "k", use="enc"),
        jwk(rsa_key(), "k", key_ops=["encrypt"]),
        jwk(rsa_key(), "k", key_ops="verify"),
        jwk(rsa_key(), "k", alg="RSA-OAEP"),
        jwk(rsa_key(), "k", alg="HS256"),
        jwk(rsa_key(bits=1024), "k"),
        jwk(ec_key("secp256k1"), "k"),
        {**jwk(ec_key(), "k"), "y": jwk(ec_key(name="b"))["y"]},
        {**jwk(ec_key(), "k"), "crv": "P-384"},
        {**jwk(ed_key(), "k"), "x": "AA"},
        {**jwk(ed_key(), "k"), "x": 1},
        {**jwk(ed_key(), "k"), "d": "AA"},
        {**jwk(rsa_key(), "k"), "n": ""},
        {**jwk(rsa_key(), "k"), "kid": 1},
        {"kty": "oct", "k": "AAAA", "kid": "k", "alg": "HS256"},
        {"kty": ["RSA"], "kid": "k"},
        {"kid": "k"},
    ],
    ids=lambda key: "".join(sign for sign in str(key.get("kty")) if sign.isalnum()),
)
async def test_what_is_no_key_for_us_is_passed_over(key: dict[str, object]) -> None:
    """Keys for something else, weak or malformed ones do not count, and do not spoil those beside them."""
    provider = Provider()
    provider.answer = jwks(key, jwk(ed_key(), "good"))
    keys = Jwks(provider)
    for algorithm in ("RS256", "ES256", "EdDSA", "HS256"):
        assert await names(keys, "k", algorithm) == []
    assert await names(keys, "good") == ["good"]
    await keys.close()


async def test_algorithms_are_those_of_the_key_and_of_the_settings() -> None:
    """A key says what it is for, and the settings say what is allowed at all; both must agree."""

    async def one(allowed: tuple[str, ...], **more: object) -> frozenset[str]:
        provider = Provider()
        provider.answer = jwks(jwk(rsa_key(), "k", **more), jwk(ed_key(), "e"))
        keys = Jwks(provider, (*allowed, "EdDSA") if allowed else ())
        await keys.find("e", "EdDSA")
        return frozenset[str]().union(*(key.algorithms for key in _all(keys) if key.kid == "k"))

    assert await one(()) == {"RS256", "PS256"}
    assert await one((), alg="PS256") == {"PS256"}
    assert await one(("RS512", "RS256")) == {"RS512", "RS256"}
    assert await one(("RS512",), alg="RS512", use="sig", key_ops=["verify"]) == {"RS512"}
    assert await one(("RS512",), alg="RS256") == set()


def _all(keys: Jwks) -> list[Key]:
    return [held.key for held in keys._held]
