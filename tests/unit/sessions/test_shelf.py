"""What is kept of what was worked out once: bounded by weight, whoever fills it."""

from __future__ import annotations

import gc
import sys
from itertools import count

from signtusk_realtime.events.subscriptions import Filters, Subscription
from signtusk_realtime.sessions import entitlement
from signtusk_realtime.sessions.entitlement import SELECTIONS_BYTES, compile_selection
from signtusk_realtime.sessions.shelf import SHARE, Shelf
from tests.support.delivery import grant, guest, member


def test_what_was_not_asked_for_longest_goes_first() -> None:
    """Up to the budget all is kept; then the oldest goes, and who was asked for is young again."""
    shelf: Shelf[str, int] = Shelf(SHARE * 3)
    for number in range(SHARE):
        shelf.put(f"k{number}", number, 3)
    assert shelf.get("k0") == 0
    shelf.put("new", -1, 3)
    assert (shelf.get("k0"), shelf.get("k1"), shelf.get("new")) == (0, None, -1)
    assert shelf.weight == SHARE * 3


def test_one_key_weighs_once() -> None:
    """A value in place of another gives the other's weight back, and what is discarded weighs nothing."""
    shelf: Shelf[str, int] = Shelf(SHARE * 10)
    for number in range(100):
        shelf.put("k", number, 7)
    assert (shelf.get("k"), shelf.weight) == (99, 7)
    shelf.discard("k")
    shelf.discard("k")
    assert (shelf.get("k"), shelf.weight) == (None, 0)


def test_what_is_too_heavy_is_not_kept() -> None:
    """It would push out many others; the older value under its key goes all the same."""
    shelf: Shelf[str, int] = Shelf(SHARE * 10)
    shelf.put("small", 1, 10)
    shelf.put("large", 1, 1)
    shelf.put("large", 2, 11)
    assert (shelf.get("small"), shelf.get("large"), shelf.weight) == (1, None, 10)


def _wishes(number: int, size: int) -> tuple[Subscription, ...]:
    """Give what nobody has asked for before, in ids of 128 characters."""
    texts = (f"{number}.{place}.".ljust(128, "x") for place in count())
    return tuple(
        Subscription("document_updates", Filters(document_id="d1", user_id=next(texts), signing_request_id=next(texts)))
        for _ in range(size)
    )


def test_ever_new_wishes_cost_bounded_memory() -> None:
    """A guest's requests with ever new filters, large and small, leave no more behind than the budget allows, and about what was counted."""
    identity = guest(grant(document_id="d1"))
    before = _allocated()
    for number in range(1500):
        compile_selection(_wishes(number, 100 if number % 3 == 0 else 20), identity)
    assert entitlement._compiled.weight <= SELECTIONS_BYTES
    assert _allocated() - before < 3 * SELECTIONS_BYTES


def _allocated() -> int:
    gc.collect()
    seen: set[int] = set()
    todo: list[object] = [entitlement._compiled]
    size = 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return size


def test_a_page_of_history_keeps_nothing() -> None:
    """What is compiled for one answer is not kept for others; what was kept before serves it too."""
    wishes = _wishes(1_000_000, 3)
    once = compile_selection(wishes, member(), keep=False)
    assert compile_selection(wishes, member()) is not once
    kept = compile_selection(wishes, member())
    assert compile_selection(wishes, member(), keep=False) is kept
