"""Which replicas of a primary have everything."""

from __future__ import annotations

import pytest

from signtusk_realtime.engines.redis.copies import Copies
from signtusk_realtime.engines.redis.stored import Reply
from signtusk_realtime.errors import Unavailable


def role(offset: int, **acknowledged: int) -> list[Reply]:
    """Make an answer to ROLE; replicas by name."""
    return [b"master", offset, [[name.encode(), b"6379", str(at).encode()] for name, at in acknowledged.items()]]


def told(copies: Copies, answer: list[Reply]) -> tuple[int, int]:
    copies.look(answer)
    return copies.streamed, copies.whole


def test_who_is_there_when_the_connection_begins_is_whole() -> None:
    """Nothing was answered without it, and what it acknowledges comes once a second: its offset is always a little behind."""
    copies = Copies()
    assert told(copies, role(1000, a=900, b=0)) == (2, 2)
    assert told(copies, role(2000, a=900, b=0)) == (2, 2)


def test_who_comes_back_has_to_catch_up() -> None:
    """It must have what the primary had at the look after the one that found it: up to then answers may have been given without it."""
    copies = Copies()
    assert told(copies, role(1000)) == (0, 0)
    assert told(copies, role(2000, a=1500)) == (1, 0)
    assert told(copies, role(2600, a=2000)) == (1, 0)
    assert told(copies, role(3000, a=2599)) == (1, 0)
    assert told(copies, role(3500, a=2600)) == (1, 1)
    assert told(copies, role(9000, a=2600)) == (1, 1)


def test_who_has_acknowledged_nothing_is_not_whole() -> None:
    """Of a server that was never written to a replica has everything, once it is there to say so."""
    copies = Copies()
    assert told(copies, role(0)) == (0, 0)
    assert told(copies, role(0, a=0)) == (1, 0)
    assert told(copies, role(0, a=0)) == (1, 0)
    assert told(copies, role(14, a=14)) == (1, 1)


def test_each_replica_has_its_own_measure() -> None:
    """One that was there all the time is not measured by one that comes; one that goes has to catch up anew."""
    copies = Copies()
    assert told(copies, role(1000, a=900)) == (1, 1)
    assert told(copies, role(2000, a=900, b=900)) == (2, 1)
    assert told(copies, role(3000, a=900, b=2000)) == (2, 1)
    assert told(copies, role(3000, a=900, b=3000)) == (2, 2)
    assert told(copies, role(4000, b=3000)) == (1, 1)
    assert told(copies, role(5000, a=900, b=3000)) == (2, 1)


@pytest.mark.parametrize(
    "answer",
    [[b"slave", b"127.0.0.1", 6379, b"connected", 5], [b"sentinel", []], [], b"OK", None],
    ids=["a replica", "a sentinel", "nothing", "text", "null"],
)
def test_what_is_no_primary_is_refused(answer: Reply) -> None:
    """Commits need one."""
    with pytest.raises(Unavailable):
        Copies().look(answer)
